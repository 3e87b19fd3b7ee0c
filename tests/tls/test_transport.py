"""The transport by itself: all that is sent comes, nothing stays where nobody sees it, and what waits is counted."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from netdaemon import Credentials
from netdaemon.errors import NetdaemonError
from netdaemon.interfaces import IDirectTransport, IMeteredTransport, IPeerCertificate, IPeerCredentials
from netdaemon.tls.contexts import client_context, daemon_context
from netdaemon.tls.transport import READ_SIZE, RECORD, ClientTransport, DaemonTransport, TlsTransport
from tests.tls.support import Keys

core: Any = reactor


class Gathering(Protocol):
    """Keeps what comes, and tells of the end."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.shaken: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.paused = 0

    def connectionMade(self) -> None:
        if not IPeerCertificate.providedBy(self.transport):
            self.shaken.callback(None)

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.paused = 0

    def stopProducing(self) -> None:
        """`connectionLost` says so."""


@asynccontextmanager
async def joined(directory: Path) -> AsyncIterator[tuple[Gathering, Gathering, Any, Any]]:
    """Both ends: their protocols and transports, daemon first, when the handshake is completed."""
    keys = Keys(directory / "keys")
    certificate, mine = keys.issue("daemon", "localhost"), keys.issue("panel", "panel.example.org")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = socket.create_connection(listening.getsockname())
        here, _ = listening.accept()
    accepted = SSL.Connection(daemon_context(certificate, certificate, keys.authority), here)
    accepted.set_accept_state()
    dialled = SSL.Connection(client_context(Credentials(certificate=mine, authority=keys.authority)), there)
    dialled.set_connect_state()
    daemon, client = Gathering(), Gathering()

    def explain(error: SSL.Error) -> NetdaemonError:
        return NetdaemonError(str(error))

    def known(transport: TlsTransport) -> None:
        daemon.handshakeCompleted()

    def made(transport: TlsTransport) -> None:
        client.makeConnection(transport)

    one = DaemonTransport(here, daemon, core, "here", accepted, known, explain, identify=lambda _: ("pin", ()))
    two = ClientTransport(there, client, core, "there", dialled, made, explain)
    one.begin()
    two.begin()
    await daemon.shaken
    await client.shaken
    try:
        yield daemon, client, one, two
    finally:
        for transport in (one, two):
            transport.abortConnection()
        for end in (daemon, client):
            if not end.lost.called:
                await end.lost


async def until(condition: Any) -> None:
    while not condition():
        await deferLater(core, 0.001)


async def test_what_it_is(tmp_path: Path) -> None:
    """It tells who has shown which certificate, and nothing of what the kernel knows of UNIX sockets."""
    async with joined(tmp_path) as (_, _, one, two):
        for interface in (IDirectTransport, IMeteredTransport, IPeerCertificate):
            assert verifyObject(interface, one)
        assert not IPeerCredentials.providedBy(one)
        assert not IPeerCertificate.providedBy(two)
        assert one.getPeer() == two.getHost()


@pytest.mark.parametrize("size", [1, 7, 5_000, RECORD - 1, RECORD, RECORD + 1, 100_001])
async def test_all_that_is_sent_comes(tmp_path: Path, size: int) -> None:
    """In records of any size, however many of them lie there when reading goes on; none stays inside of OpenSSL."""
    # The last of them is the one that a read does not take whole, if it takes any in part.
    count = READ_SIZE // max(size, 200) + 1
    data = bytes(range(256)) * (size // 256 + 1)
    async with joined(tmp_path) as (daemon, client, one, two):
        one.stopReading()
        for _ in range(count):
            two.sendParts((data[: size // 2], data[size // 2 : size]))
        await deferLater(core, 0.05)
        one.startReading()
        await until(lambda: len(daemon.received) >= count * size)
        assert daemon.received == data[:size] * count
        one.write(b"done")
        await until(lambda: client.received == b"done")


async def test_few_bytes_at_a_time(tmp_path: Path) -> None:
    """Where it is to read little at once, it reads one record, and goes on."""
    async with joined(tmp_path) as (daemon, _, one, two):
        one.readMost = 10
        for _ in range(200):
            two.sendParts((b"x" * 13_001,))
        await until(lambda: len(daemon.received) == 200 * 13_001)


async def test_what_waits_is_counted_and_pauses(tmp_path: Path) -> None:
    """What the kernel does not take is all there is, and the producer hears of it; then all of it comes."""
    async with joined(tmp_path) as (daemon, client, one, two):
        one.registerProducer(daemon, True)
        two.stopReading()
        sent = 0
        while not daemon.paused:
            one.sendParts((b"abcdefgh", memoryview(b"z" * 99_992)))
            sent += 100_000
        assert 0 < one.waiting <= 100_000
        before = one.waiting
        one.sendParts((b"y" * 10,))
        assert one.waiting == before + 10
        two.startReading()
        await until(lambda: len(client.received) == sent + 10)
        assert client.received == (b"abcdefgh" + b"z" * 99_992) * (sent // 100_000) + b"y" * 10
        assert one.waiting == 0
        assert not daemon.paused
        one.unregisterProducer()


async def test_the_last_words_are_heard(tmp_path: Path) -> None:
    """Although the other side has sent what nobody reads: else the kernel would cut the connection, and them."""
    async with joined(tmp_path) as (daemon, client, one, two):
        two.sendParts((b"x" * 100_000,))
        one.stopReading()
        one.write(b"l" * 500_000 + b"goodbye")
        one.loseConnection()
        await client.lost
        await daemon.lost
        assert client.received.endswith(b"goodbye")
        assert len(client.received) == 500_007


async def test_one_end_is_cut(tmp_path: Path) -> None:
    async with joined(tmp_path) as (daemon, client, one, _):
        one.abortConnection()
        await daemon.lost
        await client.lost
