"""Where a keeper listens: a socket for its own user alone, which others may clean away; knows no messages."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys


def bind(path: str) -> socket.socket:
    """Listen at *path*, for this user alone.

    :raises OSError: EADDRINUSE where somebody answers there, or something is that is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            # Whoever connects to it is told the same as of a socket without a listener, and it is not ours to remove.
            raise OSError(errno.EADDRINUSE, "there is something, and it is no socket; it was left alone", path)
    except FileNotFoundError:
        pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(path)
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The file gets the socket's mode less the umask: never, not for an instant, a wider one.
    os.fchmod(listener.fileno(), 0o600)
    listener.bind(path)
    listener.listen(8)
    listener.setblocking(False)
    return listener


def own_place() -> str:
    """A socket's path in a directory of our own, for who was not told where."""
    directory = f"{os.environ.get('XDG_RUNTIME_DIR') or '/run'}/netdaemon-keeper-{os.getpid()}"
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        # Of one that had our pid: as process 1, in the container's last life.
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise
    return f"{directory}/socket"


def listens(path: str, listener: socket.socket) -> bool:
    """Whether whoever connects to *path* gets through to *listener*: the file may be another's by now."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.setblocking(False)
            probe.connect(path)
            found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except BlockingIOError:
        # So many wait already that it must be a listener; whose, is seen the next time.
        return True
    except OSError:
        return False
    return int.from_bytes(found[:4], sys.byteorder) == os.getpid() and listener.fileno() >= 0
