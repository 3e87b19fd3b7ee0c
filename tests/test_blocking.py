"""The client on a plain socket, against a daemon of a few lines that the test plays with."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.blocking import Client, RemoteProcess, process
from netdaemon.errors import (
    AlreadyExited,
    BadRequest,
    ConnectFailed,
    ConnectionClosed,
    ConversationAborted,
    Denied,
    LaunchFailed,
    NameTaken,
    NoSuchProcess,
    Refusal,
    RemoteProtocolError,
    StdinClosed,
    StdinFull,
    StdinHole,
    TimedOut,
)
from netdaemon.wire.answers import (
    Attached,
    DaemonInfo,
    End,
    Event,
    Failure,
    Gap,
    Listing,
    OfProcess,
    Ok,
    Output,
    Reply,
    Started,
    Status,
    Taken,
    Welcome,
)
from netdaemon.wire.commands import (
    Attach,
    Data,
    Detach,
    Flow,
    Hello,
    Info,
    Inspect,
    Kill,
    List,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Wait,
)
from netdaemon.wire.records import Fate, ProcessRecord, Pty, Reason, Scope, State, Until
from netdaemon.wire.server import ServerConnection
from tests.cli.support import Daemon

WINDOW = 256 * 1024

RECORD = ProcessRecord(id="bcdf", argv=("cat",), state=State.RUNNING, pid=7)
EXITED = Status(state=State.EXITED, code=0, end=0)

Answer = Reply | Refusal | None


class FakeDaemon(threading.Thread):
    """Serves one client on a socket pair's other end, by the functions that the test gives it.

    :param answer: the reply to each request; None for none.
    :param after: events to send when the reply to a request is out.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[Request], Answer],
        after: Callable[[Request], list[Event]] = lambda request: [],
        *,
        packets: bool = False,
        version: int = 2,
    ) -> None:
        super().__init__(daemon=True)
        self.connection = ServerConnection(packets=packets)
        self.requests: list[Request] = []
        self.attachment = 0
        self.error: BaseException | None = None
        self._socket = sock
        self._answer = answer
        self._after = after
        self._version = version

    def run(self) -> None:
        try:
            while octets := self._socket.recv(65536):
                self.connection.receive(octets)
                while (received := self.connection.next_request()) is not None:
                    self.serve(*received)
        except OSError:
            # The client has gone, in the middle of something.
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._socket.close()

    def serve(self, id: int, request: Request | Refusal) -> None:
        if isinstance(request, Hello):
            self.send(self.connection.welcome(id, Welcome(server="fake/1", instance="i", window=WINDOW)))
            return
        if isinstance(request, Refusal):
            self.send(self.connection.reply(id, Failure.of(request)))
            return
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Refusal):
            answer = Failure.of(answer)
        if answer is not None:
            self.send(self.connection.reply(id, answer))
        if isinstance(answer, Attached):
            self.attachment = id
        for event in self._after(request):
            self.send(self.connection.event(self.attachment, event))

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def asked(self, declaration: type[Request]) -> list[Request]:
        return [request for request in self.requests if type(request) is declaration]


@contextmanager
def fake(
    answer: Callable[[Request], Answer],
    after: Callable[[Request], list[Event]] = lambda request: [],
    *,
    timeout: float = 10.0,
    version: int = 2,
    packets: bool = False,
) -> Iterator[tuple[Client, FakeDaemon]]:
    """A client that talks to a fake daemon."""
    kind = socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    daemon = FakeDaemon(theirs, answer, after, packets=packets)
    daemon.start()
    client = Client(ours, timeout=timeout, version=version, packets=packets)
    try:
        yield client, daemon
    finally:
        client.close()
        daemon.join(10)
        assert not daemon.is_alive()
    assert daemon.error is None


def attached(**fields: object) -> Attached:
    return Attached(process=RECORD, **fields)  # type: ignore[arg-type]


# --- the verbs ---


