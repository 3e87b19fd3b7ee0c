"""Every input in every state of a process's life, in memory: what it comes to, and what everybody is told of it."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from netdaemon.keeper.child import LaunchError
from netdaemon.process.record import TRANSITIONS, Process
from netdaemon.wire.answers import Stopped
from netdaemon.wire.commands import Again, Change, Kill, Remove, Stop
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Ready, Restart, Step
from tests.daemon.lives import Launches, Life, managed
from tests.daemon.support import World

NO_FILE = LaunchError("exec", errno.ENOENT)

# What everything is in the tables below: each time is apart from all others.
DECLARED = {
    "restart": Restart(policy=Policy.ON_FAILURE, delay=1000),
    "ready": Ready(notify=True, timeout=5000),
    "watchdog": 20_000,
    "stop": (Step(signal=15), Step(wait=3000), Step(kill=True)),
}

# --- states ----------------------------------------------------------------------------------------------------------


class Case:
    """One process in one state."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.launches = Launches(w)
        self.life = Life(w, launches=self.launches, **DECLARED)
        # Requests whose answers are awaited, by what they are.
        self.asked: dict[str, int] = {}

    def ready(self) -> None:
        self.life.say("READY=1")

    def back_off(self) -> None:
        self.ready()
        self.life.exit(3)


def starting(case: Case) -> None:
    """Launched and not ready yet."""


def running(case: Case) -> None:
    case.ready()


def stopping(case: Case) -> None:
    case.ready()
    case.asked["the first STOP"] = case.life.post(Stop(process=case.life.id))


def stopping_unready(case: Case) -> None:
    case.asked["the first STOP"] = case.life.post(Stop(process=case.life.id))


def restarting(case: Case) -> None:
    """Stopping, to be started again."""
    case.ready()
    case.asked["the first RESTART"] = case.life.post(Again(process=case.life.id))


def backoff(case: Case) -> None:
    case.back_off()


def launching(case: Case) -> None:
    """The second generation is not known to run yet."""
    case.back_off()
    case.life.advance(1.3)
    assert len(case.launches) == 1


def launching_to_stop(case: Case) -> None:
    """The same, and it is to be stopped."""
    launching(case)
    case.asked["the first STOP"] = case.life.post(Stop(process=case.life.id))


def launching_to_restart(case: Case) -> None:
    """The same, and it was asked for."""
    case.ready()
    case.life.exit(0)
    case.asked["the first RESTART"] = case.life.post(Again(process=case.life.id))
    assert len(case.launches) == 1


def exited(case: Case) -> None:
    case.ready()
    case.life.exit(0)


def failed(case: Case) -> None:
    case.ready()
    case.life.exit(0)
    case.life.post(Change(process=case.life.id, restart=Restart(policy=Policy.NEVER)))
    case.life.post(Again(process=case.life.id))
    case.launches.go(NO_FILE)


# --- inputs ----------------------------------------------------------------------------------------------------------


def exits_well(case: Case) -> None:
    case.life.exit(0)


def exits_badly(case: Case) -> None:
    case.life.exit(3)


def killed(case: Case) -> None:
    case.life.exit(signal=9)


def launched(case: Case) -> None:
    case.launches.go()


def refused(case: Case) -> None:
    case.launches.go(NO_FILE)


def stop(case: Case) -> None:
    case.asked["STOP"] = case.life.post(Stop(process=case.life.id))


def restart(case: Case) -> None:
    case.asked["RESTART"] = case.life.post(Again(process=case.life.id))


def kill(case: Case) -> None:
    case.asked["KILL"] = case.life.post(Kill(process=case.life.id, signal=10))


def remove(case: Case) -> None:
    case.asked["REMOVE"] = case.life.post(Remove(process=case.life.id))


def change(case: Case) -> None:
    case.asked["CHANGE"] = case.life.post(Change(process=case.life.id, labels=("a=b",)))


def ready(case: Case) -> None:
    case.life.say("READY=1")


def alive(case: Case) -> None:
    case.life.say("WATCHDOG=1")


def three_seconds(case: Case) -> None:
    """More than a delay, and what the stop waits."""
    case.life.advance(3)


def ten_seconds(case: Case) -> None:
    """More than it may take to be ready."""
    case.life.advance(10)


def a_minute(case: Case) -> None:
    case.life.advance(60)


