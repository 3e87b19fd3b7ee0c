"""One reader of one process's output: where it is, which channels it wants, how long it may hold; knows no sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netdaemon.process.record import Process
from netdaemon.process.spool import Segment
from netdaemon.wire.answers import Gap, Output, Status

Item = Segment | Gap | Output | Status

# What a reader that is renewed must have read to have its right to hold anew.
RENEWED_AFTER = 1 << 20


def _nothing() -> None:
    """Nobody is to be told."""


class Cursor:
    """Reads a process at its own pace, from ``offset`` on.

    :param channels: which outputs are wanted.
    :param hold: seconds for which it may hold the process back, in total since it was last caught up; 0 drops,
        None holds for ever.
    :param renewed: whether it has that right anew when it has read so much, too: slow, but not stopped.
    :ivar floor: from where on it would need what is kept, were this program killed: what it was given last may wait
        here to be sent.
    :ivar lapsed: whether its right to hold is used up; it has it again once it has caught up.
    """

    def __init__(
        self,
        process: Process,
        offset: int,
        channels: frozenset[int],
        hold: float | None,
        *,
        renewed: bool = False,
    ) -> None:
        self.process = process
        self.offset = offset
        self.floor = offset
        self.lapsed = False
        self.on_lapse: Callable[[], None] = _nothing
        self.allowance = hold
        self._hold = hold
        self._renewed = renewed
        self._renewed_at = offset
        self._channels = channels
        self._point = 0
        # Kept apart from whether it holds now: a reader that has lapsed still has a right.
        self._may_hold = hold is None or hold > 0
        if self._may_hold:
            process.spool.hold(self)
            process.holding.returned()

    def next(self, limit: int) -> Item | None:
        """What to tell next; output of at most *limit* bytes, valid until something is appended. None: caught up."""
        spool = self.process.spool
        points = self.process.points
        # Whoever asks for more has sent the last.
        self.floor = self.offset
        while True:
            if self.offset < spool.begin:
                gap = Gap(from_=self.offset, to=spool.begin)
                self.offset = spool.begin
                return gap
            self._point, point = points.at(self._point)
            until = spool.end if point is None else point.offset
            if self.offset < until:
                segment = spool.segment(self.offset, min(limit, until - self.offset))
                self.offset += len(segment.data)
                if self._renewed and self.offset - self._renewed_at >= RENEWED_AFTER:
                    self._renewed_at = self.offset
                    self.allowance = self._hold
                if segment.channel in self._channels:
                    return segment
                # Nobody is sent that, and nobody is to wait for it.
                self.floor = self.offset
            elif point is not None:
                self._point += 1
                if point.status is not None:
                    return point.status
                if point.closed == 0 or point.closed in self._channels:
                    assert point.closed is not None
                    # After a gap this may be told later than it happened; offsets never go back.
                    return Output(channel=point.closed, offset=max(point.offset, self.offset), time=point.time)
            else:
                self._caught_up()
                return None

    @property
    def behind(self) -> bool:
        """Whether there is something that has not been told."""
        return self.offset < self.process.spool.end or self._point < self.process.points.end

    def give_up(self) -> Iterator[Gap | Output | Status]:
        """All that has not been told, without the output itself: a gap in its place, then what happened."""
        end = self.process.spool.end
        if self.offset < end:
            yield Gap(from_=self.offset, to=end)
            self.offset = end
        while not isinstance(item := self.next(0), Segment | None):
            yield item

    def _caught_up(self) -> None:
        self.allowance = self._hold
        if self.lapsed:
            self.lapsed = False
            self.process.spool.hold(self)

    def lapse(self) -> None:
        """The right to hold is used up: what is overwritten from here on becomes a GAP."""
        self.lapsed = True
        self.on_lapse()

    def close(self) -> None:
        """Read no more, hold no more."""
        # Whoever is told has this cursor: let go, the two are freed at once.
        self.on_lapse = _nothing
        if self._may_hold:
            self.process.spool.release(self)
            self.process.holding.moved()
