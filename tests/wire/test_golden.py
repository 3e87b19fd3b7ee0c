"""The bytes of each message of both versions are those written out in `tests.wire.golden`, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from netdaemon.errors import ConversationAborted, Refusal
from netdaemon.wire import v1
from netdaemon.wire.answers import EVENTS, Abort, End, Failure, Gap, Happened, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import REQUESTS, Data, Hello, Kill, Request
from netdaemon.wire.records import Counts, Limits, Pty
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.specs import Log, Ready, Restart, Step
from netdaemon.wire.told import Happening, Logged, ProcessRecord, Stats
from netdaemon.wire.whom import RunAs, Sandbox
from tests.wire import strategies
from tests.wire.golden import (
    V1_EVENTS,
    V1_REPLIES,
    V1_REQUESTS,
    V2_EVENTS,
    V2_REPLIES,
    V2_REQUESTS,
    Golden,
)
from tests.wire.support import RECORD, attached, from_hex, greeted, messages, requests


def each(*tables: tuple[int, list[Golden]]) -> Any:
    return pytest.mark.parametrize(
        ("version", "golden"),
        [
            pytest.param(version, golden, id=f"{version}-{type(golden.message).__name__}-{place}")
            for version, table in tables
            for place, golden in enumerate(table)
        ],
    )


def ends(version: int, request: Request, *, packets: bool = False) -> tuple[ClientConnection, ServerConnection]:
    """Both ends, ready for *request*: version 1 feeds and signals what it is attached to."""
    if version == 1 and isinstance(request, Data | Kill):
        return attached(1, packets=packets)[:2]
    return greeted(version, packets=packets)


def declarations(*tables: list[Golden]) -> set[type[Any]]:
    return {type(golden.message) for table in tables for golden in table}


def test_no_declaration_of_version_2_is_missing() -> None:
    assert declarations(V2_REQUESTS) == set(REQUESTS.values()) == set(strategies.REQUESTS)
    assert declarations(V2_REPLIES) == set(strategies.REPLIES)
    assert declarations(V2_EVENTS) == {*EVENTS.values(), Abort} == set(strategies.EVENTS)


def test_no_declaration_of_version_1_is_missing() -> None:
    assert declarations(V1_REQUESTS) == set(v1._ENCODE_REQUEST)
    # HELLO is answered before a version is spoken.
    assert declarations(V1_REPLIES, V1_EVENTS) == {*v1._ENCODE_ANSWER, Welcome}


def test_no_field_is_missing() -> None:
    """Each field of each declaration stands in at least one golden message."""
    for table in (V2_REQUESTS, V2_REPLIES, V2_EVENTS):
        for declaration in declarations(table):
            plan = strategies.dataclasses.fields(declaration)
            seen = {
                field.name
                for golden in table
                if type(golden.message) is declaration
                for field in plan
                if getattr(golden.message, field.name) is not None
            }
            # An exit code and a signal exclude each other, and STATUS with a signal is that with a code.
            assert {field.name for field in plan} - seen <= {"signal"}, declaration


def records_in(message: Any) -> list[Any]:
    """The message, the records in it, and those in them."""
    found = [message]
    for field in strategies.dataclasses.fields(message):
        value = getattr(message, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if strategies.dataclasses.is_dataclass(one):
                found += records_in(one)
    return found


def test_no_field_of_a_record_is_missing() -> None:
    """Each stands in at least one golden message."""
    inner = [
        one for table in (V2_REQUESTS, V2_REPLIES, V2_EVENTS) for golden in table for one in records_in(golden.message)
    ]
    for declaration in (ProcessRecord, Stats, Logged, Step, Restart, Ready, Log, RunAs, Sandbox, Pty, Limits, Counts):
        seen = {
            field.name
            for one in inner
            if type(one) is declaration
            for field in strategies.dataclasses.fields(one)
            if getattr(one, field.name) is not None
        }
        assert seen == {field.name for field in strategies.dataclasses.fields(declaration)}


@each((2, V2_REQUESTS), (1, V1_REQUESTS))
def test_requests(version: int, golden: Golden) -> None:
    octets = from_hex(golden.octets)
    sent = golden.message
    if isinstance(sent, Hello):
        client, server = ClientConnection(version=version), ServerConnection()
        assert client.hello(sent) == octets
        server.receive(octets)
        assert server.next_request() == (1, golden.read or sent)
        return
    client, server = ends(version, sent)
    id, encoded = client.request(sent)
    assert encoded == octets
    server.receive(octets)
    assert list(requests(server)) == [(id, golden.read or sent)]


@each((2, V2_REPLIES), (1, V1_REPLIES))
def test_replies(version: int, golden: Golden) -> None:
    octets = from_hex(golden.octets)
    sent = golden.message
    assert golden.ask is not None
    if isinstance(sent, Welcome):
        client, server = ClientConnection(version=version), ServerConnection()
        server.receive(client.hello(Hello()))
        server.next_request()
        assert server.welcome(1, sent) == octets
        client.receive(octets)
        assert client.next_message() == (1, golden.read or sent)
        return
    client, server = ends(version, golden.ask)
    id, asked = client.request(golden.ask)
    server.receive(asked)
    server.next_request()
    assert server.reply(id, sent) == octets
    client.receive(octets)
    ((got, answer),) = messages(client)
    assert got == id
    if isinstance(sent, Failure):
        assert isinstance(answer, Refusal)
        told = Failure.of(answer)
        assert (told.code, told.errno, told.message) == (sent.code, sent.errno, sent.message)
        assert version == 1 or told == sent
    else:
        assert answer == (golden.read or sent)


@each((2, V2_EVENTS), (1, V1_EVENTS))
def test_events(version: int, golden: Golden) -> None:
    octets = from_hex(golden.octets)
    sent = golden.message
    client, server, id = attached(version)
    if isinstance(sent, Abort):
        assert server.abort(sent.errno, sent.message) == octets
        client.receive(octets)
        with pytest.raises(ConversationAborted, match=f"^{sent.message}$") as caught:
            client.next_message()
        assert caught.value.errno == sent.errno
        return
    assert server.event(id, sent) == octets
    client.receive(octets)
    assert list(messages(client)) == [(id, golden.read or sent)]


@pytest.mark.parametrize("golden", V1_EVENTS + V1_REPLIES, ids=lambda golden: type(golden.message).__name__)
def test_packets_are_the_same_without_the_length(golden: Golden) -> None:
    """One packet is one message; nothing stands before it."""
    octets = from_hex(golden.octets)[4:]
    sent = golden.message
    if isinstance(sent, Welcome):
        server = ServerConnection(packets=True)
        server.receive(from_hex(V1_REQUESTS[0].octets)[4:])
        server.next_request()
        assert server.welcome(1, sent) == octets
    elif golden.ask is not None:
        client, server = ends(1, golden.ask, packets=True)
        id, asked = client.request(golden.ask)
        server.receive(asked)
        server.next_request()
        assert server.reply(id, sent) == octets
    elif isinstance(sent, Abort):
        assert attached(1, packets=True)[1].abort(sent.errno, sent.message) == octets
    else:
        _, server, id = attached(1, packets=True)
        assert server.event(id, sent) == octets


@pytest.mark.parametrize(
    "event",
    [
        Gap(from_=0, to=1),
        End(reason=strategies.records.Reason.REMOVED),
        Happened(type=Happening.EXITED, process=RECORD),
    ],
)
def test_version_1_has_no_word_for_it(event: Any) -> None:
    """GAP, END and EVENT cannot be told to a client of 2009."""
    _, server, id = attached(1)
    assert server.event(id, event) == b""


def test_abort_before_hello_is_answered() -> None:
    """No version is agreed: the form of version 1, which has a length before it on a stream, tells why."""
    golden = from_hex(V1_EVENTS[-1].octets)
    assert ServerConnection().abort(74, "no") == golden
    assert ServerConnection(packets=True).abort(74, "no") == golden[4:]
    client = ClientConnection()
    client.hello(Hello())
    client.receive(golden)
    with pytest.raises(ConversationAborted, match=r"^no$"):
        client.next_message()
