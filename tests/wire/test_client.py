"""A client's side: HELLO, ids, and what a daemon may and may not answer."""

from __future__ import annotations

import pytest

from netdaemon.errors import (
    ConversationAborted,
    LocalProtocolError,
    NameTaken,
    RemoteProtocolError,
    TooLarge,
    UnknownRefusal,
)
from netdaemon.wire import layout
from netdaemon.wire.answers import (
    Attached,
    End,
    Gap,
    Happened,
    OfProcess,
    Ok,
    Output,
    Started,
    Taken,
    Watching,
    Welcome,
)
from netdaemon.wire.client import ID_MAX, ClientConnection
from netdaemon.wire.commands import Attach, Data, Detach, Hello, Info, Inspect, Kill, List, Request, Start, Watch
from netdaemon.wire.records import Pty, Reason, State
from netdaemon.wire.told import Happening, ProcessRecord
from netdaemon.wire.v1 import MAX_OUTPUT
from tests.wire.support import RECORD, attached, box, from_hex, greeted, integer, message, messages, requests, watching

EVENT = Happened(cursor="c-7", type=Happening.EXITED, time=5, detail="code 0", process=RECORD)


def greeting(version: int = 2, *, packets: bool = False) -> ClientConnection:
    """A client that has said HELLO."""
    client = ClientConnection(version=version, packets=packets)
    client.hello(Hello())
    return client


# --- HELLO ---


@pytest.mark.parametrize("version", [0, 3, -1])
def test_versions_that_are_not_known_are_not_offered(version: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"version {version}; 1 and 2 are known"):
        ClientConnection(version=version)


def test_hello_is_said_once() -> None:
    client = greeting()
    with pytest.raises(LocalProtocolError, match="HELLO was said already"):
        client.hello(Hello())


def test_nothing_goes_before_hello() -> None:
    for client in (ClientConnection(), greeting()):
        with pytest.raises(LocalProtocolError, match="HELLO has not been answered"):
            client.request(List())


def test_hello_of_the_most_bytes() -> None:
    """What the daemon would not read is not sent."""
    room = 4096 - 6 - 2 - len(layout.encode(Hello(client="", token=b"")))
    assert len(ClientConnection().hello(Hello(token=bytes(room)))) == 4 + 4096
    with pytest.raises(TooLarge, match="HELLO has 4091 bytes, and at most 4096"):
        ClientConnection().hello(Hello(token=bytes(room + 1)))


def test_the_lower_version_is_spoken() -> None:
    client = greeting()
    client.receive(message(1, 1, b"\0\1"))
    assert client.next_message() == (1, Welcome(window=0))
    assert client.version == 1
    assert client.request(List())[1] == from_hex("00000006 00000002 0103")


def test_a_welcome_of_a_newer_daemon() -> None:
    """It may say more than is known, and less than is told today."""
    client = greeting()
    client.receive(message(1, 1, b"\0\2" + box({b"moon": b"full"})))
    assert client.next_message() == (1, Welcome())


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
@pytest.mark.parametrize(
    ("version", "id", "command", "body"),
    [
        (2, 1, 0x0001, ""),
        (2, 1, 0x0001, "00"),
        (2, 1, 0x0001, "0000"),
        (2, 1, 0x0001, "0003 0000"),
        (1, 1, 0x0001, "0002 0000"),
        (2, 1, 0x0001, "0001 00"),
        (2, 1, 0x0001, "0002"),
        (2, 1, 0x0001, "0002 0000 00"),
        (2, 1, 0x0001, "0002 0006 77696e646f77 00000001 05 0000"),
        (2, 2, 0x0001, "0002 0000"),
        (2, 0, 0x0001, "0002 0000"),
        (2, 1, 0xFF00, "0000"),
        (2, 1, 0xFFF0, "0000"),
    ],
)
def test_a_welcome_that_is_none(version: int, id: int, command: int, body: str, packets: bool) -> None:
    client = greeting(version, packets=packets)
    client.receive(message(id, command, from_hex(body), packets=packets))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


def test_hello_that_is_refused() -> None:
    """Before any version is agreed it is refused in the form of version 1."""
    client = greeting()
    client.receive(message(0, 0xFFFF, from_hex("0000004a") + b"too early\0"))
    with pytest.raises(ConversationAborted, match=r"^too early$") as caught:
        client.next_message()
    assert caught.value.errno == 74


@pytest.mark.parametrize("body", ["", "0000004a", "0000004a 6e6f", "0000004a 00 00"])
def test_an_abort_that_is_none(body: str) -> None:
    client = greeting()
    client.receive(message(0, 0xFFFF, from_hex(body)))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


