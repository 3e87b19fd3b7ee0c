"""One attachment on a plain socket, several generations of its process: ends, statuses, input, the exit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from netdaemon.blocking import Client, RemoteProcess
from netdaemon.blocking.stdin import Stdin
from netdaemon.errors import AlreadyExited, Denied, NotRunning, Refusal, StdinClosed, StdinHole
from netdaemon.wire.answers import Attached, Event, Message, OfProcess, Ok, Output, Status, Taken
from netdaemon.wire.commands import Attach, Data, Request, Start
from netdaemon.wire.records import State, Until
from tests.blocking.support import RECORD, Answer, Child, attached, fake, server

BACKOFF = Status(state=State.BACKOFF, generation=1, code=1, end=3)
OVER = replace(BACKOFF, state=State.EXITED)
SECOND = Status(state=State.RUNNING, generation=2, pid=78, end=3)
EXITED = Status(state=State.EXITED, generation=2, code=0, end=6)
OUTPUT: tuple[Event, ...] = (
    Output(channel=1, offset=0, payload=b"one"),
    Output(channel=1, offset=3),
    Output(channel=2, offset=3),
)
LATER: tuple[Event, ...] = (
    Output(channel=1, offset=3, payload=b"two"),
    Output(channel=1, offset=6),
    Output(channel=2, offset=6),
)
WHOLE = (*OUTPUT, BACKOFF, SECOND, *LATER, EXITED)


def tells(*events: Event) -> Callable[[Request], list[Event]]:
    """A daemon that tells them to whoever attaches."""
    return lambda request: list(events) if isinstance(request, Start | Attach) else []


def test_backoff_ends_nothing_and_the_next_generation_goes_on() -> None:
    with fake(lambda request: attached(), tells(*OUTPUT, BACKOFF)) as (client, daemon):
        process = client.start(["cat"])
        for event in (*OUTPUT, BACKOFF):
            assert process.next_event(10) == event
        assert (process.exited, process.finished, process.closed) == (False, False, {1, 2})
        daemon.tell(SECOND)
        assert process.next_event(10) == SECOND
        assert (process.closed, process.status) == (set(), SECOND)
        daemon.tell(*LATER, EXITED)
        assert list(process.events(timeout=10)) == [*LATER, EXITED]
        assert process.exited
        assert process.wait() == EXITED


def test_until_the_exit_is_until_the_last() -> None:
    with fake(lambda request: attached(), tells(*WHOLE)) as (client, _):
        assert tuple(client.start(["cat"]).events(Until.EXITED, 10)) == WHOLE


def test_output_of_all_generations_is_read() -> None:
    with fake(lambda request: attached(), tells(*WHOLE)) as (client, _):
        assert client.start(["cat"]).read(timeout=10) == (b"onetwo", b"")


def test_exited_for_good_until_somebody_starts_it_again() -> None:
    with fake(lambda request: attached(), tells(*OUTPUT, OVER)) as (client, daemon):
        process = client.start(["cat"])
        assert list(process.events(timeout=10)) == [*OUTPUT, OVER]
        assert process.wait(10) == OVER
        daemon.tell(SECOND, *LATER)
        while process.exited:
            client.pump(10)
        daemon.tell(EXITED)
        assert list(process.events(timeout=10)) == [SECOND, *LATER, EXITED]


def test_what_was_over_before_we_came_is_told_and_ends_nothing() -> None:
    record = replace(RECORD, generation=2)
    with fake(lambda request: Attached(process=record), tells(*OUTPUT, OVER, SECOND, *LATER, EXITED)) as (client, _):
        process = client.attach("p")
        told = tuple(process.events(Until.EXITED, 10))
        assert told == (*OUTPUT, OVER, SECOND, *LATER, EXITED)
        assert process.wait() == EXITED


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_all_is_told_once_wherever_the_connection_is_lost(cut: int) -> None:
    """The next daemon tells every end and status again, and output from the offset on."""

    def answer(request: Request) -> Answer:
        later = isinstance(request, Attach)
        return Attached(process=replace(RECORD, generation=2 if later else 1), offset=0)

    def after(request: Request) -> list[Event]:
        if isinstance(request, Start):
            return list(WHOLE[:cut])
        assert isinstance(request, Attach)
        begin = request.from_ or 0
        return [one for one in WHOLE if not (isinstance(one, Output) and one.payload and one.offset < begin)]

    with server(answer, after) as (client, fakes):
        process = client.start(["cat"])
        told = [process.next_event(10) for _ in range(cut)]
        fakes.die()
        fakes.listen()
        while len(told) < len(WHOLE):
            told.append(process.next_event(10))
        assert tuple(told) == WHOLE
        assert process.next_event(10) is None


# --- input ---


@pytest.mark.parametrize(
    "refusal", [AlreadyExited("it has", end=3), NotRunning("not yet"), StdinClosed("no")], ids=repr
)
def test_input_that_was_refused_fails_and_the_next_generation_takes_more(refusal: Refusal) -> None:
    child = Child()

    def answer(request: Request) -> Answer:
        if isinstance(request, Data) and request.payload == b"lost":
            return refusal
        return child.answer(request)

    with fake(answer, tells(*OUTPUT, BACKOFF)) as (client, daemon):
        process = client.start(["cat"])
        assert process.write(b"abc", 10) == 3
        with pytest.raises(type(refusal)):
            process.write(b"lost", 10)
        with pytest.raises(type(refusal)):
            process.write(b"at once", 10)
        begin(client, process, daemon.tell)
        assert process.write(b"new", 10) == 6
        process.close_stdin(10)
    assert [request for request in daemon.asked(Data) if isinstance(request, Data)][-2].at == 3
    assert child.taken == b"abcnew"


def begin(client: Client, process: RemoteProcess, tell: Callable[[Event], None]) -> None:
    """The second generation begins, and that has come."""
    tell(SECOND)
    while process.status != SECOND:
        client.pump(10)


def test_eof_is_of_one_generation() -> None:
    child = Child()
    with fake(child.answer, tells(*OUTPUT, BACKOFF)) as (client, daemon):
        process = client.start(["cat"])
        process.close_stdin(10)
        with pytest.raises(StdinClosed):
            process.write(b"x", 10)
        child.closed = False
        begin(client, process, daemon.tell)
        assert process.write(b"x", 10) == 1


def test_the_end_of_channel_0_is_of_one_generation() -> None:
    child = Child()
    with fake(child.answer, tells(Output(channel=0), *OUTPUT, BACKOFF)) as (client, daemon):
        process = client.start(["cat"])
        while process.status != BACKOFF:
            client.pump(10)
        with pytest.raises(StdinClosed):
            process.write(b"x", 10)
        begin(client, process, daemon.tell)
        assert process.write(b"x", 10) == 1


def test_the_end_of_channel_0_before_we_came_is_none_of_ours() -> None:
    child = Child()

    def answer(request: Request) -> Answer:
        told = child.answer(request)
        return replace(told, process=replace(RECORD, generation=2)) if isinstance(told, Attached) else told

    with fake(answer, tells(Output(channel=0), *OUTPUT, BACKOFF, SECOND)) as (client, _):
        process = client.attach("p")
        assert process.write(b"x", 10) == 1
        while process.status != SECOND:
            client.pump(10)
        assert process.write(b"y", 10) == 2


@pytest.mark.parametrize("ask", ["restart", "wait", "inspect"])
def test_whoever_knows_that_it_runs_again_may_write(ask: str) -> None:
    """The reply comes before the status, which has its place after all output; so may the end of the input before."""
    child = Child()

    def answer(request: Request) -> Answer:
        told = child.answer(request)
        return OfProcess(process=replace(RECORD, generation=2)) if told == Ok() else told

    with fake(answer) as (client, daemon):
        process = client.start(["cat"])
        process.close_stdin(10)
        child.closed = False
        getattr(client, ask)("bcdf")
        assert process.write(b"x", 10) == 1
        daemon.tell(Output(channel=0), *OUTPUT, BACKOFF, SECOND)
        while process.status != SECOND:
            client.pump(10)
        assert process.write(b"y", 10) == 2


class Sent:
    """What a `Stdin` has sent, to be answered by the test."""

    def __init__(self) -> None:
        self.requests: list[tuple[Data, Callable[[Message | Refusal], None]]] = []

    def submit(self, request: Data, on_answer: Callable[..., None]) -> None:
        self.requests.append((request, on_answer))

    def take(self) -> tuple[Data, Callable[[Message | Refusal], None]]:
        (found,) = self.requests
        self.requests.clear()
        return found


def two_under_way(sent: Sent) -> tuple[Stdin, list[Callable[[Message | Refusal], None]]]:
    stdin = Stdin(sent.submit, 5, sole=True, end=0, window=10, chunk=4)
    stdin.put(b"aaaabbbb")
    answers = [on_answer for _, on_answer in sent.requests]
    sent.requests.clear()
    assert len(answers) == 2
    return stdin, answers


@pytest.mark.parametrize(
    ("answer", "end"), [(StdinHole("a hole", end=0), 0), (Taken(accepted=4, end=4), 4)], ids=["refused", "taken"]
)
def test_answers_that_are_still_under_way_are_waited_for(answer: Message | Refusal, end: int) -> None:
    sent = Sent()
    stdin, (one, two) = two_under_way(sent)
    one(AlreadyExited("it has", end=0))
    assert isinstance(stdin.error, AlreadyExited)
    stdin.reopen()
    assert stdin.put(b"cc") == 2
    assert sent.requests == []
    two(answer)
    request, taken = sent.take()
    assert request == Data(to=5, at=end, payload=b"cc")
    taken(Taken(accepted=2, end=end + 2))
    assert (stdin.end, stdin.accepted, stdin.idle) == (end + 2, end + 2, True)


@pytest.mark.parametrize("reopened", [False, True])
def test_input_after_a_refusal_and_a_loss_goes_on_where_the_daemon_says(reopened: bool) -> None:
    sent = Sent()
    stdin, (one, _) = two_under_way(sent)
    one(AlreadyExited("it has", end=0))
    if reopened:
        stdin.reopen()
        stdin.put(b"cc")
    stdin.disconnect()
    stdin.resume(6, 4, later=True)
    if not reopened:
        stdin.reopen()
        stdin.put(b"cc")
    assert sent.take()[0] == Data(to=6, at=4, payload=b"cc")


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_an_eof_that_was_under_way_is_none_of_a_later_generation(later: bool, terminal: bool) -> None:
    sent = Sent()
    stdin = Stdin(sent.submit, 5, sole=True, end=0, terminal=terminal, window=10, chunk=4)
    stdin.close()
    assert sent.take()[0] == Data(to=5, at=0)
    stdin.disconnect()
    stdin.resume(6, 0, later=later)
    if later:
        assert stdin.idle
        assert stdin.put(b"x") == 1
        assert sent.take()[0] == Data(to=6, at=0, payload=b"x")
    else:
        assert sent.take()[0] == Data(to=6, at=0)
        assert not stdin.idle


def test_what_is_refused_for_good_stays_so() -> None:
    sent = Sent()
    stdin, (one, _) = two_under_way(sent)
    one(Denied("read-only"))
    stdin.reopen()
    assert isinstance(stdin.error, Denied)
    assert stdin.room == 0
