"""Octets that are replaced as a whole, in a file that has other things, too: a kill leaves the old or the new ones."""

from __future__ import annotations

import os
from struct import Struct

from netdaemon.process.holes import PAGE

# Where the octets are that count, and how many; where both places are, and how large: written in one go, after them.
_LIVE = Struct("<QQQQ")

# How much longer they may become without a new place for them: all that can still happen to a process.
SPARE = 1024


class Slots:
    """Two places in a file, used by turns.

    :param live_at: where in the file it is noted which one counts.
    :param start: where the two small ones are, which have room for so many bytes up to the end of the first page;
        larger ones are at the end of the file, and have their room from the beginning, so that a full disk cannot
        keep anything from being replaced.
    """

    def __init__(self, descriptor: int, live_at: int, start: int) -> None:
        self._descriptor = descriptor
        self._live_at = live_at
        self._first = start
        self._room = (PAGE - start) // 2
        self._live = 0

    def write(self, octets: bytes) -> None:
        """Have *octets* there from now on.

        :raises OSError: what was there before is still there.
        """
        first, room = self._first, self._room
        if len(octets) > room:
            room = -(-(len(octets) + SPARE) // PAGE) * PAGE
            first = -(-os.fstat(self._descriptor).st_size // PAGE) * PAGE
            os.posix_fallocate(self._descriptor, first, 2 * room)
        place = first + room if self._live == first else first
        os.pwrite(self._descriptor, octets, place)
        os.pwrite(self._descriptor, _LIVE.pack(place, len(octets), first, room), self._live_at)
        self._first, self._room, self._live = first, room, place

    def read(self) -> bytes:
        """What is there; nothing if nothing was written."""
        place, length, first, room = _LIVE.unpack(os.pread(self._descriptor, _LIVE.size, self._live_at))
        if place:
            self._first, self._room, self._live = first, room, place
        return os.pread(self._descriptor, length, place)
