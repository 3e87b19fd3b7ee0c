"""A subscription to what happens to processes, over one connection after another; knows no encoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.client.reconnecting import Line
from netdaemon.client.session import Session
from netdaemon.errors import ConnectionClosed, LocalProtocolError, NetdaemonError, Refusal, ShuttingDown
from netdaemon.resumption import Events, Follows
from netdaemon.wire import commands
from netdaemon.wire.answers import End, Event, Happened, Watching
from netdaemon.wire.commands import Detach
from netdaemon.wire.records import Reason

_log = Logger()


class _Subscription:
    """One id on one connection; what still comes on it when it has been left is passed over."""

    def __init__(self, watch: Watch, session: Session, id: int) -> None:
        self.session = session
        self.id = id
        self.left = False
        self._watch = watch

    def event(self, message: Event) -> None:
        if not self.left:
            self._watch._event(message)

    def lost(self, error: ConnectionClosed) -> None:
        if not self.left:
            self.left = True
            self._watch._lost(error)

    def leave(self) -> None:
        self.left = True
        asking = self.session.request(Detach(to=self.id))
        # It may be over by the time this arrives.
        asking.addErrback(lambda failure: failure.trap(Refusal, ConnectionClosed) and None)
        asking.addErrback(lambda failure: _log.failure("a subscription could not be left", failure))


class Watch(Follows):
    """What happens to processes, as `Happened`, in order and each once. Made by `Client.watch`.

    ``async for event in watch`` takes one event at a time, for one reader, who may take its time: of what waits here
    too much is never kept. The subscription is then left, and taken up again where it was; as it is when the
    connection was lost, and when the daemon has ended it because events were not taken (``resubscribe``). Nothing is
    told twice or left out, unless the daemon does not know any more what happened after that place: then a snapshot
    comes, an event for each process as it is now, and `fresh_count` grows before its first event. So it does where
    what was interrupted was a snapshot.

    The loop ends when the watch was closed, or the daemon has ended it. It raises ConnectionClosed when the connection
    is lost for good, and the refusal where the daemon does not let us go on.

    With *on_event* each event is told to that at once, and there is nothing to iterate over.
    """

    def __init__(
        self,
        line: Line,
        asked: commands.Watch,
        on_event: Callable[[Happened], object] | None,
        on_fresh: Callable[[], object] | None,
    ) -> None:
        self._line = line
        self._asked = asked
        self._on_event = on_event
        self._on_fresh = on_fresh
        self._events = Events(asked.since, self._freshly)
        self._subscription: _Subscription | None = None
        # Left, because too much waits.
        self._away = False
        self._over: Reason | NetdaemonError | None = None
        self._taker: Deferred[None] | None = None
        self._waiters: list[Deferred[Reason]] = []
        line.follow(self)

    def when_over(self) -> Deferred[Reason]:
        """A new Deferred that fires when nothing is told any more: with ``detached`` when it was closed, or with what
        the daemon has ended it for.

        :raises ConnectionClosed: (errback) the connection is lost for good.
        :raises Refusal: (errback) the daemon does not let us go on.
        """
        waiting: Deferred[Reason] = Deferred()
        if self._over is None:
            self._waiters.append(waiting)
        else:
            _tell(waiting, self._over)
        return waiting

    def close(self) -> Deferred[None]:
        """Be told no more; fires when it is over. What was told and not taken is gone."""
        if self._over is not None:
            return succeed(None)
        subscription = self._subscription
        self._end(Reason.DETACHED)
        self._events.clear()
        if subscription is None or subscription.left:
            return succeed(None)
        subscription.left = True
        return subscription.session.request(Detach(to=subscription.id)).addCallbacks(_nothing, _not_detached)

    # --- taking ------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Happened:
        if self._on_event is not None:
            raise RuntimeError("the events of this watch are told to its on_event")
        while True:
            event = self._events.take()
            if self._away and self._events.drained and self._over is None:
                self._come_back()
            if event is not None:
                return event
            if isinstance(self._over, NetdaemonError):
                raise self._over
            if self._over is not None:
                raise StopAsyncIteration
            if self._taker is not None:
                raise RuntimeError("the events of a watch have one reader at a time")
            self._taker = Deferred(self._leave_taker)
            await self._taker

    def _come_back(self) -> None:
        self._away = False
        session = self._line.session
        if session.ended is None:
            self._subscribe(session)
        elif not self._line.resumes:
            self._end(session.ended)

    def _leave_taker(self, taker: Deferred[None]) -> None:
        if self._taker is taker:
            self._taker = None

    def _wake(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.callback(None)

    def _freshly(self) -> None:
        self._call(self._on_fresh)

    def _call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        """Call into somebody else's code: what it raises is logged and stops nothing."""
        if callback is None:
            return
        try:
            callback(*arguments)
        except Exception:
            _log.failure("whoever watches processes failed")

    # --- what the session tells --------------------------------------------------------------------------------------

    def adopt(self, session: Session, id: int, reply: Watching) -> Watch:
        """It is subscribed; to be called in the callback of the reply."""
        self._subscription = subscription = _Subscription(self, session, id)
        session.adopt(id, subscription)
        self._events.began(reply)
        return self

    def _event(self, message: Event) -> None:
        if isinstance(message, End):
            assert self._subscription is not None
            session, self._subscription = self._subscription.session, None
            if message.reason is Reason.RESUBSCRIBE:
                self._subscribe(session)
            else:
                self._end(message.reason)
            return
        if not isinstance(message, Happened):
            return
        self._events.put(message)
        if self._on_event is not None:
            self._events.take()
            self._call(self._on_event, message)
            return
        if self._events.full and self._subscription is not None:
            self._away = True
            self._subscription.leave()
            self._subscription = None
        self._wake()

    def _lost(self, error: ConnectionClosed) -> None:
        self._subscription = None
        if not self._line.resumes:
            self._end(error)

    # --- from one connection to the next -----------------------------------------------------------------------------

    def resume(self, session: Session) -> None:
        """There is a new connection."""
        if not self._away:
            self._subscribe(session)

    def _subscribe(self, session: Session) -> None:
        id, asking = session.request_with_id(replace(self._asked, since=self._events.since))
        asking.addCallbacks(self._subscribed, self._refused, callbackArgs=(session, id))
        asking.addErrback(lambda failure: _log.failure("a subscription could not be taken up again", failure))

    def _subscribed(self, reply: Watching, session: Session, id: int) -> None:
        # One that was closed meanwhile is not adopted, and so the session detaches it.
        if self._over is None:
            self.adopt(session, id, reply)

    def _refused(self, failure: Failure) -> None:
        error = failure.value
        if self._over is not None:
            return
        if isinstance(error, ConnectionClosed | ShuttingDown) and self._line.resumes:
            # There will be another connection, or the line tells that there will be none.
            return
        self._end(error if isinstance(error, NetdaemonError) else LocalProtocolError(str(error)))

    def give_up(self, error: ConnectionClosed) -> None:
        """There will be none."""
        self._end(error)

    def _end(self, why: Reason | NetdaemonError) -> None:
        if self._over is not None:
            return
        self._over = why
        self._line.forget(self)
        self._wake()
        waiters, self._waiters = self._waiters, []
        for waiting in waiters:
            _tell(waiting, why)


def _tell(waiting: Deferred[Reason], why: Reason | NetdaemonError) -> None:
    if isinstance(why, Reason):
        waiting.callback(why)
    else:
        waiting.errback(why)


def _nothing(_: object) -> None:
    return None


def _not_detached(failure: Failure) -> None:
    """It is over all the same, by the loss of the connection or by a word of the daemon's that was on its way."""
    failure.trap(ConnectionClosed, Refusal)
