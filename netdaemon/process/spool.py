"""The output of one process: a ring in a file, filled by splice, read at 64-bit offsets; knows no processes.

The file holds a header, what is saved of the process, a ring of marks and a ring of bytes. The kernel moves the bytes
and the file's position in one system call, so that the position always tells how much is there, whenever this program
is killed. A mark says from which offset on the bytes are of which channel and were read at what time; it is written
before them.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from struct import Struct
from typing import Protocol

from netdaemon.process.holes import PAGE, punch
from netdaemon.process.slots import Slots

MAGIC = b"NDSPOOL2"

# magic, size of the byte ring, number of marks, the offset that the start of the byte ring stands for, and the offset
# below which nothing is kept, though the ring had room for it.
_HEADER = Struct("<8sQQQQ")
_OFFSET = Struct("<Q")
_BASE_AT = 24
_FLOOR_AT = 32

# How many readers hold, and for how many milliseconds one of them may at most; -1: for ever.
_HELD = Struct("<Qq")
_HELD_AT = 40

# What is saved: see `netdaemon.process.slots`.
_LIVE_AT = 56
_SAVED_AT = 88

# While the ring begins anew its base is odd: the bytes are all there, the position is not what it seems.
_TURNING = 1

# offset, then time in microseconds shifted by two bits, with the channel in them.
MARK = Struct("<QQ")

# One mark for this many kept bytes: lines of ordinary length that alternate between the channels just fit.
BYTES_A_MARK = 64
MARKS_MIN = 64

# What a full disk makes the spool give up of its oldest bytes at a time, so that newer ones find a place.
GIVEN_UP = 64 * 1024

# What a file system says that has no room; nothing was taken from the pipe then.
FULL = (errno.ENOSPC, errno.EDQUOT)

# How far apart in time bytes may be and still be told under one time, in microseconds.
MARK_INTERVAL = 10_000


class Reader(Protocol):
    """Whoever reads and may hold the process back.

    :ivar floor: the offset from which on it needs what is kept.
    :ivar allowance: seconds for which it may still hold; None: for ever.
    """

    floor: int
    allowance: float | None


class Segment:
    """A stretch of bytes of one channel, read at about one time."""

    __slots__ = ("channel", "data", "offset", "time")

    def __init__(self, offset: int, channel: int, time: int, data: memoryview) -> None:
        self.offset = offset
        self.channel = channel
        self.time = time
        self.data = data


class Spool:
    """The output of one process.

    :param descriptor: an empty file, not opened for appending; it is owned from here on. Whoever shares its
        description, position and all, can go on with it when this program is killed: see `adopt`.
    :param keep: how many bytes are kept; rounded up to whole pages.
    :param least: the first byte has this offset at least.
    :ivar saved: octets that go with it.
    :ivar begin: the offset of the oldest byte that is kept.
    :ivar end: the offset after the newest.
    :ivar given_up: how many kept bytes have made room for newer ones because the disk was full.
    :ivar degraded: whether bytes are copied through this program, because splice does not work on this file:
        a kill at the wrong moment could lose them.
    """

    def __init__(self, descriptor: int, keep: int, least: int = 0) -> None:
        size = -(-keep // PAGE) * PAGE
        self._lay_out(descriptor, size, max(MARKS_MIN, size // BYTES_A_MARK))
        base = -(-least // size) * size
        self.begin = self.end = self._turned = base
        os.ftruncate(descriptor, self._start + self.size)
        os.pwrite(descriptor, _HEADER.pack(MAGIC, self.size, self.capacity, base, base), 0)
        os.lseek(descriptor, self._start, os.SEEK_SET)

    def _lay_out(self, descriptor: int, size: int, capacity: int) -> None:
        self.size = size
        self.capacity = capacity
        self.saved = Slots(descriptor, _LIVE_AT, _SAVED_AT)
        self._start = PAGE + -(-self.capacity * MARK.size // PAGE) * PAGE
        self.begin = 0
        self.end = 0
        self.given_up = 0
        self.degraded = False
        self._descriptor = descriptor
        self._view: memoryview | None = None
        self._offsets = array("Q")
        self._notes = array("Q")
        self._marks = 0
        # What was read and could not be written, where splice does not work; and of which channel it is.
        self._held = b""
        self._held_channel = 0
        # Where the ring began anew last.
        self._turned = 0
        self._holders: list[Reader] = []
        self._leaving = False

    @property
    def descriptor(self) -> int:
        """The file, for whoever is to share it."""
        return self._descriptor

    @classmethod
    def adopt(cls, descriptor: int) -> Spool:
        """Go on with the spool of a program that is dead; *descriptor* shares its description, and is owned from here.

        :raises ValueError: it is no spool of ours.
        """
        header = os.pread(descriptor, _HEADER.size, 0)
        if len(header) < _HEADER.size or header[: len(MAGIC)] != MAGIC:
            raise ValueError("it does not begin as a spool of this version does")
        _, size, capacity, base, floor = _HEADER.unpack(header)
        spool = cls.__new__(cls)
        spool._lay_out(descriptor, size, capacity)
        if base & _TURNING:
            # It was beginning anew; the bytes are all there.
            spool.end = base - _TURNING + size
            spool._turn()
        else:
            spool.end = base + os.lseek(descriptor, 0, os.SEEK_CUR) - spool._start
            spool._turned = base
        spool._load_marks()
        spool._forget(min(spool.end, max(floor, spool.end - size)))
        return spool

    # --- who may hold the process back -------------------------------------------------------------------------------

    def hold(self, reader: Reader) -> None:
        """Nothing that *reader* has not read is overwritten, until `release`."""
        self._holders.append(reader)
        self._note_holders()

    def release(self, reader: Reader) -> None:
        """*reader* does not hold any more; it may not be holding."""
        if reader in self._holders:
            self._holders.remove(reader)
            self._note_holders()

    def _note_holders(self) -> None:
        """For whoever goes on with this when we are killed: the readers will be back."""
        if self._descriptor < 0 or self._leaving:
            return
        longest = [-1 if one.allowance is None else int(one.allowance * 1000) for one in self._holders]
        most = -1 if -1 in longest else max(longest, default=0)
        # Whoever stands for several counts for as many.
        count = sum(getattr(one, "count", 1) for one in self._holders)
        try:
            os.pwrite(self._descriptor, _HELD.pack(count, most), _HELD_AT)
        except OSError:
            # Whoever holds holds all the same; only the next daemon would not know.
            pass

    def leave(self) -> None:
        """This program ends, and another goes on: whoever holds now is going to be back there."""
        self._leaving = True

    def held(self) -> tuple[int, float | None]:
        """How many readers hold or held, and for how many seconds one of them might at most; None: for ever."""
        count, most = _HELD.unpack(os.pread(self._descriptor, _HELD.size, _HELD_AT))
        return count, None if most < 0 else most / 1000

    def room(self) -> int:
        """How many bytes may be appended now; 0 while a holder would lose some."""
        if not self._holders:
            return self.size
        floor = min(reader.floor for reader in self._holders)
        if len(self._offsets) >= self.capacity and floor < self._offsets[1]:
            return 0
        return max(0, self.size - (self.end - floor))

    @property
    def holders(self) -> tuple[Reader, ...]:
        """Who holds."""
        return tuple(self._holders)

    def blocking(self) -> Iterator[Reader]:
        """The holders because of which there is no room."""
        full = len(self._offsets) >= self.capacity
        for reader in self._holders:
            if self.end - reader.floor >= self.size or (full and reader.floor < self._offsets[1]):
                yield reader

    # --- appending ---------------------------------------------------------------------------------------------------

    @property
    def unwritten(self) -> bool:
        """Whether something was read and could not be written (see `degraded`); the next append writes it first."""
        return bool(self._held)

    def append_from(self, pipe: int, channel: int, count: int, now: int) -> int:
        """Move up to *count* bytes out of *pipe*, which are of *channel* and read at *now* (microseconds).

        Where the disk is full, the oldest that is kept makes room, unless a holder has not read it.

        :return: how many; 0 at the end of the pipe.
        :raises BlockingIOError: the pipe is empty.
        :raises OSError: ENOSPC and its like: nothing was taken from the pipe.
        """
        start = self.end
        while True:
            try:
                moved = self._append_from(pipe, channel, count, now)
            except OSError as error:
                if error.errno in FULL and self._give_up():
                    continue
                raise
            self._advance(moved)
            if not self._held:
                return self.end - start

    def _append_from(self, pipe: int, channel: int, count: int, now: int) -> int:
        if self._held:
            # It goes first, whatever is asked for now.
            channel = self._held_channel
        place = self.end % self.size
        if place == 0:
            self._turn()
        self._mark(channel, now)
        count = min(count, self.size - place)
        if not self.degraded:
            try:
                return os.splice(pipe, self._descriptor, count, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.degraded = True
        return self._copy(pipe, channel, count)

    def _copy(self, pipe: int, channel: int, count: int) -> int:
        """Without splice. What has been read and finds no place is held here, and goes first the next time."""
        if not self._held:
            self._held, self._held_channel = os.read(pipe, count), channel
        if not self._held:
            return 0
        written = os.write(self._descriptor, self._held)
        self._held = self._held[written:]
        return written

    def _advance(self, count: int) -> None:
        self.end += count
        if self.end - self.begin > self.size:
            self._forget(self.end - self.size)

    def _give_up(self) -> bool:
        """Free some of the oldest pages; False if nothing is kept, or a holder needs it."""
        floor = min((reader.floor for reader in self._holders), default=self.end)
        first = self.begin // PAGE * PAGE
        target = min(floor, first + GIVEN_UP)
        if target <= self.begin:
            return False
        self.given_up += target - self.begin
        self._lose(target)
        length = target // PAGE * PAGE - first
        place = first % self.size
        before = min(length, self.size - place)
        punch(self._descriptor, self._start + place, self._start + place + before)
        if before < length:
            punch(self._descriptor, self._start, self._start + length - before)
        return True

    def _lose(self, target: int) -> None:
        """Keep nothing below *target* any more, though the ring has room for it."""
        os.pwrite(self._descriptor, _OFFSET.pack(target), _FLOOR_AT)
        self._forget(target)

    def drop_from(self, pipe: int, count: int) -> int:
        """Take up to *count* bytes out of *pipe* and keep none of them; whoever reads is told of a gap.

        For what a child left behind that has exited, where the disk is full and nothing is kept that could make room.

        :return: how many; 0 at the end of the pipe.
        :raises BlockingIOError: the pipe is empty.
        """
        place = self.end % self.size
        if place == 0:
            self._turn()
        dropped = len(self._held or os.read(pipe, min(count, self.size - place, GIVEN_UP)))
        self._held = b""
        # Before they count: what nobody has written must not be read.
        self._lose(self.end + dropped)
        os.lseek(self._descriptor, dropped, os.SEEK_CUR)
        self._advance(dropped)
        self.given_up += dropped
        return dropped

    def _turn(self) -> None:
        """Begin the ring anew; at every instant the header and the position together tell the same end."""
        if self._turned == self.end:
            return
        os.pwrite(self._descriptor, _OFFSET.pack((self.end - self.size) | _TURNING), _BASE_AT)
        os.lseek(self._descriptor, self._start, os.SEEK_SET)
        os.pwrite(self._descriptor, _OFFSET.pack(self.end), _BASE_AT)
        self._turned = self.end

    def _mark(self, channel: int, now: int) -> None:
        """Write a mark if the bytes to come are not covered by the last one."""
        note = now << 2 | channel
        live = len(self._offsets)
        if live:
            last = self._notes[-1]
            if self._offsets[-1] == self.end:
                # Nothing has come since: the last mark is corrected.
                if last != note:
                    self._write_mark(self._marks - 1, self.end, note)
                    self._notes[-1] = note
                return
            if last & 3 == channel:
                if now - (last >> 2) < MARK_INTERVAL:
                    return
                if live > self.capacity // 2 and self.end - self._offsets[-1] < BYTES_A_MARK:
                    # Marks are getting scarce, and a time is not worth losing output for.
                    return
        if live >= self.capacity:
            self._forget(self._offsets[1])
        self._write_mark(self._marks, self.end, note)
        self._marks += 1
        self._offsets.append(self.end)
        self._notes.append(note)

    def _write_mark(self, number: int, offset: int, note: int) -> None:
        os.pwrite(self._descriptor, MARK.pack(offset, note), PAGE + number % self.capacity * MARK.size)

    def _load_marks(self) -> None:
        """Read all marks back. They are in the order of their offsets, but for where the ring of marks begins."""
        if os.pread(self._descriptor, MARK.size, PAGE + (self.capacity - 1) * MARK.size) == bytes(MARK.size):
            # It has never been full.
            least, most = 0, self.capacity
            while least < most:
                middle = (least + most) // 2
                if os.pread(self._descriptor, MARK.size, PAGE + middle * MARK.size) == bytes(MARK.size):
                    most = middle
                else:
                    least = middle + 1
            count = least
        else:
            count = self.capacity
        marks = array("Q", os.pread(self._descriptor, count * MARK.size, PAGE))
        if sys.byteorder == "big":
            marks.byteswap()
        offsets, notes = marks[::2], marks[1::2]
        newest = max(range(count), key=offsets.__getitem__, default=-1)
        self._marks = newest + 1
        self._offsets = offsets[newest + 1 :] + offsets[: newest + 1]
        self._notes = notes[newest + 1 :] + notes[: newest + 1]

    def _forget(self, begin: int) -> None:
        """Raise the begin, and drop the marks that only what is before it needed."""
        self.begin = max(self.begin, begin)
        needless = bisect_right(self._offsets, self.begin) - 1
        if needless > 0:
            del self._offsets[:needless]
            del self._notes[:needless]

    # --- reading -----------------------------------------------------------------------------------------------------

    def segment(self, offset: int, limit: int) -> Segment:
        """What is kept from *offset* on: one channel, one time, at most *limit* bytes.

        ``begin <= offset < end``. The data is valid until anything is appended.
        """
        index = bisect_right(self._offsets, offset) - 1
        note = self._notes[index]
        until = self._offsets[index + 1] if index + 1 < len(self._offsets) else self.end
        place = offset % self.size
        length = min(limit, until - offset, self.size - place)
        start = self._start + place
        if self._view is None:
            if self._descriptor < 0:
                # mmap would take it for a wish for empty memory.
                raise ValueError("the spool is closed")
            try:
                self._view = memoryview(
                    mmap.mmap(self._descriptor, self._start + self.size, mmap.MAP_SHARED, mmap.PROT_READ)
                )
            except OSError:
                # A map takes a descriptor, and memory of the kernel's: for want of them it is read.
                return Segment(offset, note & 3, note >> 2, memoryview(os.pread(self._descriptor, length, start)))
        return Segment(offset, note & 3, note >> 2, self._view[start : start + length])

    def rest(self) -> None:
        """Nobody reads for the time being: give back what only reading needs."""
        self._view = None

    def empty(self) -> None:
        """Give back the room of all that is kept, whoever else still has the file; what goes with it stays."""
        self._view = None
        try:
            punch(self._descriptor, PAGE, self._start + self.size)
        except OSError:
            # A file system that cannot: there is room when everybody has closed it.
            pass

    def close(self) -> None:
        """Free the file's descriptor, and its memory as soon as nobody has a segment of it any more."""
        self._view = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
