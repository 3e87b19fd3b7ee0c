"""A remote process: its record, its output to a listener and to a loop, pausing, its exit; the test is the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netdaemon.client.output import HIGH_WATER, LOW_WATER, Listener
from netdaemon.client.remote import RemoteProcess
from netdaemon.errors import AlreadyExited, BadRequest, ConnectionClosed, NoSuchProcess, NotAttached
from netdaemon.testing import MemoryDaemon
from netdaemon.wire.answers import End, Event, Failure, Gap, Listing, OfProcess, Ok, Output, Started, Status, Taken
from netdaemon.wire.commands import Attach, Data, Detach, Flow, Kill, List, Resize, Start, Wait
from netdaemon.wire.records import Pty, Reason, Scope, State, Until
from tests.client.support import pending, record, result, stage
from tests.support import Logged

EXITED = Status(state=State.EXITED, code=3, end=6)


class Recorder(Listener):
    """All that is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        self.told.append((channel, data, offset, time))

    def on_gap(self, from_: int, to: int) -> None:
        self.told.append(("gap", from_, to))

    def on_eof(self, channel: int) -> None:
        self.told.append(("eof", channel))

    def on_status(self, status: Status) -> None:
        self.told.append(status)

    def on_end(self, reason: Reason) -> None:
        self.told.append(reason)

    def on_lost(self, error: ConnectionClosed) -> None:
        self.told.append(error)


async def _collect(process: RemoteProcess, into: list[Any]) -> None:
    async for item in process.output():
        into.append(item)


def collect(process: RemoteProcess, into: list[Any]) -> Deferred[None]:
    """Read all the output of *process* into a list."""
    return Deferred.fromCoroutine(_collect(process, into))


def test_start_says_all_that_was_asked() -> None:
    s = stage()
    s.client.start(
        ["prog", b"\xff"],
        path="/bin/prog",
        env={"A": "1", b"B": b"\xfe"},
        cwd=b"/tmp",
        name="n",
        labels={"k": "v"},
        pty=True,
        merge=True,
        keep=8192,
        from_=0,
        channels=[1],
        hold=-1,
        read_only=True,
    )
    _, request = s.request()
    assert request == Start(
        argv=("prog", "\udcff"),
        path="/bin/prog",
        env=("A=1", "B=\udcfe"),
        cwd="/tmp",
        name="n",
        labels=("k=v",),
        pty=Pty(),
        merge=True,
        keep=8192,
        attach=True,
        from_=0,
        channels=(1,),
        hold=-1,
        read_only=True,
    )


def test_start_without_attach() -> None:
    """Its input and output are nobody's, its exit is asked for."""
    s = stage()
    starting = s.client.start(["cat"], attach=False)
    id, request = s.request()
    assert request == Start(argv=("cat",))
    s.reply(id, Started(process=record()))
    process = result(starting)
    assert (process.id, process.pid, process.attached) == ("p1", 77, False)
    for refused in (process.write(b"x"), process.close_stdin(), process.detach(), process.resize(1, 1)):
        with pytest.raises(NotAttached):
            result(refused)
    with pytest.raises(NotAttached):
        result(collect(process, []))
    exited, again = process.when_exited(), process.when_exited()
    id, request = s.request()
    assert request == Wait(process="p1", for_=Until.EXITED)
    s.reply(id, OfProcess(process=record(state=State.EXITED, pid=None, code=0)))
    assert result(exited).code == result(again).code == 0
    killing = process.kill("KILL")
    id, request = s.request()
    assert request == Kill(process="p1", signal=9)
    s.reply(id, Failure.of(AlreadyExited("gone")))
    with pytest.raises(AlreadyExited):
        result(killing)


def test_attach_by_name_and_by_process() -> None:
    s = stage()
    _, process = s.attached()
    s.client.attach("web", from_=-10, channels=(2,), hold=500, read_only=True)
    s.client.attach(process)
    assert [request for _, request in s.requests()] == [
        Attach(process="web", from_=-10, channels=(2,), hold=500, read_only=True),
        Attach(process="p1"),
    ]


def test_list_goes_through_all_pages() -> None:
    s = stage()
    listing = s.client.list("state=running")
    id, request = s.request()
    assert request == List(select=("state=running",))
    s.reply(id, Listing(processes=(record(),), after="1-p1"))
    id, request = s.request()
    assert request == List(select=("state=running",), after="1-p1")
    s.reply(id, Listing(processes=(record(id="p2"),)))
    assert [one.id for one in result(listing)] == ["p1", "p2"]


