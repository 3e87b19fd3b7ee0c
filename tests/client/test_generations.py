"""One attachment, several generations of its process: ends, statuses, input, the exit; the test is the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netdaemon.client.remote import RemoteProcess
from netdaemon.errors import AlreadyExited, NotRunning, Refusal, StdinClosed, StdinHole
from netdaemon.wire.answers import Attached, Event, Failure, OfProcess, Output, Status, Taken
from netdaemon.wire.commands import Attach, Data, Wait
from netdaemon.wire.records import State
from tests.client.support import Stage, lasting, pending, record, result, stage
from tests.client.test_remote import Recorder, collect
from tests.client.test_spawn import Spawned

BACKOFF = Status(state=State.BACKOFF, generation=1, code=1, end=3)
SECOND = Status(state=State.RUNNING, generation=2, pid=78, end=3)
EXITED = Status(state=State.EXITED, generation=2, code=0, end=6)
FIRST = (Output(channel=1, offset=0, payload=b"one"), Output(channel=1, offset=3), Output(channel=2, offset=3), BACKOFF)
LATER = (Output(channel=1, offset=3, payload=b"two"), Output(channel=1, offset=6), Output(channel=2, offset=6))


def heard(process: RemoteProcess) -> list[Any]:
    recorder = Recorder()
    process.listen(recorder)
    return recorder.told


def in_short(*events: Event) -> list[Any]:
    """As the recorder has them."""
    return [
        e if isinstance(e, Status) else (e.channel, e.payload, e.offset, 0) if e.payload else ("eof", e.channel)
        for e in events
        if isinstance(e, Output | Status)
    ]


def attached(s: Stage, **fields: Any) -> tuple[int, RemoteProcess]:
    """A process that was attached to, with such a record."""
    attaching = s.client.attach("p1", sole_writer=True)
    id, _ = s.request()
    s.reply(id, Attached(process=record(**fields)))
    return id, result(attaching)


def resume(s: Stage, from_: int, **fields: Any) -> int:
    """It attaches anew, from there, and is told so."""
    s.lose_and_wait()
    id, request = s.request()
    assert isinstance(request, Attach)
    assert request.from_ == from_
    stdin_end = fields.pop("stdin_end", 0)
    s.reply(id, Attached(process=record(**fields), offset=from_, stdin_end=stdin_end))
    return id


def test_backoff_ends_nothing_and_the_next_generation_goes_on() -> None:
    s = stage()
    id, process = s.attached()
    told, exit = heard(process), process.when_exited()
    s.event(id, *FIRST)
    assert pending(exit)
    assert process.attached
    assert (process.record.state, process.record.code, process.pid) == (State.BACKOFF, 1, None)
    assert process.record.eof == (1, 2)
    s.event(id, SECOND)
    assert (process.record.state, process.record.code, process.pid) == (State.RUNNING, None, 78)
    assert (process.record.generation, process.record.eof) == (2, ())
    s.event(id, *LATER)
    assert (process.offset, process.record.eof) == (6, (1, 2))
    s.event(id, EXITED)
    assert told == in_short(*FIRST, SECOND, *LATER, EXITED)
    ended = result(exit)
    assert (ended.state, ended.code, ended.generation) == (State.EXITED, 0, 2)


def test_a_loop_goes_on_through_backoff_and_ends_with_the_last_end() -> None:
    s = stage()
    id, process = s.attached()
    into: list[Any] = []
    reading = collect(process, into)
    s.event(id, *FIRST)
    assert pending(reading)
    s.event(id, SECOND, EXITED)
    assert pending(reading)
    s.event(id, *LATER)
    result(reading)
    assert [item.payload for item in into] == [b"one", b"two"]


def test_exited_for_good_until_somebody_starts_it_again() -> None:
    s = stage()
    id, process = s.attached()
    first: list[Any] = []
    reading, exit = collect(process, first), process.when_exited()
    over = Status(state=State.EXITED, generation=1, code=1, end=3)
    s.event(id, *FIRST[:3], over, Output(channel=0, offset=3))
    result(reading)
    assert result(exit).code == 1
    # There is nothing to read, and so nothing to wait for.
    result(collect(process, []))
    s.event(id, SECOND)
    exit = process.when_exited()
    assert pending(exit)
    second: list[Any] = []
    reading = collect(process, second)
    s.event(id, *LATER)
    assert pending(reading)
    s.event(id, EXITED)
    result(reading)
    assert ([one.payload for one in first], [one.payload for one in second]) == ([b"one"], [b"two"])
    assert result(exit).code == 0


def test_the_loop_of_one_generation_ends_although_the_next_has_begun() -> None:
    """Whatever came at once: as if it had been read in time."""
    s = stage()
    id, process = s.attached()
    over = Status(state=State.EXITED, generation=1, code=1, end=3)
    s.event(id, *FIRST[:3], over, SECOND, *LATER, EXITED)
    for expected in (b"one", b"two"):
        into: list[Any] = []
        result(collect(process, into))
        assert [item.payload for item in into] == [expected]
    result(collect(process, []))


def test_failed_is_the_end() -> None:
    s = stage()
    id, process = s.attached()
    exit = process.when_exited()
    s.event(id, *FIRST, Status(state=State.FAILED, generation=1, code=1, end=3))
    assert result(exit).state is State.FAILED


def test_what_was_over_before_we_came_is_told_and_ends_nothing() -> None:
    s = stage()
    id, process = attached(s, generation=2, pid=78, end=6)
    told, exit = heard(process), process.when_exited()
    over = Status(state=State.EXITED, generation=1, code=1, end=3)
    s.event(id, *FIRST[:3], over)
    assert (process.record.state, process.pid, process.record.eof) == (State.RUNNING, 78, ())
    assert pending(exit)
    s.event(id, SECOND, *LATER)
    assert pending(exit)
    s.event(id, EXITED)
    assert result(exit).code == 0
    assert told == in_short(*FIRST[:3], over, SECOND, *LATER, EXITED)


def test_a_loop_reads_what_was_over_before_we_came_too() -> None:
    s = stage()
    id, process = attached(s, generation=2)
    into: list[Any] = []
    reading = collect(process, into)
    s.event(id, *FIRST[:3], Status(state=State.EXITED, generation=1, code=1, end=3), SECOND)
    assert pending(reading)
    s.event(id, *LATER, EXITED)
    result(reading)
    assert [item.payload for item in into] == [b"one", b"two"]


def test_a_paused_reader_is_told_of_the_exit_by_waiting_for_it_each_time() -> None:
    s = stage()
    _, process = s.attached()
    process.pause()
    s.requests()
    for generation in (1, 2):
        exit = process.when_exited()
        id, request = s.request()
        assert isinstance(request, Wait)
        s.reply(id, OfProcess(process=record(state=State.EXITED, generation=generation)))
        assert result(exit).generation == generation
        process.event(Status(state=State.RUNNING, generation=generation + 1, pid=9))


# --- a lost connection ---


@pytest.mark.parametrize("cut", range(10))
def test_all_is_told_once_wherever_the_connection_is_lost(cut: int) -> None:
    """The next daemon tells every end and status again, and output from the offset on."""
    whole = (*FIRST, SECOND, *LATER, EXITED)
    s = lasting()
    id, process = s.attached()
    told, exit = heard(process), process.when_exited()
    s.event(id, *whole[:cut])
    state = {"state": State.EXITED, "generation": 2, "pid": None, "end": 6}
    id = resume(s, process.offset, **state)
    again = [e for e in whole if not (isinstance(e, Output) and e.payload and e.offset < process.offset)]
    s.event(id, *again)
    assert told == in_short(*whole)
    assert result(exit).generation == 2
    assert process.record.eof == (1, 2)


def test_the_ends_of_an_earlier_generation_are_none_of_this() -> None:
    s = lasting()
    id, process = s.attached()
    told = heard(process)
    s.event(id, *FIRST, SECOND)
    id = resume(s, 3, generation=2, pid=78)
    s.event(id, *FIRST[1:], SECOND, *LATER)
    assert told == in_short(*FIRST, SECOND, *LATER)


# --- input ---


@pytest.mark.parametrize(
    "refusal", [AlreadyExited("it has", end=3), NotRunning("not yet", end=3), StdinClosed("by itself", end=3)], ids=repr
)
def test_input_that_was_refused_fails_and_the_next_generation_takes_more(refusal: Refusal) -> None:
    s = stage()
    id, process = s.attached()
    first = process.write(b"abc")
    sent, _ = s.request()
    s.reply(sent, Taken(accepted=3, end=3))
    assert result(first) == 3
    second = process.write(b"lost")
    sent, _ = s.request()
    s.event(id, *FIRST)
    s.reply(sent, Failure.of(refusal))
    for one in (second, process.write(b"at once"), process.close_stdin()):
        with pytest.raises(type(refusal)):
            result(one)
    assert s.requests() == []
    s.event(id, SECOND)
    assert process.unsafe == 0
    third = process.write(b"new")
    sent, request = s.request()
    assert request == Data(to=id, at=3, payload=b"new")
    s.reply(sent, Taken(accepted=3, end=6))
    assert result(third) == 6


def test_eof_is_of_one_generation() -> None:
    s = stage()
    id, process = s.attached()
    closing = process.close_stdin()
    sent, _ = s.request()
    s.reply(sent, Taken(accepted=0, end=0))
    result(closing)
    with pytest.raises(StdinClosed):
        result(process.write(b"x"))
    s.event(id, *FIRST, SECOND)
    process.write(b"x")
    assert s.request()[1] == Data(to=id, at=0, payload=b"x")


@pytest.mark.parametrize("ask", ["restart", "wait", "inspect"])
def test_whoever_knows_that_it_runs_again_may_write(ask: str) -> None:
    """The reply comes before the status, which has its place after all output."""
    s = stage()
    id, process = s.attached()
    closing = process.close_stdin()
    sent, _ = s.request()
    s.reply(sent, Taken(accepted=0, end=0))
    result(closing)
    asking = getattr(s.client, ask)("p1")
    sent, _ = s.request()
    s.reply(sent, OfProcess(process=record(generation=2, pid=78)))
    result(asking)
    process.write(b"x")
    sent, request = s.request()
    assert request == Data(to=id, at=0, payload=b"x")
    s.reply(sent, Taken(accepted=1, end=1))
    closing = process.close_stdin()
    sent, _ = s.request()
    s.reply(sent, Taken(accepted=0, end=1))
    result(closing)
    # It is of this one.
    s.event(id, *FIRST, SECOND)
    with pytest.raises(StdinClosed):
        result(process.write(b"y"))


def test_answers_that_are_still_under_way_are_waited_for() -> None:
    """What was sent behind the piece that was refused may have been taken by the new generation."""
    s = stage()
    id, process = s.attached()
    first = process.write(b"a" * 400)
    second = process.write(b"b" * 400)
    (one, _), (two, _) = s.requests()
    s.reply(one, Failure.of(AlreadyExited("it has", end=0)))
    s.event(id, *FIRST, SECOND)
    third = process.write(b"c")
    assert s.requests() == []
    s.reply(two, Failure.of(StdinHole("a hole", end=0)))
    for refused in (first, second):
        with pytest.raises(AlreadyExited):
            result(refused)
    sent, request = s.request()
    assert request == Data(to=id, at=0, payload=b"c")
    s.reply(sent, Taken(accepted=1, end=1))
    assert result(third) == 1


@pytest.mark.parametrize("when", ["before the next generation", "while answers are waited for"])
def test_input_after_a_refusal_and_a_loss_goes_on_where_the_daemon_says(when: str) -> None:
    s = lasting()
    id, process = s.attached()
    process.write(b"a" * 400).addErrback(lambda failure: failure.trap(AlreadyExited) and None)
    process.write(b"b" * 400).addErrback(lambda failure: failure.trap(AlreadyExited) and None)
    (one, _), _ = s.requests()
    s.reply(one, Failure.of(AlreadyExited("it has", end=0)))
    s.event(id, *FIRST)
    writing: Deferred[int] | None = None
    if when == "while answers are waited for":
        s.event(id, SECOND)
        writing = process.write(b"new")
        assert s.requests() == []
    id = resume(s, 3, generation=2, pid=78, stdin_end=400)
    s.event(id, *FIRST[1:], SECOND)
    writing = writing or process.write(b"new")
    sent, request = s.request()
    assert request == Data(to=id, at=400, payload=b"new")
    s.reply(sent, Taken(accepted=3, end=403))
    assert result(writing) == 403


@pytest.mark.parametrize("generation", [1, 2])
def test_an_eof_that_was_under_way_is_none_of_a_later_generation(generation: int) -> None:
    s = lasting()
    _, process = s.attached()
    closing = process.close_stdin()
    s.requests()
    id = resume(s, 0, generation=generation)
    if generation == 1:
        assert s.request()[1] == Data(to=id)
        assert pending(closing)
    else:
        assert s.requests() == []
        assert result(closing) is None
        s.event(id, SECOND)
        process.write(b"x")
        assert s.request()[1] == Data(to=id, at=0, payload=b"x")


# --- spawnProcess ---


def test_a_protocol_is_told_of_the_exit_for_good_only() -> None:
    """What was closed stays closed to it: it has been told so."""
    one = Spawned()
    one.event(FIRST[0], Output(channel=2, offset=3), BACKOFF, SECOND, LATER[0])
    assert one.told() == ["made", (1, b"one"), 2, (1, b"two")]
    one.event(*LATER[1:], EXITED)
    assert one.told()[4:] == [1, "exited", 0, "ended"]
    assert one.transport.status == 0
