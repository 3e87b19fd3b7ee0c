"""Attachments across a lost connection: the same object, the same output once, what waits goes on."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netdaemon.client.output import HIGH_WATER
from netdaemon.client.remote import RemoteProcess
from netdaemon.errors import (
    AlreadyExited,
    BadRequest,
    ConnectionClosed,
    Denied,
    LimitReached,
    NoSuchProcess,
    NotAttached,
    Refusal,
    ShuttingDown,
)
from netdaemon.testing import MemoryDaemon
from netdaemon.wire.answers import Attached, End, Failure, Gap, OfProcess, Ok, Output, Status, Taken
from netdaemon.wire.commands import Attach, Data, Detach, Flow, Kill, Resize, Wait
from netdaemon.wire.records import Pty, Reason, State, Until
from tests.client.support import Stage, lasting, pending, record, result
from tests.client.test_remote import EXITED, Recorder, collect


def again(s: Stage, **fields: Any) -> tuple[int, Attach]:
    """Lose the connection, and answer the one ATTACH over the next."""
    s.lose_and_wait()
    id, request = s.request()
    assert isinstance(request, Attach)
    s.reply(id, Attached(process=record(), **fields))
    return id, request


def test_output_goes_on_where_it_was() -> None:
    """With the same channels, hold and rights, over as many connections as it takes."""
    s = lasting()
    starting = s.client.start(["cat"], channels=(1,), hold=-1, read_only=True)
    id, _ = s.request()
    s.reply(id, Attached(process=record(), offset=2))
    process, recorder = result(starting), Recorder()
    process.listen(recorder)
    s.lose_and_wait()
    assert s.requests()[0][1] == Attach(process="p1", from_=2, channels=(1,), hold=-1, read_only=True)
    id, request = again(s, offset=2)
    s.event(id, Output(channel=1, offset=2, payload=b"abc"))
    id, request = again(s, offset=5)
    assert request.from_ == 5
    assert process.attached
    s.event(id, Gap(from_=5, to=9), Output(channel=1, offset=9, payload=b"d"))
    assert recorder.told == [(1, b"abc", 2, 0), ("gap", 5, 9), (1, b"d", 9, 0)]
    id, request = again(s, offset=10)
    assert request == Attach(process="p1", from_=10, channels=(1,), hold=-1, read_only=True)


def test_an_attachment_by_name_goes_on_by_id() -> None:
    """Another process may have the name by then."""
    s = lasting()
    attaching = s.client.attach("web", from_=-5)
    id, request = s.request()
    s.lose_and_wait()
    id, request = s.request()
    assert request == Attach(process="web", from_=-5)
    s.reply(id, Attached(process=record(id="p7", name="web"), offset=7))
    process = result(attaching)
    s.lose_and_wait()
    assert s.request()[1] == Attach(process="p7", from_=process.offset)


def test_what_was_told_is_not_told_again() -> None:
    """Ends and statuses; and what happened meanwhile is told in order."""
    s = lasting()
    id, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    got: list[Any] = []
    exited = process.when_exited()
    before = [Output(channel=1, offset=0, payload=b"ab"), Output(channel=0, offset=2), Output(channel=2, offset=2)]
    s.event(id, *before)
    assert recorder.told == [(1, b"ab", 0, 0), ("eof", 0), ("eof", 2)]
    id, _ = again(s, offset=2, eof=(0, 2))
    s.event(
        id,
        Output(channel=0, offset=2),
        Output(channel=2, offset=2),
        Output(channel=1, offset=2, payload=b"cdef"),
        EXITED,
    )
    assert recorder.told[3:] == [(1, b"cdef", 2, 0), EXITED]
    assert result(exited).code == 3
    id, request = again(s, offset=6, eof=(0, 2))
    assert request.from_ == 6
    s.event(id, Output(channel=0, offset=6), Output(channel=2, offset=6), EXITED, Output(channel=1, offset=6))
    assert recorder.told[5:] == [("eof", 1)]
    assert process.record.eof == (0, 1, 2)
    process.listen(None)
    assert got == []


def test_another_generation_is_told() -> None:
    s = lasting()
    id, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    running = Status(state=State.RUNNING, generation=2, pid=8)
    s.event(id, EXITED)
    id, _ = again(s)
    s.event(id, EXITED, running)
    assert recorder.told == [EXITED, running]
    assert process.pid == 8


def test_a_loop_over_the_output_goes_on() -> None:
    s = lasting()
    id, process = s.attached()
    got: list[Any] = []
    reading = collect(process, got)
    s.event(id, Output(channel=1, offset=0, payload=b"ab"), Output(channel=1, offset=2))
    id, _ = again(s, offset=2)
    assert pending(reading)
    s.event(id, Output(channel=1, offset=2), Output(channel=2, offset=2, payload=b"c"), EXITED)
    s.event(id, Output(channel=2, offset=3))
    assert result(reading) is None
    assert [item.payload for item in got] == [b"ab", b"c"]


@pytest.mark.parametrize("much", [False, True])
def test_what_was_paused_is_paused_again(much: bool) -> None:
    """By its owner, or because too much waits; what was changed meanwhile counts."""
    s = lasting()
    id, process = s.attached()
    if much:
        s.event(id, *[Output(channel=1, offset=n * 65536, payload=bytes(65536)) for n in range(HIGH_WATER // 65536)])
    else:
        process.pause()
    assert s.request()[1] == Flow(to=id, paused=True)
    id, request = again(s, offset=process.offset)
    assert request.from_ == (HIGH_WATER if much else 0)
    assert s.request()[1] == Flow(to=id, paused=True)
    if much:
        return
    s.lose()
    process.resume()
    id, _ = again(s)
    assert s.requests() == []
    s.lose()
    process.pause()
    id, _ = again(s)
    assert s.request()[1] == Flow(to=id, paused=True)


def test_the_exit_is_told_after_a_loss() -> None:
    """To those who wait for it, asked or not, attached or not."""
    s = lasting()
    _, process = s.attached()
    exited = process.when_exited()
    process.pause()
    assert [type(request) for _, request in s.requests()] == [Flow, Wait]
    s.lose()
    late = process.when_exited()
    s.wait()
    requests = {type(request): id for id, request in s.requests()}
    assert set(requests) == {Attach, Wait}
    s.reply(requests[Wait], OfProcess(process=record(state=State.EXITED, pid=None, code=4)))
    assert result(exited).code == result(late).code == 4


# --- what is asked about it ------------------------------------------------------------------------------------------


def test_requests_in_between_wait_until_it_goes_on() -> None:
    """In their order, with the new id, and after the input."""
    s = lasting()
    _, process = s.attached()
    s.lose()
    writing, killing = process.write(b"x"), process.kill("INT")
    s.wait()
    signalling, cancelled = process.kill("HUP"), process.kill("QUIT")
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    attach, request = s.request()
    assert isinstance(request, Attach)
    s.reply(attach, Attached(process=record()))
    requests = s.requests()
    assert [request for _, request in requests] == [
        Data(to=attach, at=0, payload=b"x"),
        Kill(to=attach, signal=2),
        Kill(to=attach, signal=1),
    ]
    s.reply(requests[0][0], Taken(accepted=1, end=1))
    s.reply(requests[1][0], Ok())
    s.reply(requests[2][0], Failure.of(AlreadyExited("gone")))
    assert result(writing) == 1
    assert result(killing) is None
    with pytest.raises(AlreadyExited):
        result(signalling)


def test_what_was_under_way() -> None:
    """A signal may have been sent or not; a size and the closing of an output can be repeated."""
    s = lasting()
    _, process = s.attached()
    killing, resizing, closing = process.kill(), process.resize(10, 20), process.close_output(2)
    id, _ = again(s)
    with pytest.raises(ConnectionClosed):
        result(killing)
    requests = s.requests()
    assert [request for _, request in requests] == [Resize(to=id, rows=10, columns=20), Data(to=id, channel=2)]
    s.reply(requests[0][0], Failure.of(BadRequest("no terminal")))
    s.reply(requests[1][0], Taken(accepted=0, end=0))
    with pytest.raises(BadRequest):
        result(resizing)
    assert result(closing) is None


def test_a_detach_under_way_has_succeeded() -> None:
    """The attachment went with the connection; it is not made anew."""
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    detaching = process.detach()
    s.lose_and_wait()
    assert result(detaching) is None
    assert recorder.told == [Reason.DETACHED]
    assert not process.attached
    assert s.requests() == []


def test_a_detach_that_was_answered_before_its_end() -> None:
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    detaching = process.detach()
    s.reply(s.requests()[-1][0], Ok())
    assert result(detaching) is None
    assert recorder.told == []
    s.lose_and_wait()
    assert recorder.told == [Reason.DETACHED]
    assert s.requests() == []


@pytest.mark.parametrize("attaching", [False, True])
def test_a_detach_in_between(attaching: bool) -> None:
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    s.lose()
    waiting = process.kill()
    if attaching:
        s.wait()
    assert result(process.detach()) is None
    assert recorder.told == [Reason.DETACHED]
    with pytest.raises(NotAttached, match="detached"):
        result(waiting)
    s.wait()
    if attaching:
        attach, _ = s.request()
        s.reply(attach, Attached(process=record()))
        assert s.request()[1] == Detach(to=attach)
    else:
        assert s.requests() == []
    exited = process.when_exited()
    assert s.request()[1] == Wait(process="p1", for_=Until.EXITED)
    assert pending(exited)


# --- what does not go on ---------------------------------------------------------------------------------------------


def test_a_process_that_was_removed_meanwhile() -> None:
    """As if END had come."""
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    writing, closing, exited = process.write(b"x"), process.close_stdin(), process.when_exited()
    s.lose_and_wait()
    killing = process.kill()
    s.reply(s.request()[0], Failure.of(NoSuchProcess("there is none")))
    assert recorder.told == [Reason.REMOVED]
    for one in (writing, closing, killing, process.write(b"y")):
        with pytest.raises(NotAttached, match="removed"):
            result(one)
    with pytest.raises(NotAttached):
        result(process.resize(1, 1))
    id, request = s.request()
    assert request == Wait(process="p1", for_=Until.EXITED)
    s.reply(id, Failure.of(NoSuchProcess("there is none")))
    with pytest.raises(NoSuchProcess):
        result(exited)
    s.lose_and_wait()
    assert s.requests() == []


def test_a_daemon_that_ends_itself_meanwhile() -> None:
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    s.lose_and_wait()
    s.reply(s.request()[0], Failure.of(ShuttingDown("going")))
    assert recorder.told == [Reason.SHUTDOWN]


def test_what_has_ended_before_is_not_taken_up_again() -> None:
    s = lasting()
    id, process = s.attached()
    s.event(id, End(reason=Reason.SHUTDOWN))
    s.lose_and_wait()
    assert s.requests() == []
    assert not process.attached


@pytest.mark.parametrize("refusal", [LimitReached("no more attachments"), Denied("not you"), BadRequest("beyond")])
def test_what_is_refused_is_lost(refusal: Refusal) -> None:
    """This attachment, and nothing else."""
    s = lasting()
    _, process = s.attached()
    recorder = Recorder()
    process.listen(recorder)
    writing, exited = process.write(b"x"), process.when_exited()
    s.lose_and_wait()
    s.reply(s.request()[0], Failure.of(refusal))
    (lost,) = recorder.told
    assert type(lost.__cause__) is type(refusal)
    for one in (writing, exited, process.kill("INT")):
        if one is not writing and one is not exited:
            assert s.request()[1] == Kill(process="p1", signal=2)
            continue
        with pytest.raises(ConnectionClosed, match="went with the connection"):
            result(one)
    assert s.session.ended is None


def test_a_client_that_gives_up_ends_it() -> None:
    s = lasting(patience=5.0)
    _, process = s.attached()
    got: list[Any] = []
    reading, writing, exited = collect(process, got), process.write(b"x"), process.when_exited()
    s.refusals.extend([ConnectionClosed("it hung up")] * 1000)
    s.lose()
    waiting = process.kill()
    assert pending(reading)
    s.clock.advance(5)
    s.clock.advance(5)
    for one in (reading, writing, exited, waiting, process.write(b"y"), process.when_exited(), process.kill()):
        with pytest.raises(ConnectionClosed, match="5 seconds"):
            result(one)
    assert got == []
    assert s.clock.getDelayedCalls() == []


def test_disconnecting_while_it_is_taken_up_again() -> None:
    s = lasting()
    _, process = s.attached()
    exited, writing = process.when_exited(), process.write(b"x")
    s.lose_and_wait()
    closing = s.client.disconnect()
    s.lose()
    assert result(closing) is None
    for one in (exited, writing):
        with pytest.raises(ConnectionClosed):
            result(one)
    assert s.clock.getDelayedCalls() == []


def test_input_that_only_the_process_can_explain() -> None:
    """The input fails, the output goes on."""
    s = lasting()
    _, process = s.attached()
    writing = process.write(b"abc")
    id, _ = again(s, stdin_end=10)
    with pytest.raises(Exception, match="has taken 10 bytes of input, and 0 were safe of 3 sent"):
        result(writing)
    recorder = Recorder()
    process.listen(recorder)
    s.event(id, Output(channel=1, payload=b"x"))
    assert recorder.told == [(1, b"x", 0, 0)]


# --- with our own daemon ---------------------------------------------------------------------------------------------


def started(daemon: MemoryDaemon, **options: Any) -> tuple[Any, RemoteProcess]:
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/srv/game"], **options))
    assert process is not None
    return client, process


def back(daemon: MemoryDaemon) -> None:
    daemon.reactor.advance(2)
    daemon.settle()


def test_a_daemon_that_was_away() -> None:
    """What was written and what happened meanwhile comes when it is back."""
    daemon = MemoryDaemon()
    client, process = started(daemon)
    child, recorder = daemon.children[0], Recorder()
    process.listen(recorder)
    child.write(b"before ")
    daemon.settle()
    exited = process.when_exited()
    daemon.listening = False
    daemon.drop_connections()
    child.write(b"meanwhile")
    writing, closing = process.write(b"input"), process.close_stdin()
    asking = client.inspect(process)
    back(daemon)
    assert not writing.called
    daemon.listening = True
    back(daemon)
    assert result(writing) == 5
    assert result(closing) is None
    assert result(asking).id == process.id
    assert child.read() == b"input"
    child.exit(3)
    daemon.settle()
    assert result(exited).code == 3
    assert b"".join(one[1] for one in recorder.told if type(one) is tuple and one[0] == 1) == b"before meanwhile"
    assert [one for one in recorder.told if not (type(one) is tuple and one[0] == 1)].count(("eof", 1)) == 1
    daemon.stop()


def test_the_size_of_a_terminal_arrives() -> None:
    daemon = MemoryDaemon()
    _, process = started(daemon, pty=Pty())
    resizing = process.resize(30, 40)
    daemon.drop_connections()
    back(daemon)
    assert result(resizing) is None
    assert daemon.children[0].size() == (30, 40)
    daemon.stop()


def test_many_attachments_and_many_clients() -> None:
    daemon = MemoryDaemon()
    clients = [daemon.connect_now() for _ in range(3)]
    processes = [result_of(daemon, client.start(["x"])) for client in clients for _ in range(20)]
    daemon.drop_connections()
    writes = [process.write(b"%d" % number) for number, process in enumerate(processes)]
    back(daemon)
    assert all(one.called for one in writes)
    assert [child.read() for child in daemon.children] == [b"%d" % number for number in range(60)]
    daemon.stop()


def result_of(daemon: MemoryDaemon, deferred: Deferred[RemoteProcess]) -> RemoteProcess:
    process = daemon.settle(deferred)
    assert process is not None
    return process
