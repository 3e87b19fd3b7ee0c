"""Every input in every state of a process's life, in memory: what it comes to, and what everybody is told of it."""

from __future__ import annotations

import dataclasses
import errno
import socket
from collections.abc import Callable

import pytest

from netdaemon.errors import (
    AlreadyExited,
    LaunchFailed,
    LimitReached,
    NameTaken,
    NoSuchProcess,
    NotRunning,
    SpecDiffers,
    WrongGeneration,
)
from netdaemon.keeper.child import LaunchError
from netdaemon.process.record import TRANSITIONS, Process
from netdaemon.wire.answers import Changed, OfProcess, Output, Started, Status, Stopped, Taken
from netdaemon.wire.commands import Again, Change, Data, Kill, Remove, Start, Stop, Wait
from netdaemon.wire.records import State, Until
from netdaemon.wire.specs import Policy, Ready, Restart, Step
from tests.daemon.lives import Launches, Life, advance, managed, replies
from tests.daemon.support import World, output_of

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


# --- the daemon's end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(TABLE))
def test_the_end_of_the_daemon_in_every_state(state: Callable[[Case], None]) -> None:
    """It ends, and soon; everybody who waits is answered; nothing is started any more."""
    with managed(grace=5.0) as (w, journalled):
        case = Case(w)
        state(case)
        case.life.settle()
        children = len(w.children)
        process = case.life.process
        ending = w.daemon.service.stopService()
        w.daemon.settle()
        # What it is told to end by; its own stop begins with SIGTERM.
        for child in w.children:
            if child.status is None:
                assert (15, "group") in child.signals
                child.exit(signal=15)
        w.daemon.settle()
        while len(case.launches):
            # What was being launched comes, or does not.
            case.launches.go(NO_FILE)
        advance(w, 4.9)
        assert ending.called
        assert len(w.children) == children
        assert "?" not in answers(case)
        assert process.finished
        assert case.life.client.lost
        journalled.check()


def test_a_launch_that_works_while_the_daemon_ends() -> None:
    """It is ended at once, in its own way."""
    with managed(grace=60.0) as (w, _):
        case = Case(w)
        launching(case)
        ending = w.daemon.service.stopService()
        w.daemon.settle()
        case.launches.go()
        assert (15, "group") in case.life.child.signals
        case.life.child.exit(signal=15)
        advance(w, 5)
        assert ending.called


def test_what_is_left_behind_at_the_end_of_the_daemon() -> None:
    """A process with a stop of its own takes it along, and whoever waits for that stop is told what worked."""
    with managed(grace=5.0) as (w, _):
        life = Life(w, stop=(Step(signal=15), Step(wait=1000), Step(kill=True)))
        asked = life.post(Stop(process=life.id))
        w.launcher.left[life.id] = [4711]
        ending = w.daemon.service.stopService()
        w.daemon.settle()
        life.child.exit(signal=15)
        advance(w, 1)
        assert ending.called
        assert w.launcher.left == {}
        stopped = life.reply(asked)
        assert isinstance(stopped, Stopped)
        assert stopped.step == "signal TERM"


# --- one by one ------------------------------------------------------------------------------------------------------


def test_a_key_finds_its_process_in_every_state() -> None:
    """The same START again is answered with what there is, when that is known; another one is refused."""
    with managed() as (w, _):
        launches = Launches(w)
        client = w.client()
        start = Start(argv=("x",), key="k", restart=Restart(policy=Policy.ALWAYS))
        asked = [w.post(client, start) for _ in range(3)]
        assert [replies(client, id) for id in asked] == [[], [], []]
        assert isinstance(w.ask(client, Start(argv=("y",), key="k"))[1], SpecDiffers)
        launches.go()
        first, *others = [replies(client, id)[0] for id in asked]
        assert isinstance(first, Started)
        assert first.created
        id = first.process.id
        for other in others:
            assert isinstance(other, Started)
            assert (other.process.id, other.created) == (id, False)
        states = []
        for happen in (lambda: w.children[0].exit(1), lambda: advance(w, 0.2), launches.go, lambda: None):
            happen()
            w.daemon.settle()
            again = w.ask(client, start)[1]
            # Also while its next generation is being launched: that is no start of theirs.
            assert isinstance(again, Started)
            assert (again.process.id, again.created) == (id, False)
            states.append(again.process.state.value)
        assert states == ["backoff", "starting", "running", "running"]
        assert len(w.children) == 2
        # What it was changed to is what it is.
        assert isinstance(w.ask(client, Change(process=id, labels=("a=b",)))[1], Changed)
        assert isinstance(w.ask(client, start)[1], SpecDiffers)
        assert isinstance(w.ask(client, dataclasses.replace(start, labels=("a=b",)))[1], Started)
        launches.at_once()


