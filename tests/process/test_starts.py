"""Starts whose keeper is killed: each is made once, and found again; the test is the keeper."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netdaemon.keeper.child import PIDFD, SPOOL, STDERR, STDIN, STDOUT, LaunchError, Spec
from netdaemon.keeper.launch import own_descriptors, spawn
from netdaemon.process import strangers
from netdaemon.process.starts import ClaimedStart, GatedStart
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
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            # Of its descendants others are the parents.
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        assert len(os.listdir("/proc/self/fd")) == self.before
        os.close(self.spool)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    yield made
    made.end()


@contextmanager
def alive() -> Iterator[int]:
    """The pidfd of a keeper that lives."""
    pidfd = os.pidfd_open(os.getpid())
    yield pidfd
    os.close(pidfd)


@contextmanager
def dead() -> Iterator[int]:
    """And of one that does not."""
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
    yield pidfd
    os.close(pidfd)


def close(roles: dict[str, int]) -> None:
    for role, number in roles.items():
        if role != SPOOL:
            os.close(number)


@pytest.mark.parametrize("merge", [False, True])
def test_an_answer(keeper: Keeper, merge: bool) -> None:
    """All that is to be kept of it, and nothing else stays open."""
    start = keeper.start("cat", merge=merge)
    pid = keeper.spawn(start, "cat")
    with alive() as pidfd:
        found, roles = start.spawned(pid, pidfd)
    assert found == pid
    assert {*roles} == {PIDFD, SPOOL, STDIN, STDOUT} | ({STDERR} if not merge else set())
    assert pid_of(roles[PIDFD]) == pid
    os.write(roles[STDIN], b"it\n")
    assert readable(roles[STDOUT], PATIENCE)
    assert os.read(roles[STDOUT], 10) == b"it\n"
    close(roles)


def test_a_mark_is_told_to_whoever_knows_of_marks(keeper: Keeper) -> None:
    """An older keeper is told what it understands."""
    marked = Spec(path=b"/x", argv=(b"x", b"y"), mark=1 << 61)
    for knows, one, field in ((True, marked, b"2:2305843009213693952"), (False, marked, b"2"), (True, spec("a"), b"1")):
        claimed = ClaimedStart("p", one, keeper.spool, knows)
        assert claimed.message[4] == field
        assert GatedStart("p", one, keeper.spool, knows).message[6] == field
        claimed.close()


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
    """By its pipes, of all that hold them the one that executes what was asked for; its exit is told."""
    words = ("sh", "-c", "sleep 1000 & kept=$!; setsid sleep 1000 & echo $kept $!; read x; exit 5")
    start = keeper.start(*words)
    pid = keeper.spawn(start, *words)
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == pid
    assert pid_of(roles[PIDFD]) == pid
    assert readable(roles[STDOUT], PATIENCE)
    keeper.pids += map(int, os.read(roles[STDOUT], 100).split())
    os.write(roles[STDIN], b"\n")
    assert readable(roles[PIDFD], PATIENCE)
    assert status_of(pid, roles[PIDFD]).code == 5
    close(roles)


def test_a_script(keeper: Keeper, tmp_path: Path) -> None:
    """The kernel puts its interpreter before it, and its path."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nread x\n")
    script.chmod(0o700)
    words = (str(script), "one", "two")
    start = keeper.start(*words)
    pid = keeper.spawn(start, *words)
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == pid
    close(roles)


def test_it_is_gone_and_a_descendant_is_not(keeper: Keeper) -> None:
    """Whoever leads a session and has its pipes is not it for that: nobody can tell how it ended."""
    words = ("sh", "-c", "setsid sleep 1000 & echo $!; exit 5")
    start = keeper.start(*words)
    pid = keeper.spawn(start, *words)
    os.waitpid(pid, 0)
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == 0
    assert PIDFD not in roles
    keeper.pids.append(int(os.read(roles[STDOUT], 10)))
    close(roles)


def test_it_is_gone(keeper: Keeper) -> None:
    """What it wrote is there, and how it ended nobody knows."""
    start = keeper.start("echo", "there")
    pid = keeper.spawn(start, "echo", "there")
    os.waitpid(pid, 0)
    assert not start.revoked()
    found, roles = start.orphaned()
    assert found == 0
    assert PIDFD not in roles
    assert os.read(roles[STDOUT], 10) == b"there\n"
    assert os.read(roles[STDOUT], 10) == b""
    close(roles)


@pytest.mark.parametrize("number", ["another's", "nobody's"])
def test_an_answer_of_one_that_is_dead(keeper: Keeper, number: str) -> None:
    """A pid that is another's by then is not kept, and neither is one that is nobody's."""
    start = keeper.start("true")
    pid = keeper.spawn(start, "true")
    os.waitpid(pid, 0)
    with subprocess.Popen(["sleep", "1000"]) as other, dead() as pidfd:
        found, roles = start.spawned(other.pid if number == "another's" else pid, pidfd)
        other.kill()
    assert found == 0
    assert PIDFD not in roles
    close(roles)


def test_one_that_nobody_waits_for(keeper: Keeper) -> None:
    """It is not executed any more, and nothing stays open."""
    start = keeper.start("true")
    claimed = os.dup(start.descriptors[0])
    start.give_up()
    with pytest.raises(LaunchError):
        spawn(spec("true"), (0, 1, 2), claimed)
    os.close(claimed)


def test_a_descriptor_too_few(keeper: Keeper) -> None:
    """There is no start, and nothing stays open, wherever they run out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    failures = 0
    try:
        for room in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
            try:
                keeper.start("true").close()
            except OSError as error:
                assert error.errno == errno.EMFILE
                failures += 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert failures >= 5


def test_who_holds_a_pipe_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no memory to look with, it is tried for a while; then nobody can tell."""
    answers: list[bool | OSError] = [OSError(errno.ENOMEM, "no memory"), True]

    def holds(pid: int, pipes: object) -> bool:
        answer = answers.pop(0) if answers else OSError(errno.EMFILE, "no descriptor")
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(strangers, "holds", holds)
    monkeypatch.setattr(strangers, "LOOK_AGAIN", 0.0)
    assert strangers.surely_holds(1, set())
    assert not strangers.surely_holds(1, set())
