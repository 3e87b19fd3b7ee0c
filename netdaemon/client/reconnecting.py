"""One conversation with a daemon over one connection after another: when to connect again, and what to ask again.

Knows no processes and no sockets.
"""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.client.session import Session
from netdaemon.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConversationAborted,
    LimitReached,
    NetdaemonError,
    ProtocolError,
    TimedOut,
    Untrusted,
)
from netdaemon.trust import words
from netdaemon.wire.answers import Ok, Reply, Welcome
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Info,
    Inspect,
    List,
    Prune,
    Reload,
    Request,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import Fate

# Seconds for which a daemon that is gone is waited for: one that is restarted listens again in well under a second, and
# a machine on which it takes a minute needs a person.
PATIENCE = 60.0

# Seconds until the daemon is tried again: at first, and at most, doubling. What is added at random keeps the clients of
# one daemon apart.
LEAST = 0.02
MOST = 1.0

# Seconds that a connection must have lasted for the next loss to be one of its own: a daemon that falls over whenever
# it is greeted is not to be greeted at once for ever.
STEADY = MOST

# What connecting to a daemon that is being restarted fails with.
AWAY = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EAGAIN)

# What an ABORT says when a rule was broken; doing the same again would end the same.
BROKEN_RULES = (errno.EBADMSG, errno.EMSGSIZE)

# Carried out twice they do what they do once. So do a START with a key and a RESTART of a certain generation.
IDEMPOTENT = frozenset({Info, List, Inspect, Wait, Attach, Watch, Stop, Change, Prune, Reload})

Accept = Callable[[Session, int, Any], object]

_log = Logger()
_delay = backoffPolicy(LEAST, MOST, 2.0, lambda: random.uniform(0.0, LEAST))


class Resumable(Protocol):
    """What is to go on over the next connection."""

    def resume(self, session: Session) -> None:
        """There is a new connection. Must not raise."""

    def give_up(self, error: ConnectionClosed) -> None:
        """There will be none. Must not raise."""


@dataclass
class _Question:
    """A request whose reply has not come, or that has not been sent."""

    message: Request
    repeat: bool
    accept: Accept | None = None
    done: Deferred[Any] = field(default_factory=Deferred)


