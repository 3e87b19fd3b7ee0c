"""Length-prefixed frames and single packets, and their limits; knows nothing of what is in them."""

from __future__ import annotations

import errno
from collections import deque
from struct import Struct
from typing import Protocol

from netdaemon.errors import RemoteProtocolError

# id:u32 command:u16, the least that is a message.
MESSAGE_HEAD = 6

# Until HELLO has been answered nothing is known of the other side: enough for any HELLO with its token.
GREETING_LIMIT = 4096

# Told in HELLO. Output is cut to fit; no request comes near it: the kernel executes far less.
MAX_MESSAGE = 1 << 20

# One SOCK_SEQPACKET packet, from the 2009 protocol.
MAX_PACKET = 65536

LENGTH = Struct(">I")

# Below this a message is taken out fastest by two copies, above it by one through a view.
SMALL = 1024

# From here on it is given out as a view, so that its payload is copied once and not twice. No HELLO is as large.
LARGE = 16 * 1024

Buffer = bytes | bytearray | memoryview


class Reader(Protocol):
    """What turns bytes from a socket into whole messages."""

    limit: int

    def receive(self, octets: Buffer) -> None:
        """Take what one read of the socket gave; *octets* may be overwritten afterwards."""

    def next(self) -> bytes | memoryview | None:
        """The next whole message, or None until more bytes come. A view is valid until the next call of anything.

        :raises RemoteProtocolError: the length is not allowed; the stream cannot be read any further.
        """

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and not ended."""

    @property
    def waiting(self) -> int:
        """How many received bytes have not been given out."""


def check_length(length: int, limit: int) -> None:
    """Refuse a message length that is below a message's head or above *limit*."""
    if length < MESSAGE_HEAD:
        raise RemoteProtocolError(f"a message of {length} bytes; the least is {MESSAGE_HEAD}")
    if length > limit:
        raise RemoteProtocolError(f"a message of {length} bytes; the most is {limit}", errno.EMSGSIZE)


class FrameReader:
    """Frames on a stream: ``length:u32``, then that many bytes."""

    def __init__(self, limit: int = GREETING_LIMIT) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._start = 0
        self._given: memoryview | None = None

    def receive(self, octets: Buffer) -> None:
        if self._given is not None:
            self._take_back()
        if self._start:
            # What was given out is dropped here, once a read, and not once a message.
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += octets

    def next(self) -> bytes | memoryview | None:
        if self._given is not None:
            self._take_back()
        start = self._start + 4
        have = len(self._buffer)
        if have < start:
            if self._start == have and have:
                # All has been given out: an idle connection keeps no memory of its busiest moment.
                self._buffer.clear()
                self._start = 0
            return None
        length = LENGTH.unpack_from(self._buffer, self._start)[0]
        if length < MESSAGE_HEAD or length > self.limit:
            check_length(length, self.limit)
        end = start + length
        if have < end:
            return None
        self._start = end
        if length < SMALL:
            return bytes(self._buffer[start:end])
        with memoryview(self._buffer) as view:
            if length < LARGE:
                return bytes(view[start:end])
            self._given = view[start:end]
        return self._given

    def _take_back(self) -> None:
        """The buffer cannot change its size while there is a view of it."""
        assert self._given is not None
        self._given.release()
        self._given = None

    @property
    def unfinished(self) -> bool:
        return len(self._buffer) > self._start

    @property
    def waiting(self) -> int:
        return len(self._buffer) - self._start


class PacketReader:
    """One packet is one message, and there is no length before it."""

    def __init__(self, limit: int = GREETING_LIMIT) -> None:
        self.limit = limit
        self._packets: deque[bytes] = deque()

    def receive(self, octets: Buffer) -> None:
        self._packets.append(bytes(octets))

    def next(self) -> bytes | None:
        if not self._packets:
            return None
        packet = self._packets.popleft()
        check_length(len(packet), self.limit)
        return packet

    @property
    def unfinished(self) -> bool:
        return False

    @property
    def waiting(self) -> int:
        return sum(map(len, self._packets))


def frame(message: bytes) -> bytes:
    """*message* with its length before it, as it goes on a stream."""
    return LENGTH.pack(len(message)) + message
