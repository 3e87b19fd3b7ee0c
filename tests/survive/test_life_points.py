"""G6, G7 for what goes on when nobody looks: killed at every step of stops, restarts, and of what is recorded of them.

Afterwards the sequence goes on, or is told to have failed; nothing is done twice, and what happened is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netdaemon.wire.answers import Stopped
from netdaemon.wire.commands import Stop
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Restart
from netdaemon.wire.told import Happening
from tests.support import LONG, Figure, keeper_pid
from tests.survive import living
from tests.survive.life_points import BETWEEN, event_points, step_points
from tests.survive.round import Round, Worlds
from tests.survive.scenarios import (
    NEVER,
    again_after,
    backoff,
    by_hand,
    change,
    left_behind,
    logged,
    not_ready,
    not_started,
    prune,
    ready,
    remove,
    restart,
    steps,
    stop,
    stop_in_vain,
    stop_while_waiting,
    watchdog,
)
from tests.survive.world import kill


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    made = Worlds()
    yield made
    made.close(sound=True)


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
