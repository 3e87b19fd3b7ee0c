"""A daemon with much to manage: pages of finished records, forgetting them, many events, a flood that is logged."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import loads
from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import TASK_PATIENCE, Failed, Place
from benchmarks.processes import processor
from benchmarks.tables import Case, Scale, Table, Target
from netdaemon import blocking
from netdaemon.logs import reader
from netdaemon.wire.commands import FOR_EVER, Info, Start
from netdaemon.wire.specs import Log
from netdaemon.wire.told import Logged

RECORDS = 100_000

# Of a child that is logged, in lines or in one.
FLOOD = 50_000_000
ENDS = {"lines of 100 bytes": "\\n", "no newline": ""}

# Events a second, without and with requests; the seconds that they come for; and whose they are.
RATES = (2000, 10_000)
ASKED = (1000, 3000)
SECONDS = 3.0
CHILDREN = 100

# Enough for a flood to be told in whole by its files.
FILES = 1000

MEDIAN, P99, MOST = "median", "99th of 100", "the longest"
FIGURES = {MEDIAN: "median", P99: "p99", MOST: "most"}

# The daemon's share of a time: what it would be on a machine that nobody else uses.
OWN = "the daemon's processor time of it"


@dataclass(frozen=True)
class Flooded:
    """What came of a flood.

    :ivar ticks: how requests were answered meanwhile.
    :ivar healthy: what the client has that read all; *slow*: what the one has that was stopped.
    :ivar logged: how the log stood when it had all of it.
    """

    ticks: dict[str, float]
    healthy: dict[str, Any]
    slow: dict[str, Any]
    process: str
    logged: Logged
    seconds: float


@contextlib.contextmanager
def ticking(place: Place, path: str, pid: int) -> Iterator[dict[str, float]]:
    """How requests are answered meanwhile; filled in at the end."""
    figures: dict[str, float] = {}
    end = _end(place)
    end.unlink(missing_ok=True)
    before = _clients(path)
    with place.working("loads", "ticker", path=path, until=str(end), pid=pid) as task:
        # An interpreter takes its time to start.
        until(lambda: _clients(path) > before)
        yield figures
        end.touch()
        figures.update(place.measured(task))


def _end(place: Place) -> Path:
    """The file that ends a ticker, and a client that floods."""
    return place.path / "until"


def _clients(path: str) -> int:
    line = Line(path)
    count: int = line.call(Info()).counts.clients
    line.close()
    return count


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of *condition*."""
    deadline = time.monotonic() + TASK_PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed("what was waited for does not come about")
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def _flooding(place: Place, path: str) -> Iterator[None]:
    """A client that asks what it can meanwhile."""
    before = _clients(path)
    with place.working("loads", "flood", path=path, until=str(_end(place))):
        until(lambda: _clients(path) > before)
        yield


def flood(place: Place, path: str, pid: int, log: Path, end: str, size: int = FLOOD) -> Flooded:
    """A child writes so much, which is logged, while one client reads all, one is stopped, and one asks what it can."""
    with blocking.connect(path, timeout=TASK_PATIENCE) as client, contextlib.ExitStack() as stack:
        argv = [sys.executable, "-I", "-S", "-c", loads.WRITER, end]
        process = client.start_detached(argv, log=Log(path=str(log), files=FILES)).id

        def follow(hold: int) -> Any:
            return stack.enter_context(place.working("loads", "follow", path=path, process=process, hold=hold))

        healthy, slow = follow(FOR_EVER), follow(0)
        until(lambda: client.inspect(process).attached == 2)
        slow.send_signal(signal.SIGSTOP)
        with ticking(place, path, pid) as ticks, _flooding(place, path):
            begun = time.perf_counter()
            with client.attach(process, from_=-1) as attached:
                attached.flow(True)
                attached.write(b"%d\n" % size)
                attached.close_stdin()
            client.wait(process)
            logged = until(lambda: _complete(client, process))
            seconds = time.perf_counter() - begun
            told = place.measured(healthy)
        slow.send_signal(signal.SIGCONT)
        return Flooded(ticks, told, place.measured(slow), process, logged, seconds)


def _complete(client: blocking.Client, process: str) -> Logged | None:
    """How its log stands, once it has all."""
    looked = client.look(process)
    return looked.logged if looked.logged is not None and looked.logged.offset == looked.process.end else None


def digest_of(log: Path, logged: Logged) -> str:
    """The SHA-256 of what a log stands for."""
    digest = hashlib.sha256()
    for line in reader.read(str(log), lambda: logged):
        digest.update(line.data)
    return digest.hexdigest()