def test_each_verb_sends_its_request_and_returns_what_the_reply_has() -> None:
    answers: dict[type[Request], Reply] = {
        Start: Started(process=RECORD),
        List: Listing(processes=(RECORD,)),
        Inspect: OfProcess(process=RECORD),
        Wait: OfProcess(process=RECORD),
        Info: DaemonInfo(version="1", instance="i", pid=1),
    }
    with fake(lambda request: answers.get(type(request), Ok())) as (client, daemon):
        assert client.welcome.server == "fake/1"
        options = {"name": "n", "env": {"A": "b=c"}, "labels": {"k": "v"}, "cwd": "/", "keep": 4096}
        assert client.start_detached(["cat", "-u"], **options) == RECORD  # type: ignore[arg-type]
        assert client.list("state=running") == [RECORD]
        assert client.inspect("n") == RECORD
        assert client.wait("n", Until.ENDED) == RECORD
        assert client.info().pid == 1
        client.kill("n", 15, scope=Scope.TREE, generation=3)
        client.remove("n", generation=2)
        client.shutdown(Fate.STOP)
    assert daemon.requests == [
        Start(argv=("cat", "-u"), name="n", env=("A=b=c",), labels=("k=v",), cwd="/", keep=4096),
        List(select=("state=running",)),
        Inspect(process="n"),
        Wait(process="n", for_=Until.ENDED),
        Info(),
        Kill(process="n", signal=15, scope=Scope.TREE, generation=3),
        Remove(process="n", generation=2),
        Shutdown(processes=Fate.STOP),
    ]


def test_pages_of_a_list_are_put_together() -> None:
    pages = {
        None: Listing(processes=(RECORD,), after="x"),
        "x": Listing(processes=(RECORD, RECORD), after="y"),
        "y": Listing(),
    }
    with fake(lambda request: pages[request.after]) as (client, _):  # type: ignore[attr-defined]
        assert client.list() == [RECORD] * 3


def test_what_is_done_to_an_attachment() -> None:
    answers: dict[type[Request], Reply] = {Attach: attached(offset=5, begin=1, end=9)}

    def after(request: Request) -> list[Event]:
        return [End(reason=Reason.DETACHED)] if isinstance(request, Detach) else []

    with fake(lambda request: answers.get(type(request), Ok()), after) as (client, daemon):
        remote = client.attach("n", from_=-4, channels=[1], hold=5, read_only=True)
        assert (remote.id, remote.attached.offset, remote.attached.begin, remote.attached.end) == ("bcdf", 5, 1, 9)
        remote.kill(9, scope=Scope.PROCESS)
        remote.resize(10, 20)
        remote.flow(True)
        remote.flow(False)
        remote.detach()
        assert list(remote) == [End(reason=Reason.DETACHED)]
        to = remote.attachment
    assert daemon.requests == [
        Attach(process="n", from_=-4, channels=(1,), hold=5, read_only=True),
        Kill(to=to, signal=9, scope=Scope.PROCESS),
        Resize(to=to, rows=10, columns=20),
        Flow(to=to, paused=True),
        Flow(to=to, paused=False),
        Detach(to=to),
    ]


def test_leaving_the_context_detaches() -> None:
    with (
        fake(lambda request: attached() if isinstance(request, Start) else Ok()) as (client, daemon),
        client.start(["cat"]),
    ):
        assert not daemon.asked(Detach)
    assert len(daemon.asked(Detach)) == 1


@pytest.mark.parametrize("refusal", [NoSuchProcess("no", process="x"), Denied("no"), NameTaken("taken", field="name")])
def test_a_refusal_is_raised_by_its_class_with_its_details(refusal: Refusal) -> None:
    with fake(lambda request: refusal) as (client, _):
        with pytest.raises(type(refusal)) as raised:
            client.inspect("x")
        assert (raised.value.process, raised.value.field) == (refusal.process, refusal.field)
        with pytest.raises(type(refusal)):
            client.attach("x")
        # The conversation goes on.
        with pytest.raises(type(refusal)):
            client.info()


