"""What a tree uses is the sum of its processes, seen in slices, only while somebody looks."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from twisted.internet.task import Clock

from netdaemon.daemon import statistics
from netdaemon.daemon.statistics import SLICE, Statistics
from netdaemon.process.signals import kill_marked
from netdaemon.process.trees import Root, leftovers, mark_of
from netdaemon.wire.told import Stats
from tests.support import PATIENCE, Figure, Logged

START = 1000


# Seconds.
TURN = 0.5


class Turns(Clock):
    """Every turn of the reactor takes a while: what is to be called at once is called in the next."""

    def callLater(self, delay: float, *arguments: Any, **options: Any) -> Any:
        return super().callLater(max(delay, TURN), *arguments, **options)


class FakeMachine:
    """Trees of processes, instead of those in /proc, and what psutil tells of each."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.trees: dict[str, list[int]] = {}
        self.uses: dict[int, dict[str, Any]] = {}
        self.scans = self.measured = 0
        self.error: OSError | None = None

    def add(self, id: str, *pids: int, **use: Any) -> None:
        self.trees.setdefault(id, []).extend(pids)
        for pid in pids:
            self.uses[pid] = use

    def roots(self) -> dict[str, Root]:
        return {id: Root(0, 0) for id in self.trees}

    def scanning(self, roots: dict[str, Root], spared: Any = (), known: Any = None) -> Any:
        self.scans += 1
        if self.error is not None:
            raise self.error
        yield
        return {id: dict.fromkeys(self.trees[id], START) for id in roots}

    def process(self, pid: int) -> FakeProcess:
        if pid not in self.uses:
            raise psutil.NoSuchProcess(pid)
        return FakeProcess(self, pid)

    def turn(self) -> None:
        """The reactor has nothing to do but this."""
        for _ in range(1000):
            self.clock.advance(0)
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
        raise AssertionError("it never rests")


