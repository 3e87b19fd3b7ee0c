"""A process left to itself, on a clock: backoff, limits, readiness, signs of life, and what is typed into it."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from netdaemon.errors import AlreadyExited, Denied, LaunchFailed, NotRunning, NotStopped, StdinFull
from netdaemon.keeper.child import ExitStatus, LaunchError
from netdaemon.process.coming_back import adopted
from netdaemon.process.describing import saved_of
from netdaemon.process.identity import Identity
from netdaemon.process.lifecycle import BY_ITSELF
from netdaemon.process.record import Process
from netdaemon.process.saved import Saved, Told
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.testing import FakeChild, FakeLauncher, MemoryReactor
from netdaemon.wire.answers import WINDOW
from netdaemon.wire.commands import KEEP
from netdaemon.wire.records import Scope, State, Until
from netdaemon.wire.specs import Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening
from tests.walltime import wall_time

ALWAYS = Restart(policy=Policy.ALWAYS, delay=1000, settled=10_000)


class Alive:
    """One process, and as much of a table as starts it again."""

    def __init__(self, reactor: MemoryReactor, **declared: Any) -> None:
        self.reactor = reactor
        self.launcher = FakeLauncher()
        self.told: list[Told] = []
        self.leftovers = 0
        identity = Identity(id="p", argv=("x",), owner="uid:7", **declared)
        self.process = Process(identity, Spool(os.memfd_create("out"), KEEP), self._stdin(0), reactor)
        self.process.life._restarting._chance = lambda: 0.5
        self.process.on_event = self._tell
        self.process.life.on_start = self._start_again
        self.process.life.on_leftovers = self._end_leftovers
        self._launch()

    def _tell(self, process: Process, told: Told) -> None:
        # It is told once it is saved, and not before.
        assert Saved.decode(process.octets).number >= told.number
        self.told.append(told)

    def _end_leftovers(self, process: Process) -> None:
        self.leftovers += 1

    def _stdin(self, base: int) -> Stdin:
        return Stdin(lambda: os.memfd_create("in"), WINDOW, base)

    def _launch(self) -> None:
        from netdaemon.keeper.child import Spec

        name = self.process.current.launch_id
        launching = self.launcher.launch(name, Spec(path=b"x", argv=(b"x",), env=(), cwd=b"/"), -1)
        launching.addCallbacks(
            lambda launched: self.process.run(self.launcher, launched),
            lambda failure: self.process.launch_failed(LaunchFailed("x: no such file")),
        )

    def _start_again(self, process: Process) -> None:
        process.begin_again(self._stdin(process.stdin.end))
        self._launch()

    @property
    def child(self) -> FakeChild:
        return self.launcher.children[-1]

    @property
    def state(self) -> State:
        return self.process.state

    @property
    def types(self) -> list[str]:
        return [one.type.value for one in self.told]

    def detail(self, happening: Happening) -> str | None:
        """What was said last of that."""
        return next(one.detail for one in reversed(self.told) if one.type is happening)

    def settle(self) -> None:
        while self.reactor.turn():
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, from one thing that is waited for to the next."""
        until = self.reactor.seconds() + seconds
        self.settle()
        while (due := min((c.getTime() for c in self.reactor.getDelayedCalls()), default=until)) < until:
            self.reactor.advance(max(0.0, due - self.reactor.seconds()))
            self.settle()
        self.reactor.advance(until - self.reactor.seconds())
        self.settle()

    def exit(self, code: int | None = 0, **options: Any) -> None:
        self.child.exit(code, **options)
        self.settle()

    def close(self) -> None:
        """Nothing is left of it."""
        self.process.forget()
        self.process.let_go()
        for child in self.launcher.children:
            child.clean()
        assert self.reactor.getReaders() == self.reactor.getWriters() == []
        assert [call for call in self.reactor.getDelayedCalls() if call.active()] == []


Make = Callable[..., Alive]


