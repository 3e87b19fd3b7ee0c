"""G7: the keeper is killed: a successor has everything, no client notices, no exit is told that is not so."""

from __future__ import annotations

import itertools
import random
import signal
import time

from tests.support import LONG, Figure
from tests.survive.world import World, world

ROUNDS = 25 if LONG else 10

# How many times in a round one of the two is killed.
EACH = 4 if LONG else 2

MIXED = [
    *["flood", "both", "both", "cat", "cat", "cat", "cat", "fed", "terminal", "typed", "typed"],
    *["lines"] * 4,
    *["sleep"] * 9,
]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGHUP)


def populate(daemon: World) -> None:
    """24 children, of all kinds."""
    for number, kind in enumerate(MIXED):
        daemon.begin(kind, code=0 if kind == "cat" else 10 + number, seed=number, wait=False)
    for follower in daemon.followers:
        follower.known()


def endings(daemon: World, number: int, chance: random.Random) -> None:
    """One exits and one is killed, now; and others are started."""
    for how in ("exits", "killed"):
        follower = next(daemon.some("sleep"), None)
        if follower is None:
            continue
        if how == "exits":
            daemon.end(follower)
        else:
            daemon.murder(follower, chance.choice(SIGNALS))
        daemon.begin("sleep", code=100 + number % 100, wait=False)


def test_keeper_killed(figure: Figure) -> None:
    """Again and again, with children that exit before, meanwhile and after; then the daemon."""
    chance = random.Random("keeper")
    with world() as daemon:
        populate(daemon)
        for number in range(ROUNDS):
            if number % 3 == 0:
                endings(daemon, number, chance)
            time.sleep(chance.uniform(0, 0.2))
            dead = daemon.kill_keeper()
            if number % 3 == 1:
                endings(daemon, number, chance)
            daemon.successor(dead)
            if number % 3 == 2:
                endings(daemon, number, chance)
            daemon.check()
            assert {one.connections for one in daemon.followers} <= {0, 1}, "a client was disconnected"
        time.sleep(0.2)
        daemon.kill()
        endings(daemon, ROUNDS, chance)
        daemon.start()
        daemon.ready()
        daemon.check()
        time.sleep(0.2)
        daemon.finish(unknown=True)
        tell(daemon, figure, f"G7 keeper killed {ROUNDS} times, 24 children:")


def test_both_killed_by_turns(figure: Figure) -> None:
    """Keeper or daemon, as chance has it."""
    chance = random.Random("both")
    killed = {"keeper": 0, "daemon": 0}
    with world() as daemon:
        populate(daemon)
        for number, _ in itertools.product(range(ROUNDS), range(EACH)):
            daemon.ready()
            daemon.check()
            time.sleep(chance.uniform(0, 0.2))
            whom = chance.choice(["keeper", "daemon"])
            killed[whom] += 1
            if whom == "keeper":
                dead = daemon.kill_keeper()
                endings(daemon, number, chance)
                daemon.successor(dead)
            else:
                daemon.kill()
                endings(daemon, number, chance)
                daemon.start()
        daemon.ready()
        daemon.finish(unknown=True)
        tell(daemon, figure, f"G7 keeper killed {killed['keeper']} times, daemon {killed['daemon']}:")


def tell(daemon: World, figure: Figure, what: str) -> None:
    """The figures of a world that has been compared."""
    written = sum(one.total for one in daemon.followers)
    fed = sum(one.acknowledged for one in daemon.followers)
    figure(f"{what} MB out, in", f"{written / 1e6:,.1f}, {fed / 1e6:,.1f}", "all compared")
    figure(f"{what} exits wrong", f"0 of {len(daemon.followers)}", "0")
    figure(f"{what} exits unknown", len(daemon.unknown), "where the kernel cannot tell")