class FakeProcess:
    def __init__(self, machine: FakeMachine, pid: int) -> None:
        self.machine = machine
        self.pid = pid

    def get(self, name: str, default: Any = 0) -> Any:
        if self.pid not in self.machine.uses:
            raise psutil.NoSuchProcess(self.pid)
        value = self.machine.uses[self.pid].get(name, default)
        if isinstance(value, Exception):
            raise value
        return value

    @contextmanager
    def oneshot(self) -> Iterator[None]:
        self.machine.measured += 1
        yield

    def cpu_times(self) -> Any:
        return SimpleNamespace(
            user=self.get("user"), system=self.get("system"), children_user=self.get("waited"), children_system=0
        )

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=self.get("memory"))

    def num_threads(self) -> int:
        return int(self.get("threads", 1))

    def num_fds(self) -> int:
        return int(self.get("descriptors"))

    def io_counters(self) -> Any:
        return SimpleNamespace(read_bytes=self.get("read"), write_bytes=self.get("written"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    made = FakeMachine()
    monkeypatch.setattr(statistics, "scanning", made.scanning)
    monkeypatch.setattr(psutil, "Process", made.process)
    # The child of every tree has started when the clock was at 90.
    monkeypatch.setattr(
        time, "clock_gettime", lambda clock: START / os.sysconf("SC_CLK_TCK") + made.clock.seconds() - 90
    )
    return made


@pytest.fixture
def looker(machine: FakeMachine) -> Statistics:
    return Statistics(machine.clock, machine.roots)


def test_the_sum(machine: FakeMachine, looker: Statistics) -> None:
    machine.add("p", 1, user=1.5, system=0.25, waited=2, memory=100, threads=3, descriptors=7, read=11, written=13)
    machine.add("p", 2, user=0.25, memory=50, descriptors=1, read=1, written=2)
    machine.add("q", 3)
    before = time.time_ns() // 1000
    found = looker.look(["p", "nobody"])
    assert found.keys() == {"p"}
    told = found["p"]
    assert before <= told.time <= time.time_ns() // 1000
    # 4,000 ms in 10 s.
    expected = {"cpu": 4000, "percent": 4000, "memory": 150, "threads": 4, "descriptors": 8, "read": 12, "written": 15}
    assert told == Stats(time=told.time, processes=2, **expected)
    assert machine.measured == 2


def test_percent_is_since_the_last_look(machine: FakeMachine, looker: Statistics) -> None:
    machine.add("p", 1, user=1)
    assert looker.look(["p"])["p"].percent == 1000
    machine.clock.advance(2)
    machine.uses[1]["user"] = 2
    assert looker.look(["p"])["p"].percent == 5000
    # Too soon to say anything new.
    machine.clock.advance(statistics.LEAST / 2)
    machine.uses[1]["user"] = 2.5
    assert looker.look(["p"])["p"].percent == 5000
    machine.clock.advance(1 - statistics.LEAST / 2)
    assert looker.look(["p"])["p"].percent == 5000
    machine.clock.advance(1)
    assert looker.look(["p"])["p"].percent == 0


def test_exits_in_between(machine: FakeMachine, looker: Statistics) -> None:
    """What a child that was waited for has used is its parent's then; what nobody has waited for takes nothing away."""
    machine.add("p", 1, 2, user=3)
    looker.look(["p"])
    machine.clock.advance(1)
    machine.trees["p"] = [1]
    machine.uses[1] = {"user": 3, "waited": 3.5}
    assert looker.look(["p"])["p"].percent == 5000
    machine.clock.advance(1)
    machine.uses[1] = {"user": 3}
    assert looker.look(["p"])["p"].percent == 0
    machine.clock.advance(1)
    machine.uses[1] = {"user": 3.5}
    assert looker.look(["p"])["p"].percent == 5000


def test_one_that_has_vanished(machine: FakeMachine, looker: Statistics) -> None:
    """Between the scan and the look; and one of which nothing is left."""
    machine.add("p", 1, 2, memory=10)
    del machine.uses[2]
    machine.trees["q"] = []
    found = looker.look(["p", "q"])
    assert (found["p"].processes, found["p"].memory) == (1, 10)
    assert found["q"] == Stats(time=found["q"].time)


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), RuntimeError("empty"), AttributeError("io_counters")])
def test_what_may_not_be_seen_is_nothing(machine: FakeMachine, looker: Statistics, error: Exception) -> None:
    machine.add("p", 1, memory=10, descriptors=psutil.AccessDenied(1), read=error)
    found = looker.look(["p"])["p"]
    assert (found.memory, found.descriptors, found.read, found.written) == (10, 0, 0, 0)


def test_nobody_looks(machine: FakeMachine, looker: Statistics) -> None:
    machine.add("p", 1)
    machine.clock.advance(1000)
    assert (machine.scans, machine.clock.getDelayedCalls()) == (0, [])
    told: list[dict[str, Stats]] = []
    watcher = looker.watch(1000, told.append)
    machine.turn()
    watcher.cancel()
    watcher.cancel()
    assert (machine.scans, len(told), machine.clock.getDelayedCalls()) == (1, 1, [])


def test_watching(machine: FakeMachine, looker: Statistics) -> None:
    """At once, and then at each interval; the percentage is of the time in between."""
    machine.add("p", 1, user=1)
    told: list[int] = []
    watcher = looker.watch(2000, lambda all: told.append(all["p"].percent))
    machine.turn()
    for used in (2, 3, 3):
        machine.uses[1]["user"] = used
        machine.clock.advance(1.9)
        machine.turn()
        machine.clock.advance(0.1)
        machine.turn()
    assert told == [1000, 5000, 5000, 0]
    watcher.cancel()


