"""Daemon and keeper killed together: the service manager's store has everything, and the next daemon has it all."""

from __future__ import annotations

import os
import random
import time

import pytest

from netdaemon.keeper.child import SPOOL
from netdaemon.process.stored import INSTANCE
from netdaemon.wire.commands import Remove, Shutdown
from tests.faults.wire import eventually
from tests.support import LONG, Figure, keeper_pid
from tests.survive.world import Death
from tests.systemd.manager import Managed, managed

ROUNDS = 25 if LONG else 5


def stored(daemon: Managed) -> dict[str, set[str]]:
    """What is stored of processes, by process."""
    return {process: roles for process, roles in daemon.manager.roles().items() if process != INSTANCE}


def test_names() -> None:
    """A process's id and the role, for whole processes; none is left when it is removed, or everything ended."""
    with managed("--fdstore") as daemon:
        daemon.start()
        instance = daemon.ready().instance
        cat, screen = daemon.begin("cat"), daemon.begin("typed")
        terminal = {"stdin-relay-in", "stdin-relay-out", "stdout-relay-in", "stdout-relay-out", "master"}
        eventually(lambda: cat.acknowledged and screen.acknowledged)
        eventually(
            lambda: (
                stored(daemon)
                == {
                    cat.process: {"pidfd", "spool", "stdin", "stdout", "stderr", "input"},
                    screen.process: {"pidfd", "spool", "input", *terminal},
                }
            )
        )
        assert daemon.manager.roles()[INSTANCE] == {instance}
        daemon.end(cat)
        cat.done()
        eventually(lambda: stored(daemon)[cat.process] == {"spool"})
        daemon.ask(Remove(process=cat.process))
        daemon.followers.remove(cat)
        eventually(lambda: cat.process not in stored(daemon))
        daemon.finish()
        daemon.ask(Shutdown())
        daemon.process.wait()
        assert not daemon.manager.store


def test_a_restart_leaves_it() -> None:
    """The keeper has handed over everything: what was stored stays so, and nothing is stored twice."""
    with managed("--fdstore") as daemon:
        daemon.start()
        daemon.ready()
        for kind in ("cat", "lines", "typed"):
            daemon.begin(kind)
        eventually(lambda: sum("input" in roles for roles in stored(daemon).values()) == 2)
        eventually(lambda: not any("gate" in roles for roles in stored(daemon).values()))
        for number in (15, 9):
            before = dict(daemon.manager.store)
            daemon.process.send_signal(number)
            daemon.process.wait()
            daemon.start()
            daemon.ready()
            assert before.items() <= dict(daemon.manager.store).items()
        daemon.finish()


def test_what_is_stale_is_let_go() -> None:
    """A part of a process that is gone, and a start that only began to be stored."""
    with managed("--fdstore") as daemon:
        daemon.start()
        daemon.ready()
        cat = daemon.begin("cat")
        eventually(lambda: "input" in stored(daemon).get(cat.process, ()))
        daemon.kill()
        manager = daemon.manager
        (spool,) = (descriptor for name, descriptor in manager.store if name == f"{cat.process}.{SPOOL}")
        for name in ("gone.stdin", "gone.pidfd", f"{cat.process}.gate"):
            manager.store.append((name, os.dup(spool)))
        daemon.start()
        daemon.ready()
        eventually(lambda: stored(daemon) == {cat.process: {"pidfd", "spool", "stdin", "stdout", "stderr", "input"}})
        daemon.finish()


def test_without_the_option_nothing_stays() -> None:
    """It was asked for once, and is not any more: a child whose input is stored would never see its end."""
    with managed("--fdstore") as daemon:
        daemon.start()
        daemon.ready()
        daemon.begin("fed")
        daemon.kill()
        daemon.options.remove("--fdstore")
        daemon.start()
        daemon.ready()
        eventually(lambda: not daemon.manager.store)
        daemon.finish()


def test_no_room() -> None:
    """A process is stored as a whole or not at all, and that is said; room that another leaves is used."""
    with managed("--fdstore") as daemon:
        daemon.manager.environment["FDSTORE"] = "12"
        daemon.start()
        daemon.ready()
        cats = [daemon.begin("cat") for _ in range(3)]
        eventually(lambda: all(one.acknowledged for one in cats))
        assert set(stored(daemon)) == {cats[0].process}
        assert f"process {cats[2].process} is not in the service manager's store" in daemon.told()
        daemon.end(cats[0])
        cats[0].done()
        daemon.ask(Remove(process=cats[0].process))
        daemon.followers.remove(cats[0])
        cats.append(daemon.begin("cat"))
        eventually(lambda: set(stored(daemon)) == {cats[3].process})
        daemon.finish()


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_killed_together(place: str, figure: Figure) -> None:
    """Children write, are fed, sit in terminals; some exit meanwhile: no byte lost, no exit wrong, the same daemon."""
    chance = random.Random(f"together {place}")
    exits = 0
    with managed("--fdstore", *(["--state=DIR/state"] if place == "disk" else [])) as daemon:
        daemon.start()
        instance = daemon.ready().instance
        for number, kind in enumerate(["flood", "both", "lines", "cat", "fed", "terminal", "typed"]):
            daemon.begin(kind, code=10 + number if kind != "cat" else 0, seed=number)
        for number in range(ROUNDS):
            ends = [daemon.begin("sleep", code=100 + number), daemon.begin("lines", code=50 + number)]
            time.sleep(chance.uniform(0, 0.3))
            daemon.kill_both(keeper_first=number % 2 == 0)
            for one in ends:
                assert one.pid is not None
                victim = Death(one.pid)
                daemon.end(one)
                # One whose pipe is full has to wait for a daemon.
                exits += victim.wait(2.0)
                victim.close()
            daemon.start()
            assert daemon.ready().instance == instance
            assert keeper_pid(daemon.path) is not None
            daemon.check()
        daemon.finish(unknown=True)
        count, unknown = len(daemon.followers), len(daemon.unknown)
        written = sum(one.total for one in daemon.followers)
    what = f"daemon and keeper killed together {ROUNDS} times, FD store, {place}:"
    figure(f"{what} MB out", f"{written / 1e6:,.1f}", "all compared")
    figure(f"{what} exits, of these with neither alive, unknown", f"{count}, {exits}, {unknown}", "none wrong")
