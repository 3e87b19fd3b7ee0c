"""A client whose daemon is a `ServerConnection` that the test plays; and what comes of a Deferred."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netdaemon.client.client import Client
from netdaemon.client.reconnecting import LEAST, MOST
from netdaemon.client.remote import RemoteProcess
from netdaemon.client.session import Session
from netdaemon.errors import Refusal
from netdaemon.wire.answers import Attached, Event, Reply, Welcome
from netdaemon.wire.commands import Hello, Request
from netdaemon.wire.records import Pty, State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import ProcessRecord

T = TypeVar("T")


class Transport(StringTransport):
    """Counts the writes, and says when it is to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Stage:
    """A session and the daemon's side of it; those of the next connection, when there is one.

    :param reconnect: whether the client connects again; options are those of `Client`.
    :ivar refusals: what connecting again fails with, first in first out; None: it does not come to an end.
    """

    def __init__(
        self,
        version: int = 2,
        *,
        packets: bool = False,
        welcome: Welcome | None = None,
        reconnect: bool = False,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.version = version
        self.welcome = welcome
        self.packets = packets
        self.dialled: list[float] = []
        self.cancelled = 0
        self.refusals: deque[Exception | None] = deque()
        self.connect()
        self.client = Client(self.session, dial=self.dial if reconnect else None, **options)

    def connect(self) -> None:
        self.server = ServerConnection(packets=self.packets)
        self.session = Session(self.clock, version=self.version, packets=self.packets)
        self.transport = Transport()
        self.session.makeConnection(self.transport)
        ((self.hello, request),) = self.requests()
        assert isinstance(request, Hello)
        if self.welcome is not None:
            self.session.dataReceived(self.server.welcome(self.hello, self.welcome))

    def dial(self) -> Deferred[Session]:
        """The client connects again."""
        self.dialled.append(self.clock.seconds())
        if self.refusals:
            refusal = self.refusals.popleft()
            return Deferred(self._count_cancelled) if refusal is None else fail(refusal)
        self.connect()
        return succeed(self.session)

    def _count_cancelled(self, _: object) -> None:
        self.cancelled += 1

    def wait(self) -> None:
        """Let time pass until the client has connected again, or could have."""
        until = self.clock.seconds() + 2 * MOST
        while self.session.ended is not None and self.clock.seconds() < until:
            self.clock.advance(LEAST)

    def lose_and_wait(self) -> None:
        self.lose()
        self.wait()

    def requests(self) -> list[tuple[int, Request | Refusal]]:
        """What the client has sent since the last time."""
        octets = self.transport.value()
        self.transport.clear()
        if octets:
            self.server.receive(octets)
        found = []
        while (received := self.server.next_request()) is not None:
            found.append(received)
        return found

    def request(self) -> tuple[int, Any]:
        """The one request that the client has sent."""
        (found,) = self.requests()
        return found

    def reply(self, id: int, reply: Reply) -> None:
        self.session.dataReceived(self.server.reply(id, reply))

    def event(self, id: int, *events: Event) -> None:
        """Several events in one read."""
        self.session.dataReceived(b"".join(self.server.event(id, one) for one in events))

    def lose(self) -> None:
        self.session.connectionLost(Failure(ConnectionDone()))

    def attached(self, *, sole_writer: bool = True, pty: Pty | None = None, **fields: Any) -> tuple[int, RemoteProcess]:
        """A process that was started and is attached, and its id."""
        starting = self.client.start(["cat"], sole_writer=sole_writer)
        id, _ = self.request()
        self.reply(id, Attached(process=record(pty=pty), **fields))
        return id, result(starting)


def stage(**options: Any) -> Stage:
    """A session whose HELLO has been answered."""
    return Stage(welcome=Welcome(server="test", window=1000), **options)


def lasting(**options: Any) -> Stage:
    """The same of a client that connects again."""
    return stage(reconnect=True, **options)


def record(**fields: Any) -> ProcessRecord:
    return ProcessRecord(**{"id": "p1", "argv": ("cat",), "state": State.RUNNING, "pid": 77, **fields})


def result(deferred: Deferred[T]) -> T:
    """What *deferred* has fired with; raises what it has failed with."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    found: T = results[0]
    return found


def pending(deferred: Deferred[Any]) -> bool:
    """Whether it has not fired."""
    return not deferred.called