def test_a_key_of_what_could_not_be_started() -> None:
    """Everybody who used it is told why; it is free again."""
    with managed() as (w, _):
        launches = Launches(w)
        client = w.client()
        asked = [w.post(client, Start(argv=("x",), key="k", name="n")) for _ in range(2)]
        stopped = w.post(client, Stop(process="n"))
        restarted = w.post(client, Again(process="n"))
        launches.go(NO_FILE)
        assert [type(replies(client, id)[0]) for id in asked] == [LaunchFailed] * 2
        assert isinstance(replies(client, stopped)[0], NotRunning)
        assert isinstance(replies(client, restarted)[0], NotRunning)
        launches.at_once()
        started = w.ask(client, Start(argv=("y",), key="k", name="n"))[1]
        assert isinstance(started, Started)
        assert started.created


def test_what_was_meant_for_another_generation() -> None:
    """It is refused, and changes nothing."""
    with managed() as (w, _):
        life = Life(w, restart=Restart(policy=Policy.ALWAYS))
        life.exit(1)
        life.advance(1)
        before = life.types
        for request in (
            Stop(process=life.id, generation=1),
            Again(process=life.id, generation=1),
            Kill(process=life.id, signal=9, generation=1),
            Change(process=life.id, generation=1, labels=("a=b",)),
            Remove(process=life.id, generation=3),
            Data(to=life.attached, payload=b"x", generation=1),
        ):
            assert isinstance(life.reply(life.post(request)), WrongGeneration), request
        assert life.types == before
        assert life.child.signals == []
        assert isinstance(life.reply(life.post(Data(to=life.attached, payload=b"x", generation=2))), Taken)
        # A RESTART that is sent again does not restart twice.
        first = life.post(Again(process=life.id, generation=2))
        life.exit(0)
        assert isinstance(life.reply(first), OfProcess)
        assert isinstance(life.reply(life.post(Again(process=life.id, generation=2))), WrongGeneration)
        assert life.record.generation == 3


def test_a_stop_is_joined_by_others() -> None:
    """Of other connections, too; a connection that is lost takes nothing along."""
    with managed() as (w, _):
        life = Life(w)
        others = [w.client() for _ in range(3)]
        asked = [w.post(client, Stop(process=life.id, steps=(Step(kill=True),))) for client in others[:1]]
        asked += [w.post(client, Stop(process=life.id)) for client in others[1:]]
        assert others[2].transport is not None
        others[2].transport.abortConnection()
        life.settle()
        assert life.child.signals == [(9, "tree")]
        life.exit(signal=9)
        for client, id in zip(others[:2], asked, strict=False):
            (reply,) = replies(client, id)
            assert isinstance(reply, Stopped)
            assert (reply.step, reply.already, reply.process.state) == ("kill", False, State.EXITED)
        assert life.types.count("stopping") == 1


