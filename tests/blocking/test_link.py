"""The conversation on a plain socket: time and loss, poll loops, version 1."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.blocking import Client
from netdaemon.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConversationAborted,
    Refusal,
    RemoteProtocolError,
    TimedOut,
)
from netdaemon.wire.answers import Event, Listing, OfProcess, Ok, Output, Taken
from netdaemon.wire.commands import Attach, Data, Detach, Info, Inspect, Kill, List, Request, Start
from netdaemon.wire.server import ServerConnection
from tests.blocking.support import EXITED, RECORD, Answer, Child, FakeDaemon, attached, fake

# --- time and loss ---


def test_a_call_gives_up_after_its_timeout() -> None:
    with fake(lambda request: None, timeout=0.1) as (client, _):
        began = time.monotonic()
        with pytest.raises(TimedOut, match="INFO"):
            client.info()
        with pytest.raises(TimedOut):
            client.wait("x", timeout=0.05)
        assert time.monotonic() - began < 5


def test_an_event_does_not_come_in_time() -> None:
    with fake(lambda request: attached()) as (client, _):
        remote = client.start(["x"])
        with pytest.raises(TimedOut):
            remote.next_event(0.05)
        with pytest.raises(TimedOut):
            remote.wait(0.05)
        with pytest.raises(TimedOut):
            next(iter(remote.events(timeout=0.05)))


def test_an_attachment_that_comes_too_late_is_let_go() -> None:
    release = threading.Event()

    def answer(request: Request) -> Answer:
        if isinstance(request, Start):
            release.wait(10)
            return attached()
        return Ok()

    with fake(answer) as (client, daemon):
        with pytest.raises(TimedOut):
            client.start(["x"], timeout=0.05)
        release.set()
        client.kill("x", 1)
        client.kill("x", 1)
    assert len(daemon.asked(Detach)) == 1


def test_a_lost_connection_fails_what_waits_and_all_that_follows() -> None:
    class Leaves(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            super().serve(id, request)
            if isinstance(request, Info):
                self._socket.shutdown(socket.SHUT_RDWR)

    ours, theirs = socket.socketpair()
    daemon = Leaves(
        theirs,
        lambda request: attached() if isinstance(request, Attach) else None,
        lambda request: [Output(channel=1, payload=b"before")] if isinstance(request, Attach) else [],
    )
    daemon.start()
    with Client(ours, timeout=10) as client:
        remote = client.attach("x")
        with pytest.raises(ConnectionClosed):
            client.info()
        assert client.fileno() == -1
        with pytest.raises(ConnectionClosed):
            client.list()
        # What has been received is not lost with it.
        event = remote.next_event()
        assert isinstance(event, Output)
        assert event.payload == b"before"
        with pytest.raises(ConnectionClosed):
            remote.next_event()
        with pytest.raises(ConnectionClosed):
            remote.write(b"x")
    daemon.join(10)


def test_an_abort_is_raised_with_what_it_says() -> None:
    class Aborts(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            super().serve(id, request)
            if isinstance(request, Info):
                self.send(self.connection.abort(errno.EACCES, "you may not"))

    ours, theirs = socket.socketpair()
    daemon = Aborts(theirs, lambda request: None)
    daemon.start()
    with Client(ours, timeout=10) as client, pytest.raises(ConversationAborted, match="you may not") as raised:
        client.info()
    assert raised.value.errno == errno.EACCES
    daemon.join(10)


def test_an_abort_is_told_although_sending_fails() -> None:
    """A daemon that refuses at once has closed its side before HELLO is sent."""
    ours, theirs = socket.socketpair()
    theirs.sendall(ServerConnection().abort(errno.EACCES, "not for you"))
    theirs.close()
    with pytest.raises(ConversationAborted, match="not for you"):
        Client(ours, timeout=5)
    ours.close()


def test_garbage_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(RemoteProtocolError):
        Client(ours, timeout=5)
    theirs.close()


def test_a_daemon_that_says_nothing_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with theirs, ours, pytest.raises(TimedOut, match="HELLO"):
        Client(ours, timeout=0.05)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match=r"nowhere.*is the daemon running"):
        blocking.connect(str(tmp_path / "nowhere"))
    with pytest.raises(ConnectFailed, match="too long"):
        blocking.connect("/" + "x" * 200)


# --- poll loops ---


def test_a_poll_loop_moves_both_ways_without_waiting_for_either() -> None:
    """As ndtool does it: all of what is written comes back, with a child that stops reading while it is not read."""
    child = Child(window=100_000)
    data = os.urandom(2 << 20)
    got = bytearray()

    def after(request: Request) -> list[Event]:
        fresh = bytes(child.taken[len(echoed) :])
        echoed.extend(fresh)
        child.read(len(fresh))
        return [Output(channel=1, payload=fresh)] if fresh else []

    echoed = bytearray()
    with fake(child.answer, after) as (client, _):
        remote = client.start(["cat"])
        poll = select.poll()
        offset = 0
        while len(got) < len(data):
            offset += remote.stdin.put(memoryview(data)[offset : offset + 10_000])
            poll.register(client.fileno(), client.wanted)
            due = client.due
            ready = poll.poll(5000 if due is None else due * 1000)
            client.work(ready[0][1] if ready else 0)
            while (event := remote.take()) is not None:
                assert isinstance(event, Output)
                got += event.payload
    assert got == data


def test_submitted_requests_are_answered_in_their_own_time() -> None:
    with fake(lambda request: OfProcess(process=RECORD)) as (client, _):
        heard: list[object] = []
        pending = [client.submit(Inspect(process=str(number)), heard.append) for number in range(50)]
        assert client.wait_for(pending[-1]) == OfProcess(process=RECORD)
        assert all(one.answer is not None for one in pending)
        assert len(heard) == 50
        client.close()
        late = client.submit(Info(), heard.append)
        assert isinstance(late.answer, ConnectionClosed)
        assert heard[-1] is late.answer


# --- version 1 ---


@pytest.mark.parametrize("packets", [False, True])
def test_version_1(packets: bool) -> None:
    """What the 2009 protocol can say goes; what it cannot is refused here."""
    echoed: list[bytes] = []

    def after(request: Request) -> list[Event]:
        if isinstance(request, Data) and request.payload:
            echoed.append(request.payload)
            return [Output(channel=1, payload=request.payload)]
        return [EXITED] if isinstance(request, Kill) else []

    def answer(request: Request) -> Answer:
        if isinstance(request, Start):
            return attached()
        if isinstance(request, Data):
            return Taken(accepted=len(request.payload), end=0)
        return Listing(processes=(RECORD,)) if isinstance(request, List) else Ok()

    data = os.urandom(200_000)
    with fake(answer, after, version=1, packets=packets) as (client, _):
        assert client.version == 1
        assert [one.id for one in client.list()] == ["bcdf"]
        remote = client.start(["cat"])
        assert remote.write(data) == len(data)
        remote.close_stdin()
        got = b""
        while len(got) < len(data):
            event = remote.next_event(5)
            assert isinstance(event, Output)
            got += event.payload
        assert got == data
        remote.kill(15)
        assert remote.wait().code == 0
        with pytest.raises(Exception, match="version 1"):
            client.info()
