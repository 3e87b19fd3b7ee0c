"""What is said to a service manager, and what is taken from its environment."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import Settings
from netdaemon.systemd import ROOM, Manager
from netdaemon.testing import FakeLauncher, MemoryReactor
from tests.faults.wire import Wire, eventually
from tests.systemd.manager import VARIABLES, FakeManager, managed

MINE = str(os.getpid())


@pytest.fixture(params=["path", "abstract"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeManager]:
    made = FakeManager(tmp_path if request.param == "path" else None)
    yield made
    made.close()


# --- messages --------------------------------------------------------------------------------------------------------


def test_messages(fake: FakeManager) -> None:
    """In order, with descriptors; one that is gone is no reason to fail."""
    manager = Manager({"NOTIFY_SOCKET": fake.address})
    assert manager.present
    assert manager.tell("READY=1", "STATUS=here")
    reading, writing = os.pipe()
    assert manager.store("p1", "stdout", reading)
    assert manager.store("p1", "stdin", writing)
    os.close(reading)
    manager.unstore("p1", "stdin")
    manager.tell("STOPPING=1")
    fake.wait("STOPPING=1")
    assert fake.heard == [
        ["READY=1", "STATUS=here"],
        ["FDSTORE=1", "FDPOLL=0", "FDNAME=p1.stdout"],
        ["FDSTORE=1", "FDPOLL=0", "FDNAME=p1.stdin"],
        ["FDSTOREREMOVE=1", "FDNAME=p1.stdin"],
        ["STOPPING=1"],
    ]
    ((name, descriptor),) = fake.store
    os.write(writing, b"through")
    os.close(writing)
    assert (name, os.read(descriptor, 100)) == ("p1.stdout", b"through")


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens-here"])
def test_nobody_listens(address: str) -> None:
    """Nothing is said, nothing is raised, and it is told."""
    assert not Manager({"NOTIFY_SOCKET": address}).tell("READY=1")
    assert not Manager({"NOTIFY_SOCKET": address}).store("p1", "stdin", 0)


# --- the environment -------------------------------------------------------------------------------------------------


def test_what_is_for_this_process_goes_no_further() -> None:
    """Nothing that a child, or a daemon that the keeper starts, could take for its own."""
    environ = dict.fromkeys(VARIABLES, "1") | {"HOME": "/", "INVOCATION_ID": "x"}
    Manager(environ)
    assert environ == {"HOME": "/", "INVOCATION_ID": "x"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": MINE}, 1.5),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog(environ: dict[str, str], interval: float | None) -> None:
    """Twice within the time that is allowed; only if it is us who are watched."""
    assert Manager(dict(environ)).interval == interval


@pytest.mark.parametrize(
    ("environ", "restarts"),
    [
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
        ({"INVOCATION_ID": "x"}, True),
        ({"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": MINE}, True),
        # A shell in a terminal that is a service.
        ({"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "1"}, False),
        ({"SYSTEMD_EXEC_PID": MINE}, False),
        ({}, False),
    ],
)
def test_who_starts_it_again(environ: dict[str, str], restarts: bool) -> None:
    """The manager, of its own services; the keeper does all others."""
    assert Manager(dict(environ)).restarts is restarts


@pytest.mark.parametrize(("said", "room"), [("100", 100), ("999999", ROOM), ("", ROOM), ("-1", ROOM)])
def test_room(said: str, room: int) -> None:
    assert Manager({"FDSTORE": said}).room == room


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": MINE, "LISTEN_FDS": "-1"},
        {"LISTEN_PID": MINE, "LISTEN_FDS": "one"},
        {"LISTEN_PID": MINE},
    ],
)
def test_descriptors_of_somebody_else(environ: dict[str, str]) -> None:
    """They are left alone, whatever is at these numbers here."""
    before = os.get_inheritable(3) if os.path.exists("/proc/self/fd/3") else None
    manager = Manager(dict(environ))
    assert manager.sockets() == []
    assert manager.stored() == {}
    assert (os.get_inheritable(3) if os.path.exists("/proc/self/fd/3") else None) == before


# What came, in a process of its own: the numbers are from 3 on.
SHOW = """
import json, os
from netdaemon.systemd import Manager
if os.environ.get("CLOSE"):
    os.close(int(os.environ["CLOSE"]))
manager = Manager()
sockets = [(one.getsockname(), one.fileno(), one.get_inheritable()) for one in manager.sockets()]
stored = manager.stored()
left = [one for one in range(4, 8) if os.path.exists(f"/proc/self/fd/{one}")]
print(json.dumps([sockets, stored, left, {name for name in os.environ if name.startswith("LISTEN")} == set()]))
"""


def test_what_is_passed(tmp_path: Path) -> None:
    """Listening sockets by what they are, stored descriptors by their names; the rest is closed."""
    fake = FakeManager(tmp_path)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as other:
        listening.bind(path)
        listening.listen()
        for name in ("p1.stdout", "nonsense", "p1.pidfd"):
            fake.store.append((name, os.open(os.devnull, os.O_RDONLY)))
        fake.store.append(("p2.gate", os.dup(other.fileno())))
        shown = []
        for closed in ("", "4"):
            fake.environment["CLOSE"] = closed
            with fake.start([sys.executable, "-c", SHOW], sockets=[listening], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                shown.append(json.loads(process.stdout.read()))
    fake.close()
    assert shown[0][0] == [[path, 3, False]]
    assert shown[0][1] == {"p1": {"stdout": 4, "pidfd": 6}, "p2": {"gate": 7}}
    assert shown[0][2:] == [[4, 6, 7], True]
    assert shown[1][1] == {"p1": {"pidfd": 6}, "p2": {"gate": 7}}


# --- a daemon --------------------------------------------------------------------------------------------------------


def test_the_watchdog_is_fed_at_the_interval(fake: FakeManager) -> None:
    """READY once, then a sign of life at every half of what is allowed; at the end that it stops, and no more."""
    clock = MemoryReactor()
    manager = Manager({"NOTIFY_SOCKET": fake.address, "WATCHDOG_USEC": "4000000"})
    service = DaemonService(clock, FakeLauncher(), Settings(), manager=manager)
    service.startService()
    assert fake.heard == []
    clock.advance(0)
    for _ in range(3):
        clock.advance(2)
    service.stopService()
    fake.wait("STOPPING=1")
    assert [lines[0] for lines in fake.heard] == ["READY=1", *["WATCHDOG=1"] * 4, "STOPPING=1"]
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_means_that_hello_is_answered(abstract: bool) -> None:
    """Not before: there is no waiting after it. Its status is told, its watchdog fed, and its end."""
    with managed(abstract=abstract) as daemon:
        daemon.manager.environment["WATCHDOG_USEC"] = "200000"
        daemon.start()
        daemon.manager.wait("READY=1")
        Wire(daemon.path).close()
        daemon.begin("sleep")
        daemon.manager.wait("STATUS=1 process runs")
        daemon.manager.wait("WATCHDOG=1", 5)
        daemon.process.terminate()
        daemon.process.wait()
        daemon.manager.wait("STOPPING=1")
        assert daemon.manager.said("READY=1") == 1
        daemon.start()
        daemon.manager.wait("READY=1", 2)
        daemon.finish()


def test_the_keeper_does_not_start_it_again() -> None:
    """That is the manager's."""
    with managed() as daemon:
        daemon.start()
        daemon.ready()
        daemon.begin("lines")
        daemon.kill()
        assert "starting a daemon in" not in daemon.told()
        daemon.start()
        daemon.ready()
        daemon.finish()
        assert "starting a daemon in" not in daemon.told()


def links_of(pid: int) -> list[str]:
    """What a process has open; it may close some of it meanwhile."""
    links = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(one))
    return links


def test_children_know_of_no_manager() -> None:
    """Neither the children nor the keeper have its variables or its descriptors."""
    with managed("--fdstore") as daemon:
        daemon.manager.environment |= {"WATCHDOG_USEC": "60000000", "FDSTORE": "100"}
        sock = daemon.listen(daemon.path)
        daemon.start()
        daemon.ready()
        daemon.begin("sleep")
        eventually(lambda: len(daemon.pids()) == 1)
        keeper = daemon.ready().keeper_pid
        inode = os.fstat(sock.fileno()).st_ino
        for pid in (*daemon.pids(), keeper):
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert not {one.partition(b"=")[0].decode() for one in environ} & set(VARIABLES)
            links = links_of(pid)
            assert links
            assert f"socket:[{inode}]" not in links
        daemon.finish()
