"""One connection and its limits: bad input, slowness, floods, version 1; nobody else notices, time is the test's."""

import errno
import gc
import os
from typing import Any

import pytest

from netdaemon.daemon import peer as peer_module
from netdaemon.daemon.outflow import OUTPUT_CHUNK, REPLY_BACKLOG
from netdaemon.daemon.peer import HELLO_TIMEOUT, MESSAGE_TIMEOUT
from netdaemon.daemon.responders.attachments import V1_HOLD
from netdaemon.errors import NoSuchProcess, Refusal, StdinFull, UnknownCommand
from netdaemon.testing import PIPE_SIZE, join
from netdaemon.wire.answers import Attached, Gap, Listing, Ok, Output, Status, Stopped, Taken
from netdaemon.wire.commands import Attach, Data, Flow, Info, Kill, List, Remove, Start, Stop, Wait
from netdaemon.wire.frame import GREETING_LIMIT, MAX_MESSAGE
from netdaemon.wire.records import State, Until
from netdaemon.wire.specs import STEP_TEXT_MAX, STEPS_MAX, WAIT_MAX, Step
from netdaemon.wire.v1 import MAX_OUTPUT
from tests.daemon.support import Bare, World, output_of, status_of, world


class Mute(Bare):
    """A client that says nothing by itself."""

    def connectionMade(self) -> None:
        return


def connect(w: World, client: Bare, packets: bool = False) -> Bare:
    """Connect without HELLO."""
    join(w.reactor, w.daemon.service.build(packets), client, os.geteuid())
    w.daemon.settle()
    return client


def abort_of(client: Bare) -> int:
    """The errno of the ABORT that must have come, in whatever encoding."""
    assert client.aborted is not None
    assert client.lost
    return client.aborted.errno


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        b"\0\0\0\5xxxxx",
        b"\xff\xff\xff\xff",
        (GREETING_LIMIT + 1).to_bytes(4, "big"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\6\0\0\0\1\3\1",
        b"\0\0\0\x08\0\0\0\1\0\1\0\0",
        b"\0\0\0\x08\0\0\0\0\0\1\0\2",
    ],
)
def test_garbage_before_hello(garbage: bytes) -> None:
    """An ABORT, and the end, for that connection only."""
    with world() as w:
        good = w.client()
        bad = connect(w, Mute())
        bad.send(garbage)
        w.daemon.settle()
        assert abort_of(bad) in (errno.EBADMSG, errno.EMSGSIZE)
        assert isinstance(w.ask(good, List())[1], Listing)


def test_garbage_after_hello() -> None:
    """A length above the limit ends the connection before a byte of the body is kept."""
    with world() as w:
        client = w.client()
        client.send((MAX_MESSAGE + 1).to_bytes(4, "big"))
        w.daemon.settle()
        assert abort_of(client) == errno.EMSGSIZE


def test_an_unknown_command_is_answered() -> None:
    """And the conversation goes on."""
    with world() as w:
        client = w.client()
        client.connection._pending[77] = Info
        client.send(b"\0\0\0\6" + (77).to_bytes(4, "big") + b"\x07\x77")
        w.daemon.settle()
        assert isinstance(next(m for other, m in client.got if other == 77), UnknownCommand)
        assert isinstance(w.ask(client, List())[1], Listing)


def test_hello_must_come_in_time() -> None:
    """Five seconds, however busily the rest is sent."""
    with world() as w:
        silent, slow = connect(w, Mute()), connect(w, Mute())
        for octet in (0, 0, 0, 9):
            slow.send(bytes([octet]))
            w.daemon.settle()
            w.reactor.advance(HELLO_TIMEOUT / 5)
        assert not silent.lost
        w.reactor.advance(HELLO_TIMEOUT / 5)
        w.daemon.settle()
        for one in (silent, slow):
            assert abort_of(one) == errno.ETIMEDOUT


def test_a_message_must_be_finished_in_time() -> None:
    """Thirty seconds from its first byte; a client that sends one whole message after the other is not slow."""
    with world() as w:
        client, busy = w.client(), w.client()
        client.send(b"\0\0\1\0xx")
        w.daemon.settle()
        for _ in range(int(MESSAGE_TIMEOUT)):
            assert not client.lost
            _, octets = busy.connection.request(Info())
            busy.send(octets)
            w.daemon.settle()
            w.reactor.advance(1)
        w.daemon.settle()
        assert abort_of(client) == errno.ETIMEDOUT


