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

# The C library gives a large block back to the kernel once it is free, and the next one is faulted in again, page by
# page, until it has seen a larger one come and go: from then on it keeps them. Nobody touches this one.
bytes(MAX_MESSAGE)

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

    def receive(self, octets: Buffer, *, lent: bool = False) -> None:
        """Take what one read of the socket gave.

        :param lent: it is not copied, and not to be overwritten until `next` has given None or `keep` was called.
        """

    def keep(self) -> None:
        """Copy what was lent and has not been given out."""

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
        # What was lent and stays with its owner, where it begins, and a message that is given out as a view.
        self._lent: memoryview | None = None
        self._lent_start = 0
        self._given: memoryview | None = None

    def receive(self, octets: Buffer, *, lent: bool = False) -> None:
        self.keep()
        if self._start:
            # What was given out is dropped here, once a read, and not once a message.
            del self._buffer[: self._start]
            self._start = 0
        if lent:
            rest = memoryview(octets)
            if self._buffer:
                missing = self._missing(len(rest))
                self._buffer += rest[:missing]
                rest = rest[missing:]
            self._lent, self._lent_start = rest, 0
        else:
            self._buffer += octets

    def _missing(self, most: int) -> int:
        """How many of *most* bytes complete the message that the buffer begins with; all, if that is not to be told."""
        have = len(self._buffer)
        if have < LENGTH.size:
            return most
        missing: int = LENGTH.size + LENGTH.unpack_from(self._buffer)[0] - have
        return missing if 0 <= missing <= most else most

    def next(self) -> bytes | memoryview | None:
        if self._given is not None:
            self._take_back()
        if self._start < len(self._buffer):
            end = self._end(self._buffer, self._start)
            if not end:
                self.keep()
                return None
            start, self._start = self._start + LENGTH.size, end
            if end - start < SMALL:
                return bytes(self._buffer[start:end])
            with memoryview(self._buffer) as view:
                if end - start < LARGE:
                    return bytes(view[start:end])
                self._given = view[start:end]
            return self._given
        if self._start:
            # All has been given out: an idle connection keeps no memory of its busiest moment.
            self._buffer.clear()
            self._start = 0
        if self._lent is None:
            return None
        end = self._end(self._lent, self._lent_start)
        if not end:
            self.keep()
            return None
        start, self._lent_start = self._lent_start + LENGTH.size, end
        message = self._lent[start:end]
        return message if end - start >= LARGE else bytes(message)

    def _end(self, octets: bytearray | memoryview, start: int) -> int:
        """Where the message ends that begins there; 0: there is not all of it."""
        have = len(octets)
        if have < start + LENGTH.size:
            return 0
        length: int = LENGTH.unpack_from(octets, start)[0]
        if length < MESSAGE_HEAD or length > self.limit:
            check_length(length, self.limit)
        end = start + LENGTH.size + length
        return end if end <= have else 0

    def _take_back(self) -> None:
        """The buffer cannot change its size while there is a view of it."""
        assert self._given is not None
        self._given.release()
        self._given = None

    def keep(self) -> None:
        if self._given is not None:
            self._take_back()
        if self._lent is not None:
            self._buffer += self._lent[self._lent_start :]
            self._lent = None

    @property
    def unfinished(self) -> bool:
        return self.waiting > 0

    @property
    def waiting(self) -> int:
        lent = 0 if self._lent is None else len(self._lent) - self._lent_start
        return len(self._buffer) - self._start + lent


class PacketReader:
    """One packet is one message, and there is no length before it."""

    def __init__(self, limit: int = GREETING_LIMIT) -> None:
        self.limit = limit
        self._packets: deque[bytes] = deque()

    def receive(self, octets: Buffer, *, lent: bool = False) -> None:
        self._packets.append(bytes(octets))

    def keep(self) -> None:
        """Every packet is copied."""

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
