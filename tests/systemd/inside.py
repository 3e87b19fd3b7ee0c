"""What `test_real` runs, one test each under a systemd of its own: our units, and what the defaults would do."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from netdaemon.wire.commands import List, Shutdown
from netdaemon.wire.records import Fate, State
from tests.faults.wire import Wire, eventually
from tests.support import LONG, Figure, keeper_pid
from tests.survive.world import Death, World, within
from tests.systemd.place import SERVICE, SOCKET, adapted

ROUNDS = 20 if LONG else 3


@pytest.fixture
def figure() -> Figure:
    """For whoever runs us to show."""

    def show(what: str, value: object, promised: str) -> None:
        with open(os.environ["FIGURES"], "a", encoding="utf-8") as file:
            file.write(json.dumps([what, str(value), promised]) + "\n")

    return show


class Served(World):
    """A world whose daemons systemd starts, as our unit says.

    :param settings: for the unit, in place of what it has.
    """

    def __init__(self, *settings: str, socket: bool = False) -> None:
        super().__init__()
        # There is nothing that is started by us, and ends with the daemon.
        self.process = subprocess.Popen(["sleep", "infinity"])
        self.path = os.environ["XDG_RUNTIME_DIR"] + "/netdaemon/netdaemon.sock"
        units = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd/user"
        for unit in (SERVICE, SOCKET)[: 1 + socket]:
            (units / unit).write_text(adapted(unit))
        drop_in = units / f"{SERVICE}.d"
        drop_in.mkdir(exist_ok=True)
        log = f"StandardOutput=append:{os.environ['SYSTEMD_LOG']}"
        (drop_in / "test.conf").write_text("\n".join(["[Service]", log, "StandardError=inherit", *settings, ""]))
        self.systemctl("daemon-reload")
        self.socket = socket

    def start(self) -> None:
        self.systemctl("start", SOCKET if self.socket else SERVICE)

    def daemon(self) -> int:
        """The daemon's pid, as it is here."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def kill_both(self) -> None:
        """Daemon and keeper, at once."""
        keeper = keeper_pid(self.path)
        assert keeper is not None
        victims = [Death(self.daemon()), Death(keeper)]
        for one in victims:
            one.send(9)
        for one in victims:
            assert one.wait()
            one.close()

    def restarted(self, count: int) -> None:
        """Wait until it has been started again so often, by systemd itself, and is ready."""
        eventually(lambda: int(self.show("NRestarts")) >= count and self.show("ActiveState") == "active")

    def told(self) -> str:
        return Path(os.environ["SYSTEMD_LOG"]).read_text(errors="replace")

    def systemctl(self, *words: str) -> str:
        """What it says; it must not fail."""
        command = ["systemctl", "--user", "--no-pager", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.told()}"
        return done.stdout.strip()

    def show(self, name: str) -> str:
        """One property of the service."""
        return self.systemctl("show", SERVICE, f"--property={name}", "--value")


def served(*settings: str, socket: bool = False) -> AbstractContextManager[Served]:
    """Such a world; nothing has been started."""
    return within(Served(*settings, socket=socket))


def populate(daemon: Served) -> None:
    for number, kind in enumerate(["flood", "both", "cat", "fed", "typed", "sleep"]):
        daemon.begin(kind, code=10 + number if kind != "cat" else 0, seed=number)


def test_active_means_ready() -> None:
    """`systemctl start` returns when HELLO is answered; the status tells how many run."""
    with served() as daemon:
        daemon.start()
        Wire(daemon.path).close()
        assert daemon.show("ActiveState") == "active"
        assert daemon.show("StatusText") == "0 processes run"
        daemon.systemctl("stop", SERVICE)
        assert daemon.show("ActiveState") == "inactive"


def test_restart_is_an_upgrade(figure: Figure) -> None:
    """`systemctl restart`, and `stop` with a `start` later: the processes go on, all their output comes."""
    with served() as daemon:
        daemon.start()
        populate(daemon)
        keeper = keeper_pid(daemon.path)
        for number in range(ROUNDS):
            if number % 3 < 2:
                daemon.systemctl("restart", SERVICE)
            else:
                daemon.systemctl("stop", SERVICE)
                assert daemon.show("ActiveState") == "inactive"
                daemon.systemctl("start", SERVICE)
            daemon.check()
        assert keeper_pid(daemon.path) == keeper
        assert daemon.show("NRestarts") == "0"
        daemon.finish()
        written = sum(one.total for one in daemon.followers)
    figure(f"systemctl restart, {ROUNDS} times: MB out", f"{written / 1e6:,.1f}", "all compared")


