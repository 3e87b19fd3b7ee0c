"""Files that logs are: which may be one, opening it, the names of those set aside, keeping so many; knows no lines.

Everything is done relative to a descriptor of the directory that was checked: whoever can change the path to it gains
nothing in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
import zlib
from calendar import timegm
from collections.abc import Iterator
from contextlib import contextmanager

from netdaemon.errors import BadRequest
from netdaemon.ways import UnsafeWay, check_way

# Others may not read what a process says, but for the group that the directory gives it to.
MODE = 0o640

# The longest name of a file: what all of Linux's file systems take.
NAME_MAX = 255

# The last octets of a name: of the time at which a file was set aside, in UTC, and of what is done to it then.
_STAMP = "%Y%m%dT%H%M%S"
_STAMPED = re.compile(r"\.(\d{8}T\d{6}\.\d{6}Z)(\.gz)?(\.tmp)?")
COMPRESSED = ".gz"
UNFINISHED = ".tmp"
_LONGEST_SUFFIX = len(".20261128T165500.123456Z") + len(COMPRESSED) + len(UNFINISHED)

# Read and compressed at a time: large enough that the thread seldom needs the interpreter.
_CHUNK = 256 * 1024

# Half of the time of the highest level, for files a few per cent larger.
_LEVEL = 6

# zlib's word for: with the head and tail of gzip.
_GZIP = 16 + zlib.MAX_WBITS


def _refused(path: str, why: str) -> BadRequest:
    return BadRequest(f"log: {path} {why}", field="log")


# --- opening ---------------------------------------------------------------------------------------------------------


@contextmanager
def opened_directory(path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that *path* is in, and the name of *path* there.

    :raises BadRequest: there is none.
    """
    directory, name = os.path.split(path)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _no_way(path, directory, error) from None
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


@contextmanager
def _own_directory(path: str) -> Iterator[tuple[int, str]]:
    """The same, where nobody else can have it lead elsewhere.

    :raises BadRequest: others can.
    """
    _check_way(path)
    with opened_directory(path) as opened:
        yield opened


def _no_way(path: str, directory: str, error: OSError) -> BadRequest:
    if error.errno == errno.ENOENT:
        return _refused(path, f"cannot be: there is no directory {directory}, and none is made")
    return _refused(path, f"cannot be: {directory}: {error.strerror}")


def _check_way(path: str) -> None:
    """Every directory and every link on the way to the file is ours or root's, and nobody else can replace it."""
    try:
        check_way(os.path.dirname(path))
    except UnsafeWay as unsafe:
        raise _refused(path, str(unsafe)) from None
    except OSError as error:
        raise _no_way(path, error.filename, error) from None


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
}


def _check_file(path: str, status: os.stat_result) -> None:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        raise _refused(path, f"is {kind}; a log is a regular file")
    if status.st_uid != os.geteuid():
        raise _refused(
            path, f"belongs to user {status.st_uid}; a log belongs to user {os.geteuid()}, as the daemon does"
        )
    if status.st_nlink > 1:
        raise _refused(path, f"has {status.st_nlink} names (hard links); a log has one")


