"""G6, G7: daemon and keeper are killed at the points where it could matter, one after the other."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.errors import ConversationAborted, NoSuchProcess, Refusal
from netdaemon.wire.answers import Output, Status
from netdaemon.wire.commands import List, Remove
from tests.faults.wire import Wire, children, eventually
from tests.support import LONG, Figure, keeper_pid
from tests.survive import keeper_points, points
from tests.survive.follower import Follower
from tests.survive.world import TWISTD, Death, World, marked

RUNNER = points.__file__
ROOT = str(Path(__file__).parents[2])

# Both have everything of what is being handed over: with the old daemon dead, this keeper's death is a second fault.
HANDING_OVER = "keeper: in the middle of handing over"


class Worlds:
    """One world for all points, and another one after a failure."""

    def __init__(self) -> None:
        self._world: World | None = None

    def now(self) -> World:
        if self._world is None:
            self._world = made = World("--state=DIR/state")
            self.flags = made.directory / "points"
            self.flags.mkdir()
            # The runner has points in common with the keeper's.
            made.environment["PYTHONPATH"] = ROOT
            made.program = [sys.executable, RUNNER, str(self.flags), TWISTD]
            made.start()
            made.ready()
        return self._world

    def close(self, *, sound: bool) -> None:
        if self._world is not None:
            world, self._world = self._world, None
            world.close(sound=sound)


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    made = Worlds()
    yield made
    made.close(sound=True)


def remove(daemon: World, follower: Follower) -> None:
    """Have a process removed, whatever is killed meanwhile."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            wire = Wire(daemon.path)
            try:
                answer = wire.ask(Remove(process=follower.process))
            finally:
                wire.close()
        except (OSError, EOFError, ConversationAborted):
            time.sleep(0.01)
            continue
        if isinstance(answer, NoSuchProcess) or not isinstance(answer, Refusal):
            daemon.followers.remove(follower)
            return
        raise AssertionError(f"{answer!r}")
    raise AssertionError("there is no daemon any more")


def everything(daemon: World) -> list[threading.Thread]:
    """Begin all that is done with processes, so that every point is come to."""
    removed = next(one for one in daemon.followers if one.is_done)
    for kind in ("fed", "sleep", "typed"):
        daemon.end(next(daemon.some(kind)))
    for number, kind in enumerate(("sleep", "cat", "typed")):
        daemon.begin(kind, code=60 + number if kind != "cat" else 0, wait=False)
    thread = threading.Thread(target=remove, args=(daemon, removed), daemon=True)
    thread.start()
    return [thread]


def populate(daemon: World) -> None:
    """Some of each kind, one of which has exited."""
    for number, kind in enumerate(("sleep", "sleep", "sleep", "both", "cat", "fed", "terminal", "typed")):
        daemon.begin(kind, code=30 + number if kind != "cat" else 0, seed=number, wait=False)
    for follower in daemon.followers:
        follower.known()
    daemon.end(daemon.followers[0])
    daemon.followers[0].done()


def check_and_clear(daemon: World) -> None:
    """All that there was is complete; then nothing is left of it anywhere."""
    daemon.finish()
    for follower in list(daemon.followers):
        remove(daemon, follower)
    keeper = keeper_pid(daemon.path)
    assert keeper is not None
    eventually(lambda: children(keeper) == 0)
    # A child that waits at its gate still looks like its keeper.
    assert marked(daemon.path + ".keeper") == [keeper]


@pytest.mark.parametrize("point", [*points.POINTS, *points.STARTING, *keeper_points.POINTS])
def test_killed(point: str, worlds: Worlds, figure: Figure) -> None:
    """Nothing is lost, nothing comes twice, nobody is left whom nobody knows; then both are killed."""
    daemon = worlds.now()
    flag = worlds.flags / point
    sound = False
    try:
        if point == HANDING_OVER:
            two_faults(daemon, flag)
        else:
            one_fault(daemon, flag, point)
        assert not list(worlds.flags.glob("*[!py]")), "it was not come to"
        sound = True
    finally:
        if not sound or point == HANDING_OVER:
            flag.unlink(missing_ok=True)
            worlds.close(sound=sound)
    figure(f"killed {point}", "all there", "nothing lost or twice")


def one_fault(daemon: World, flag: Path, point: str) -> None:
    populate(daemon)
    keeper = keeper_pid(daemon.path)
    assert keeper is not None
    of_keeper = point in keeper_points.POINTS
    starting = point in points.STARTING
    taking = point == "keeper: in the middle of being handed everything"
    victim = Death(keeper if of_keeper else daemon.process.pid)
    flag.touch()
    if starting:
        daemon.kill()
        daemon.start()
        victim.close()
        victim = Death(daemon.process.pid)
    if taking:
        daemon.kill_keeper()
    working = everything(daemon)
    assert victim.wait(), "it was not come to"
    victim.close()
    if not of_keeper:
        daemon.process.wait()
        daemon.start()
        daemon.ready()
    eventually(lambda: not flag.exists())
    daemon.successor(keeper if of_keeper else -1)
    daemon.check()
    for thread in working:
        thread.join()
    if LONG or of_keeper or starting:
        # What the one knows now is what the other knew.
        daemon.successor(daemon.kill_keeper())
        daemon.kill()
        daemon.start()
        daemon.ready()
    check_and_clear(daemon)


def two_faults(daemon: World, flag: Path) -> None:
    """What was handed over already goes on; of the rest nobody has the descriptors. The daemon comes up, and works."""
    populate(daemon)
    flag.touch()
    daemon.kill()
    daemon.start()
    eventually(lambda: not flag.exists())
    daemon.successor(-1)
    for follower in daemon.followers:
        follower.leave()
    for pid in daemon.pids():
        Death(pid).send(9)
    daemon.followers.clear()
    # How those ended that were rescued is told; of the others that nobody knows how.
    listed = eventually(lambda: (found := daemon.ask(List()).processes) and all(one.exited for one in found) and found)
    assert any(one.signal == 9 or one.code for one in listed), listed
    for one in listed:
        daemon.ask(Remove(process=one.id))
    daemon.begin("lines")
    daemon.finish()


def test_a_short_one(worlds: Worlds, figure: Figure) -> None:
    """A keeper is killed when it has spawned what ends at once, and has not said so: it ran once, and that is told."""
    daemon = worlds.now()
    flag = worlds.flags / "keeper: after the spawn, not told"
    told = []
    for number in range(5):
        keeper = keeper_pid(daemon.path)
        flag.touch()
        marks = daemon.directory / f"short-{number}"
        with blocking.connect(daemon.path) as client:
            process = client.start(["/bin/sh", "-c", f"echo once >> {marks}; echo there; exit 5"])
            events = [event for event in process if not isinstance(event, Output) or event.payload]
            output, status = events[:2]
            assert isinstance(output, Output)
            assert output.payload == b"there\n"
            # After its output, as ever.
            assert isinstance(status, Status)
            assert status.end == len(output.payload)
            told.append(status.code)
        daemon.successor(keeper or -1)
        assert not flag.exists()
        assert marks.read_text() == "once\n"
    assert {*told} <= {5, None}
    figure("killed keeper: after it spawned what ends at once", "all ran once", f"5 of 5; exits known: {told.count(5)}")
