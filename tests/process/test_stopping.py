"""A stop's steps on a clock, one after the other, and killed at every place: nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from netdaemon.errors import AlreadyExited, Denied, StdinFull
from netdaemon.process.stopping import AFTER_LAST, Stopping, plain_steps, steps_of
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import USUAL_STOP, Step
from tests.walltime import wall_time

QUIT = Step(stdin=b"quit\n")
WAIT = Step(wait=5000)
TERM = Step(signal=15)
TREE_INT = Step(signal=2, scope=Scope.TREE)
KILL = Step(kill=True)


class Killed(BaseException):
    """The daemon is, at this place."""


class Game:
    """What is stopped, and outlives the daemon: what was done to it, and what was saved of its stop."""

    def __init__(self) -> None:
        self.input = b""
        self.done: list[Any] = []
        self.saved: dict[str, Any] = {}
        self.told: list[str] = []
        self.over = 0
        self.refusal: Exception | None = None
        # How many more moments the daemon lives; None: for ever.
        self.left: int | None = None
        self.moments = 0

    def moment(self) -> None:
        """The daemon may be killed here."""
        self.moments += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed

    @property
    def stdin_end(self) -> int:
        return len(self.input)

    def type(self, text: bytes, at: int) -> None:
        self.moment()
        if self.refusal is not None:
            raise self.refusal
        assert at <= len(self.input)
        self.input += text[len(self.input) - at :]
        self.done.append(("type", text))
        self.moment()

    def signal(self, number: int, scope: Scope) -> None:
        self.moment()
        if self.refusal is not None:
            raise self.refusal
        self.done.append(("signal", number, scope))
        self.moment()

    def kill_all(self) -> None:
        self.moment()
        if self.refusal is not None:
            raise self.refusal
        self.done.append(("kill",))
        self.moment()

    def stop(self, clock: Clock, steps: Sequence[Step]) -> Stopping:
        """Its stop, which is saved whenever that is asked for."""

        def on_step(step: str) -> None:
            self.moment()
            self.saved = json.loads(json.dumps(stopping.saved()))
            # What was saved is told in any case: the process's own events are saved with it.
            if step:
                self.told.append(step)
            self.moment()

        def on_over() -> None:
            self.over += 1

        stopping = Stopping(self, clock, steps, "uid:1", on_step, on_over)
        return stopping


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    with wall_time(made):
        yield made


def test_every_kind_of_step_in_order(clock: Clock) -> None:
    """Each when its time has come, told before it is taken; what worked is the last that did something."""
    game = Game()
    stopping = game.stop(clock, (QUIT, WAIT, TREE_INT, TERM, Step(wait=1000), KILL))
    assert stopping.worked == ""
    stopping.go()
    assert game.done == [("type", b"quit\n")]
    assert (stopping.worked, stopping.step) == ('stdin "quit\\n"', "wait 5s")
    clock.advance(4.999)
    assert len(game.done) == 1
    clock.advance(0.001)
    assert game.done[1:] == [("signal", 2, Scope.TREE), ("signal", 15, Scope.GROUP)]
    assert (stopping.worked, stopping.step) == ("signal TERM", "wait 1s")
    clock.advance(1)
    assert game.done[3:] == [("kill",)]
    assert stopping.worked == "kill"
    assert game.told == ['stdin "quit\\n"', "wait 5s", "signal INT (tree)", "signal TERM", "wait 1s", "kill"]
    assert game.over == 0
    clock.advance(AFTER_LAST)
    assert game.over == 1


def test_a_stop_that_has_worked_takes_no_more_steps(clock: Clock) -> None:
    """Closed while it waits, nothing follows; what worked stays known."""
    game = Game()
    stopping = game.stop(clock, USUAL_STOP)
    stopping.go()
    clock.advance(3)
    stopping.close()
    stopping.close()
    clock.advance(1000)
    assert game.done == [("signal", 15, Scope.GROUP)]
    assert (stopping.worked, game.over) == ("signal TERM", 0)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("last", [QUIT, TERM, KILL])
def test_after_the_last_step_ten_seconds_more(clock: Clock, last: Step) -> None:
    """Within which it may still exit."""
    game = Game()
    game.stop(clock, (last,)).go()
    clock.advance(9.99)
    assert game.over == 0
    clock.advance(0.01)
    assert game.over == 1


def test_after_a_last_wait_nothing_more(clock: Clock) -> None:
    """Who says how long to wait is told then."""
    game = Game()
    stopping = game.stop(clock, (TERM, WAIT))
    stopping.go()
    clock.advance(4.99)
    assert game.over == 0
    clock.advance(0.01)
    assert game.over == 1
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("refusal", [StdinFull("no"), AlreadyExited("gone"), Denied("not yours")])
def test_a_step_that_is_refused_is_followed_by_the_next(clock: Clock, refusal: Exception) -> None:
    """Whatever refuses it."""
    game = Game()
    game.refusal = refusal
    stopping = game.stop(clock, (QUIT, TERM, KILL))
    stopping.go()
    assert game.told == ['stdin "quit\\n"', "signal TERM", "kill"]
    clock.advance(AFTER_LAST)
    assert game.over == 1


def test_a_mistake_is_not_swallowed(clock: Clock) -> None:
    """Only what is refused is passed over."""
    game = Game()
    game.refusal = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        game.stop(clock, (TERM, WAIT)).go()


STEPS = st.lists(
    st.one_of(
        st.builds(lambda text: Step(stdin=text), st.sampled_from([b"a", b"quit\n", b"aa", b"\xff"])),
        st.builds(lambda wait: Step(wait=wait), st.sampled_from([1, 500, 60_000])),
        st.builds(
            lambda signal, scope: Step(signal=signal, scope=scope),
            st.sampled_from([1, 2, 15]),
            st.sampled_from([None, *Scope]),
        ),
    ),
    min_size=1,
    max_size=6,
).flatmap(lambda steps: st.sampled_from([tuple(steps), (*steps, KILL)]))


@given(STEPS)
def test_steps_as_json(steps: tuple[Step, ...]) -> None:
    """There and back."""
    assert steps_of(json.loads(json.dumps(plain_steps(steps)))) == steps


def run_through(steps: Sequence[Step], between: Callable[[Game, Clock], None], kills: int) -> Game:
    """A stop that is gone on with by *kills* daemons one after the other, the first killed where *between* says."""
    clock, game = Clock(), Game()
    with wall_time(clock):
        stopping = game.stop(clock, steps)
        game.saved = json.loads(json.dumps(stopping.saved()))
        for _ in range(kills):
            between(game, clock)
            try:
                stopping.go()
                while game.over == 0:
                    clock.advance(clock.getDelayedCalls()[0].getTime() - clock.seconds())
            except Killed:
                pass
            # Of the dead daemon nothing goes on.
            stopping.close()
            game.left = None
            clock.advance(0.25)
            if game.over:
                break
            stopping = game.stop(clock, steps_of(game.saved["steps"]))
            stopping.restore(game.saved)
        else:
            stopping.go()
            while game.over == 0:
                clock.advance(clock.getDelayedCalls()[0].getTime() - clock.seconds())
        assert [call for call in clock.getDelayedCalls() if call.active()] == []
    return game


def expect(game: Game, steps: Sequence[Step]) -> None:
    """Everything was typed once, no signal was sent twice, each step was told once, and all in order."""
    assert game.over == 1
    assert game.input == b"".join(step.stdin for step in steps if step.stdin is not None)
    sent = [one[1:] for one in game.done if one[0] == "signal"]
    wanted = iter([(step.signal, step.scope or Scope.GROUP) for step in steps if step.signal is not None])
    assert all(one in wanted for one in sent)
    assert game.told == [str(step) for step in steps]
    assert (("kill",) in game.done) == any(step.kill for step in steps)


@given(STEPS)
def test_killed_at_every_place(steps: tuple[Step, ...]) -> None:
    """Before and after each thing that is done or saved: the next daemon goes on, and repeats nothing."""
    whole = run_through(steps, lambda game, clock: None, 1)
    expect(whole, steps)
    assert len([one for one in whole.done if one[0] == "signal"]) == sum(step.signal is not None for step in steps)
    for place in range(whole.moments):

        def between(game: Game, clock: Clock, place: int = place) -> None:
            game.left = place

        expect(run_through(steps, between, 1), steps)


@given(STEPS, st.lists(st.integers(0, 8), max_size=6))
def test_killed_again_and_again(steps: tuple[Step, ...], places: list[int]) -> None:
    """Several daemons in a row, each wherever it has come to."""
    left = iter(places)

    def between(game: Game, clock: Clock) -> None:
        game.left = next(left)

    expect(run_through(steps, between, len(places)), steps)


def test_a_wait_goes_on_where_it_was(clock: Clock) -> None:
    """What passed while there was no daemon counts; what is over by then is over at once."""
    for away, left in ((1.0, 2.0), (100.0, 0.0)):
        game = Game()
        stopping = game.stop(clock, (TERM, WAIT, KILL))
        stopping.go()
        clock.advance(2)
        stopping.close()
        clock.advance(away)
        other = game.stop(clock, steps_of(game.saved["steps"]))
        other.restore(game.saved)
        other.go()
        if left:
            clock.advance(left - 0.01)
            assert ("kill",) not in game.done
            clock.advance(0.01)
        else:
            clock.advance(0)
        assert ("kill",) in game.done
        assert other.worked == "kill"
        other.close()