def test_what_is_attached_is_told_of_each_generation() -> None:
    """Its output, its ends, how it has exited, and the next: in order, at offsets that go on."""
    with managed() as (w, _):
        life = Life(w, restart=Restart(policy=Policy.ON_FAILURE), ready=Ready(output="up"))
        for number in (1, 2):
            life.child.write(b"up%d\n" % number)
            life.settle()
            life.exit(3)
            life.advance(1)
        life.child.write(b"up3\n")
        life.settle()
        stop = life.post(Stop(process=life.id))
        life.child.write(b"bye\n", 2)
        life.settle()
        life.exit(0)
        assert isinstance(life.reply(stop), Stopped)
        told: list[object] = []
        ends: list[tuple[int, int, int]] = []
        generation = 1
        for id, message in life.client.got:
            if id != life.attached:
                continue
            if isinstance(message, Status):
                generation = message.generation
                told.append((message.state.value, generation, message.code, message.end))
            elif isinstance(message, Output) and message.channel:
                if message.payload:
                    told.append((message.channel, message.offset, message.payload))
                else:
                    ends.append((generation, message.channel, message.offset))
        assert told == [
            (1, 0, b"up1\n"),
            ("running", 1, None, 4),
            ("backoff", 1, 3, 4),
            ("starting", 2, None, 4),
            (1, 4, b"up2\n"),
            ("running", 2, None, 8),
            ("backoff", 2, 3, 8),
            ("starting", 3, None, 8),
            (1, 8, b"up3\n"),
            ("running", 3, None, 12),
            ("stopping", 3, None, 12),
            (2, 12, b"bye\n"),
            ("exited", 3, 0, 16),
        ]
        # The ends come whenever they come, before or after the exit.
        assert sorted(ends) == [(1, 1, 4), (1, 2, 4), (2, 1, 8), (2, 2, 8), (3, 1, 16), (3, 2, 16)]
        assert output_of(life.client, life.attached) == b"up1\nup2\nup3\nbye\n"


def test_names_and_labels_change_at_once() -> None:
    """The old name is free, the new one is taken; a name that is taken changes nothing of all that was asked for."""
    with managed() as (w, _):
        life = Life(w, name="old", labels=("a=b",))
        other = Life(w, name="taken")
        refused = life.reply(life.post(Change(process="old", name="taken", labels=("c=d",))))
        assert isinstance(refused, NameTaken)
        assert isinstance(life.reply(life.post(Change(process="old", name=other.id))), NameTaken)
        assert (life.record.name, life.record.labels, life.types) == ("old", ("a=b",), ["created", "started"])
        changed = life.reply(life.post(Change(process="old", name="new", labels=("c=d",))))
        assert isinstance(changed, Changed)
        assert (changed.process.name, changed.process.labels, changed.restart) == ("new", ("c=d",), False)
        assert (life.types[-1], life.events[-1].detail) == ("changed", "name, labels")
        assert isinstance(life.reply(life.post(Stop(process="old"))), NoSuchProcess)
        assert isinstance(life.reply(life.post(Change(process="new", name="new"))), Changed)
        assert life.types.count("changed") == 1
        assert isinstance(w.ask(life.client, Start(argv=("x",), name="old"))[1], Started)
        whole = life.reply(life.post(Change(process="new", whole=True, argv=("y",))))
        assert isinstance(whole, Changed)
        assert (whole.process.name, whole.process.labels, whole.restart) == (None, (), True)
        assert isinstance(life.reply(life.post(Change(process=life.id, name=life.id))), Changed)


def test_what_is_changed_for_the_next_start() -> None:
    """RESTART makes it count, and nothing before that."""
    with managed() as (w, _):
        life = Life(w, argv=("one",), restart=Restart(policy=Policy.ALWAYS))
        changed = life.reply(life.post(Change(process=life.id, argv=("two",), env=("A=b",), cwd="/tmp", merge=True)))
        assert isinstance(changed, Changed)
        assert changed.restart
        assert life.record.argv == ("two",)
        life.child.write(b"on two", 2)
        life.settle()
        assert output_of(life.client, life.attached, 2) == b"on two"
        life.post(Again(process=life.id))
        life.exit(0)
        spec = life.child.spec
        assert (spec.argv, spec.env, spec.cwd, spec.merge) == ((b"two",), (b"A=b",), b"/tmp", True)
        # Of one that does not run nothing is left for later.
        life.post(Stop(process=life.id))
        life.exit(0)
        changed = life.reply(life.post(Change(process=life.id, argv=("three",))))
        assert isinstance(changed, Changed)
        assert not changed.restart


