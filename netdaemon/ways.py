"""Whether a path leads where it says, whoever else is about; knows no purpose of any path. Standard library only."""

from __future__ import annotations

import errno
import os
import stat

# As many as the kernel follows.
LINKS_MAX = 40

# Of directories that are made: what is in them is nobody else's.
MODE = 0o700


class UnsafeWay(Exception):
    """Somebody else could have the path lead elsewhere; the message says how, and goes on after the path."""


def check_way(directory: str) -> None:
    """Every directory and every link on the way to *directory*, itself included, is ours or root's, and nobody else can
    replace it.

    None of them can be changed by others afterwards, so that what is opened then is what was looked at.

    :param directory: begins with /.
    :raises UnsafeWay: others can.
    :raises OSError: there is no such directory; *filename* is what is missing, or is none.
    """
    here = "/"
    _check_directory(here, os.stat(here))
    left = directory.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        one = os.path.join(here, part)
        status = os.lstat(one)
        if not stat.S_ISLNK(status.st_mode):
            here = one
            _check_directory(here, status)
            continue
        target = os.readlink(one)
        links += 1
        if links > LINKS_MAX:
            raise UnsafeWay(f"cannot be: more than {LINKS_MAX} symbolic links are on the way to it")
        _check_owner(one, status)
        here = "/" if target.startswith("/") else here
        left += target.split("/")[::-1]


def _check_directory(directory: str, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    _check_owner(directory, status)
    # A group that may write is let pass: /var/log is a group's on many systems, and whoever made it trusts that group.
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise UnsafeWay(f"is below {directory}, where everybody may write; it needs the sticky bit (chmod +t)")


def _check_owner(directory: str, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid not in (0, user):
        allowed = f"user {user} or root" if user else "root"
        raise UnsafeWay(f"is below {directory}, which belongs to user {status.st_uid}; {allowed} is allowed")


def make_directory(path: str) -> None:
    """Make a directory if there is none, and those on the way to it, for this user alone, whatever the umask.

    :raises OSError: it cannot be made; *filename* is what cannot.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_directory(parent)
    try:
        os.mkdir(path, MODE)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
