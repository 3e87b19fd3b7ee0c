"""Reads a log again: the files set aside, compressed or not, and the present one as far as a daemon tells."""

from __future__ import annotations

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


class Moved(Exception):
    """A file was set aside, or removed, since the daemon told how the log stands: ask again."""


def _ignore(what: str) -> None:
    """Nobody wants to know."""


def read(
    path: str,
    logged: Logged,
    *,
    since: int | None = None,
    begin: int | None = None,
    complain: Callable[[str], None] = _ignore,
) -> Iterator[Line]:
    """The lines of a log, oldest first, up to exactly where *logged* says that it ends.

    :param since: only lines from this time on, in microseconds since the epoch.
    :param begin: only the output from this offset on, counted back from the end; the first line may be a part of one.
        What was lost has no bytes: before the last loss, offsets are larger than they should be.
    :param complain: told of what is no line, and of files that cannot be read to their end; they are passed over.
    :raises Moved: at the first line or at a later one; what came before it was right.
    :raises OSError: a file cannot be opened.
    """
    with opened_directory(path) as (directory, name):
        # A daemon that cannot write has no present file.
        present = _open_present(directory, name, logged) if logged.inode else None
        with closing(_Files(directory, present, logged, complain)) as files:
            names = list_aside(directory, name, files.owner)
            if present is not None and not _is_present(directory, name, present):
                # It may be among those set aside, too.
                raise Moved(f"{path} was set aside just now")
            if since is not None:
                # A file that was set aside before has nothing of it.
                least = name + stamped(since)
                names = [one for one in names if one.removesuffix(COMPRESSED) >= least]
            skip = 0
            if begin is not None:
                names, skip = _from_offset(files, names, logged.offset - begin)
            for one in (*names, None):
                for line in files.lines(one):
                    data = line.data[skip:]
                    skip -= len(line.data) - len(data)
                    if data and (since is None or line.time >= since):
                        yield Line(line.time, line.channel, data)


def _open_present(directory: int, name: str, logged: Logged) -> int:
    try:
        descriptor = _open(directory, name)
    except FileNotFoundError:
        raise Moved(f"{name} is not there") from None
    status = os.fstat(descriptor)
    if status.st_ino != logged.inode or status.st_size < logged.size:
        os.close(descriptor)
        raise Moved(f"{name} is another file than the daemon writes to, or has been emptied")
    return descriptor


def _open(directory: int, name: str) -> int:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Moved(f"{name} is no regular file")
    return descriptor


def _is_present(directory: int, name: str, descriptor: int) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


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
    """The files of one log."""

    def __init__(self, directory: int, present: int | None, logged: Logged, complain: Callable[[str], None]) -> None:
        self._directory = directory
        self._present = present
        self._logged = logged
        self._complain = complain

    @property
    def owner(self) -> int | None:
        """Whose they are; None: that cannot be seen."""
        return None if self._present is None else os.fstat(self._present).st_uid

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
            while self._present is not None and place < self._logged.size:
                octets = os.pread(self._present, min(_CHUNK, self._logged.size - place), place)
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
