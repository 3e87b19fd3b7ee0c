"""A daemon under load: output logged to the byte, a full disk, many finished records, many events.

Timings are told, and fail nothing: bytes and counts do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loads
from benchmarks.managing import CHILDREN, ENDS, FILES, flood, ticking
from benchmarks.place import Place
from netdaemon import blocking
from netdaemon.blocking import Client, RemoteProcess
from netdaemon.wire.records import State
from netdaemon.wire.specs import Log
from netdaemon.wire.told import Happening
from tests.integration.test_managed_programs import decode, eventually, log_files
from tests.support import LONG, Figure

# Bytes of a flood; finished records; events a second, and for how many seconds they come.
FLOOD = 50_000_000 if LONG else 5_000_000
RECORDS = 100_000 if LONG else 4_000
RATE, SECONDS = 1_000, 10.0 if LONG else 1.0

# A disk, what is written to a log on it, and what a file of the log may have.
DISK = "4m"
TOO_MUCH = 12_000_000
FILE = 1 << 20

PATIENCE = 60.0


def told(figures: dict[str, float], name: str = "p99") -> str:
    """A time as it was, and the daemon's own part of it: others use the machine."""
    return f"{figures[name]:.1f} ms ({figures[f'own_{name}']:.1f} its own)"


def written(size: int, end: str) -> bytes:
    """What the writer writes."""
    argv = [sys.executable, "-I", "-S", "-c", loads.WRITER, end]
    return subprocess.run(argv, input=b"%d\n" % size, capture_output=True, check=True).stdout


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        yield made
        log = made.path / "netdaemon.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        assert "Traceback" not in text, text
        assert "Unhandled" not in text, text


@pytest.mark.parametrize("name", ENDS)
def test_a_flood_is_logged(place: Place, figure: Figure, name: str) -> None:
    """To the byte, whatever clients do: one reads all, one is stopped, one asks as much as it can."""
    daemon, path = place.daemon()
    log = place.path / "flood.log"
    done = flood(place, path, daemon.pid, log, ENDS[name], FLOOD)
    expected = written(FLOOD, ENDS[name])
    assert len(expected) == FLOOD
    assert done.healthy["received"] == FLOOD
    assert done.healthy["gaps"] == 0
    assert done.healthy["digest"] == hashlib.sha256(expected).hexdigest()
    assert done.slow["received"] + done.slow["gaps"] == FLOOD
    assert done.slow["gaps"] > 0
    assert (done.logged.lost, done.logged.error) == (0, None)
    assert decode(log_files(log)) == expected
    what = f"{FLOOD / 1e6:g} MB logged, {name}"
    figure(f"{what}: bytes in the log", f"{FLOOD:,}", "all")
    figure(f"{what}: a request, p99", told(done.ticks), "<= 50 ms")
    figure(f"{what}: rate", f"{FLOOD / done.seconds / 1e6:.0f} MB/s", "told")


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(place: Place) -> Iterator[Path]:
    """A small file system, empty."""
    directory = place.path / "disk"
    directory.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: root is needed")
    try:
        yield directory
    finally:
        # Its daemon may have a file open there.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def make_room(disk: Path, elsewhere: Path) -> None:
    """Move what was set aside to another disk."""
    elsewhere.mkdir(exist_ok=True)
    for file in disk.glob("*.log.*"):
        shutil.copy2(file, elsewhere / file.name)
        file.unlink()


def on_disk(disk: Path, elsewhere: Path) -> bytes:
    """What all files of the log stand for."""
    make_room(disk, elsewhere)
    return decode([*sorted(elsewhere.glob("*.log.*")), *disk.glob("*.log")])


class Logging:
    """A process that writes when it is told to, and whose log is on the disk."""

    def __init__(self, client: Client, disk: Path, *, required: bool) -> None:
        self.client = client
        argv = [sys.executable, "-I", "-S", "-c", loads.WRITER, "\\n"]
        log = Log(path=str(disk / "full.log"), size=FILE, files=FILES, compress=False, required=required)
        self.process: RemoteProcess = client.start(argv, log=log)
        # Nobody reads; the log alone decides.
        self.process.flow(True)
        self.total = 0

    def write(self, size: int) -> None:
        self.process.write(b"%d\n" % size)
        self.total += size

    @property
    def logged(self) -> Any:
        return self.client.look(self.process.id).logged

    @property
    def end(self) -> int:
        return self.client.inspect(self.process.id).end

    def finish(self) -> bytes:
        """End it; all that it has written."""
        self.process.close_stdin()
        self.client.wait(self.process.id)
        eventually(lambda: self.logged.offset == self.end)
        assert self.end == self.total
        return written(self.total, "\\n")

    @property
    def recoveries(self) -> int:
        return sum(kind is Happening.LOG_RECOVERED for kind, _ in self.troubles())

    def troubles(self) -> list[tuple[Happening, str | None]]:
        """What was told of the log."""
        with self.client.watch() as watch:
            here = watch.cursor
        assert here is not None
        instance, _, last = here.rpartition("-")
        found = []
        with self.client.watch(since=f"{instance}-0") as watch:
            while True:
                event = watch.next_event(timeout=PATIENCE)
                assert event is not None
                if event.type in (Happening.LOG_FAILED, Happening.LOG_RECOVERED):
                    found.append((event.type, event.detail))
                if event.cursor == f"{instance}-{last}":
                    return found


