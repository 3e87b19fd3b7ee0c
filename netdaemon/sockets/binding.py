"""Takes possession of a UNIX socket's path: mode before bind, one owner by lock, nobody's live socket unlinked."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat

from netdaemon.errors import NetdaemonError
from netdaemon.ways import UnsafeWay, check_way, make_directory

# Only the owner may connect; who else may is a matter of policy, told by the owner's mode.
DEFAULT_MODE = 0o600

# sockaddr_un has room for this many bytes with the NUL.
PATH_MAX = 108


class CannotBind(NetdaemonError):
    """The path cannot be listened on; the message says why and what would help."""


class Bound:
    """A bound socket, the lock on its path, and their removal."""

    def __init__(self, path: str, sock: socket.socket, lock: int, *, ours: bool = True) -> None:
        self.path = path
        self.socket = sock
        self._ours = ours
        self._lock = lock
        status = os.stat(path)
        self._identity = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Unlink the socket if it is still ours, and release the lock. The lock's file stays: unlinking it races."""
        if self._lock < 0:
            return
        try:
            status = os.stat(self.path, follow_symlinks=False)
            if self._ours and (status.st_dev, status.st_ino) == self._identity:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        os.close(self._lock)
        self._lock = -1


def bind(path: str, kind: int = socket.SOCK_STREAM, mode: int = DEFAULT_MODE) -> Bound:
    """Bind a socket of *kind* to *path*, in a directory that nobody else can write.

    A directory that does not exist is made with mode 0700. Of any number of callers at the same time exactly one
    succeeds.

    :raises CannotBind: somebody listens there, or the place is not safe.
    """
    _check(path)
    lock = _take_lock(path)
    try:
        _clear(path, kind)
        sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
        try:
            # The file gets the socket's mode less the umask: never, not for an instant, a wider one.
            os.fchmod(sock.fileno(), mode)
            sock.bind(path)
            os.chmod(path, mode)
            return Bound(path, sock, lock)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        os.close(lock)
        raise CannotBind(f"{path}: {os.strerror(error.errno or 0)}") from error
    except BaseException:
        os.close(lock)
        raise


def adopt(sock: socket.socket, mode: int = DEFAULT_MODE) -> Bound:
    """Take possession of a socket that a service manager listens on for us; it is owned from here on.

    Its file is the service manager's: it stays when the daemon ends, so that clients can wait for the next one.

    :raises CannotBind: others may connect to it than *mode* allows, or another daemon has it.
    """
    try:
        path = os.fsdecode(sock.getsockname())
        _check(path)
        found = stat.S_IMODE(os.stat(path).st_mode)
        if found & 0o666 & ~mode:
            raise CannotBind(
                f"{path} was passed by the service manager with mode {found:04o}, and {mode:04o} is allowed; "
                "set SocketMode= in its unit, or --mode here"
            )
        lock = _take_lock(path)
    except OSError as error:
        sock.close()
        raise CannotBind(f"the socket that was passed is of no use: {error}") from error
    except CannotBind:
        sock.close()
        raise
    return Bound(path, sock, lock, ours=False)


def _check(path: str) -> None:
    if not path or path[0] in "\0@":
        raise CannotBind(f"{path!r}: abstract sockets have no owner and no mode; name a file")
    if not os.path.isabs(path):
        raise CannotBind(f"{path}: the path of a socket begins with /")
    if len(os.fsencode(path)) >= PATH_MAX:
        raise CannotBind(f"{path}: {len(os.fsencode(path))} bytes, and the path of a socket has at most {PATH_MAX - 1}")
    directory = os.path.dirname(path)
    try:
        make_directory(directory)
        status = os.stat(directory)
    except OSError as error:
        raise CannotBind(f"{directory}: {os.strerror(error.errno or 0)}") from error
    if status.st_uid not in (os.geteuid(), 0):
        raise CannotBind(
            f"{directory} belongs to uid {status.st_uid}, who could replace the socket; use one of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise CannotBind(
            f"{directory} has mode {mode:04o}: others can replace the socket; it may be 0700, 0750 or 0755"
        )
    try:
        check_way(directory)
    except UnsafeWay as unsafe:
        raise CannotBind(f"{path} {unsafe}: others can replace the socket") from None


def _take_lock(path: str) -> int:
    try:
        lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CannotBind(f"{path}.lock: {os.strerror(error.errno or 0)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise CannotBind(f"{path}: another netdaemon holds {path}.lock; it is running or starting") from None
    return lock


def _clear(path: str, kind: int) -> None:
    """Make room: unlink what is left of a dead daemon, and nothing else."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise CannotBind(f"{path} exists and is no socket; it was left alone")
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                os.unlink(path)
                return
            raise CannotBind(f"{path}: something answers there with {os.strerror(error.errno or 0)}") from error
    raise CannotBind(f"{path}: somebody listens there already")
