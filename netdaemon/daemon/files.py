"""Where the spools of processes are: in memory, or in a state directory that one daemon owns; knows no processes."""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
from collections.abc import Collection

from twisted.logger import Logger

from netdaemon.errors import NetdaemonError
from netdaemon.ways import UnsafeWay, check_way, make_directory

# How many files that could not be removed are tried again each time that another is: they become fewer, and a disk that
# takes nothing costs little.
AGAIN = 4

_log = Logger()


class StateUnusable(NetdaemonError):
    """The state directory cannot be had; the message says why and what would help."""


class MemoryFiles:
    """Files that nobody else can see, and that end with the daemon."""

    def create(self, name: str) -> int:
        """An empty file, as a descriptor."""
        return os.memfd_create(f"netdaemon {name}", os.MFD_CLOEXEC)

    def remove(self, *names: str) -> None:
        """Nothing is left of them once their descriptors are closed."""

    def keep_only(self, ids: Collection[str]) -> None:
        """Nothing is left of others."""

    def close(self) -> None:
        """Nothing to let go."""


class DirectoryFiles:
    """Files in the folder ``spool`` of a state directory.

    What is in it is believed, and what it says runs again after a reboot: it is made for this user alone, and refused
    where others could change it.

    :raises StateUnusable: another daemon has it, it cannot be written, or others can.
    """

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, "spool")
        try:
            make_directory(self._folder)
            _check_private(directory)
            self._lock = os.open(
                os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise StateUnusable(f"{error.filename}: {os.strerror(error.errno or 0)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateUnusable(f"{directory}: another netdaemon uses it; give each its own") from None
        # What could not be removed, the oldest first.
        self._left: dict[str, None] = {}

    def keep_only(self, ids: Collection[str]) -> None:
        """Remove what is left of processes that nobody knows any more."""
        for name in os.listdir(self._folder):
            if name.partition(".")[0] not in ids:
                self.remove(name)

    def create(self, name: str) -> int:
        """An empty file, as a descriptor."""
        path = os.path.join(self._folder, name)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._left.pop(name, None)
        return descriptor

    def remove(self, *names: str) -> None:
        """Unlink those of them that exist, and some of those that could not be removed before."""
        for name in (*names, *itertools.islice(self._left, AGAIN)):
            known = name in self._left
            self._left.pop(name, None)
            try:
                os.unlink(os.path.join(self._folder, name))
            except FileNotFoundError:
                pass
            except OSError as error:
                # At the end, so that all have their turn. If none succeeds the next daemon clears the directory.
                self._left[name] = None
                if not known:
                    _log.warn("{name} could not be removed: {error}", name=name, error=error.strerror)

    def close(self) -> None:
        """Let another daemon have the directory."""
        os.close(self._lock)


def _check_private(directory: str) -> None:
    """Refuse a state directory that others can write to, or can put another in the place of."""
    try:
        check_way(os.path.abspath(directory))
        mode = stat.S_IMODE(os.stat(directory).st_mode)
    except UnsafeWay as unsafe:
        raise StateUnusable(f"{directory} {unsafe}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateUnusable(
            f"{directory} has mode {mode:04o}: others can change what runs after a reboot; chmod 0700 it"
        )


Files = MemoryFiles | DirectoryFiles


def open_files(state: str | None) -> Files:
    """The files of a daemon with this state directory, or with none."""
    return MemoryFiles() if state is None else DirectoryFiles(state)