@pytest.fixture
def make() -> Iterator[Make]:
    reactor = MemoryReactor()
    made: list[Alive] = []

    def one(**declared: Any) -> Alive:
        alive = Alive(reactor, **declared)
        made.append(alive)
        alive.settle()
        return alive

    with wall_time(reactor):
        yield one
        for alive in made:
            alive.close()


def result(waiting: Deferred[Any]) -> list[Any]:
    """What has come of it: a result, an error, or nothing yet."""
    found: list[Any] = []
    waiting.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


# --- started again ---------------------------------------------------------------------------------------------------


def test_backoff_on_the_clock(make: Make) -> None:
    """Each delay twice the last, to the moment; the record says when; a generation that stays up ends it."""
    alive = make(restart=ALWAYS)
    for number, delay in enumerate((1, 2, 4, 8)):
        alive.exit(1)
        assert (alive.state, alive.process.generation) == (State.BACKOFF, number + 1)
        record = alive.process.record()
        assert (record.failures, record.due) == (number + 1, (record.exited or 0) + delay * 1_000_000)
        assert alive.detail(Happening.BACKOFF) == f"again in {delay}s"
        alive.advance(delay - 0.001)
        assert alive.state is State.BACKOFF
        alive.advance(0.001)
        assert (alive.state, alive.process.generation) == (State.RUNNING, number + 2)
        assert alive.process.record().due is None
    alive.advance(9.9)
    alive.exit(1)
    assert alive.detail(Happening.BACKOFF) == "again in 16s"
    alive.advance(16)
    alive.advance(10)
    alive.exit(1)
    assert alive.detail(Happening.BACKOFF) == "again in 1s"
    assert alive.process.record().failures == 1


@pytest.mark.parametrize("burst", [1, 2, 3, 5])
def test_a_limit_of_starts(make: Make, burst: int) -> None:
    """So many, the first among them; in place of the next it has failed, and says why."""
    alive = make(restart=Restart(policy=Policy.ALWAYS, delay=0, burst=burst, interval=60_000))
    for number in range(1, burst + 1):
        assert (alive.state, alive.process.generation) == (State.RUNNING, number)
        alive.exit(1)
        alive.advance(0)
    assert (alive.state, alive.process.generation) == (State.FAILED, burst)
    assert alive.detail(Happening.FAILED) == f"started {'once' if burst == 1 else f'{burst} times'} within 1m"
    # By hand it is started all the same, and as often again.
    alive.process.life.restart("uid:1")
    for _ in range(burst):
        assert alive.state is State.RUNNING
        alive.exit(1)
        alive.advance(0)
    assert alive.state is State.FAILED


def test_starts_that_are_long_ago_do_not_count(make: Make) -> None:
    """A service that fails once an hour is not given up."""
    alive = make(restart=Restart(policy=Policy.ALWAYS, delay=0, burst=2, interval=60_000))
    for _ in range(20):
        alive.advance(40)
        alive.exit(1)
        alive.advance(0)
        assert alive.state is State.RUNNING


def test_a_start_that_fails_is_tried_again(make: Make) -> None:
    """Told as not started, and no exit; with the delays of any failure."""
    alive = make(restart=ALWAYS)
    alive.launcher.refusals.extend([LaunchError("exec", errno.ENOENT)] * 2)
    alive.exit(1)
    alive.advance(1)
    assert alive.types[-4:] == ["exited", "backoff", "not-started", "backoff"]
    assert alive.process.status == ExitStatus()
    alive.advance(2)
    assert alive.types[-2:] == ["not-started", "backoff"]
    alive.advance(4)
    assert (alive.state, alive.process.generation) == (State.RUNNING, 4)


@pytest.mark.parametrize("restart", [None, Restart(policy=Policy.NEVER)])
def test_a_start_by_hand_that_fails(make: Make, restart: Restart | None) -> None:
    """Whoever asked is told; it has failed, and can be started again."""
    alive = make(restart=restart)
    alive.exit(1)
    alive.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
    (error,) = result(alive.process.life.restart("uid:1"))
    assert isinstance(error, LaunchFailed)
    assert (alive.state, alive.types[-2:]) == (State.FAILED, ["not-started", "failed"])
    assert result(alive.process.life.restart("uid:1")) == [None]
    assert alive.told[-1].principal == "uid:1"


