"""Everything at once for a while, sampled each second, and whether anything grows: python -m tests.faults.soak.

Processes that flood and are started again, clients that attach, let go and are killed, and somebody who watches it all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netdaemon.wire.answers import Happened
from netdaemon.wire.commands import Info, Start, Watch
from netdaemon.wire.specs import Policy, Restart
from tests.faults.wire import PATH, Wire, descriptors, memory
from tests.support import RunningDaemon, keeper_pid, running_daemon

PROCESSES, CLIENTS = 20, 10

# Bytes that one process writes each time, and seconds for which it is then quiet: at 20 of them two cores have enough.
FLOOD, QUIET = 2_000_000, 0.5

# How long the whole, and how much of its end is looked at: caches and the journal have found their size by then.
SECONDS, SETTLED = 180, 2 / 3

# What is called a slope: more than what sampling a moving figure gives.
MEMORY_SLOPE, COUNT_SLOPE = 1.0, 10.0

TELLING = Path(__file__).with_name("telling.py")


@dataclass(frozen=True)
class Sample:
    """How it is at one moment; times in milliseconds, the worst of the last second."""

    at: float
    memory: float
    descriptors: float
    keeper_memory: float
    keeper_descriptors: float
    threads: float
    calls: float
    loop_late: float
    event_late: float


# What is told of each: its name, the unit of its slope, and what is still called none; None: nothing is promised.
COLUMNS: tuple[tuple[str, str, str, float | None], ...] = (
    ("memory", "RSS", "MiB", MEMORY_SLOPE),
    ("descriptors", "descriptors", "", COUNT_SLOPE),
    ("keeper_memory", "keeper's RSS", "MiB", MEMORY_SLOPE),
    ("keeper_descriptors", "keeper's descriptors", "", COUNT_SLOPE),
    ("threads", "threads", "", COUNT_SLOPE),
    ("calls", "delayed calls", "", COUNT_SLOPE),
    ("loop_late", "loop late", "ms", None),
    ("event_late", "event late", "ms", None),
)


class Watcher:
    """Somebody who is told of every event."""

    def __init__(self, path: str) -> None:
        self.count = 0
        self._worst = 0.0
        self._wire = Wire(path)
        self._id = self._wire.post(Watch())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            for message in self._wire.events(self._id):
                if isinstance(message, Happened) and message.time and message.cursor:
                    self.count += 1
                    self._worst = max(self._worst, time.time() - message.time / 1e6)

    def close(self) -> None:
        self._wire.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._wire.close()

    def worst(self) -> float:
        """By how much an event was late at most since the last time, in milliseconds."""
        worst, self._worst = self._worst, 0.0
        return worst * 1000


class Visitors:
    """Clients in processes of their own, of which one is killed now and then, and another comes in its place."""

    def __init__(self, path: str) -> None:
        self.killed = 0
        self._chance = random.Random(2009)
        self._path = path
        self._ones = [self._come() for _ in range(CLIENTS)]

    def _come(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.visitor", self._path, str(self._chance.randrange(1 << 30))]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill_one(self) -> None:
        """Raises AssertionError where one has ended by itself."""
        place = self._chance.randrange(CLIENTS)
        one = self._ones[place]
        assert one.poll() is None, f"a client has ended: {one.returncode}"
        one.kill()
        one.wait()
        self.killed += 1
        self._ones[place] = self._come()

    def close(self) -> None:
        for one in self._ones:
            one.kill()
            one.wait()


@contextlib.contextmanager
def busy_daemon(place: Path) -> Iterator[tuple[RunningDaemon, Path]]:
    """A daemon whose processes flood and restart, and the file in which it tells of itself."""
    told = place / "told"
    with running_daemon(
        place, f"--state={place / 'state'}", inside=[sys.executable, str(TELLING), str(told)]
    ) as running:
        wire = Wire(running.path)
        code = f"head -c {FLOOD} /dev/zero; sleep {QUIET}; exit 1"
        for number in range(PROCESSES):
            restart = Restart(policy=Policy.ALWAYS, delay=10, longest=100, settled=100)
            start = Start(argv=("sh", "-c", code), env=(PATH,), name=f"flood-{number}", restart=restart, keep=1 << 18)
            wire.ask(start)
        wire.close()
        yield running, told
        text = running.log.read_text(errors="replace")
        assert "Traceback" not in text, text


def soak(seconds: int) -> tuple[list[Sample], str]:
    """The samples, and what has happened meanwhile."""
    with tempfile.TemporaryDirectory(prefix="nd") as directory, busy_daemon(Path(directory)) as (running, told):
        pid, keeper = running.process.pid, keeper_pid(running.path)
        assert keeper is not None
        watcher, visitors = Watcher(running.path), Visitors(running.path)
        samples: list[Sample] = []
        began = time.monotonic()
        try:
            for number in range(1, seconds + 1):
                time.sleep(max(0.0, began + number - time.monotonic()))
                assert running.process.poll() is None, "the daemon died"
                visitors.kill_one()
                lines = told.read_text().splitlines()
                _, calls, late = (float(word) for word in lines[-1].split())
                samples.append(
                    Sample(
                        at=time.monotonic() - began,
                        memory=memory(pid) / (1 << 20),
                        descriptors=descriptors(pid),
                        keeper_memory=memory(keeper) / (1 << 20),
                        keeper_descriptors=descriptors(keeper),
                        threads=len(os.listdir(f"/proc/{pid}/task")),
                        calls=calls,
                        loop_late=late * 1000,
                        event_late=watcher.worst(),
                    )
                )
        finally:
            visitors.close()
            watcher.close()
        wire = Wire(running.path)
        running_now = wire.ask(Info()).counts.running
        wire.close()
        assert keeper_pid(running.path) == keeper, "the keeper died"
        return samples, (
            f"{PROCESSES} processes, {running_now} of them running at the end; {CLIENTS} clients, "
            f"{visitors.killed} of them killed; {watcher.count:,} events watched"
        )


def slope(samples: Sequence[Sample], name: str) -> float:
    """By how much it grows in a minute, by least squares."""
    times = [one.at / 60 for one in samples]
    values = [getattr(one, name) for one in samples]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - middle) ** 2 for one in times)
    return float(sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True)) / spread)


def report(samples: Sequence[Sample], what: str) -> list[str]:
    """Print the table; the names of what grows."""
    late = samples[-round(len(samples) * SETTLED) :]
    print(f"soak of {samples[-1].at:.0f} s: {what}")
    print(f"{'':<22} {'first':>9} {'least':>9} {'median':>9} {'most':>9} {'last':>9}   slope of the last {len(late)} s")
    growing = []
    for name, title, unit, most in COLUMNS:
        values = [getattr(one, name) for one in samples]
        settled = sorted(getattr(one, name) for one in late)
        figures = (values[0], settled[0], settled[len(settled) // 2], settled[-1], values[-1])
        rate = slope(late, name)
        if most is not None and rate > most:
            growing.append(title)
        line = " ".join(f"{one:>9.1f}" for one in figures)
        print(f"{title:<22} {line}   {rate:+.2f} {unit}/min".replace(" /min", "/min"))
    return growing


def main() -> int:
    """The exit code: whether anything grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    growing = report(*soak(parser.parse_args().seconds))
    print(f"grows: {', '.join(growing)}" if growing else "nothing grows")
    return 1 if growing else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
