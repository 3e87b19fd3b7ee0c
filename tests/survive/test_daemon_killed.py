"""G6: the daemon is killed at any moment: no byte, no exit and no child is lost, and nothing comes twice."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests.support import LONG, Figure
from tests.survive.world import Death, World, kills, world

ROUNDS = 50 if LONG else 10

CASES = {
    "stdout": ["flood"],
    "stdout and stderr": ["both"],
    "stdin, echoed": ["cat"],
    "stdin, read": ["fed"],
    "terminal's output": ["terminal"],
    "terminal both ways": ["typed"],
    "24 children": [
        "flood",
        "both",
        "both",
        *["lines"] * 5,
        *["cat"] * 4,
        "fed",
        "terminal",
        "typed",
        "typed",
        *["sleep"] * 8,
    ],
}

PLACES = ("memory", "tmpfs", "disk")


@contextlib.contextmanager
def options(place: str) -> Iterator[list[str]]:
    """Those with which spools are in a place of this kind."""
    if place == "memory":
        yield []
        return
    directory = tempfile.mkdtemp(prefix="nd", dir="/dev/shm" if place == "tmpfs" else "/var/tmp")
    try:
        yield [f"--state={directory}"]
    finally:
        shutil.rmtree(directory)


# In full each for itself in memory, and all at once everywhere; the short form has all at once only.
RUNS = [(case, "memory") for case in CASES if LONG or case == "24 children"]
RUNS += [("24 children", place) for place in PLACES[1:]]


@pytest.mark.parametrize(("case", "place"), RUNS)
def test_kills(case: str, place: str, figure: Figure) -> None:
    """All that is written and fed comes through, once; each exit is told, once, after the last byte."""
    chance = random.Random(f"{case} {place}")
    with options(place) as chosen, world(*chosen) as daemon:
        for number, kind in enumerate(CASES[case]):
            daemon.begin(kind, code=10 + number if kind != "cat" else 0, seed=number, wait=False)
        ended = 0

        def while_dead(number: int) -> None:
            """Some exit while there is no daemon, and others take their place."""
            nonlocal ended
            for kind in ("sleep", "lines"):
                ended += exits(daemon, kind)

        kills(daemon, ROUNDS, chance, while_dead if len(CASES[case]) > 1 else lambda number: None)
        daemon.finish()
        count = len(daemon.followers)
        written = sum(one.total for one in daemon.followers)
        fed = sum(one.acknowledged for one in daemon.followers)
    what = f"G6 daemon killed {ROUNDS} times, {case}, {place}:"
    figure(f"{what} MB out, in", f"{written / 1e6:,.1f}, {fed / 1e6:,.1f}", "all compared")
    figure(f"{what} lost or twice", "0", "0")
    if ended:
        figure(f"{what} exits, with no daemon alive", f"{count}, {ended}", "all right")


def exits(daemon: World, kind: str) -> int:
    """Have one of this kind exit now, when there is no daemon; and another to be started by the next."""
    for follower in daemon.some(kind):
        assert follower.pid is not None
        victim = Death(follower.pid)
        daemon.end(follower)
        # One whose pipe is full has to wait for a daemon.
        gone = victim.wait(2.0)
        victim.close()
        daemon.begin(kind, code=100 + len(daemon.followers) % 100, wait=False)
        return int(gone)
    return 0
