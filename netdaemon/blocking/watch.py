"""A subscription to what happens to processes: its events, over one connection after another; knows no socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from netdaemon.blocking.timeouts import DEFAULT, Deadline, Timeout
from netdaemon.errors import NetdaemonError
from netdaemon.resumption import Events, Follows
from netdaemon.wire import commands
from netdaemon.wire.answers import End, Event, Happened, Message, Watching
from netdaemon.wire.commands import Detach, Request
from netdaemon.wire.records import Reason

if TYPE_CHECKING:
    from netdaemon.blocking.link import Link


class Watch(Follows):
    """What happens to processes, as `Happened`, in order and each once. Made by `Client.watch`.

    Iterating waits for one event after the other; `take` gives one that has come. Of what waits here too much is never
    kept: the subscription is left then, and taken up again where it was once most of it has been taken. So it is when
    the connection was lost (see `Link`), and when the daemon has ended it because events were not taken
    (``resubscribe``). Nothing is told twice or left out, unless the daemon does not know any more what happened after
    that place: then a snapshot comes, an event for each process as it is now, and `fresh_count` grows before its first
    event. So it does where what was interrupted was a snapshot.

    :ivar attachment: its id on the wire, which is another each time that it is taken up.
    :ivar end: why it is over by a word of the daemon's or ours, or None.
    :ivar error: why it is over without that: the connection is lost for good, or taking it up again was refused.
    :ivar on_fresh: called when a snapshot begins, before its first event; the first time there is nobody to call.
    :ivar due: nothing is ever to be done for it at a certain time.
    """

    due: float | None = None

    def __init__(self, client: Link, asked: Request) -> None:
        assert isinstance(asked, commands.Watch)
        self.client = client
        self.attachment = 0
        self.end: End | None = None
        self.error: NetdaemonError | None = None
        self.on_fresh: Callable[[], object] | None = None
        self._asked = asked
        self._events = Events(asked.since, self._freshly)
        # Left, because too much waits.
        self._away = False
        # Whether the daemon knows of it.
        self._open = False

    def _freshly(self) -> None:
        if self.on_fresh is not None:
            self.on_fresh()

    # --- events ------------------------------------------------------------------------------------------------------

    def take(self) -> Happened | None:
        """The next event that has been received, or None; does not wait."""
        event = self._events.take()
        if self._away and self._events.drained and self.end is None and self.error is None:
            self._away = False
            self._subscribe()
        return event

    def next_event(self, timeout: Timeout = None) -> Happened | None:
        """The next event; None if there will be no more.

        :raises TimedOut: nothing happened within *timeout* seconds.
        :raises ConnectionClosed: the connection ended for good, and all events that had been received have been taken.
        :raises Refusal: likewise, the daemon does not let us go on.
        """
        deadline = Deadline(timeout, self.client.timeout)
        while True:
            event = self.take()
            if event is not None:
                return event
            if self.end is not None:
                return None
            if self.error is not None:
                raise self.error
            try:
                self.client.pump(deadline.left("nothing happened"))
            except NetdaemonError:
                if self.error is None:
                    raise

    def events(self, timeout: Timeout = None) -> Iterator[Happened]:
        """Its events, in order, until it is over.

        :param timeout: seconds that each may take.
        """
        while (event := self.next_event(timeout)) is not None:
            yield event

    def __iter__(self) -> Iterator[Happened]:
        return self.events()

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Be told no more. What was told and not taken is gone."""
        if self._open and self.end is None and self.error is None:
            self.client.call(Detach(to=self.attachment), Message, timeout)
        self.end = self.end or End(reason=Reason.DETACHED)
        self._events.clear()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.client.lost is None:
            try:
                self.close()
            except NetdaemonError:
                if kind is None:
                    raise

    # --- for the link ------------------------------------------------------------------------------------------------

    def arrived(self, event: Event) -> bool:
        """Something was told; True if the daemon does not know of it any more."""
        if isinstance(event, End):
            self._open = False
            if event.reason is Reason.RESUBSCRIBE and self.end is None:
                self._subscribe()
            else:
                self.end = event
            return True
        if isinstance(event, Happened) and self.end is None:
            self._events.put(event)
            if self._events.full:
                self._away, self._open = True, False
                self.client.submit(Detach(to=self.attachment))
                return True
        return False

    def _subscribe(self) -> None:
        self.client.submit(self.resumption(), self._answered, watch=self)

    def _answered(self, answer: Message | NetdaemonError) -> None:
        if isinstance(answer, NetdaemonError):
            self.lost(answer)

    def work(self) -> None:
        """Nothing is sent by itself."""

    def disconnected(self) -> None:
        """There is no connection. What comes next is `resumed`, `lost` or an END."""

    def resumption(self) -> commands.Watch:
        """What takes it up again, where it was."""
        return replace(self._asked, since=self._events.since)

    def resumed(self, reply: Watching) -> None:
        """It is subscribed."""
        self._open = True
        self._events.began(reply)
        if self.end is not None:
            # It was closed meanwhile.
            self.client.submit(Detach(to=self.attachment))

    def lost(self, error: NetdaemonError) -> None:
        """It is over; what has been received can still be taken."""
        self._open = False
        self.error = error
