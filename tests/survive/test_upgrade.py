"""G8: the daemon is upgraded, which is a restart, under flood: no byte and no exit is lost."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable

import pytest

from netdaemon.wire.commands import Wait
from tests.faults.wire import eventually
from tests.support import LONG, Figure
from tests.survive.world import Death, World, world

RESTARTS = 20 if LONG else 10

FOLLOWED = 10
CHILDREN = 20


def silence(daemon: World, died: float) -> list[float]:
    """For each follower the seconds from the old daemon's death to the first byte by the new one."""
    gaps = []
    for follower in daemon.followers:
        came = eventually(
            lambda follower=follower: (
                follower.check() or ((follower.first_byte_at or 0) > died and follower.first_byte_at)
            )
        )
        gaps.append(came - died)
    return gaps


def restart(daemon: World) -> list[float]:
    """By hand, as a service manager does it: one daemon ends, another is started."""
    process, old = daemon.process, Death(daemon.process.pid)
    old.send(signal.SIGTERM)
    assert old.wait()
    died = time.monotonic()
    old.close()
    daemon.start()
    gaps = silence(daemon, died)
    # In order, and by the signal: that is how twistd ends.
    assert process.wait() == -signal.SIGTERM
    return gaps


def take_over(daemon: World) -> list[float]:
    """The new one is started first, and has the old one leave when it is ready itself."""
    process, old = daemon.process, Death(daemon.process.pid)
    daemon.start("--takeover")
    assert old.wait()
    died = time.monotonic()
    old.close()
    gaps = silence(daemon, died)
    assert process.wait() == 0
    return gaps


@pytest.mark.parametrize("upgrade", [restart, take_over])
def test_upgrade_under_flood(figure: Figure, upgrade: Callable[[World], list[float]]) -> None:
    """Twenty children, ten of which are followed as fast as they write."""
    gaps: list[float] = []
    with world() as daemon:
        for number in range(CHILDREN):
            kind = ("flood", "both")[number % 2] if number < FOLLOWED else "lines"
            daemon.begin(kind, code=number + 10, wait=False)
        for follower in list(daemon.followers):
            follower.known()
            if follower.start.argv[4] == "lines":
                daemon.leave_alone(follower)
        for _ in range(RESTARTS):
            time.sleep(0.2)
            gaps += upgrade(daemon)
            daemon.ready()
            daemon.check()
        daemon.finish()
        for follower in daemon.left_alone:
            name = follower.start.name
            assert name is not None
            daemon.stop(name)
            record = daemon.ask(Wait(process=name)).process
            assert (record.code, record.signal) == daemon.endings[name]
        total = sum(one.total for one in daemon.followers)
    way = "restarts" if upgrade is restart else "takeovers"
    what = f"G8 {RESTARTS} {way}, {CHILDREN} children, {FOLLOWED} followers:"
    figure(f"{what} MB out", f"{total / 1e6:,.1f}", "all compared")
    figure(f"{what} bytes, exits lost", "0, 0", "0, 0")
    figure(f"{what} silence, median", f"{statistics.median(gaps) * 1000:.0f} ms", "<= 400 ms")
    figure(f"{what} silence, longest", f"{max(gaps) * 1000:.0f} ms", "")