def test_a_busy_client_is_not_slow() -> None:
    """A stream cut in mid-message all the time is fine as long as messages are finished."""
    with world() as w:
        client = w.client()
        pending = b""
        for _ in range(100):
            _, octets = client.connection.request(Info())
            pending += octets
            client.send(pending[:-3])
            pending = pending[-3:]
            w.daemon.settle()
            w.reactor.advance(MESSAGE_TIMEOUT / 10)
        assert not client.lost


def test_unfinished_messages_have_a_budget() -> None:
    """All clients together keep so much of unfinished messages and no more; small ones are not counted."""
    with world(input_budget=1 << 20) as w:
        begun = MAX_MESSAGE.to_bytes(4, "big") + b"x" * 300_000
        clients = [w.client() for _ in range(6)]
        for client in clients:
            client.send(begun)
            w.daemon.settle()
        refused = [client for client in clients if client.lost]
        assert len(refused) == 3
        assert all(abort_of(client) == errno.ENOBUFS for client in refused)
        kept = [client for client in clients if not client.lost]
        kept[0].transport.loseConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        another = w.client()
        another.send(begun)
        w.daemon.settle()
        assert not another.lost


def stop_reading(client: Bare) -> None:
    client.transport.pauseProducing()  # type: ignore[union-attr]


def go_on_reading(w: World, client: Bare) -> None:
    client.transport.resumeProducing()  # type: ignore[union-attr]
    w.daemon.settle()


def test_requests_that_are_not_read_are_not_answered() -> None:
    """A client that does not read gets a backlog of replies and then no more is read of it; all come in the end."""
    with world() as w:
        client = w.client()
        peer = next(iter(w.daemon.service.peers))
        stop_reading(client)
        count = 20_000
        for _ in range(count):
            _, octets = client.connection.request(Info())
            client.send(octets)
        w.daemon.settle()
        assert peer.transport.waiting <= 3 * REPLY_BACKLOG  # type: ignore[union-attr]
        assert peer.connection.waiting <= PIPE_SIZE
        go_on_reading(w, client)
        assert len(client.got) == count + 1


def test_output_that_is_not_read_is_not_queued() -> None:
    """What waits for a client that does not read stays in the spool; the gap is exact, and others get everything."""
    with world() as w:
        slow, fast = w.client(), w.client()
        id, name, child = w.start(slow)
        other, _ = w.ask(fast, Attach(process=name))
        stop_reading(slow)
        peer = next(one for one in w.daemon.service.peers if id in one.attachments)
        written = b""
        for number in range(100):
            piece = bytes([65 + number % 26]) * 50_000
            child.write(piece)
            written += piece
            w.daemon.settle()
            assert peer.transport.waiting <= 2 * OUTPUT_CHUNK  # type: ignore[union-attr]
        assert output_of(fast, other) == written
        go_on_reading(w, slow)
        gaps = [m for o, m in slow.got if o == id and isinstance(m, Gap)]
        missing = sum(gap.to - gap.from_ for gap in gaps)
        assert missing > 0
        assert len(output_of(slow, id)) + missing == len(written)


def test_a_holder_pauses_the_child_for_its_time_and_then_gaps() -> None:
    """One pause of the time allowed; then the child goes on, and the holder is told of its gap."""
    with world() as w:
        holder, other = w.client(), w.client()
        id, name, child = w.start(holder, hold=1000, keep=4096)
        watching, _ = w.ask(other, Attach(process=name))
        assert isinstance(w.ask(holder, Flow(to=id, paused=True))[1], Ok)
        child.write(b"a" * 10_000)
        w.daemon.settle()
        assert len(output_of(other, watching)) == 4096
        w.reactor.advance(0.9)
        w.daemon.settle()
        assert len(output_of(other, watching)) == 4096
        w.reactor.advance(0.1)
        w.daemon.settle()
        assert len(output_of(other, watching)) == 10_000
        child.write(b"b" * 10_000)
        w.daemon.settle()
        assert len(output_of(other, watching)) == 20_000
        w.ask(holder, Flow(to=id, paused=False))
        gap = next(m for o, m in holder.got if isinstance(m, Gap))
        assert (gap.from_, gap.to) == (0, 20_000 - 4096)
        # It has caught up: it may hold again.
        w.ask(holder, Flow(to=id, paused=True))
        child.write(b"c" * 10_000)
        w.daemon.settle()
        assert len(output_of(other, watching)) == 20_000 + 4096
        holder.transport.loseConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        assert len(output_of(other, watching)) == 30_000


