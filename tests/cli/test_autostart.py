"""A daemon for whoever has none: started where it belongs, said so, once."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.cli.autostart import SERVICE_VARIABLES, twistd
from tests.cli.support import PATIENCE, Ndtool
from tests.support import readable

BY_HAND = " ".join((*twistd(), "--nodaemon", "--pidfile=", "netdaemon"))


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory; its daemon, if there is one in the end, is ended."""
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        yield Path(directory)
        socket = Path(directory) / "netdaemon" / "netdaemon.sock"
        if socket.is_socket():
            with blocking.connect(str(socket)) as client:
                pid = client.info().pid
            fd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            assert readable(fd, PATIENCE)
            os.close(fd)


@pytest.fixture
def user(runtime: Path) -> Ndtool:
    """ndtool of a user without a daemon."""
    return Ndtool(None, XDG_RUNTIME_DIR=str(runtime))


def test_a_daemon_is_started_and_said_so(user: Ndtool, runtime: Path) -> None:
    done = user("start", "--name", "x", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    socket = runtime / "netdaemon" / "netdaemon.sock"
    log = runtime / "netdaemon" / "netdaemon.log"
    said = re.fullmatch(
        rf"ndtool: no daemon answered at {socket}: started one \(pid (\d+), log {log}\)\n", done.stderr.decode()
    )
    assert said
    told = user.json("info")
    assert told["pid"] == int(said[1])
    # It is on its own: another session, nothing of ours, nobody else's to read.
    assert os.getsid(told["pid"]) == told["pid"]
    assert os.readlink(f"/proc/{told['pid']}/cwd") == "/"
    assert [os.readlink(f"/proc/{told['pid']}/fd/{number}") for number in (0, 1, 2)] == [
        "/dev/null",
        str(log),
        str(log),
    ]
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert log.stat().st_mode & 0o777 == 0o600
    # The next one finds it, and what the first one started.
    assert [one["name"] for one in user.json("list")] == ["x"]
    assert user.ok("shutdown") == ""
    assert not socket.exists()
    assert "nothing to do" in user.fails(0, "shutdown")


def test_what_a_service_manager_told_us_is_not_told_to_it(user: Ndtool) -> None:
    """It would say that it is ready, or ring a watchdog, in the name of a service that it is not."""
    ours = dict.fromkeys(SERVICE_VARIABLES, "1")
    done = user("--json", "info", env={**ours, "KEPT": "yes"})
    assert done.returncode == 0
    with open(f"/proc/{json.loads(done.stdout)['pid']}/environ", "rb") as file:
        names = {one.partition(b"=")[0].decode() for one in file.read().split(b"\0")}
    assert "KEPT" in names
    assert not names & set(SERVICE_VARIABLES)


def test_many_at_once_start_one(user: Ndtool) -> None:
    running = [user.popen("--json", "info") for _ in range(8)]
    pids: set[bytes] = set()
    said = 0
    for process in running:
        with process:
            out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
            said += err.count(b"started one")
            pids |= set(re.findall(rb'"pid": (\d+)', out))
    assert len(pids) == 1
    assert said == 1


@pytest.mark.parametrize("command", [["list"], ["start", "true"], ["send", "x", "y"], ["info"]])
def test_none_is_started_where_that_is_not_wanted(user: Ndtool, runtime: Path, command: list[str]) -> None:
    line = user.fails(125, "--no-autostart", *command)
    socket = runtime / "netdaemon" / "netdaemon.sock"
    assert line == f"no daemon answers at {socket}; start one: {BY_HAND} --socket={socket}"
    assert not list(runtime.iterdir())


def test_none_is_started_at_a_socket_that_was_named(user: Ndtool, runtime: Path) -> None:
    named = runtime / "named"
    for line in (
        user.fails(125, "--socket", str(named), "list"),
        user.fails(125, "list", env={"NETDAEMON_SOCKET": str(named)}),
    ):
        assert line == f"no daemon answers at {named}; start one: {BY_HAND} --socket={named}"
    assert not list(runtime.iterdir())


def test_none_is_started_to_shut_it_down_or_to_complete(user: Ndtool, runtime: Path) -> None:
    assert "nothing to do" in user.fails(0, "shutdown")
    done = user(env={"_NDTOOL_COMPLETE": "bash_complete", "COMP_WORDS": "ndtool attach ", "COMP_CWORD": "2"})
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"", b"")
    assert not list(runtime.iterdir())


def test_a_place_that_is_not_safe_is_refused(user: Ndtool, runtime: Path) -> None:
    (runtime / "elsewhere").mkdir()
    (runtime / "netdaemon").symlink_to(runtime / "elsewhere")
    for command in (["list"], ["start", "true"], ["shutdown"]):
        line = user.fails(125, *command)
        assert "symbolic link" in line
        assert "--socket" in line
    assert not list((runtime / "elsewhere").iterdir())


def test_a_daemon_that_does_not_come_up_is_told_with_the_end_of_its_log(user: Ndtool, runtime: Path) -> None:
    (runtime / "netdaemon").mkdir(mode=0o700)
    (runtime / "netdaemon" / "netdaemon.sock").mkdir()
    done = user("list")
    assert done.returncode == 125
    lines = done.stderr.decode().splitlines()
    assert re.match(r"ndtool: a daemon was started and ended with \d+; its log is ", lines[0])
    assert any("is no socket" in line for line in lines[1:])
    assert len(lines) <= 6


def test_a_socket_left_by_a_dead_daemon_is_no_obstacle(user: Ndtool, runtime: Path) -> None:
    import socket

    (runtime / "netdaemon").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime / "netdaemon" / "netdaemon.sock"))
    done = user("list")
    assert done.returncode == 0
    assert b"started one" in done.stderr
