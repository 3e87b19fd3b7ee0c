"""The daemon's side: HELLO, ids, limits, and all 65,536 commands."""

from __future__ import annotations

import errno

import pytest

from netdaemon.errors import BadRequest, LocalProtocolError, NoSuchProcess, Refusal, RemoteProtocolError, UnknownCommand
from netdaemon.wire import layout
from netdaemon.wire.answers import Attached, End, Failure, Happened, Listing, Ok, Output, Watching, Welcome
from netdaemon.wire.commands import REQUESTS, Attach, Detach, Hello, Info, Inspect, List, Request, Watch
from netdaemon.wire.records import Reason
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import Happening
from netdaemon.wire.v1 import REQUEST_CODES
from tests.wire.support import RECORD, attached, box, from_hex, greeted, integer, message, requests

PACKETS = pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
EVENT = Happened(cursor="c-1", type=Happening.STARTED, process=RECORD)
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def told(octets: bytes, server: ServerConnection | None = None) -> RemoteProtocolError:
    """Why the daemon hangs up on these bytes."""
    server = server or ServerConnection()
    server.receive(octets)
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_request()
    return caught.value


# --- HELLO ---


@pytest.mark.parametrize(("offered", "spoken"), [("0001", 1), ("0002 0000", 2), ("0003 0000", 2), ("ffff 0000", 2)])
def test_the_lower_version_is_spoken(offered: str, spoken: int) -> None:
    server = ServerConnection()
    server.receive(message(7, 1, from_hex(offered)))
    assert server.next_request() == (7, Hello())
    assert server.version is None
    answer = server.welcome(7, Welcome())
    assert answer[4:12] == from_hex(f"00000007 0001 {spoken:04x}")
    assert server.version == spoken
    assert not server.open_ids


@pytest.mark.parametrize("offered", ["0001", "0002 0000", "0003 0000"])
def test_packets_speak_version_1(offered: str) -> None:
    server = ServerConnection(packets=True)
    server.receive(message(7, 1, from_hex(offered), packets=True))
    assert server.next_request() == (7, Hello())
    assert server.welcome(7, Welcome()) == from_hex("00000007 0001 0001")


def test_a_later_version_may_say_more() -> None:
    """What only a later version knows is skipped; what this one knows is read."""
    server = ServerConnection()
    server.receive(message(1, 1, b"\0\3" + box({b"client": b"new", b"colour": b"red"})))
    assert server.next_request() == (1, Hello(client="new"))


@PACKETS
@pytest.mark.parametrize(
    ("id", "body", "what"),
    [
        (1, "", "HELLO has no version"),
        (1, "00", "HELLO has no version"),
        (1, "0000", "version 0; 1 and 2 are known"),
        (1, "0000 0000", "version 0; 1 and 2 are known"),
        (0, "0001", "HELLO has the id 0"),
        (1, "0001 00", "bytes stand after the version"),
        (1, "0002", "a box ends without its end mark"),
        (1, "0002 0001", "cut short"),
        (1, "0002 0000 00", "1 bytes after its box"),
        (1, "0002 0006 636f6c6f7572 00000000 0000", "no field 'colour'"),
        (1, "0002 0006 636c69656e74 00000001 ff 0000", "client is not of type text"),
    ],
)
def test_a_hello_that_is_none(id: int, body: str, what: str, packets: bool) -> None:
    error = told(message(id, 1, from_hex(body), packets=packets), ServerConnection(packets=packets))
    assert what in str(error)
    assert error.errno == errno.EBADMSG


@PACKETS
def test_hello_comes_first(packets: bool) -> None:
    """No other of the 65,536 commands is taken before it."""
    for command in range(0x10000):
        if command != 1:
            server = ServerConnection(packets=packets)
            server.receive(message(1, command, packets=packets))
            with pytest.raises(RemoteProtocolError, match="came before HELLO"):
                server.next_request()


@VERSIONS
def test_hello_twice(version: int) -> None:
    """It is refused, and the conversation goes on."""
    _, server = greeted(version)
    server.receive(message(5, 1, b"\0\1") + message(6, 0x0103, b"" if version == 1 else b"\0\0"))
    (id, refusal), then = requests(server)
    assert id == 5
    assert isinstance(refusal, BadRequest)
    assert "HELLO was said already" in str(refusal)
    assert then == (6, List())