def test_a_listener_is_told_everything_in_order() -> None:
    """What came before there was one, too; and the record is kept up to date."""
    s = stage()
    id, process = s.attached(offset=2)
    events: list[Event] = [
        Gap(from_=2, to=3),
        Output(channel=1, offset=3, time=9, payload=b"ab"),
        Output(channel=2, offset=5, payload=b"c"),
        Output(channel=0, offset=6),
    ]
    s.event(id, *events)
    recorder = Recorder()
    process.listen(recorder)
    assert recorder.told == [("gap", 2, 3), (1, b"ab", 3, 9), (2, b"c", 5, 0), ("eof", 0)]
    exited = process.when_exited()
    assert pending(exited)
    s.event(id, EXITED, Output(channel=1, offset=6), Output(channel=2, offset=6), End(reason=Reason.REMOVED))
    assert recorder.told[4:] == [EXITED, ("eof", 1), ("eof", 2), Reason.REMOVED]
    assert result(exited).code == 3
    assert (process.record.state, process.record.code, process.record.signal) == (State.EXITED, 3, None)
    assert (process.record.eof, process.record.end, process.pid, process.offset) == ((0, 1, 2), 6, None, 6)
    assert not process.attached
    assert result(process.when_exited()).code == 3
    with pytest.raises(NotAttached, match="removed"):
        result(process.write(b"x"))


def test_a_listener_that_fails_harms_nobody(logged: Logged) -> None:
    class Broken(Recorder):
        def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
            raise ZeroDivisionError

    s = stage()
    id, process = s.attached()
    broken = Broken()
    process.listen(broken)
    s.event(id, Output(channel=1, payload=b"x"), EXITED)
    assert len(logged.flush(ZeroDivisionError)) == 1
    assert broken.told == [EXITED]
    assert s.session.ended is None


def test_pause_and_resume() -> None:
    """Nothing is told in between, though some was on its way; the daemon is asked to be silent."""
    s = stage()
    id, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    process.pause()
    process.pause()
    flow, request = s.request()
    assert request == Flow(to=id, paused=True)
    s.reply(flow, Ok())
    s.event(id, Output(channel=1, payload=b"x"))
    assert recorder.told == []
    process.resume()
    assert recorder.told == [(1, b"x", 0, 0)]
    assert s.request()[1] == Flow(to=id, paused=False)


def test_the_exit_is_known_while_paused() -> None:
    """Output that nobody takes must not hide it: it is asked for."""
    s = stage()
    id, process = s.attached()
    exited = process.when_exited()
    process.pause()
    (flow, paused), (waiting, request) = s.requests()
    assert paused == Flow(to=id, paused=True)
    assert request == Wait(process="p1", for_=Until.EXITED)
    s.reply(flow, Ok())
    s.reply(waiting, OfProcess(process=record(state=State.EXITED, pid=None, signal=9)))
    assert result(exited).signal == 9


def test_an_exit_that_cannot_be_known_any_more() -> None:
    s = stage()
    id, process = s.attached()
    exited, cancelled = process.when_exited(), process.when_exited()
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    s.event(id, End(reason=Reason.DETACHED))
    waiting, _ = s.request()
    s.reply(waiting, Failure.of(NoSuchProcess("it was removed")))
    with pytest.raises(NoSuchProcess):
        result(exited)


def test_a_loop_over_the_output() -> None:
    """It gets the bytes and the gaps, and ends when the process has exited and its outputs are closed."""
    s = stage()
    id, process = s.attached()
    got: list[Any] = []
    reading = collect(process, got)
    output, gap = Output(channel=1, offset=0, payload=b"ab"), Gap(from_=2, to=6)
    s.event(id, output)
    assert got == [output]
    s.event(id, gap, Output(channel=0, offset=6), Output(channel=1, offset=6), EXITED)
    assert got == [output, gap]
    assert pending(reading)
    s.event(id, Output(channel=2, offset=6))
    assert result(reading) is None
    assert result(collect(process, got)) is None


@pytest.mark.parametrize(
    ("options", "channels"),
    [({"pty": Pty()}, None), ({"merge": True}, None), ({}, (1,))],
    ids=["pty", "merge", "one channel"],
)
def test_a_loop_does_not_wait_for_outputs_that_there_are_not(options: Any, channels: Any) -> None:
    from netdaemon.wire.answers import Attached

    s = stage()
    starting = s.client.start(["cat"], channels=channels)
    id, _ = s.request()
    s.reply(id, Attached(process=record(**options)))
    reading = collect(result(starting), [])
    s.event(id, EXITED, Output(channel=1, offset=6))
    assert result(reading) is None