def test_who_wants_each_generation(make: Make) -> None:
    """The first its owner, one by hand whoever did that, all others nobody."""
    alive = make(restart=ALWAYS)
    alive.exit(1)
    alive.advance(1)
    alive.process.life.restart("uid:9")
    alive.exit(0)
    alive.advance(0)
    alive.exit(1)
    alive.advance(1)
    started = [one.principal for one in alive.told if one.type is Happening.STARTED]
    assert started == ["uid:7", BY_ITSELF, "uid:9", BY_ITSELF]


def test_offsets_go_on_over_generations(make: Make) -> None:
    """Of output and of input; each generation has its own ends."""
    alive = make(restart=ALWAYS)
    alive.child.write(b"one")
    alive.settle()
    alive.process.write(b"in", None)
    assert alive.child.read() == b"in"
    alive.exit(1)
    assert set(alive.process.record().eof) == {0, 1, 2}
    with pytest.raises(AlreadyExited):
        alive.process.write(b"x", None)
    alive.advance(1)
    assert alive.process.record().eof == ()
    alive.child.write(b"two")
    alive.settle()
    assert (alive.process.spool.end, alive.process.current.begin) == (6, 3)
    assert alive.process.write(b"in", 0) == 2
    assert alive.process.write(b"put", 2) == 3
    assert alive.child.read() == b"put"
    assert alive.process.record().stdin_end == 5


def test_what_a_grandchild_still_writes(make: Make) -> None:
    """What it has written until the next generation begins is kept; it holds that back no longer."""
    alive = make(restart=ALWAYS)
    alive.child.write(b"child ")
    alive.exit(1, leave_open=True)
    old = alive.child
    old.write(b"grandchild")
    alive.advance(1)
    assert alive.state is State.RUNNING
    assert alive.process.spool.end == 16
    with pytest.raises(BrokenPipeError):
        old.write(b"x")


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_a_stop_is_joined(make: Make) -> None:
    """Whoever comes later begins nothing, whatever steps it has; all get the same answer, and leftovers end once."""
    alive = make(restart=ALWAYS)
    one = alive.process.life.stop((Step(signal=2), Step(wait=1000)), "uid:1")
    other = alive.process.life.stop((Step(kill=True),), "uid:2")
    assert one is not None
    assert other is not None
    assert alive.child.signals == [(2, "group")]
    alive.exit(signal=2)
    assert result(one) == result(other) == ["signal INT"]
    assert (alive.state, alive.leftovers) == (State.EXITED, 1)
    assert alive.process.life.stop(None, "uid:1") is None


def test_a_stop_of_no_avail(make: Make) -> None:
    """Everybody is told; it goes on, and may be stopped again."""
    alive = make()
    waiting = alive.process.life.stop((Step(signal=2), Step(wait=1000)), "uid:1")
    assert waiting is not None
    running = alive.process.when(Until.RUNNING)
    assert isinstance(running, Deferred)
    alive.advance(1)
    (error,) = result(waiting)
    assert isinstance(error, NotStopped)
    assert (alive.state, alive.types[-1]) == (State.RUNNING, "not-stopped")
    assert [record.state for record in result(running)] == [State.RUNNING]
    again = alive.process.life.stop(None, "uid:1")
    assert again is not None
    alive.exit(signal=15)
    assert result(again) == ["signal TERM"]


@pytest.mark.parametrize(("policy", "by_hand"), [(policy, True) for policy in Policy])
def test_what_is_stopped_stays_so(make: Make, policy: Policy, by_hand: bool) -> None:
    """Whatever its policy and its exit; also one that waits to be started."""
    alive = make(restart=Restart(policy=policy))
    alive.process.life.stop(None, "uid:1")
    alive.exit(1)
    alive.advance(1000)
    assert (alive.state, alive.process.generation, alive.process.life.by_hand) == (State.EXITED, 1, by_hand)


