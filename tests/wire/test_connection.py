"""Two ends joined in memory: every message of both versions arrives as it was sent, however the stream is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import ConversationAborted, RemoteProtocolError
from netdaemon.visible import visible
from netdaemon.wire import answers, commands
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.server import ServerConnection
from tests.support import LONG
from tests.wire import strategies
from tests.wire.support import attached, cut, greeted, message, messages, requests, watching

SOME = settings(max_examples=40 if LONG else 15, deadline=None)

# A request that gets each reply, and one that gets an attachment.
ASKS: dict[type[Any], commands.Request] = {
    answers.Ok: commands.Detach(to=2),
    answers.Started: commands.Start(argv=("a",)),
    answers.Attached: commands.Attach(process="1"),
    answers.Listing: commands.List(),
    answers.OfProcess: commands.Inspect(process="1"),
    answers.Stopped: commands.Stop(process="1"),
    answers.Changed: commands.Change(process="1"),
    answers.Pruned: commands.Prune(),
    answers.Watching: commands.Watch(),
    answers.Taken: commands.Data(to=2),
    answers.DaemonInfo: commands.Info(),
}


def test_each_reply_is_asked_for() -> None:
    assert {*ASKS, answers.Welcome, answers.Failure} == set(strategies.REPLIES)


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
@SOME
@given(hello=strategies.messages_of(commands.Hello), welcome=strategies.messages_of(answers.Welcome))
def test_hello_round_trip(packets: bool, hello: commands.Hello, welcome: answers.Welcome) -> None:
    """Version 2 is offered; on packets there is version 1 only."""
    client, server = ClientConnection(packets=packets), ServerConnection(packets=packets)
    server.receive(client.hello(hello))
    assert server.next_request() == (1, hello)
    client.receive(server.welcome(1, welcome))
    assert client.next_message() == (1, answers.Welcome(window=0) if packets else welcome)
    assert client.version == server.version == (1 if packets else 2)


@pytest.mark.parametrize(
    "declaration", [one for one in strategies.REQUESTS if one is not commands.Hello], ids=lambda d: d.__name__
)
@SOME
@given(data=st.data())
def test_request_round_trip(declaration: type[Any], data: st.DataObject) -> None:
    """Version 2: the daemon reads what the client asked."""
    client, server = greeted()
    sent = data.draw(strategies.messages_of(declaration))
    id, octets = client.request(sent)
    server.receive(octets)
    assert list(requests(server)) == [(id, sent)]
    assert set(server.open_ids) == {id}
    assert not server.unfinished


@pytest.mark.parametrize("declaration", list(ASKS), ids=lambda d: d.__name__)
@SOME
@given(data=st.data())
def test_reply_round_trip(declaration: type[Any], data: st.DataObject) -> None:
    """Version 2: the client reads what the daemon answered; the id is closed, unless events follow on it."""
    client, server = greeted()
    id, octets = client.request(ASKS[declaration])
    server.receive(octets)
    server.next_request()
    sent = data.draw(strategies.messages_of(declaration))
    client.receive(server.reply(id, sent))
    assert list(messages(client)) == [(id, sent)]
    assert (id in server.open_ids) == (declaration in (answers.Attached, answers.Watching))


@SOME
@given(failure=strategies.messages_of(answers.Failure))
def test_failure_round_trip(failure: answers.Failure) -> None:
    """An ERROR becomes the refusal that it is about, and back; what cannot be printed is written out in it."""
    client, server = greeted()
    id, octets = client.request(commands.Info())
    server.receive(octets)
    server.next_request()
    client.receive(server.reply(id, failure))
    ((got, refusal),) = messages(client)
    assert got == id
    told = replace(failure, message=visible(failure.message))
    assert answers.Failure.of(refusal) == told  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "declaration", [one for one in strategies.EVENTS if one is not answers.Abort], ids=lambda d: d.__name__
)
@SOME
@given(data=st.data())
def test_event_round_trip(declaration: type[Any], data: st.DataObject) -> None:
    client, server, id = watching() if declaration is answers.Happened else attached()
    sent = data.draw(strategies.messages_of(declaration))
    client.receive(server.event(id, sent))
    assert list(messages(client)) == [(id, sent)]
    assert (id in server.open_ids) == (declaration is not answers.End)


@pytest.mark.parametrize("version", [1, 2])
@SOME
@given(number=st.integers(-(1 << 31), (1 << 31) - 1), text=strategies.TEXTS)
def test_abort_round_trip(version: int, number: int, text: str) -> None:
    client, server = greeted(version)
    client.receive(server.abort(number, text))
    with pytest.raises(ConversationAborted) as caught:
        client.next_message()
    assert caught.value.errno == number
    assert str(caught.value) == (text.replace("\0", "?") if version == 1 else text)


@SOME
@given(sent=strategies.messages_of(answers.Output))
def test_output_head_is_the_same_message(sent: answers.Output) -> None:
    """The fast way to put a DATA event together gives the bytes of the general way."""
    for version, packets in ((2, False), (1, False), (1, True)):
        if version == 1 and not 0 <= sent.channel <= 0xFFFF:
            continue
        _, server, id = attached(version, packets=packets)
        head = server.output_head(id, sent.channel, sent.offset, sent.time, len(sent.payload))
        assert head + sent.payload == server.event(id, sent)


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
@SOME
@given(sent=strategies.V1_REQUESTS)
def test_v1_request_round_trip(sent: commands.Request, packets: bool) -> None:
    """Version 1: the daemon reads what the client asked."""
    client, server = greeted(1, packets=packets)
    if isinstance(sent, commands.Data | commands.Kill):
        client, server, _ = attached(1, packets=packets)
    id, octets = client.request(sent)
    server.receive(octets)
    assert list(requests(server)) == [(id, sent)]


@pytest.mark.parametrize("declaration", list(strategies.V1_REPLIES), ids=lambda d: d.__name__)
@SOME
@given(data=st.data())
def test_v1_reply_round_trip(declaration: type[Any], data: st.DataObject) -> None:
    ask = commands.Kill(to=2, signal=15) if declaration is answers.Ok else ASKS[declaration]
    client, server = attached(1)[:2] if declaration is answers.Ok else greeted(1)
    id, octets = client.request(ask)
    server.receive(octets)
    server.next_request()
    sent = data.draw(strategies.V1_REPLIES[declaration])
    client.receive(server.reply(id, sent))
    assert list(messages(client)) == [(id, sent)]


@SOME
@given(sent=st.lists(strategies.V1_EVENTS, max_size=4))
def test_v1_event_round_trip(sent: list[Any]) -> None:
    """Version 1: events are on id 0, and the client says on which attachment; offsets are counted from there."""
    client, server, id = attached(1)
    offset = 0
    for event in sent:
        octets = server.event(id, event)
        assert octets[4:8] == bytes(4)
        client.receive(octets)
        expected = event
        if isinstance(event, answers.Output):
            expected = answers.Output(channel=event.channel, offset=offset, payload=event.payload)
            offset += len(event.payload)
        assert list(messages(client)) == [(id, expected)]


@settings(max_examples=60, deadline=None)
@given(
    sent=st.lists(st.one_of(*(strategies.messages_of(one) for one in strategies.REQUESTS[1:])), max_size=6),
    places=st.lists(st.integers(0, 1 << 20), max_size=30),
)
def test_any_cut_gives_the_same_requests(sent: list[Any], places: list[int]) -> None:
    client, server = greeted()
    stream = b"".join(client.request(one)[1] for one in sent)
    got: list[Any] = []
    for part in cut(stream, places):
        server.receive(memoryview(bytearray(part)))
        got += requests(server)
    assert [request for _, request in got] == sent
    assert not server.unfinished
    assert server.waiting == 0


@settings(max_examples=60, deadline=None)
@given(
    sent=st.lists(st.one_of(*(strategies.messages_of(one) for one in (answers.Output, answers.Status, answers.Gap)))),
    places=st.lists(st.integers(0, 1 << 20), max_size=30),
)
def test_any_cut_gives_the_same_events(sent: list[Any], places: list[int]) -> None:
    client, server, id = attached()
    stream = b"".join(server.event(id, one) for one in sent)
    got: list[Any] = []
    for part in cut(stream, places):
        client.receive(part)
        got += messages(client)
    assert got == [(id, one) for one in sent]


@settings(max_examples=60, deadline=None)
@given(
    sent=st.lists(strategies.messages_of(answers.Happened), max_size=5),
    places=st.lists(st.integers(0, 1 << 20), max_size=30),
)
def test_any_cut_gives_the_same_happenings(sent: list[Any], places: list[int]) -> None:
    client, server, id = watching()
    stream = b"".join(server.event(id, one) for one in sent)
    got: list[Any] = []
    for part in cut(stream, places):
        client.receive(part)
        got += messages(client)
    assert got == [(id, one) for one in sent]


@settings(max_examples=40, deadline=None)
@given(sent=st.lists(strategies.V1_EVENTS, max_size=6), places=st.lists(st.integers(0, 1 << 20), max_size=20))
def test_any_cut_gives_the_same_v1_events(sent: list[Any], places: list[int]) -> None:
    whole, server, id = attached(1)
    client = attached(1)[0]
    stream = b"".join(server.event(id, one) for one in sent)
    whole.receive(stream)
    got: list[Any] = []
    for part in cut(stream, places):
        client.receive(part)
        got += messages(client)
    assert got == list(messages(whole))
    assert len(got) == len(sent)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 17])
def test_any_step_gives_the_same_conversation(version: int, step: int) -> None:
    """HELLO included: all that a client says in one breath, fed in equal parts."""
    stream = ClientConnection(version=version).hello(commands.Hello(client="c"))
    stream += greeted(version)[0].request(commands.Attach(process="7"))[1]
    stream += attached(version)[0].request(commands.Data(to=2, payload=b"x" * 300))[1]
    server = ServerConnection()
    got: list[Any] = []
    for start in range(0, len(stream), step):
        server.receive(stream[start : start + step])
        while (received := server.next_request()) is not None:
            got.append(received)
            if isinstance(received[1], commands.Hello):
                server.welcome(received[0], answers.Welcome())
    assert [id for id, _ in got] == [1, 2, 3]
    assert [type(request) for _, request in got] == [commands.Hello, commands.Attach, commands.Data]
    assert got[2][1].payload == b"x" * 300


# --- garbage ---

FRAMED = st.one_of(
    st.binary(max_size=64),
    st.builds(message, st.integers(0, 4), st.integers(0, 0xFFFF), st.binary(max_size=48)),
    st.builds(
        message,
        st.integers(0, 4),
        st.sampled_from([*commands.REQUESTS, *answers.EVENTS, 0x0110, 0xFF00, 0xFFF0, 0xFFFF]),
        st.binary(max_size=48),
    ),
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A good stream with some bytes overwritten, taken out or put in."""
    octets = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(octets) - 1)))
        end = place + draw(st.integers(0, 3))
        octets[place:end] = draw(st.binary(max_size=3))
    return bytes(octets)