def test_one_look_for_all(machine: FakeMachine, looker: Statistics) -> None:
    """The least interval counts; each is told at its own, of the time since it was told before."""
    machine.add("p", 1, user=0)
    often: list[int] = []
    seldom: list[int] = []
    one = looker.watch(1000, lambda all: often.append(all["p"].percent))
    machine.turn()
    looker.watch(3000, lambda all: seldom.append(all["p"].percent))
    machine.turn()
    scans = machine.scans
    for used in range(1, 7):
        # Twice as fast in every second.
        machine.uses[1]["user"] = used * (used + 1) / 20
        machine.clock.advance(1)
        machine.turn()
    assert machine.scans - scans <= 6
    # It was told together with the other, at a time at which that had just been told.
    assert often[-6:] == [1000, 2000, 3000, 4000, 5000, 6000]
    assert seldom[1:] == [2000, 5000]
    one.cancel()
    scans = machine.scans
    for _ in range(6):
        machine.clock.advance(1)
        machine.turn()
    assert machine.scans - scans == 2
    looker.close()
    assert machine.clock.getDelayedCalls() == []


def test_only_what_is_wanted(machine: FakeMachine, looker: Statistics) -> None:
    for id, pid in (("p", 1), ("q", 2), ("r", 3)):
        machine.add(id, pid)
    told: list[set[str]] = []
    wanted = ["p", "gone"]
    looker.watch(1000, lambda all: told.append(set(all)), lambda: wanted)
    looker.watch(1000, lambda all: told.append(set(all)), lambda: ["q"])
    machine.turn()
    assert (told, machine.measured) == ([{"p"}, {"q"}], 2)
    wanted[:] = ["r"]
    machine.clock.advance(1)
    machine.turn()
    assert told[2:] == [{"r"}, {"q"}]
    looker.close()


def test_in_slices(machine: FakeMachine) -> None:
    """There is a turn of the reactor after so many."""
    machine.clock = Turns()
    looker = Statistics(machine.clock, machine.roots)
    machine.add("p", *range(1, 10 * SLICE))
    told: list[int] = []
    looker.watch(1000, lambda all: told.append(all["p"].processes))
    turns = []
    while not told:
        before = machine.measured
        machine.clock.advance(TURN)
        turns.append(machine.measured - before)
        assert len(turns) < 100
    assert max(turns) == SLICE
    assert told == [10 * SLICE - 1]
    looker.close()


def test_looking_takes_at_most_half_of_the_time(machine: FakeMachine) -> None:
    machine.clock = Turns()
    looker = Statistics(machine.clock, machine.roots)
    machine.add("p", *range(1, 3 * SLICE))
    told: list[float] = []
    looker.watch(100, lambda all: told.append(machine.clock.seconds()))
    for _ in range(100):
        machine.clock.advance(TURN)
    between = [b - a for a, b in pairwise(told)]
    # One turn for the scan and two for what it has found, and as long again.
    assert between == [6 * TURN] * len(between)
    assert len(between) > 5
    looker.close()


@pytest.mark.parametrize("closes", [False, True])
def test_cancelled_while_it_looks(machine: FakeMachine, closes: bool) -> None:
    machine.clock = Turns()
    looker = Statistics(machine.clock, machine.roots)
    machine.add("p", *range(1, 3 * SLICE))
    told: list[object] = []
    watcher = looker.watch(1000, told.append)
    machine.clock.advance(TURN)
    machine.clock.advance(TURN)
    assert machine.measured == SLICE
    looker.close() if closes else watcher.cancel()
    machine.clock.pump([TURN] * 10)
    assert (told, machine.clock.getDelayedCalls()) == ([], [])
    # The next who wants to know is told.
    looker.watch(60_000, told.append)
    machine.clock.pump([TURN] * 10)
    assert len(told) == 1
    looker.close()


def test_no_descriptor(machine: FakeMachine, looker: Statistics) -> None:
    """A look says so; a tick is left out, and nobody is told anything; the next is as ever."""
    machine.add("p", 1)
    machine.error = OSError(errno.EMFILE, "too many")
    with pytest.raises(OSError, match="too many"):
        looker.look(["p"])
    told: list[dict[str, Stats]] = []
    looker.watch(1000, told.append)
    for _ in range(3):
        machine.turn()
        machine.clock.advance(1)
    assert told == []
    machine.error = None
    machine.clock.advance(1)
    machine.turn()
    assert len(told) == 1
    looker.close()


