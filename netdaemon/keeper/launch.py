"""Fork and execute a child with exactly the attributes asked for, or tell at which stage and why not; no policy.

The child gets descriptors 0, 1 and 2 and no others, a session of its own, default signal dispositions, an empty
signal mask, the environment that was sent and nothing else. It is spawned, by the C library, or forked (see
`netdaemon.keeper.becoming`): then what goes wrong between fork and exec comes back over a close-on-exec socket, the
gate, as (stage, errno), and its end without a word means that the program runs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios

from netdaemon.keeper import claim, limits
from netdaemon.keeper.becoming import REPORT, STAGES, become, environment_of, first_executable
from netdaemon.keeper.child import GATE, PIDFD, RELAYS, STDERR, STDIN, STDOUT, Launched, LaunchError, Spec
from netdaemon.keeper.limits import with_streams
from netdaemon.keeper.messages import close_all
from netdaemon.keeper.taking import UMASK, Taking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# All that can have a disposition.
_RESETTABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

# Those whose disposition may be another than the default; the fewer, the sooner a child is at its program.
_disposed = _RESETTABLE

_WINDOW = struct.Struct("HHHH")


class Ends:
    """Both ends of the streams of a start that is under way, so that every way out closes what it must.

    :ivar ours: our ends, by their names.
    """

    __slots__ = ("ours", "theirs")

    def __init__(self) -> None:
        self.ours: dict[str, int] = {}
        self.theirs: list[int] = []

    def pipe(self, name: str, *, ours_reads: bool) -> int:
        """A pipe of which one end is kept under *name*; the other, the child's."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        kept, given = (reading, writing) if ours_reads else (writing, reading)
        self.ours[name] = kept
        self.theirs.append(given)
        os.set_blocking(kept, False)
        return given

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.popitem()[1])


def settle_signals() -> None:
    """No disposition changes any more but to the default and back: look once which children have to reset."""
    global _disposed
    _disposed = tuple(one for one in _RESETTABLE if signal.getsignal(one) is not signal.SIG_DFL)


def begin(spec: Spec, *, gated: bool = False) -> tuple[int, dict[str, int]]:
    """Start a child for *spec*.

    A child with pipes is spawned, which costs the same from a parent of any size; `spawn` comes back when the program
    is being executed. A terminal can only be made the child's own between fork and exec, and so can most of what it is
    besides; and only there can a child wait.

    :param gated: have the child wait until somebody opens its gate; where everybody who has the gate dies before,
        the child ends and has executed nothing.
    :return: its pid, and our descriptors by name; `netdaemon.keeper.child.GATE` among them: ask `finish` how it went.
    :raises LaunchError: there is no child.
    """
    ends = Ends()
    forks = gated or spec.pty is not None or spec.whom is not None
    try:
        streams = open_streams(ends, spec)
        if forks:
            ours, theirs = socket.socketpair()
            ends.ours[GATE], gate = ours.detach(), theirs.detach()
            ends.theirs.append(gate)
    except OSError as error:
        ends.close()
        raise LaunchError("descriptors", error.errno or 0) from error
    try:
        pid = _fork(spec, streams, gate) if forks else spawn(spec, streams)
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    ends.ours[PIDFD] = pidfd_of(pid, ends.ours.values())
    if forks and not gated:
        open_gate(ends.ours[GATE])
    return pid, ends.ours


