"""Real programs from a file of specs, as their hosts run them: games, a kill of one and of the daemon, and the log."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon import blocking
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening
from tests.integration.test_programs import free_port
from tests.support import LONG, RunningDaemon, keeper_pid, running_daemon

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "games.toml"
NDTOOL = [sys.executable, "-m", "netdaemon.cli"]

PATIENCE = 60.0

# A sixteenth of the usual map is generated in a sixteenth of the time.
CONFIG = "[misc]\n" if LONG else "[game_creation]\nmap_x = 6\nmap_y = 6\n"

READY = b"Map generated, starting game"
QUIT = r'stopped by stdin "quit\\n" after [0-9.]+ s\n'

# Of the example, which says 1 s: no restart comes earlier, whatever the chance in it.
DELAY_LEAST = 0.8

pytestmark = pytest.mark.skipif(not Path("/usr/games/openttd").exists(), reason="openttd is not installed")


class Games:
    """A directory with the example in it, and ndtool for its daemon."""

    def __init__(self, directory: Path, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.file = directory / "games.toml"
        text = EXAMPLE.read_text(encoding="utf-8")
        for port in ("3979", "3980"):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
        # So small that it is set aside now and then.
        self.file.write_text(text.replace('"10M", files = 5', '"4k", files = 1000'), encoding="utf-8")
        for name in ("openttd", "practice"):
            (directory / name).mkdir()
            (directory / name / "openttd.cfg").write_text(CONFIG, encoding="utf-8")
        self.directory = directory

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*NDTOOL, "--socket", self.daemon.path, *arguments], cwd=self.directory, **options)

    def ndtool(self, *arguments: str) -> str:
        """What it prints; it must end well."""
        done = subprocess.run(
            [*NDTOOL, "--socket", self.daemon.path, *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def record(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ndtool("--json", "inspect", name))
        return told

    def change(self, before: str, after: str) -> None:
        """In the file."""
        text = self.file.read_text(encoding="utf-8")
        assert text.count(before) == 1
        self.file.write_text(text.replace(before, after), encoding="utf-8")

    def kill_daemon(self) -> None:
        """SIGKILL; come back when its keeper has started another."""
        with blocking.connect(self.daemon.path, timeout=PATIENCE) as client:
            pid = client.info().pid
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: client.info().pid) != pid


def eventually(condition: Any) -> Any:
    """The first true value of *condition*."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)
    return value


def log_files(path: Path) -> list[Path]:
    """Those that were set aside, once all of them are compressed, and the present one; in order."""

    def aside() -> list[Path]:
        return sorted(path.parent.glob(path.name + ".*"))

    eventually(lambda: all(one.suffix == ".gz" for one in aside()))
    return [*aside(), path]


def logged(games: Games, name: str) -> bytes:
    """What its log says, once all of its output is there."""

    def complete() -> bool:
        looked = client.look(name)
        return looked.logged is not None and looked.logged.offset == looked.process.end

    with blocking.connect(games.daemon.path, timeout=PATIENCE) as client:
        eventually(complete)
    return decode(log_files(games.directory / name / "console.log"))


def decode(files: list[Path]) -> bytes:
    """What CRI lines stand for, by their description and with nothing of ours."""
    output = bytearray()
    for file in files:
        octets = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for line in octets.split(b"\n")[:-1]:
            when, stream, kind, text = line.split(b" ", 3)
            assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", when), line
            assert stream in (b"stdout", b"stderr"), line
            output += text + {b"F": b"\n", b"P": b""}[kind]
    return bytes(output)


@contextlib.contextmanager
def daemon_in(directory: Path) -> Iterator[RunningDaemon]:
    """One with a state directory, whose log must tell of no failure."""
    directory.chmod(0o700)
    with running_daemon(directory, f"--state={directory / 'state'}") as daemon:
        yield daemon
    told = daemon.log.read_text(errors="replace")
    assert "Traceback" not in told, told
    assert "Unhandled" not in told, told


@pytest.fixture
def games(tmp_path: Path) -> Iterator[Games]:
    with daemon_in(tmp_path) as daemon:
        yield Games(tmp_path, daemon)


