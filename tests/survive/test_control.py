"""The control of G6: the same loop, with output copied by read and write, must lose some, or it shows nothing."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from tests.faults.wire import eventually
from tests.support import LONG, Figure
from tests.survive.world import TWISTD, World, world

COPYING = str(Path(__file__).with_name("copying.py"))

# Kills before what was written and what came are compared.
A_TIME = 5


def lost(daemon: World, kills: int, chance: random.Random) -> int:
    """Bytes that a flood wrote and that have not come, or came twice, with the daemon killed so many times under it."""
    flood = daemon.begin("flood", compare=False)
    for _ in range(kills):
        daemon.ready()
        before = flood.total
        eventually(lambda before=before: flood.check() or flood.total > before)
        time.sleep(chance.uniform(0, 0.05))
        daemon.kill()
        daemon.start()
    daemon.ready()
    daemon.end(flood)
    flood.done()
    out = int((daemon.directory / f"{flood.start.name}.report").read_text().split()[0])
    return abs(out - flood.received[1])


def test_copying_loses(figure: Figure) -> None:
    """Read and write: a kill between the two loses what is there."""
    chance = random.Random("control")
    missing = kills = 0
    with world(program=[sys.executable, COPYING, TWISTD]) as daemon:
        degraded = False
        while kills < 50 if LONG else not missing and kills < 200:
            missing += lost(daemon, A_TIME, chance)
            kills += A_TIME
            degraded = degraded or bool(daemon.ready().degraded)
        assert degraded, "it was not copied"
    figure(f"G6 control, read and write instead of splice: bytes lost in {kills} kills", f"{missing:,}", "> 0")
    assert missing, "a loop that finds no fault here finds none anywhere"


def test_splice_does_not(figure: Figure) -> None:
    """The very same, by splice."""
    kills = 50 if LONG else A_TIME
    with world() as daemon:
        missing = lost(daemon, kills, random.Random("control"))
    figure(f"G6 control, splice: bytes lost in {kills} kills", missing, "0")
    assert missing == 0
