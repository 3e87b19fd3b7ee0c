"""Input by the client on a plain socket: whole and in order, whatever the window."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from netdaemon.blocking import Client
from netdaemon.blocking.stdin import CHUNK_FIRST
from netdaemon.errors import AlreadyExited, Denied, Refusal, RemoteProtocolError, StdinClosed, StdinHole, TimedOut
from netdaemon.wire.answers import Output, Taken
from netdaemon.wire.commands import Data, Request, Start
from tests.blocking.support import WINDOW, Answer, Child, FakeDaemon, Reader, attached, fake


@pytest.mark.parametrize("sole", [True, False])
@pytest.mark.parametrize(
    ("window", "piece", "size"),
    [(WINDOW, 1 << 20, 3 << 20), (WINDOW, 50_000, 1 << 20), (70_000, 9_001, 400_000), (7, 3, 500)],
)
def test_input_arrives_whole_and_in_order(sole: bool, window: int, piece: int, size: int) -> None:
    """Whatever the daemon accepts of it at a time."""
    child = Child(window=window, stdin_end=11)
    data = os.urandom(size)
    reader = Reader(child, piece, 0.0005)
    with fake(child.answer) as (client, daemon):
        reader.start()
        remote = client.start(["cat"]) if sole else client.attach("cat")
        assert remote.write(data, timeout=60) == 11 + size
        remote.close_stdin()
        assert remote.stdin.idle
        assert remote.stdin.closed
        reader.stop.set()
        reader.join(10)
    assert child.taken[11:] == data
    assert child.closed
    assert all((request.at is not None) == sole for request in daemon.asked(Data))  # type: ignore[attr-defined]


def test_several_pieces_are_under_way_at_once_and_not_more_than_the_window() -> None:
    """A sole writer does not wait for each answer."""
    hold = threading.Event()
    child = Child(window=1 << 30)

    def answer(request: Request) -> Answer:
        if isinstance(request, Data):
            hold.wait(10)
        return child.answer(request)

    with fake(answer) as (client, _):
        remote = client.start(["cat"])
        assert remote.stdin.put(bytes(1 << 20)) == WINDOW
        for _ in range(20):
            client.pump(0.01)
        assert remote.stdin._under_way == WINDOW // CHUNK_FIRST > 1
        assert remote.stdin.room == 0
        assert client.due is None
        hold.set()
        while not remote.stdin.idle:
            client.pump(1)
    assert len(child.taken) == WINDOW


def test_a_full_window_is_tried_again_after_a_while_not_at_once() -> None:
    child = Child(window=1000)
    with fake(child.answer) as (client, daemon):
        remote = client.start(["sleep"])
        with pytest.raises(TimedOut):
            remote.write(bytes(3000), timeout=0.5)
        assert remote.stdin.accepted == 1000
        with pytest.raises(TimedOut):
            remote.write(b"more")
    assert 1 < child.refused < 40
    assert len(daemon.asked(Data)) < 50


@pytest.mark.parametrize("error", [StdinClosed("closed"), AlreadyExited("exited"), Denied("read-only")])
def test_a_refusal_of_input_is_raised_in_the_writer(error: Refusal) -> None:
    with fake(lambda request: attached() if isinstance(request, Start) else error) as (client, _):
        remote = client.start(["x"])
        with pytest.raises(type(error)):
            remote.write(b"data")
        with pytest.raises(type(error)):
            remote.write(b"more")


def test_eof_to_what_reads_no_more_is_no_error() -> None:
    error = AlreadyExited("exited")
    with fake(lambda request: attached() if isinstance(request, Start) else error) as (client, _):
        remote = client.start(["x"])
        remote.close_stdin()
        remote.close_stdin()
        with pytest.raises(StdinClosed):
            remote.write(b"x")


def test_the_end_of_channel_0_ends_writing() -> None:
    """The process closed its input: nothing more is sent."""
    with fake(lambda request: attached(), lambda request: [Output(channel=0)]) as (client, daemon):
        remote = client.start(["x"])
        assert remote.next_event(5) == Output(channel=0)
        with pytest.raises(StdinClosed, match="is closed"):
            remote.write(b"x")
    assert not daemon.asked(Data)


def test_what_was_accepted_is_accepted_although_the_process_closes_its_input_at_once() -> None:
    """It has read what it waited for: the answer and the EOF come in one."""

    class AtOnce(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            if isinstance(request, Data):
                taken = self.connection.reply(id, Taken(accepted=len(request.payload), end=len(request.payload)))
                self.send(taken + self.connection.event(self.attachment, Output(channel=0)))
            else:
                super().serve(id, request)

    ours, theirs = socket.socketpair()
    daemon = AtOnce(theirs, lambda request: attached())
    daemon.start()
    with Client(ours, timeout=10) as client:
        remote = client.start(["head", "-1"])
        assert remote.write(b"line\n") == 5
        with pytest.raises(StdinClosed):
            remote.write(b"more\n")
    daemon.join(10)


def test_a_daemon_that_lost_input_it_had_accepted_is_found_out() -> None:
    answers = iter([Taken(accepted=10, end=10), StdinHole("hole", accepted=0, end=4)])
    with fake(lambda request: next(answers) if isinstance(request, Data) else attached()) as (client, _):
        remote = client.start(["x"])
        remote.write(bytes(10))
        with pytest.raises(RemoteProtocolError, match="4 bytes"):
            remote.write(bytes(10))
