"""A run's exit status, its JSON and its pictures; and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.place import ROOT, running_from

# Seconds for a run that has something to start and to stop, on a busy machine.
PATIENCE = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.fakes", *arguments]


def carried_out(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("name", "smoke", "full"),
    [
        ("sound", 0, 0),
        ("missed", 0, 0),
        ("zero", 1, 0),
        ("tenth", 1, 0),
        ("case_fails", 1, 1),
        ("all_fails", 1, 1),
    ],
)
def test_exit_status(name: str, smoke: int, full: int) -> None:
    """Nonsense fails a smoke test, and what cannot be measured fails everything; nothing keeps others from it."""
    for status, options in ((smoke, ["--smoke"]), (full, [])):
        done = carried_out(name, *options)
        assert done.returncode == status, done.stderr
        assert "a sound one" in done.stdout
        assert bool(status) == ("FAILED" in done.stdout)
        assert bool(status) == ("1 failed" in done.stderr)


def test_what_may_be_noise_is_measured_again() -> None:
    """On a busy machine anything may happen once."""
    assert carried_out("noisy", "--smoke").returncode == 0


def test_a_benchmark_that_fails_loses_nothing(tmp_path: Path) -> None:
    """What it had measured before is there, and what could not be is told."""
    file = tmp_path / "deep" / "figures.json"
    assert carried_out("all_fails", "--json", str(file)).returncode == 1
    report = json.loads(file.read_text())
    assert [table["title"] for table in report["tables"]] == ["a sound one", "before it fails"]
    assert report["failures"] == ["all_fails: OSError: no such daemon"]
    assert {"date", "cpu", "kernel", "python", "netdaemon"} <= set(report["machine"])


def test_pictures(tmp_path: Path) -> None:
    """Of each table that is a curve."""
    file = tmp_path / "figures.json"
    assert carried_out("curve", "--json", str(file)).returncode == 0
    subprocess.run(
        [sys.executable, "-m", "benchmarks.plots", str(file), "--to", str(tmp_path)],
        check=True,
        cwd=ROOT,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
    )
    assert [one.name for one in tmp_path.glob("*.png")] == ["curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def place_of(line: str) -> Path:
    """Where a fake said that it is."""
    return Path(line.removeprefix("in ").rstrip())


@pytest.mark.parametrize(("name", "status"), [("busy_and_fails", 1), ("daemon_dies", 0)])
def test_nothing_is_left(name: str, status: int) -> None:
    """Daemons, keepers and children are gone when a benchmark has failed, or its daemon has."""
    done = carried_out(name)
    assert done.returncode == status, done.stderr
    path = next(place_of(line) for line in done.stdout.splitlines() if line.startswith("in "))
    assert not path.exists()
    assert not running_from(path)
    assert ("left behind" in done.stderr) == (name == "daemon_dies")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_when_it_is_ended(number: int) -> None:
    """Whoever ends it has not to look for what it has started."""
    with subprocess.Popen(command("busy_and_waits"), stdout=-1, stderr=-1, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("in "))
        path = place_of(line)
        # Daemon, keeper, child, what is alone, and the task.
        deadline = time.monotonic() + PATIENCE
        while len(running_from(path)) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ended by SIG" in told
    assert not path.exists()
    assert not running_from(path)
