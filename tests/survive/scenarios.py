"""What is interrupted by kills: stops, restarts, getting ready, and what is done to what has exited."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from netdaemon.errors import NoSuchProcess, NotStopped, Refusal, WrongGeneration
from netdaemon.process.trees import leftovers, mark_of
from netdaemon.wire.answers import Changed, OfProcess, Pruned, Stopped
from netdaemon.wire.commands import Again, Change, Prune, Remove, Stop
from netdaemon.wire.records import State
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening
from tests.faults.wire import eventually
from tests.survive import living
from tests.survive.round import Round
from tests.survive.watcher import in_order

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