def test_hello_of_the_most_bytes() -> None:
    """4,096 bytes and not one more, until it has been answered."""
    head = 6 + 2 + 2 + 5 + 4 + 2
    server = ServerConnection()
    server.receive(message(1, 1, b"\0\2" + box({b"token": bytes(4096 - head)})))
    assert server.next_request() == (1, Hello(token=bytes(4096 - head)))
    error = told(message(1, 1, b"\0\2" + box({b"token": bytes(4097 - head)})))
    assert error.errno == errno.EMSGSIZE
    assert "4097 bytes; the most is 4096" in str(error)


# --- limits ---


@VERSIONS
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_length_below_a_head(length: int, version: int) -> None:
    for server in (ServerConnection(), greeted(version)[1]):
        error = told(length.to_bytes(4, "big") + bytes(length), server)
        assert error.errno == errno.EBADMSG
    for server in (ServerConnection(packets=True), greeted(1, packets=True)[1]):
        told(bytes(length), server)


@VERSIONS
def test_the_limit_after_hello(version: int) -> None:
    """1 MiB: a length at the limit is waited for, one above it ends the conversation before a byte of the body."""
    server = greeted(version)[1]
    assert server.max_message == 1 << 20
    server.receive((1 << 20).to_bytes(4, "big"))
    assert server.next_request() is None
    assert server.unfinished
    server.receive(message(1 << 20, 0x0103, bytes((1 << 20) - 6))[4:])
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
    error = told(((1 << 20) + 1).to_bytes(4, "big"), greeted(version)[1])
    assert error.errno == errno.EMSGSIZE


def test_the_limit_of_a_packet() -> None:
    _, server = greeted(1, packets=True)
    assert server.max_message == 65536
    server.receive(message(5, 0x0102, b"x" * 65529 + b"\0", packets=True))
    assert list(requests(server)) == [(5, Attach(process="x" * 65529))]
    error = told(message(6, 0x0102, b"x" * 65530 + b"\0", packets=True), server)
    assert error.errno == errno.EMSGSIZE


def test_before_hello_is_answered_the_limit_is_low() -> None:
    """A message of 4,097 bytes behind a HELLO is read when HELLO has been answered."""
    large = message(2, 0x0105, box({b"process": b"x" * 5000}))
    server = ServerConnection()
    server.receive(message(1, 1, b"\0\2\0\0") + large)
    server.next_request()
    server.welcome(1, Welcome())
    assert list(requests(server)) == [(2, Inspect(process="x" * 5000))]


def test_a_reply_of_the_most_bytes() -> None:
    """One that does not fit is an ERROR that says so; the conversation goes on."""
    for excess in (0, 1):
        client, server = greeted(2)
        id, octets = client.request(List())
        server.receive(octets)
        list(requests(server))
        room = (1 << 20) - 6 - len(layout.encode(Listing(after="")))
        client.receive(server.reply(id, Listing(after="x" * (room + excess))))
        got = client.next_message()
        assert got is not None
        if excess:
            assert isinstance(got[1], Refusal)
            assert got[1].code == "too-large"
            assert got[1].errno == errno.EMSGSIZE
        else:
            assert got[1] == Listing(after="x" * room)
        assert not server.open_ids


# --- ids ---


@VERSIONS
@PACKETS
def test_the_id_0(version: int, packets: bool) -> None:
    body = b"" if version == 1 or packets else b"\0\0"
    error = told(message(0, 0x0103, body, packets=packets), greeted(version, packets=packets)[1])
    assert "the id 0, which is for the daemon" in str(error)
    assert error.errno == errno.EBADMSG


@VERSIONS
def test_an_id_that_is_open(version: int) -> None:
    """A request that is not answered keeps its id."""
    octets = message(5, 0x0103, b"" if version == 1 else b"\0\0")
    _, server = greeted(version)
    server.receive(octets)
    list(requests(server))
    error = told(octets, server)
    assert "the id 5, which is open" in str(error)


def test_an_id_that_is_open_is_so_for_an_unknown_command() -> None:
    _, server = greeted()
    server.receive(message(5, 0x7777))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, UnknownCommand)
    assert "5, which is open" in str(told(message(5, 0x7777), server))


