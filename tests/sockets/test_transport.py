"""What a stream's transport sends arrives once and in order, however much of it the kernel takes at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from netdaemon.process.pipes import PIPE_SIZE
from netdaemon.process.twin import Twin
from netdaemon.sockets.transport import StreamTransport
from tests.process.test_spool import Fed


class Reactor:
    """Remembers who wants to write."""

    def __init__(self) -> None:
        self.writers: set[Any] = set()

    def addReader(self, reader: object) -> None:
        pass

    removeReader = addReader

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)


class Connection:
    """A transport, and the other end of its socket."""

    def __init__(self) -> None:
        ours, self.other = socket.socketpair()
        ours.setblocking(False)
        self.reactor = Reactor()
        self.transport = StreamTransport(ours, Protocol(), self.reactor, "here")
        self.got = bytearray()

    def take(self, count: int) -> None:
        self.got += self.other.recv(count)
        for writer in list(self.reactor.writers):
            writer.doWrite()


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    yield made
    made.transport.socket.close()
    made.other.close()


@pytest.mark.parametrize("size", [1, 4096, 5000, PIPE_SIZE])
def test_by_pages_and_by_copies(connection: Connection, size: int) -> None:
    """A head and the bytes that follow it, from a twin as long as nothing waits; in turn with what is copied."""
    fed, twin, expected = Fed(1 << 20), Twin(), bytearray()
    transport = connection.transport
    waited = 0
    for number in range(3 * (1 << 20) // size if size > 5000 else 20):
        data, head = os.urandom(size), b"head %d" % number
        for begin in range(0, size, 65536):
            os.write(fed.writing, data[begin : begin + 65536])
            fed.spool.twin = twin
            at = fed.spool.end
            while fed.spool.end < at + len(data[begin : begin + 65536]):
                fed.spool.append_from(fed.reading, 1, PIPE_SIZE, 1)
            segment = fed.spool.segment(at, PIPE_SIZE)
            assert segment.twin is twin
            transport.sendTwin((b"<", head), segment.data, twin)
            expected += b"<" + head + segment.data
            twin.empty()
            transport.sendParts((b">", head))
            expected += b">" + head
        waited += transport.waiting > 0
        if number % 2:
            connection.take(100_000)
    while len(connection.got) < len(expected):
        connection.take(1 << 20)
    assert connection.got == expected
    assert not transport.waiting
    assert waited or size < PIPE_SIZE
    fed.close()
    twin.close()
