"""What happened to a process, each at its offset of the output; readers tell it where they come to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netdaemon.wire.answers import Status

# Of one that exits and is started again and again the last so many are kept: each is saved whenever anything is.
MOST = 64


@dataclass(frozen=True)
class Point:
    """Something that happened at an offset: a status, or the end of a channel."""

    offset: int
    status: Status | None = None
    closed: int | None = None
    time: int = 0


class Points:
    """The latest points, counted from the first there ever was.

    :ivar end: how many there have been.
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._kept = list(points)
        self.end = len(self._kept)

    def __iter__(self) -> Iterator[Point]:
        return iter(self._kept)

    def append(self, point: Point) -> None:
        """One more; the oldest goes if there are too many."""
        self._kept.append(point)
        self.end += 1
        if len(self._kept) > MOST:
            del self._kept[0]

    def at(self, number: int) -> tuple[int, Point | None]:
        """The point of that number, or the oldest that is kept, and its number; None: it has not come yet."""
        number = max(number, self.end - len(self._kept))
        return number, self._kept[number - self.end] if number < self.end else None