def test_killed(figure: Figure) -> None:
    """By kill -9, with its keeper by turns; what exits meanwhile is told, and right."""
    with served() as daemon:
        daemon.start()
        populate(daemon)
        instance = daemon.ready().instance
        for number in range(2 * ROUNDS):
            ends = daemon.begin("sleep", code=100 + number)
            if number % 2:
                daemon.kill_both()
            else:
                victim = Death(daemon.daemon())
                victim.send(signal.SIGKILL)
                assert victim.wait()
                victim.close()
            daemon.end(ends)
            daemon.restarted(number + 1)
            assert daemon.ready().instance == instance
            daemon.check()
        daemon.finish(unknown=True)
        written, unknown = sum(one.total for one in daemon.followers), len(daemon.unknown)
    what = f"systemd, daemon killed {2 * ROUNDS} times, half of them with its keeper:"
    figure(f"{what} MB out", f"{written / 1e6:,.1f}", "all compared")
    figure(f"{what} exits unknown", unknown, "none wrong")


def test_the_watchdog(figure: Figure) -> None:
    """A daemon that hangs is killed and started again, and nothing is lost."""
    with served("WatchdogSec=2") as daemon:
        daemon.start()
        populate(daemon)
        for number in range(ROUNDS if LONG else 1):
            hung = Death(daemon.daemon())
            hung.send(signal.SIGSTOP)
            assert hung.wait()
            hung.close()
            daemon.restarted(number + 1)
            daemon.check()
        daemon.finish()


def test_shutdown_ends_everything() -> None:
    """ndtool shutdown: processes, keeper, and daemon, in order; it is not started again, and has not failed."""
    with served() as daemon:
        daemon.start()
        daemon.begin("lines")
        daemon.ask(Shutdown())
        for follower in daemon.followers:
            follower.leave()
        daemon.followers.clear()
        eventually(lambda: daemon.show("ActiveState") == "inactive")
        time.sleep(1.5)
        assert daemon.show("ActiveState") == "inactive"
        assert daemon.show("Result") == "success"
        assert daemon.show("NRestarts") == "0"
        eventually(lambda: not daemon.pids())
        eventually(lambda: keeper_pid(daemon.path) is None)
        daemon.start()
        # There is nothing but the record of what has ended.
        assert all(one.state is State.EXITED and not one.pid for one in daemon.ask(List()).processes)


def test_shutdown_that_keeps() -> None:
    """ndtool shutdown --keep is as `systemctl stop`: the next start has the processes."""
    with served() as daemon:
        daemon.start()
        populate(daemon)
        daemon.ask(Shutdown(processes=Fate.KEEP))
        eventually(lambda: daemon.show("ActiveState") == "inactive")
        assert len(daemon.pids()) == len(daemon.followers)
        daemon.start()
        daemon.finish()


def test_the_keeper_told_to_end_after_a_stop() -> None:
    """SIGTERM to the keeper, with no daemon there: it ends the processes and itself."""
    with served() as daemon:
        daemon.start()
        daemon.leave_alone(daemon.begin("lines"))
        daemon.systemctl("stop", SERVICE)
        assert daemon.pids()
        keeper = keeper_pid(daemon.path)
        assert keeper is not None
        os.kill(keeper, signal.SIGTERM)
        eventually(lambda: not daemon.pids())
        daemon.left_alone.clear()
        eventually(lambda: keeper_pid(daemon.path) is None)


def test_socket_activation() -> None:
    """The first client starts it; clients wait while there is none; its end with `stop` leaves the socket."""
    with served(socket=True) as daemon:
        daemon.start()
        assert daemon.show("ActiveState") == "inactive"
        assert os.stat(daemon.path).st_mode & 0o777 == 0o600
        inode = os.stat(daemon.path).st_ino
        populate(daemon)
        assert daemon.show("ActiveState") == "active"
        daemon.systemctl("restart", SERVICE)
        daemon.kill_both()
        # It waits in the queue.
        daemon.ask(List())
        daemon.restarted(1)
        daemon.systemctl("stop", SERVICE)
        daemon.ask(List())
        eventually(lambda: daemon.show("ActiveState") == "active")
        assert os.stat(daemon.path).st_ino == inode
        daemon.finish()
        daemon.systemctl("stop", SOCKET, SERVICE)
        assert not os.path.exists(daemon.path)
        daemon.systemctl("start", SOCKET)
        daemon.ready()


@pytest.mark.parametrize(
    ("setting", "what"), [("KillMode=control-group", "stop"), ("FileDescriptorStoreMax=0", "kill both")]
)
def test_the_defaults_lose(setting: str, what: str) -> None:
    """That these tests find something where there is something to find."""
    with served(setting) as daemon:
        daemon.start()
        daemon.leave_alone(daemon.begin("flood"))
        if what == "stop":
            daemon.systemctl("stop", SERVICE)
            daemon.systemctl("start", SERVICE)
        else:
            daemon.kill_both()
            daemon.restarted(1)
        # There is nothing left but their records, and how they ended nobody knows.
        for one in daemon.ask(List()).processes:
            assert (one.state, one.code, one.signal) == (State.EXITED, None, None)
        eventually(lambda: not daemon.pids())
        daemon.left_alone.clear()
