"""A control group for each process, where a directory of them is ours: killing one misses nobody; knows no launcher.

Version 2 only. Whoever is to be put into a group must be in one already that is below the same directory that may be
written, unless it is root who does it: so the kernel contains what is delegated, as systemd does with ``Delegate=yes``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

# In every group of version 2, and in none of version 1.
_OURS = "cgroup.controllers"

_PROCS, _KILL, _EVENTS = "cgroup.procs", "cgroup.kill", "cgroup.events"

# The controllers that a group's own groups have.
_SUBTREE = "cgroup.subtree_control"

# What of a group can be set, as it is where nobody has: a group that an earlier generation had is as good as new.
_USUAL = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "pids.max": "max",
}


class Cgroups:
    """The groups below one directory, each with the id of its process for a name.

    :param directory: of a cgroup2 file system, and ours to write to.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)

    def check(self) -> None:
        """See whether it is what it has to be.

        :raises OSError: it is not; the message says what was tried.
        """
        try:
            os.stat(os.path.join(self.directory, _OURS))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise OSError(errno.EINVAL, "no directory of a cgroup2 file system", self.directory) from error
        # A name that no process has.
        probe = self._path(".netdaemon")
        _make(probe)
        try:
            if not os.path.exists(os.path.join(probe, _KILL)):
                raise OSError(errno.ENOSYS, "Linux 5.14 is the first that kills whole groups", self.directory)
        finally:
            os.rmdir(probe)

    def prepare(self, id: str, settings: Sequence[tuple[str, str]]) -> None:
        """Have the group of a process with these *settings*, (file, content) each, and all else in it as usual.

        :raises OSError: it has them not; ENOTSUP with the name of the controller that is not to be had here.
        """
        path = self._path(id)
        if not settings and not os.path.isdir(path):
            # It is made when there is somebody to be put into it.
            return
        for controller in dict.fromkeys(name.partition(".")[0] for name, _ in settings):
            self._enable(controller)
        _make(path)
        wanted = dict(settings)
        for name, usual in _USUAL.items():
            file = os.path.join(path, name)
            if name in wanted or os.path.exists(file):
                try:
                    _write(file, wanted.get(name, usual).encode())
                except FileNotFoundError as error:
                    # Without swap there is no limit of it, say.
                    raise OSError(errno.ENOTSUP, f"this kernel has no {name}", path) from error

    def _enable(self, controller: str) -> None:
        """Have a controller in our groups.

        :raises OSError: ENOTSUP, it is not to be had.
        """
        subtree = os.path.join(self.directory, _SUBTREE)
        if controller in _words(subtree):
            return
        why = "the directory has no such controller itself"
        available = _words(os.path.join(self.directory, _OURS))
        if controller in available:
            try:
                _write(subtree, b"+" + controller.encode())
                return
            except OSError as error:
                why = f"switching it on: {error.strerror}"
        raise OSError(
            errno.ENOTSUP,
            f"no controller {controller!r} for the groups in it: {why}; cgroup.controllers has "
            f"{' '.join(available) or 'none'}, {_SUBTREE} has {' '.join(_words(subtree)) or 'none'}",
            self.directory,
        )

    def enter(self, id: str, pid: int) -> None:
        """Put a child that waits at its gate into the group of its process, which is made if there is none yet.

        All that descends from it will be in it, too, or in one below.

        :raises OSError: it is not in it.
        """
        path = self._path(id)
        _make(path)
        _write(os.path.join(path, _PROCS), b"%d" % pid)

    def kill(self, id: str) -> bool:
        """SIGKILL to all that is in a group, and below, in one go; also to what is being forked meanwhile.

        :return: whether there is such a group.
        :raises OSError: nobody has been killed.
        """
        try:
            _write(os.path.join(self._path(id), _KILL), b"1")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def pids(self, id: str) -> list[int]:
        """Who is in a group, and below, and has not been waited for; those of other pid namespaces are left out.

        :raises OSError: there is no descriptor left to look with.
        """
        found: set[int] = set()
        for path in self._below(id):
            found.update(int(line) for line in _read(os.path.join(path, _PROCS)).split())
        return sorted(found - {0})

    def is_empty(self, id: str) -> bool:
        """Whether there is nobody in a group, nor below, or no such group."""
        return b"populated 1" not in _read(os.path.join(self._path(id), _EVENTS))

    def remove(self, id: str) -> bool:
        """Remove a group, and what was made below it, once it is empty; whether there is none now.

        :raises OSError: it may not be removed.
        """
        for path in reversed(list(self._below(id))):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # Somebody is in it, or another was made below it just now.
                return False
        return True

    def __iter__(self) -> Iterator[str]:
        """The groups that there are, whoever has made them: some may be of processes that are gone."""
        with os.scandir(self.directory) as entries:
            return iter(sorted(one.name for one in entries if one.is_dir(follow_symlinks=False)))

    def _path(self, id: str) -> str:
        return os.path.join(self.directory, id)

    def _below(self, id: str) -> Iterator[str]:
        """The directories of a group, each before those in it."""
        path = self._path(id)
        if not os.path.isdir(path):
            return
        for name, _, _ in os.walk(path, onerror=_unless_gone):
            yield name


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        # From an earlier generation, or a daemon that was killed.
        pass


def _write(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(file)


def _words(path: str) -> list[str]:
    return _read(path).decode().split()


def _read(path: str) -> bytes:
    """What a file of a group says; nothing where that is gone, or has no processes of its own to tell (threaded)."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return b""
        raise