def test_a_trickling_holder_gains_nothing() -> None:
    """The time counts in total: reading a little now and then does not hold for longer."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client, hold=1000, keep=4096)
        peer = next(one for one in w.daemon.service.peers if id in one.attachments)
        attachment = peer.attachments[id]
        attachment.pause(True)
        child.write(b"x" * 60_000)
        w.daemon.settle()
        paused = 0.0
        while not attachment.cursor.lapsed:
            w.reactor.advance(0.25)
            paused += 0.25
            w.daemon.settle()
            if not attachment.cursor.lapsed:
                attachment.cursor.next(100)
                attachment.process.holding.moved()
                w.daemon.settle()
            assert paused <= 1.5


def test_version_1() -> None:
    """The 2009 conversation: one process a connection, events on id 0, its process gone after the last detach."""
    with world() as w:
        client = w.client(version=1, packets=True)
        id, name, child = w.start(client, "/bin/game", "-D", attach=True)
        assert child.spec.argv == (b"/bin/game", b"-D")
        assert child.spec.path == b"/bin/game"
        assert isinstance(w.ask(client, Data(to=id, payload=b"hi"))[1], Taken)
        assert child.read() == b"hi"
        child.write(b"out")
        w.daemon.settle()
        child.write(b"err", 2)
        w.daemon.settle()
        assert output_of(client, id) == b"outerr"
        assert isinstance(w.ask(client, Kill(to=id, signal=15))[1], Ok)
        assert child.signals == [(15, "group")]
        child.close(0)
        child.exit(5)
        w.daemon.settle()
        status = status_of(client, id)
        assert status is not None
        assert (status.state, status.code) == (State.EXITED, 5)
        assert {m.channel for o, m in client.got if isinstance(m, Output) and not m.payload} == {1, 2}
        listing = w.ask(client, List())[1]
        assert isinstance(listing, Listing)
        assert [one.id for one in listing.processes] == [name]
        client.transport.loseConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        later = w.client()
        assert isinstance(w.ask(later, Attach(process=name))[1], NoSuchProcess)


def test_version_1_output_fits_into_its_messages() -> None:
    """A packet has at most 65,536 bytes."""
    with world() as w:
        client = w.client(version=1, packets=True)
        id, _, child = w.start(client)
        w.ask(w.client(), Info())
        stop_reading(client)
        for _ in range(8):
            child.write(b"x" * 60_000)
            w.daemon.settle()
        go_on_reading(w, client)
        sizes = [len(m.payload) for o, m in client.got if o == id and isinstance(m, Output)]
        assert sum(sizes) == 8 * 60_000
        # Some of what waited was longer than a packet.
        assert MAX_OUTPUT in sizes
        assert max(sizes) <= MAX_OUTPUT


def test_a_slow_version_1_client_holds_and_is_then_cut() -> None:
    """It cannot be told of a gap: it gets everything, or the end."""
    with world() as w:
        client = w.client(version=1)
        _, name, child = w.start(client)
        stop_reading(client)
        watcher = w.client()
        id, _ = w.ask(watcher, Attach(process=name))
        written = 0
        for _ in range(60):
            try:
                written += child.write(b"x" * 50_000)
            except BlockingIOError:
                break
            w.daemon.settle()
            if written > 3_000_000:
                break
        assert len(output_of(watcher, id)) < written
        w.reactor.advance(V1_HOLD)
        w.daemon.settle()
        w.reactor.advance(HELLO_TIMEOUT)
        w.daemon.settle()
        assert client.lost
        assert len(output_of(watcher, id)) == written


def test_too_many_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """WAITs that are not answered yet are counted."""
    monkeypatch.setattr(peer_module, "MAX_REQUESTS", 3)
    monkeypatch.setattr(peer_module, "MAX_ATTACHMENTS", 2)
    with world() as w:
        client = w.client()
        _, name, _ = w.start(client)
        for _ in range(3):
            w.post(client, Wait(process=name))
        refused = w.ask(client, Wait(process=name))[1]
        assert isinstance(refused, Refusal)
        assert refused.code == "limit-reached"
    with world() as w:
        client = w.client()
        _, name, _ = w.start(client)
        assert isinstance(w.ask(client, Attach(process=name))[1], Attached)
        refused = w.ask(client, Attach(process=name))[1]
        assert isinstance(refused, Refusal)
        assert refused.code == "limit-reached"
        refused = w.ask(client, Start(argv=("x",), attach=True))[1]
        assert isinstance(refused, Refusal)
        assert len(w.children) == 1


def test_a_request_that_waits_takes_no_memory() -> None:
    """As many STOPs as may wait, each with all that a stop may type: a hundred megabytes, if they were kept."""
    steps = (*(Step(stdin=b"x" * STEP_TEXT_MAX) for _ in range(STEPS_MAX - 1)), Step(wait=WAIT_MAX))

    def kept() -> int:
        return sum(type(one) is Step for one in gc.get_objects())

    with world() as w:
        client = w.client()
        _, name, _ = w.start(client)
        before = kept()
        for _ in range(100):
            w.post(client, Stop(process=name, steps=steps))
        assert not any(isinstance(message, Stopped) for _, message in client.got)
        assert kept() - before <= STEPS_MAX


def test_a_client_that_leaves_leaves_nothing() -> None:
    """Its attachments, its waiting requests, its timers; the process goes on."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client)
        w.post(client, Wait(process=name))
        client.send(b"\0\0")
        w.daemon.settle()
        client.transport.loseConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        assert not w.daemon.service.peers
        w.reactor.advance(0.01)
        w.daemon.settle()
        assert [call for call in w.reactor.getDelayedCalls() if "Chronicle" not in str(call)] == []
        process = w.daemon.service.table.find(name)
        assert process.attached == 0
        assert len(process._waits) == 0
        assert id
        child.write(b"still here")
        w.daemon.settle()
        again = w.client()
        attached, _ = w.ask(again, Attach(process=name))
        assert output_of(again, attached) == b"still here"