def events_of(games: Games, name: str) -> list[Happened]:
    """All that has happened to it."""
    with blocking.connect(games.daemon.path, timeout=PATIENCE) as client:
        with client.watch() as watch:
            here = watch.cursor
        assert here is not None
        instance, _, last = here.rpartition("-")
        found: list[Happened] = []
        with client.watch(since=f"{instance}-0") as watch:
            assert not watch.fresh
            while not found or found[-1].cursor != f"{instance}-{last}":
                event = watch.next_event(timeout=PATIENCE)
                assert event is not None
                found.append(event)
    return [one for one in found if one.process.name == name]


def test_games(games: Games, tmp_path: Path) -> None:
    """Applied, ready on their own word, killed, restarted, changed, stopped; the daemon killed twice meanwhile.

    The console of all generations, as one who never looked away and one who came last have it, is what the log says.
    """
    assert games.ndtool("apply", "--dry-run", str(games.file)) == "+ start openttd\n+ start practice\n"
    assert json.loads(games.ndtool("--json", "list")) == []
    assert sorted(games.ndtool("apply", str(games.file)).splitlines()) == ["+ start openttd", "+ start practice"]
    console = tmp_path / "console"
    with console.open("wb") as file:
        follower = games.popen("attach", "--read-only", "--from", "0", "openttd", stdin=subprocess.DEVNULL, stdout=file)
    try:
        played(games, console)
        stopped(games)
        assert follower.wait(PATIENCE) == 0
    finally:
        follower.kill()
        follower.wait()
    # Somebody who comes last sees the same.
    with (tmp_path / "late").open("wb") as file:
        assert (
            games.popen("attach", "--from", "0", "openttd", stdin=subprocess.DEVNULL, stdout=file).wait(PATIENCE) == 0
        )
    seen = console.read_bytes()
    assert (tmp_path / "late").read_bytes() == seen
    record = games.record("openttd")
    assert (record["generation"], record["begin"], record["end"]) == (3, 0, len(seen))
    assert seen.count(b"Starting dedicated server") == seen.count(READY) == 3
    assert logged(games, "openttd") == seen
    # More than one file was needed.
    assert list((games.directory / "openttd").glob("console.log.*.gz"))
    told(games, record["id"])
    games.file.write_text('[set]\nname = "games"\n[process]\n', encoding="utf-8")
    assert sorted(games.ndtool("apply", str(games.file)).splitlines()) == ["- remove openttd", "- remove practice"]
    assert json.loads(games.ndtool("--json", "list")) == []


def played(games: Games, console: Path) -> None:
    """Generation 1 is killed, 2 is restarted by a change, 3 generates its map while the daemon is killed."""
    games.ndtool("wait", "--for", "running", "openttd")
    games.ndtool("wait", "--for", "running", "practice")
    first = games.record("openttd")
    assert (first["state"], first["generation"]) == ("running", 1)
    assert games.ndtool("apply", str(games.file)) == "= unchanged 2\nnothing to do\n"
    games.ndtool("send", "openttd", "server_info")
    eventually(lambda: b"Current/maximum clients" in console.read_bytes())

    os.kill(first["pid"], signal.SIGKILL)
    eventually(lambda: console.read_bytes().count(READY) == 2)
    games.ndtool("wait", "--for", "running", "openttd")
    second = games.record("openttd")
    assert (second["generation"], second["failures"]) == (2, 1)
    assert second["pid"] != first["pid"]
    games.kill_daemon()
    assert games.record("openttd")["pid"] == second["pid"]
    games.ndtool("send", "openttd", 'echo "after the daemon"')
    eventually(lambda: b"after the daemon" in console.read_bytes())

    games.change('db_id = "42"', 'db_id = "44"')
    assert games.ndtool("apply", str(games.file)).startswith("~ change openttd")
    relabelled = games.record("openttd")
    assert relabelled["pid"] == second["pid"]
    assert "db_id=44" in relabelled["labels"]
    games.change('openttd.cfg"\ncwd = "openttd"', 'openttd.cfg -G 7"\ncwd = "openttd"')
    assert games.ndtool("apply", str(games.file)).startswith("! restart openttd")
    # Its map is being generated.
    games.kill_daemon()
    games.ndtool("wait", "--for", "running", "openttd")
    third = games.record("openttd")
    assert third["generation"] == 3
    assert third["argv"][-2:] == ["-G", "7"]
    assert games.ndtool("apply", str(games.file)) == "= unchanged 2\nnothing to do\n"


def stopped(games: Games) -> None:
    """Both say which step it was; what they were told to save is saved."""
    saved = games.directory / "openttd" / "save" / "last.sav"
    before = saved.stat().st_mtime_ns
    assert re.fullmatch("openttd: " + QUIT, games.ndtool("stop", "openttd"))
    assert saved.stat().st_mtime_ns > before
    assert games.ndtool("stop", "openttd") == "openttd: already stopped\n"
    with (games.directory / "terminal").open("wb") as file:
        follower = games.popen("attach", "--read-only", "practice", stdin=subprocess.DEVNULL, stdout=file)
    try:
        games.ndtool("send", "practice", 'echo "from a terminal"')
        assert re.fullmatch("practice: " + QUIT, games.ndtool("stop", "practice"))
        assert follower.wait(PATIENCE) == 0
    finally:
        follower.kill()
        follower.wait()
    seen = (games.directory / "terminal").read_bytes()
    # What was typed is echoed, and then done.
    assert b'echo "from a terminal"\r\n' in seen
    assert b"\r\nfrom a terminal\r\n" in seen
    assert logged(games, "practice") == seen
    exited = games.record("practice")
    assert (exited["state"], exited["code"], exited["generation"]) == ("exited", 0, 1)


def told(games: Games, id: str) -> None:
    """The events of the first game: the kill, the wait, and each start ready on its own word."""
    events = events_of(games, "openttd")
    assert {one.process.id for one in events} == {id}
    types = [one.type for one in events]
    assert types.count(Happening.STARTED) == types.count(Happening.READY) == 3
    down = types.index(Happening.BACKOFF)
    assert events[down].process.signal == signal.SIGKILL
    up = types.index(Happening.STARTED, down)
    assert events[up].time - events[down].time >= DELAY_LEAST * 1e6
    assert events[-1].process.state is State.EXITED
    steps = [one.detail for one in events if one.type is Happening.STEP]
    # Of the restart and of the stop; at the wait after the last of them it has exited.
    assert steps == 2 * ['stdin "save last\\n"', "wait 1s", 'stdin "quit\\n"', "wait 30s"]


def test_games_after_a_reboot(tmp_path: Path) -> None:
    """All of it dead at once, daemon, keeper and game: the next daemon has the game run again, as it was declared."""
    with daemon_in(tmp_path) as daemon:
        games = Games(tmp_path, daemon)
        games.ndtool("apply", str(games.file))
        games.ndtool("wait", "--for", "running", "openttd")
        before = games.record("openttd")
        keeper = keeper_pid(daemon.path)
        assert keeper is not None
        pids = [games.record(name)["pid"] for name in ("openttd", "practice")]
        # Neither is to start the other again in between.
        os.kill(daemon.process.pid, signal.SIGSTOP)
        for pid in (keeper, daemon.process.pid, *pids):
            os.kill(pid, signal.SIGKILL)
        daemon.process.wait()
    with daemon_in(tmp_path) as daemon:
        games.daemon = daemon
        games.ndtool("wait", "--for", "running", "openttd")
        after = games.record("openttd")
        assert (after["id"], after["generation"]) == (before["id"], before["generation"] + 1)
        assert after["pid"] != before["pid"]
        # Not one offset is used again, and it is kept as much as before.
        assert after["begin"] >= before["end"]
        assert after["keep"] == before["keep"]
        assert games.ndtool("apply", str(games.file)) == "= unchanged 2\nnothing to do\n"
        assert re.fullmatch("openttd: " + QUIT, games.ndtool("stop", "openttd"))
        console = logged(games, "openttd")
        assert console.count(READY) == 2
        assert console.endswith(b"Shutting down network\n")
