"""A group has all that descends from a child, however far it has gone, and is killed and removed as one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp

import pytest

from netdaemon.keeper.child import Spec
from netdaemon.keeper.launch import begin, open_gate
from netdaemon.keeper.messages import close_all
from netdaemon.process.cgroups import Cgroups
from tests.support import PATIENCE, readable

# Double-forked, in a session of its own; with the limit of real time as it was before anybody marked it.
FAR = """
import os, time
if os.fork():
    time.sleep(1000)
os.setsid()
if os.fork():
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(1000)
"""


@pytest.fixture
def groups() -> Iterator[Cgroups]:
    """Below a mount of our own. The directory is this test's alone: there is one hierarchy for the whole machine."""
    # Not pytest's own directory, which is for one user alone.
    mount = Path(mkdtemp(prefix="nd"))
    mount.chmod(0o755)
    done = subprocess.run(["mount", "-t", "cgroup2", "none", str(mount)], capture_output=True, text=True, check=False)
    if done.returncode:
        mount.rmdir()
        pytest.skip(f"no cgroup2 can be mounted here: {done.stderr.strip()}")
    directory = mount / f"netdaemon-test-{token_hex(4)}"
    try:
        directory.mkdir()
        made = Cgroups(str(directory))
        try:
            yield made
        finally:
            for id in made:
                made.kill(id)
                eventually(lambda id=id: made.remove(id))
            directory.rmdir()
    finally:
        subprocess.run(["umount", str(mount)], check=True)
        mount.rmdir()


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(groups: Cgroups, id: str, code: str) -> tuple[int, dict[str, int]]:
    """A child that is in its group before it executes anything."""
    argv = tuple(os.fsencode(one) for one in (sys.executable, "-S", "-c", code))
    pid, roles = begin(Spec(path=argv[0], argv=argv), gated=True)
    groups.enter(id, pid)
    open_gate(roles["gate"])
    return pid, roles


def end(pid: int, roles: dict[str, int]) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    close_all(roles.values())


def test_from_its_start_to_its_end(groups: Cgroups) -> None:
    groups.check()
    assert list(groups) == []
    pid, roles = start(groups, "p", FAR)
    other, others = start(groups, "q", "import time; time.sleep(1000)")
    try:
        assert readable(roles["stdout"], PATIENCE)
        far = int(os.read(roles["stdout"], 100))
        eventually(lambda: groups.pids("p") == sorted([pid, far]))
        assert list(groups) == ["p", "q"]
        assert not groups.is_empty("p")
        assert not groups.remove("p")
        assert groups.kill("p")
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        eventually(lambda: groups.is_empty("p"))
        assert groups.remove("p")
        assert list(groups) == ["q"]
        assert groups.pids("q") == [other]
    finally:
        end(pid, roles)
        end(other, others)


def test_a_second_generation(groups: Cgroups) -> None:
    """It comes into the group that there is, to what the first has left."""
    pid, roles = start(groups, "p", "import time; time.sleep(1000)")
    again, more = start(groups, "p", "import time; time.sleep(1000)")
    assert groups.pids("p") == sorted([pid, again])
    groups.kill("p")
    end(pid, roles)
    end(again, more)


def test_groups_below(groups: Cgroups) -> None:
    """What a process has made for itself in its own is killed and removed with it."""
    pid, roles = start(groups, "p", "import time; time.sleep(1000)")
    below = Path(groups.directory, "p", "of", "its", "own")
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(pid))
    assert groups.pids("p") == [pid]
    assert not groups.remove("p")
    assert below.exists()
    groups.kill("p")
    end(pid, roles)
    eventually(lambda: groups.remove("p"))
    assert not below.exists()


def test_one_that_is_not_there(groups: Cgroups) -> None:
    assert not groups.kill("p")
    assert groups.pids("p") == []
    assert groups.is_empty("p")
    assert groups.remove("p")


def test_a_child_that_has_gone(groups: Cgroups) -> None:
    """It is told, and leaves a group that is empty."""
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(ProcessLookupError):
        groups.enter("p", process.pid)
    assert groups.is_empty("p")


def test_no_such_directory(tmp_path: Path) -> None:
    """It says what it is not, and makes nothing in it."""
    with pytest.raises(OSError, match=r"no directory of a cgroup2 file system: '/") as raised:
        Cgroups(str(tmp_path)).check()
    assert raised.value.errno == errno.EINVAL
    assert list(tmp_path.iterdir()) == []


def test_not_ours_to_write(groups: Cgroups) -> None:
    code = f"""
import os, sys
from netdaemon.process.cgroups import Cgroups
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    Cgroups({groups.directory!r}).check()
except PermissionError:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "told\n", done.stderr