def test_a_watcher_that_fails(machine: FakeMachine, looker: Statistics, logged: Logged) -> None:
    """It costs the others nothing."""
    machine.add("p", 1)
    told: list[dict[str, Stats]] = []

    def fail(all: dict[str, Stats]) -> None:
        raise ValueError

    looker.watch(1000, fail)
    looker.watch(1000, told.append)
    machine.turn()
    assert len(told) == 1
    assert len(logged.flush(ValueError)) == 1
    looker.close()


# --- real ones ---

# A shell with a child that works, and one that has made a daemon of itself.
TREE = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(3):
        os.close(number)
    code = "import time; memory = bytearray(b'x') * (30 << 20); time.sleep(1000)"
    os.execve(sys.executable, [sys.executable, "-S", "-c", code], {})
os.execv("/bin/sh", ["sh", "-c", "while :; do :; done & sleep 1000 & wait"])
"""


@contextmanager
def tree(*argv: str) -> Iterator[Root]:
    """A child with a mark that no other test has that may be running."""
    mark = mark_of(token_hex())
    words = ["prlimit", f"--rttime={mark}:unlimited", *argv]
    process = subprocess.Popen(words, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        yield Root(process.pid, mark)
    finally:
        kill_marked(mark)
        process.kill()
        process.wait()
        eventually(lambda: not leftovers(mark))


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class RealTime(Clock):
    """Nothing is called, but it tells the time."""

    def seconds(self) -> float:
        return time.monotonic()


def test_a_real_tree() -> None:
    with tree(sys.executable, "-S", "-c", TREE) as root, tree("sleep", "1000") as other:
        looker = Statistics(RealTime(), lambda: {"p": root, "q": other})

        def look() -> Stats:
            return looker.look(["p"])["p"]

        eventually(lambda: look().processes == 4 and look().memory > 30 << 20)
        time.sleep(0.3)
        first = look()
        time.sleep(0.5)
        second = look()
        assert second.threads == 4
        assert second.descriptors >= 9
        assert second.cpu > first.cpu
        # One of them works; on a machine that is busy it gets a part.
        assert 500 < second.percent < 15000
        assert looker.look(["q"])["q"].processes == 1
        assert looker.look(["q"])["q"].percent < 2000
        # The child itself goes: what it has left is still there.
        os.kill(root.pid, signal.SIGKILL)
        eventually(lambda: look().processes == 3)
        assert look().memory > 30 << 20


def test_many(figure: Figure) -> None:
    """1,000 processes, half of them ours: no turn of the reactor is long."""
    words = ["sh", "-c", "for i in $(seq 500); do sleep 1000 & done; wait"]
    with tree(*words) as root, tree(*words) as other:
        clock = Turns()
        looker = Statistics(clock, lambda: {"p": root})
        eventually(lambda: looker.look(["p"])["p"].processes == 501)
        eventually(lambda: Statistics(clock, lambda: {"q": other}).look(["q"])["q"].processes == 501)
        told: list[dict[str, Stats]] = []
        looker.watch(1000, told.append)
        turns: list[float] = []
        for _ in range(3):
            count = len(told)
            while len(told) == count:
                began = time.thread_time()
                clock.advance(TURN)
                turns.append(time.thread_time() - began)
        assert told[-1]["p"].processes == 501
        figure("statistics of 500 among 1,000: the longest turn", f"{max(turns) * 1000:.0f} ms", "<= 50 ms")
        figure("statistics of 500 among 1,000: a tick", f"{sum(turns) / 3 * 1000:.0f} ms of processor time", "")
        assert max(turns) < 0.05
        looker.close()


def test_no_descriptor_for_real() -> None:
    with tree("sleep", "1000") as root:
        looker = Statistics(RealTime(), lambda: {"p": root})
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                looker.look(["p"])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert looker.look(["p"])["p"].processes == 1