def a_request(message: commands.Request) -> bytes:
    return greeted()[0].request(message)[1]


def a_v1_request(message: commands.Request) -> bytes:
    return attached(1)[0].request(message)[1]


def an_event(message: Any) -> bytes:
    _, server, id = attached()
    return server.event(id, message)


def a_v1_event(message: Any) -> bytes:
    _, server, id = attached(1)
    return server.event(id, message)


SENT = st.one_of(
    FRAMED,
    damaged(st.one_of(*(strategies.messages_of(one) for one in strategies.REQUESTS[1:])).map(a_request)),
    damaged(strategies.V1_REQUESTS.map(a_v1_request)),
    damaged(strategies.messages_of(commands.Hello).map(lambda hello: ClientConnection().hello(hello))),
)
TOLD = st.one_of(
    FRAMED,
    damaged(st.one_of(*(strategies.messages_of(one) for one in strategies.EVENTS[1:])).map(an_event)),
    damaged(strategies.V1_EVENTS.map(a_v1_event)),
)


def servers() -> list[ServerConnection]:
    return [
        ServerConnection(),
        ServerConnection(packets=True),
        greeted()[1],
        attached()[1],
        greeted(1)[1],
        attached(1)[1],
        attached(1, packets=True)[1],
    ]


def clients() -> list[ClientConnection]:
    fresh = [ClientConnection(), ClientConnection(version=1), ClientConnection(packets=True)]
    for one in fresh:
        one.hello(commands.Hello())
    joined = [greeted()[0], attached()[0], watching()[0], greeted(1)[0], attached(1)[0], attached(1, packets=True)[0]]
    for one in joined:
        # The id 3, or 2: answers to it are replies.
        one.request(commands.List())
    return [*fresh, *joined]


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(SENT, min_size=1, max_size=4))
def test_garbage_for_the_daemon(parts: list[bytes]) -> None:
    """A daemon gets requests and refusals out of whatever comes, or RemoteProtocolError, and nothing else."""
    for server in servers():
        try:
            for part in parts:
                server.receive(part[4:] if server.packets else part)
                while (received := server.next_request()) is not None:
                    id, request = received
                    assert id in server.open_ids
                    if isinstance(request, commands.Hello):
                        assert server.welcome(id, answers.Welcome())
                    elif not isinstance(request, commands.Request):
                        assert server.reply(id, answers.Failure.of(request))
                        # In version 1 the id of an attachment's request is free for others.
                        assert id not in server.open_ids or id in server.attachments
        except RemoteProtocolError as error:
            server.abort(error.errno, str(error))


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(TOLD, min_size=1, max_size=4))
def test_garbage_for_a_client(parts: list[bytes]) -> None:
    """A client gets replies, refusals and events, or RemoteProtocolError, or ConversationAborted, and nothing else."""
    for client in clients():
        try:
            for part in parts:
                client.receive(part[4:] if client.packets else part)
                for _ in messages(client):
                    pass
        except RemoteProtocolError as error:
            client.abort(str(error))
        except ConversationAborted:
            pass
