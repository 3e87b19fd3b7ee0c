"""What a forked child does until it is its program: it takes on all that it is to be, waits at its gate, and executes.

What goes wrong it says on the gate, as (stage, errno), and executes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios

from netdaemon.keeper import limits
from netdaemon.keeper.taking import UMASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from netdaemon.keeper.child import Spec
    from netdaemon.keeper.taking import Taking

# Where a program without a slash is looked for when the environment that was sent has no PATH.
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"

# closerange is one close_range(2): a high end costs nothing.
LAST_DESCRIPTOR = 0x7FFFFFFF

# The exit code of a child that has come to no program; nobody is told of it.
NOBODY = 127

# By number on the gate, which a program of another version may read: what is new comes last.
STAGES = (
    *("descriptors", "fork", "session", "terminal", "signals", "cwd", "exec"),
    *("limits", "oom", "root", "nice", "umask", "groups", "gid", "uid", "verify", "capabilities", "privileges"),
)

REPORT = struct.Struct(">BI")


def become(
    spec: Spec,
    taking: Taking | None,
    environment: dict[bytes, bytes],
    streams: tuple[int, int, int],
    gate: int,
    disposed: Iterable[int],
) -> NoReturn:
    """In the child: take on all that *spec* asks for, and execute. Comes back to nobody.

    Every page that is written to here is copied first: what can be done before the fork is done there.

    :param taking: what there is of *spec* that costs a child more.
    :param disposed: the signals whose disposition may be another than the default.
    """
    stage = "session"
    number = 0
    try:
        os.setsid()
        stage = "terminal"
        if spec.pty:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        stage = "descriptors"
        *sources, gate = limits.above_two((*streams, gate))
        for target, source in enumerate(sources):
            os.dup2(source, target, inheritable=True)
        if taking is None:
            os.umask(UMASK)
        else:
            # It tells its stages itself.
            stage = ""
            taking.take(spec.pty is not None)
            stage = "descriptors"
        os.closerange(3, gate)
        os.closerange(gate + 1, LAST_DESCRIPTOR)
        stage = "signals"
        for known in disposed:
            signal.signal(known, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        stage = "cwd"
        if taking is None or not taking.has_own_files_limit:
            limits.take_limit_of_children()
        limits.take_mark(spec.mark)
        os.chdir(spec.cwd)
        if taking is not None:
            stage = ""
            taking.take_last_limits()
        stage = "exec"
        if not os.read(gate, 1):
            # Whoever wanted us is gone, and nobody would know of us.
            os._exit(NOBODY)
        first_executable(spec, lambda path: os.execve(path, spec.argv, environment))
    except OSError as error:
        number = error.errno or 0
    except MemoryError:
        number = errno.ENOMEM
    except BaseException:
        number = errno.EINVAL
    try:
        if taking is not None:
            stage = stage or taking.stage
        os.write(gate, REPORT.pack(STAGES.index(stage), number))
    finally:
        os._exit(NOBODY)


def environment_of(spec: Spec) -> dict[bytes, bytes]:
    """By name."""
    return {name: value for name, _, value in (one.partition(b"=") for one in spec.env)}


def first_executable(spec: Spec, execute: Callable[[bytes], int]) -> int:
    """Call *execute* with the program's path, or with each place in PATH until one can be executed.

    :raises OSError: none can; EACCES if one is there and may not be executed.
    """
    if b"/" in spec.path:
        return execute(spec.path)
    found = errno.ENOENT
    for directory in environment_of(spec).get(b"PATH", DEFAULT_PATH).split(b":"):
        path = (directory or b".") + b"/" + spec.path
        try:
            # Before an attempt, which costs more and takes a claim.
            os.stat(path)
            return execute(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            found = errno.EACCES
    raise OSError(found, os.strerror(found))
