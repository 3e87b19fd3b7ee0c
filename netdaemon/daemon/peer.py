"""One connected client: its requests, its attachments, and how long it may take over what it sends; no policy."""

from __future__ import annotations

import errno
from dataclasses import replace
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.daemon.attachment import Attachment
from netdaemon.daemon.feed import Subscription
from netdaemon.daemon.outflow import Outflow
from netdaemon.daemon.rates import PAUSE, Rate, pace
from netdaemon.errors import (
    Denied,
    InternalError,
    LimitReached,
    LocalProtocolError,
    NotAttached,
    Refusal,
    RemoteProtocolError,
    ShuttingDown,
)
from netdaemon.interfaces import IMeteredTransport, IPeerCertificate, IPeerCredentials
from netdaemon.policy.principals import UNKNOWN_PID, UNKNOWN_UID, Principal
from netdaemon.process.spool import Segment
from netdaemon.wire.answers import Attached, Event, Gap, Output, Reply, Watching
from netdaemon.wire.answers import Failure as ErrorReply
from netdaemon.wire.commands import Hello, Request
from netdaemon.wire.frame import LENGTH, MESSAGE_HEAD, Buffer
from netdaemon.wire.records import Reason
from netdaemon.wire.server import ServerConnection

# Seconds within which a client must have said HELLO, and have finished a message that it has begun.
HELLO_TIMEOUT = 5.0
MESSAGE_TIMEOUT = 30.0

# Seconds for which one client's requests are carried out before the others have their turn.
WORK_TURN = 0.005

# What one connection may have of an unfinished message before it counts towards what all together may have.
COUNTED = 16 * 1024

# Requests under way and attachments on one connection: far above what a panel uses, far below what would hurt.
MAX_REQUESTS = 1024
MAX_ATTACHMENTS = 1024

_log = Logger()


class Daemon(Protocol):
    """What a peer asks of the daemon."""

    reactor: Any
    rate: Rate

    def arrived(self, peer: Peer) -> None:
        """There is one more connection; nothing is known of it yet."""

    def admit(self, peer: Peer, principal: Principal, *, last: bool) -> None:
        """Let *principal* in, raise Denied or LimitReached; or neither where it may still show a token: not *last*."""

    def token(self, shown: bytes) -> str:
        """The name of a token; raises Denied where it is not known."""

    def greet(self, peer: Peer, hello: Hello) -> Any:
        """The answer to HELLO."""

    def respond(self, peer: Peer, id: int, request: Request) -> Reply | Deferred[Reply]:
        """Carry out a request."""

    def buffered(self, peer: Peer, count: int, *, progress: bool) -> None:
        """*peer* has *count* bytes that it sent and that are not answered; with *progress*: others of it just were."""

    def detached(self, peer: Peer, attachment: Attachment) -> None:
        """An attachment is over."""

    def gone(self, peer: Peer) -> None:
        """The connection is lost."""


