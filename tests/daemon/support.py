"""A daemon in memory and a client that speaks bare messages to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from twisted.internet.protocol import Protocol

from netdaemon.daemon.audit import Audit
from netdaemon.daemon.settings import Settings
from netdaemon.errors import ConversationAborted, Refusal
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.testing import FakeChild, FakeLauncher, MemoryDaemon, join
from netdaemon.wire.answers import Attached, Gap, Message, Output, Status
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Hello, Request, Start


class Bare(Protocol):
    """The messages that came, by the id of their request."""

    def __init__(self, version: int = 2, packets: bool = False, token: bytes | None = None) -> None:
        self.token = token
        self.connection = ClientConnection(version=version, packets=packets)
        self.got: list[tuple[int, Message | Refusal]] = []
        self.aborted: ConversationAborted | None = None
        self.lost = False
        self.reading = True

    def connectionMade(self) -> None:
        self.send(self.connection.hello(Hello(client="test", token=self.token)))

    def send(self, octets: bytes) -> None:
        assert self.transport is not None
        self.transport.write(octets)

    def dataReceived(self, data: bytes) -> None:
        self.connection.receive(data)
        try:
            while (message := self.connection.next_message()) is not None:
                self.got.append(message)
        except ConversationAborted as error:
            self.aborted = error

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class World:
    """One daemon, any number of clients, children played by the test."""

    def __init__(self, policy: Any = OwnerPolicy.of_this_process, audit: Audit | None = None, **settings: Any) -> None:
        self.daemon = MemoryDaemon(settings=Settings(**settings), policy=policy, audit=audit)
        self.reactor = self.daemon.reactor

    @property
    def launcher(self) -> FakeLauncher:
        return self.daemon.fake

    @property
    def children(self) -> list[FakeChild]:
        return self.daemon.children

    def client(
        self, version: int = 2, packets: bool = False, uid: int | None = None, token: bytes | None = None
    ) -> Bare:
        """A client that has said HELLO."""
        bare = Bare(version, packets, token)
        peer = self.daemon.service.build(packets)
        join(self.reactor, peer, bare, os.geteuid() if uid is None else uid)
        self.daemon.settle()
        return bare

    def ask(self, client: Bare, request: Request) -> tuple[int, Message | Refusal]:
        """Send a request; its id and its reply, which must be the next message of that id."""
        id = self.post(client, request)
        replies = [message for other, message in client.got if other == id]
        assert replies, f"{request} was not answered"
        return id, replies[0]

    def post(self, client: Bare, request: Request) -> int:
        """Send a request, and let everything happen; its id."""
        id, octets = client.connection.request(request)
        client.got = [entry for entry in client.got if entry[0] != id]
        client.send(octets)
        self.daemon.settle()
        return id

    def start(self, client: Bare, *argv: str, **options: Any) -> tuple[int, str, FakeChild]:
        """Start with attach; the attachment's id, the process's id, the child."""
        options.setdefault("attach", True)
        id, reply = self.ask(client, Start(argv=argv or ("program",), **options))
        assert isinstance(reply, Attached), reply
        return id, reply.process.id, self.children[-1]


def output_of(client: Bare, id: int, channel: int | None = None) -> bytes:
    """What came on an attachment; asserts that it is contiguous but for the gaps that were told."""
    expected: int | None = None
    result = b""
    for other, message in client.got:
        if other != id:
            continue
        if isinstance(message, Attached):
            expected = message.offset
        elif isinstance(message, Gap):
            assert message.from_ == expected
            expected = message.to
        elif isinstance(message, Output):
            assert message.offset == expected or channel is not None
            expected = message.offset + len(message.payload)
            if channel in (None, message.channel):
                result += message.payload
    return result


def status_of(client: Bare, id: int) -> Status | None:
    """The last status that came on an attachment."""
    return next((m for other, m in reversed(client.got) if other == id and isinstance(m, Status)), None)


@contextlib.contextmanager
def world(**settings: Any) -> Iterator[World]:
    """A world that is clean afterwards: nothing is scheduled, watched or open any more."""
    made = World(**settings)
    try:
        yield made
        made.daemon.stop()
        assert [call for call in made.reactor.getDelayedCalls() if call.active()] == []
        assert made.reactor.getReaders() == made.reactor.getWriters() == []
        assert all(child.released for child in made.children)
    finally:
        for child in made.children:
            child.clean()