def test_a_full_disk(place: Place, disk: Path, figure: Figure) -> None:
    """The process goes on; what its log has lost is counted and told once, and it goes on when there is room again."""
    _, path = place.daemon()
    with blocking.connect(path, timeout=PATIENCE) as client:
        process = Logging(client, disk, required=False)
        process.write(TOO_MUCH)
        eventually(lambda: process.end == TOO_MUCH)
        error = eventually(lambda: process.logged.error)
        assert "No space left" in error
        # What still can be read is not lost yet.
        kept = client.inspect(process.process.id)
        full_at = process.logged.offset
        assert process.logged.lost == kept.begin - full_at > 0
        make_room(disk, place.path / "elsewhere")
        eventually(lambda: process.logged.error is None and process.logged.offset == TOO_MUCH)
        process.write(1000)
        expected = process.finish()
        lost = process.logged.lost
        content = on_disk(disk, place.path / "elsewhere")
        assert len(content) + lost == len(expected)
        # One piece is missing, where the disk was full, and nothing else.
        assert content == expected[:full_at] + expected[full_at + lost :]
        assert process.troubles() == [
            (Happening.LOG_FAILED, error),
            (Happening.LOG_RECOVERED, f"{lost} bytes lost"),
        ]
        figure(
            "a full disk, log not required: in the log + counted - written", len(content) + lost - len(expected), "0"
        )


def test_a_full_disk_and_a_log_that_is_required(place: Place, disk: Path, figure: Figure) -> None:
    """The process is held back, and nothing is lost."""
    _, path = place.daemon()
    with blocking.connect(path, timeout=PATIENCE) as client:
        process = Logging(client, disk, required=True)
        process.write(TOO_MUCH)
        rounds = 0

        def full() -> bool:
            return process.logged.error is not None or process.logged.offset == TOO_MUCH

        while eventually(full) and process.logged.offset < TOO_MUCH:
            # It waits as soon as as much as is kept is not logged.
            record = client.inspect(process.process.id)
            assert record.state is State.RUNNING
            assert record.end - process.logged.offset <= record.keep
            assert process.logged.lost == 0
            make_room(disk, place.path / "elsewhere")
            rounds += 1
            # It may be full again before anybody has looked.
            eventually(lambda wanted=rounds: process.recoveries >= wanted)
        assert rounds > 0
        expected = process.finish()
        assert process.logged.lost == 0
        content = on_disk(disk, place.path / "elsewhere")
        assert content == expected
        assert process.troubles() == rounds * [
            (Happening.LOG_FAILED, f"{disk / 'full.log'}: No space left on device"),
            (Happening.LOG_RECOVERED, "0 bytes lost"),
        ]
        figure(
            "a full disk, log required: bytes in the log of those written", f"{len(content):,}", f"{len(expected):,}"
        )


# --- records and events ----------------------------------------------------------------------------------------------


def test_many_finished_records(place: Place, figure: Figure) -> None:
    """All are listed, page by page, and forgotten, while others are answered."""
    state = place.path / "state"
    state.mkdir(mode=0o700)
    loads.fill(str(state / "processes.db"), RECORDS)
    daemon, path = place.daemon(f"--state={state}", *loads.KEEPS)
    pages = place.work("loads", "pages", path=path, pid=daemon.pid)
    assert pages["records"] == RECORDS
    with ticking(place, path, daemon.pid) as ticks:
        assert place.work("loads", "prune", path=path)["count"] == RECORDS
    with blocking.connect(path) as client:
        assert client.list() == []
    figure(f"LIST of {RECORDS:,} finished, a page, p99", told(pages), "<= 20 ms")
    figure(f"LIST of {RECORDS:,} finished, a page, the longest", told(pages, "most"), "told")
    figure(f"PRUNE of {RECORDS:,}: the longest pause", told(ticks, "most"), "<= 50 ms")


def test_many_events(place: Place, figure: Figure) -> None:
    """Each KILL is an event; none is missing, whoever asks for how many."""
    daemon, path = place.daemon()
    with contextlib.closing(blocking.connect(path, timeout=PATIENCE)) as client:
        argv = [*place.program, "idle"]
        processes = [client.start_detached(argv).id for _ in range(CHILDREN)]
        with ticking(place, path, daemon.pid) as ticks, client.watch() as watch:
            total = int(RATE * SECONDS)
            place.work("loads", "signals", path=path, processes=processes, rate=RATE, seconds=SECONDS)
            counted = dict.fromkeys(processes, 0)
            while sum(counted.values()) < total:
                event = watch.next_event(timeout=PATIENCE)
                assert event is not None
                if event.type is Happening.SIGNALLED:
                    counted[event.process.id] += 1
        assert set(counted.values()) == {total // CHILDREN}
        assert watch.fresh_count == 1
    figure(f"{RATE:,} KILLs a second, events told of {total:,}", f"{sum(counted.values()):,}", "all")
    figure(f"{RATE:,} KILLs a second: a request, p99", told(ticks), "<= 20 ms")
