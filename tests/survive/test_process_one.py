"""The keeper as process 1 of a container: a process namespace of its own, where the machine gives one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE

BIN = Path(sys.executable).parent
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (outcome := condition()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)
    return outcome


class Container:
    """A namespace whose process 1 is a keeper."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket, self.log = str(directory / "s"), directory / "log"
        with self.log.open("ab") as log:
            self.outside = subprocess.Popen(
                [
                    *(*UNSHARE, sys.executable, "-m", "netdaemon.keeper", "--"),
                    *(str(BIN / "twistd"), "-n", "--pidfile=", "netdaemon", f"--socket={self.socket}", *options),
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
            )

    @property
    def first(self) -> int:
        """Process 1, as it is called out here."""
        return eventually(lambda: self._children(self.outside.pid))[0]  # type: ignore[no-any-return]

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def children(self) -> dict[int, bytes]:
        """What process 1 is the parent of, with its command line; a zombie has none."""
        return {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self._children(self.first)}

    def ndtool(self, *arguments: str) -> Any:
        """What ndtool prints inside, as JSON."""
        inside = ["nsenter", "-t", str(self.first), "--pid", "--mount"]
        tool = [str(BIN / "ndtool"), "--json", "--socket", self.socket, *arguments]
        done = subprocess.run([*inside, *tool], capture_output=True, timeout=PATIENCE, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def end(self) -> None:
        self.outside.kill()
        self.outside.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Skips where there are no namespaces for us."""
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no process namespace can be had here: {tried.stderr.decode(errors='replace').strip()}")
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def container(directory: Path) -> Iterator[Container]:
    made = Container(directory)
    yield made
    made.end()


def test_a_container(container: Container, directory: Path) -> None:
    """The daemon is started, and again when it is killed; orphans are reaped; SIGTERM ends everything in order."""
    info = eventually(lambda: container.ndtool("info"))
    assert info["keeper_pid"] == 1
    said = directory / "said"
    leaves = "(sleep 0.1; exit 5) & setsid sh -c '(sleep 0.2; exit 6) & exit 0'"
    game = f"{leaves}; trap 'echo told > {said}; exit 3' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
    assert container.ndtool("start", "-d", "--name", "game", "--", "sh", "-c", game)
    for _ in range(2):
        daemon = next(pid for pid, command in container.children().items() if b"twistd" in command)
        os.kill(daemon, signal.SIGKILL)
        again = eventually(lambda gone=info: (now := container.ndtool("info")) and now["pid"] != gone["pid"] and now)
        assert (again["keeper_pid"], again["instance"]) == (1, info["instance"])
        info = again
        (record,) = container.ndtool("list")
        assert (record["name"], record["state"]) == ("game", "running")
    # The daemon and the game; nothing that the game has left, and no zombie.
    eventually(lambda: len(container.children()) == 2 and b"" not in container.children().values())
    assert not said.exists()
    os.kill(container.first, signal.SIGTERM)
    assert container.outside.wait(PATIENCE) == 0
    assert said.read_text() == "told\n"
    text = container.log.read_text()
    assert "asked to end" in text
    assert "Traceback" not in text
    assert not [one for one in directory.iterdir() if one.name.startswith("netdaemon-keeper-")]


def test_shutdown_ends_the_container(container: Container) -> None:
    eventually(lambda: container.ndtool("info"))
    assert container.ndtool("start", "-d", "--", "sleep", "1000")
    told = container.ndtool("shutdown")
    # It is in the container, too: it may come to say so, or be killed with it before.
    assert told is None or told["ended"]
    assert container.outside.wait(PATIENCE) == 0
    assert "asked to end" in container.log.read_text()


def test_a_daemon_that_ends_is_started_again(container: Container) -> None:
    """It was not asked to end everything; the processes go on meanwhile."""
    before = eventually(lambda: container.ndtool("info"))
    assert container.ndtool("start", "-d", "--name", "sleeper", "--", "sleep", "1000")
    daemon = next(pid for pid, command in container.children().items() if b"twistd" in command)
    os.kill(daemon, signal.SIGTERM)
    eventually(lambda: (now := container.ndtool("info")) and now["pid"] != before["pid"])
    assert [record["name"] for record in container.ndtool("list")] == ["sleeper"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (["/nowhere/twistd"], "/nowhere/twistd: No such file or directory"),
        ([str(BIN / "twistd"), "-n", "--pidfile=", "netdaemon", "--keep=1"], "below 4096"),
    ],
)
def test_a_daemon_that_cannot_start(directory: Path, program: list[str], said: str) -> None:
    """The container does not hang: it says what is wrong and fails, for its own manager to see."""
    with (directory / "log").open("wb") as log:
        done = subprocess.run(
            [*UNSHARE, sys.executable, "-m", "netdaemon.keeper", "--", *program],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
        )
    assert done.returncode == 1
    text = (directory / "log").read_text()
    assert said in text
    assert "none has ever come up" in text
