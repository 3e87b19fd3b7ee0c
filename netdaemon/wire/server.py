"""The daemon's side of one conversation: bytes in, requests out; replies and events to bytes; knows no socket."""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct

from netdaemon.errors import (
    AlreadyAttached,
    BadRequest,
    LocalProtocolError,
    NotAttached,
    Refusal,
    RemoteProtocolError,
    TooLarge,
    UnknownCommand,
)
from netdaemon.wire import layout, v1
from netdaemon.wire.answers import OPENING, End, Event, Failure, Output, Reply, Welcome
from netdaemon.wire.commands import REQUESTS, Attach, Data, Hello, Kill, Request, Start
from netdaemon.wire.connection import HEAD, U16, VERSION, Conversation
from netdaemon.wire.frame import LENGTH, MESSAGE_HEAD

# DATA from the daemon is by far the most frequent message: its box has one shape, so it is packed in one go.
_OUTPUT_BOX = Struct(">H7sIqH6sIqH4sIqH")


def output_box(channel: int, offset: int, time: int) -> bytes:
    """The box of `Output`; byte for byte what the general encoder makes of it."""
    return _OUTPUT_BOX.pack(7, b"channel", 8, channel, 6, b"offset", 8, offset, 4, b"time", 8, time, 0)


class ServerConnection(Conversation):
    """The daemon's side of one conversation.

    Feed it with `receive`, ask it with `next_request` until that gives None, and send what `welcome`, `reply`,
    `event` and `abort` return. After a RemoteProtocolError only `abort` makes sense.
    """

    def __init__(self, *, packets: bool = False) -> None:
        super().__init__(packets=packets)
        # Requests that have not been answered; attachments and subscriptions. In version 1 an attachment's events have
        # no id of their own, so the id of its request is free again once that is answered.
        self._requests: set[int] = set()
        self._attachments: set[int] = set()
        # The one attachment of version 1: its request's id, from when it is asked for on.
        self._attachment = 0

    @property
    def open_ids(self) -> Collection[int]:
        """The ids of requests not answered yet, and of attachments and subscriptions."""
        return self._requests | self._attachments

    @property
    def attachments(self) -> Collection[int]:
        """The ids on which events can be sent."""
        return self._attachments

    def next_request(self) -> tuple[int, Request | Refusal] | None:
        """The next request and its id; a Refusal in its place is what to answer it with. None: wait for more bytes.

        :raises RemoteProtocolError: the client broke the rules so that it cannot go on.
        """
        octets = self._reader.next()
        if octets is None:
            return None
        id, command = HEAD.unpack_from(octets)
        if self.version is None:
            return id, self._read_hello(id, command, octets)
        if id == 0 or id in self._requests or (id in self._attachments and self.version != 1):
            what = "0, which is for the daemon" if id == 0 else f"{id}, which is open"
            raise RemoteProtocolError(f"a request has the id {what}")
        self._requests.add(id)
        try:
            if self.version == 1:
                return id, self._decode_v1(id, command, bytes(octets))
            declaration = REQUESTS.get(command)
            if declaration is None or declaration is Hello:
                return id, self._unknown(command)
            return id, layout.decode(declaration, octets, MESSAGE_HEAD, strict=True)
        except Refusal as refusal:
            return id, refusal

    def _unknown(self, command: int) -> Refusal:
        if command == Hello.command:
            return BadRequest("HELLO was said already")
        return UnknownCommand(f"the command {command:#06x} is no request of version {self.version} known here")

    def _read_hello(self, id: int, command: int, octets: bytes | memoryview) -> Hello:
        if command != Hello.command:
            raise RemoteProtocolError(f"the command {command:#06x} came before HELLO")
        if id == 0:
            raise RemoteProtocolError("HELLO has the id 0, which is for the daemon")
        if len(octets) < MESSAGE_HEAD + 2:
            raise RemoteProtocolError("HELLO has no version")
        version = U16.unpack_from(octets, MESSAGE_HEAD)[0]
        if version == 0:
            raise RemoteProtocolError("HELLO has version 0; 1 and 2 are known")
        self._offered = 1 if self.packets else min(version, VERSION)
        self._requests.add(id)
        if version == 1:
            if len(octets) != MESSAGE_HEAD + 2:
                raise RemoteProtocolError("bytes stand after the version in HELLO")
            return Hello()
        try:
            # A later version may have more to say in it; what this one knows is all it needs.
            return layout.decode(Hello, octets, MESSAGE_HEAD + 2, strict=version == VERSION)
        except BadRequest as error:
            raise RemoteProtocolError(f"HELLO: {error}") from None

    def _decode_v1(self, id: int, command: int, octets: bytes) -> Request | Refusal:
        if command not in v1.REQUEST_CODES:
            return self._unknown(command)
        if command in (Start.command, Attach.command):
            if self._attachment:
                raise AlreadyAttached("this connection is attached to a process, and a version-1 connection has one")
            request = v1.decode_request(command, octets, MESSAGE_HEAD, 0)
            self._attachment = id
            return request
        if command in (Data.command, Kill.command) and not self._attachment:
            raise NotAttached("this connection is attached to no process")
        return v1.decode_request(command, octets, MESSAGE_HEAD, self._attachment)

    def welcome(self, id: int, message: Welcome) -> bytes:
        """Answer HELLO, and agree on the version."""
        self._requests.discard(id)
        self._agree(self._offered, self.max_message)
        body = U16.pack(self._offered)
        if self._offered == 2:
            body += layout.encode(message)
        return self._pack(id, Welcome.command, body)

    def reply(self, id: int, message: Reply) -> bytes:
        """Answer a request. Its id is closed by that, unless events follow on it. Too large an answer: ERROR."""
        if id not in self._requests:
            raise LocalProtocolError(f"the request {id} is not open")
        body = self._encode_answer(message)
        if body is None:
            raise LocalProtocolError(f"version {self.version} has no reply {type(message).__name__}")
        if MESSAGE_HEAD + len(body) > self.max_message:
            excess = TooLarge(
                f"the reply has {len(body)} bytes and a message at most {self.max_message}: ask for less at a time"
            )
            message = Failure.of(excess)
            body = self._encode_answer(message)
            assert body is not None
        self._requests.discard(id)
        if type(message) in OPENING:
            self._attachments.add(id)
        elif id == self._attachment and id not in self._attachments:
            self._attachment = 0
        return self._pack(id, message.command, body)

    def event(self, id: int, message: Event) -> bytes:
        """Tell something on an attachment or subscription; END closes its id. Empty where version 1 cannot tell it."""
        if id not in self._attachments:
            raise LocalProtocolError(f"the attachment {id} is not open")
        if type(message) is End:
            self._attachments.discard(id)
            self._attachment = 0
        body = self._encode_answer(message)
        if body is None:
            return b""
        return self._pack(0 if self.version == 1 else id, message.command, body)

    def output_head(self, id: int, channel: int, offset: int, time: int, length: int) -> bytes:
        """All of a DATA event but its last *length* bytes, which the caller sends after it."""
        if self.version == 1:
            id = 0
            body = v1.output_head(channel, length)
        else:
            body = output_box(channel, offset, time)
        head = HEAD.pack(id, Output.command) + body
        return head if self.packets else LENGTH.pack(len(head) + length) + head

    def _encode_answer(self, message: Reply | Event) -> bytes | None:
        if self.version == 1:
            return v1.encode_answer(message)
        body = layout.encode(message)
        return body + message.payload if type(message) is Output else body

    def abort(self, number: int, message: str, code: str = "protocol-error") -> bytes:
        """End the conversation; close the connection after sending it."""
        return self._encode_abort(number, message, code)
