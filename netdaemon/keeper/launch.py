"""Fork and execute a child with exactly the attributes asked for, or tell at which stage and why not; no policy.

The child gets descriptors 0, 1 and 2 and no others, a session of its own, default signal dispositions, an empty
signal mask, the environment that was sent and nothing else. What goes wrong between fork and exec comes back over a
close-on-exec pipe as (stage, errno): the end of that pipe without a word means that the program runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

# Where a program without a slash is looked for when the environment that was sent has no PATH.
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"

# What a daemonised parent's 077 must not become for its children.
UMASK = 0o022

# closerange is one close_range(2): a high end costs nothing.
LAST_DESCRIPTOR = 0x7FFFFFFF

STAGES = ("descriptors", "fork", "session", "terminal", "signals", "cwd", "exec")

# All that can have a disposition.
_RESETTABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

_REPORT = struct.Struct(">BI")
_WINDOW = struct.Struct("HHHH")


class LaunchError(Exception):
    """No child is left; *stage* says how far it came, *errno* why not further."""

    def __init__(self, stage: str, number: int) -> None:
        super().__init__(f"{stage}: {os.strerror(number)}")
        self.stage = stage
        self.errno = number


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to execute and how. Bytes, as the kernel has them.

    :param path: what is executed; without a slash it is looked for in PATH of *env*.
    :param pty: (rows, columns) of a terminal, or None for pipes.
    :param merge: one pipe for both outputs.
    """

    path: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    pty: tuple[int, int] | None = None
    merge: bool = False


@dataclass
class Launched:
    """A child that runs: our ends of its streams, close-on-exec and non-blocking. -1: there is no such descriptor.

    With a terminal, *stdin* and *stdout* are two descriptors of its master side, *stderr* is -1, and *stdin_relay*
    and *stdout_relay* are the ends (read, write) of pipes for what is on its way between master and spool.
    """

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int = -1
    stdin_relay: tuple[int, int] = (-1, -1)
    stdout_relay: tuple[int, int] = (-1, -1)

    def close(self) -> None:
        """Close every descriptor that is still open here."""
        for number in (self.pidfd, self.stdin, self.stdout, self.stderr, *self.stdin_relay, *self.stdout_relay):
            if number >= 0:
                os.close(number)


@dataclass(frozen=True)
class ExitStatus:
    """How a child ended: *code* xor *signal*; neither means that the kernel could not tell."""

    code: int | None = None
    signal: int | None = None
    core: bool = False