def test_a_stop_in_backoff(make: Make) -> None:
    """It is over at once, and told; who waited for a start is refused."""
    alive = make(restart=ALWAYS)
    alive.exit(1)
    exited = alive.process.when(Until.EXITED)
    assert isinstance(exited, Deferred)
    assert alive.process.life.stop(None, "uid:1") is None
    alive.advance(1000)
    assert (alive.state, alive.types[-1], alive.told[-1].principal) == (State.EXITED, "stopping", "uid:1")
    assert [record.state for record in result(exited)] == [State.EXITED]


def test_a_restart_is_joined(make: Make) -> None:
    """By others, and by a stop that had begun; one more generation, and all are answered."""
    alive = make()
    stop = alive.process.life.stop(None, "uid:1")
    restarts = [result(alive.process.life.restart("uid:2")) for _ in range(3)]
    assert stop is not None
    assert alive.child.signals == [(15, "group")]
    alive.exit(signal=15)
    alive.advance(0)
    assert result(stop) == ["signal TERM"]
    assert restarts == [[None]] * 3
    assert (alive.state, alive.process.generation, alive.process.life.failures) == (State.RUNNING, 2, 0)


def test_a_stop_ends_a_restart(make: Make) -> None:
    """Who comes last is right; who asked for the start is told."""
    alive = make()
    restart = result(alive.process.life.restart("uid:1"))
    stop = alive.process.life.stop(None, "uid:2")
    assert stop is not None
    assert isinstance(restart[0], NotRunning)
    alive.exit(signal=15)
    alive.advance(1000)
    assert (alive.state, alive.process.generation) == (State.EXITED, 1)


def test_a_signal_does_not_wait_for_a_stop(make: Make) -> None:
    alive = make()
    stop = alive.process.life.stop((Step(signal=15), Step(wait=60_000)), "uid:1")
    alive.process.kill(9, Scope.GROUP, "uid:2")
    assert alive.child.signals == [(15, "group"), (9, "group")]
    assert (alive.types[-1], alive.detail(Happening.SIGNALLED)) == ("signalled", "KILL to the group")
    alive.exit(signal=9)
    assert stop is not None
    assert result(stop) == ["signal TERM"]


def test_who_does_not_wait_any_more(make: Make) -> None:
    """It changes nothing: the stop goes on, and so does a restart."""
    alive = make()
    for waiting in (alive.process.life.restart("uid:1"), alive.process.life.restart("uid:1")):
        errors = result(waiting)
        waiting.cancel()
        assert len(errors) == 1
    alive.exit(signal=15)
    alive.advance(0)
    assert (alive.state, alive.process.generation) == (State.RUNNING, 2)


def test_the_step_in_the_record_is_the_step(make: Make) -> None:
    """At every moment of a stop."""
    alive = make()
    steps = (Step(signal=15), Step(wait=1000), Step(signal=2), Step(wait=1000), Step(kill=True))
    stop = alive.process.life.stop(steps, "uid:1")
    seen = []
    for _ in range(4):
        assert alive.process.record().step == alive.process.life.step
        seen.append(alive.process.record().step)
        alive.advance(1)
    assert seen == ["wait 1s", "wait 1s", "the last wait", "the last wait"]
    alive.exit(signal=9)
    assert stop is not None
    assert result(stop) == ["kill"]


# --- typed -----------------------------------------------------------------------------------------------------------

TYPED = {"restart": ALWAYS, "stop": (Step(stdin=b"save\n"), Step(stdin=b"stop\n"), Step(wait=1000), Step(kill=True))}


