"""A real daemon: a process that is started again and again, and all that is told of it, over cuts and kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from netdaemon import Client, Happening, Listener, Policy, Restart, State, Status, Step, Watch, connect
from tests.client.test_real_losses import through
from tests.support import RunningDaemon, running_daemon

core: Any = reactor

SCRIPT = "echo up; read line; echo got $line; exit 3"
AGAIN = Restart(policy=Policy.ALWAYS, delay=20, longest=20)
ROUNDS = 6


class Told(Listener):
    """All that is told, in order."""

    def __init__(self) -> None:
        self.output = b""
        self.statuses: list[tuple[State, int]] = []

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        assert offset == len(self.output)
        self.output += data

    def on_status(self, status: Status) -> None:
        self.statuses.append((status.state, status.generation))


async def so(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    for _ in range(2000):
        if condition():
            return
        await deferLater(core, 0.01)
    raise AssertionError("it did not come about")


async def follow(watch: Watch, into: list[tuple[Happening, int]]) -> None:
    async for event in watch:
        if event.type in (Happening.CREATED, Happening.STARTED, Happening.EXITED, Happening.REMOVED):
            into.append((event.type, event.process.generation))
        if event.type is Happening.REMOVED:
            return


async def feed(client: Client, between: Callable[[], Any]) -> None:
    """Let it exit some times, have something happen before each, and see that all was told once."""
    watch = await client.watch("name=again")
    into: list[tuple[Happening, int]] = []
    following = Deferred.fromCoroutine(follow(watch, into))
    process = await client.start(
        ["/bin/sh", "-c", SCRIPT],
        name="again",
        restart=AGAIN,
        stop=[Step(stdin=b"quit\n"), Step(wait=10_000), Step(kill=True)],
    )
    told = Told()
    process.listen(told)
    exit = process.when_exited()
    # Before that, nobody can know whether the snapshot is complete, and there would be another.
    await so(lambda: bool(into))
    for generation in range(1, ROUNDS + 1):
        await so(lambda: told.output.count(b"up\n") == generation)  # noqa: B023
        await between()
        await process.write(b"%d\n" % generation)
    await so(lambda: told.output.count(b"up\n") == ROUNDS + 1)
    stopped = await client.stop("again")
    assert (stopped.process.state, stopped.process.code) == (State.EXITED, 3)
    assert (await exit).generation == ROUNDS + 1
    assert (await client.stop(process)).already
    await client.remove(process)
    await following
    lines = [b"up\ngot %d\n" % generation for generation in range(1, ROUNDS + 1)]
    assert told.output == b"".join(lines) + b"up\ngot quit\n"
    expected: list[tuple[State, int]] = []
    for generation in range(1, ROUNDS + 1):
        expected += [(State.BACKOFF, generation), (State.RUNNING, generation + 1)]
    last = ROUNDS + 1
    assert told.statuses == [*expected, (State.STOPPING, last), (State.EXITED, last)]
    happened = [(kind, one) for one in range(1, last + 1) for kind in (Happening.STARTED, Happening.EXITED)]
    assert into == [(Happening.CREATED, 1), *happened, (Happening.REMOVED, last)]
    assert watch.fresh_count == 1


async def test_generations_and_events_over_many_connections(daemon: RunningDaemon, tmp_path: Path) -> None:
    async with through(daemon, tmp_path) as (proxy, client):

        async def cut() -> None:
            # And then whenever some messages have come through.
            proxy.every = 9001
            proxy.cut()

        await feed(client, cut)
        assert proxy.cuts >= ROUNDS


async def test_generations_and_events_while_the_daemon_is_killed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path) as daemon:
        client = await connect(core, f"unix:{daemon.path}")

        async def kill() -> None:
            os.kill((await client.info()).pid, signal.SIGKILL)

        await feed(client, kill)
        await client.disconnect()


@pytest.mark.parametrize("whole", [False, True])
async def test_what_is_changed_counts_from_the_next_start_on(daemon: RunningDaemon, whole: bool) -> None:
    client = await connect(core, f"unix:{daemon.path}")
    process = await client.start(
        ["/bin/sh", "-c", "echo $A; sleep 60"], env={"A": "one", "PATH": "/bin"}, labels={"k": "v"}
    )
    told = Told()
    process.listen(told)
    await so(lambda: told.output == b"one\n")
    argv = ["/bin/sh", "-c", "echo two; sleep 60"]
    changed = await client.change(process, argv, whole=whole, env={"PATH": "/bin"})
    assert changed.restart
    assert changed.process.labels == (() if whole else ("k=v",))
    assert (await client.restart(process)).generation == 2
    await so(lambda: told.output == b"one\ntwo\n")
    look = await client.look(process, stats=True)
    assert look.stats is not None
    assert look.stats.processes >= 1
    await client.stop(process, steps=[Step(kill=True)])
    assert await client.prune("state=exited") >= 1
    await client.disconnect()