@dataclass
class Ends:
    """Both ends of the streams of a start that is under way, so that every way out closes what it must."""

    ours: dict[str, int] = field(default_factory=dict)
    theirs: list[int] = field(default_factory=list)

    def pipe(self, reads: str | None, writes: str | None) -> int:
        """A pipe of which one end is kept under a name; the other is the child's."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        kept, given = (reading, writing) if reads else (writing, reading)
        self.ours[reads or writes or ""] = kept
        self.theirs.append(given)
        os.set_blocking(kept, False)
        return given

    def launched(self, pid: int, pidfd: int) -> Launched:
        """Our ends, as they are handed over."""
        ours = self.ours
        return Launched(
            pid=pid,
            pidfd=pidfd,
            stdin=ours["stdin"],
            stdout=ours["stdout"],
            stderr=ours.get("stderr", -1),
            stdin_relay=(ours.get("stdin relay out", -1), ours.get("stdin relay in", -1)),
            stdout_relay=(ours.get("stdout relay out", -1), ours.get("stdout relay in", -1)),
        )

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.popitem()[1])


@dataclass
class Begun:
    """A child on its way to its program; *report* becomes readable when it is known how it went. -1: it is known."""

    launched: Launched
    report: int = -1


def begin(spec: Spec) -> Begun:
    """Start a child for *spec*. Ask `finish` how it went once ``report`` is readable.

    A child with pipes is made by posix_spawn, which costs the same from a parent of any size; it comes back when the
    program is being executed. A terminal can only be made the child's own between fork and exec.

    :raises LaunchError: there is no child.
    """
    ends = Ends()
    try:
        streams = open_streams(ends, spec)
        if spec.pty:
            report, reporting = os.pipe2(os.O_CLOEXEC)
            ends.ours["report"] = report
            ends.theirs.append(reporting)
            os.set_blocking(report, False)
    except OSError as error:
        ends.close()
        raise LaunchError("descriptors", error.errno or 0) from error
    try:
        pid = _fork(spec, streams, reporting) if spec.pty else _spawn(spec, streams)
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ends.close()
        raise LaunchError("descriptors", error.errno or 0) from error
    return Begun(ends.launched(pid, pidfd), ends.ours.get("report", -1))


def finish(begun: Begun) -> Launched | None:
    """The child, once its program is being executed; None while that is not known yet.

    :raises LaunchError: it could not be set up or executed; it has been waited for.
    """
    if begun.report < 0:
        return begun.launched
    try:
        told = os.read(begun.report, _REPORT.size)
    except BlockingIOError:
        return None
    os.close(begun.report)
    if not told:
        return begun.launched
    os.waitpid(begun.launched.pid, 0)
    begun.launched.close()
    stage, number = _REPORT.unpack(told)
    raise LaunchError(STAGES[stage], number)


def collect(launched: Launched) -> ExitStatus | None:
    """The exit status of a child of ours that has exited; the kernel keeps it until `release`.

    None: its pidfd is readable, and yet the status is not ours to see. Somebody traces it, and is told first.
    """
    try:
        result = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return ExitStatus()
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status, core=result.si_code == os.CLD_DUMPED)


def release(launched: Launched) -> None:
    """Let the kernel forget an exited child: its pid may be used again from here on."""
    try:
        os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def open_streams(ends: Ends, spec: Spec) -> tuple[int, int, int]:
    """Open what *spec* asks for; the child's ends, to become its 0, 1 and 2. One descriptor may stand for several.

    :raises OSError: some may be open; `Ends.close` closes them.
    """
    return _open_terminal(ends, *spec.pty) if spec.pty else _open_pipes(ends, spec.merge)


def _open_pipes(ends: Ends, merge: bool) -> tuple[int, int, int]:
    stdin = ends.pipe(None, "stdin")
    stdout = ends.pipe("stdout", None)
    stderr = stdout if merge else ends.pipe("stderr", None)
    return stdin, stdout, stderr


def _open_terminal(ends: Ends, rows: int, columns: int) -> tuple[int, int, int]:
    master, slave = os.openpty()
    ends.ours["stdout"] = master
    ends.theirs.append(slave)
    os.set_blocking(master, False)
    resize(master, rows, columns)
    # One selectable for each descriptor: the one that is written to is a duplicate.
    ends.ours["stdin"] = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    for name in ("stdin relay", "stdout relay"):
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ends.ours[name + " out"] = reading
        ends.ours[name + " in"] = writing
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


def _spawn(spec: Spec, streams: tuple[int, int, int]) -> int:
    """The child's pid, once its program is being executed."""
    environment = _environment(spec)
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(_above_two(streams))]
    stage = "cwd"
    here = -1
    umask = os.umask(UMASK)
    try:
        # To come back to; that we may not read it is no reason not to.
        here = os.open(".", os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
        os.chdir(spec.cwd)
        stage = "exec"
        return _first_executable(
            spec,
            lambda path: os.posix_spawn(
                path,
                spec.argv,
                environment,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_RESETTABLE,
            ),
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
        for source in [source for _, source, target in actions if source not in streams]:
            os.close(source)


def _fork(spec: Spec, streams: tuple[int, int, int], reporting: int) -> int:
    """The child's pid; whether it comes as far as its program will be told on *reporting*."""
    # A handler of ours must not run in the child: it would write into pipes that it shares with us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(spec, streams, reporting)
    except OSError as error:
        raise LaunchError("fork", error.errno or 0) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _become(spec: Spec, streams: tuple[int, int, int], reporting: int) -> NoReturn:
    """In the child: take on all that *spec* asks for, and execute. Comes back to nobody."""
    stage = "session"
    number = 0
    try:
        os.setsid()
        os.umask(UMASK)
        stage = "terminal"
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        stage = "descriptors"
        *sources, reporting = _above_two((*streams, reporting))
        for target, source in enumerate(sources):
            os.dup2(source, target, inheritable=True)
        os.closerange(3, reporting)
        os.closerange(reporting + 1, LAST_DESCRIPTOR)
        stage = "signals"
        for known in _RESETTABLE:
            signal.signal(known, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        stage = "cwd"
        os.chdir(spec.cwd)
        stage = "exec"
        environment = _environment(spec)
        _first_executable(spec, lambda path: os.execve(path, spec.argv, environment))
    except OSError as error:
        number = error.errno or 0
    except BaseException:
        number = errno.EINVAL
    try:
        os.write(reporting, _REPORT.pack(STAGES.index(stage), number))
    finally:
        os._exit(127)


def _above_two(descriptors: tuple[int, ...]) -> list[int]:
    """Duplicates, or the same where they are above 2 already: what is to become 0, 1 and 2 must not be one of them."""
    return [one if one > 2 else fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in descriptors]


def _environment(spec: Spec) -> dict[bytes, bytes]:
    return {name: value for name, _, value in (one.partition(b"=") for one in spec.env)}


def _first_executable(spec: Spec, execute: Callable[[bytes], int]) -> int:
    """Call *execute* with the program's path, or with each place in PATH until one can be executed.

    :raises OSError: none can; EACCES if one is there and may not be executed.
    """
    if b"/" in spec.path:
        return execute(spec.path)
    found = errno.ENOENT
    for directory in _environment(spec).get(b"PATH", DEFAULT_PATH).split(b":"):
        try:
            return execute((directory or b".") + b"/" + spec.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            found = errno.EACCES
    raise OSError(found, os.strerror(found))
