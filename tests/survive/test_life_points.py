"""G6, G7 for what goes on when nobody looks: killed at every step of stops, restarts, and of what is recorded of them.

Afterwards the sequence goes on, or is told to have failed; nothing is done twice, and what happened is told once.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon.defaults import JOURNAL_SUFFIX
from netdaemon.errors import ConversationAborted, NoSuchProcess, NotStopped, Refusal, WrongGeneration
from netdaemon.process.trees import leftovers, mark_of
from netdaemon.wire.answers import Changed, OfProcess, Pruned, Started, Stopped
from netdaemon.wire.commands import Again, Change, List, Prune, Remove, Request, Start, Stop
from netdaemon.wire.records import Pty, State
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening, ProcessRecord
from tests.faults.wire import PATIENCE, Wire, eventually
from tests.support import LONG, Figure, keeper_pid
from tests.survive import keeper_points, life_points, living
from tests.survive.life_points import BETWEEN, event_points, step_points
from tests.survive.watcher import Watcher, in_order, numbers, recorded, told
from tests.survive.world import TWISTD, World, kill, marked

RUNNER = life_points.__file__
ROOT = str(Path(__file__).parents[2])

# By what a process ends, and what it does not end by before.
WORDS: dict[str, tuple[str, ...]] = {"stdin": (), "signal": ("deaf",), "kill": ("deaf", "obstinate")}

# Milliseconds that a stop waits for what works; and for what does not, so that it is seen not to.
LONG_WAIT, SHORT_WAIT = 5000, 300

# A failure is followed by another start so soon, in milliseconds; of one that waits to be stopped, not at all.
DELAY, NEVER = 100, 3600_000


def steps(works: str) -> tuple[Step, ...]:
    """A stop in which that step is the one that works."""
    waits = {"stdin": (LONG_WAIT, LONG_WAIT), "signal": (SHORT_WAIT, 1000), "kill": (SHORT_WAIT, SHORT_WAIT + 1)}[works]
    return (
        Step(stdin=living.LINE + b"\n"),
        Step(wait=waits[0]),
        Step(signal=15),
        Step(wait=waits[1]),
        Step(kill=True),
    )


def again_after(delay: int = DELAY) -> Restart:
    """Start it again, always after about as long."""
    return Restart(policy=Policy.ON_FAILURE, delay=delay, longest=delay)


class Worlds:
    """One world for each kind, and another one after a failure."""

    def __init__(self) -> None:
        self._worlds: dict[bool, tuple[World, Watcher]] = {}

    def now(self, *, state: bool) -> tuple[World, Watcher]:
        if state not in self._worlds:
            made = World(*(("--state=DIR/state",) if state else ()))
            (made.directory / "points").mkdir()
            # The runner has points in common with the keeper's.
            made.environment["PYTHONPATH"] = ROOT
            made.program = [sys.executable, RUNNER, str(made.directory / "points"), TWISTD]
            made.start()
            made.ready()
            self._worlds[state] = made, Watcher(made.path)
        return self._worlds[state]

    def close(self, *, sound: bool) -> None:
        while self._worlds:
            _, (world, watcher) = self._worlds.popitem()
            try:
                if sound:
                    watcher.leave()
            finally:
                world.close(sound=sound)


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    made = Worlds()
    yield made
    made.close(sound=True)


class Asking(threading.Thread):
    """Somebody who asks until there is an answer: after each loss on a new connection."""

    def __init__(self, path: str, request: Request) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._request = request
        self._answer: Any = None
        self.start()

    def run(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                wire = Wire(self._path)
                try:
                    self._answer = wire.ask(self._request)
                    return
                finally:
                    wire.close()
            except (OSError, EOFError, ConversationAborted):
                time.sleep(0.01)

    def answer(self) -> Any:
        """What it was told at last."""
        self.join()
        assert self._answer is not None, f"{self._request} was never answered"
        return self._answer


class Round:
    """One process, from its start until it is forgotten, and the points at which somebody is killed meanwhile."""

    def __init__(self, world: World, watcher: Watcher, points: tuple[str, ...], *, pty: bool) -> None:
        self.world = world
        self.watcher = watcher
        self.points = points
        self.pty = pty
        self.id = self.name = ""
        self._flags = world.directory / "points"
        state = world.directory / "state"
        self.database = str(state / "processes.db") if state.exists() else world.path + JOURNAL_SUFFIX

    # --- what is done ------------------------------------------------------------------------------------------------

    def start(self, *words: str, program: str | None = None, wait: bool = True, **declared: Any) -> None:
        """Start a process."""
        self.world._count += 1
        self.name = f"p{self.world._count}"
        where = (str(self.world.directory), self.name, self.world.marker, *words)
        start = Start(
            argv=(program or sys.executable, *(() if program else ("-I", "-S", living.__file__)), *where),
            env=(),
            name=self.name,
            key=self.name,
            pty=Pty(rows=24, columns=80) if self.pty else None,
            **declared,
        )
        self._starting = self.ask(start)
        if wait:
            self.found()
            eventually(lambda: self.acts()[1, "start"])

    def found(self) -> None:
        """Know what has come of the START."""
        started = self._starting.answer()
        assert isinstance(started, Started), started
        self.id = started.process.id

    def ask(self, request: Request) -> Asking:
        """Have somebody ask."""
        return Asking(self.world.path, request)

    def have_exit(self) -> None:
        """Have the process exit by itself."""
        (self.world.directory / f"{self.name}.exit").touch()

    def arm(self) -> None:
        """From here on whoever comes to the first of the points is killed."""
        self._keeper = keeper_pid(self.world.path)
        self._arm(0)

    def _arm(self, number: int) -> None:
        for point in self.points[number : number + 1]:
            (self._flags / point).touch()

    def survive(self) -> None:
        """Have it die at all the points, one after the other, and the next one start each time."""
        for number, point in enumerate(self.points, 1):
            if point in keeper_points.POINTS:
                eventually(lambda: not self._left())
                self.world.successor(self._keeper or -1)
                self._handed_over()
            else:
                try:
                    code = self.world.process.wait(PATIENCE / 2)
                except Exception:
                    raise AssertionError(f"not come to: {self._left()}; {told(self.watcher.of(self.id))}") from None
                assert code == -9, self.world.told()[-4000:]
                self._arm(number)
                self.world.start()
        self.world.ready()
        assert not self._left()
        if LONG:
            # What the one knows now is what the other knew.
            self.world.successor(self.world.kill_keeper())
            self._handed_over()
            self.world.kill()
            self.world.start()
            self.world.ready()

    def _handed_over(self) -> None:
        """Each keeper was handed everything at the first attempt."""
        assert "there is no other" not in self.world.told(), self.world.told()[-4000:]

    def _left(self) -> list[str]:
        return [file.name for file in self._flags.iterdir() if not file.name.endswith(".py")]

    def disarm(self) -> None:
        """After a failure."""
        for name in self._left():
            (self._flags / name).unlink(missing_ok=True)

    # --- what has come of it -----------------------------------------------------------------------------------------

    def acts(self) -> Counter[tuple[int, str]]:
        """What the process has written down, by generation."""
        file = self.world.directory / f"{self.name}.acts"
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter((int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines)

    def record(self) -> ProcessRecord | None:
        """Its record, as a LIST tells it."""
        listed = [one for one in self.world.ask(List()).processes if one.id == self.id]
        return listed[0] if listed else None

    def alive(self) -> list[int]:
        """All that live of it, as the kernel has them."""
        ours = f"\0{self.name}\0{self.world.marker}".encode()
        found = []
        for pid in marked(self.world.marker):
            with contextlib.suppress(OSError):
                if ours in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def runs(self, generation: int) -> None:
        """Wait until that generation runs, and compare: it is the only one, and was started once."""

        def there() -> bool:
            record = self.record()
            assert record is not None
            return record.state is State.RUNNING and bool(self.acts()[generation, "start"])

        eventually(there)
        record = self.record()
        assert record is not None
        assert self.alive() == [record.pid], told(self.watcher.of(self.id))
        self.is_true()

    def is_true(self) -> None:
        """The record in the journal is that of LIST."""

        def same() -> bool:
            listed, found = self.record(), recorded(self.database, self.id)
            return (listed and (listed.state, listed.generation, listed.pid, listed.code, listed.signal)) == (
                found and (found.state, found.generation, found.pid, found.code, found.signal)
            )

        try:
            eventually(same, 10)
        except AssertionError:
            raise AssertionError(
                f"LIST tells {self.record()}\nand the journal {recorded(self.database, self.id)}"
            ) from None

    def stopped(self, generation: int, works: str) -> None:
        """It was stopped in that generation: each step was taken once."""
        acts = self.acts()
        assert acts[generation, "line"] == 1, (acts, told(self.watcher.of(self.id)))
        # What was noted and not sent is not sent by the next daemon, which cannot know.
        noted_only = "after a step was noted: signal" in self.points and generation == 1
        sent = 0 if works == "stdin" or noted_only else 1
        assert acts[generation, "TERM"] == sent, (acts, told(self.watcher.of(self.id)))

    def finish(self, works: str = "stdin") -> None:
        """Stop it, if it runs, and forget it: nothing is left of it but its events, all of them, each once."""
        record = self.record()
        if record is not None:
            if record.state not in (State.EXITED, State.FAILED):
                answer = self.ask(Stop(process=self.id)).answer()
                assert isinstance(answer, Stopped), answer
                if not answer.already:
                    self.stopped(max(generation for generation, _ in self.acts()), works)
            self.is_true()
            answer = self.ask(Remove(process=self.id)).answer()
            assert isinstance(answer, NoSuchProcess) or not isinstance(answer, Refusal), answer
        self.forgotten()

    def forgotten(self) -> None:
        """Nothing is left of it but its events."""
        events = self.watcher.until(self.id, Happening.REMOVED)
        order = in_order(events)
        acts = self.acts()
        assert not any(act == "twice" for _, act in acts), acts
        starts = {generation: count for (generation, act), count in acts.items() if act == "start"}
        assert starts == dict.fromkeys(range(1, order.starts + 1), 1), (starts, told(events))
        assert sum(count for (_, act), count in acts.items() if act == "line") <= order.stops
        number, count = numbers(self.database, self.id)
        assert number == count == len(events), f"{number} was the last of {count}, told were {len(events)}"
        again = [event for event in self.watcher.all_again() if event.process.id == self.id]
        assert again == events
        assert not leftovers(mark_of(self.id))
        assert self.record() is None
        assert recorded(self.database, self.id) is None


# --- what is interrupted ---------------------------------------------------------------------------------------------


def stop(works: str) -> Callable[[Round], None]:
    """A STOP, up to the step that works."""

    def run(one: Round) -> None:
        one.start(*WORDS[works], stop=steps(works), restart=again_after())
        one.arm()
        asked = one.ask(Stop(process=one.id))
        one.survive()
        answer = asked.answer()
        assert isinstance(answer, Stopped), answer
        assert answer.process.state is State.EXITED
        one.stopped(1, works)
        assert in_order(one.watcher.until(one.id, Happening.EXITED)).stops == 1
        one.finish()

    return run


def restart(works: str) -> Callable[[Round], None]:
    """A RESTART, up to the step that works, and the next generation."""

    def run(one: Round) -> None:
        one.start(*WORDS[works], stop=steps(works))
        one.arm()
        asked = one.ask(Again(process=one.id, generation=1))
        one.survive()
        answer = asked.answer()
        assert isinstance(answer, OfProcess | WrongGeneration), answer
        one.runs(2)
        one.stopped(1, works)
        one.finish(works)

    return run


def stop_in_vain(one: Round) -> None:
    """A STOP that does not kill, of what does not obey: that is told, and it goes on."""
    one.start("deaf", "obstinate", stop=(Step(stdin=living.LINE + b"\n"), Step(wait=SHORT_WAIT)))
    one.arm()
    asked = one.ask(Stop(process=one.id))
    one.survive()
    assert isinstance(asked.answer(), NotStopped)
    one.runs(1)
    answer = one.ask(Stop(process=one.id, steps=(Step(kill=True),))).answer()
    assert isinstance(answer, Stopped), answer
    one.finish()


def backoff(one: Round) -> None:
    """An exit that is a failure, and the next generation after a while."""
    one.start(stop=steps("stdin"), restart=again_after())
    one.arm()
    one.have_exit()
    one.survive()
    one.runs(2)
    one.finish()


def by_hand(one: Round) -> None:
    """A RESTART of one that has exited."""
    one.start(stop=steps("stdin"))
    one.have_exit()
    one.watcher.until(one.id, Happening.EXITED)
    one.arm()
    asked = one.ask(Again(process=one.id, generation=1))
    one.survive()
    answer = asked.answer()
    assert isinstance(answer, OfProcess | WrongGeneration), answer
    one.runs(2)
    one.finish()


def stop_while_waiting(one: Round) -> None:
    """A STOP of one that waits to be started again."""
    one.start(stop=steps("stdin"), restart=again_after(NEVER))
    one.have_exit()
    one.watcher.until(one.id, Happening.BACKOFF)
    one.arm()
    asked = one.ask(Stop(process=one.id))
    one.survive()
    answer = asked.answer()
    assert isinstance(answer, Stopped), answer
    assert answer.already
    record = one.record()
    assert record is not None
    assert record.state is State.EXITED
    assert in_order(one.watcher.until(one.id, Happening.STOPPING)).stops == 1
    one.finish()


def not_started(one: Round) -> None:
    """A next generation that cannot be started, as its program is gone for a while."""
    one.world._count += 1
    program = one.world.directory / f"program{one.world._count}"

    def there() -> None:
        new = program.with_suffix(".new")
        new.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {living.__file__} "$@"\n')
        new.chmod(0o700)
        new.rename(program)

    there()
    one.start(program=str(program), stop=steps("stdin"), restart=again_after())
    program.unlink()
    one.arm()
    one.have_exit()
    one.survive()
    eventually(lambda: Happening.NOT_STARTED in {event.type for event in one.watcher.of(one.id)})
    there()
    one.runs(2)
    one.finish()


def ready(**how: Any) -> Callable[[Round], None]:
    """Being ready is seen."""

    def run(one: Round) -> None:
        words = ("notify",) if "notify" in how else ()
        one.arm()
        one.start(*words, wait=False, stop=steps("stdin"), ready=Ready(**how))
        one.survive()
        one.found()
        one.runs(1)
        assert [event.type for event in one.watcher.of(one.id)].count(Happening.READY) == 1
        one.finish()

    return run


def not_ready(one: Round) -> None:
    """It does not get ready, is killed for that, and started again."""
    one.start(
        "late",
        stop=steps("stdin"),
        ready=Ready(output=living.READY.decode().strip(), timeout=3000),
        restart=again_after(),
    )
    one.arm()
    one.survive()
    one.runs(2)
    assert [event.type for event in one.watcher.of(one.id)].count(Happening.NOT_READY) == 1
    one.finish()


def watchdog(one: Round) -> None:
    """It is not heard of any more, is killed for that, and started again."""
    one.arm()
    one.start(
        "late",
        "notify",
        wait=False,
        stop=steps("stdin"),
        ready=Ready(notify=True),
        watchdog=3000,
        restart=again_after(),
    )
    one.survive()
    one.found()
    one.runs(2)
    assert [event.type for event in one.watcher.of(one.id)].count(Happening.WATCHDOG) == 1
    one.finish()


def left_behind(one: Round) -> None:
    """A stop ends what the process has left behind, too."""
    one.start("leaves", stop=steps("stdin"))
    eventually(lambda: len(leftovers(mark_of(one.id))) == 2)
    one.arm()
    asked = one.ask(Stop(process=one.id))
    one.survive()
    assert isinstance(asked.answer(), Stopped)
    eventually(lambda: not leftovers(mark_of(one.id)))
    one.stopped(1, "stdin")
    one.finish()


def remove(one: Round) -> None:
    """A REMOVE."""
    one.start(stop=steps("stdin"))
    one.have_exit()
    one.watcher.until(one.id, Happening.EXITED)
    one.is_true()
    one.arm()
    asked = one.ask(Remove(process=one.id))
    one.survive()
    answer = asked.answer()
    assert isinstance(answer, NoSuchProcess) or not isinstance(answer, Refusal), answer
    one.forgotten()


def change(one: Round) -> None:
    """A CHANGE."""
    one.start(stop=steps("stdin"))
    one.arm()
    asked = one.ask(Change(process=one.id, labels=("changed=yes",)))
    one.survive()
    assert isinstance(asked.answer(), Changed)
    events = one.watcher.until(one.id, Happening.CHANGED)
    assert [event.type for event in events].count(Happening.CHANGED) == 1
    record = one.record()
    assert record is not None
    assert record.labels == ("changed=yes",)
    one.finish()


def prune(one: Round) -> None:
    """A PRUNE of several."""
    several = []
    for _ in range(5):
        other = Round(one.world, one.watcher, (), pty=one.pty)
        other.start(stop=steps("stdin"), labels=("all=these",))
        other.have_exit()
        several.append(other)
    for other in several:
        one.watcher.until(other.id, Happening.EXITED)
    one.arm()
    asked = one.ask(Prune(select=("label.all=these",)))
    one.survive()
    answer = asked.answer()
    assert isinstance(answer, Pruned), answer
    assert answer.count <= len(several)
    for other in several:
        other.forgotten()


def logged(one: Round) -> None:
    """A log that is written, and set aside again and again."""
    path = one.world.directory / f"log{one.world._count}"
    log = Log(path=str(path), size=4096, files=100, compress=False)
    one.arm()
    one.start("prints", wait=False, stop=steps("stdin"), log=log)
    one.survive()
    one.found()
    one.runs(1)
    wanted = [f"1 {number}".ljust(living.LENGTH, ".") for number in range(living.LINES)]

    def lines() -> list[str]:
        *old, new = [*sorted(path.parent.glob(f"{path.name}.*")), path]
        octets = b"".join(file.read_bytes() for file in (*old, new) if file.exists())
        return [line.split(" ", 3)[3] for line in octets.decode().splitlines()]

    eventually(lambda: lines()[: len(wanted)] == wanted)
    one.finish()
    assert lines() == [*wanted, living.READY.decode().strip()]


Scenario = Callable[[Round], None]

SAVED = "after it was saved, not appended: {}"
NOTED = "before it is saved: {}", SAVED


def noted(*types: str) -> tuple[str, ...]:
    """The points of these events at which what is done next differs."""
    return tuple(point.format(type) for type in types for point in NOTED)


def both(first: str, *second: str) -> tuple[tuple[str, ...], ...]:
    """Killed at the first, and the next daemon at one of the others, which are in its adoption."""
    return tuple((first, other) for other in second)


GONE_ON = ("adoption: before it is gone on with", "adoption: after it was gone on with")
TOLD_AGAIN = ("adoption: before it is told again", "adoption: after it was told again")
LAUNCHED_AGAIN = ("adoption: before a launch is begun", "adoption: after a launch was begun")
SETTLED = ("before an exit is settled", "after an exit was settled")

# What comes before a program runs that has something to say.
HEARD = ("before its socket is shared", "after its socket was shared", "after the gate was opened")

# The points at which a keeper's death makes a difference to an exit.
ENDINGS = (
    "keeper: before collect is answered",
    "keeper: before release",
    "keeper: before forget",
    "keeper: after forget",
)

# What is killed where: one or several points for each time.
Points = str | tuple[str, ...]
TABLE: dict[str, tuple[Scenario, tuple[Points, ...]]] = {
    "STOP by a line": (
        stop("stdin"),
        (
            *event_points("stopping"),
            *step_points("stdin"),
            *step_points("wait")[:2],
            *event_points("exited"),
            *SETTLED,
            *both("after a step was noted: stdin", *GONE_ON, *TOLD_AGAIN),
            *both("after a step was taken: stdin", *GONE_ON),
        ),
    ),
    "STOP by a signal": (
        stop("signal"),
        (
            *step_points("stdin"),
            *step_points("wait")[2:],
            *step_points("signal"),
            *event_points("step"),
            *noted("exited"),
            *both("after a step was noted: signal", *GONE_ON),
            *both("after a step was taken: wait", *GONE_ON),
        ),
    ),
    "STOP by a kill": (
        stop("kill"),
        (*step_points("signal"), *step_points("kill"), "before all is killed", *noted("exited")),
    ),
    "STOP in vain": (stop_in_vain, ("before a stop is given up", *event_points("not-stopped"))),
    "RESTART by a line": (
        restart("stdin"),
        (
            *noted("stopping"),
            *step_points("stdin"),
            *noted("exited"),
            *SETTLED,
            *BETWEEN,
            *event_points("started"),
            *both("after a step was noted: stdin", *GONE_ON),
            *both("after it was saved, not appended: exited", *GONE_ON, "when a backoff is over"),
        ),
    ),
    "RESTART by a signal": (restart("signal"), (*step_points("stdin"), *step_points("signal"), *noted("exited"))),
    "RESTART by a kill": (restart("kill"), (*step_points("signal"), *step_points("kill"), *noted("exited"))),
    "RESTART of what has exited": (by_hand, (*BETWEEN[1:], *event_points("started"))),
    "backoff": (
        backoff,
        (
            *event_points("exited"),
            *event_points("backoff"),
            *SETTLED,
            *BETWEEN,
            *event_points("started"),
            *both("after it was saved, not appended: backoff", *GONE_ON, *TOLD_AGAIN, "when a backoff is over"),
            *both("after the next generation was saved", *TOLD_AGAIN, *LAUNCHED_AGAIN),
            *both("after the next generation was saved", "after the next generation was asked for"),
            *both("before the next generation is known", "before the next generation is known"),
            *both("after it was saved, not appended: started", *GONE_ON, *TOLD_AGAIN),
        ),
    ),
    "STOP of what waits": (stop_while_waiting, event_points("stopping")),
    "a start that fails": (
        not_started,
        (
            "before a failed launch is known",
            *event_points("not-started"),
            *SETTLED,
            *both("after it was saved, not appended: not-started", *GONE_ON),
        ),
    ),
    "ready by output": (
        ready(output=living.READY.decode().strip()),
        ("before it is seen to be ready", *event_points("ready")),
    ),
    "ready by word": (ready(notify=True), (*HEARD, "before it is seen to be ready", *event_points("ready"))),
    "not ready": (not_ready, (*event_points("not-ready"), "before all is killed", "after all was killed")),
    "watchdog": (
        watchdog,
        (*HEARD[:2], *event_points("watchdog"), "before all is killed", "after all was killed", *ENDINGS[:2]),
    ),
    "leftovers": (
        left_behind,
        ("before leftovers are killed", "after leftovers were killed", *event_points("leftover"), *SETTLED),
    ),
    "REMOVE": (
        remove,
        (
            "before a removal is saved",
            *event_points("removed")[1:],
            "after a removal was told",
            "before one is forgotten",
            "after one was forgotten",
            *both(
                "after it was saved, not appended: removed",
                "adoption: before a removal is told",
                "adoption: after a removal was told",
                "after it was committed, not told: removed",
            ),
        ),
    ),
    "PRUNE": (prune, ("in the middle of a prune",)),
    "CHANGE": (change, event_points("changed")),
    "log": (
        logged,
        (
            "after a log was written, not saved",
            "after a log was written and saved",
            "before a log is set aside",
            "after a log was set aside",
        ),
    ),
}

# The points at which a keeper's death makes a difference to a next generation; by pipes, and by a terminal.
OF_KEEPERS = {
    False: ("keeper: before the spawn", "keeper: after the spawn, not told", "keeper: after spawned was told"),
    True: ("keeper: before the fork", "keeper: after the fork, not told", "keeper: after launched was told"),
}

# What `make test` does; each of the others differs little from one of these. By a pipe with a state directory,
SHORT: dict[str, tuple[Points, ...]] = {
    "STOP by a line": (
        SAVED.format("stopping"),
        SAVED.format("exited"),
        *step_points("stdin")[1:],
        SETTLED[0],
        ("after a step was noted: stdin", GONE_ON[1]),
    ),
    "STOP by a signal": (
        # One that obeys a step has gone when the next daemon might take it again; so these do not.
        step_points("stdin")[2],
        *step_points("wait")[2:],
        *step_points("signal"),
        "in the middle of its commit: step",
    ),
    "STOP by a kill": (step_points("signal")[2], step_points("kill")[1]),
    "STOP in vain": (SAVED.format("not-stopped"),),
    "RESTART by a line": (
        SAVED.format("stopping"),
        "after a step was noted: stdin",
        SAVED.format("exited"),
        "before the next generation is known",
    ),
    "RESTART by a signal": step_points("signal")[1:2],
    "RESTART of what has exited": BETWEEN[1:3],
    "backoff": (
        *noted("backoff"),
        *BETWEEN,
        *noted("started"),
        "after it was committed, not told: started",
        (SAVED.format("backoff"), GONE_ON[0]),
        ("after the next generation was saved", LAUNCHED_AGAIN[1]),
        *OF_KEEPERS[False],
    ),
    "STOP of what waits": (SAVED.format("stopping"),),
    "a start that fails": ("before a failed launch is known", SAVED.format("not-started")),
    "ready by output": ("before it is seen to be ready",),
    "ready by word": (*HEARD, "before it is seen to be ready", SAVED.format("ready")),
    "not ready": (SAVED.format("not-ready"),),
    "watchdog": (SAVED.format("watchdog"), ENDINGS[1]),
    "leftovers": ("before leftovers are killed",),
    "REMOVE": (
        SAVED.format("removed"),
        "before one is forgotten",
        (SAVED.format("removed"), "adoption: after a removal was told"),
    ),
    "PRUNE": ("in the middle of a prune",),
    "CHANGE": (SAVED.format("changed"), "in the middle of its commit: changed"),
    "log": ("after a log was written, not saved", "after a log was set aside"),
}
# and on a terminal without one.
SHORT_TERMINAL: dict[str, tuple[Points, ...]] = {
    "STOP by a line": ("after a step was noted: stdin",),
    "backoff": (BETWEEN[4], BETWEEN[5], BETWEEN[6], OF_KEEPERS[True][1]),
}


def cases() -> Iterator[Any]:
    """All of them, or the short form."""
    for pty in (False, True):
        for state in (True, False):
            for what, (_, points) in TABLE.items():
                every: tuple[Points, ...] = (*points, *(OF_KEEPERS[pty] + ENDINGS if what == "backoff" else ()))
                short: tuple[Points, ...] = ()
                if pty != state:
                    # Every third: the others come with the long form.
                    short = (SHORT_TERMINAL if pty else SHORT).get(what, ())[::3]
                assert set(short) <= set(every), set(short) - set(every)
                for point in every if LONG else short:
                    yield _case(what, (point,) if isinstance(point, str) else point, pty, state)


def _case(what: str, points: tuple[str, ...], pty: bool, state: bool) -> Any:
    where = f"{'terminal' if pty else 'pipes'}, {'state' if state else 'memory'}"
    return pytest.param(what, points, pty, state, id=f"{what}, {', '.join(points)}, {where}")


@pytest.mark.parametrize(("what", "points", "pty", "state"), list(cases()))
def test_killed(what: str, points: tuple[str, ...], pty: bool, state: bool, worlds: Worlds, figure: Figure) -> None:
    """What was begun goes on; nothing is done twice, and all that happened is told once, to whoever watches."""
    world, watcher = worlds.now(state=state)
    one = Round(world, watcher, points, pty=pty)
    sound = False
    try:
        TABLE[what][0](one)
        sound = True
    finally:
        if not sound:
            one.disarm()
            worlds.close(sound=False)
    where = f"{'terminal' if pty else 'pipes'}, {'state' if state else 'memory'}"
    figure(f"killed in {what}, {', '.join(points)}, {where}", "gone on with", "nothing twice, all told once")


# A daemon that finds that it has no processes is killed here, and so is the next one, which finds the same.
LOST = (
    (),
    ("adoption: before a lost one is revived",),
    ("adoption: after a lost one was revived",),
    ("when a backoff is over",),
    ("after the next generation was saved",),
    ("after the next generation was asked for",),
    ("before the next generation is known",),
    ("after it was saved, not appended: started",),
    ("after it was committed, not told: started",),
    ("after the next generation was saved", "adoption: after a lost one was revived"),
)


@pytest.mark.parametrize(
    "points", [pytest.param(one, id=", ".join(one) or "never again") for one in (LOST if LONG else LOST[:9:3])]
)
def test_both_killed(points: tuple[str, ...], worlds: Worlds, figure: Figure) -> None:
    """Daemon and keeper are killed together: what should run is started again, once; the others are told to be lost."""
    world, watcher = worlds.now(state=True)
    sound = False
    runs, waits, stays, ends = (Round(world, watcher, points, pty=False) for _ in range(4))
    try:
        runs.start(stop=steps("stdin"), restart=again_after())
        waits.start(stop=steps("stdin"), restart=again_after(NEVER))
        waits.have_exit()
        watcher.until(waits.id, Happening.BACKOFF)
        stays.start(stop=steps("stdin"), restart=Restart(policy=Policy.UNLESS_STOPPED))
        assert isinstance(stays.ask(Stop(process=stays.id)).answer(), Stopped)
        ends.start(stop=steps("stdin"))
        for one in (runs, waits, stays, ends):
            one.is_true()
        keeper = keeper_pid(world.path)
        assert keeper is not None
        world.kill()
        kill(keeper)
        runs.arm()
        world.start()
        runs.survive()
        runs.runs(2)
        waits.runs(2)
        watcher.until(ends.id, Happening.EXITED)
        for pid in ends.alive():
            kill(pid)
        for one in (stays, ends):
            record = one.record()
            assert record is not None
            assert record.state is State.EXITED
            assert one.acts()[2, "start"] == 0
            one.is_true()
        for one in (runs, waits, stays, ends):
            one.finish()
        sound = True
    finally:
        if not sound:
            runs.disarm()
            worlds.close(sound=False)
    figure(f"both killed, {', '.join(points) or 'once'}", "runs again", "once, and the others told to be lost")