@pytest.mark.parametrize("told", [100, 1 << 20, 1 << 30])
def test_both_sides_keep_the_limit(told: int) -> None:
    """The daemon's, where it is lower than the client's own; a message at it goes, one above does not."""
    limit = min(told, 1 << 20)
    client = greeting()
    client.receive(message(1, 1, b"\0\2" + box({b"max_message": integer(told)})))
    list(messages(client))
    assert client.max_message == limit
    room = limit - 6 - len(layout.encode(Inspect(process="")))
    assert len(client.request(Inspect(process="x" * room))[1]) == 4 + limit
    with pytest.raises(TooLarge, match=f"a message at most {limit}"):
        client.request(Inspect(process="x" * (room + 1)))
    client.receive((limit + 1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


def test_what_does_not_fit_into_a_packet_is_not_sent() -> None:
    client, _, _ = attached(1, packets=True)
    assert len(client.request(Data(to=2, payload=bytes(MAX_OUTPUT)))[1]) == 65536
    with pytest.raises(TooLarge):
        client.request(Data(to=2, payload=bytes(MAX_OUTPUT + 1)))


# --- ids ---


def test_ids_are_counted() -> None:
    client, _ = greeted()
    assert [client.request(List())[0] for _ in range(3)] == [2, 3, 4]


def test_ids_go_round_and_spare_what_is_open() -> None:
    """Requests that are not answered, and attachments."""
    client, server, id = attached()
    pending, _ = client.request(List())
    assert (id, pending) == (2, 3)
    client._last_id = ID_MAX - 1
    assert [client.request(List())[0] for _ in range(3)] == [ID_MAX, 1, 4]
    assert not list(requests(server))


def test_a_request_that_cannot_be_sent_takes_no_id() -> None:
    client, _ = greeted()
    with pytest.raises(LocalProtocolError):
        client.request(Inspect(process=5))  # type: ignore[arg-type]
    with pytest.raises(TooLarge):
        client.request(Data(to=2, payload=bytes(1 << 20)))
    assert client.request(List())[0] == 2


# --- replies ---


def test_replies_in_any_order() -> None:
    client, server = greeted()
    sent = [client.request(Inspect(process=str(number))) for number in range(4)]
    server.receive(b"".join(octets for _, octets in sent))
    list(requests(server))
    for id, _ in reversed(sent):
        client.receive(server.reply(id, OfProcess(process=RECORD)))
    assert [id for id, _ in messages(client)] == [5, 4, 3, 2]


def test_start_is_answered_in_two_ways() -> None:
    client, server = greeted()
    for request, answer in (
        (Start(argv=("a",), attach=True), Attached(process=RECORD)),
        (Start(argv=("a",)), Started(process=RECORD, created=False)),
    ):
        id, octets = client.request(request)
        server.receive(octets)
        list(requests(server))
        client.receive(server.reply(id, answer))
        assert list(messages(client)) == [(id, answer)]


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (List(), 0xFF00),
        (List(), 0x0110),
        (List(), 0x0001),
        (List(), 0x0201),
        (List(), 0x0208),
        (Attach(process="1"), 0xFF00),
        (Detach(to=2), 0x0103),
        (Info(), 0x7777),
    ],
)
def test_an_answer_to_another_request(request_: Request, command: int) -> None:
    client = attached()[0]
    id, _ = client.request(request_)
    client.receive(message(id, command, b"\0\0"))
    with pytest.raises(RemoteProtocolError, match="was answered with the command"):
        client.next_message()


def test_the_events_of_a_subscription() -> None:
    """On its own id, beside those of an attachment, until END; the id is free then."""
    client, server, attachment = attached()
    id, octets = client.request(Watch(since="c-1"))
    server.receive(octets)
    list(requests(server))
    output = Output(channel=1, payload=b"x")
    last = End(reason=Reason.RESUBSCRIBE)
    client.receive(
        server.reply(id, Watching(cursor="c-1", fresh=False))
        + server.event(id, EVENT)
        + server.event(attachment, output)
        + server.event(id, last)
        + server.event(attachment, output)
    )
    assert list(messages(client)) == [
        (id, Watching(cursor="c-1", fresh=False)),
        (id, EVENT),
        (attachment, output),
        (id, last),
        (attachment, output),
    ]
    client.receive(message(id, 0x0207, layout.encode(EVENT)))
    with pytest.raises(RemoteProtocolError, match=f"an answer has the id {id}"):
        client.next_message()


def test_an_id_of_a_subscription_is_not_taken_again_before_its_end() -> None:
    client, server, id = watching()
    client._last_id = id - 1
    assert client.request(List())[0] == id + 1
    client.receive(server.event(id, End(reason=Reason.DETACHED)))
    list(messages(client))
    client._last_id = id - 1
    assert client.request(List())[0] == id


@pytest.mark.parametrize("id", [0, 3, 9, ID_MAX])
def test_an_answer_on_an_id_that_is_not_open(id: int) -> None:
    client = attached()[0]
    client.receive(message(id, 0xFF00, b"\0\0"))
    with pytest.raises(RemoteProtocolError, match=f"an answer has the id {id}"):
        client.next_message()


def test_a_second_answer() -> None:
    client = greeted()[0]
    id, _ = client.request(Kill(process="1", signal=1))
    client.receive(message(id, 0xFF00, b"\0\0") * 2)
    assert client.next_message() == (id, Ok())
    with pytest.raises(RemoteProtocolError):
        client.next_message()