def pidfd_of(pid: int, descriptors: Iterable[int]) -> int:
    """The pidfd of a child that has just been made.

    :raises LaunchError: there is none to be had; the child is none any more, and *descriptors* are closed.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        close_all(descriptors)
        raise LaunchError("descriptors", error.errno or 0) from error


def open_gate(gate: int) -> None:
    """Let a gated child execute its program. Again, or too late, it does nothing."""
    try:
        os.write(gate, b"g")
    except OSError:
        # Nobody waits at it any more.
        pass


def close_gate(launched: Launched) -> None:
    """It is known how the start went."""
    os.close(launched.gate)
    launched.gate = -1


def wait(pid: int) -> None:
    """Wait for a child of ours that has come to no program: it ends at once."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def finish(gate: int) -> bool:
    """Whether a child executes its program; False: it is not known yet. May be asked again, here and elsewhere.

    :raises LaunchError: it could not be set up or executed; it has exited, and is to be released.
    """
    # All is said: what is left out would be asked of the kernel.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, gate) as sock:
        try:
            # It stays there for whoever asks after us, should we be killed before we have made use of it.
            told = sock.recv(REPORT.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # A second opening that came too late.
            told = b""
        except OSError:
            # No memory; it is still there the next time.
            return False
        finally:
            sock.detach()
    if not told:
        return True
    stage, number = REPORT.unpack(told)
    raise LaunchError(STAGES[stage], number)


def open_streams(ends: Ends, spec: Spec) -> tuple[int, int, int]:
    """Open what *spec* asks for; the child's ends, to become its 0, 1 and 2. One descriptor may stand for several.

    :raises OSError: some may be open; `Ends.close` closes them.
    """
    return _open_terminal(ends, *spec.pty) if spec.pty else _open_pipes(ends, spec.merge)


def _open_pipes(ends: Ends, merge: bool) -> tuple[int, int, int]:
    stdin = ends.pipe(STDIN, ours_reads=False)
    stdout = ends.pipe(STDOUT, ours_reads=True)
    stderr = stdout if merge else ends.pipe(STDERR, ours_reads=True)
    return stdin, stdout, stderr


def _open_terminal(ends: Ends, rows: int, columns: int) -> tuple[int, int, int]:
    master, slave = os.openpty()
    ends.ours[STDOUT] = master
    ends.theirs.append(slave)
    os.set_blocking(master, False)
    resize(master, rows, columns)
    # One selectable for each descriptor: the one that is written to is a duplicate.
    ends.ours[STDIN] = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    for out, into in (RELAYS[:2], RELAYS[2:]):
        ends.ours[out], ends.ours[into] = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return slave, slave, slave


def resize(master: int, rows: int, columns: int) -> None:
    """Set the size of a terminal; the kernel tells its foreground process group by SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, _WINDOW.pack(rows, columns, 0, 0))


def own_descriptors() -> None:
    """Make all that this process inherited above 2 close-on-exec, so that no child has it. Once, before any start."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            # The descriptor of the listing itself is gone by now.
            continue


def spawn(spec: Spec, streams: tuple[int, int, int], claimed: int = -1) -> int:
    """Execute a program with pipes, which stay open here; the child's pid, once that is so.

    :param streams: the child's ends.
    :param claimed: a claim (see `netdaemon.keeper.claim`): nothing is executed once that has been revoked.
    :raises LaunchError: there is no child.
    """
    environment = environment_of(spec)
    taking = [] if claimed < 0 else [claim.taking(claimed)]

    def execute(path: bytes, actions: list[Any]) -> int:
        if taking:
            # An earlier attempt took it, and executed nothing.
            claim.renew(claimed)
        return os.posix_spawn(
            path,
            spec.argv,
            environment,
            file_actions=[*taking, *actions],
            setsid=True,
            setsigmask=(),
            setsigdef=_RESETTABLE,
        )

    stage = "cwd"
    here = -1
    umask = os.umask(UMASK)
    try:
        # To come back to; that we may not read it is no reason not to.
        here = os.open(".", os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
        os.chdir(spec.cwd)
        stage = "exec"
        return limits.with_mark(
            spec.mark,
            lambda: with_streams(streams, lambda actions: first_executable(spec, lambda path: execute(path, actions))),
        )
    except OSError as error:
        raise LaunchError(stage, error.errno or 0) from error
    finally:
        os.umask(umask)
        if here >= 0:
            try:
                os.fchdir(here)
            except OSError:
                # The child may be running by now, and nothing of ours depends on where this process is.
                pass
            os.close(here)


def _fork(spec: Spec, streams: tuple[int, int, int], gate: int) -> int:
    """The child's pid; whether it comes as far as its program will be told on *gate*."""
    taking = None if spec.whom is None else Taking(spec.whom)
    environment = environment_of(spec)
    # A handler of ours must not run in the child: it would write into pipes that it shares with us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _disposed)
    try:
        pid = os.fork()
        if pid == 0:
            become(spec, taking, environment, streams, gate, _disposed)
    except OSError as error:
        raise LaunchError("fork", error.errno or 0) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid
