"""What comes at a bad moment or finds a place cleaned: nothing is lost by it, and nobody says that it is not so."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon import blocking
from netdaemon.errors import NetdaemonError
from netdaemon.wire.answers import Attached
from netdaemon.wire.commands import Start
from netdaemon.wire.records import Fate
from tests.faults.wire import Wire
from tests.support import PATIENCE, end_daemon, keeper_pid

BIN = Path(sys.executable).parent
MANAGER = ("NOTIFY_SOCKET", "INVOCATION_ID", "SYSTEMD_EXEC_PID", "NETDAEMON_KEEPER")
TICKS = ["/bin/sh", "-c", "while :; do echo tick; sleep 0.05; done"]


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(NetdaemonError, OSError):
            outcome = condition()
            if outcome:
                return outcome
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


class Daemon:
    """A daemon that its keeper starts again."""

    def __init__(self, place: Path, cwd: Path) -> None:
        self.path, self.log = str(place / "s"), cwd.parent / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "twistd", "-n", "--pidfile=", "netdaemon", f"--socket={self.path}", "--grace=2"],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name not in MANAGER},
            )
        self.keeper = eventually(lambda: self.info().keeper_pid)

    def client(self) -> blocking.Client:
        return blocking.connect(self.path, reconnect=False, timeout=PATIENCE)

    def info(self) -> Any:
        with self.client() as client:
            return client.info()

    def start(self) -> int:
        with self.client() as client:
            pid = client.start_detached(TICKS, name="ticks").pid
        assert pid is not None
        return pid

    def grows(self) -> None:
        """The process goes on, and is read."""

        def end() -> int:
            with self.client() as client:
                return client.inspect("ticks").end

        before = eventually(end)
        eventually(lambda: end() > before)

    def kill(self) -> None:
        os.kill(self.info().pid, signal.SIGKILL)
        self.process.wait()

    def ndtool(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [BIN / "ndtool", "--socket", self.path, *arguments]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Where the socket is, and where the daemon is started."""
    for name in ("run", "cwd"):
        (tmp_path / name).mkdir(mode=0o700)
    return tmp_path / "run", tmp_path / "cwd"


@pytest.fixture
def daemon(places: tuple[Path, Path]) -> Iterator[Daemon]:
    made = Daemon(*places)
    keeper = made.keeper
    yield made
    end_daemon(made.path, made.process)
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper, signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_place_was_cleaned(daemon: Daemon, places: tuple[Path, Path]) -> None:
    """The socket's directory is removed, and then the daemon killed: its keeper is found nevertheless."""
    pid = daemon.start()
    info = daemon.info()
    shutil.rmtree(places[0])
    os.kill(info.pid, signal.SIGKILL)
    daemon.process.wait()
    again = eventually(daemon.info)
    assert (again.instance, again.keeper_pid) == (info.instance, daemon.keeper)
    with daemon.client() as client:
        assert [record.pid for record in client.list()] == [pid]
    daemon.grows()


def test_the_working_directory_was_removed(daemon: Daemon, places: tuple[Path, Path]) -> None:
    daemon.start()
    shutil.rmtree(places[1])
    daemon.kill()
    daemon.grows()
    assert "starting the daemon in / instead" in daemon.log.read_text()


def test_shutdown_between_two_daemons(daemon: Daemon) -> None:
    """There is something to end, though nobody answers at the moment."""
    pid = daemon.start()
    daemon.kill()
    done = daemon.ndtool("shutdown")
    assert (done.returncode, done.stderr) == (0, b"")
    eventually(lambda: gone(pid) and keeper_pid(daemon.path) is None)
    time.sleep(0.5)
    assert keeper_pid(daemon.path) is None


def test_the_keeper_is_told_to_end_between_two_daemons(daemon: Daemon) -> None:
    """The one that it has started does not outlive it, and starts no keeper of its own."""
    pid = daemon.start()
    daemon.kill()
    time.sleep(0.1)
    os.kill(daemon.keeper, signal.SIGTERM)
    eventually(lambda: gone(pid) and gone(daemon.keeper))
    time.sleep(1)
    assert keeper_pid(daemon.path) is None


@pytest.mark.parametrize("way", ["SIGTERM", "keep"])
def test_a_keeper_that_has_just_died(daemon: Daemon, places: tuple[Path, Path], way: str) -> None:
    """The daemon is stopped before it knows: there is another keeper before it ends."""
    pid = daemon.start()
    with daemon.client() as client:
        os.kill(daemon.keeper, signal.SIGKILL)
        if way == "SIGTERM":
            daemon.process.send_signal(signal.SIGTERM)
        else:
            client.shutdown(Fate.KEEP)
    daemon.process.wait()
    assert not gone(pid)
    assert keeper_pid(daemon.path) not in (None, daemon.keeper)
    again = Daemon(*places)
    again.grows()
    end_daemon(again.path, again.process)


def test_no_keeper_can_be_had_at_the_end(daemon: Daemon, places: tuple[Path, Path]) -> None:
    """Then the processes are ended in order, and it is not said that they go on."""
    pid = daemon.start()
    shutil.rmtree(places[0])
    os.kill(daemon.keeper, signal.SIGKILL)
    eventually(lambda: "there is no other" in daemon.log.read_text())
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(PATIENCE)
    assert gone(pid)
    text = daemon.log.read_text()
    assert "the processes end with this daemon" in text
    assert "goes on under the keeper" not in text


def test_a_process_of_version_1_passes(daemon: Daemon) -> None:
    """It had exited, and its client went with the daemon: nobody is to find it listed for ever."""
    wire = Wire(daemon.path, version=1)
    assert isinstance(wire.ask(Start(argv=("/bin/true",), attach=True)), Attached)
    with daemon.client() as client:
        eventually(lambda: client.list()[0].exited)
    daemon.kill()
    wire.close()
    eventually(daemon.info)
    with daemon.client() as client:
        eventually(lambda: not client.list())