def test_no_more_run_than_may() -> None:
    """By RESTART neither, whether of what is listed or of what is only recorded; who waits to be started counts."""
    with managed(processes=2, exited=1) as (w, _):
        recorded, listed = Life(w), Life(w)
        recorded.exit(0)
        listed.exit(0)
        listed.advance(1)
        running, waiting = Life(w), Life(w, restart=Restart(policy=Policy.ALWAYS, delay=60_000))
        waiting.exit(1)
        assert not w.daemon.service.table.has(recorded.id)
        for life in (recorded, listed):
            assert isinstance(life.reply(life.post(Again(process=life.id))), LimitReached)
        assert isinstance(w.ask(running.client, Start(argv=("x",)))[1], LimitReached)
        assert listed.record.state is State.EXITED
        running.exit(0)
        assert isinstance(listed.reply(listed.post(Again(process=listed.id))), OfProcess)
        # One that runs or waits has its place.
        again = waiting.post(Again(process=waiting.id))
        assert isinstance(waiting.reply(again), OfProcess)


def test_what_a_generation_leaves_behind() -> None:
    """Ended with a stop, and before the next start; told of otherwise; and not only with the next event."""
    with managed() as (w, _):
        life = Life(w)
        w.launcher.left[life.id] = [77, 78]
        life.post(Stop(process=life.id))
        life.exit(0)
        assert (life.types[-2:], life.events[-1].detail) == (["exited", "leftover"], "killed: 77, 78")
        assert life.id not in w.launcher.left
        life = Life(w)
        w.launcher.left[life.id] = list(range(100, 120))
        life.exit(0)
        assert life.types[-1] == "exited"
        life.advance(1)
        assert life.types[-1] == "leftover"
        assert life.events[-1].detail == f"still there: {', '.join(map(str, range(100, 116)))} and 4 more"
        life.post(Again(process=life.id))
        assert life.types[-2:] == ["leftover", "started"]


def test_ready_before_it_is_known_to_run() -> None:
    """What it says in its first moment counts when its start is known, and not before."""
    with managed() as (w, _):
        launches = Launches(w)
        life = Life(w, launches=launches, ready=Ready(notify=True, timeout=5000), restart=Restart(policy=Policy.ALWAYS))
        path = next(one for one in life.child.spec.env if one.startswith(b"NOTIFY_SOCKET=")).partition(b"=")[2]
        life.exit(1)
        life.advance(1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", path)
        life.settle()
        assert life.record.state is State.STARTING
        launches.go()
        life.settle()
        assert life.record.state is State.RUNNING
        assert life.types[-2:] == ["started", "ready"]
        life.advance(60)
        assert life.child.signals == []
        launches.at_once()


def test_waits_are_answered_once_and_for_what_is_so() -> None:
    """In each state, for each word."""
    with managed() as (w, _):
        life = Life(w, restart=Restart(policy=Policy.ALWAYS), ready=Ready(output="up"))
        asked = {until: life.post(Wait(process=life.id, for_=until)) for until in Until}
        life.exit(1)
        life.advance(1)
        assert [life.reply(id) for id in asked.values()] == [None] * 4
        life.child.write(b"up")
        life.settle()
        running = life.reply(asked[Until.RUNNING])
        assert isinstance(running, OfProcess)
        assert running.process.generation == 2
        life.post(Stop(process=life.id))
        late = life.post(Wait(process=life.id, for_=Until.RUNNING))
        life.exit(0)
        for until in (Until.EXITED, Until.ENDED):
            assert isinstance(life.reply(asked[until]), OfProcess)
        assert isinstance(life.reply(late), AlreadyExited)
        assert life.reply(asked[Until.REMOVED]) is None
        exited = life.post(Wait(process=life.id))
        life.post(Remove(process=life.id))
        assert isinstance(life.reply(exited), OfProcess)
        assert isinstance(life.reply(asked[Until.REMOVED]), OfProcess)