@pytest.mark.parametrize(
    ("typed", "stops"),
    [
        ([b"stop\n"], True),
        ([b"say stop\n"], True),
        ([b"s", b"t", b"op", b"\n"], True),
        ([b"stop\r"], True),
        ([b"x" * 10_000 + b"stop\n"], True),
        ([b"stop\n", b"stop\n"], True),
        ([b"list\n", b"stop\n"], True),
        ([b"save\n"], False),
        ([b"stop"], False),
        ([b"stop\n", b"list\n"], False),
        ([b"stop\n", b"\n"], False),
        ([b"STOP\n"], False),
        ([], False),
    ],
)
def test_its_stop_typed_by_hand(make: Make, typed: list[bytes], stops: bool) -> None:
    """If it exits with that as the last that was typed it was stopped; any other exit is one."""
    alive = make(**TYPED)
    for text in typed:
        alive.process.write(text, None)
    alive.exit(1)
    assert (alive.state is State.EXITED, alive.process.life.by_hand) == (stops, stops)
    alive.advance(1)
    assert (alive.state is State.RUNNING) == (not stops)


def test_input_that_is_sent_again_is_not_typed_again(make: Make) -> None:
    """What comes a second time at its offset counts where it stands, not as the last."""
    alive = make(**TYPED)
    alive.process.write(b"stop\n", 0)
    alive.process.write(b"list\n", 5)
    alive.process.write(b"stop\n", 0)
    alive.process.write(b"stop\nli", 0)
    alive.exit(1)
    assert alive.state is State.BACKOFF
    alive.advance(1)
    end = alive.process.stdin.end
    alive.process.write(b"st", end)
    alive.process.write(b"stop", end)
    alive.process.write(b"stop\n", end)
    alive.process.write(b"stop\n", end)
    alive.exit(1)
    assert alive.state is State.EXITED


def test_half_of_it_twice_is_not_it(make: Make) -> None:
    """The same bytes at the same offset are there once."""
    alive = make(restart=ALWAYS, stop=(Step(stdin=b"xx"),))
    alive.process.write(b"x", 0)
    alive.process.write(b"x", 0)
    alive.exit(1)
    assert alive.state is State.BACKOFF


def test_typed_for_the_generation_before(make: Make) -> None:
    """A restart does not take it along."""
    alive = make(**TYPED)
    alive.process.write(b"stop\n", None)
    alive.process.life.restart("uid:1")
    alive.exit(0)
    alive.advance(0)
    alive.exit(1)
    assert alive.state is State.BACKOFF


def test_the_next_daemon_knows_what_was_typed(make: Make) -> None:
    """It is saved as soon as it is so, and no more when it is not."""
    alive = make(**TYPED)
    for text, typed in ((b"sto", False), (b"p\n", True), (b"x", False)):
        alive.process.write(text, None)
        assert Saved.decode(alive.process.octets).life.get("typed", False) is typed


def test_without_restarts_nothing_is_saved_for_it(make: Make) -> None:
    """Typing costs nothing there."""
    alive = make(stop=TYPED["stop"])
    octets = alive.process.octets
    alive.process.write(b"stop\n", None)
    assert alive.process.octets == octets


def test_a_stop_whose_text_has_no_room(make: Make) -> None:
    """Its next steps are taken all the same."""
    alive = make(stop=(Step(stdin=b"stop\n"), Step(signal=15), Step(wait=1000)))
    while alive.process.stdin.room:
        alive.process.write(bytes(60_000), None)
        alive.settle()
    with pytest.raises(StdinFull):
        alive.process.write(b"x", None)
    before = alive.process.stdin.end
    stop = alive.process.life.stop(None, "uid:1")
    assert stop is not None
    assert alive.child.signals == [(15, "group")]
    alive.exit(signal=15)
    assert result(stop) == ["signal TERM"]
    assert alive.process.stdin.end == before


# --- ready, and alive ------------------------------------------------------------------------------------------------


def test_ready_by_a_line(make: Make) -> None:
    """Starting until then; whoever waits for it is answered then."""
    alive = make(ready=Ready(output="listening on"))
    running = alive.process.when(Until.RUNNING)
    assert isinstance(running, Deferred)
    alive.child.write(b"beginning\nlistening ")
    alive.settle()
    assert (alive.state, alive.types) == (State.STARTING, ["created", "started"])
    alive.child.write(b"on 80")
    alive.settle()
    assert (alive.state, alive.types) == (State.RUNNING, ["created", "started", "ready"])
    assert [record.state for record in result(running)] == [State.RUNNING]


