"""Reads a log again: the files set aside, compressed or not, and the present one as far as a daemon tells."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import IO

from netdaemon.logs.cri import Decoder, Invalid, Line
from netdaemon.logs.files import COMPRESSED, list_aside, opened_directory, stamped
from netdaemon.wire.told import Logged

_CHUNK = 256 * 1024


# How often it is begun anew where a file is set aside between looking and asking, before the caller is told.
_ATTEMPTS = 20


class Moved(Exception):
    """A file was set aside or removed meanwhile: begin anew, from the offset after what was read."""


def _ignore(what: str) -> None:
    """Nobody wants to know."""


def read(
    path: str,
    ask: Callable[[], Logged],
    *,
    since: int | None = None,
    begin: int | None = None,
    complain: Callable[[str], None] = _ignore,
) -> Iterator[Line]:
    """The lines of a log, oldest first, up to exactly where the daemon says that it ends.

    :param ask: asks the daemon how the log stands. It is called once the file is open, so that the number of that
        cannot become another file's; more than once if the log moves just then. What it returned last is what counts.
    :param since: only lines from this time on, in microseconds since the epoch.
    :param begin: only the output from this offset on, counted back from the end; the first line may be a part of one.
        What was lost has no bytes: before the last loss, offsets are larger than they should be.
    :param complain: told of what is no line, and of files that cannot be read to their end; they are passed over.
    :raises Moved: at the first line or at a later one; what came before it was right.
    :raises OSError: a file cannot be opened.
    """
    with opened_directory(path) as (directory, name), closing(_found(directory, name, ask, complain)) as files:
        names = files.aside
        if since is not None:
            # A file that was set aside before has nothing of it.
            least = name + stamped(since)
            names = [one for one in names if one.removesuffix(COMPRESSED) >= least]
        skip = 0
        if begin is not None:
            names, skip = _from_offset(files, names, files.logged.offset - begin)
        for one in (*names, None):
            for line in files.lines(one):
                data = line.data[skip:]
                skip -= len(line.data) - len(data)
                if data and (since is None or line.time >= since):
                    yield Line(line.time, line.channel, data)


def _found(directory: int, name: str, ask: Callable[[], Logged], complain: Callable[[str], None]) -> _Files:
    """The files as they were at one instant."""
    for _ in range(_ATTEMPTS):
        present = _open_present(directory, name)
        try:
            logged = ask()
            if not logged.inode:
                # A daemon that cannot write has no present file, whatever is there.
                return _Files(directory, None, logged, _all_aside(directory, name, None), complain)
            if present is not None and _agree(present, logged):
                aside = _all_aside(directory, name, os.fstat(present).st_uid)
                # Else it may be among those set aside, too.
                if _is_at(directory, name, present):
                    files = _Files(directory, present, logged, aside, complain)
                    present = None
                    return files
        finally:
            if present is not None:
                os.close(present)
    raise Moved(f"{name} is not, or does not stay, the file that the daemon writes to")


def _all_aside(directory: int, name: str, uid: int | None) -> list[str]:
    """Those set aside, every one of them.

    The kernel lists a directory by and by: of a file that is replaced by its compressed form meanwhile, neither may be
    seen. When it is listed once more, that is over.
    """
    before: list[str] | None = None
    for _ in range(_ATTEMPTS):
        found = list_aside(directory, name, uid)
        plain = [one.removesuffix(COMPRESSED) for one in found]
        if plain == before:
            return found
        before = plain
    raise Moved(f"those set aside of {name} do not stay as they are")


def _open_present(directory: int, name: str) -> int | None:
    try:
        return _open(directory, name)
    except (FileNotFoundError, Moved):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _agree(present: int, logged: Logged) -> bool:
    """Whether it is the file that is written to."""
    status = os.fstat(present)
    return status.st_ino == logged.inode and status.st_size >= logged.size


def _is_at(directory: int, name: str, descriptor: int) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _open(directory: int, name: str) -> int:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Moved(f"{name} is no regular file")
    return descriptor


def _from_offset(files: _Files, names: list[str], wanted: int) -> tuple[list[str], int]:
    """The files that have the last *wanted* bytes of output, and how many bytes of the first are before them."""
    needed: deque[str] = deque()
    found = files.count(None)
    for one in reversed(names):
        if found >= wanted:
            break
        found += files.count(one)
        needed.appendleft(one)
    return list(needed), max(0, found - max(0, wanted))


class _Files:
    """The files of one log.

    :ivar aside: the names of those set aside.
    """

    def __init__(
        self, directory: int, present: int | None, logged: Logged, aside: list[str], complain: Callable[[str], None]
    ) -> None:
        self.logged = logged
        self.aside = aside
        self._directory = directory
        self._present = present
        self._complain = complain

    def close(self) -> None:
        if self._present is not None:
            os.close(self._present)

    def count(self, name: str | None) -> int:
        """How many bytes of output are in it."""
        return sum(len(line.data) for line in self._decoded(name) if isinstance(line, Line))

    def lines(self, name: str | None) -> Iterator[Line]:
        """Its lines; None: of the present one."""
        for line in self._decoded(name):
            if isinstance(line, Invalid):
                self._complain(f"{name or 'the present file'}: {line.octets!r} is no CRI line")
            else:
                yield line

    def _decoded(self, name: str | None) -> Iterator[Line | Invalid]:
        decoder = Decoder()
        for octets in self._octets(name):
            yield from decoder.feed(octets)
        yield from decoder.end()

    def _octets(self, name: str | None) -> Iterator[bytes]:
        if name is None:
            place = 0
            while self._present is not None and place < self.logged.size:
                octets = os.pread(self._present, min(_CHUNK, self.logged.size - place), place)
                if not octets:
                    raise Moved("the present file was emptied")
                place += len(octets)
                yield octets
            return
        plain = name.removesuffix(COMPRESSED)
        # It may have been compressed since it was found.
        for one in (name, plain + COMPRESSED):
            try:
                descriptor = _open(self._directory, one)
            except FileNotFoundError:
                continue
            with open(descriptor, "rb") as file:
                if one == plain:
                    while octets := file.read(_CHUNK):
                        yield octets
                else:
                    yield from self._unpacked(one, file)
            return
        raise Moved(f"{name} was removed")

    def _unpacked(self, name: str, file: IO[bytes]) -> Iterator[bytes]:
        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                while octets := unpacked.read(_CHUNK):
                    yield octets
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self._complain(f"{name}: {error}")