@VERSIONS
def test_an_id_may_be_used_again(version: int) -> None:
    """After its reply, ERROR or not; the highest and the lowest alike."""
    body = b"" if version == 1 else b"\0\0"
    _, server = greeted(version)
    for reply in (Listing(), Failure(code="denied", errno=13), Listing()):
        for id in (1, 0xFFFFFFFF):
            server.receive(message(id, 0x0103, body))
            assert list(requests(server)) == [(id, List())]
            server.reply(id, reply)
            assert not server.open_ids


def test_an_attachment_keeps_its_id_until_its_end() -> None:
    _, server, id = attached()
    assert set(server.open_ids) == {id}
    server.event(id, End(reason=Reason.DETACHED))
    assert not server.open_ids
    server.receive(message(id, 0x0301, b"\0\0"))
    assert list(requests(server)) == [(id, Info())]
    error = told(message(2, 0x0301, b"\0\0"), attached()[1])
    assert "2, which is open" in str(error)


def test_a_refused_attach_closes_its_id() -> None:
    client, server = greeted()
    id, octets = client.request(Attach(process="x"))
    server.receive(octets)
    list(requests(server))
    server.reply(id, Failure.of(NoSuchProcess("no")))
    assert not server.open_ids


def test_answers_to_what_is_not_open() -> None:
    """This side keeps the rules too."""
    _, server, id = attached()
    with pytest.raises(LocalProtocolError, match="the request 9 is not open"):
        server.reply(9, Ok())
    with pytest.raises(LocalProtocolError, match="the attachment 9 is not open"):
        server.event(9, Output(channel=1))
    server.event(id, End(reason=Reason.DETACHED))
    with pytest.raises(LocalProtocolError):
        server.event(id, Output(channel=1))


def test_many_attachments() -> None:
    """Version 2 has as many as are asked for, each with events on its own id."""
    client, server = greeted()
    ids = []
    for _ in range(5):
        id, octets = client.request(Attach(process="1"))
        server.receive(octets)
        list(requests(server))
        client.receive(server.reply(id, Attached(process=RECORD)))
        client.next_message()
        ids.append(id)
    for id in reversed(ids):
        client.receive(server.event(id, Output(channel=1, offset=id)))
        assert client.next_message() == (id, Output(channel=1, offset=id))


@pytest.mark.parametrize("reply", [Attached(process=RECORD), Watching(cursor="c-1")], ids=["ATTACH", "WATCH"])
def test_an_id_stays_open_as_long_as_events_may_follow(reply: Attached | Watching) -> None:
    """From the reply on, whatever else is answered meanwhile, until END."""
    client, server = greeted()
    id, octets = client.request(Attach(process="1") if isinstance(reply, Attached) else Watch())
    server.receive(octets)
    list(requests(server))
    with pytest.raises(LocalProtocolError, match=f"the attachment {id} is not open"):
        server.event(id, EVENT)
    server.reply(id, reply)
    assert set(server.open_ids) == set(server.attachments) == {id}
    with pytest.raises(LocalProtocolError, match=f"the request {id} is not open"):
        server.reply(id, reply)
    assert server.event(id, EVENT)[4:10] == id.to_bytes(4, "big") + b"\x02\x07"
    assert "is open" in str(told(message(id, 0x0301, b"\0\0"), server))
    server.event(id, End(reason=Reason.RESUBSCRIBE))
    assert not server.open_ids
    with pytest.raises(LocalProtocolError, match=f"the attachment {id} is not open"):
        server.event(id, EVENT)


def test_a_refused_watch_closes_its_id() -> None:
    client, server = greeted()
    id, octets = client.request(Watch(select=("x=y",)))
    server.receive(octets)
    list(requests(server))
    server.reply(id, Failure.of(BadRequest("no such term", field="select")))
    assert not server.open_ids


# --- commands ---


@VERSIONS
@PACKETS
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\xff\xff\xff\xff"], ids=lambda body: body.hex() or "empty")
def test_every_command_gets_a_request_or_a_refusal(version: int, packets: bool, body: bytes) -> None:
    """All 65,536: known ones are read or refused, unknown ones are answered `unknown-command`, none hangs up."""
    if packets:
        version = 1
    known = REQUEST_CODES if version == 1 else set(REQUESTS) - {Hello.command}
    _, server = greeted(version, packets=packets)
    for command in range(0x10000):
        server.receive(message(7, command, body, packets=packets))
        if version == 2 and command in known and len(body) != 2:
            # What is no box ends the conversation.
            with pytest.raises(RemoteProtocolError):
                server.next_request()
            server = greeted(version)[1]
            continue
        received = server.next_request()
        assert received is not None
        id, request = received
        assert id == 7
        if command in known:
            assert isinstance(request, Request | Refusal)
            assert not isinstance(request, UnknownCommand)
        elif command == Hello.command:
            assert isinstance(request, BadRequest)
        else:
            assert isinstance(request, UnknownCommand)
            assert request.errno == errno.EOPNOTSUPP
            assert f"{command:#06x}" in str(request)
        failure = Failure.of(request) if isinstance(request, Refusal) else Failure(code="denied")
        assert server.reply(id, failure)
        assert not server.open_ids


