"""How long readers may hold a process back: pauses its output, counts the time, lets go; knows no clients."""

from __future__ import annotations

from typing import Any, Protocol

from netdaemon.process.spool import Spool


class Holder(Protocol):
    """A reader of a spool with a right to hold.

    :ivar allowance: seconds for which it may still hold the process back before it has caught up; None: for ever.
    """

    offset: int
    allowance: float | None

    def lapse(self) -> None:
        """The right is used up: the reader holds no more."""


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
            if one.allowance is not None and one.allowance <= 0:
                self._spool.release(one)
                one.lapse()
        self._go_on()

    def let_go(self) -> None:
        """Nobody holds any more, whatever right was left."""
        for one in self._spool.holders:
            self._spool.release(one)
            one.lapse()  # type: ignore[attr-defined]  # every holder of ours is a Holder
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
        if self._since is not None:
            self._stop()
