"""One connection to a daemon: requests out, replies to their Deferreds, events to their sinks; knows no processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

import netdaemon
from netdaemon.errors import (
    ConnectionClosed,
    ConversationAborted,
    Denied,
    LimitReached,
    LocalProtocolError,
    NetdaemonError,
    Refusal,
    RemoteProtocolError,
    Untrusted,
    refusal_from_errno,
)
from netdaemon.interfaces import IDirectTransport
from netdaemon.wire.answers import OPENING, End, Event, Welcome
from netdaemon.wire.client import ClientConnection, Parts
from netdaemon.wire.commands import Detach, Hello, Request
from netdaemon.wire.connection import VERSION
from netdaemon.wire.frame import Buffer

# Seconds that a daemon which does not read is given to take the last requests when the connection is closed.
FAREWELL = 5.0

# Refusals that stand in place of the answer to HELLO; there they travel as an ABORT with their number.
AT_THE_DOOR = (Denied, LimitReached)

_log = Logger()


class Sink(Protocol):
    """Where the events of one attachment or subscription go."""

    def event(self, message: Event) -> None:
        """Something was told; it may be END, after which nothing follows. Must not raise."""

    def lost(self, error: ConnectionClosed) -> None:
        """The connection ended, and nothing follows. Must not raise."""


class Session(TwistedProtocol):
    """One conversation, from HELLO to the end of the connection.

    Requests made while received messages are being worked through leave together at the end of that; all others at
    once.

    :param reactor: `IReactorTime`.
    :param version: the highest version to offer.
    :param packets: whether the connection is a SOCK_SEQPACKET.
    :param token: what to show the daemon besides.
    :ivar welcome: what the daemon said to HELLO; None until then.
    :ivar ended: why the connection is over; None while it is not.
    :ivar on_end: called with that, after all that was outstanding has failed. Must not raise.
    """

    def __init__(
        self, reactor: Any, *, version: int = VERSION, packets: bool = False, token: bytes | None = None
    ) -> None:
        self.reactor = reactor
        self._token = token
        self.welcome: Welcome | None = None
        self.ended: ConnectionClosed | None = None
        self.on_end: Callable[[ConnectionClosed], object] | None = None
        self._connection = ClientConnection(version=version, packets=packets)
        self._packets = packets
        self._pending: dict[int, Deferred[Any]] = {}
        self._sinks: dict[int, Sink] = {}
        # What has been said while received messages are worked through, each message in its parts.
        self._outgoing: list[Parts] | None = None
        self._greeted: list[Deferred[Welcome]] = []
        self._lost: list[Deferred[ConnectionClosed]] = []
        self._refused: NetdaemonError | None = None
        self._direct: Any = None
        self._closing = False
        self._cutting: Any = None

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version that is spoken; 0 before HELLO was answered."""
        return self._connection.version or 0

    @property
    def window(self) -> int:
        """How many bytes of input may wait for one process; 0 where the daemon does not say."""
        return 0 if self.welcome is None else self.welcome.window

    @property
    def max_message(self) -> int:
        """The largest message that either side sends."""
        return self._connection.max_message

    def greeted(self) -> Deferred[Welcome]:
        """A new Deferred that fires once HELLO has been answered.

        :raises Denied, LimitReached, Untrusted: (errback) the daemon does not let us in.
        :raises ConnectionClosed: (errback) the connection ended before.
        """
        if self.welcome is not None:
            return succeed(self.welcome)
        if self.ended is not None:
            return fail(self._refused or self.ended)
        waiting: Deferred[Welcome] = Deferred()
        self._greeted.append(waiting)
        return waiting

    def when_lost(self) -> Deferred[ConnectionClosed]:
        """A new Deferred that fires with the reason when the connection is over."""
        if self.ended is not None:
            return succeed(self.ended)
        waiting: Deferred[ConnectionClosed] = Deferred()
        self._lost.append(waiting)
        return waiting

    # --- requests ----------------------------------------------------------------------------------------------------

    def request(self, message: Request) -> Deferred[Any]:
        """Send *message*.

        :return: fires with the reply. Cancelling it takes nothing back: the reply is swallowed when it comes.
        :raises Refusal: (errback) the daemon's.
        :raises LocalProtocolError: (errback) the agreed version cannot say this; nothing was sent.
        :raises ConnectionClosed: (errback) whether it was carried out is unknown, unless it was closed before.
        """
        return self.request_with_id(message)[1]

    def request_with_id(self, message: Request) -> tuple[int, Deferred[Any]]:
        """The same, and the id of the request; 0 if it was not sent."""
        if self._closing or self.ended is not None:
            return 0, fail(self.ended or ConnectionClosed("the connection is being closed"))
        try:
            id, parts = self._connection.request_parts(message)
        except NetdaemonError as error:
            return 0, fail(error)
        waiting: Deferred[Any] = Deferred()
        self._pending[id] = waiting
        if self._outgoing is not None:
            self._outgoing.append(parts)
        else:
            self._send(parts)
        return id, waiting

    def adopt(self, id: int, sink: Sink) -> None:
        """The events of attachment or subscription *id* go to *sink*; to be called in the callback of the reply."""
        self._sinks[id] = sink

    def hold_reading(self, held: bool) -> None:
        """Read nothing from the connection, or go on: what version 1 has in place of FLOW."""
        if self.transport is not None and self.ended is None:
            if held:
                self.transport.pauseProducing()  # type: ignore[attr-defined]
            else:
                self.transport.resumeProducing()  # type: ignore[attr-defined]

    def close(self) -> Deferred[ConnectionClosed]:
        """Close the connection once all requests have been sent.

        :return: fires when it is over.
        """
        self._flush()
        self._lose()
        return self.when_lost()

    def abort(self) -> None:
        """Close the connection at once; what was not sent is not."""
        self._closing = True
        self._cut()

    def _cut(self) -> None:
        if self._cutting is not None and self._cutting.active():
            self._cutting.cancel()
        self._cutting = None
        if self.transport is not None:
            abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
            abort()

    # --- the connection ----------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._direct = IDirectTransport(self.transport, None)
        hello = Hello(client=f"netdaemon/{netdaemon.__version__}", token=self._token)
        self._send((self._connection.hello(hello),))

    def dataReceived(self, data: Buffer) -> None:
        connection = self._connection
        pending, sinks = self._pending, self._sinks
        error: ConnectionClosed | None = None
        connection.receive(data, lent=True)
        self._outgoing = outgoing = []
        try:
            while self.ended is None and (received := connection.next_message()) is not None:
                id, message = received
                waiting = pending.pop(id, None)
                if waiting is None:
                    sink = sinks.get(id)
                    if type(message) is End:
                        sinks.pop(id, None)
                    if sink is not None:
                        sink.event(message)  # type: ignore[arg-type]  # what is no reply is an event
                    elif type(message) is Welcome:
                        self._welcomed(message)
                elif isinstance(message, Refusal):
                    waiting.errback(message)
                else:
                    waiting.callback(message)
                    if type(message) in OPENING and id not in sinks:
                        # Whoever asked for it has gone: the Deferred was cancelled.
                        self._ignore(self.request(Detach(to=id)))
        except ConversationAborted as aborted:
            error = aborted
        except RemoteProtocolError as broken:
            outgoing.append((connection.abort(str(broken)),))
            error = _because(f"the daemon broke the rules of the protocol: {broken}", broken)
        finally:
            connection.keep()
            self._flush()
        if error is not None:
            self._end(error)
            self._lose()

    def _welcomed(self, message: Welcome) -> None:
        self.welcome = message
        waiting, self._greeted = self._greeted, []
        for one in waiting:
            one.callback(message)

    def _ignore(self, deferred: Deferred[Any]) -> None:
        """The outcome changes nothing: the daemon refuses what is over already."""
        deferred.addErrback(lambda failure: failure.trap(Refusal, ConnectionClosed, LocalProtocolError))
        deferred.addErrback(lambda failure: _log.failure("a request failed", failure))

    def _send(self, parts: Parts) -> None:
        if self._direct is not None:
            self._direct.sendParts(parts)
        else:
            self.transport.write(b"".join(parts))  # type: ignore[union-attr]

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if not outgoing or self.transport is None:
            return
        if self._packets or len(outgoing) == 1:
            for parts in outgoing:
                self._send(parts)
            return
        small: list[bytes | memoryview] = []
        for parts in outgoing:
            small.append(parts[0])
            if len(parts) > 1:
                self._send((b"".join(small), *parts[1:]))
                small.clear()
        if small:
            self._send((b"".join(small),))

    def _lose(self) -> None:
        """Close once all has been sent; a daemon that does not read is not waited for long."""
        if not self._closing and self.transport is not None:
            self._closing = True
            self._cutting = self.reactor.callLater(FAREWELL, self._cut)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._cutting is not None and self._cutting.active():
            self._cutting.cancel()
        self._cutting = None
        if self.ended is None:
            if self._closing:
                message = "the connection was closed"
            elif reason.check(ConnectionDone):
                message = "the daemon closed the connection"
            elif isinstance(reason.value, Untrusted):
                # With TLS 1.3 the daemon looks at what was shown when this side is done already.
                message = str(reason.value)
            else:
                message = "the connection is lost"
            self._end(_because(message, reason.value))
        assert self.ended is not None
        self._closing = True
        lost, self._lost = self._lost, []
        for one in lost:
            one.callback(self.ended)

    def _end(self, error: ConnectionClosed) -> None:
        """Nothing comes any more: fail all that is outstanding."""
        self.ended = error
        if self.welcome is None and isinstance(error, ConversationAborted):
            refusal = refusal_from_errno(error.errno, str(error))
            self._refused = refusal if isinstance(refusal, AT_THE_DOOR) else None
        elif self.welcome is None and isinstance(error.__cause__, Untrusted):
            self._refused = error.__cause__
        greeted, self._greeted = self._greeted, []
        pending, sinks = list(self._pending.values()), list(self._sinks.values())
        self._pending.clear()
        self._sinks.clear()
        for waiting in greeted:
            waiting.errback(self._refused or error)
        for sink in sinks:
            sink.lost(error)
        for one in pending:
            one.errback(error)
        if self.on_end is not None:
            self.on_end(error)


def _because(message: str, cause: BaseException | None) -> ConnectionClosed:
    error = ConnectionClosed(message)
    error.__cause__ = cause
    return error