def managing(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    state = place.path / "state"
    state.mkdir(mode=0o700)
    records = scale.count(RECORDS)
    loads.fill(str(state / "processes.db"), records)
    daemon, path = place.daemon(f"--state={state}", *loads.KEEPS)
    yield _pages(place, path, daemon.pid, records)
    yield _prune(place, path, daemon.pid, records)
    yield from _events(place, path, daemon.pid, scale)
    yield from _floods(place, path, daemon.pid, scale)


def _rows(measure: Callable[[], dict[str, float]], **more: str) -> list[Case]:
    """Cases of what is told by a client, and the daemon's own part of it."""
    return _told(measure, {**FIGURES, **{f"{OWN}, {name}": f"own_{key}" for name, key in FIGURES.items()}, **more})


def _told(measure: Callable[[], dict[str, float]], names: dict[str, str]) -> list[Case]:
    """A case for each figure: the first one measures, and the others are told of the same."""
    found: dict[str, float] = {}

    def figure(key: str) -> float:
        if key == "median":
            found.clear()
            found.update(measure())
        return found[key]

    return [Case(name, partial(figure, key)) for name, key in names.items()]


def _pages(place: Place, path: str, pid: int, records: int) -> Table:
    def measure() -> dict[str, float]:
        found = place.work("loads", "pages", path=path, pid=pid)
        if found["records"] != records:
            raise Failed(f"{found['records']:.0f} records were listed of {records}")
        return found

    return Table(
        f"LIST of {records:,} finished processes, a page until its octets are here",
        "ms",
        _rows(measure),
        targets=(
            Target("a page, 99th of 100", P99, most=20, waiting=True),
            Target("the daemon's time for a page, 99th of 100", f"{OWN}, {P99}", most=20, waiting=True),
        ),
        # What is told together is of one time.
        rounds=1,
    )


def _prune(place: Place, path: str, pid: int, records: int) -> Table:
    def measure() -> dict[str, float]:
        with ticking(place, path, pid) as ticks:
            pruned = place.work("loads", "prune", path=path)
        if pruned["count"] != records:
            raise Failed(f"{pruned['count']:.0f} were forgotten of {records}")
        return {**ticks, "rate": pruned["rate"]}

    return Table(
        f"a request every {loads.EVERY * 1000:g} ms while PRUNE forgets {records:,}",
        "ms",
        _rows(measure, **{"forgotten a second": "rate"}),
        targets=(
            Target("the longest pause", MOST, most=50, waiting=True),
            Target("the daemon's time in the longest", f"{OWN}, {MOST}", most=50, waiting=True),
        ),
        rounds=1,
    )


def _events(place: Place, path: str, pid: int, scale: Scale) -> Iterator[Table]:
    numbers = itertools.count()
    idle = [*place.program, "idle"]
    seconds = SECONDS * scale.effort

    def alone(rate: int) -> dict[str, float]:
        state = place.path / f"events-{next(numbers)}"
        state.mkdir(mode=0o700)
        return place.work("loads", "events", path=str(state), argv=idle, rate=rate, seconds=seconds)

    for rate in RATES:
        names = {**FIGURES, "events journalled a second": "rate", "processor time of an event, us": "cost"}
        yield Table(
            f"{rate:,} events a second of {CHILDREN} processes: how late the loop is",
            "ms",
            _told(partial(alone, rate), names),
            targets=(
                Target("the loop's delay, 99th of 100", P99, most=20, waiting=True),
                Target("events journalled a second", "events journalled a second", least=rate * 0.95, waiting=True),
            ),
            rounds=1,
        )
    line = Line(path)
    started = line.call_all([Start(argv=tuple(idle))] * CHILDREN)
    processes = [one.process.id for one in started]

    def asked(rate: int) -> dict[str, float]:
        with ticking(place, path, pid) as ticks:
            before = processor(pid)
            done = place.work("loads", "signals", path=path, processes=processes, rate=rate, seconds=seconds)
            used = processor(pid) - before
        return {**ticks, "rate": done["rate"], "cost": used / (rate * seconds) * 1e6}

    for rate in ASKED:
        yield Table(
            f"a request every {loads.EVERY * 1000:g} ms while {rate:,} KILLs a second are asked for, an event each",
            "ms",
            _rows(partial(asked, rate), **{"KILLs answered a second": "rate", "processor time of a KILL, us": "cost"}),
            targets=(Target("a request, 99th of 100", P99, most=20, waiting=True),),
            rounds=1,
        )
    line.close()


def _floods(place: Place, path: str, pid: int, scale: Scale) -> Iterator[Table]:
    numbers = itertools.count()
    size = scale.count(FLOOD)

    def measure(end: str) -> dict[str, float]:
        log = place.path / f"flood-{next(numbers)}.log"
        done = flood(place, path, pid, log, end, size)
        if (done.healthy["received"], done.slow["received"] + done.slow["gaps"]) != (size, size):
            raise Failed(f"of {size} bytes the clients have {done.healthy} and {done.slow}")
        if digest_of(log, done.logged) != done.healthy["digest"]:
            raise Failed("the log does not tell what was written")
        return {**done.ticks, "rate": size / done.seconds / 1e6}

    for name, end in ENDS.items():
        yield Table(
            f"a request every {loads.EVERY * 1000:g} ms while {size / 1e6:g} MB are logged, {name}; a client floods, "
            "one is stopped, one reads all",
            "ms",
            _rows(partial(measure, end), **{"logged, MB/s": "rate"}),
            targets=(
                Target("a request, 99th of 100", P99, most=50, waiting=True),
                Target("the daemon's time in it, 99th of 100", f"{OWN}, {P99}", most=50, waiting=True),
            ),
            rounds=1,
        )


if __name__ == "__main__":
    run({"managing": managing}, __doc__ or "")
