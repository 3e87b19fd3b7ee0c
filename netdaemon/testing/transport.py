"""Connections in memory, with room for so many bytes and ends that may not read; knows no messages."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.interfaces import IDirectTransport, IPeerCredentials
from netdaemon.testing.reactor import MemoryReactor

# What a UNIX socket holds, about, before its writer has to wait.
PIPE_SIZE = 208 * 1024


@implementer(IDirectTransport, IPeerCredentials)
class MemoryTransport:
    """One end of a connection in memory, with room for so many bytes and a peer that may not read."""

    def __init__(self, reactor: MemoryReactor, protocol: IProtocol, uid: int) -> None:
        self.protocol: Any = protocol
        self.other: MemoryTransport
        self.waiting = 0
        self.connected = True
        self.disconnecting = False
        self._reactor = reactor
        self._uid = uid
        self._incoming: deque[bytes] = deque()
        self._queue: deque[bytes] = deque()
        self._reading = True
        self._producer: Any = None
        self._paused = False
        self._call: Any = None

    # What the protocol on this side does with it.

    def write(self, data: bytes) -> None:
        self.sendParts((data,))

    def writeSequence(self, data: Sequence[bytes]) -> None:
        self.sendParts(data)

    def sendParts(self, parts: Sequence[bytes | memoryview]) -> None:
        if not self.connected or self.disconnecting:
            return
        data = b"".join(parts)
        self._queue.append(data)
        self.waiting += len(data)
        self._move()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._move()

    def abortConnection(self) -> None:
        self._lose()
        self.other._lose()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self._schedule()

    def stopProducing(self) -> None:
        self.loseConnection()

    def peerGroups(self) -> frozenset[int]:
        return frozenset()

    def peerCredentials(self) -> tuple[int, int, int]:
        return os.getpid(), self._uid, 0

    def getPeer(self) -> str:
        return "memory"

    getHost = getPeer

    def cut(self, count: int) -> None:
        """Have so many more bytes of what is under way to this side arrive, and nothing after them."""
        under_way = b"".join((*self._incoming, *self.other._queue))
        self._incoming.clear()
        self.other._queue.clear()
        if count and self.connected and under_way:
            self.protocol.dataReceived(under_way[:count])

    # How bytes come across.

    def _move(self) -> None:
        """Put what waits into the other side's hands, as far as there is room."""
        while self._queue and sum(map(len, self.other._incoming)) < PIPE_SIZE:
            data = self._queue.popleft()
            self.waiting -= len(data)
            self.other._incoming.append(data)
        self.other._schedule()
        if self._queue and not self._paused and self._producer is not None:
            self._paused = True
            self._producer.pauseProducing()
        elif not self._queue and self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def _schedule(self) -> None:
        if self._call is None and self.connected:
            self._call = self._reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._call = None
        if not self._reading or not self.connected:
            return
        if self._incoming:
            data = self._incoming.popleft()
            self.other._move()
            self.protocol.dataReceived(data)
            self._schedule()
        elif not self.other.connected or (self.other.disconnecting and not self.other._queue):
            self.other._lose()
            self._lose()

    def _lose(self) -> None:
        if not self.connected:
            return
        self.connected = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.protocol.connectionLost(Failure(main.CONNECTION_DONE))
        self.other._schedule()


def join(reactor: MemoryReactor, server: IProtocol, client: IProtocol, uid: int = 0) -> MemoryTransport:
    """Connect two protocols in memory; *uid* is what the server's side is told of the client.

    :return: the server's end.
    """
    here, there = MemoryTransport(reactor, server, uid), MemoryTransport(reactor, client, 0)
    here.other, there.other = there, here
    server.makeConnection(here)  # type: ignore[arg-type]
    client.makeConnection(there)  # type: ignore[arg-type]
    return here