def open_log(path: str, *, create: bool = True, lock: bool = True) -> int:
    """The file at *path*, made if there is none, for reading and writing; with *lock* by one at a time.

    :raises BadRequest: it is none that may be a log, or another process's log.
    :raises OSError: it cannot be opened; FileNotFoundError if there is none and *create* is false.
    """
    with _own_directory(path) as (directory, name):
        try:
            # Looking comes first: opening a device may do something.
            _check_file(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
        except FileNotFoundError:
            if not create:
                raise
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(name, flags | (os.O_CREAT if create else 0), MODE, dir_fd=directory)
    try:
        # It may have been replaced since.
        _check_file(path, os.fstat(descriptor))
        try:
            if lock:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refused(path, "is another process's log; give each its own") from None
        except OSError:
            # A file system that has no locks.
            pass
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_path(path: str, *, own: bool = False) -> None:
    """Refuse what cannot be a log, before anything happens. Nothing is made, and nothing blocks.

    :param own: it is the log already of the process that it is for: that it is in use is no reason against it.
    :raises BadRequest: it says why.
    """
    room = NAME_MAX - _LONGEST_SUFFIX
    length = len(os.fsencode(os.path.basename(path)))
    if length > room:
        raise _refused(path, f"has a name of {length} octets, at most {room} are allowed: a time is added to it")
    try:
        os.close(open_log(path, create=False, lock=not own))
    except FileNotFoundError:
        with opened_directory(path) as (directory, _):
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
                raise _refused(path, "cannot be made: its directory may not be written to") from None
    except OSError as error:
        raise _refused(path, f"cannot be opened: {error.strerror}") from None


def is_at(path: str, descriptor: int) -> bool:
    """Whether the file that is open is the one at *path* still."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


# --- what is set aside -----------------------------------------------------------------------------------------------


def stamped(now: int) -> str:
    """What is added to a path at so many microseconds since the epoch; later is greater."""
    second, rest = divmod(now, 1_000_000)
    return f".{time.strftime(_STAMP, time.gmtime(second))}.{rest:06}Z"


def set_aside(path: str, now: int) -> None:
    """Give the file at *path* the name of one set aside now, or just after the last one if the clock went back.

    :raises OSError: it could not be; nothing has changed.
    """
    with _own_directory(path) as (directory, name):
        taken = {one[: len(name) + len(stamped(0))] for one in os.listdir(directory) if _is_of(one, name)}
        aside = name + stamped(now)
        last = max(taken, default="")
        if aside <= last:
            aside = name + _after(last[len(name) :])
        os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)


def _after(suffix: str) -> str:
    second, _, rest = suffix[1:-1].partition(".")
    return stamped(timegm(time.strptime(second, _STAMP)) * 1_000_000 + int(rest) + 1)


def _is_of(entry: str, name: str) -> bool:
    return entry.startswith(name) and _STAMPED.fullmatch(entry, len(name)) is not None


def list_aside(directory: int, name: str, uid: int | None) -> list[str]:
    """The names of the files of *uid*, or of anybody, that were set aside, oldest first; each once.

    Of one that is both, the compressed one is whole, and the plain one about to go.
    """
    found: dict[str, str] = {}
    for entry in sorted(os.listdir(directory)):
        if not _is_of(entry, name) or entry.endswith(UNFINISHED):
            continue
        try:
            status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and uid in (None, status.st_uid):
            # The plain name sorts before the other.
            found[entry.removesuffix(COMPRESSED)] = entry
    return list(found.values())


def tidy(path: str, files: int, compress: bool) -> None:
    """Keep so many of those set aside, compressed or not, and finish what a kill has left half done.

    It may be killed at any instant, and done again.

    :raises OSError: something could not be done; the rest was.
    """
    uid = os.geteuid()
    problem: OSError | None = None
    with _own_directory(path) as (directory, name):
        for entry in list_aside(directory, name, uid):
            if entry.endswith(COMPRESSED):
                _remove(directory, entry.removesuffix(COMPRESSED))
        _keep(directory, name, files)
        for entry in list_aside(directory, name, uid) if compress else ():
            if entry.endswith(COMPRESSED):
                continue
            try:
                _remove(directory, entry + COMPRESSED + UNFINISHED)
                _compress(directory, entry)
            except FileNotFoundError:
                # Somebody removed it meanwhile.
                continue
            except OSError as error:
                problem = error
            # While it was done others may have been set aside.
            _keep(directory, name, files)
    if problem is not None:
        raise problem


def _keep(directory: int, name: str, files: int) -> None:
    aside = list_aside(directory, name, os.geteuid())
    for entry in aside[: max(0, len(aside) - files)]:
        _remove(directory, entry + COMPRESSED + UNFINISHED)
        _remove(directory, entry)


def _remove(directory: int, entry: str) -> None:
    try:
        os.unlink(entry, dir_fd=directory)
    except FileNotFoundError:
        pass


def _compress(directory: int, entry: str) -> None:
    unfinished = entry + COMPRESSED + UNFINISHED
    source = os.open(entry, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        target = os.open(unfinished, flags, MODE, dir_fd=directory)
        try:
            with open(target, "wb", buffering=0) as file:
                compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
                while chunk := os.read(source, _CHUNK):
                    _write_all(file.fileno(), compressor.compress(chunk))
                _write_all(file.fileno(), compressor.flush())
            os.rename(unfinished, entry + COMPRESSED, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            _remove(directory, unfinished)
            raise
        _remove(directory, entry)
    finally:
        os.close(source)


def _write_all(descriptor: int, octets: bytes) -> None:
    left = memoryview(octets)
    while left:
        written = os.write(descriptor, left)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        left = left[written:]
