"""Two ends of a conversation joined in memory, and hexadecimal as people write it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from netdaemon.errors import Refusal
from netdaemon.wire.answers import Attached, Message, Watching, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Attach, Hello, Request, Watch
from netdaemon.wire.records import State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import ProcessRecord

RECORD = ProcessRecord(id="1", argv=("cat",), state=State.RUNNING, pid=77)


def greeted(version: int = 2, *, packets: bool = False) -> tuple[ClientConnection, ServerConnection]:
    """A client and a daemon that have agreed on *version*; the request id 1 has been used for that."""
    client = ClientConnection(version=version, packets=packets)
    server = ServerConnection(packets=packets)
    server.receive(client.hello(Hello(client="test")))
    received = server.next_request()
    assert received is not None
    assert type(received[1]) is Hello
    client.receive(server.welcome(received[0], Welcome(server="test")))
    answered = client.next_message()
    assert answered is not None
    assert type(answered[1]) is Welcome
    return client, server


def attached(version: int = 2, *, packets: bool = False) -> tuple[ClientConnection, ServerConnection, int]:
    """The same with one attachment, and its id: 2."""
    client, server = greeted(version, packets=packets)
    id, sent = client.request(Attach(process="1"))
    server.receive(sent)
    server.next_request()
    client.receive(server.reply(id, Attached(process=RECORD)))
    client.next_message()
    return client, server, id


def watching() -> tuple[ClientConnection, ServerConnection, int]:
    """Both ends of version 2 with one subscription, and its id: 2."""
    client, server = greeted()
    id, sent = client.request(Watch())
    server.receive(sent)
    server.next_request()
    client.receive(server.reply(id, Watching(cursor="c-6")))
    client.next_message()
    return client, server, id


def requests(server: ServerConnection) -> Iterator[tuple[int, Request | Refusal]]:
    """What the daemon can read now."""
    while (received := server.next_request()) is not None:
        yield received


def messages(client: ClientConnection) -> Iterator[tuple[int, Message | Refusal]]:
    """What the client can read now."""
    while (received := client.next_message()) is not None:
        yield received


def message(id: int, command: int, body: bytes = b"", *, packets: bool = False) -> bytes:
    """One message as the protocol description has it, made without the library."""
    octets = id.to_bytes(4, "big") + command.to_bytes(2, "big") + body
    return octets if packets else len(octets).to_bytes(4, "big") + octets


def box(pairs: dict[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> bytes:
    """A box as the protocol description has it, made without the library."""
    items = pairs.items() if isinstance(pairs, dict) else pairs
    return (
        b"".join(len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value for key, value in items)
        + b"\0\0"
    )


def integer(value: int) -> bytes:
    """An integer's value bytes, made without the library."""
    return value.to_bytes(8, "big", signed=True)


def from_hex(text: str) -> bytes:
    """The bytes of *text*: hexadecimal digits with spaces anywhere, and comments from ``#`` to the end of a line."""
    return bytes.fromhex(re.sub(r"#.*", "", text))


def cut(octets: bytes, places: Iterable[int]) -> list[bytes]:
    """*octets* cut at these places, which are taken modulo its length."""
    marks = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[start:end] for start, end in itertools.pairwise(marks)]