def test_status_is_never_lost_on_a_slow_client() -> None:
    """The exit comes after the output, however late that is read."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        stop_reading(client)
        for _ in range(10):
            child.write(b"x" * 60_000)
            w.daemon.settle()
        child.exit(4)
        w.daemon.settle()
        assert status_of(client, id) is None
        go_on_reading(w, client)
        assert len(output_of(client, id)) == 600_000
        status = status_of(client, id)
        assert status is not None
        assert status.code == 4
        last: Any = [m for o, m in client.got if o == id][-1]
        assert isinstance(last, Status | Output)


def test_version_1_input_is_taken_whole_or_not_at_all() -> None:
    """Its OK tells no count: what does not fit as a whole is EAGAIN."""
    with world() as w:
        client = w.client(version=1)
        id, _, child = w.start(client)
        sent = 0
        while True:
            reply = w.ask(client, Data(to=id, payload=b"x" * 65_535))[1]
            if isinstance(reply, StdinFull):
                break
            sent += 65_535
        got = b""
        while len(got) < sent:
            got += child.read()
            w.daemon.settle()
        with pytest.raises(BlockingIOError):
            child.read()
        assert len(got) == sent
        assert isinstance(w.ask(client, Data(to=id, payload=b"x" * 65_535))[1], Taken)


def test_a_version_1_process_disappears_at_its_exit_when_nobody_is_attached() -> None:
    """Version 1 has no way to remove it."""
    with world() as w:
        client, other = w.client(version=1), w.client()
        _, _, child = w.start(client)
        assert client.transport is not None
        client.transport.loseConnection()
        w.daemon.settle()
        listing = w.ask(other, List())[1]
        assert isinstance(listing, Listing)
        assert len(listing.processes) == 1
        child.exit(0)
        w.daemon.settle()
        assert w.ask(other, List())[1] == Listing()


def test_a_version_1_client_may_use_one_id_for_everything() -> None:
    """Its events come on id 0: the id of its START is free again once that is answered."""
    with world() as w:
        client = w.client(version=1)
        id, _, child = w.start(client)
        for _ in range(3):
            client.connection._pending[id] = Data
            client.connection._sent = {id: 1} if hasattr(client.connection, "_sent") else {}
            client.got.clear()
            client.send(b"\0\0\0\x0b" + id.to_bytes(4, "big") + b"\2\1\0\0\0\1x")
            w.daemon.settle()
            assert not client.lost
        assert child.read() == b"xxx"
        child.exit(0)
        w.daemon.settle()
        assert status_of(client, id) is not None


def test_wait_is_answered_when_the_process_is_removed() -> None:
    """Whatever was waited for: it will not come."""
    with world() as w:
        client = w.client()
        _, name, child = w.start(client)
        waiting = w.post(client, Wait(process=name, for_=Until.ENDED))
        child.exit(0, leave_open=True)
        w.daemon.settle()
        assert isinstance(w.ask(client, Remove(process=name))[1], Ok)
        assert isinstance(next(m for o, m in client.got if o == waiting), NoSuchProcess)
