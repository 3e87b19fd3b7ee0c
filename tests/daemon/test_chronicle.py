"""A daemon and the next one on the same state, with nothing of the children left: what runs again, and what is told."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred

from netdaemon.daemon.chronicle import Chronicle
from netdaemon.daemon.files import DirectoryFiles
from netdaemon.errors import AlreadyExited
from netdaemon.keeper.child import LaunchError
from netdaemon.wire.answers import Attached, Happened, OfProcess, Stopped, Watching
from netdaemon.wire.commands import Again, Attach, Inspect, Start, Stop, Wait, Watch
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening, ProcessRecord
from tests.daemon.lives import COMMITTED, Life, advance, check_order, managed, replies
from tests.daemon.support import World


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is on disk, and asked at once: time stands still here."""

    def at_once(self: Chronicle, call: Any, *arguments: Any, **named: Any) -> Any:
        return maybeDeferred(call, *arguments, **named)

    monkeypatch.setattr(Chronicle, "_in_thread", at_once)


class Machine:
    """Daemons that follow one another; what one has on disk, the next one has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boots = 0

    @property
    def state(self) -> str:
        return str(self._path / f"boot{self._boots}")

    @contextmanager
    def boot(self, **settings: Any) -> Iterator[World]:
        """A daemon, until the power fails or it ends in order, whichever the test has."""
        if not os.path.exists(self.state):
            os.mkdir(self.state)
        # Long after whatever was before.
        with managed(3600 * self._boots, state=self.state, **settings) as (w, _):
            yield w

    def lose_power(self) -> None:
        """What is on disk now is what the next daemon finds."""
        before = self.state
        self._boots += 1
        shutil.copytree(before, self.state)
        os.unlink(os.path.join(self.state, "lock"))

    def reboot(self) -> None:
        """The last daemon has ended in order."""
        self.lose_power()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def look(w: World, process: str) -> ProcessRecord:
    reply = w.ask(w.client(), Inspect(process=process))[1]
    assert isinstance(reply, OfProcess), reply
    return reply.process


def events(w: World, since: str) -> list[Happened]:
    """All that happened after that cursor, which must be known."""
    client = w.client()
    id, reply = w.ask(client, Watch(since=since))
    assert isinstance(reply, Watching)
    assert not reply.fresh
    advance(w, COMMITTED)
    return [message for other, message in client.got if other == id and isinstance(message, Happened)]


def all_events(w: World) -> list[Happened]:
    """From the first on."""
    return [event for _, event in w.daemon.service.feed._database.events(0, 10_000)]


# --- what runs again -------------------------------------------------------------------------------------------------


def running(life: Life) -> None:
    """It runs."""


def stopping(life: Life) -> None:
    life.post(Stop(process=life.id, steps=(Step(signal=15), Step(wait=60_000))))


def backoff(life: Life) -> None:
    life.exit(1)


def finished(life: Life) -> None:
    """It has exited for good by itself, as far as that policy lets it."""
    life.exit(0)


def stopped(life: Life) -> None:
    life.post(Stop(process=life.id))
    life.exit(0)


AGAIN, LOST, SAME = "again", "lost", "same"
NEVER = Policy.NEVER
TABLE = [
    (running, None, LOST),
    (running, NEVER, LOST),
    (running, Policy.ON_FAILURE, AGAIN),
    (running, Policy.ALWAYS, AGAIN),
    (running, Policy.UNLESS_STOPPED, AGAIN),
    (stopping, None, LOST),
    (stopping, Policy.ALWAYS, AGAIN),
    (backoff, Policy.ON_FAILURE, AGAIN),
    (backoff, Policy.ALWAYS, AGAIN),
    (backoff, Policy.UNLESS_STOPPED, AGAIN),
    (finished, None, SAME),
    (finished, NEVER, SAME),
    (finished, Policy.ON_FAILURE, SAME),
    (stopped, None, SAME),
    (stopped, NEVER, SAME),
    (stopped, Policy.ON_FAILURE, SAME),
    (stopped, Policy.ALWAYS, AGAIN),
    (stopped, Policy.UNLESS_STOPPED, SAME),
]


@pytest.mark.parametrize(
    ("state", "policy", "expected"),
    TABLE,
    ids=[f"{state.__name__}-{policy and policy.value}" for state, policy, _ in TABLE],
)
def test_what_becomes_of_it_when_power_fails(
    machine: Machine, state: Any, policy: Policy | None, expected: str
) -> None:
    """Every policy in every state: runs again, is told as lost, or is as it was; each event once, numbers go on."""
    restart = None if policy is None else Restart(policy=policy, delay=60_000, longest=60_000)
    with machine.boot() as w:
        life = Life(w, name="web", restart=restart)
        state(life)
        before, cursor = life.record, life.events[-1].cursor
        told = all_events(w)
        machine.lose_power()
    with machine.boot() as w:
        assert len(w.children) == 0
        advance(w, 1)
        record = look(w, "web")
        assert record.id == life.id
        following = events(w, cursor)
        assert [event.cursor for event in following] == [event.cursor for event in events(w, cursor)]
        types = [event.type.value for event in following]
        if expected == AGAIN:
            assert (record.state, record.generation) == (State.RUNNING, before.generation + 1)
            ran = state in (running, stopping)
            assert types == (["exited"] if ran else []) + ["backoff", "started"]
            assert len(w.children) == 1
        elif expected == LOST:
            assert (record.state, record.generation) == (State.EXITED, before.generation)
            assert (record.code, record.signal, record.pid) == (None, None, None)
            assert types == ["exited"]
            assert following[0].detail == "lost with its keeper"
        else:
            assert (record.state, record.code, record.exited) == (State.EXITED, before.code, before.exited)
            assert types == []
        whole = all_events(w)
        assert whole[: len(told)] == told
        check_order([event.type for event in whole])
        # It can be started and stopped, whatever it was.
        client = w.client()
        again = w.post(client, Again(process="web"))
        if expected == AGAIN:
            w.children[-1].exit(signal=15)
        advance(w, 1)
        (reply,) = replies(client, again)
        assert isinstance(reply, OfProcess)
        assert reply.process.generation == record.generation + 1
        stop = w.post(client, Stop(process="web"))
        w.children[-1].exit(signal=15)
        advance(w, 1)
        assert isinstance(replies(client, stop)[0], Stopped)
        check_order([event.type for event in all_events(w)])


@pytest.mark.parametrize("policy", [None, *Policy])
@pytest.mark.parametrize("stopped_before", [False, True])
def test_what_becomes_of_it_when_the_daemon_ends(machine: Machine, policy: Policy | None, stopped_before: bool) -> None:
    """In order, and its processes with it: what ran runs again, what was stopped by hand does where it is always to."""
    restart = None if policy is None else Restart(policy=policy)
    with machine.boot() as w:
        life = Life(w, name="web", restart=restart)
        if stopped_before:
            stopped(life)
    machine.reboot()
    with machine.boot() as w:
        advance(w, 1)
        record = look(w, "web")
        expected = policy is Policy.ALWAYS or (not stopped_before and policy not in (None, Policy.NEVER))
        assert (record.state, record.generation) == ((State.RUNNING, 2) if expected else (State.EXITED, 1))
        check_order([event.type for event in all_events(w)])


def test_a_stop_that_the_daemons_end_has_overtaken(machine: Machine) -> None:
    """Who asked for it has been heard: it stays stopped."""
    with machine.boot() as w:
        life = Life(w, name="web", restart=Restart(policy=Policy.UNLESS_STOPPED))
        other = Life(w, name="other", restart=Restart(policy=Policy.UNLESS_STOPPED))
        stopping(life)
    machine.reboot()
    with machine.boot() as w:
        advance(w, 1)
        assert look(w, "web").state is State.EXITED
        assert look(w, other.id).state is State.RUNNING


def test_offsets_are_never_those_of_other_bytes(machine: Machine) -> None:
    """What was written last may not be known any more; what comes is beyond all that can have been."""
    with machine.boot() as w:
        life = Life(w, name="web", restart=Restart(policy=Policy.ALWAYS), keep=4096)
        life.child.write(b"before")
        life.process.write(b"input", None)
        life.settle()
        life.exit(1)
        life.advance(1)
        # Of this nothing is told, so that nobody knows of it.
        life.child.write(b"x" * 60_000)
        life.w.daemon.settle()
        end = life.process.spool.end
        machine.lose_power()
    with machine.boot() as w:
        advance(w, 1)
        client = w.client()
        id, reply = w.ask(client, Attach(process="web"))
        assert isinstance(reply, Attached)
        assert reply.begin == reply.end == reply.offset > end
        assert reply.process.keep == 4096
        assert reply.stdin_end == 5
        w.children[-1].write(b"after")
        w.daemon.settle()
        assert [m.payload for other, m in client.got if other == id and getattr(m, "payload", b"")] == [b"after"]


def test_again_and_again(machine: Machine) -> None:
    """Generations, events and offsets go on over any number of failures of power."""
    ends = []
    with machine.boot() as w:
        Life(w, name="web", restart=Restart(policy=Policy.ALWAYS), ready=Ready(output="up"))
        machine.lose_power()
    for number in range(2, 7):
        with machine.boot() as w:
            advance(w, 1)
            record = look(w, "web")
            assert (record.state, record.generation) == (State.STARTING, number)
            w.children[-1].write(b"up")
            advance(w, 1)
            record = look(w, "web")
            assert record.state is State.RUNNING
            ends.append(record.end)
            told = all_events(w)
            assert [event.type for event in told].count(Happening.STARTED) == number
            check_order([event.type for event in told])
            machine.lose_power()
    assert ends == sorted(set(ends))


def test_one_that_cannot_be_launched_any_more(machine: Machine) -> None:
    """It is tried again, as always; and without a policy for that it has failed."""
    with machine.boot() as w:
        Life(w, name="web", restart=Restart(policy=Policy.ON_FAILURE))
        machine.lose_power()
    with machine.boot() as w:
        w.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
        advance(w, 0.01)
        assert look(w, "web").state is State.BACKOFF
        advance(w, 1)
        record = look(w, "web")
        assert (record.state, record.generation) == (State.RUNNING, 3)
        check_order([event.type for event in all_events(w)])


def test_one_that_there_is_no_room_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as lost, and why it does not run again; the daemon runs, and so does everything else."""
    with machine.boot() as w:
        lives = [
            Life(w, name=f"web{number}", restart=Restart(policy=Policy.ALWAYS, delay=60_000)) for number in range(3)
        ]
        lives[1].exit(1)
        machine.lose_power()
    create = DirectoryFiles.create

    def full(self: DirectoryFiles, name: str) -> int:
        if name.startswith((lives[0].id, lives[1].id)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return create(self, name)

    monkeypatch.setattr(DirectoryFiles, "create", full)
    with machine.boot() as w:
        advance(w, 1)
        assert [look(w, life.id).state for life in lives] == [State.EXITED, State.FAILED, State.RUNNING]
        assert look(w, lives[1].id).code == 1
        details = [event.detail or "" for event in all_events(w) if event.type in (Happening.EXITED, Happening.FAILED)]
        assert ["No space left" in detail for detail in details] == [False, True, True, False]
        monkeypatch.undo()
        for life in lives[:2]:
            reply = w.ask(w.client(), Again(process=life.id))[1]
            assert isinstance(reply, OfProcess)
            assert reply.process.generation == 2
        for life in lives:
            check_order([event.type for event in all_events(w) if event.process.id == life.id])


def test_what_is_not_understood_is_left_alone(machine: Machine) -> None:
    """One row that a newer version has written is no reason not to start; it is there for that version."""
    with machine.boot() as w:
        life = Life(w, name="web", restart=Restart(policy=Policy.ALWAYS))
        other = Life(w, name="other", restart=Restart(policy=Policy.ALWAYS))
        process = life.process
        process.octets = b'{"form": 2}'
        process.on_event(process, process_told(process))
        advance(w, COMMITTED)
        machine.lose_power()
    with machine.boot() as w:
        advance(w, 1)
        assert look(w, other.id).state is State.RUNNING
        assert [stored.id for stored in w.daemon.service.journal.database.unfinished()].count(life.id) == 1


def process_told(process: Any) -> Any:
    from netdaemon.process.saved import Told

    return Told(process.events.number + 1, Happening.CHANGED, 0, "", None)


def test_a_name_and_a_key_are_found_again(machine: Machine) -> None:
    """The same START finds what it has started, over a failure of power."""
    start = Start(argv=("x",), name="web", key="k", restart=Restart(policy=Policy.ALWAYS))
    with machine.boot() as w:
        first = w.ask(w.client(), start)[1]
        advance(w, COMMITTED)
        machine.lose_power()
    with machine.boot() as w:
        again = w.ask(w.client(), start)[1]
        assert again.created is False  # type: ignore[union-attr]
        assert again.process.id == first.process.id  # type: ignore[union-attr]
        advance(w, 1)
        assert len(w.children) == 1


def test_a_lost_one_waits_for_nothing(machine: Machine) -> None:
    """WAIT is answered with the record that is left."""
    with machine.boot() as w:
        Life(w, name="web")
        machine.lose_power()
    with machine.boot() as w:
        advance(w, 1)
        reply = w.ask(w.client(), Wait(process="web"))[1]
        assert isinstance(reply, OfProcess)
        assert isinstance(w.ask(w.client(), Attach(process="web"))[1], AlreadyExited)


def test_a_cursor_goes_on(machine: Machine) -> None:
    """A client that watched before is told exactly what it has not been told; a later one not what was before."""
    with machine.boot() as w:
        life = Life(w, name="web", restart=Restart(policy=Policy.ALWAYS))
        cursors = [event.cursor for event in life.events]
        machine.lose_power()
        # What happens from here on is lost, and its cursors are used again by nobody.
        life.exit(1)
    with machine.boot() as w:
        advance(w, 1)
        types = [event.type.value for event in events(w, cursors[0])]
        assert types == ["started", "exited", "backoff", "started"]
        assert [event.type.value for event in events(w, cursors[1])] == types[1:]
