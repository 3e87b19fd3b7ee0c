"""The positional encoding of 2009: what it says, what it cannot say, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import (
    AlreadyAttached,
    BadRequest,
    LocalProtocolError,
    NoSuchProcess,
    NotAttached,
    Refusal,
    RemoteProtocolError,
    UnknownChannel,
    UnknownCommand,
    UnknownRefusal,
)
from netdaemon.wire import v1
from netdaemon.wire.answers import Attached, End, Failure, Listing, Ok, Output, Started, Status, Taken
from netdaemon.wire.commands import (
    REQUESTS,
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Info,
    Kill,
    List,
    Prune,
    Reload,
    Request,
    Start,
    Stop,
    Watch,
)
from netdaemon.wire.records import Pty, Reason, Scope, State
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import ProcessRecord
from tests.wire.support import RECORD, attached, greeted, message, messages, requests

PACKETS = pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])


def refusal_of(octets: bytes, *, attach: bool = False) -> Refusal:
    """What the daemon says to one message."""
    server = attached(1)[1] if attach else greeted(1)[1]
    server.receive(octets)
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, Refusal)
    return refusal


# --- one attachment ---


@PACKETS
@pytest.mark.parametrize("again", [Start(argv=("cat",), attach=True), Attach(process="2")], ids=["START", "ATTACH"])
def test_a_second_attachment_is_refused(again: Request, packets: bool) -> None:
    """EALREADY; the first attachment goes on, and so does the conversation."""
    client, server, _ = attached(1, packets=packets)
    id, octets = client.request(again)
    server.receive(octets)
    ((got, refusal),) = requests(server)
    assert got == id
    assert isinstance(refusal, AlreadyAttached)
    assert refusal.errno == 114
    client.receive(server.reply(id, Failure.of(refusal)))
    ((got, told),) = messages(client)
    assert isinstance(told, AlreadyAttached)
    assert got == id
    _, octets = client.request(Kill(to=2, signal=1))
    server.receive(octets)
    ((_, request),) = requests(server)
    assert request == Kill(to=2, signal=1)


def test_a_second_attachment_is_refused_while_the_first_is_asked_for() -> None:
    client, server = greeted(1)
    for request in (Attach(process="1"), Attach(process="1")):
        server.receive(client.request(request)[1])
    (_, first), (_, second) = requests(server)
    assert isinstance(first, Attach)
    assert isinstance(second, AlreadyAttached)


def test_after_a_refused_attach_another_may_follow() -> None:
    client, server = greeted(1)
    for _ in range(2):
        id, octets = client.request(Attach(process="nobody"))
        server.receive(octets)
        ((_, request),) = requests(server)
        assert isinstance(request, Attach)
        client.receive(server.reply(id, Failure.of(NoSuchProcess("no process 'nobody'"))))
        ((_, told),) = messages(client)
        assert isinstance(told, NoSuchProcess)


def test_after_a_malformed_attach_another_may_follow() -> None:
    _, server = greeted(1)
    server.receive(message(2, 0x0102, b"no end"))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
    server.reply(2, Failure.of(refusal))
    server.receive(message(3, 0x0102, b"7\0"))
    assert list(requests(server)) == [(3, Attach(process="7"))]


def test_after_the_end_of_an_attachment_another_may_follow() -> None:
    """The daemon ends it without a word, which version 1 does not have; events are of the new one then."""
    client, server, first = attached(1)
    assert server.event(first, End(reason=Reason.REMOVED)) == b""
    assert not server.open_ids
    id, octets = client.request(Attach(process="2"))
    server.receive(octets)
    assert list(requests(server)) == [(id, Attach(process="2"))]
    client.receive(server.reply(id, Attached(process=RECORD)) + server.event(id, Output(channel=1, payload=b"x")))
    assert [got for got, _ in messages(client)] == [id, id]


@PACKETS
@pytest.mark.parametrize(
    ("command", "body"),
    [(0x0201, b"\0\0\0\1x"), (0x0201, b"\0\5\0\0"), (0x0203, b"\0\x0f"), (0x0203, b"")],
)
def test_not_attached(command: int, body: bytes, packets: bool) -> None:
    """ECHILD."""
    _, server = greeted(1, packets=packets)
    server.receive(message(5, command, body, packets=packets))
    ((id, refusal),) = requests(server)
    assert id == 5
    assert isinstance(refusal, NotAttached)
    assert refusal.errno == 10


@pytest.mark.parametrize("channel", [1, 2, 3, 0xFFFF])
def test_an_unknown_channel(channel: int) -> None:
    """ECHRNG; to read or to close its outputs a version-1 client cannot ask."""
    client, server, _ = attached(1)
    _, octets = client.request(Data(to=2, channel=channel, payload=b""))
    server.receive(octets)
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, UnknownChannel)
    assert refusal.errno == 44


@pytest.mark.parametrize("request_", [Data(to=2), Kill(to=2, signal=9), Data(to=7), Kill(process="1", signal=9)])
def test_the_client_knows_what_it_is_attached_to(request_: Request) -> None:
    client = greeted(1)[0]
    with pytest.raises(NotAttached):
        client.request(request_)
    if request_ not in (Data(to=2), Kill(to=2, signal=9)):
        with pytest.raises(NotAttached):
            attached(1)[0].request(request_)


# --- what cannot be said ---


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Detach(to=2), "no DETACH"),
        (Info(), "no INFO"),
        (Start(argv=("a",)), "no START without attach"),
        (Start(argv=("a",), attach=False), "no START without attach"),
        (Start(argv=("a",), attach=True, cwd="/"), "no 'cwd' in START"),
        (Start(argv=("a",), attach=True, name="n"), "no 'name' in START"),
        (Start(argv=("a",), attach=True, labels=("a=b",)), "no 'labels' in START"),
        (Start(argv=("a",), attach=True, pty=Pty()), "no 'pty' in START"),
        (Start(argv=("a",), attach=True, merge=True), "no 'merge' in START"),
        (Start(argv=("a",), attach=True, keep=4096), "no 'keep' in START"),
        (Start(argv=("a",), attach=True, from_=1), "no 'from' in START"),
        (Start(argv=("a",), attach=True, channels=(1,)), "no 'channels' in START"),
        (Start(argv=("a",), attach=True, read_only=True), "no 'read_only' in START"),
        (Start(argv=("a",), attach=True, path="b"), "the path serves as it"),
        (Start(argv=("a",), attach=True, stop=(Step(kill=True),)), "no 'stop' in START"),
        (Start(argv=("a",), attach=True, restart=Restart(policy=Policy.NEVER)), "no 'restart' in START"),
        (Start(argv=("a",), attach=True, ready=Ready(notify=True)), "no 'ready' in START"),
        (Start(argv=("a",), attach=True, watchdog=1000), "no 'watchdog' in START"),
        (Start(argv=("a",), attach=True, log=Log(path="/l")), "no 'log' in START"),
        (Start(argv=("a", "\ud800"), attach=True), "cannot be sent"),
        (Attach(process="1", from_=-5), "no 'from' in ATTACH"),
        (Attach(process="1", channels=(1,)), "no 'channels' in ATTACH"),
        (Attach(process="1", read_only=True), "no 'read_only' in ATTACH"),
        (Attach(process="a\0b"), "has a NUL in it"),
        (List(select=("a",)), "no 'select' in LIST"),
        (List(after="a"), "no 'after' in LIST"),
        (List(limit=5), "no 'limit' in LIST"),
        (Data(to=2, at=0), "no 'at' in DATA"),
        (Data(to=2, generation=0), "no 'generation' in DATA"),
        (Stop(process="1"), "no STOP"),
        (Again(process="1"), "no RESTART"),
        (Watch(), "no WATCH"),
        (Change(process="1"), "no CHANGE"),
        (Prune(), "no PRUNE"),
        (Reload(), "no RELOAD"),
        (Data(to=2, channel=-1), "channel -1"),
        (Data(to=2, channel=0x10000), "channel 65536"),
        (Data(to=2, payload=bytes(0x10000)), "a buffer of 65536 bytes"),
        (Kill(to=2, signal=1, scope=Scope.TREE), "no 'scope' in KILL"),
        (Kill(to=2, signal=1, generation=1), "no 'generation' in KILL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_said_is_not_sent(request_: Request, what: str) -> None:
    """An option is never left out in silence."""
    client = attached(1)[0]
    with pytest.raises(LocalProtocolError, match=what):
        client.request(request_)
    # And the id is not lost by it: 1 was HELLO's, 2 is the attachment.
    assert client.request(List())[0] == 3


@pytest.mark.parametrize(
    "request_",
    [
        Start(argv=("a",), attach=True, path="a", merge=False, read_only=False, labels=()),
        Attach(process="1", read_only=False),
        List(select=()),
        Kill(to=2, signal=1, scope=Scope.GROUP),
        Data(to=2, payload=bytes(0xFFFF)),
    ],
)
def test_what_goes_without_saying(request_: Request) -> None:
    attached(1)[0].request(request_)


def test_an_array_has_16_bits_of_length() -> None:
    client, server = greeted(1)
    most = Start(argv=("a", *["b"] * 0xFFFF), attach=True)
    server.receive(client.request(most)[1])
    ((_, request),) = requests(server)
    assert isinstance(request, Start)
    assert len(request.argv) == 0x10000
    with pytest.raises(LocalProtocolError, match="an array of 65536 items"):
        client.request(Start(argv=("a", *["b"] * 0x10000), attach=True))


def test_a_reply_that_version_1_does_not_have() -> None:
    client, server = greeted(1)
    id, octets = client.request(List())
    server.receive(octets)
    list(requests(server))
    with pytest.raises(LocalProtocolError, match="has no reply Started"):
        server.reply(id, Started(process=RECORD))


# --- status ---


@pytest.mark.parametrize(
    ("state", "pid", "code", "signal", "words"),
    [
        (State.STARTING, None, None, None, (1, 0)),
        (State.RUNNING, 77, None, None, (1, 77)),
        (State.RUNNING, 0x12345, None, None, (1, 0x2345)),
        (State.STOPPING, 77, None, None, (1, 77)),
        (State.BACKOFF, None, 1, None, (2, 1)),
        (State.BACKOFF, None, None, 11, (3, 11)),
        (State.BACKOFF, None, None, None, (2, 0xFFFF)),
        (State.EXITED, 77, 0, None, (2, 0)),
        (State.EXITED, 77, 255, None, (2, 255)),
        (State.EXITED, 77, None, 9, (3, 9)),
        (State.EXITED, 77, None, None, (2, 0xFFFF)),
        (State.FAILED, None, None, None, (2, 0xFFFF)),
        (State.FAILED, None, 3, None, (2, 3)),
        (State.FAILED, None, None, 9, (3, 9)),
    ],
)
def test_status_words(state: State, pid: int, code: int, signal: int, words: tuple[int, int]) -> None:
    """A status that the kernel could not tell is never a success."""
    assert v1.status_words(state, pid, code, signal) == words


def test_each_state_has_status_words() -> None:
    """1 where there is a child, or will be at once, and never where there is none."""
    told = {state: v1.status_words(state, 77, 0, None)[0] for state in State}
    assert told == {
        State.STARTING: 1,
        State.RUNNING: 1,
        State.STOPPING: 1,
        State.BACKOFF: 2,
        State.EXITED: 2,
        State.FAILED: 2,
    }


def test_a_record_is_told_as_a_status_is() -> None:
    """In ATTACHED and LIST, of a process that is between two runs, too."""
    client, server = greeted(1)
    record = ProcessRecord(id="p", argv=("a",), state=State.BACKOFF, generation=2, signal=11, due=5)
    for request, reply in (
        (List(), Listing(processes=(record,))),
        (Attach(process="p"), Attached(process=record)),
    ):
        id, octets = client.request(request)
        server.receive(octets)
        list(requests(server))
        assert server.reply(id, reply).endswith(b"p\0\0\3\0\x0b")


@pytest.mark.parametrize("status", [0, 4, 0xFFFF])
def test_an_unknown_status(status: int) -> None:
    client = attached(1)[0]
    client.receive(message(0, 0x0202, status.to_bytes(2, "big") + b"\0\0"))
    with pytest.raises(RemoteProtocolError, match=f"the status {status}"):
        client.next_message()


# --- bodies that are none ---

GOOD_BODIES = {
    0x0101: b"/bin/cat\0\0\1-u\0\0\1A=B\0",
    0x0102: b"7\0",
    0x0103: b"",
    0x0201: b"\0\0\0\2hi",
    0x0203: b"\0\x0f",
}


@pytest.mark.parametrize(("command", "body"), GOOD_BODIES.items())
def test_good_bodies(command: int, body: bytes) -> None:
    server = (attached if command in (0x0201, 0x0203) else greeted)(1)[1]
    server.receive(message(9, command, body))
    ((id, request),) = requests(server)
    assert id == 9
    assert isinstance(request, Request)


@pytest.mark.parametrize(("command", "body"), GOOD_BODIES.items())
def test_a_cut_body_is_refused(command: int, body: bytes) -> None:
    """Wherever it is cut; and so is one with a byte too many."""
    attach = command in (0x0201, 0x0203)
    for end in range(len(body)):
        refusal = refusal_of(message(9, command, body[:end]), attach=attach)
        assert isinstance(refusal, BadRequest)
    refusal = refusal_of(message(9, command, body + b"x"), attach=attach)
    assert isinstance(refusal, BadRequest)
    assert "1 bytes stand after the end" in str(refusal)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\0\0\0\0\0", "argv is empty"),
        (b"a\0\0\0\0\1A\0", "not of the form NAME=value"),
        (b"a\0\xff\xff", "has no NUL"),
    ],
)
def test_a_start_that_is_none(body: bytes, what: str) -> None:
    refusal = refusal_of(message(9, 0x0101, body))
    assert isinstance(refusal, BadRequest)
    assert what in str(refusal)


def test_a_signal_that_is_none() -> None:
    assert isinstance(refusal_of(message(9, 0x0203, b"\0\x41"), attach=True), BadRequest)


@settings(deadline=None)
@given(body=st.binary(max_size=40), command=st.sampled_from(sorted(v1.REQUEST_CODES)))
def test_garbage_in_a_body_is_a_request_or_refused(body: bytes, command: int) -> None:
    for server in (greeted(1)[1], attached(1)[1]):
        server.receive(message(9, command, body))
        ((id, request),) = requests(server)
        assert id == 9
        assert isinstance(request, Request | Refusal)


@pytest.mark.parametrize("command", sorted(set(REQUESTS) - v1.REQUEST_CODES - {0x0001}))
def test_requests_of_version_2_are_unknown(command: int) -> None:
    refusal = refusal_of(message(9, command, b"\0\0"))
    assert isinstance(refusal, UnknownCommand)
    assert "version 1" in str(refusal)


# --- answers ---


def test_what_was_accepted_is_what_was_sent() -> None:
    """Version 1 says OK and no more; the client counts, pipelined requests and refusals included."""
    client, server, _ = attached(1)
    sent = [client.request(Data(to=2, payload=bytes(size))) for size in (5, 70, 0, 3)]
    for id, octets in sent:
        server.receive(octets)
        ((_, request),) = requests(server)
        assert isinstance(request, Data)
        full = Failure(code="stdin-full", errno=11, message="full")
        client.receive(server.reply(id, full if len(request.payload) == 70 else Taken(accepted=0, end=0)))
    got = [answer for _, answer in messages(client)]
    assert [answer for answer in got if isinstance(answer, Taken)] == [
        Taken(accepted=5, end=5),
        Taken(accepted=0, end=5),
        Taken(accepted=3, end=8),
    ]
    assert isinstance(got[1], Refusal)
    assert got[1].code == "stdin-full"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (2, "no-such-process"),
        (10, "not-attached"),
        (11, "stdin-full"),
        (22, "bad-request"),
        (32, "stdin-closed"),
        (44, "unknown-channel"),
        (74, "not-greeted"),
        (95, "unknown-command"),
        (114, "already-attached"),
        (-5, ""),
        (999, ""),
    ],
)
def test_an_error_is_known_by_its_errno(number: int, code: str) -> None:
    client = greeted(1)[0]
    id, _ = client.request(List())
    client.receive(message(id, 0xFFF0, number.to_bytes(4, "big", signed=True) + b"why\0"))
    ((_, refusal),) = messages(client)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.errno, refusal.message) == (code, number, "why")
    assert code or isinstance(refusal, UnknownRefusal)


def test_a_nul_in_an_error_does_not_end_it() -> None:
    client, server = greeted(1)
    id, octets = client.request(List())
    server.receive(octets)
    list(requests(server))
    client.receive(server.reply(id, Failure(code="", errno=5, message="a\0b")))
    ((_, refusal),) = messages(client)
    assert str(refusal) == "a?b"


ANSWERS: list[Any] = [
    (List(), 0x0110, b"7\0\0\1\0\1"),
    (List(), 0xFF00, b""),
    (Attach(process="1"), 0xFF00, b""),
    (Start(argv=("a",), attach=True), 0xFF00, b""),
    (Start(argv=("a",), attach=True), 0x0103, b"\0\0"),
    (List(), 0x0201, b"\0\1\0\0"),
    (List(), 0x0202, b"\0\1\0\0"),
    (List(), 0x0001, b"\0\1"),
    (List(), 0x0103, b""),
    (List(), 0x0103, b"\0\1"),
    (List(), 0x0103, b"\0\0x"),
    (List(), 0xFFF0, b"\0\0\0"),
    (Attach(process="1"), 0x0110, b"7\0\0\1"),
    (Attach(process="1"), 0x0110, b"7\0\0\5\0\0"),
]


@pytest.mark.parametrize(("request_", "command", "body"), ANSWERS)
def test_an_answer_that_is_none(request_: Request, command: int, body: bytes) -> None:
    """Malformed, or the answer to another request."""
    client = greeted(1)[0]
    id, _ = client.request(request_)
    client.receive(message(id, command, body))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


@pytest.mark.parametrize(
    ("id", "command", "body"),
    [
        (0, 0xFF00, b""),
        (0, 0x0110, b"7\0\0\1\0\1"),
        (0, 0x0103, b"\0\0"),
        (0, 0xFFF0, b"\0\0\0\1x\0"),
        (0, 0x0205, b""),
        (0, 0x0201, b"\0\1\0\2x"),
        (0, 0x0201, b"\0\1"),
        (0, 0x0202, b"\0\1\0"),
        (2, 0x0201, b"\0\1\0\1x"),
        (9, 0x0201, b"\0\1\0\1x"),
    ],
)
def test_an_event_that_is_none(id: int, command: int, body: bytes) -> None:
    """Malformed, no event, or on an id that is not 0."""
    client = attached(1)[0]
    client.receive(message(id, command, body))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


@pytest.mark.parametrize(("command", "body"), [(0x0201, b"\0\1\0\0"), (0x0202, b"\0\1\0\0")])
def test_an_event_before_an_attachment(command: int, body: bytes) -> None:
    client = greeted(1)[0]
    client.receive(message(0, command, body))
    with pytest.raises(RemoteProtocolError):
        client.next_message()


def test_output_of_the_most_bytes_fits_into_a_packet() -> None:
    client, server, id = attached(1, packets=True)
    payload = bytes(v1.MAX_OUTPUT)
    packet = server.event(id, Output(channel=1, payload=payload))
    assert v1.MAX_OUTPUT == 65526
    assert len(packet) == 65536
    assert packet == server.output_head(id, 1, 0, 0, len(payload)) + payload
    client.receive(packet)
    assert list(messages(client)) == [(id, Output(channel=1, payload=payload))]


def test_kinds_of_answers_are_told_by_the_request() -> None:
    """OK is one number for KILL's answer and for DATA's."""
    assert v1.decode_answer(0xFF00, b"", 0, Ok) == Ok()
    assert isinstance(v1.decode_answer(0xFF00, b"", 0, Taken), Taken)
    assert isinstance(v1.decode_answer(0x0202, b"\0\1\0\1", 0, None), Status)
    assert isinstance(v1.decode_answer(0x0103, b"\0\0", 0, Listing), Listing)