# What each of them comes to: the state, the new events, and the answers. "?" in an answer: there is none yet.
TABLE: dict[Callable[[Case], None], dict[Callable[[Case], None], tuple[str, str, str]]] = {
    starting: {
        exits_well: ("exited", "exited", ""),
        exits_badly: ("backoff", "exited backoff", ""),
        killed: ("backoff", "exited backoff", ""),
        stop: ("stopping", "stopping step step", "STOP ?"),
        restart: ("stopping", "stopping step step", "RESTART ?"),
        kill: ("starting", "signalled", "KILL Ok"),
        remove: ("starting", "", "REMOVE NotRunning"),
        change: ("starting", "changed", "CHANGE Changed"),
        ready: ("running", "ready", ""),
        alive: ("starting", "", ""),
        three_seconds: ("starting", "", ""),
        ten_seconds: ("starting", "not-ready", ""),
        a_minute: ("starting", "not-ready", ""),
    },
    running: {
        exits_well: ("exited", "exited", ""),
        exits_badly: ("backoff", "exited backoff", ""),
        killed: ("backoff", "exited backoff", ""),
        stop: ("stopping", "stopping step step", "STOP ?"),
        restart: ("stopping", "stopping step step", "RESTART ?"),
        kill: ("running", "signalled", "KILL Ok"),
        remove: ("running", "", "REMOVE NotRunning"),
        change: ("running", "changed", "CHANGE Changed"),
        ready: ("running", "", ""),
        alive: ("running", "", ""),
        three_seconds: ("running", "", ""),
        ten_seconds: ("running", "", ""),
        a_minute: ("running", "watchdog", ""),
    },
    stopping: {
        exits_well: ("exited", "exited", "the first STOP Stopped signal TERM"),
        exits_badly: ("exited", "exited", "the first STOP Stopped signal TERM"),
        killed: ("exited", "exited", "the first STOP Stopped signal TERM"),
        stop: ("stopping", "", "the first STOP ?, STOP ?"),
        restart: ("stopping", "", "the first STOP ?, RESTART ?"),
        kill: ("stopping", "signalled", "the first STOP ?, KILL Ok"),
        remove: ("stopping", "", "the first STOP ?, REMOVE NotRunning"),
        change: ("stopping", "changed", "the first STOP ?, CHANGE Changed"),
        ready: ("stopping", "", "the first STOP ?"),
        alive: ("stopping", "", "the first STOP ?"),
        three_seconds: ("stopping", "step", "the first STOP ?"),
        ten_seconds: ("stopping", "step", "the first STOP ?"),
        a_minute: ("running", "step not-stopped watchdog", "the first STOP NotStopped"),
    },
    stopping_unready: {
        exits_badly: ("exited", "exited", "the first STOP Stopped signal TERM"),
        ready: ("stopping", "ready", "the first STOP ?"),
        ten_seconds: ("stopping", "step not-ready", "the first STOP ?"),
        a_minute: ("starting", "step not-ready not-stopped", "the first STOP NotStopped"),
    },
    restarting: {
        exits_well: ("starting", "exited", "the first RESTART ?"),
        killed: ("starting", "exited", "the first RESTART ?"),
        stop: ("stopping", "", "the first RESTART NotRunning, STOP ?"),
        restart: ("stopping", "", "the first RESTART ?, RESTART ?"),
        kill: ("stopping", "signalled", "the first RESTART ?, KILL Ok"),
        remove: ("stopping", "", "the first RESTART ?, REMOVE NotRunning"),
        a_minute: ("running", "step not-stopped watchdog", "the first RESTART NotStopped"),
    },
    backoff: {
        stop: ("exited", "stopping", "STOP Stopped already"),
        restart: ("starting", "", "RESTART ?"),
        kill: ("backoff", "", "KILL AlreadyExited"),
        remove: ("backoff", "", "REMOVE NotRunning"),
        change: ("backoff", "changed", "CHANGE Changed"),
        three_seconds: ("starting", "", ""),
    },
    launching: {
        launched: ("starting", "started", ""),
        refused: ("backoff", "not-started backoff", ""),
        stop: ("starting", "", "STOP ?"),
        restart: ("starting", "", "RESTART ?"),
        kill: ("starting", "", "KILL NotRunning"),
        remove: ("starting", "", "REMOVE NotRunning"),
        change: ("starting", "changed", "CHANGE Changed"),
        a_minute: ("starting", "", ""),
    },
    launching_to_stop: {
        launched: ("stopping", "started stopping step step", "the first STOP ?"),
        refused: ("failed", "not-started failed", "the first STOP Stopped"),
        stop: ("starting", "", "the first STOP ?, STOP ?"),
        restart: ("starting", "", "the first STOP ?, RESTART ?"),
        kill: ("starting", "", "the first STOP ?, KILL NotRunning"),
        remove: ("starting", "", "the first STOP ?, REMOVE NotRunning"),
    },
    launching_to_restart: {
        launched: ("starting", "started", "the first RESTART OfProcess"),
        refused: ("backoff", "not-started backoff", "the first RESTART LaunchFailed"),
        stop: ("starting", "", "the first RESTART ?, STOP ?"),
        restart: ("starting", "", "the first RESTART ?, RESTART ?"),
    },
    exited: {
        stop: ("exited", "", "STOP Stopped already"),
        restart: ("starting", "", "RESTART ?"),
        kill: ("exited", "", "KILL AlreadyExited"),
        remove: ("", "removed", "REMOVE Ok"),
        change: ("exited", "changed", "CHANGE Changed"),
        a_minute: ("exited", "", ""),
    },
    failed: {
        stop: ("failed", "", "STOP Stopped already"),
        restart: ("starting", "", "RESTART ?"),
        kill: ("failed", "", "KILL AlreadyExited"),
        remove: ("", "removed", "REMOVE Ok"),
        change: ("failed", "changed", "CHANGE Changed"),
        a_minute: ("failed", "", ""),
    },
}