def test_a_loop_ends_with_the_attachment() -> None:
    s = stage()
    id, process = s.attached()
    reading = collect(process, [])
    detaching = process.detach()
    detach, request = s.request()
    assert request == Detach(to=id)
    s.reply(detach, Ok())
    assert result(detaching) is None
    s.event(id, End(reason=Reason.DETACHED))
    assert result(reading) is None


def test_a_loop_raises_when_the_connection_is_lost_after_what_had_come() -> None:
    s = stage()
    id, process = s.attached()
    output = Output(channel=1, offset=0, payload=b"ab")
    s.event(id, output)
    s.lose()
    got: list[Any] = []
    with pytest.raises(ConnectionClosed):
        result(collect(process, got))
    assert got == [output]


def test_output_that_nobody_takes_is_bounded() -> None:
    """The daemon is asked to be silent at the high-water mark, and to go on at the low one."""
    s = stage()
    id, process = s.attached()
    chunk = 128 * 1024
    events = [Output(channel=1, offset=number * chunk, payload=bytes(chunk)) for number in range(HIGH_WATER // chunk)]
    s.event(id, *events[:-1])
    assert s.requests() == []
    s.event(id, events[-1])
    flow, request = s.request()
    assert request == Flow(to=id, paused=True)
    s.reply(flow, Ok())
    taking = process.output()
    left = HIGH_WATER
    while left > LOW_WATER:
        assert s.requests() == []
        left -= len(result(Deferred.fromCoroutine(_next(taking))).payload)
    assert s.request()[1] == Flow(to=id, paused=False)


async def _next(items: Any) -> Any:
    return await anext(items)


def test_one_reader_at_a_time() -> None:
    s = stage()
    _, process = s.attached()
    reading = collect(process, [])
    with pytest.raises(RuntimeError, match="one reader"):
        result(collect(process, []))
    reading.addErrback(lambda _: None)
    reading.cancel()
    assert pending(collect(process, []))


def test_what_is_done_to_it() -> None:
    s = stage()
    id, process = s.attached()
    doing = [
        process.kill(),
        process.kill("SIGINT", scope="tree", generation=1),
        process.kill(2, scope=Scope.PROCESS),
        process.close_output(2),
    ]
    resizing = process.resize(10, 20)
    requests = s.requests()
    assert [request for _, request in requests] == [
        Kill(to=id, signal=15),
        Kill(to=id, signal=2, scope=Scope.TREE, generation=1),
        Kill(to=id, signal=2, scope=Scope.PROCESS),
        Data(to=id, channel=2),
        Resize(to=id, rows=10, columns=20),
    ]
    for (number, request), waiting in zip(requests, doing, strict=False):
        s.reply(number, Taken(accepted=0, end=0) if isinstance(request, Data) else Ok())
        assert result(waiting) is None
    s.reply(requests[-1][0], Failure.of(BadRequest("no terminal")))
    with pytest.raises(BadRequest):
        result(resizing)
    with pytest.raises(BadRequest):
        result(process.resize(-1, 0))
    with pytest.raises(ValueError, match="no signal"):
        process.kill("NONSENSE")


def test_input_goes_out_and_eof_of_a_terminal_is_typed() -> None:
    s = stage()
    id, process = s.attached(stdin_end=5)
    writing = process.write(b"abc")
    data, request = s.request()
    assert request == Data(to=id, at=5, payload=b"abc")
    assert process.unsafe == 3
    s.reply(data, Taken(accepted=3, end=8))
    assert result(writing) == 8
    id, process = s.attached(pty=Pty())
    closing = process.close_stdin()
    data, request = s.request()
    assert request == Data(to=id, at=0, payload=b"\x04")
    s.reply(data, Taken(accepted=1, end=1))
    assert result(closing) is None
    assert pending(process.close_stdin())


def test_it_says_what_it_is() -> None:
    s = stage()
    assert repr(s.attached()[1]) == "<RemoteProcess p1 running ('cat',)>"


def test_wrong_types_are_told_at_once_and_harm_nothing() -> None:
    """What was not bytes was not written: what is written next becomes safe as ever."""
    daemon = MemoryDaemon()
    client = daemon.connect_now()
    with pytest.raises(TypeError, match=r"\['/bin/true'\]"):
        client.start("/bin/true")
    with pytest.raises(TypeError, match=r"netdaemon\.Pty"):
        client.start(["/bin/true"], pty="xterm")  # type: ignore[arg-type]
    process = daemon.settle(client.start(["/bin/cat"]))
    assert process is not None
    with pytest.raises(TypeError, match="takes bytes, not str"):
        process.write("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Listener"):
        process.listen(object())  # type: ignore[arg-type]
    assert daemon.settle(process.write(b"octets")) == 6
    assert daemon.children[0].read() == b"octets"
    daemon.stop()
