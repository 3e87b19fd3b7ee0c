"""Connections lost anywhere, in the middle of a message, too: output and input whole and once, all Deferreds fire."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netdaemon.client.output import Listener
from netdaemon.client.remote import RemoteProcess
from netdaemon.errors import AlreadyExited, ConnectionClosed, StdinClosed
from netdaemon.testing import FakeChild, MemoryDaemon
from netdaemon.wire.answers import Status
from netdaemon.wire.records import State
from tests.client.test_spawn import Recorder as ToldProtocol
from tests.support import LONG

Step = tuple[Any, ...]

# How much of what is under way still comes through: nothing, part of a head, part of a message, some messages, all.
THROUGH = st.sampled_from([0, 0, 3, 7, 20, 60, 150, 400, 3000, 1 << 20])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lose"), THROUGH, THROUGH, st.booleans()),
        st.tuples(st.just("lose"), THROUGH, THROUGH, st.just(False)),
        st.tuples(st.just("say"), st.sampled_from([1, 2]), st.integers(1, 3000)),
        # Right after it, too: what is under way is what matters.
        st.tuples(
            st.just("write"),
            st.sampled_from([1, 10, 1000, 70_000, 300_000]),
            st.none() | st.tuples(st.just("lose"), THROUGH, THROUGH, st.just(False)),
        ),
        st.tuples(st.just("read")),
        st.tuples(st.just("pause")),
        st.tuples(st.just("resume")),
        st.tuples(st.just("turn")),
        st.tuples(st.just("settle")),
        st.tuples(st.just("advance"), st.sampled_from([0.001, 0.03, 0.2, 2.0])),
        st.tuples(st.just("close"), st.sampled_from([1, 2])),
        st.tuples(st.just("end input")),
        st.tuples(st.just("exit")),
    ),
    max_size=40,
)


class Told(Listener):
    """What came, and that it came in order."""

    def __init__(self) -> None:
        self.output = {1: b"", 2: b""}
        self.offset = 0
        self.ends: list[int] = []
        self.statuses: list[Status] = []
        self.over: list[Any] = []

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        assert offset == self.offset
        assert channel not in self.ends
        self.offset += len(data)
        self.output[channel] += data

    def on_gap(self, from_: int, to: int) -> None:
        raise AssertionError("all was kept")

    def on_eof(self, channel: int) -> None:
        self.ends.append(channel)

    def on_status(self, status: Status) -> None:
        self.statuses.append(status)

    def on_lost(self, error: ConnectionClosed) -> None:
        self.over.append(error)


class Play:
    """A daemon, the child that it runs, and what both sides have said; the client's side is the test's."""

    def __init__(self) -> None:
        self.daemon = MemoryDaemon()
        self.said = {1: b"", 2: b""}
        self.heard = b""
        self.written: list[bytes] = []
        self.closed: set[int] = set()
        self.exited = False

    @property
    def child(self) -> FakeChild | None:
        return self.daemon.children[0] if self.daemon.children else None

    def step(self, step: Step) -> None:
        """What the daemon, the child and time do."""
        kind, child = step[0], self.child
        if kind == "lose":
            self.daemon.listening = not step[3]
            self.daemon.drop_connections(to_daemon=step[1], to_client=step[2])
        elif kind == "turn":
            self.daemon.reactor.turn()
        elif kind == "settle":
            self.daemon.settle()
        elif kind == "advance":
            self.daemon.listening = True
            self.daemon.reactor.advance(step[1])
        elif child is None or self.exited:
            pass
        elif kind == "say" and step[1] not in self.closed:
            data = bytes([33 + len(self.said[step[1]]) % 90]) * step[2]
            with contextlib.suppress(BlockingIOError):
                self.said[step[1]] += data[: child.write(data, step[1])]
        elif kind == "read":
            self.read()
        elif kind == "close" and step[1] not in self.closed:
            self.closed.add(step[1])
            child.close(step[1])
        elif kind == "exit":
            self.exited = True
            child.exit(5)

    def read(self) -> None:
        assert self.child is not None
        with contextlib.suppress(BlockingIOError):
            while data := self.child.read():
                self.heard += data

    def next_input(self, size: int) -> bytes:
        data = bytes([1 + len(self.written) % 250]) * size
        self.written.append(data)
        return data

    def finish(self) -> None:
        """All that is left."""
        self.daemon.listening = True
        for _ in range(40):
            self.daemon.reactor.advance(0.5)
            self.daemon.settle()
            if not self.exited:
                self.read()

    def stop(self) -> None:
        self.finish()
        if not self.exited:
            self.step(("exit",))
        self.finish()


def outcomes(deferreds: list[Deferred[Any]]) -> list[Any]:
    found: list[Any] = []
    for one in deferreds:
        assert one.called
        one.addBoth(found.append)
    return [one.value if isinstance(one, Failure) else one for one in found]


@settings(max_examples=3000 if LONG else 150, deadline=None)
@given(steps=STEPS, sole=st.booleans())
def test_a_process_across_losses(steps: list[Step], sole: bool) -> None:
    play, told = Play(), Told()
    client = play.daemon.connect_now()
    starting, processes = client.start(["/srv/game"], sole_writer=sole, hold=-1), []
    writes: list[Deferred[Any]] = []
    others: list[Deferred[Any]] = []
    closing: list[Deferred[Any]] = []

    def started(process: RemoteProcess) -> None:
        process.listen(told)
        processes.append(process)
        others.append(process.when_exited())

    starting.addCallback(started)
    for step in steps:
        play.step(step)
        if not processes:
            continue
        (process,) = processes
        if step[0] == "write" and not closing:
            writes.append(process.write(play.next_input(step[1])))
            play.step(step[2] or ("turn",))
        elif step[0] == "pause":
            process.pause()
        elif step[0] == "resume":
            process.resume()
        elif step[0] == "end input":
            closing.append(process.close_stdin())
    play.finish()
    (process,) = processes
    process.resume()
    closing.append(process.close_stdin())
    exited_before_all = play.exited
    play.stop()
    others.append(client.wait(process))
    play.daemon.settle()

    assert told.output == play.said
    assert sorted(told.ends) == [0, 1, 2]
    assert [(one.state, one.code) for one in told.statuses] == [(State.EXITED, 5)]
    assert told.over == []
    assert [one.code for one in outcomes(others)] == [5, 5]
    ends, closed = outcomes(writes), outcomes(closing)
    heard = play.heard
    if exited_before_all:
        assert all(isinstance(one, int | AlreadyExited | StdinClosed | ConnectionClosed) for one in ends)
        if sole:
            assert b"".join(play.written).startswith(heard)
    else:
        assert not any(closed)
        for data, end in zip(play.written, ends, strict=True):
            if isinstance(end, int):
                assert heard.startswith(data)
                heard = heard[len(data) :]
            else:
                # What is not known: all of it may have come, or a part, or nothing.
                assert isinstance(end, ConnectionClosed)
                assert not sole
                came = len(heard) - len(heard.lstrip(data[:1]))
                assert came <= len(data)
                heard = heard[came:]
        assert heard == b""
    assert process.unsafe == 0 or exited_before_all
    play.daemon.stop()
    assert play.daemon.reactor.getDelayedCalls() == []


@settings(max_examples=2000 if LONG else 100, deadline=None)
@given(steps=STEPS)
def test_a_protocol_across_losses(steps: list[Step]) -> None:
    """It is told as if there were no connection."""
    play, protocol = Play(), ToldProtocol()
    client = play.daemon.connect_now()
    transport = client.spawnProcess(protocol, "/srv/game")
    ended = False
    for step in steps:
        play.step(step)
        if step[0] == "write" and not ended:
            transport.write(play.next_input(step[1]))
            play.step(step[2] or ("turn",))
        elif step[0] == "pause":
            transport.pauseProducing()
        elif step[0] == "resume":
            transport.resumeProducing()
        elif step[0] == "end input":
            ended = True
            transport.closeStdin()
    play.finish()
    transport.resumeProducing()
    transport.closeStdin()
    exited_before_all = play.exited
    play.stop()

    told = protocol.told
    assert told[0] == "made"
    assert told[-1] == "ended"
    assert protocol.reason.exitCode == 5
    assert [told.count(what) for what in ("made", "exited", "ended", 0, 1, 2)] == [1] * 6
    for channel in (1, 2):
        assert (
            b"".join(one[1] for one in told if one and type(one) is tuple and one[0] == channel) == play.said[channel]
        )
    written = b"".join(play.written)
    assert written.startswith(play.heard)
    assert exited_before_all or play.heard == written
    assert play.daemon.settle(client.list()) == []
    play.daemon.stop()
    assert play.daemon.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("position", range(0, 400, 1 if LONG else 13))
def test_a_conversation_cut_at_every_place(position: int) -> None:
    """Whatever of the requests has arrived, and whatever of the answers."""
    for to_daemon, to_client in ((position, 0), (1 << 20, position)):
        play, protocol = Play(), ToldProtocol()
        client = play.daemon.connect_now()
        transport = client.spawnProcess(protocol, "/bin/cat", ["cat"])
        transport.write(b"early")
        for _ in range(3):
            play.daemon.drop_connections(to_daemon=to_daemon, to_client=to_client)
            play.daemon.reactor.advance(0.1)
            play.daemon.reactor.turn()
            transport.write(b"more")
        transport.closeStdin()
        play.finish()
        assert play.heard == b"earlymoremoremore"
        assert len(play.daemon.children) == 1
        play.stop()
        assert protocol.told[-1] == "ended"
        play.daemon.stop()
