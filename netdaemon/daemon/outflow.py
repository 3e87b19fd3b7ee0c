"""What goes out to one client: replies joined, output by turns, and no more than it takes; knows no requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from netdaemon.interfaces import IDirectTransport
from netdaemon.process.spool import Segment
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.v1 import MAX_OUTPUT

# Output in one message: what one read of a pipe gives; a client reads it in one go.
OUTPUT_CHUNK = 256 * 1024

# The first over a connection; the next is twice as large, and so on: where connections are cut again and again,
# something comes across each of them.
OUTPUT_CHUNK_FIRST = 64 * 1024

# Output sent to one client before the others have their turn.
OUTPUT_TURN = 1 << 20

# Replies that may wait for a client that sends requests and does not read; beyond it, its requests are not read.
REPLY_BACKLOG = 64 * 1024

# Replies that are joined into one send: few enough that the client works on them while the next are being made.
REPLIES_JOINED = 8


class Source(Protocol):
    """What is asked for more when the client takes it: an attachment, a subscription."""

    def send(self, limit: int) -> int:
        """Send one thing, output of at most *limit* bytes; 0 if there is nothing to send, else about its size."""


class Outflow:
    """The sending side of one connection.

    Output and events are never queued here: a source that has some is asked for it when the client takes it.

    :param reactor: `IReactorTime`.
    """

    def __init__(self, connection: ServerConnection, reactor: Any) -> None:
        self._connection = connection
        self._reactor = reactor
        self._transport: Any = None
        self._direct: Any = None
        self._chunk = OUTPUT_CHUNK_FIRST
        self._willing = True
        self._mute = False
        self._waiting: dict[Source, None] = {}
        self._turn: Any = None
        # What has been said since `join`, and its size; None: whatever is said goes out at once.
        self._joined: list[bytes] | None = None
        self._joined_size = 0

    def connected(self, transport: Any) -> None:
        """Send on *transport* from here on."""
        self._transport = transport
        self._direct = IDirectTransport(transport, None)

    def close(self) -> None:
        """Send nothing any more, whatever comes about."""
        self._mute = True
        self._willing = False
        self._joined = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    # --- messages ----------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Send one message, or nothing if it is empty."""
        if not octets or self._mute:
            return
        if self._joined is None:
            self._send_parts((octets,))
        else:
            self._joined.append(octets)
            self._joined_size += len(octets)

    def join(self) -> None:
        """Keep what is sent until `flush`."""
        self._joined, self._joined_size = [], 0

    @property
    def joined_enough(self) -> bool:
        """Whether it is time for `flush`."""
        joined = self._joined
        return joined is not None and (len(joined) >= REPLIES_JOINED or self._joined_size > REPLY_BACKLOG)

    def flush(self) -> None:
        """Send what was joined, in one go where the socket allows it."""
        joined, self._joined = self._joined, None
        if not joined:
            return
        if self._connection.packets:
            for one in joined:
                self._send_parts((one,))
        else:
            self._send_parts((b"".join(joined),))

    @property
    def backlogged(self) -> bool:
        """Whether the client does not take its replies."""
        return self._direct is not None and self._direct.waiting > REPLY_BACKLOG

    # --- output ------------------------------------------------------------------------------------------------------

    def ready(self, source: Source) -> None:
        """There is something to send for *source*: now if the client takes it, else when it does."""
        self._waiting[source] = None
        if self._willing and self._joined is None and self._turn is None:
            self.send_waiting()

    def forget(self, source: Source) -> None:
        """*source* is over."""
        self._waiting.pop(source, None)

    def pause(self) -> None:
        """The client does not take what is sent."""
        self._willing = False

    def resume(self) -> None:
        """It does again; `send_waiting` goes on."""
        self._willing = not self._mute

    def send_waiting(self) -> None:
        """One chunk for each source in turn, until there is nothing to send or the client takes no more."""
        if not self._waiting or not self._willing:
            return
        # Events go out together, or with the output that follows them: each send wakes the client.
        self.join()
        try:
            self._send_waiting()
        finally:
            self.flush()

    def _send_waiting(self) -> None:
        sent = 0
        waiting = self._waiting
        if self._connection.version == 1:
            self._chunk = MAX_OUTPUT
        while waiting and self._willing:
            source = next(iter(waiting))
            del waiting[source]
            size = source.send(self._chunk)
            if size:
                if size == self._chunk < OUTPUT_CHUNK and self._connection.version == 2:
                    self._chunk = min(2 * size, OUTPUT_CHUNK)
                waiting[source] = None
                sent += size
                if sent >= OUTPUT_TURN:
                    if self._turn is None:
                        self._turn = self._reactor.callLater(0, self._next_turn)
                    return

    def _next_turn(self) -> None:
        self._turn = None
        self.send_waiting()

    def send_output(self, id: int, segment: Segment) -> None:
        """Send output; its bytes may be overwritten afterwards."""
        head = self._connection.output_head(id, segment.channel, segment.offset, segment.time, len(segment.data))
        if not self._connection.packets:
            before, self._joined, self._joined_size = self._joined or [], [], 0
            self._send_parts((*before, head, segment.data))
            return
        if self._joined:
            self.flush()
            self.join()
        self._send_parts((head, segment.data))

    def _send_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        if self._direct is not None:
            self._direct.sendParts(parts)
        else:
            self._transport.write(b"".join(parts))
