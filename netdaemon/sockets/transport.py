"""Connected UNIX sockets as Twisted transports that read into one buffer and send directly; knows no messages.

Twisted's own read at most 64 KiB into fresh memory, join what is written by copying it, and send at the next turn
of the loop only; and they know nothing of SOCK_SEQPACKET.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet import main, tcp
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocol
from zope.interface import implementer

from netdaemon.interfaces import IDirectTransport, IMeteredTransport, IPeerCredentials
from netdaemon.sockets.groups import peer_groups
from netdaemon.watching import Watched, insisting

# One read of a socket: a large DATA message and much of the next; a buffer that stays costs nothing to read into.
READ_SIZE = 512 * 1024

# What a socket may hold on its way; the kernel's default of 208 KiB costs a fifth of the throughput.
SEND_BUFFER = 1 << 20

# Any byte that waits here pauses the producer: what the kernel does not take stays where it can be read again.
HIGH_WATER = 0

_CREDENTIALS = struct.Struct("3i")

# Every transport reads into this one in turn; a protocol copies what it keeps before it returns.
_read_view = memoryview(bytearray(READ_SIZE))


@implementer(IDirectTransport, IMeteredTransport, IPeerCredentials)
class StreamTransport(Watched, tcp.Connection):
    """A connected SOCK_STREAM socket. ``dataReceived`` gets a memoryview that is valid during the call only."""

    bufferSize = HIGH_WATER
    readMost = READ_SIZE

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: Any, address: str) -> None:
        super().__init__(sock, protocol, reactor)
        self._prepare(sock)
        self._address: Any = UNIXAddress(address)
        self.logstr = f"{type(protocol).__name__},{address}"
        self._writing_again: Any = None
        self.connected = 1

    def _prepare(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def begin(self) -> None:
        """Make the protocol's connection and start to read."""
        self.startReading()
        self.protocol.makeConnection(self)

    def startReading(self) -> None:
        self.watch()

    def stopReading(self) -> None:
        self.unwatch()

    def startWriting(self) -> None:
        if self._writing_again is None:
            self._start_writing()

    def _start_writing(self) -> None:
        self._writing_again = insisting(self.reactor, super().startWriting, self._start_writing)

    def stopWriting(self) -> None:
        if self._writing_again is not None:
            self._writing_again.cancel()
            self._writing_again = None
        super().stopWriting()

    def getHost(self) -> Any:
        return self._address

    getPeer = getHost

    def logPrefix(self) -> str:
        return self.logstr

    def doRead(self) -> Any:
        try:
            length = self.socket.recv_into(_read_view, self.readMost)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not length:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(_read_view[:length])  # type: ignore[arg-type]
        return None

    @property
    def waiting(self) -> int:
        return self._tempDataLen + len(self.dataBuffer) - self.offset

    def sendParts(self, parts: Sequence[bytes | memoryview]) -> None:
        sent = 0
        if not self.waiting and self.connected and not self.disconnecting:
            sent = self._send_now(parts)
            if sent == sum(map(len, parts)):
                return
        rest = []
        for part in parts:
            if sent < len(part):
                rest.append(memoryview(part)[sent:])
            sent = max(0, sent - len(part))
        self.write(b"".join(rest))

    def _send_now(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send what the kernel takes at once; how many bytes that are."""
        try:
            return self.socket.sendmsg(parts)
        except OSError:
            # Full, or broken: in either case the write that follows finds out at a time when it can be told.
            return 0

    def peerCredentials(self) -> tuple[int, int, int]:
        raw = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(raw)
        return pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF

    def peerGroups(self) -> frozenset[int]:
        return peer_groups(self.socket)


class PacketTransport(StreamTransport):
    """A connected SOCK_SEQPACKET socket: one ``dataReceived``, one ``sendParts``, one ``write`` is one packet."""

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: Any, address: str) -> None:
        super().__init__(sock, protocol, reactor, address)
        self._packets: deque[bytes] = deque()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    def sendParts(self, parts: Sequence[bytes | memoryview]) -> None:
        if not self._packets and self.connected and not self.disconnecting:
            try:
                self.socket.sendmsg(parts)
            except OSError:
                pass
            else:
                return
        self.write(b"".join(parts))

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting:
            return
        self._packets.append(data)
        self._waiting += len(data)
        if self.producer is not None and self.streamingProducer and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()  # type: ignore[attr-defined]
        self.startWriting()

    def doWrite(self) -> Any:
        while self._packets:
            try:
                self.socket.send(self._packets[0])
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    # It passes, as Twisted has it for streams.
                    return None
                return main.CONNECTION_LOST
            self._waiting -= len(self._packets.popleft())
        self.stopWriting()
        if self.producer is not None and self.producerPaused:
            self.producerPaused = False
            self.producer.resumeProducing()  # type: ignore[attr-defined]
        elif self.disconnecting:
            return self._postLoseConnection()
        return None
