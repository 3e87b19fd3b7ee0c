"""What came for one attachment and its owner has not taken yet: kept in order, and never without bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netdaemon.errors import ConnectionClosed
from netdaemon.wire.answers import End, Event, Gap, Output, Status
from netdaemon.wire.records import Reason

# Output that waits to be taken before the daemon is asked to send no more, and what is left when it may go on: some
# turns of the loop's worth, so that a reader that keeps up is never waited for.
HIGH_WATER = 1 << 20
LOW_WATER = 256 << 10

_log = Logger()


class Listener:
    """Is told what happens on an attachment, in order. Override what is of interest; what that raises is logged."""

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        """The process wrote *data*: to stdout (1) or stderr (2), at an offset, about when (microseconds, UTC)."""

    def on_gap(self, from_: int, to: int) -> None:
        """The output from one offset up to another is not kept any more."""

    def on_eof(self, channel: int) -> None:
        """No more output comes on *channel*; for 0, the process reads no more input."""

    def on_status(self, status: Status) -> None:
        """The process has come to another state; all that it wrote before it exited has been told."""

    def on_end(self, reason: Reason) -> None:
        """The attachment is over, and nothing follows."""

    def on_lost(self, error: ConnectionClosed) -> None:
        """The connection is lost, there will be no other, and nothing follows; the process goes on without us."""


class Delivery:
    """The events of one attachment on their way to whoever takes them: a `Listener`, or one item at a time.

    :param on_pressure: called with whether the daemon should pause, whenever that changes.
    :ivar size: how many bytes of output wait.
    """

    def __init__(self, on_pressure: Callable[[bool], None]) -> None:
        self.size = 0
        self.paused = False
        self._on_pressure = on_pressure
        self._full = False
        self._items: deque[Event | ConnectionClosed] = deque()
        self._listener: Listener | None = None
        self._taker: Deferred[None] | None = None
        self._delivering = False

    @property
    def pressure(self) -> bool:
        """Whether the daemon should send nothing: the owner said so, or too much waits."""
        return self.paused or self._full

    @property
    def waits(self) -> bool:
        """Whether there is something to take."""
        return bool(self._items)

    def put(self, item: Event | ConnectionClosed) -> None:
        """Something came."""
        if self._listener is not None and not self._items and not self.paused and not self._delivering:
            self._tell(item)
            return
        self._items.append(item)
        if type(item) is Output:
            self.size += len(item.payload)
            if self.size >= HIGH_WATER and not self._full:
                self._change(full=True)
        if self._taker is not None:
            taker, self._taker = self._taker, None
            taker.callback(None)

    def _change(self, *, full: bool | None = None, paused: bool | None = None) -> None:
        before = self.pressure
        self._full = self._full if full is None else full
        self.paused = self.paused if paused is None else paused
        if self.pressure is not before:
            self._on_pressure(self.pressure)

    # --- a listener --------------------------------------------------------------------------------------------------

    def listen(self, listener: Listener | None) -> None:
        """Tell *listener* from here on, beginning with what waits."""
        self._listener = listener
        self._deliver()

    def pause(self) -> None:
        """Tell the listener nothing until `resume`; what is on its way is kept."""
        self._change(paused=True)

    def resume(self) -> None:
        """Go on."""
        self._change(paused=False)
        self._deliver()

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._items and self._listener is not None and not self.paused:
                self._tell(self._pop())
        finally:
            self._delivering = False

    def _tell(self, item: Event | ConnectionClosed) -> None:
        listener = self._listener
        assert listener is not None
        try:
            if type(item) is Output:
                if item.payload:
                    listener.on_output(item.channel, item.payload, item.offset, item.time)
                else:
                    listener.on_eof(item.channel)
            elif type(item) is Gap:
                listener.on_gap(item.from_, item.to)
            elif type(item) is Status:
                listener.on_status(item)
            elif type(item) is End:
                listener.on_end(item.reason)
            elif isinstance(item, ConnectionClosed):
                listener.on_lost(item)
        except Exception:
            _log.failure("a listener of a process failed")

    # --- one at a time -----------------------------------------------------------------------------------------------

    async def take(self) -> Event | ConnectionClosed:
        """The next item; waits for it."""
        while not self._items:
            if self._taker is not None:
                raise RuntimeError("the output of a process has one reader at a time")
            self._taker = Deferred(self._leave)
            await self._taker
        return self._pop()

    def _leave(self, taker: Deferred[None]) -> None:
        if self._taker is taker:
            self._taker = None

    def _pop(self) -> Event | ConnectionClosed:
        item = self._items.popleft()
        if type(item) is Output:
            self.size -= len(item.payload)
            if self._full and self.size <= LOW_WATER:
                self._change(full=False)
        return item
