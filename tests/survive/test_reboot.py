"""What is started again, and what stays as it was, when all of it is gone at once; and a stop that somebody types."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Restart, Step
from netdaemon.wire.told import ProcessRecord
from tests.support import PATIENCE, keeper_pid, readable, running_daemon

# How a process comes to its last state before the end, and with which policies it runs after it.
AGAIN: dict[str, frozenset[Policy]] = {
    "runs": frozenset({Policy.ON_FAILURE, Policy.ALWAYS, Policy.UNLESS_STOPPED}),
    "was stopped": frozenset({Policy.ALWAYS}),
    "waits": frozenset({Policy.ON_FAILURE, Policy.ALWAYS, Policy.UNLESS_STOPPED}),
    "has exited well": frozenset(),
    "has failed": frozenset(),
}

# Those that come to it: with the others it is started again, or never waits.
POLICIES: dict[str, tuple[Policy, ...]] = {
    "runs": tuple(Policy),
    "was stopped": tuple(Policy),
    "waits": (Policy.ON_FAILURE, Policy.ALWAYS, Policy.UNLESS_STOPPED),
    "has exited well": (Policy.NEVER, Policy.ON_FAILURE),
    "has failed": (Policy.ON_FAILURE, Policy.ALWAYS, Policy.UNLESS_STOPPED),
}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def place(tmp_path: Path, name: str) -> Path:
    found = tmp_path / name
    found.mkdir(mode=0o700)
    return found


def kill_all(path: str, pids: list[int]) -> None:
    """SIGKILL to a daemon, its keeper and their processes, none of which can do anything about it; come back when they
    are dead."""
    keeper = keeper_pid(path)
    with blocking.connect(path) as client:
        daemon = client.info().pid
    assert keeper is not None
    pidfds = [os.pidfd_open(pid) for pid in (keeper, daemon, *pids)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pidfd in pidfds:
            signal.pidfd_send_signal(pidfd, number)
    for pidfd in pidfds:
        assert readable(pidfd, PATIENCE)
        os.close(pidfd)


def bring(client: blocking.Client, how: str, policy: Policy) -> None:
    """A process in its last state; its name is what that is and its policy."""
    script = {"has exited well": "exit 0", "has failed": "exit 3", "waits": "exit 3"}.get(how, "exec sleep 1000")
    delay = 60_000 if how == "waits" else 0
    restart = Restart(policy=policy, delay=delay, burst=2 if how == "has failed" else 0)
    record = client.start_detached(["/bin/sh", "-c", script], name=called(how, policy), restart=restart)
    if how == "was stopped":
        client.stop(record.id)
    wanted = {"runs": State.RUNNING, "waits": State.BACKOFF, "has failed": State.FAILED}.get(how, State.EXITED)
    eventually(lambda: client.inspect(record.id).state is wanted)


def commit(client: blocking.Client) -> None:
    """Come back when all that has happened is in the journal: what happens later is told only after it."""
    with client.watch("name=last") as watch:
        client.start_detached(["/bin/true"], name="last")
        assert watch.next_event(PATIENCE) is not None


def called(how: str, policy: Policy) -> str:
    return f"{how.replace(' ', '_')}:{policy.value}"


def test_each_policy_after_a_reboot(tmp_path: Path) -> None:
    """The next daemon has what was to run run again, as the same process in its next generation, and nothing else."""
    state, before, after = tmp_path / "state", place(tmp_path, "a"), place(tmp_path, "b")
    with running_daemon(before, f"--state={state}") as daemon:
        with blocking.connect(daemon.path) as client:
            for how, policies in POLICIES.items():
                for policy in policies:
                    bring(client, how, policy)
            commit(client)
            old = {record.name: record for record in client.list()}
        kill_all(daemon.path, [record.pid for record in old.values() if record.pid])
    with running_daemon(after, f"--state={state}") as daemon, blocking.connect(daemon.path) as client:
        for how, policies in POLICIES.items():
            for policy in policies:
                check(client, old[called(how, policy)], how, again=policy in AGAIN[how])


def check(client: blocking.Client, old: ProcessRecord, how: str, *, again: bool) -> None:
    """It is the same process; it was started again or not."""
    if again:
        # One that waits exits again, and waits again.
        eventually(lambda: client.inspect(old.id).generation == old.generation + 1)
        eventually(lambda: client.inspect(old.id).state is (State.BACKOFF if how == "waits" else State.RUNNING))
    now = client.inspect(old.id)
    assert (now.name, now.restart, now.created) == (old.name, old.restart, old.created)
    if not again:
        ended = State.EXITED if old.state is State.RUNNING else old.state
        assert (now.state, now.generation, now.pid) == (ended, old.generation, None)


@pytest.mark.parametrize("typed", ["quit\n", "save\nquit\n", "qu|it\n"])
def test_its_stop_typed_by_hand(tmp_path: Path, typed: str) -> None:
    """In one piece or in two: that is a stop, and it stays exited."""
    with running_daemon(place(tmp_path, "a")) as daemon, blocking.connect(daemon.path) as client:
        process = game(client)
        for piece in typed.split("|"):
            process.write(piece.encode())
        record = client.wait(process.id)
        assert (record.state, record.generation, record.code) == (State.EXITED, 1, 7)


@pytest.mark.parametrize("typed", ["leave\n", "quit\nleave\n", "quit"])
def test_something_else_typed_by_hand(tmp_path: Path, typed: str) -> None:
    """Or something after it: that is none, and it runs again."""
    with running_daemon(place(tmp_path, "a")) as daemon, blocking.connect(daemon.path) as client:
        process = game(client)
        process.write(typed.encode())
        if not typed.endswith("\n"):
            process.close_stdin()
        eventually(lambda: client.inspect(process.id).generation == 2)


def game(client: blocking.Client) -> blocking.RemoteProcess:
    """A program that ends by any of two words, or where there are no more, and is started again."""
    script = "while read x; do case $x in leave) exit 7;; quit) sleep 0.2; read -t 0.1 y; exit 7;; esac; done; exit 7"
    return client.start(
        ["/bin/bash", "-c", script],
        restart=Restart(policy=Policy.ALWAYS, delay=0),
        stop=(Step(stdin=b"quit\n"), Step(wait=1000), Step(kill=True)),
    )
