"""How long readers may hold a process back: pauses its output, counts the time, lets go; knows no clients."""

from __future__ import annotations

from typing import Any, Protocol

from netdaemon.process.spool import Spool

# Seconds for which readers that held are waited for when a new daemon has taken over: clients come back in a fraction
# of it, and one that has died meanwhile costs the process no more.
RETURN = 10.0


# Seconds: what is left of a right after it was waited for is an error of rounding, and cannot be waited for.
RESOLUTION = 1e-6


class Holder(Protocol):
    """A reader of a spool with a right to hold.

    :ivar allowance: seconds for which it may still hold the process back before it has caught up; None: for ever.
    """

    floor: int
    allowance: float | None

    def lapse(self) -> None:
        """The right is used up: the reader holds no more."""


class Absent:
    """Stands for readers that held when the daemon before this one was killed, until they are back.

    What was sent to them may not have arrived: they may need all that is kept.
    """

    def __init__(self, floor: int, count: int, allowance: float) -> None:
        self.floor = floor
        self.count = count
        self.allowance: float | None = allowance

    def lapse(self) -> None:
        """They do not come."""


class Producer(Protocol):
    """What is held back."""

    def resumeProducing(self) -> None:
        """Go on."""


class Holding:
    """The pauses of one process.

    A reader's allowance is what it may cost in total since it was last caught up: one that reads a byte now and then
    gains nothing by it.
    """

    def __init__(self, spool: Spool, clock: Any) -> None:
        self._spool = spool
        self._clock = clock
        self._producer: Producer | None = None
        self._since: float | None = None
        self._blockers: list[Holder] = []
        self._timer: Any = None
        self._absent: Absent | None = None
        self._waiting: Any = None

    def expect(self, count: int, allowance: float | None) -> None:
        """So many readers held, with such a right at most, and will be back soon if at all."""
        if count:
            grace = RETURN if allowance is None else min(allowance, RETURN)
            self._absent = Absent(self._spool.begin, count, grace)
            self._spool.hold(self._absent)
            self._waiting = self._clock.callLater(RETURN, self._all_here)

    def returned(self) -> None:
        """A reader that holds has come."""
        if self._absent is not None:
            self._absent.count -= 1
            if self._absent.count <= 0:
                self._all_here()

    def _all_here(self) -> None:
        """Nobody is waited for any more."""
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        absent, self._absent, self._waiting = self._absent, None, None
        if absent is not None:
            self._spool.release(absent)
            self.moved()

    def block(self, producer: Producer) -> None:
        """*producer* has stopped because there is no room."""
        self._producer = producer
        if self._since is None:
            self._begin()

    def _begin(self) -> None:
        self._since = self._clock.seconds()
        self._blockers = list(self._spool.blocking())  # type: ignore[arg-type]  # every holder of ours is a Holder
        allowances = [one.allowance for one in self._blockers if one.allowance is not None]
        if allowances:
            self._timer = self._clock.callLater(max(0.0, min(allowances)), self._expire)

    def _stop(self) -> None:
        """Charge the time to those who cost it."""
        assert self._since is not None
        elapsed = self._clock.seconds() - self._since
        self._since = None
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        for one in self._blockers:
            if one.allowance is not None:
                one.allowance = max(0.0, one.allowance - elapsed)
        self._blockers = []

    def _expire(self) -> None:
        lapsing = list(self._blockers)
        self._stop()
        for one in lapsing:
            if one.allowance is not None and one.allowance <= RESOLUTION:
                self._spool.release(one)
                one.lapse()
        self._go_on()

    def let_go(self) -> None:
        """Nobody holds any more, whatever right was left."""
        for one in self._spool.holders:
            self._spool.release(one)
            one.lapse()  # type: ignore[attr-defined]  # every holder of ours is a Holder
        self._all_here()
        self.moved()

    def moved(self) -> None:
        """A reader has read on, or has left: there may be room."""
        if self._since is not None and self._spool.room() > 0:
            self._stop()
            self._go_on()

    def _go_on(self) -> None:
        if self._spool.room() > 0:
            if self._producer is not None:
                self._producer.resumeProducing()
        elif self._since is None:
            self._begin()

    def close(self) -> None:
        """The process is forgotten."""
        self._producer = None
        self._all_here()
        if self._since is not None:
            self._stop()
