"""G6 where there is no service manager: the keeper itself starts the daemon again that was killed."""

from __future__ import annotations

import time

from tests.support import LONG, Figure
from tests.survive.world import kill, world

# Fewer than after which it gives up.
KILLS = 6 if LONG else 3

KINDS = ("flood", "both", "cat", "typed", "lines", "sleep")


def test_the_keeper_starts_it_again(figure: Figure) -> None:
    """Nobody else does; all goes on."""
    with world(environment={"INVOCATION_ID": "", "NOTIFY_SOCKET": ""}) as daemon:
        for number, kind in enumerate(KINDS):
            daemon.begin(kind, code=0 if kind == "cat" else 20 + number, seed=number)
        pids = [daemon.process.pid]
        for _ in range(KILLS):
            time.sleep(0.2)
            daemon.check()
            kill(pids[-1])
            if len(pids) == 1:
                daemon.process.wait()
            pids.append(daemon.ready(ours=False).pid)
            assert pids[-1] not in pids[:-1]
        daemon.finish()
    figure(f"G6 daemon killed {KILLS} times, started again by its keeper", f"{len(pids) - 1} times", "all compared")