CASES = [(state, given) for state, row in TABLE.items() for given in row]


def answers(case: Case) -> str:
    """What has been answered to what was asked."""
    found = []
    for name, id in case.asked.items():
        reply = case.life.reply(id)
        if reply is None:
            found.append(f"{name} ?")
        elif isinstance(reply, Stopped):
            found.append(f"{name} Stopped {'already' if reply.already else reply.step}".rstrip())
        else:
            found.append(f"{name} {type(reply).__name__}")
    return ", ".join(found)


def finish(case: Case) -> None:
    """Whatever it waits for comes, until it is exited for good; then it is removed."""
    case.launches.at_once()
    while len(case.launches):
        case.launches.go()
    for _ in range(10):
        if not case.w.daemon.service.table.has(case.life.id):
            return
        if case.life.child.status is None:
            case.life.exit(0)
        case.life.advance(3)
        if case.life.process.finished:
            case.life.post(Remove(process=case.life.id))
    raise AssertionError(f"it is still {case.life.process.state}")


@pytest.mark.parametrize(
    ("state", "given"), CASES, ids=[f"{state.__name__}-{given.__name__}" for state, given in CASES]
)
def test_every_input_in_every_state(state: Callable[[Case], None], given: Callable[[Case], None]) -> None:
    """The state that follows, what is told, and what is answered; in the end exactly one reply each."""
    with managed() as (w, _):
        case = Case(w)
        state(case)
        case.life.settle()
        before = len(case.life.types)
        given(case)
        case.life.settle()
        expected, events, told = TABLE[state][given]
        has = w.daemon.service.table.has(case.life.id)
        assert (case.life.process.state.value if has else "") == expected
        assert " ".join(case.life.types[before:]) == events
        assert answers(case) == told
        if has:
            check_record(case.life.process)
        # What is attached is told each state that it has come to, and never one that does not follow.
        assert_statuses(case.life)
        finish(case)
        assert "?" not in answers(case)


def check_record(process: Process) -> None:
    """The record is of the state that it is in."""
    record = process.record()
    assert (record.due is not None) == (process.state is State.BACKOFF)
    assert record.step == process.life.step
    assert (record.step is not None) == (process.state is State.STOPPING)
    assert (record.pid is not None) == (process.launched is not None)


def assert_statuses(life: Life) -> None:
    """Each status follows the one before; generations rise, and each begins with a status but the first."""
    state, generation = State.STARTING, 1
    for one, of in life.statuses:
        if of != generation:
            assert of == generation + 1
            assert state in (State.BACKOFF, State.EXITED, State.FAILED)
            generation, state = of, State.STARTING
            if one is State.STARTING:
                continue
        assert one in TRANSITIONS[state] or (state is State.STARTING and one in TRANSITIONS[State.RUNNING]), (
            state,
            one,
        )
        state = one


def test_the_table_reaches_every_transition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is allowed is come to by one of the cases above; so none is allowed for nothing."""
    seen: set[tuple[State, State]] = set()
    become = Process.become

    def noted(self: Process, state: State) -> None:
        seen.add((self.state, state))
        become(self, state)

    monkeypatch.setattr(Process, "become", noted)
    for state, given in CASES:
        test_every_input_in_every_state(state, given)
    with managed() as (w, _):
        # Not ready within its time, and not started again.
        life = Life(w, ready=Ready(notify=True, timeout=5000))
        life.advance(5)
        life.exit(signal=9)
        assert life.record.state is State.FAILED
        # Likewise once it was ready.
        life = Life(w, watchdog=1000)
        life.advance(1)
        life.exit(signal=9)
        assert life.record.state is State.FAILED
    allowed = {(before, after) for before, some in TRANSITIONS.items() for after in some}
    assert seen == allowed
