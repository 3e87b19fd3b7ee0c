"""Children in control groups of their own: a kill reaches whoever is in one, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdaemon.keeper.child import LaunchError, Spec
from netdaemon.process.cgroups import Cgroups
from netdaemon.process.launcher import LocalLauncher
from netdaemon.testing import MemoryReactor

PATIENCE = 20.0

# Makes a daemon of itself that has neither its session nor its streams, nor a mark; and stays.
AWAY = (
    "import os, resource, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    resource.setrlimit(resource.RLIMIT_RTTIME, (1 << 60, -1))\n"
    "    if os.fork() == 0:\n"
    "        null = os.open('/dev/null', os.O_RDWR)\n"
    "        [os.dup2(null, number) for number in range(3)]\n"
    "        time.sleep(1000)\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "print('away', flush=True)\n"
    "time.sleep(1000)\n"
)


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Cgroups]:
    place = tmp_path / "cgroup"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "cgroup2", "none", str(place)], capture_output=True).returncode:
        pytest.skip("no cgroup2 can be mounted here")
    ours = place / f"netdaemon-test-{os.getpid()}"
    ours.mkdir()
    try:
        yield Cgroups(str(ours))
    finally:
        for name in list(Cgroups(str(ours))):
            Cgroups(str(ours)).kill(name)
            eventually(lambda name=name: Cgroups(str(ours)).remove(name))  # type: ignore[misc]
        ours.rmdir()
        subprocess.run(["umount", "-l", str(place)], check=True)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started(reactor: MemoryReactor, launching: object) -> list[object]:
    outcome: list[object] = []
    launching.addBoth(outcome.append)  # type: ignore[attr-defined]
    eventually(lambda: outcome or (reactor.turn() and False))
    return outcome


def test_nobody_escapes_his_group(groups: Cgroups) -> None:
    """One that has made a daemon of itself, and dropped its mark, is killed with the tree."""
    reactor = MemoryReactor()
    launcher = LocalLauncher(reactor)
    launcher.cgroups = groups
    spec = Spec(path=b"/usr/bin/python3", argv=(b"python3", b"-c", AWAY.encode()))
    (launched,) = started(reactor, launcher.launch("gone", spec, -1))
    os.set_blocking(launched.stdout, True)  # type: ignore[attr-defined]
    assert os.read(launched.stdout, 100) == b"away\n"  # type: ignore[attr-defined]
    pids = groups.pids("gone")
    assert launched.pid in pids  # type: ignore[attr-defined]
    assert len(pids) == 2
    assert launcher.leftovers("gone") == pids
    launcher.signal(launched, signal.SIGKILL, "tree")  # type: ignore[arg-type]
    eventually(lambda: groups.pids("gone") in ([], [launched.pid]))  # type: ignore[attr-defined]
    launcher.release(launched)  # type: ignore[arg-type]
    launched.close()  # type: ignore[attr-defined]
    eventually(lambda: groups.is_empty("gone"))
    launcher.forget("gone")
    assert list(groups) == []


def test_a_group_that_cannot_be_entered(groups: Cgroups) -> None:
    """The program is not executed, and the start is refused with the stage."""
    reactor = MemoryReactor()
    launcher = LocalLauncher(reactor)
    launcher.cgroups = Cgroups(groups.directory + "/nowhere")
    (failure,) = started(reactor, launcher.launch("p", Spec(path=b"/bin/true", argv=(b"true",)), -1))
    error = failure.value  # type: ignore[attr-defined]
    assert isinstance(error, LaunchError)
    assert error.stage == "cgroup"
