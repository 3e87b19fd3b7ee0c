"""Many children are taken over in no time, and a keeper costs next to nothing: neither memory nor processor time."""

from __future__ import annotations

import time

from netdaemon.errors import Refusal
from netdaemon.wire.commands import List, Start
from tests.faults.wire import Wire, cpu, eventually, memory
from tests.support import LONG, Figure, keeper_pid
from tests.survive.world import World, world

MANY = 1000 if LONG else 200

# A child has so many descriptors in the daemon, which are to be had.
INSIDE = ("sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh")


def keeper_memory(daemon: World) -> float:
    """Of its keeper, in MiB."""
    pid = keeper_pid(daemon.path)
    assert pid is not None
    return memory(pid) / (1 << 20)


def test_many_are_taken_over(figure: Figure) -> None:
    """All of them, with their pids; from the start of the new daemon to its first answer."""
    with world("--clients=50", f"--processes={MANY + 50}", inside=INSIDE) as daemon:
        alone = keeper_memory(daemon)
        wire = Wire(daemon.path)
        start = Start(argv=(daemon.marker, "10000"), path="/bin/sleep", env=())
        for _ in range(MANY // 50):
            for id in [wire.post(start) for _ in range(50)]:
                reply = wire.answer(id)
                assert not isinstance(reply, Refusal), reply
        wire.close()
        before = pids(daemon)
        assert len(before) == MANY
        full = keeper_memory(daemon)
        taken = []
        for _ in range(3):
            daemon.kill()
            began = time.monotonic()
            daemon.start()
            info = daemon.ready()
            taken.append(time.monotonic() - began)
            assert info.counts.running == MANY
        assert pids(daemon) == before
        assert set(daemon.pids()) == set(before.values())
        began = time.monotonic()
        daemon.successor(daemon.kill_keeper())
        replaced = time.monotonic() - began
        assert pids(daemon) == before
        successor = keeper_memory(daemon)
    promised = "<= 3 s" if LONG else "(of 1,000: <= 3 s)"
    figure(f"{MANY} children: from a daemon's start to its first answer", f"{min(taken):.2f} s", promised)
    figure(f"{MANY} children: from a keeper's death to its successor's having all", f"{replaced:.2f} s", "")
    figure("keeper's memory, no children", f"{alone:.1f} MiB", "<= 12 MiB")
    figure(f"keeper's memory, {MANY} children", f"{full:.1f} MiB", "<= 16 MiB")
    figure(f"keeper's memory, {MANY} children, successor", f"{successor:.1f} MiB", "<= 16 MiB")
    assert alone <= 12
    assert max(full, successor) <= 16


def pids(daemon: World) -> dict[str, int]:
    """Of all processes, by their ids."""
    wire, found, after = Wire(daemon.path), {}, None
    while True:
        page = wire.ask(List(after=after))
        found.update({one.id: one.pid for one in page.processes})
        after = page.after
        if after is None:
            wire.close()
            return found


def test_no_processor_time_of_the_keeper(figure: Figure) -> None:
    """While output flows it has nothing to do."""
    with world() as daemon:
        flood = daemon.begin("flood")
        eventually(lambda: flood.total)
        pid = keeper_pid(daemon.path)
        assert pid is not None
        time.sleep(0.2)
        before, received = cpu(pid), flood.total
        time.sleep(5 if LONG else 1.5)
        used, received = cpu(pid) - before, flood.total - received
        daemon.finish()
    figure(f"keeper's processor time while {received / 1e6:,.0f} MB flow", f"{used:.2f} s", "0")
    assert used <= 0.05