def test_what_cannot_be_said_is_refused_here() -> None:
    with fake(lambda request: Ok()) as (client, daemon):
        with pytest.raises(BadRequest, match="argv is empty"):
            client.start([])
        with pytest.raises(BadRequest, match="name"):
            client.start_detached(["x"], name="no spaces")
    assert daemon.requests == []


# --- events ---


def test_events_go_to_their_attachment_while_requests_are_answered() -> None:
    """Two attachments on one connection, whose events come between replies."""
    ids: list[int] = []

    class Both(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            super().serve(id, request)
            if isinstance(request, Attach):
                ids.append(id)
            if isinstance(request, Info):
                for number, one in enumerate(ids):
                    self.send(self.connection.event(one, Output(channel=1, offset=0, payload=b"%d" % number)))
                    self.send(self.connection.event(one, Gap(from_=1, to=5)))

    ours, theirs = socket.socketpair()
    daemon = Both(theirs, lambda r: attached() if isinstance(r, Attach) else DaemonInfo(version="", instance="", pid=1))
    daemon.start()
    with Client(ours, timeout=10) as client:
        one, two = client.attach("one"), client.attach("two")
        client.info()
        client.info()
        for number, remote in enumerate((one, two)):
            for _ in range(2):
                event = remote.next_event(5)
                assert isinstance(event, Output)
                assert event.payload == b"%d" % number
                assert remote.next_event(5) == Gap(from_=1, to=5)
            assert remote.take() is None
    daemon.join(10)
    assert daemon.error is None


def test_it_is_over_when_it_has_exited_and_its_outputs_are_closed() -> None:
    events = [
        Output(channel=1, payload=b"out"),
        Output(channel=0),
        Output(channel=2, offset=3, payload=b"err"),
        Output(channel=2, offset=6),
        Status(state=State.EXITED, code=3, end=6),
        Output(channel=1, offset=6, payload=b"late"),
        Output(channel=1, offset=10),
    ]
    with fake(lambda request: attached(), lambda request: list(events)) as (client, _):
        remote = client.start(["x"])
        assert list(remote) == events
        assert remote.next_event() is None
        assert remote.status == events[4]
        remote = client.start(["x"])
        assert list(remote.events(Until.EXITED)) == events[:5]
        assert client.start(["x"]).read() == (b"outlate", b"err")
        assert client.start(["x"]).wait() == events[4]


@pytest.mark.parametrize("record", [{"pty": Pty()}, {"merge": True}])
def test_a_single_output_is_over_when_it_is_closed(record: dict[str, object]) -> None:
    fields: dict[str, object] = {"id": "x", "argv": ("x",), "state": State.RUNNING, **record}
    reply = Attached(process=ProcessRecord(**fields))  # type: ignore[arg-type]
    with fake(lambda request: reply, lambda request: [EXITED, Output(channel=1)]) as (client, _):
        assert list(client.start(["x"])) == [EXITED, Output(channel=1)]


def test_an_attachment_that_is_ended_is_over() -> None:
    with fake(lambda request: attached(), lambda request: [End(reason=Reason.REMOVED)]) as (client, _):
        remote = client.start(["x"])
        assert list(remote) == [End(reason=Reason.REMOVED)]
        with pytest.raises(ConnectionClosed, match="removed"):
            client.start(["x"]).wait()


def test_what_nobody_takes_is_bounded_by_asking_for_a_pause() -> None:
    """The queue of an attachment grows to its limit and a little; then FLOW goes out, and again when it is taken."""
    piece = bytes(64 * 1024)
    state = {"paused": False, "sent": 0}

    def after(request: Request) -> list[Event]:
        if isinstance(request, Flow):
            state["paused"] = request.paused
        if state["paused"] or isinstance(request, Attach):
            return []
        state["sent"] += 1
        return [Output(channel=1, offset=0, payload=piece)]

    answers: dict[type[Request], Reply] = {Attach: attached(), Info: DaemonInfo(version="", instance="", pid=1)}
    with fake(lambda request: answers.get(type(request), Ok()), after) as (client, daemon):
        remote = client.attach("x")
        for _ in range(100):
            client.info()
        assert state["sent"] < 20
        assert daemon.asked(Flow) == [Flow(to=remote.attachment, paused=True)]
        for _ in range(state["sent"]):
            assert remote.take() is not None
        client.info()
        assert daemon.asked(Flow)[1:] == [Flow(to=remote.attachment, paused=False)]
    assert state["sent"] * len(piece) < process.QUEUE_MOST + 6 * len(piece)


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


# --- stdin ---


class Child:
    """The input side of a process, with the daemon's rules: a window, offsets, holes."""

    def __init__(self, *, window: int = WINDOW, stdin_end: int = 0) -> None:
        self.window = window
        self.taken = bytearray(stdin_end)
        self.waiting = 0
        self.closed = False
        self.refused = 0

    def answer(self, request: Request) -> Answer:
        if isinstance(request, Start | Attach):
            return attached(stdin_end=len(self.taken))
        if not isinstance(request, Data):
            return Ok()
        end = len(self.taken)
        payload = request.payload
        if request.at is not None:
            if request.at > end:
                self.refused += 1
                return StdinHole("hole", accepted=0, end=end)
            payload = payload[end - request.at :]
        if not request.payload:
            self.closed = True
            return Taken(accepted=0, end=end)
        if self.closed:
            return StdinClosed("closed", accepted=0, end=end)
        fresh = payload[: self.window - self.waiting]
        if not fresh:
            self.refused += 1
            return StdinFull("full", accepted=0, end=end)
        self.taken += fresh
        self.waiting += len(fresh)
        return Taken(accepted=len(request.payload) - len(payload) + len(fresh), end=end + len(fresh))

    def read(self, count: int) -> None:
        """The program reads."""
        self.waiting -= min(count, self.waiting)


class Reader(threading.Thread):
    """Reads a child's input, a piece at a time."""

    def __init__(self, child: Child, piece: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._child, self._piece, self._pause = child, piece, pause
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(self._pause):
            self._child.read(self._piece)


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
        assert remote.stdin._under_way == 4
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


# --- a real daemon ---


@pytest.fixture(scope="module")
def real() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        running = Daemon(Path(directory))
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def client(real: Daemon) -> Iterator[Client]:
    with real.client() as connected:
        yield connected


def test_a_process_from_start_to_removal(client: Client) -> None:
    remote = client.start(["sh", "-c", 'read line; echo "$line $A"; echo err >&2; exit 3'], env={"A": "b"}, name="job")
    assert client.inspect("job").id == remote.id
    assert remote.write(b"hello\n") == 6
    assert remote.read() == (b"hello b\n", b"err\n")
    assert client.wait("job", timeout=30).code == 3
    with client.attach("job") as again:
        assert again.read() == (b"hello b\n", b"err\n")
        assert again.wait().code == 3
    with pytest.raises(NameTaken):
        client.start_detached(["true"], name="job")
    client.remove("job")
    with pytest.raises(NoSuchProcess):
        client.inspect("job")


def test_a_launch_that_fails_says_where_and_why(client: Client) -> None:
    with pytest.raises(LaunchFailed) as raised:
        client.start(["/no/such/program"])
    assert (raised.value.stage, raised.value.errno) == ("exec", errno.ENOENT)


def test_many_attachments_on_one_connection(client: Client) -> None:
    """Each gets its own bytes, whatever the order in which they are asked for."""
    remotes = [client.start(["sh", "-c", f"cat; seq {number} 20000"], hold=-1) for number in range(8)]
    for number, remote in enumerate(remotes):
        remote.write(b"%d\n" % number * 1000)
        remote.close_stdin()
    for number, remote in reversed(list(enumerate(remotes))):
        out, _ = remote.read()
        assert out == b"%d\n" % number * 1000 + b"".join(b"%d\n" % line for line in range(number, 20001))
        client.remove(remote.id)


def test_what_a_reader_that_holds_does_not_take_is_not_lost(client: Client) -> None:
    """More than is kept, than the queue holds and than the socket: the process waits."""
    remote = client.start(["head", "-c", "20000000", "/dev/zero"], hold=-1)
    time.sleep(0.5)
    client.info()
    total = 0
    for event in remote.events(Until.EXITED):
        assert not isinstance(event, Gap)
        if isinstance(event, Output):
            total += len(event.payload)
    assert total == 20_000_000
    client.remove(remote.id)


def test_what_a_reader_that_drops_does_not_take_is_told(client: Client) -> None:
    remote = client.start(["head", "-c", "20000000", "/dev/zero"], hold=0)
    remote.flow(True)
    client.wait(remote.id, timeout=30)
    remote.flow(False)
    received = gaps = 0
    for event in remote:
        if isinstance(event, Output):
            received += len(event.payload)
        elif isinstance(event, Gap):
            gaps += event.to - event.from_
    assert gaps
    assert received + gaps == 20_000_000
    client.remove(remote.id)


def test_a_terminal(client: Client) -> None:
    script = "trap 'stty size; exit 5' WINCH; stty size; while :; do sleep 0.05; done"
    remote = client.start(["bash", "-c", script], env={"PATH": os.environ["PATH"]}, pty=Pty(rows=10, columns=20))
    event = remote.next_event(30)
    assert isinstance(event, Output)
    assert event.payload == b"10 20\r\n"
    remote.resize(30, 40)
    assert remote.read() == (b"30 40\r\n", b"")
    assert remote.wait(30).code == 5
    client.remove(remote.id)


@pytest.mark.parametrize("packets", [False, True])
def test_version_1_with_a_real_daemon(real: Daemon, packets: bool) -> None:
    path = real.packets if packets else real.socket
    data = os.urandom(1_000_000)
    with blocking.connect(path, version=1, packets=packets) as old:
        remote = old.start(["/bin/cat"])
        got = bytearray()
        offset = 0
        deadline = time.monotonic() + 60
        while len(got) < len(data):
            assert time.monotonic() < deadline
            offset += remote.stdin.put(memoryview(data)[offset : offset + 65536])
            old.pump(1)
            while (event := remote.take()) is not None:
                assert isinstance(event, Output)
                got += event.payload
        assert got == data
        remote.close_stdin()
        assert remote.wait(30).code == 0


def pump_for_ever(client: Client) -> None:
    while True:
        client.pump(30)


def test_the_end_of_the_daemon_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        daemon = Daemon(Path(directory))
        try:
            with daemon.client() as client:
                remote = client.start(["sleep", "100"])
                client.shutdown(Fate.STOP)
                with pytest.raises(ConnectionClosed):
                    pump_for_ever(client)
                events = []
                while (event := remote.take()) is not None:
                    events.append(event)
            assert events[-1] == End(reason=Reason.SHUTDOWN)
            assert daemon.process.wait(30) == 0
        finally:
            daemon.stop()


# --- as a whole ---


def test_no_twisted_is_loaded() -> None:
    program = "import sys, netdaemon.blocking; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "netdaemon" in loaded
    assert not loaded & {"twisted", "zope", "click"}


def test_what_is_exported() -> None:
    assert RemoteProcess is process.RemoteProcess
    assert {"Client", "connect", "RemoteProcess"} <= set(blocking.__all__)


def test_what_there_is_not_is_a_type_error() -> None:
    """Before anything is sent: an option that is misspelt, an argv that is a string, an environment that is none."""
    from netdaemon.blocking.client import _start

    for options in ({"nmae": "x"}, {"env": {"A": 1}}):
        with pytest.raises(TypeError):
            _start(["/bin/true"], options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="list"):
        _start("/bin/true", {})
