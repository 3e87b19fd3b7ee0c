"""The log of one process as files: lines appended, set aside by size and age; exact to the byte after any kill.

What is saved after each write tells how much of the output is in how much of which file. Whatever a kill leaves beyond
that is cut off and written again. Knows no process, and is called by one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from netdaemon.logs import files
from netdaemon.logs.cri import Block, Line, first_line, parse, split
from netdaemon.wire.specs import Log

# Read at the beginning of a file that is there already, for the time of its first line.
_HEAD = 64


@dataclass(frozen=True, slots=True)
class Position:
    """What is logged: all output before ``offset``, but for ``lost`` bytes; the file ``inode`` ends at ``size``."""

    offset: int = 0
    inode: int = 0
    size: int = 0
    lost: int = 0


def _now() -> int:
    return time.time_ns() // 1000


class LogFile:
    """The present file of a log.

    :param position: what was saved last; of a new log, with the offset of the first byte that is to be in it.
    :param save: has to keep what it is given so that it survives a kill.
    :param now: microseconds since the epoch.
    :ivar position: what is so, and saved.
    :ivar untidy: whether there may be something for `netdaemon.logs.files.tidy` to do.
    """

    def __init__(
        self, spec: Log, position: Position, save: Callable[[Position], None], now: Callable[[], int] = _now
    ) -> None:
        self.spec = spec
        self.position = position
        self.untidy = True
        self._save = save
        self._now = now
        self._descriptor = -1
        # Whether there may be a part of a line after the end.
        self._torn = False
        # The time of the first line, in microseconds.
        self._born: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a present file."""
        return self._descriptor >= 0

    # --- opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Have the file open, and as the position says.

        :raises BadRequest: what is at the path may not be a log.
        :raises OSError: it cannot be opened.
        """
        if self._descriptor >= 0:
            return
        self._descriptor = files.open_log(self.spec.path)
        try:
            inode = os.fstat(self._descriptor).st_ino
            if inode != self.position.inode:
                # Another file than the last. What is in it is somebody else's, or of another process before this one.
                self._torn = False
                self._move(replace(self.position, inode=inode, size=self._end()))
            else:
                # The file as it was, and perhaps what was written before a kill and not saved.
                self._torn = True
            self._agree()
            self._born = self._read_born()
        except BaseException:
            self.close()
            raise

    def _end(self) -> int:
        """The size of the file, which ends with a newline from now on."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            size += os.pwrite(self._descriptor, b"\n", size)
        return size

    def _agree(self) -> None:
        """Have the file end where the position says, or the position say where it ends if somebody else changed it."""
        size = os.fstat(self._descriptor).st_size
        if self._torn and size > self.position.size:
            os.ftruncate(self._descriptor, self.position.size)
        elif size != self.position.size:
            # Somebody has emptied it, or has written to it.
            self._move(replace(self.position, size=self._end()))
            self._born = self._read_born()
        self._torn = False

    def _read_born(self) -> int | None:
        """When the first line was; now, if there is something else."""
        head = os.pread(self._descriptor, _HEAD, 0)
        if not head:
            return None
        line = parse(head.partition(b"\n")[0])
        return line.time if isinstance(line, Line) else self._now()

    def _move(self, position: Position) -> None:
        self.position = position
        self._save(position)

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(self, blocks: list[Block]) -> None:
        """Write lines, in as many files as it takes.

        :raises BadRequest, OSError: it could not be; the position tells how much of it was.
        """
        self.open()
        self._follow()
        while blocks:
            if self._is_old():
                self._rotate()
            room = max(0, self.spec.size - self.position.size)
            fitting, others = split(blocks, room)
            if others and not self.position.size and not any(one.octets for one in fitting):
                # A line that is longer than a file may be has a file for itself.
                fitting, others = split(blocks, first_line(blocks))
            if fitting:
                self._write(fitting)
            blocks = others
            if blocks:
                self._rotate()

    def _follow(self) -> None:
        """See what others have done to the file."""
        if not os.fstat(self._descriptor).st_nlink:
            # It was removed: nobody would ever read what is written to it.
            self.close()
            self.open()
        self._agree()

    def _write(self, blocks: list[Block]) -> None:
        octets = memoryview(b"".join([one.octets for one in blocks]))
        start = self.position.size
        written = 0
        try:
            while written < len(octets):
                written += os.pwrite(self._descriptor, octets[written:], start + written)
        except OSError:
            # A full disk takes a part. Whole lines of it stay.
            whole, _ = split(blocks, written)
            self._torn = True
            os.ftruncate(self._descriptor, start + sum(len(one.octets) for one in whole))
            self._torn = False
            if whole:
                self._wrote(whole)
            raise
        self._wrote(blocks)

    def _wrote(self, blocks: list[Block]) -> None:
        position = self.position
        if self._born is None and any(one.octets for one in blocks):
            self._born = self._now()
        self._move(
            replace(
                position,
                offset=position.offset + sum(one.raw for one in blocks),
                size=position.size + sum(len(one.octets) for one in blocks),
                lost=position.lost + sum(one.raw for one in blocks if one.lost),
            )
        )

    def _is_old(self) -> bool:
        age = self.spec.age
        return age is not None and self._born is not None and self._now() - self._born >= age * 1000

    def _rotate(self) -> None:
        """Set the file aside and begin another.

        A kill in between leaves no file, or an empty one: neither is what was saved last, and another is begun.
        """
        if files.is_at(self.spec.path, self._descriptor):
            files.set_aside(self.spec.path, self._now())
            self.untidy = True
        self.close()
        self.open()

    def reopen(self) -> None:
        """Somebody may have moved the file: go on in the one that is at the path now.

        :raises BadRequest, OSError: it cannot be opened; the next `append` tries again.
        """
        if self._descriptor >= 0 and not files.is_at(self.spec.path, self._descriptor):
            self.close()
        self.open()

    def close(self) -> None:
        """Let go of the file; the next `append` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._born = None
