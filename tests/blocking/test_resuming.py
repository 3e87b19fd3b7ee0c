"""The client comes back by itself: every rule, against daemons that the test plays with."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections.abc import Callable

import pytest

from netdaemon.blocking import Client, connect
from netdaemon.blocking.reconnecting import DELAY_MOST
from netdaemon.errors import (
    BadRequest,
    ConnectionClosed,
    ConversationAborted,
    Denied,
    NetdaemonError,
    NoSuchProcess,
    Refusal,
    RemoteProtocolError,
    ShuttingDown,
    SpecDiffers,
    StdinClosed,
    TimedOut,
)
from netdaemon.wire.answers import (
    Attached,
    DaemonInfo,
    End,
    Event,
    Gap,
    Listing,
    OfProcess,
    Ok,
    Output,
    Started,
    Status,
    Taken,
)
from netdaemon.wire.commands import (
    Attach,
    Data,
    Detach,
    Flow,
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
from netdaemon.wire.records import Fate, Pty, Reason, State
from netdaemon.wire.told import ProcessRecord
from tests.blocking.support import CUT, RECORD, Answer, FakeDaemon, FakeServer, attached, server, until

ANSWERS: dict[type[Request], Answer] = {
    Start: attached(),
    Attach: attached(),
    List: Listing(processes=(RECORD,)),
    Inspect: OfProcess(process=RECORD),
    Wait: OfProcess(process=RECORD),
    Info: DaemonInfo(version="1", instance="i", pid=1),
}


def usual(request: Request) -> Answer:
    return ANSWERS.get(type(request), Ok())


class CutOnce:
    """Cuts the first requests of these kinds, and answers as usual otherwise."""

    def __init__(self, *declarations: type[Request], times: int = 1) -> None:
        self.left = dict.fromkeys(declarations, times)

    def __call__(self, request: Request) -> Answer:
        if self.left.get(type(request), 0):
            self.left[type(request)] -= 1
            return CUT
        return usual(request)


# --- the connection ---


def test_it_connects_again_when_the_next_daemon_is_there() -> None:
    heard: list[str] = []
    with server(
        usual, on_disconnected=lambda reason: heard.append(str(reason)), on_reconnected=lambda: heard.append("back")
    ) as (client, fakes):
        client.info()
        assert client.connected
        fakes.die()
        until(client, lambda: not client.connected)
        assert client.lost is None
        assert client.fileno() == -1
        assert client.due is not None
        assert client.due <= DELAY_MOST
        time.sleep(0.1)
        client.pump(0.05)
        fakes.listen()
        assert client.info().pid == 1
        assert client.connected
        assert client.fileno() >= 0
        assert client.due is None
    assert heard == ["the daemon closed the connection", "back"]
    assert len(fakes.daemons) == 2


def test_a_daemon_that_drops_connections_during_hello_is_tried_again() -> None:
    class Drops(FakeDaemon):
        count = 0

        def serve(self, id: int, request: Request | Refusal) -> None:
            Drops.count += 1
            if Drops.count <= 3:
                raise ConnectionResetError
            super().serve(id, request)

    with server(usual) as (client, fakes):
        fakes.daemon = Drops
        fakes.daemons[0].cut()
        assert client.info().pid == 1
    assert len(fakes.daemons) == 5


def test_patience_comes_to_an_end_with_what_is_known() -> None:
    with server(usual, patience=0.3) as (client, fakes):
        remote = client.attach("x")
        fakes.die()
        began = time.monotonic()
        with pytest.raises(ConnectionClosed, match=r"closed the connection, and none has answered in the 0\.3 s since"):
            client.info()
        assert 0.25 < time.monotonic() - began < 5
        assert client.lost is not None
        assert client.due is None
        with pytest.raises(ConnectionClosed, match="none has answered"):
            remote.next_event()
        with pytest.raises(ConnectionClosed, match="none has answered"):
            remote.write(b"x")


def test_patience_ends_also_where_hello_is_not_answered() -> None:
    class Deaf(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            pass

    with server(usual, patience=0.3) as (client, fakes):
        fakes.daemon = Deaf
        fakes.daemons[0].cut()
        with pytest.raises(ConnectionClosed, match="none has answered"):
            client.info()


def test_a_call_gives_up_by_its_own_timeout_and_the_client_goes_on() -> None:
    with server(usual, patience=None) as (client, fakes):
        fakes.die()
        with pytest.raises(TimedOut, match="LIST"):
            client.list(timeout=0.1)
        with pytest.raises(TimedOut, match="KILL"):
            client.kill("x", timeout=0.1)
        fakes.listen()
        assert client.info().pid == 1
        # Nobody waits for those any more, so they are not sent at all.
        assert not fakes.asked(List)
        assert not fakes.asked(Kill)


def test_without_reconnecting_a_loss_is_for_good() -> None:
    with server(CutOnce(Info), reconnect=False) as (client, fakes):
        remote = client.start(["x"])
        with pytest.raises(ConnectionClosed, match=r"^the daemon closed the connection$"):
            client.info()
        assert client.lost is not None
        assert client.fileno() == -1
        with pytest.raises(ConnectionClosed):
            remote.next_event()
        assert fakes.asked(Start) == [Start(argv=("x",), attach=True)]
    assert len(fakes.daemons) == 1


def test_version_1_does_not_resume() -> None:
    with server(lambda request: CUT if isinstance(request, List) else usual(request), version=1) as (client, fakes):
        assert client.version == 1
        assert not client.resumes
        with pytest.raises(ConnectionClosed, match=r"^the daemon closed the connection$"):
            client.list()
        assert client.lost is not None
    assert len(fakes.daemons) == 1


def test_a_refusal_at_the_door_ends_it() -> None:
    class Refuses(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            self.send(self.connection.abort(errno.EACCES, "not for you"))
            raise ConnectionResetError

    with server(usual) as (client, fakes):
        fakes.daemon = Refuses
        fakes.daemons[0].cut()
        with pytest.raises(ConversationAborted, match="not for you"):
            client.info()
        assert isinstance(client.lost, ConversationAborted)


def test_an_abort_ends_it() -> None:
    class Aborts(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            super().serve(id, request)
            if isinstance(request, Info):
                self.send(self.connection.abort(errno.EBADMSG, "no"))

    fakes = FakeServer(lambda request: None, lambda request: [])
    fakes.daemon = Aborts
    fakes.listen()
    try:
        with connect(fakes.path, timeout=10) as client, pytest.raises(ConversationAborted):
            client.info()
    finally:
        fakes.close()
    assert len(fakes.daemons) == 1


def test_another_version_than_before_ends_it() -> None:
    class Older(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            self.send(b"\0\0\0\x08" + id.to_bytes(4, "big") + b"\0\1\0\1")

    with server(usual) as (client, fakes):
        fakes.daemon = Older
        fakes.daemons[0].cut()
        with pytest.raises(ConnectionClosed, match="version 1 of the protocol now, and spoke 2 before"):
            client.info()
        assert client.lost is not None


def test_a_place_that_is_not_to_be_trusted_ends_it() -> None:
    def check() -> None:
        raise PermissionError(errno.EPERM, "it belongs to somebody else")

    from netdaemon.blocking.client import connect_as

    fakes = FakeServer(usual, lambda request: [])
    fakes.listen()
    try:
        with connect_as(Client, fakes.path, timeout=10, check=check) as client:
            fakes.daemons[0].cut()
            with pytest.raises(ConnectionClosed, match="cannot be reached again: it belongs to somebody else"):
                client.info()
    finally:
        fakes.close()
    assert len(fakes.daemons) == 1


def test_a_poll_loop_of_ones_own_is_told_when_to_come_back() -> None:
    """Nothing of it waits but poll: without a connection it polls nothing, until `due`."""
    with server(usual) as (client, fakes):
        fakes.die()
        answered: list[object] = []
        client.submit(Info(), answered.append)
        waits = 0
        deadline = time.monotonic() + 10
        while not answered:
            assert time.monotonic() < deadline
            poll = select.poll()
            if client.fileno() >= 0:
                poll.register(client.fileno(), client.wanted)
            else:
                waits += 1
                assert client.due is not None
            if waits == 4:
                fakes.listen()
                waits += 1
            due = client.due
            ready = poll.poll(None if due is None else int(due * 1000 + 0.999))
            began = time.monotonic()
            client.work(ready[0][1] if ready else 0)
            assert time.monotonic() - began < 1
        assert isinstance(answered[0], DaemonInfo)


def test_closing_ends_it_also_while_there_is_no_connection() -> None:
    with server(usual) as (client, fakes):
        remote = client.attach("x")
        fakes.die()
        until(client, lambda: not client.connected)
        heard: list[object] = []
        client.submit(Info(), heard.append)
        client.close()
        assert isinstance(heard[0], ConnectionClosed)
        with pytest.raises(ConnectionClosed, match="closed here"):
            remote.next_event()


# --- requests ---


@pytest.mark.parametrize(
    ("declaration", "ask"),
    [
        (Info, lambda client: client.info()),
        (List, lambda client: client.list("name=x")),
        (Inspect, lambda client: client.inspect("x")),
        (Wait, lambda client: client.wait("x", timeout=10)),
        (Attach, lambda client: client.attach("x", from_=-5, channels=[1], hold=3, read_only=True)),
        (Start, lambda client: client.start(["x"], key="mine")),
    ],
)
def test_what_changes_nothing_is_asked_again(declaration: type[Request], ask: Callable[[Client], object]) -> None:
    with server(CutOnce(declaration, times=3)) as (client, fakes):
        ask(client)
        asked = fakes.asked(declaration)
        assert len(asked) == 4
        assert len(set(asked)) == 1
    assert len(fakes.daemons) == 4


@pytest.mark.parametrize(
    ("declaration", "ask"),
    [
        (Kill, lambda client: client.kill("x")),
        (Remove, lambda client: client.remove("x")),
        (Shutdown, lambda client: client.shutdown()),
        (Start, lambda client: client.call(Start(argv=("x",)), Started)),
    ],
)
def test_what_may_have_changed_something_is_not(declaration: type[Request], ask: Callable[[Client], object]) -> None:
    with server(CutOnce(declaration)) as (client, fakes):
        with pytest.raises(
            ConnectionClosed, match=f"whether {declaration.__name__.upper()} was carried out is unknown"
        ):
            ask(client)
        assert client.lost is None
        assert client.info().pid == 1
        assert len(fakes.asked(declaration)) == 1


def test_what_is_asked_meanwhile_waits_in_order() -> None:
    with server(usual) as (client, fakes):
        fakes.die()
        until(client, lambda: not client.connected)
        pending = [client.submit(Inspect(process="1")), client.submit(Kill(process="2", signal=9))]
        pending.append(client.submit(Inspect(process="3")))
        fakes.listen()
        for one in pending:
            client.wait_for(one)
        assert fakes.requests[-1] == [Inspect(process="1"), Kill(process="2", signal=9), Inspect(process="3")]


def test_after_a_shutdown_that_was_agreed_to_nobody_comes_back() -> None:
    with server(usual) as (client, fakes):
        client.shutdown(Fate.STOP)
        fakes.daemons[0].cut()
        with pytest.raises(ConnectionClosed):
            until(client, lambda: False)
        assert client.lost is not None
    assert len(fakes.daemons) == 1


# --- START ---


def test_a_start_has_a_key_of_its_own_and_happens_once() -> None:
    processes: dict[str | None, int] = {}
    cut = CutOnce(Start, times=2)

    def answer(request: Request) -> Answer:
        assert isinstance(request, Start)
        processes.setdefault(request.key, len(processes))
        told = cut(request)
        return told if told is CUT else attached() if request.attach else Started(process=RECORD)

    with server(answer) as (client, fakes):
        client.start(["x"], hold=5)
        client.start_detached(["x"])
        first, second, third, last = fakes.asked(Start)
        assert first == second == third
        assert len(first.key) == 16
        assert last.key != first.key
    assert len(processes) == 2


def test_a_key_of_the_callers_own_is_taken() -> None:
    with server(lambda request: SpecDiffers("no")) as (client, fakes):
        with pytest.raises(SpecDiffers):
            client.start_detached(["x"], key="k")
        assert fakes.asked(Start)[0].key == "k"


# --- attachments ---


class Life:
    """A process whose output, ends and statuses the test writes down in order; told to whoever attaches, as a daemon
    tells them: output from the offset on, and all else again."""

    def __init__(self, record: ProcessRecord = RECORD) -> None:
        self.record = record
        self.events: list[Event] = []
        self.end = 0
        self.begin = 0

    def write(self, payload: bytes, channel: int = 1) -> None:
        self.events.append(Output(channel=channel, offset=self.end, payload=payload))
        self.end += len(payload)

    def eof(self, channel: int) -> None:
        self.events.append(Output(channel=channel, offset=self.end))

    def exit(self, code: int) -> None:
        self.events.append(Status(state=State.EXITED, code=code, end=self.end))

    def answer(self, request: Request) -> Answer:
        if isinstance(request, Start | Attach):
            return Attached(process=self.record, offset=request.from_ or 0, begin=self.begin, end=self.end, stdin_end=0)
        return usual(request)

    def after(self, request: Request) -> list[Event]:
        if not isinstance(request, Start | Attach):
            return []
        start = request.from_ or 0
        found: list[Event] = []
        for event in self.events:
            if isinstance(event, Output) and event.payload:
                if event.offset + len(event.payload) > start:
                    skip = max(0, start - event.offset)
                    found.append(
                        Output(channel=event.channel, offset=event.offset + skip, payload=event.payload[skip:])
                    )
            else:
                found.append(event)
        return found


def test_an_attachment_goes_on_where_it_was_and_is_told_each_thing_once() -> None:
    life = Life()
    life.write(b"one")
    with server(life.answer, life.after) as (client, fakes):
        remote = client.attach("name", channels=[1, 2], hold=7)
        assert remote.next_event(5) == Output(channel=1, offset=0, payload=b"one")
        number = remote.attachment
        # It closes an output, and says more, while nobody is there; and so on, three times.
        fakes.die()
        life.write(b"error", 2)
        life.eof(2)
        fakes.listen()
        assert remote.next_event(5) == Output(channel=2, offset=3, payload=b"error")
        assert remote.next_event(5) == Output(channel=2, offset=8)
        assert remote.attachment != number
        fakes.die()
        life.write(b"two")
        life.exit(3)
        fakes.listen()
        assert remote.next_event(5) == Output(channel=1, offset=8, payload=b"two")
        assert remote.next_event(5) == Status(state=State.EXITED, code=3, end=11)
        fakes.die()
        life.write(b"late")
        life.eof(1)
        fakes.listen()
        assert list(remote) == [Output(channel=1, offset=11, payload=b"late"), Output(channel=1, offset=15)]
        assert [one.from_ for one in fakes.asked(Attach)] == [None, 3, 8, 11]
        assert all(one.process == RECORD.id for one in fakes.asked(Attach)[1:])
        assert all((one.channels, one.hold, one.read_only) == ((1, 2), 7, None) for one in fakes.asked(Attach))


def test_a_started_process_is_attached_to_by_its_id() -> None:
    life = Life()
    life.write(b"one")
    with server(life.answer, life.after) as (client, fakes):
        remote = client.start(["x"], hold=-1, read_only=True)
        remote.next_event(5)
        fakes.daemons[-1].cut()
        client.info()
        assert fakes.asked(Attach) == [Attach(process=RECORD.id, from_=3, hold=-1, read_only=True)]
        assert len(fakes.asked(Start)) == 1


def test_a_gap_counts_as_received() -> None:
    with server(lambda r: attached(), lambda r: [Gap(from_=0, to=50)]) as (client, fakes):
        remote = client.attach("x")
        remote.next_event(5)
        fakes.daemons[-1].cut()
        until(client, lambda: len(fakes.asked(Attach)) == 2)
        assert fakes.asked(Attach)[1].from_ == 50


def test_output_that_begins_later_is_asked_for_from_there() -> None:
    """Also when nothing of it has come yet."""
    with server(lambda r: attached(offset=90, end=100)) as (client, fakes):
        client.attach("x", from_=-10)
        fakes.daemons[-1].cut()
        until(client, lambda: len(fakes.asked(Attach)) == 2)
        assert [one.from_ for one in fakes.asked(Attach)] == [-10, 90]


def test_a_process_that_was_removed_meanwhile_ends_as_one_that_is_removed() -> None:
    state = {"there": True}
    with server(lambda r: usual(r) if state["there"] else NoSuchProcess("gone", process="x")) as (client, fakes):
        remote = client.start(["x"])
        state["there"] = False
        fakes.daemons[-1].cut()
        assert list(remote) == [End(reason=Reason.REMOVED)]
        with pytest.raises(NetdaemonError):
            remote.write(b"x")


def test_an_attachment_that_is_refused_is_over_with_that() -> None:
    state: dict[str, Refusal | None] = {"refusal": None}

    def answer(request: Request) -> Answer:
        return state["refusal"] if isinstance(request, Attach) and state["refusal"] else usual(request)

    with server(answer) as (client, fakes):
        remote = client.start(["x"])
        state["refusal"] = BadRequest("from is beyond the end")
        fakes.die()
        until(client, lambda: not client.connected)
        kill = client.submit(Kill(to=remote.attachment, signal=1))
        fakes.listen()
        with pytest.raises(BadRequest):
            remote.next_event(5)
        with pytest.raises(BadRequest):
            client.wait_for(kill)
        assert isinstance(remote.error, BadRequest)
        assert client.lost is None
        assert not fakes.asked(Kill)


def test_a_daemon_that_stops_already_is_not_asked_again_but_the_next_is() -> None:
    refusals: list[Refusal] = []

    def answer(request: Request) -> Answer:
        if isinstance(request, Attach) and refusals:
            return refusals.pop()
        return usual(request)

    with server(answer) as (client, fakes):
        remote = client.start(["x"])
        refusals.append(ShuttingDown("it stops"))
        fakes.daemons[-1].cut()
        until(client, lambda: len(fakes.asked(Attach)) == 1)
        client.info()
        assert (remote.end, remote.error) == (None, None)
        fakes.after = lambda r: [Output(channel=1, payload=b"x")] if isinstance(r, Attach) else []
        fakes.daemons[-1].cut()
        assert remote.next_event(5) == Output(channel=1, payload=b"x")


def test_after_an_end_it_is_not_resumed() -> None:
    def after(request: Request) -> list[Event]:
        return [End(reason=Reason.SHUTDOWN)] if isinstance(request, Start) else []

    with server(usual, after) as (client, fakes):
        remote = client.start(["x"])
        assert list(remote) == [End(reason=Reason.SHUTDOWN)]
        fakes.daemons[-1].cut()
        client.info()
        assert not fakes.asked(Attach)


@pytest.mark.parametrize("when", ["asked", "meanwhile"])
def test_to_detach_succeeds_by_the_loss(when: str) -> None:
    with server(CutOnce(Detach)) as (client, fakes):
        remote = client.attach("x")
        if when == "meanwhile":
            fakes.die()
            until(client, lambda: not client.connected)
        remote.detach()
        assert list(remote) == [End(reason=Reason.DETACHED)]
        if when == "meanwhile":
            fakes.listen()
        client.info()
        assert len(fakes.asked(Attach)) == 1
        assert len(fakes.asked(Detach)) == (when == "asked")


def test_a_pause_is_kept() -> None:
    with server(usual) as (client, fakes):
        remote = client.attach("x")
        remote.flow(True)
        fakes.daemons[-1].cut()
        until(client, lambda: len(fakes.asked(Flow)) == 2)
        assert fakes.asked(Flow)[1] == Flow(to=remote.attachment, paused=True)
        remote.flow(False)
        fakes.daemons[-1].cut()
        client.info()
        assert [one.paused for one in fakes.asked(Flow)] == [True, True, False]


@pytest.mark.parametrize("declaration", [Flow, Resize])
def test_what_is_asked_of_an_attachment_is_asked_again_of_the_next(declaration: type[Request]) -> None:
    with server(CutOnce(declaration, times=2)) as (client, fakes):
        remote = client.attach("x")
        if declaration is Flow:
            remote.flow(True)
        else:
            remote.resize(3, 4)
        assert fakes.asked(declaration)[-1].to == remote.attachment
        assert len({one.to for one in fakes.asked(declaration)}) == 3


def test_what_is_asked_of_an_attachment_meanwhile_goes_to_the_next() -> None:
    """Only once it is attached anew, although others are sent before."""
    with server(usual) as (client, fakes):
        remote = client.attach("x")
        fakes.die()
        until(client, lambda: not client.connected)
        pending = client.submit(Kill(to=remote.attachment, signal=1))
        fakes.listen()
        client.wait_for(pending)
        assert fakes.asked(Kill) == [Kill(to=remote.attachment, signal=1)]
        assert [type(one) for one in fakes.requests[-1]] == [Attach, Kill]


def test_many_attachments_and_ids_that_are_over_are_nobody_elses() -> None:
    life = Life()
    life.write(b"x")
    with server(life.answer, life.after) as (client, fakes):
        remotes = [client.attach("x") for _ in range(5)]
        remotes[1].end = End(reason=Reason.REMOVED)
        old = {remote.attachment for remote in remotes}
        fakes.daemons[-1].cut()
        client.info()
        new = {remote.attachment for index, remote in enumerate(remotes) if index != 1}
        assert not old & new
        assert len(fakes.asked(Attach)) == 9


# --- input ---


class Fed:
    """A process's input as a daemon has it, which may be cut before, within or after each piece.

    :ivar lie: added to the offset that a new attachment is told.
    """

    def __init__(self, *, pty: bool = False) -> None:
        self.taken = bytearray()
        self.eofs = 0
        self.lie = 0
        self.script: list[str] = []
        self.record = ProcessRecord(id="bcdf", argv=("cat",), state=State.RUNNING, pty=Pty() if pty else None)

    def answer(self, request: Request) -> Answer:
        if isinstance(request, Start | Attach):
            return Attached(process=self.record, stdin_end=len(self.taken) + self.lie)
        if not isinstance(request, Data):
            return usual(request)
        how = self.script.pop(0) if self.script else "take"
        if how == "cut before":
            return CUT
        payload = request.payload
        if not payload:
            self.eofs += 1
            if self.record.pty is not None and (request.at is None or request.at == len(self.taken)):
                self.taken += b"\x04"
        elif request.at is not None:
            assert request.at <= len(self.taken)
            payload = payload[len(self.taken) - request.at :]
        if how == "cut half":
            payload = payload[: len(payload) // 2]
        self.taken += payload
        if how != "take":
            if how == "cut and others":
                self.taken += b"others"
            return CUT
        return Taken(accepted=len(request.payload), end=len(self.taken))


SCRIPTS = [["cut before"], ["cut after"], ["take", "cut before", "cut before", "cut after", "take", "cut after"]]


# Of what was taken in part only a sole writer can tell how much: for others see below.
CASES = [
    *((sole, script) for sole in (True, False) for script in SCRIPTS),
    *((True, script) for script in (["cut half"], ["take", "cut half", "cut half"])),
]


@pytest.mark.parametrize(("sole", "script"), CASES)
def test_no_input_is_lost_or_doubled(sole: bool, script: list[str]) -> None:
    fed = Fed()
    fed.script = list(script)
    data = bytes(range(256)) * 2000
    with server(fed.answer) as (client, fakes):
        remote = client.start(["cat"]) if sole else client.attach("cat")
        for start in range(0, len(data), 100_000):
            piece = data[start : start + 100_000]
            assert remote.write(piece, timeout=20) == start + len(piece)
        remote.close_stdin()
        assert remote.stdin.closed
        assert remote.stdin.accepted == len(data)
        assert len(fakes.daemons) > 1
    assert fed.taken == data
    assert fed.eofs == 1


@pytest.mark.parametrize("sole", [True, False])
@pytest.mark.parametrize("pty", [True, False])
@pytest.mark.parametrize("how", ["cut before", "cut after"])
def test_the_end_of_input_is_sent_again_unless_it_arrived(sole: bool, pty: bool, how: str) -> None:
    fed = Fed(pty=pty)
    with server(fed.answer) as (client, fakes):
        remote = client.start(["cat"]) if sole else client.attach("cat")
        remote.write(b"line\n")
        fed.script = [how]
        remote.close_stdin()
        assert remote.stdin.closed
        # And a loss after it asks for nothing more.
        fakes.daemons[-1].cut()
        client.info()
        assert remote.stdin.error is None
    assert fed.taken == b"line\n" + (b"\x04" if pty else b"")


@pytest.mark.parametrize("sole", [True, False])
def test_input_that_is_queued_meanwhile_goes_on_by_itself(sole: bool) -> None:
    fed = Fed()
    with server(fed.answer) as (client, fakes):
        remote = client.start(["cat"]) if sole else client.attach("cat")
        fakes.die()
        until(client, lambda: not client.connected)
        assert remote.stdin.put(b"queued ") == 7
        assert remote.stdin.put(b"meanwhile") == 9
        remote.stdin.close()
        fakes.listen()
        until(client, lambda: remote.stdin.idle)
    assert fed.taken == b"queued meanwhile"
    assert fed.eofs == 1


@pytest.mark.parametrize("sole", [True, False])
def test_a_loss_that_sending_finds_out_sends_nothing_twice(sole: bool) -> None:
    """In the middle of several pieces, and of what is sent when it is attached anew."""
    fed = Fed()
    data = bytes(range(250)) * 1000
    with server(fed.answer) as (client, fakes):
        remote = client.start(["cat"]) if sole else client.attach("cat")
        fakes.daemons[-1].cut()
        fakes.daemons[-1].join(10)
        assert client.connected
        remote.stdin.put(data)
        assert not client.connected
        assert remote.stdin.disconnected
        until(client, lambda: remote.stdin.idle)
        assert remote.write(b"more") == len(data) + 4
        assert sum(len(one.payload) for one in fakes.asked(Data)) == len(data) + 4
    assert fed.taken == data + b"more"


@pytest.mark.parametrize("sole", [True, False])
def test_accepted_input_that_is_not_there_any_more_is_found_out(sole: bool) -> None:
    fed = Fed()
    with server(fed.answer) as (client, fakes):
        remote = client.start(["cat"]) if sole else client.attach("cat")
        remote.write(b"0123456789")
        fed.lie = -4
        fakes.daemons[-1].cut()
        client.info()
        with pytest.raises(RemoteProtocolError, match="6 bytes of stdin and had accepted 10"):
            remote.write(b"x")


def test_a_sole_writer_that_was_not_alone_is_told() -> None:
    fed = Fed()
    fed.script = ["cut and others"]
    with server(fed.answer) as (client, _):
        remote = client.start(["cat"])
        with pytest.raises(RemoteProtocolError, match="has 10 bytes of stdin, and only 4 were sent"):
            remote.write(b"mine")


@pytest.mark.parametrize(("how", "taken"), [("cut and others", 10), ("cut half", 2)])
def test_one_of_several_writers_is_told_when_nobody_can_know(how: str, taken: int) -> None:
    fed = Fed()
    fed.script = [how]
    with server(fed.answer) as (client, _):
        remote = client.attach("cat")
        expected = f"4 bytes of stdin were under way .* has taken {taken} since.*unknown"
        with pytest.raises(ConnectionClosed, match=expected):
            remote.write(b"mine")
        assert client.lost is None


def test_others_may_write_while_nothing_is_under_way() -> None:
    fed = Fed()
    with server(fed.answer) as (client, fakes):
        remote = client.attach("cat")
        remote.write(b"mine")
        fed.taken += b"others"
        fakes.daemons[-1].cut()
        client.info()
        fed.script = ["cut after"]
        assert remote.write(b"again") == 15
    assert fed.taken == b"mineothersagain"


def test_input_that_the_process_does_not_take_any_more_is_refused_as_ever() -> None:
    state = {"closed": False}

    def answer(request: Request) -> Answer:
        if isinstance(request, Data):
            if state["closed"]:
                return StdinClosed("closed")
            state["closed"] = True
            return CUT
        return usual(request)

    with server(answer) as (client, _):
        remote = client.start(["x"])
        with pytest.raises(StdinClosed):
            remote.write(b"data")


def test_a_write_gives_up_by_its_timeout_while_there_is_no_daemon() -> None:
    with server(usual) as (client, fakes):
        remote = client.start(["x"])
        fakes.die()
        with pytest.raises(TimedOut):
            remote.write(b"data", timeout=0.1)
        fakes.listen()
        client.info()
        assert not fakes.asked(Data)


def test_what_is_asked_raw_on_an_attachment_is_answered_for_itself() -> None:
    """DATA that was not sent by `stdin` is not repeated by it either."""
    fed = Fed()
    fed.script = ["cut after"]
    with server(fed.answer) as (client, _):
        remote = client.attach("x")
        with pytest.raises(ConnectionClosed, match="whether DATA was carried out is unknown"):
            client.call(Data(to=remote.attachment, payload=b"x"), Taken)


def test_leaving_the_context_meanwhile_does_not_wait() -> None:
    with server(usual) as (client, fakes):
        began = time.monotonic()
        with client.start(["x"]):
            fakes.die()
            until(client, lambda: not client.connected)
        assert time.monotonic() - began < 5


def test_denied_is_passed_on() -> None:
    """What is refused on the next connection is refused to the caller, once."""
    cut = CutOnce(Inspect)
    with server(lambda r: CUT if cut(r) is CUT else Denied("no")) as (client, fakes):
        with pytest.raises(Denied):
            client.inspect("x")
        assert len(fakes.asked(Inspect)) == 2


def test_a_loss_in_the_middle_of_a_frame() -> None:
    """In either direction: what was begun is begun anew."""
    ready = threading.Event()

    class Half(FakeDaemon):
        count = 0

        def send(self, octets: bytes) -> None:
            Half.count += 1
            if Half.count == 2:
                self._socket.sendall(octets[: len(octets) // 2])
                self._socket.shutdown(socket.SHUT_RDWR)
                ready.set()
                raise ConnectionResetError
            super().send(octets)

    with server(usual) as (client, fakes):
        fakes.daemon = Half
        fakes.daemons[0].cut()
        assert client.list() == [RECORD]
        assert ready.is_set()
