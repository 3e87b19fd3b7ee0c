"""A real daemon that is killed under a process that is started again and again: all that is told comes once."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.blocking import Client, RemoteProcess, Watch
from netdaemon.errors import NotRunning
from netdaemon.wire.answers import Event, Output, Status
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Restart, Step
from netdaemon.wire.told import Happening
from tests.blocking.support import until
from tests.cli.support import PATIENCE, Daemon

SCRIPT = ("/bin/sh", "-c", "echo up; read line; echo got $line; exit 3")
AGAIN = Restart(policy=Policy.ALWAYS, delay=20, longest=20)
ROUNDS = 4


@pytest.fixture
def client() -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        running = Daemon(Path(directory))
        try:
            with running.client() as client:
                yield client
        finally:
            running.stop()


def output(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if isinstance(event, Output))


def taken(process: RemoteProcess, into: list[Event]) -> list[Event]:
    while (event := process.take()) is not None:
        into.append(event)
    return into


def types(watch: Watch) -> list[tuple[Happening, int]]:
    """What happened, until it was removed."""
    found: list[tuple[Happening, int]] = []
    while (event := watch.next_event(PATIENCE)) is not None:
        if event.type in (Happening.STARTED, Happening.EXITED):
            found.append((event.type, event.process.generation))
        if event.type is Happening.REMOVED:
            break
    return found


def test_generations_and_events_while_the_daemon_is_killed(client: Client) -> None:
    events: list[Event] = []
    watch = client.watch("name=again")
    process = client.start(SCRIPT, name="again", restart=AGAIN, stop=[Step(stdin=b"quit\n"), Step(wait=10_000)])
    # Before that, nobody can know whether the snapshot is complete, and there would be another.
    created = watch.next_event(PATIENCE)
    assert created is not None
    assert created.type is Happening.CREATED
    for number in range(1, ROUNDS + 1):
        until(client, lambda: output(taken(process, events)).count(b"up\n") == number, PATIENCE)  # noqa: B023
        os.kill(client.info().pid, signal.SIGKILL)
        process.write(b"%d\n" % number, PATIENCE)
    until(client, lambda: output(taken(process, events)).count(b"up\n") == ROUNDS + 1, PATIENCE)
    with pytest.raises(NotRunning):
        client.remove("again")
    assert client.stop("again").process.code == 3
    events += process.events(timeout=PATIENCE)
    client.remove("again")
    lines = [b"up\ngot %d\n" % number for number in range(1, ROUNDS + 1)]
    assert output(events) == b"".join(lines) + b"up\ngot quit\n"
    expected: list[tuple[State, int]] = []
    for number in range(1, ROUNDS + 1):
        expected += [(State.BACKOFF, number), (State.RUNNING, number + 1)]
    told = [(event.state, event.generation) for event in events if isinstance(event, Status)]
    assert told == [*expected, (State.STOPPING, ROUNDS + 1), (State.EXITED, ROUNDS + 1)]
    both = (Happening.STARTED, Happening.EXITED)
    assert types(watch) == [(kind, number) for number in range(1, ROUNDS + 2) for kind in both]
    assert watch.fresh_count == 1
    watch.close()


def test_a_process_that_is_started_again_takes_input_at_once(client: Client) -> None:
    process = client.start(["/bin/cat"], name="cat")
    assert process.write(b"one\n") == 4
    process.close_stdin()
    assert process.wait(PATIENCE).code == 0
    assert client.stop("cat").already
    assert client.restart("cat").generation == 2
    assert process.write(b"two\n") == 8
    process.close_stdin()
    events: list[Event] = []
    until(client, lambda: b"two\n" in output(taken(process, events)), PATIENCE)
    client.wait("cat", timeout=PATIENCE)
    # From where it stands nothing is missing, and nothing comes again.
    first = client.watch("name=cat")
    client.remove("cat")
    cursor = next(event.cursor for event in first if event.type is Happening.REMOVED)
    with client.watch(since=cursor) as watch:
        assert not watch.fresh
        client.start_detached(["/bin/true"], name="next")
        event = watch.next_event(PATIENCE)
        assert event is not None
        assert (event.type, event.process.name) == (Happening.CREATED, "next")
