"""What both sides of a conversation share: framing, the agreed version and limits, the putting together of messages."""

from __future__ import annotations

from struct import Struct

from netdaemon.wire import layout, v1
from netdaemon.wire.answers import Abort
from netdaemon.wire.frame import (
    MAX_MESSAGE,
    MAX_PACKET,
    MESSAGE_HEAD,
    Buffer,
    FrameReader,
    PacketReader,
    Reader,
)

VERSION = 2

# id:u32 command:u16
HEAD = Struct(">IH")
U16 = Struct(">H")

# The same with the length of a frame before it.
_FRAME_HEAD = Struct(">IIH")


class Conversation:
    """What both sides share: a reader of messages, a version once it is agreed, and how a message is put together."""

    def __init__(self, *, packets: bool) -> None:
        self.version: int | None = None
        self.packets = packets
        self.max_message = MAX_PACKET if packets else MAX_MESSAGE
        self._reader: Reader = PacketReader() if packets else FrameReader()

    def receive(self, octets: Buffer, *, lent: bool = False) -> None:
        """Take what one read of the socket gave: any part of a stream, or one packet.

        :param lent: it is not copied, and stays as it is until all messages have been taken, or `keep` was called.
        """
        self._reader.receive(octets, lent=lent)

    def keep(self) -> None:
        """Copy what was lent and not taken yet: it may be overwritten."""
        self._reader.keep()

    @property
    def unfinished(self) -> bool:
        """Whether bytes of a message are here and its end is not, or have not been asked for."""
        return self._reader.unfinished

    @property
    def waiting(self) -> int:
        """How many received bytes wait to be read as messages."""
        return self._reader.waiting

    def discard(self) -> None:
        """Forget what has been received: the conversation is over."""
        self._reader = PacketReader() if self.packets else FrameReader()

    def _agree(self, version: int, max_message: int) -> None:
        self.version = version
        self.max_message = min(max_message, self.max_message)
        self._reader.limit = self.max_message

    def _pack(self, id: int, command: int, body: bytes, *, following: int = 0) -> bytes:
        """A message; so many bytes of it follow apart."""
        if self.packets:
            return HEAD.pack(id, command) + body
        return _FRAME_HEAD.pack(MESSAGE_HEAD + len(body) + following, id, command) + body

    def _encode_abort(self, number: int, message: str, code: str = "") -> bytes:
        # Before HELLO is answered no version is agreed; the older form can be read by everyone.
        told = Abort(code=code, errno=number, message=message)
        body = layout.encode(told) if self.version == 2 else v1.encode_answer(told)
        assert body is not None
        return self._pack(0, Abort.command, body)
