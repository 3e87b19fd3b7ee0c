"""One client following one process: what is sent for it, and what it may send; knows its peer and its cursor."""

from __future__ import annotations

from typing import Protocol

from netdaemon.daemon.cursor import Cursor
from netdaemon.process.record import Process
from netdaemon.process.spool import Segment
from netdaemon.wire.answers import End, Event
from netdaemon.wire.records import Reason


class Outlet(Protocol):
    """The peer, as an attachment sees it."""

    def ready(self, attachment: Attachment) -> None:
        """There is something to send for *attachment*."""

    def send_output(self, id: int, segment: Segment) -> None:
        """Send output."""

    def send_event(self, id: int, event: Event) -> None:
        """Send an event."""

    def lapsed(self, attachment: Attachment) -> None:
        """The attachment's right to hold is used up."""

    def closed(self, attachment: Attachment) -> None:
        """The attachment is over."""


class Attachment:
    """The cursor of one request's id on one connection.

    :ivar paused: the client asked for silence (FLOW).
    """

    counts = True

    def __init__(
        self,
        outlet: Outlet,
        id: int,
        process: Process,
        *,
        offset: int,
        channels: frozenset[int],
        hold: float | None,
        renewed: bool,
        read_only: bool,
    ) -> None:
        self.outlet = outlet
        self.id = id
        self.process = process
        self.read_only = read_only
        self.holds = hold is None or hold > 0
        self.paused = False
        self.cursor = Cursor(process, offset, channels, hold, renewed=renewed)
        self.cursor.on_lapse = self._lapsed
        self._begun = False
        process.observe(self)

    @property
    def behind(self) -> bool:
        """Whether the client has not been sent everything."""
        return self.cursor.behind

    def begin(self) -> None:
        """The reply is out: events may follow."""
        self._begun = True
        self.wake()

    def wake(self) -> None:
        """There may be more to read."""
        if self._begun and not self.paused:
            self.outlet.ready(self)

    def pause(self, paused: bool) -> None:
        """Send nothing, or go on."""
        self.paused = paused
        self.wake()

    def send(self, limit: int) -> int:
        """Send one thing, output of at most *limit* bytes; 0 if there is nothing to send, else about its size."""
        if self.paused:
            return 0
        item = self.cursor.next(limit)
        if item is None:
            self.process.holding.moved()
            return 0
        if isinstance(item, Segment):
            self.outlet.send_output(self.id, item)
            self.process.holding.moved()
            return len(item.data)
        self.outlet.send_event(self.id, item)
        self.process.holding.moved()
        return 1

    def _lapsed(self) -> None:
        self.outlet.lapsed(self)

    def end(self, reason: Reason) -> None:
        """Tell the client that it is over, and be over; where its output goes with it, what that was, too."""
        if reason is Reason.REMOVED and self._begun:
            for event in self.cursor.give_up():
                self.outlet.send_event(self.id, event)
        self.outlet.send_event(self.id, End(reason=reason))
        self.close()

    def close(self) -> None:
        """Let go of the process."""
        self.process.ignore(self)
        self.cursor.close()
        self.outlet.closed(self)