class Line:
    """Carries requests over the present connection, and makes a new one when that is lost.

    :param session: the first connection, whose HELLO has been answered.
    :param dial: makes another: fires with a session whose HELLO has been answered, and can be cancelled. None: there
        will be none, and so it is with version 1, which has no offsets to go on from.
    :param patience: seconds after a loss for which another connection is tried for; None: for ever.
    :param on_disconnected: called with the reason when the connection is lost and another one is tried for.
    :param on_reconnected: called with the daemon's answer to HELLO, after everything has been asked again.
    :ivar session: the present connection, or the last one.
    :ivar over: why there will be none any more; None while there may be.
    """

    def __init__(
        self,
        session: Session,
        *,
        dial: Callable[[], Deferred[Session]] | None = None,
        patience: float | None = PATIENCE,
        on_disconnected: Callable[[ConnectionClosed], object] | None = None,
        on_reconnected: Callable[[Welcome], object] | None = None,
    ) -> None:
        self.session = session
        self.over: ConnectionClosed | None = None
        self._dial = dial if session.version > 1 else None
        self._patience = patience
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._leaving = False
        self._followed: dict[Resumable, None] = {}
        self._queue: deque[_Question] = deque()
        self._waiters: list[Deferred[ConnectionClosed]] = []
        self._failures = 0
        self._since = session.reactor.seconds()
        self._last: BaseException | None = None
        self._deadline: Any = None
        self._trying: Deferred[None] | None = None
        if self._dial is not None:
            session.on_end = self._ended

    @property
    def lasting(self) -> bool:
        """Whether a lost connection is replaced by another at all."""
        return self._dial is not None

    @property
    def resumes(self) -> bool:
        """Whether there will be another connection when the present one is lost, or is one tried for now."""
        if self._dial is None or self.over is not None or self._leaving:
            return False
        return self.session.ended is None or not _is_final(self.session.ended)

    # --- requests ----------------------------------------------------------------------------------------------------

    def request(self, message: Request) -> Deferred[Any]:
        """Send *message*, now or over the next connection; again if that cannot do harm.

        :return: fires with the reply. Cancelling it takes nothing back that was sent.
        :raises Refusal: (errback) the daemon's.
        :raises LocalProtocolError: (errback) the agreed version cannot say this; nothing was sent.
        :raises ConnectionClosed: (errback) whether it was carried out is unknown, unless it was closed before.
        """
        session = self.session
        if self._dial is None:
            return session.request(message)
        repeat = _may_be_repeated(message)
        if repeat or session.ended is not None:
            return self._put(_Question(message, repeat))
        asking = session.request(message)
        if isinstance(message, Shutdown) and message.processes is not Fate.KEEP:
            asking.addCallback(self._leave)
        return asking

    def attach(self, message: Start | Attach | Watch, accept: Accept) -> Deferred[Any]:
        """Ask for an attachment or a subscription.

        :param accept: called with the session, the id on it and the reply, as soon as that comes; the result is told.
        """
        return self._put(_Question(message, _may_be_repeated(message), accept))

    def _put(self, question: _Question) -> Deferred[Any]:
        self._send(question)
        return question.done

    def _send(self, question: _Question) -> None:
        if question.done.called:
            # It was cancelled before it was sent.
            return
        session, message = self.session, question.message
        if self._dial is not None and session.ended is not None:
            if self.over is not None:
                question.done.errback(self.over)
            elif getattr(message, "to", None) is not None:
                question.done.errback(ConnectionClosed("the attachment went with the connection; nothing was sent"))
            else:
                self._queue.append(question)
            return
        id, asking = session.request_with_id(message)
        asking.addCallbacks(
            self._answered, self._failed, callbackArgs=(question, session, id), errbackArgs=(question,)
        ).addErrback(lambda failure: _log.failure("a reply could not be told", failure))

    def _answered(self, reply: Reply, question: _Question, session: Session, id: int) -> None:
        if question.done.called:
            return
        if question.accept is None:
            question.done.callback(reply)
            return
        try:
            told = question.accept(session, id, reply)
        except Exception:
            question.done.errback()
        else:
            question.done.callback(told)

    def _failed(self, failure: Failure, question: _Question) -> None:
        if question.done.called:
            return
        if question.repeat and failure.check(ConnectionClosed) and self.resumes and self.session.ended is not None:
            self._queue.append(question)
        else:
            question.done.errback(failure)

    def _leave(self, reply: Ok) -> Ok:
        """The daemon was asked to end, and will: nobody is to wait for it."""
        self._leaving = True
        return reply

    def follow(self, one: Resumable) -> None:
        """Tell *one* of each new connection, and when there will be none."""
        if self._dial is not None:
            self._followed[one] = None

    def forget(self, one: Resumable) -> None:
        """*one* is over."""
        self._followed.pop(one, None)

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> Deferred[Any]:
        """Close the connection once all requests have been sent, and make no other; fires when it is closed."""
        self._leaving = True
        if self.session.ended is None or self._dial is None:
            return self.session.close()
        if self.over is None:
            self._finish(ConnectionClosed("the connection was closed"))
            self._tell_waiters()
        assert self.over is not None
        return succeed(self.over)

    def when_over(self) -> Deferred[ConnectionClosed]:
        """A new Deferred that fires with the reason when there is no connection and will be none."""
        if self._dial is None:
            return self.session.when_lost()
        waiting: Deferred[ConnectionClosed] = Deferred()
        self._waiters.append(waiting)
        if self.over is not None:
            self.session.when_lost().addCallback(self._tell_waiters)
        return waiting

    def _finish(self, error: ConnectionClosed) -> None:
        """There will be no other connection: fail all that waits for one."""
        self.over = error
        self._stop_trying()
        queue, self._queue = self._queue, deque()
        followed, self._followed = tuple(self._followed), {}
        for one in followed:
            one.give_up(error)
        for question in queue:
            if not question.done.called:
                question.done.errback(error)

    def _tell_waiters(self, _: object = None) -> None:
        assert self.over is not None
        waiters, self._waiters = self._waiters, []
        for waiting in waiters:
            waiting.callback(self.over)

    def _stop_trying(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()

    # --- another connection ------------------------------------------------------------------------------------------

    def _ended(self, error: ConnectionClosed) -> None:
        """The connection is lost, and whoever was concerned by it has been told."""
        if self.over is not None:
            return
        if not self.resumes:
            self._finish(error)
            self.session.when_lost().addCallback(self._tell_waiters)
            return
        reactor = self.session.reactor
        if reactor.seconds() - self._since >= STEADY:
            self._failures = 0
        self._last = error
        if self._patience is not None:
            self._deadline = reactor.callLater(self._patience, self._too_late, self._patience)
        self._trying = Deferred.fromCoroutine(self._try())
        self._trying.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._trying.addErrback(self._broken)
        self._call(self._on_disconnected, error)

    async def _try(self) -> None:
        assert self._dial is not None
        while True:
            await _sleep(self.session.reactor, _delay(self._failures))
            self._failures += 1
            try:
                session = await self._dial()
            except (NetdaemonError, OSError) as error:
                self._last = error
                if _is_final(error):
                    # Not to be cancelled by that: it is this.
                    self._trying = None
                    self._give_up(f"the daemon cannot be reached again: {error}")
                    return
                continue
            if session.ended is None:
                self._connected(session)
                return
            self._last = session.ended

    def _broken(self, failure: Failure) -> None:
        _log.failure("connecting again failed", failure)
        self._last = failure.value
        self._give_up(f"connecting again failed: {failure.getErrorMessage()}")

    def _too_late(self, patience: float) -> None:
        self._give_up(f"the connection is lost, and for {patience:g} seconds there was no other: {self._last}")

    def _give_up(self, message: str) -> None:
        if self.over is not None:
            return
        error = ConnectionClosed(message)
        error.__cause__ = self._last
        self._finish(error)
        self._tell_waiters()

    def _connected(self, session: Session) -> None:
        # Nothing of this is to be cancelled any more.
        self._trying = None
        if session.version != self.session.version:
            session.abort()
            self._give_up(f"the daemon speaks version {session.version} now, and spoke {self.session.version} before")
            return
        self._stop_trying()
        self.session = session
        self._since = session.reactor.seconds()
        session.on_end = self._ended
        for one in tuple(self._followed):
            one.resume(session)
        queue, self._queue = self._queue, deque()
        for question in queue:
            self._send(question)
        if session.ended is None and session.welcome is not None:
            # It may have been lost again by what was sent.
            self._call(self._on_reconnected, session.welcome)

    def _call(self, callback: Callable[[Any], object] | None, value: object) -> None:
        """Call into somebody else's code: what it raises is logged and stops nothing."""
        if callback is None:
            return
        try:
            callback(value)
        except Exception:
            _log.failure("whoever was told about the connection failed")


def _may_be_repeated(message: Request) -> bool:
    if isinstance(message, Start):
        return message.key is not None
    if isinstance(message, Again):
        return message.generation is not None
    return type(message) in IDEMPOTENT


def _is_final(error: BaseException) -> bool:
    """Whether it makes no sense to try again after *error*."""
    if isinstance(error, Untrusted):
        return True
    if isinstance(error, ConnectFailed):
        cause = error.__cause__
        return isinstance(cause, OSError) and cause.errno not in AWAY and not words.passes(cause)
    if isinstance(error, ConversationAborted):
        return error.errno in BROKEN_RULES
    if isinstance(error, ConnectionClosed):
        return isinstance(error.__cause__, ProtocolError)
    # An OSError is of our own process, which has no descriptors left, say: that may pass.
    return not isinstance(error, LimitReached | TimedOut | OSError)


def _sleep(reactor: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = reactor.callLater(seconds, done.callback, None)
    return done