@pytest.mark.parametrize("command", [0x0110, 0x0202, 0x0205, 0x0207, 0x0208, 0xFF00, 0xFFF0, 0xFFFF])
def test_what_only_a_daemon_says_is_no_request(command: int) -> None:
    _, server = greeted()
    server.receive(message(5, command, b"\0\0"))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, UnknownCommand)


def test_an_unknown_field_in_a_request_is_refused() -> None:
    _, server = greeted()
    server.receive(message(5, 0x0105, box({b"process": b"1", b"colour": b"red"})))
    ((id, refusal),) = requests(server)
    assert id == 5
    assert isinstance(refusal, BadRequest)
    assert refusal.field == "colour"


def test_an_unknown_field_in_a_record_of_a_request_is_refused() -> None:
    _, server = greeted()
    body = box({b"argv": b"\0\0\0\1a", b"pty": box({b"pixels": b""})})
    server.receive(message(5, 0x0101, body))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
    assert refusal.field == "pty"


def test_a_record_that_is_no_record_is_refused() -> None:
    """One value of the wrong type is no reason to hang up."""
    _, server = greeted()
    server.receive(message(5, 0x0101, box({b"argv": b"\0\0\0\1a", b"pty": b"\1"})))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
    assert refusal.field == "pty"
    assert "pty is not of type record" in str(refusal)


@pytest.mark.parametrize(
    ("command", "pairs", "field", "what"),
    [
        (0x0209, {b"steps": b""}, "steps", "steps has 0 steps"),
        (0x0209, {b"steps": b"\0\0\0\1\0"}, "steps", "steps is not of type array of record"),
        (0x0209, {b"steps": b"\0\0\0\2\0\0"}, "steps", "steps: a step has exactly one of"),
        (0x0209, {b"step": b""}, "step", "Stop has no field 'step'"),
        (0x0109, {b"keep": integer(4096)}, "keep", "Change has no field 'keep'"),
        (0x0109, {b"key": b"k"}, "key", "Change has no field 'key'"),
        (0x0109, {b"ready": box({b"notify": b"\1", b"timeout": integer(0)})}, "ready", "ready: timeout is 0"),
        (0x0109, {b"restart": box({b"policy": b"now"})}, "restart", "restart: policy is not of type text"),
        (0x0109, {b"log": box({b"path": b"l"})}, "log", "log: the path is 'l'"),
    ],
)
def test_a_record_that_breaks_its_rules_is_refused(
    command: int, pairs: dict[bytes, bytes], field: str, what: str
) -> None:
    """By the name of the field that it is, and that stands once in what is told."""
    _, server = greeted()
    server.receive(message(5, command, box({b"process": b"1"} | pairs)))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
    assert refusal.field == field
    assert str(refusal).startswith(what)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "without its end mark"),
        (box([(b"to", bytes(8)), (b"to", bytes(8))]), "the key b'to' twice"),
        (box({b"k" * 256: b""}), "a key of 256 bytes"),
        (b"\0\2to\0\0\0\x09" + bytes(8), "cut short in the value"),
    ],
)
def test_what_is_no_box_ends_the_conversation(body: bytes, what: str) -> None:
    error = told(message(5, 0x0104, body), greeted()[1])
    assert what in str(error)
    assert error.errno == errno.EBADMSG


def test_the_key_limit() -> None:
    """A key of 255 bytes is a key, if an unknown one."""
    _, server = greeted()
    server.receive(message(5, 0x0104, box({b"k" * 255: b""})))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)


def test_bytes_after_a_box_are_refused() -> None:
    _, server = greeted()
    server.receive(message(5, 0x0104, layout.encode(Detach(to=1)) + b"x"))
    ((_, refusal),) = requests(server)
    assert isinstance(refusal, BadRequest)
