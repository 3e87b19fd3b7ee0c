"""Starts whose keeper is killed: each is made once, and found again; the test is the keeper."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from netdaemon.keeper.child import PIDFD, SPOOL, STDERR, STDIN, STDOUT, LaunchError, Spec
from netdaemon.keeper.launch import own_descriptors, spawn
from netdaemon.process.starts import ClaimedStart
from netdaemon.process.strangers import pid_of, status_of
from tests.support import PATIENCE, readable


def spec(*words: str, merge: bool = False) -> Spec:
    argv = tuple(word.encode() for word in words)
    return Spec(path=argv[0], argv=argv, env=(b"PATH=/usr/bin:/bin",), merge=merge)


class Keeper:
    """What a keeper does with a start, up to the point where it is killed."""

    def __init__(self) -> None:
        own_descriptors()
        self.spool = os.memfd_create("spool", os.MFD_CLOEXEC)
        self.before = len(os.listdir("/proc/self/fd"))
        self.pids: list[int] = []

    def start(self, *words: str, merge: bool = False) -> ClaimedStart:
        return ClaimedStart("p1", spec(*words, merge=merge), self.spool)

    def spawn(self, start: ClaimedStart, *words: str) -> int:
        claimed, stdin, stdout, stderr, *_ = start.descriptors
        self.pids.append(spawn(spec(*words), (stdin, stdout, stderr), claimed))
        return self.pids[-1]

    def end(self) -> None:
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        assert len(os.listdir("/proc/self/fd")) == self.before
        os.close(self.spool)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    yield made
    made.end()


def close(roles: dict[str, int]) -> None:
    for role, number in roles.items():
        if role != SPOOL:
            os.close(number)


@pytest.mark.parametrize("merge", [False, True])
def test_an_answer(keeper: Keeper, merge: bool) -> None:
    """All that is to be kept of it, and nothing else stays open."""
    start = keeper.start("cat", merge=merge)
    pid = keeper.spawn(start, "cat")
    roles = start.spawned(pid, os.pidfd_open(os.getpid()))
    assert {*roles} == {PIDFD, SPOOL, STDIN, STDOUT} | ({STDERR} if not merge else set())
    assert pid_of(roles[PIDFD]) == pid
    os.write(roles[STDIN], b"it\n")
    assert readable(roles[STDOUT], PATIENCE)
    assert os.read(roles[STDOUT], 10) == b"it\n"
    close(roles)
    keeper.before += 1


def test_nothing_was_executed(keeper: Keeper) -> None:
    """The next keeper may be asked, and what the first would still do is in vain."""
    start = keeper.start("cat")
    first = os.dup(start.descriptors[0])
    assert start.revoked()
    with pytest.raises(LaunchError):
        spawn(spec("cat"), (0, 1, 2), first)
    os.close(first)
    pid = keeper.spawn(start, "cat")
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == pid
    close(roles)


def test_it_is_found(keeper: Keeper) -> None:
    """By its pipes, of all that hold them the first of its session; its exit is told."""
    start = keeper.start("sh")
    pid = keeper.spawn(start, "sh", "-c", "sleep 1000 & echo $!; read x; kill $!; exit 5")
    # It has forked by the time that it says so.
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == pid
    assert pid_of(roles[PIDFD]) == pid
    assert readable(roles[STDOUT], PATIENCE)
    os.write(roles[STDIN], b"\n")
    assert readable(roles[PIDFD], PATIENCE)
    assert status_of(pid, roles[PIDFD]).code == 5
    close(roles)


def test_it_is_gone(keeper: Keeper) -> None:
    """What it wrote is there, and how it ended nobody knows."""
    start = keeper.start("echo")
    pid = keeper.spawn(start, "echo", "there")
    os.waitpid(pid, 0)
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == 0
    assert PIDFD not in roles
    assert os.read(roles[STDOUT], 10) == b"there\n"
    assert os.read(roles[STDOUT], 10) == b""
    close(roles)


def test_an_answer_of_one_that_is_dead(keeper: Keeper) -> None:
    """Its pid may be another's by then: it is looked for by its pipes."""
    start = keeper.start("true")
    pid = keeper.spawn(start, "true")
    os.waitpid(pid, 0)
    dead = os.fork()
    if not dead:
        os._exit(0)
    pidfd = os.pidfd_open(dead)
    os.waitpid(dead, 0)
    # This process is somebody else.
    roles = start.spawned(os.getpid(), pidfd)
    assert PIDFD not in roles
    close(roles)
    os.close(pidfd)


def test_no_descriptors(keeper: Keeper) -> None:
    """It is refused, and nothing stays open."""
    start = keeper.start("true")
    start.close()
    start.close()
