"""The client's side of one conversation: requests to bytes; bytes in, replies and events out; knows no socket."""

from __future__ import annotations

import errno
from typing import TypeVar

from netdaemon.errors import (
    BadRequest,
    ConversationAborted,
    LocalProtocolError,
    NotAttached,
    Refusal,
    RemoteProtocolError,
    TooLarge,
    refusal_from_errno,
)
from netdaemon.wire import layout, v1
from netdaemon.wire.answers import (
    EVENTS,
    OPENING,
    Abort,
    End,
    Event,
    Failure,
    Happened,
    Message,
    Output,
    Taken,
    Welcome,
)
from netdaemon.wire.commands import Data, Hello, Kill, Request
from netdaemon.wire.connection import HEAD, U16, VERSION, Conversation
from netdaemon.wire.frame import GREETING_LIMIT, MESSAGE_HEAD, SMALL

T = TypeVar("T")

# One message: what stands before its payload, and that, if it is large, by itself.
Parts = tuple[bytes | memoryview, ...]

# The largest id; they are unsigned 32 bits.
ID_MAX = 0xFFFFFFFF


class ClientConnection(Conversation):
    """The client's side of one conversation.

    Send what `hello` returns, feed the answer in, and take it with `next_message`; from then on `request`.

    :param version: the highest version to offer; 1 for the daemon of 2009.
    :param last_id: the id after which its own begin: that of the connection which this one follows, so that an id of
        that one is none of this.
    """

    def __init__(self, *, version: int = VERSION, packets: bool = False, last_id: int = 0) -> None:
        super().__init__(packets=packets)
        if version not in (1, 2):
            raise LocalProtocolError(f"version {version}; 1 and 2 are known")
        self._offered = version
        self._last_id = last_id
        self._greeted = False
        self._pending: dict[int, type[Request]] = {}
        self._attachments: set[int] = set()
        self._received = 0
        # Version 1 does not tell how much input was accepted: what was sent, by the id of the request, and all of it.
        self._sent: dict[int, int] = {}
        self._accepted = 0

    def hello(self, message: Hello) -> bytes:
        """The first thing to send."""
        if self._greeted:
            raise LocalProtocolError("HELLO was said already")
        body = U16.pack(self._offered)
        if self._offered > 1:
            body += layout.encode(message)
        if MESSAGE_HEAD + len(body) > GREETING_LIMIT:
            raise TooLarge(f"HELLO has {len(body)} bytes, and at most {GREETING_LIMIT} are read before it is answered")
        self._greeted = True
        return self._pack(self._take_id(Hello), Hello.command, body)

    @property
    def last_id(self) -> int:
        """The id that was taken last."""
        return self._last_id

    def _take_id(self, declaration: type[Request]) -> int:
        id = self._last_id
        while True:
            id = id + 1 if id < ID_MAX else 1
            if id not in self._pending and id not in self._attachments:
                break
        self._last_id = id
        self._pending[id] = declaration
        return id

    def request(self, message: Request) -> tuple[int, bytes]:
        """The id that the answer will have, and what to send; raises as `request_parts`."""
        id, parts = self.request_parts(message)
        return id, b"".join(parts)

    def request_parts(self, message: Request) -> tuple[int, Parts]:
        """The same, a large payload not copied but by itself at the end.

        :raises LocalProtocolError: HELLO has not been answered, or the agreed version cannot say this.
        :raises TooLarge: it does not fit into one message.
        """
        if self.version is None:
            raise LocalProtocolError("HELLO has not been answered")
        payload: bytes | memoryview = b""
        if self.version == 1:
            self._check_v1(message)
            body = v1.encode_request(message)
        else:
            body = layout.encode(message)
            if type(message) is Data:
                if len(message.payload) < SMALL:
                    body += message.payload
                else:
                    payload = message.payload
        size = len(body) + len(payload)
        if MESSAGE_HEAD + size > self.max_message:
            raise TooLarge(f"the request has {size} bytes and a message at most {self.max_message}")
        id = self._take_id(type(message))
        if self.version == 1 and isinstance(message, Data):
            self._sent[id] = len(message.payload)
        head = self._pack(id, message.command, body, following=len(payload))
        return id, (head, payload) if payload else (head,)

    def _check_v1(self, message: Request) -> None:
        attached = next(iter(self._attachments), None)
        to = getattr(message, "to", None)
        if isinstance(message, Data | Kill) and (to is None or to != attached):
            raise NotAttached("a version-1 connection feeds and signals the process that it is attached to, only")

    def next_message(self) -> tuple[int, Message | Refusal] | None:
        """The next reply or event, and the id of the request that it belongs to; a Refusal is raised in its caller.

        A reply is a `Reply`, a `Refusal` or, to HELLO, the `Welcome`. None: wait for more bytes.

        :raises RemoteProtocolError: the daemon broke the rules.
        :raises ConversationAborted: the daemon ended the conversation, or refused HELLO; its message says why.
        """
        while True:
            octets = self._reader.next()
            if octets is None:
                return None
            id, command = HEAD.unpack_from(octets)
            if command == Abort.command:
                raise self._read_abort(octets)
            if self.version is None:
                return id, self._read_welcome(id, command, octets)
            expected = self._pending.get(id) if id else None
            if expected is not None:
                return id, self._read_reply(id, command, octets, expected)
            event = self._read_event(id, command, octets)
            if event is not None:
                return event

    def _read_abort(self, octets: bytes | memoryview) -> ConversationAborted:
        if self.version == 2:
            abort = self._decode(Abort, octets)
        else:
            decoded = v1.decode_answer(Abort.command, bytes(octets), MESSAGE_HEAD, None)
            assert isinstance(decoded, Abort)
            abort = decoded
        return ConversationAborted(abort.message, abort.errno)

    def _read_welcome(self, id: int, command: int, octets: bytes | memoryview) -> Welcome:
        if command != Welcome.command or id not in self._pending or len(octets) < MESSAGE_HEAD + 2:
            raise RemoteProtocolError(f"the command {command:#06x} came instead of the answer to HELLO")
        version = U16.unpack_from(octets, MESSAGE_HEAD)[0]
        if not 1 <= version <= self._offered:
            raise RemoteProtocolError(f"the daemon wants version {version}; {self._offered} or lower was offered")
        del self._pending[id]
        if version == 1:
            if len(octets) != MESSAGE_HEAD + 2:
                raise RemoteProtocolError("bytes stand after the version in the answer to HELLO")
            self._agree(1, self.max_message)
            return Welcome(window=0)
        welcome = self._decode(Welcome, octets, MESSAGE_HEAD + 2)
        self._agree(version, welcome.max_message)
        return welcome

    def _read_reply(
        self, id: int, command: int, octets: bytes | memoryview, expected: type[Request]
    ) -> Message | Refusal:
        message: Message
        if self.version == 1:
            message = v1.decode_answer(command, bytes(octets), MESSAGE_HEAD, expected.replies[-1])
            if type(message) not in (Failure, *expected.replies):
                raise RemoteProtocolError(f"{expected.__name__} was answered with the command {command:#06x}")
        elif command == Failure.command:
            message = self._decode(Failure, octets)
        else:
            for declaration in expected.replies:
                if declaration.command == command:
                    message = self._decode(declaration, octets)
                    break
            else:
                raise RemoteProtocolError(f"{expected.__name__} was answered with the command {command:#06x}")
        del self._pending[id]
        if isinstance(message, OPENING):
            if self.version == 1:
                # There is one at most, and nothing tells that an earlier one has ended.
                self._attachments.clear()
            self._attachments.add(id)
            self._received = self._accepted = 0
        sent = self._sent.pop(id, 0)
        if isinstance(message, Failure):
            if self.version == 1:
                return refusal_from_errno(message.errno, message.message)
            return message.refusal()
        if self.version == 1 and isinstance(message, Taken):
            self._accepted += sent
            return Taken(accepted=sent, end=self._accepted)
        return message

    def _read_event(self, id: int, command: int, octets: bytes | memoryview) -> tuple[int, Message] | None:
        if self.version == 1:
            if id != 0 or not self._attachments:
                raise RemoteProtocolError(f"an answer has the id {id}, and no request has")
            event = v1.decode_answer(command, bytes(octets), MESSAGE_HEAD, None)
            if not isinstance(event, Event):
                raise RemoteProtocolError(f"the reply {command:#06x} has the id 0, which is for events")
            if isinstance(event, Output):
                # Version 1 tells no offsets; counting from the attachment on is the best that can be said.
                event = Output(channel=event.channel, offset=self._received, payload=event.payload)
                self._received += len(event.payload)
            return next(iter(self._attachments)), event
        if id not in self._attachments:
            raise RemoteProtocolError(f"an answer has the id {id}, and no request or attachment has")
        declaration = EVENTS.get(command)
        if declaration is None:
            # A daemon newer than this client may tell more; what is not understood is not missed.
            return None
        try:
            message = layout.decode(declaration, octets, MESSAGE_HEAD, strict=False)
        except BadRequest as error:
            if declaration is Happened and error.field == "type":
                # Likewise: something that only a newer daemon knows has happened.
                return None
            raise RemoteProtocolError(f"{declaration.__name__}: {error}") from None
        if isinstance(message, End):
            self._attachments.discard(id)
        return id, message

    def _decode(self, declaration: type[T], octets: bytes | memoryview, start: int = MESSAGE_HEAD) -> T:
        try:
            return layout.decode(declaration, octets, start, strict=False)
        except BadRequest as error:
            raise RemoteProtocolError(f"{declaration.__name__}: {error}") from None

    def abort(self, message: str) -> bytes:
        """Tell the daemon that it broke the rules; close the connection after sending it."""
        return self._encode_abort(errno.EBADMSG, message, "protocol-error")