def test_each_generation_gets_ready_by_itself(make: Make) -> None:
    """By its own lines, also if the last word of the one before looks like it."""
    alive = make(restart=ALWAYS, ready=Ready(output="up"))
    alive.child.write(b"up\n")
    alive.settle()
    alive.child.write(b"up")
    alive.exit(1)
    alive.advance(1)
    assert alive.state is State.STARTING
    alive.child.write(b"up\n")
    alive.settle()
    assert alive.state is State.RUNNING


@pytest.mark.parametrize("restart", [None, ALWAYS])
def test_not_ready_in_time(make: Make, restart: Restart | None) -> None:
    """Killed with all that descends from it; a failure however it exits; told why."""
    alive = make(restart=restart, ready=Ready(output="up", timeout=5000))
    alive.advance(4.99)
    assert alive.child.signals == []
    alive.advance(0.02)
    assert alive.child.signals == [(9, "tree")]
    assert alive.types[-1] == "not-ready"
    alive.exit(0)
    assert alive.state is (State.FAILED if restart is None else State.BACKOFF)
    if restart is None:
        assert alive.detail(Happening.FAILED) == "not ready within 5s"


def test_ready_just_in_time(make: Make) -> None:
    """Nothing of the time limit is left."""
    alive = make(ready=Ready(output="up", timeout=5000))
    alive.advance(4.9)
    alive.child.write(b"up")
    alive.settle()
    alive.advance(100)
    assert (alive.state, alive.child.signals) == (State.RUNNING, [])


def test_signs_of_life(make: Make) -> None:
    """Each begins the time anew; without one it is killed, and a failure."""
    alive = make(watchdog=1000, ready=Ready(notify=True))
    alive.advance(100)
    assert alive.state is State.STARTING
    alive.process.life.heard("READY=1")
    for _ in range(5):
        alive.advance(0.9)
        alive.process.life.heard("WATCHDOG=1")
        alive.process.life.heard("STATUS=busy")
    alive.advance(0.99)
    assert alive.child.signals == []
    alive.advance(0.02)
    assert (alive.child.signals, alive.types[-1]) == ([(9, "tree")], "watchdog")
    alive.exit(0)
    assert (alive.state, alive.detail(Happening.FAILED)) == (State.FAILED, "no WATCHDOG=1 within 1s")


