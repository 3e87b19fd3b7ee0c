"""Where the daemon's socket is when nobody says, and why nobody answers there; standard library only."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

# Says where the socket is, for clients and for the daemon.
SOCKET_VARIABLE = "NETDAEMON_SOCKET"

SOCKET_NAME = "netdaemon.sock"

# The keeper's socket beside its daemon's; the journal, where there is no state directory; and the sockets on which
# processes say that they are ready.
KEEPER_SUFFIX = ".keeper"
JOURNAL_SUFFIX = ".journal"
NOTIFY_SUFFIX = ".notify"


def named_socket(environ: Mapping[str, str] | None = None) -> str | None:
    """The socket that the environment names, or None if it leaves that to us."""
    return (os.environ if environ is None else environ).get(SOCKET_VARIABLE) or None


def default_socket(environ: Mapping[str, str] | None = None) -> str:
    """The socket of this user's own daemon: in the runtime directory, for root in /run, else in /tmp.

    XDG_RUNTIME_DIR counts only if it is absolute and belongs to this user: after ``sudo`` it may be someone else's.
    """
    environ = os.environ if environ is None else environ
    uid = os.geteuid()
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _owner(runtime) == uid:
        directory = os.path.join(runtime, "netdaemon")
    elif uid == 0:
        directory = "/run/netdaemon"
    else:
        directory = f"/tmp/netdaemon-{uid}"
    return os.path.join(directory, SOCKET_NAME)


def socket_path(environ: Mapping[str, str] | None = None) -> str:
    """The socket that the environment names, else this user's own."""
    return named_socket(environ) or default_socket(environ)


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def check_directory(path: str) -> None:
    """Refuse the directory of a default socket unless it is this user's own and nobody else can write to it.

    In /tmp anybody could have made it first.

    :raises PermissionError: it is not safe; its message says why.
    :raises FileNotFoundError: there is none.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        why = "it is a symbolic link"
    elif not stat.S_ISDIR(status.st_mode):
        why = "it is no directory"
    elif status.st_uid != os.geteuid():
        why = f"it belongs to uid {status.st_uid}, and you are uid {os.geteuid()}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = f"its mode is {stat.S_IMODE(status.st_mode):04o}: others can write to it; it may be 0700"
    else:
        return
    raise PermissionError(errno.EPERM, f"not safe for a socket: {why}", path)


def make_directory(path: str) -> None:
    """Make the directory of a default socket with mode 0700 if there is none, and check it.

    :raises OSError: it cannot be made, or is not safe (see `check_directory`).
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    check_directory(path)


def meaning(error: OSError) -> str:
    """Why a socket cannot be connected to, in words for whoever wanted to."""
    if error.errno == errno.ENOENT:
        return "there is no such socket; is the daemon running?"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens on it; the daemon that made it is gone"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "you may not connect to it; it belongs to another user"
    if error.errno == errno.EPROTOTYPE:
        return "it is a socket of the other kind (SOCK_STREAM, SOCK_SEQPACKET)"
    return error.strerror or str(error)
