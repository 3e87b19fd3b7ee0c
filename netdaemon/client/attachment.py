"""One attachment over one connection after another: where it is now, and what waits for it; knows no encoding."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.client.reconnecting import Line
from netdaemon.client.session import Session
from netdaemon.errors import ConnectionClosed, NetdaemonError, NoSuchProcess, ShuttingDown
from netdaemon.wire.answers import Attached, End, Event
from netdaemon.wire.commands import Attach, Detach, Request, Start
from netdaemon.wire.records import Reason

Make = Callable[[int], Request]

_log = Logger()


class Owner(Protocol):
    """Whose attachment it is."""

    offset: int

    @property
    def id(self) -> str: ...

    def event(self, message: Event) -> None:
        """Something was told; it may be END, after which nothing follows. Must not raise."""

    def lost(self, error: ConnectionClosed) -> None:
        """The connection ended. Must not raise."""

    def resumed(self, reply: Attached) -> None:
        """It goes on over another connection. Must not raise."""

    def over(self, error: ConnectionClosed) -> None:
        """It will not go on. Must not raise."""


@dataclass
class _Errand:
    """A request about the attachment that has not been answered, or has not been sent."""

    make: Make
    repeat: bool
    done: Deferred[Any] = field(default_factory=Deferred)


class Attachment:
    """What START or ATTACH has made, and what is made of it anew after a loss; to be made in the reply's callback.

    :param asked: the request that made it.
    :ivar session: the connection on which it is, or was last.
    :ivar to: its id there.
    """

    def __init__(self, line: Line, session: Session, to: int, owner: Owner, asked: Start | Attach) -> None:
        self.session = session
        self.to = to
        self._line = line
        self._owner = owner
        self._asked = asked
        self._joined = True
        self._detaching = False
        self._closed = False
        self._waiting: deque[_Errand] = deque()
        session.adopt(to, owner)
        line.follow(self)

    @property
    def live(self) -> bool:
        """Whether the daemon knows of it, as far as we know."""
        return self._joined and self.session.ended is None

    # --- requests ----------------------------------------------------------------------------------------------------

    def request(self, make: Make, *, repeat: bool = False) -> Deferred[Any]:
        """Send what *make* makes of the attachment's id, now or when it goes on.

        :param repeat: whether it may be sent again when the connection was lost before the reply.
        :return: as of `Session.request`.
        """
        try:
            request = make(self.to)
        except NetdaemonError as error:
            return fail(error)
        if self.live and not (repeat and self._line.lasting):
            return self.session.request(request)
        errand = _Errand(make, repeat)
        self._send(errand)
        return errand.done

    def _send(self, errand: _Errand) -> None:
        if errand.done.called:
            return
        if not self.live:
            self._waiting.append(errand)
            return
        asking = self.session.request(errand.make(self.to))
        asking.addCallbacks(self._answered, self._failed, callbackArgs=(errand,), errbackArgs=(errand,))
        asking.addErrback(lambda failure: _log.failure("a reply could not be told", failure))

    def _answered(self, reply: object, errand: _Errand) -> None:
        if not errand.done.called:
            errand.done.callback(reply)

    def _failed(self, failure: Failure, errand: _Errand) -> None:
        if errand.done.called:
            return
        lost = failure.check(ConnectionClosed) and self.session.ended is not None
        if lost and errand.repeat and self._line.resumes and not self._closed:
            self._waiting.append(errand)
        else:
            errand.done.errback(failure)

    def detach(self) -> Deferred[Any]:
        """End it. A lost connection does that as well."""
        if not self.live and self._line.resumes:
            self._owner.event(End(reason=Reason.DETACHED))
            return succeed(None)
        self._detaching = True
        return self.session.request(Detach(to=self.to)).addErrback(self._not_detached)

    def _not_detached(self, failure: Failure) -> Failure | None:
        if self._closed and failure.check(ConnectionClosed):
            return None
        return failure

    # --- from one connection to the next -----------------------------------------------------------------------------

    def interrupted(self) -> bool:
        """The connection is lost; whether it is to be gone on with over another."""
        self._joined = False
        if not self._line.resumes:
            return False
        if self._detaching:
            self._owner.event(End(reason=Reason.DETACHED))
        return True

    def resume(self, session: Session) -> None:
        self.session, self._joined = session, False
        asked = self._asked
        request = Attach(
            process=self._owner.id,
            from_=self._owner.offset,
            channels=asked.channels,
            hold=asked.hold,
            read_only=asked.read_only,
        )
        id, asking = session.request_with_id(request)
        asking.addCallbacks(self._resumed, self._refused, callbackArgs=(session, id))
        asking.addErrback(lambda failure: _log.failure("an attachment could not be resumed", failure))

    def _resumed(self, reply: Attached, session: Session, id: int) -> None:
        if self._closed:
            # It was detached meanwhile: the session does so for what nobody adopts.
            return
        self.to, self._joined = id, True
        session.adopt(id, self._owner)
        self._owner.resumed(reply)
        waiting, self._waiting = self._waiting, deque()
        for errand in waiting:
            self._send(errand)

    def _refused(self, failure: Failure) -> None:
        error = failure.value
        if self._closed or isinstance(error, ConnectionClosed):
            # The line tells of that.
            return
        if isinstance(error, NoSuchProcess):
            self._owner.event(End(reason=Reason.REMOVED))
        elif isinstance(error, ShuttingDown):
            self._owner.event(End(reason=Reason.SHUTDOWN))
        else:
            lost = ConnectionClosed(f"the attachment to process {self._owner.id} went with the connection: {error}")
            lost.__cause__ = error
            self._owner.over(lost)

    def give_up(self, error: ConnectionClosed) -> None:
        self._owner.over(error)

    def close(self, error: NetdaemonError) -> None:
        """It is over, and what waits for it fails with *error*."""
        self._closed = True
        self._joined = False
        self._line.forget(self)
        waiting, self._waiting = self._waiting, deque()
        for errand in waiting:
            if not errand.done.called:
                errand.done.errback(error)