@implementer(IPushProducer)
class Peer(TwistedProtocol):
    """A client's connection, as the daemon has it.

    :param packets: whether it is a SOCK_SEQPACKET.
    """

    principal = Principal()

    # Whether it has been let in, for good: HELLO was answered.
    admitted = False
    _shown: bytes | None = None

    def __init__(self, daemon: Daemon, *, packets: bool = False) -> None:
        self.connection = ServerConnection(packets=packets)
        self.attachments: dict[int, Attachment] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self._daemon = daemon
        self._outflow = Outflow(self.connection, daemon.reactor)
        self._deferred: dict[int, Deferred[Any]] = {}
        self._timer: Any = None
        self._unfinished_since: float | None = None
        self._counted = False
        self._more: Any = None
        self._closing = False
        self._pace = pace(daemon.rate, LENGTH.size + MESSAGE_HEAD, daemon.reactor)
        self._metered: Any = None
        self._read_most = 0
        self.slowed = False

    # --- the connection ----------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._outflow.connected(self.transport)
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]
        if self._pace is not None and not self.connection.packets:
            self._metered = IMeteredTransport(self.transport, None)
            if self._metered is not None:
                self._read_most = self._metered.readMost
        self._daemon.arrived(self)
        self._timer = self._daemon.reactor.callLater(HELLO_TIMEOUT, self._too_slow, "HELLO", HELLO_TIMEOUT)
        if not IPeerCertificate.providedBy(self.transport):
            self._admit()

    def handshakeCompleted(self) -> None:
        """TLS has found out who is at the other end."""
        self._admit()

    def _admit(self) -> None:
        try:
            self.principal = self._recognised()
            self._daemon.admit(self, self.principal, last=False)
        except (Denied, LimitReached) as refusal:
            self._abort(refusal.errno, refusal.message, refusal.code)

    def _recognised(self) -> Principal:
        """Who is at the other end, by those who know."""
        certificate = IPeerCertificate(self.transport, None)
        if certificate is not None:
            pin, names = certificate.peerCertificate()
            return Principal(pin=pin, names=names)
        credentials = IPeerCredentials(self.transport, None)
        if credentials is None:
            raise Denied("this transport cannot tell who you are")
        try:
            pid, uid, gid = credentials.peerCredentials()
            groups = credentials.peerGroups()
        except OSError as error:
            raise Denied(f"the kernel does not tell who you are: {error.strerror}") from error
        if uid == UNKNOWN_UID or pid == UNKNOWN_PID:
            return Principal()
        return Principal(uid=uid, gid=gid, groups=groups)

    def _greet(self, id: int, hello: Hello) -> None:
        self._shown = hello.token
        try:
            if hello.token is not None:
                self.principal = replace(self.principal, token=self._daemon.token(hello.token))
            self._daemon.admit(self, self.principal, last=True)
        except (Denied, LimitReached) as refusal:
            self._abort(refusal.errno, refusal.message, refusal.code)
            return
        self.admitted = True
        self._outflow.send(self.connection.welcome(id, self._daemon.greet(self, hello)))
        self._stop_timer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._outflow.close()
        self._stop_timer()
        if self._more is not None:
            self._more.cancel()
            self._more = None
        for deferred in list(self._deferred.values()):
            deferred.cancel()
        self._deferred.clear()
        self._close_all()
        self._daemon.gone(self)

    def _close_all(self) -> None:
        for attachment in list(self.attachments.values()):
            attachment.close()
        for subscription in list(self.subscriptions.values()):
            subscription.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self, what: str, seconds: float) -> None:
        self._timer = None
        self._abort(errno.ETIMEDOUT, f"{what} was not finished within {seconds:g} seconds", "too-slow")

    def _abort(self, number: int, message: str, code: str = "protocol-error") -> None:
        if self._closing:
            return
        self._closing = True
        self._outflow.send(self.connection.abort(number, message, code))
        self._lose()

    def _lose(self) -> None:
        """Close once all has been sent; a client that does not read is not waited for long."""
        assert self.transport is not None
        self._outflow.flush()
        self._outflow.close()
        self._close_all()
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        self._stop_timer()
        self._timer = self._daemon.reactor.callLater(HELLO_TIMEOUT, self._cut)
        self.transport.loseConnection()

    def _cut(self) -> None:
        self._timer = None
        assert self.transport is not None
        abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
        abort()

    def close(self, reason: Reason) -> None:
        """End every attachment with *reason*, and the connection once that has been sent; what waits is refused."""
        if self._closing:
            return
        for id, waiting in list(self._deferred.items()):
            del self._deferred[id]
            waiting.cancel()
            self._reply(id, ErrorReply.of(ShuttingDown("the daemon stops, and this has not come about")))
        for attachment in list(self.attachments.values()):
            attachment.end(reason)
        for subscription in list(self.subscriptions.values()):
            subscription.end(reason)
        self._closing = True
        self._lose()

    def doubt(self) -> str | None:
        """Why whoever is at the other end is not any more who it was let in as; None: it is."""
        try:
            certificate = IPeerCertificate(self.transport, None)
            if certificate is not None:
                certificate.peerCertificate()
            if self._shown is not None and self._daemon.token(self._shown) != self.principal.token:
                return "the token that was shown has another name now"
        except Denied as refusal:
            return refusal.message
        return None

    def revoke(self, why: str) -> None:
        """Whoever is at the other end may not be connected any more."""
        for attachment in list(self.attachments.values()):
            attachment.end(Reason.REVOKED)
        for subscription in list(self.subscriptions.values()):
            subscription.end(Reason.REVOKED)
        self._abort(Denied.default_errno, why, Denied.code)

    def leave(self) -> None:
        """Close the connection without a word: the client is to go on with the next daemon."""
        if not self._closing:
            self._closing = True
            self._lose()

    # --- requests ----------------------------------------------------------------------------------------------------

    def dataReceived(self, data: Buffer) -> None:
        if self._closing:
            return
        self.connection.receive(data, lent=True)
        if self._pace is not None:
            self._pace.received(len(data))
        self._work()
        self.connection.keep()

    def _work(self) -> None:
        """Answer what has been received, as long as the answers can be sent and for one turn; join them."""
        self._outflow.join()
        answered, most = 0, inf if self._pace is None else self._pace.requests
        until = self._daemon.reactor.seconds() + WORK_TURN
        try:
            willing = self._may_reply()
            while willing and not self._closing and answered + 1 <= most:
                received = self.connection.next_request()
                if received is None:
                    break
                answered += 1
                self._answer(*received)
                if self._outflow.joined_enough:
                    self._outflow.flush()
                    self._outflow.join()
                    willing = self._may_reply()
                if willing and self._daemon.reactor.seconds() >= until:
                    self._work_later()
                    break
        except RemoteProtocolError as error:
            self._abort(error.errno, str(error))
        except Exception:
            _log.failure("a conversation could not go on")
            self._abort(errno.EIO, "the daemon failed; its log has more", "internal-error")
        finally:
            self._outflow.flush()
        if self._pace is not None:
            self._keep_pace(answered, whole=answered + 1 <= most)
        self._watch_progress(answered > 0)
        self._outflow.send_waiting()

    def _keep_pace(self, answered: int, *, whole: bool) -> None:
        """Read no more for a while from one that is over its rate; what it has sent waits, here and in the kernel.

        :param whole: so many requests as came could be carried out.
        """
        assert self._pace is not None
        self._pace.took(answered)
        wait = self._pace.wait()
        self.slowed = wait > 0 or not whole
        if self._closing:
            return
        if self.slowed:
            self._work_later(max(wait, PAUSE))
        if self._metered is not None:
            self._metered.readMost = self._pace.most(self._read_most)

    def _work_later(self, delay: float = 0) -> None:
        """The others have their turn; no more is read until the rest has been answered."""
        self.transport.pauseProducing()  # type: ignore[union-attr]
        if self._more is None:
            self._more = self._daemon.reactor.callLater(delay, self._work_on)

    def _work_on(self) -> None:
        self._more = None
        if not self._closing:
            self.transport.resumeProducing()  # type: ignore[union-attr]
            self._work()

    def _may_reply(self) -> bool:
        """Whether the client takes its replies; if it does not, it gets to send no more until it does."""
        if not self._outflow.backlogged:
            return True
        self.transport.pauseProducing()  # type: ignore[union-attr]
        return False

    def crowd_out(self, message: str) -> None:
        """There is no room for it, and it has not said HELLO."""
        self._abort(errno.EDQUOT, message, "limit-reached")

    def overflow(self) -> None:
        """All together have too much unfinished, and this one has had its part of it for the longest."""
        self._abort(errno.ENOBUFS, "too much of unfinished messages waits here; try again later", "limit-reached")
        self.connection.discard()

    def _watch_progress(self, answered: bool) -> None:
        """Keep time while a message has begun and not ended; HELLO's own time runs on."""
        if self._closing or self.connection.version is None:
            return
        waiting = self.connection.waiting
        if self._counted or waiting > COUNTED:
            self._counted = waiting > COUNTED
            self._daemon.buffered(self, waiting if self._counted else 0, progress=answered)
            if self._closing:
                return
        if not self.connection.unfinished:
            self._unfinished_since = None
            return
        if answered or self._unfinished_since is None:
            self._unfinished_since = self._daemon.reactor.seconds()
        if self._timer is None:
            self._timer = self._daemon.reactor.callLater(MESSAGE_TIMEOUT, self._check_progress)

    def _check_progress(self) -> None:
        self._timer = None
        if self._unfinished_since is None:
            return
        left = self._unfinished_since + MESSAGE_TIMEOUT - self._daemon.reactor.seconds()
        if self.slowed or not self._may_reply():
            # It is this side that does not read.
            left = MESSAGE_TIMEOUT
        if left <= 0:
            self._too_slow("a message", MESSAGE_TIMEOUT)
        else:
            self._timer = self._daemon.reactor.callLater(left, self._check_progress)

    def _answer(self, id: int, request: Request | Refusal) -> None:
        if isinstance(request, Hello) and self.connection.version is None:
            self._greet(id, request)
            return
        try:
            if isinstance(request, Refusal):
                raise request
            if len(self._deferred) >= MAX_REQUESTS:
                raise LimitReached(
                    f"{MAX_REQUESTS} requests of this connection wait for their answers; that is the limit"
                )
            outcome = self._daemon.respond(self, id, request)
        except Refusal as refusal:
            self._reply(id, ErrorReply.of(refusal))
        except Exception:
            _log.failure("{request} failed", request=type(request).__name__)
            self._reply(id, ErrorReply.of(InternalError("the daemon failed at this request; its log has more")))
        else:
            if isinstance(outcome, Deferred):
                self._deferred[id] = outcome
                # Not the request: 1,024 may wait, each as large as a message.
                outcome.addCallbacks(
                    self._late_reply, self._late_refusal, callbackArgs=(id,), errbackArgs=(id, type(request).__name__)
                )
            else:
                self._reply(id, outcome)

    def _late_reply(self, reply: Reply, id: int) -> None:
        if self._deferred.pop(id, None) is not None:
            self._reply(id, reply)

    def _late_refusal(self, failure: Failure, id: int, request: str) -> None:
        if self._deferred.pop(id, None) is None or failure.check(CancelledError):
            return
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            _log.failure("{request} failed", failure, request=request)
            refusal = InternalError("the daemon failed at this request; its log has more")
        self._reply(id, ErrorReply.of(refusal))

    def _reply(self, id: int, reply: Reply) -> None:
        try:
            octets = self.connection.reply(id, reply)
        except LocalProtocolError:
            _log.failure("{reply} could not be told", reply=type(reply).__name__)
            reply = ErrorReply.of(InternalError("the daemon could not tell its answer; its log has more"))
            octets = self.connection.reply(id, reply)
        self._outflow.send(octets)
        if isinstance(reply, Attached):
            if id in self.connection.attachments:
                self.attachments[id].begin()
            else:
                # The reply was too large, and it was told instead that it is.
                self.attachments[id].close()
        elif isinstance(reply, Watching):
            self.subscriptions[id].begin()

    # --- attachments -------------------------------------------------------------------------------------------------

    def attach(self, attachment: Attachment) -> None:
        """*attachment* is this connection's from here on; it begins when the reply to its request is out."""
        self.attachments[attachment.id] = attachment

    def check_attachments(self) -> None:
        """Refuse one more than there may be."""
        if len(self.attachments) + len(self.subscriptions) >= MAX_ATTACHMENTS:
            raise LimitReached(f"this connection has {MAX_ATTACHMENTS} attachments, and that is the limit")

    def subscribe(self, subscription: Subscription) -> None:
        """The same for a subscription."""
        self.subscriptions[subscription.id] = subscription

    def attachment(self, id: int) -> Attachment:
        """This connection's attachment of that id.

        :raises NotAttached: it has none.
        """
        found = self.attachments.get(id)
        if found is None:
            raise NotAttached(f"this connection has no attachment {id}", field="to")
        return found

    def lapsed(self, attachment: Attachment) -> None:
        if self.connection.version == 1:
            self._lag()

    def _lag(self) -> None:
        """Version 1 cannot be told of a gap, and must not get a stream with a piece missing."""
        self._abort(errno.ENOBUFS, "output was not read in time and is not kept any longer", "too-slow")

    def closed(self, source: Attachment | Subscription) -> None:
        self._outflow.forget(source)
        if isinstance(source, Subscription):
            self.subscriptions.pop(source.id, None)
        else:
            self.attachments.pop(source.id, None)
            self._daemon.detached(self, source)

    def ready(self, source: Attachment | Subscription) -> None:
        self._outflow.ready(source)

    def send_output(self, id: int, segment: Segment) -> None:
        self._outflow.send_output(id, segment)

    def send_event(self, id: int, event: Event) -> None:
        if self.connection.version == 1:
            if isinstance(event, Output) and not event.channel:
                # Version 1 knows of no end of channel 0.
                return
            if isinstance(event, Gap):
                self._lag()
                return
        if id in self.connection.attachments:
            self._outflow.send(self.connection.event(id, event))

    # --- IPushProducer -----------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not take what is sent."""
        self._outflow.pause()

    def resumeProducing(self) -> None:
        """It does again."""
        if self._closing:
            return
        self._outflow.resume()
        if self._more is None:
            self.transport.resumeProducing()  # type: ignore[union-attr]
            self._work()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` says so."""
