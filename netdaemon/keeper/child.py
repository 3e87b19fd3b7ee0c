"""What a child is asked to be, and what there is of it once it runs; plain values, so that a keeper stays small.

Neither dataclasses nor typing: each costs a keeper two megabytes of memory.
"""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdaemon.keeper.whom import Whom

# The names by which descriptors of a child go over to a daemon and back; a keeper knows no more of them.
PIDFD, GATE, SPOOL, INPUT = "pidfd", "gate", "spool", "input"
STDIN, STDOUT, STDERR = "stdin", "stdout", "stderr"
RELAYS = ("stdin-relay-out", "stdin-relay-in", "stdout-relay-out", "stdout-relay-in")


class LaunchError(Exception):
    """No child is left; *stage* says how far it came, *errno* why not further, and *why* that in words."""

    def __init__(self, stage: str, number: int, why: str = "") -> None:
        self.why = why or os.strerror(number)
        super().__init__(f"{stage}: {self.why}")
        self.stage = stage
        self.errno = number


class Spec:
    """What to execute and how. Bytes, as the kernel has them. Not to be changed.

    :param path: what is executed; without a slash it is looked for in PATH of *env*.
    :param pty: (rows, columns) of a terminal, or None for pipes.
    :param merge: one pipe for both outputs.
    :param mark: by which all that descends from it is known (see `netdaemon.keeper.limits.MARKS`); 0: it has none.
    :param whom: what it is besides; None: nothing is asked for.
    :param cgroup: (file, content) each of what its control group is to have: that is not a keeper's, which is not told.
    """

    __slots__ = ("argv", "cgroup", "cwd", "env", "mark", "merge", "path", "pty", "whom")

    def __init__(
        self,
        *,
        path: bytes,
        argv: tuple[bytes, ...],
        env: tuple[bytes, ...] = (),
        cwd: bytes = b"/",
        pty: tuple[int, int] | None = None,
        merge: bool = False,
        mark: int = 0,
        whom: Whom | None = None,
        cgroup: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.path = path
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.pty = pty
        self.merge = merge
        self.mark = mark
        self.whom = whom
        self.cgroup = cgroup


class ExitStatus:
    """How a child ended: *code* xor *signal*; neither means that the kernel could not tell. Not to be changed."""

    __slots__ = ("code", "core", "signal")

    def __init__(self, code: int | None = None, signal: int | None = None, core: bool = False) -> None:
        self.code = code
        self.signal = signal
        self.core = core

    @classmethod
    def of_wait_status(cls, status: int) -> ExitStatus:
        """What wait(2) would have told of a child that has exited."""
        if os.WIFSIGNALED(status):
            return cls(signal=os.WTERMSIG(status), core=os.WCOREDUMP(status))
        return cls(code=os.WEXITSTATUS(status))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExitStatus):
            return NotImplemented
        return (self.code, self.signal, self.core) == (other.code, other.signal, other.core)

    def __hash__(self) -> int:
        return hash((self.code, self.signal, self.core))

    def __repr__(self) -> str:
        return f"ExitStatus(code={self.code}, signal={self.signal}, core={self.core})"


class Launched:
    """A child that was launched: our ends of its streams, close-on-exec and non-blocking. -1: there is no such one.

    With a terminal, *stdin* and *stdout* are two descriptors of its master side, *stderr* is -1, and *stdin_relay*
    and *stdout_relay* are the ends (read, write) of pipes for what is on its way between master and spool.

    :ivar id: the process whose child it is, by which its launcher knows it.
    :ivar gate: a socket on which the child waits for a byte before it executes its program, and tells why it cannot
        (see `netdaemon.keeper.launch.finish`); -1 once that is known.
    """

    __slots__ = ("gate", "id", "pid", "pidfd", "stderr", "stdin", "stdin_relay", "stdout", "stdout_relay")

    def __init__(
        self,
        *,
        pid: int,
        pidfd: int,
        stdin: int = -1,
        stdout: int = -1,
        stderr: int = -1,
        stdin_relay: tuple[int, int] = (-1, -1),
        stdout_relay: tuple[int, int] = (-1, -1),
        gate: int = -1,
        id: str = "",
    ) -> None:
        self.id = id
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.stdin_relay = stdin_relay
        self.stdout_relay = stdout_relay
        self.gate = gate

    @classmethod
    def of_roles(cls, id: str, pid: int, roles: dict[str, int]) -> Launched:
        """From the descriptors by their names."""
        relays = [roles.get(name, -1) for name in RELAYS]
        return cls(
            id=id,
            pid=pid,
            pidfd=roles.get(PIDFD, -1),
            stdin=roles.get(STDIN, -1),
            stdout=roles.get(STDOUT, -1),
            stderr=roles.get(STDERR, -1),
            stdin_relay=(relays[0], relays[1]),
            stdout_relay=(relays[2], relays[3]),
            gate=roles.get(GATE, -1),
        )

    def close(self) -> None:
        """Close every descriptor that is still open here."""
        streams = (self.stdin, self.stdout, self.stderr, *self.stdin_relay, *self.stdout_relay)
        for number in (self.pidfd, self.gate, *streams):
            if number >= 0:
                os.close(number)


def collect(pidfd: int) -> ExitStatus | None:
    """The exit status of a child of this process that has exited; the kernel keeps it until `release`.

    None: its pidfd is readable, and yet the status is not ours to see: somebody traces it, and is told first.

    :raises ChildProcessError: it is not, or not any more, a child of this process.
    """
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status, core=result.si_code == os.CLD_DUMPED)


def release(pidfd: int) -> None:
    """Let the kernel forget an exited child: its pid may be used again from here on."""
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def has_exited(pidfd: int) -> bool:
    """Whether the process of a pidfd has exited, whosever child it is."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def kill_group(pid: int, pidfd: int, number: int) -> None:
    """Signal a child and its process group, as long as it has not been released; whoever has gone is passed over."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            # It has only just been forked, and is not yet in a group of its own.
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass
