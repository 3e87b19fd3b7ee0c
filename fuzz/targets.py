"""What is fuzzed: a function of some bytes for each reader of what others have written; knows nothing of atheris.

A target returns when all is as promised, whether the bytes mean anything or not, and raises when something is not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

from fuzz.keeper import fuzz_keeper_state, fuzz_keeper_words
from netdaemon.apply.faults import SpecFaults
from netdaemon.apply.reading import read as read_specs
from netdaemon.errors import ConversationAborted, InternalError, LocalProtocolError, Refusal, RemoteProtocolError
from netdaemon.policy.reading import read as read_policy
from netdaemon.wire import layout, v1
from netdaemon.wire.answers import Attached, Failure, Welcome
from netdaemon.wire.box import decode_box, encode_box
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Attach, Data, Hello, Info, List, Request, Start, Wait, Watch
from netdaemon.wire.frame import LENGTH, MAX_PACKET, MESSAGE_HEAD
from netdaemon.wire.records import State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import ProcessRecord

Target = Callable[[bytes], None]


# --- the daemon's side of the wire -----------------------------------------------------------------------------------


def fuzz_hello(octets: bytes) -> None:
    """Before HELLO: whatever comes, from a stream or in a packet."""
    for packets in (False, True):
        _asked(ServerConnection(packets=packets), [octets])


def fuzz_frame(octets: bytes) -> None:
    """Version 2 after HELLO: what is read does not depend on where the stream was cut, and survives its encoding."""
    cut = octets[0] % len(octets) if octets else 0
    whole = _asked(_greeted(2), [octets[1:]])
    pieces = _asked(_greeted(2), [octets[1 : 1 + cut], octets[1 + cut :]])
    assert whole == pieces, f"{whole} or {pieces}, by where it was cut"
    for one in whole:
        if isinstance(one, Request) and not isinstance(one, Hello):
            body = layout.encode(one) + (one.payload if isinstance(one, Data) else b"")
            again = layout.decode(type(one), body, 0, strict=True)
            assert again == one, f"{one} comes back as {again}"


def fuzz_box(octets: bytes) -> None:
    """A box is the bytes that it was read from."""
    try:
        pairs, end = decode_box(octets)
    except RemoteProtocolError:
        return
    assert encode_box(pairs.items()) == octets[:end]


def fuzz_v1(octets: bytes) -> None:
    """Version 1 after HELLO, attached or not, in packets and from a stream."""
    packets = list(_packets(octets[1:]))
    for attached in (False, True):
        found = _asked(_greeted(1, packets=True, attached=attached), packets)
        framed = b"".join(LENGTH.pack(len(one)) + one for one in packets)
        assert _asked(_greeted(1, attached=attached), [framed]) == found
        for one in found:
            if isinstance(one, Request) and not isinstance(one, Hello):
                try:
                    body = v1.encode_request(one)
                except LocalProtocolError:
                    # More than fits, of what could be read.
                    continue
                again = v1.decode_request(type(one).command, body, 0, getattr(one, "to", None) or 0)
                assert again == one, f"{one} comes back as {again}"


def _packets(octets: bytes) -> Iterator[bytes]:
    """Cut where a length says so: a message has its own head at least."""
    while len(octets) > 2:
        length = MESSAGE_HEAD + int.from_bytes(octets[:2], "big") % (MAX_PACKET - MESSAGE_HEAD)
        packet, octets = octets[2 : 2 + length], octets[2 + length :]
        if len(packet) >= MESSAGE_HEAD:
            yield packet


def _greeted(version: int, *, packets: bool = False, attached: bool = False) -> ServerConnection:
    """A daemon's side that has answered HELLO, and one ATTACH."""
    client, server = ClientConnection(version=version, packets=packets), ServerConnection(packets=packets)
    server.receive(client.hello(Hello(client="fuzz")))
    received = server.next_request()
    assert received is not None
    client.receive(server.welcome(received[0], Welcome(server="fuzz")))
    client.next_message()
    if attached:
        id, sent = client.request(Attach(process="1"))
        server.receive(sent)
        server.next_request()
        server.reply(id, Attached(process=ProcessRecord(id="1", argv=("cat",), state=State.RUNNING)))
    return server


def _asked(server: ServerConnection, pieces: list[bytes]) -> list[object]:
    """What a daemon reads; each request is answered with a refusal, as something has to be; a broken rule ends it."""
    found: list[object] = []
    for octets in pieces:
        server.receive(octets)
        while True:
            try:
                received = server.next_request()
            except RemoteProtocolError as error:
                server.abort(error.errno, str(error))
                return [*found, str(error)]
            if received is None:
                break
            id, request = received
            if isinstance(request, Hello) and server.version is None:
                server.welcome(id, Welcome(server="fuzz"))
            else:
                refusal = request if isinstance(request, Refusal) else InternalError("it is only tried")
                server.reply(id, Failure.of(refusal))
            found.append((request.code, str(request)) if isinstance(request, Refusal) else request)
    return found


# --- the client's side -----------------------------------------------------------------------------------------------

# What a client waits for the answers of, so that each kind of reply can come.
_ASKED = (Start(argv=("cat",), attach=True), Attach(process="1"), List(), Info(), Wait(process="1"), Watch())


def fuzz_answers(octets: bytes) -> None:
    """What a daemon may say to a client: messages, refusals, or the end by one of two errors."""
    version = 1 + (octets[0] % 2 if octets else 0)
    client, server = ClientConnection(version=version), ServerConnection()
    server.receive(client.hello(Hello(client="fuzz")))
    received = server.next_request()
    assert received is not None
    client.receive(server.welcome(received[0], Welcome(server="fuzz")))
    client.next_message()
    for request in _ASKED:
        try:
            client.request(request)
        except LocalProtocolError:
            # Version 1 has no such request.
            continue
    client.receive(octets[1:])
    try:
        while client.next_message() is not None:
            pass
    except (RemoteProtocolError, ConversationAborted):
        pass


# --- files -----------------------------------------------------------------------------------------------------------


def fuzz_specs(octets: bytes) -> None:
    """A file of specs: a set, or faults that say where."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(octets)
        file.flush()
        try:
            read_specs(file.name, environ={"HOME": "/"})
        except SpecFaults as error:
            assert error.faults
            assert str(error)


def fuzz_policy(octets: bytes) -> None:
    """A policy: rules and doubts, or faults that say where."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(octets)
        file.flush()
        try:
            read_policy(file.name)
        except SpecFaults as error:
            assert error.faults
            assert str(error)


# --- all of them -----------------------------------------------------------------------------------------------------

TARGETS: dict[str, Target] = {
    "hello": fuzz_hello,
    "frame": fuzz_frame,
    "box": fuzz_box,
    "v1": fuzz_v1,
    "answers": fuzz_answers,
    "specs": fuzz_specs,
    "policy": fuzz_policy,
    "keeper-state": fuzz_keeper_state,
    "keeper-words": fuzz_keeper_words,
}