def test_one_that_may_not_be_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told that it is not as it should be; nothing breaks."""
    alive = make(watchdog=1000)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(alive.launcher, "signal", refuse)
    alive.advance(1.1)
    assert (alive.state, alive.types[-1]) == (State.RUNNING, "watchdog")
    with pytest.raises(Denied):
        alive.process.kill(9, Scope.GROUP)
    monkeypatch.undo()


def test_what_is_declared_anew_is_of_the_next_generation(make: Make) -> None:
    """Neither a watchdog that the present one knows nothing of, nor another readiness."""
    from dataclasses import replace

    alive = make(restart=ALWAYS, ready=Ready(output="up"))
    identity = replace(alive.process.identity, watchdog=1000, ready=Ready(notify=True, timeout=5000))
    alive.process.change(identity, "uid:1")
    saved = Saved.decode(alive.process.octets)
    assert saved.signs is not None
    assert (saved.signs.ready, saved.signs.watchdog) == (Ready(output="up"), None)
    alive.advance(100)
    alive.process.life.heard("READY=1")
    assert (alive.state, alive.child.signals) == (State.STARTING, [])
    alive.child.write(b"up")
    alive.settle()
    alive.advance(100)
    assert (alive.state, alive.child.signals) == (State.RUNNING, [])
    alive.exit(1)
    alive.advance(1)
    assert Saved.decode(alive.process.octets).signs is None
    alive.process.life.heard("READY=1")
    assert alive.state is State.RUNNING
    alive.advance(1.1)
    assert alive.child.signals == [(9, "tree")]


def test_after_an_exit_nothing_is_heard(make: Make) -> None:
    """A word that was under way is not the next generation's."""
    alive = make(restart=ALWAYS, ready=Ready(notify=True), watchdog=1000)
    alive.exit(1)
    alive.process.life.heard("READY=1")
    alive.process.life.heard("WATCHDOG=1")
    assert alive.state is State.BACKOFF
    alive.advance(1)
    assert alive.state is State.STARTING
    alive.advance(100)
    assert alive.child.signals == []


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_what_waits_is_answered_by_every_end(make: Make) -> None:
    """Exited and ended for good only; running by any generation that is ready; never for what cannot come."""
    alive = make(restart=ALWAYS, ready=Ready(output="up"))
    waits = {until: result(alive.process.when(until)) for until in Until}  # type: ignore[arg-type]
    alive.exit(1)
    alive.advance(1)
    assert list(waits.values()) == [[]] * 4
    alive.child.write(b"up")
    alive.settle()
    assert [record.generation for record in waits[Until.RUNNING]] == [2]
    alive.process.life.stop(None, "uid:1")
    late = result(alive.process.when(Until.RUNNING))  # type: ignore[arg-type]
    alive.exit(0, leave_open=True)
    assert [record.generation for record in waits[Until.EXITED]] == [2]
    assert waits[Until.ENDED] == []
    assert isinstance(late[0], AlreadyExited)
    for channel in (0, 1, 2):
        alive.child.close(channel)
    alive.settle()
    assert [set(record.eof) for record in waits[Until.ENDED]] == [{0, 1, 2}]
    alive.process.forget()
    assert len(waits[Until.REMOVED]) == 1


# --- saved -----------------------------------------------------------------------------------------------------------


def test_what_is_saved_of_it_is_restored(make: Make) -> None:
    """At every point of a life with everything in it: another that is made from it would save the same."""
    alive = make(
        restart=Restart(policy=Policy.ALWAYS, delay=1000, burst=50),
        ready=Ready(notify=True, timeout=60_000),
        watchdog=60_000,
        stop=(Step(stdin=b"stop\n"), Step(wait=1000), Step(signal=signal.SIGTERM), Step(wait=1000)),
    )

    def check() -> None:
        saved = Saved.decode(alive.process.octets)
        other = adopted(saved, Spool(os.memfd_create("out"), KEEP), alive._stdin(saved.stdin_base), MemoryReactor())
        assert json.loads(json.dumps(other.life.saved())) == saved.life
        again = saved_of(other)
        assert (again.number, again.pending, again.points) == (saved.number, saved.pending, saved.points)
        assert (again.state, again.generation, again.ready) == (saved.state, saved.generation, saved.ready)
        other.forget()
        other.let_go()

    waiting: list[list[Any]] = []

    def ask(asked: Deferred[Any] | None) -> None:
        if asked is not None:
            waiting.append(result(asked))

    for step in (
        lambda: alive.process.life.heard("READY=1"),
        lambda: alive.process.write(b"stop\n", None),
        lambda: alive.exit(1),
        lambda: ask(alive.process.life.restart("uid:1")),
        lambda: alive.exit(1),
        lambda: alive.advance(1),
        lambda: alive.process.life.heard("READY=1"),
        lambda: ask(alive.process.life.stop(None, "uid:1")),
        lambda: alive.advance(1),
        lambda: ask(alive.process.life.restart("uid:1")),
        lambda: alive.advance(1),
        lambda: ask(alive.process.life.restart("uid:1")),
        lambda: alive.exit(signal=9),
        lambda: alive.advance(0),
        lambda: alive.exit(1),
        lambda: ask(alive.process.life.stop(None, "uid:1")),
    ):
        step()
        check()
    assert all(waiting)
    assert [one.number for one in alive.told] == list(range(1, len(alive.told) + 1))