def test_an_event_after_the_end() -> None:
    client, server, id = attached()
    client.receive(server.event(id, End(reason=Reason.DETACHED)))
    assert client.next_message() == (id, End(reason=Reason.DETACHED))
    client.receive(message(id, 0x0205, box({b"from": integer(0), b"to": integer(1)})))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "without its end mark"),
        (box({}), "OfProcess needs the field 'process'"),
        (box({b"process": b""}), "process is not of type record"),
        (box({b"process": box({b"id": b"1"})}), "ProcessRecord needs the field 'argv'"),
    ],
)
def test_a_malformed_reply(body: bytes, what: str) -> None:
    client = greeted()[0]
    id, _ = client.request(Inspect(process="1"))
    client.receive(message(id, 0xFF00, body))
    with pytest.raises(RemoteProtocolError, match=what):
        client.next_message()


# --- what a newer daemon may tell ---


def test_unknown_fields_of_replies_and_events_are_skipped() -> None:
    """At every depth: in the box, in its records, in their records."""
    client, _, attachment = attached()
    id, _ = client.request(Inspect(process="1"))
    more = (b"moon", b"full")
    pty = box([(b"rows", integer(24)), (b"columns", integer(80)), more])
    process = box([(b"id", b"1"), (b"state", b"running"), (b"argv", b""), (b"pty", pty), more])
    client.receive(message(id, 0xFF00, box([(b"process", process), more])))
    client.receive(message(attachment, 0x0205, box([(b"from", integer(0)), (b"to", integer(1)), more])))
    client.receive(message(attachment, 0x0201, box([(b"channel", integer(1)), more]) + b"out"))
    assert list(messages(client)) == [
        (id, OfProcess(process=ProcessRecord(id="1", argv=(), state=State.RUNNING, pty=Pty()))),
        (attachment, Gap(from_=0, to=1)),
        (attachment, Output(channel=1, payload=b"out")),
    ]


def test_unknown_events_are_skipped() -> None:
    """All of the 65,536 that are no events on an attachment."""
    client, server, id = attached()
    for command in range(0x10000):
        if command in (0x0201, 0x0202, 0x0205, 0x0207, 0x0208, 0xFFFF):
            continue
        client.receive(message(id, command, b"whatever"))
        assert client.next_message() is None
    client.receive(server.event(id, Output(channel=1)))
    assert client.next_message() == (id, Output(channel=1))


def test_an_event_of_an_unknown_type_is_skipped() -> None:
    """A newer daemon has more that can happen; what follows is read."""
    client, server, id = watching()
    process = layout.encode(RECORD)
    client.receive(message(id, 0x0207, box({b"cursor": b"c-2", b"type": b"eclipse", b"process": process})))
    client.receive(server.event(id, EVENT))
    assert list(messages(client)) == [(id, EVENT)]


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        ({b"type": b"started"}, "Happened needs the field 'process'"),
        ({b"type": b"started", b"process": b""}, "process is not of type record"),
        ({b"type": b"started", b"process": layout.encode(RECORD), b"time": b""}, "time is not of type integer"),
    ],
)
def test_a_malformed_event(pairs: dict[bytes, bytes], what: str) -> None:
    client, _, id = watching()
    client.receive(message(id, 0x0207, box(pairs)))
    with pytest.raises(RemoteProtocolError, match=what):
        client.next_message()


def test_an_unknown_code_of_an_error() -> None:
    client = greeted()[0]
    id, _ = client.request(List())
    client.receive(message(id, 0xFFF0, box({b"code": b"moon-phase", b"errno": integer(5), b"moon": b""})))
    ((_, refusal),) = messages(client)
    assert isinstance(refusal, UnknownRefusal)
    assert refusal.code == "moon-phase"


def test_a_known_code_of_an_error() -> None:
    client = greeted()[0]
    id, _ = client.request(Start(argv=("a",)))
    client.receive(message(id, 0xFFF0, box({b"code": b"name-taken", b"errno": integer(17), b"process": b"7"})))
    ((_, refusal),) = messages(client)
    assert isinstance(refusal, NameTaken)
    assert refusal.process == "7"


def test_what_version_2_says_was_accepted_is_passed_on() -> None:
    client, server, attachment = attached()
    id, octets = client.request(Data(to=attachment, payload=b"12345"))
    server.receive(octets)
    list(requests(server))
    client.receive(server.reply(id, Taken(accepted=3, end=103)))
    assert list(messages(client)) == [(id, Taken(accepted=3, end=103))]


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_hangs_up_with_a_reason(version: int) -> None:
    """In the form of the version that is spoken."""
    octets = greeted(version)[0].abort("no")
    body = b"\0\0\0\x4ano\0"
    if version == 2:
        body = box({b"code": b"protocol-error", b"errno": integer(74), b"message": b"no"})
    assert octets == message(0, 0xFFFF, body)
