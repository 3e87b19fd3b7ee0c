"""stop and restart, and choosing several processes: what they print, do and end with."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.wire.specs import Step
from tests.cli.support import PATIENCE, Daemon, Ndtool, Terminal, eventually

# Ends when it is told to, by its input.
OBEYS = ["sh", "-c", "read line"]
QUIT = (Step(stdin=b"quit\n"), Step(wait=60_000), Step(kill=True))
# Is deaf to all but SIGKILL.
DEAF = ["sh", "-c", "trap '' TERM; echo deaf; sleep 100 & wait; wait"]


@pytest.fixture
def three(ndtool: Ndtool, daemon: Daemon) -> Ndtool:
    """web-1 and web-2, which obey, and db, which need not."""
    with daemon.client() as client:
        for name in ("web-1", "web-2", "db"):
            client.start_detached(OBEYS, env={"PATH": "/usr/bin:/bin"}, name=name, labels={"kind": name[:2]}, stop=QUIT)
    return ndtool


def states(ndtool: Ndtool) -> dict[str, str]:
    return {one["name"]: one["state"] for one in ndtool.json("list")}


# --- stop ---


def test_stop_says_what_worked(three: Ndtool) -> None:
    assert re.fullmatch(r'web-1: stopped by stdin "quit\\n" after \d+\.\d s\n', three.ok("stop", "web-1"))
    assert three.ok("stop", "web-1") == "web-1: already stopped\n"
    told = three.json("stop", "web-2")
    assert (told["process"]["state"], told["step"], told["already"]) == ("exited", 'stdin "quit\\n"', False)
    assert three.json("stop", "web-2")["already"] is True
    assert states(three)["db"] == "running"


def test_stop_by_other_steps(three: Ndtool) -> None:
    said = three.ok("stop", "--step", "signal:usr1", "--step", "wait:1m", "db")
    assert said.startswith("db: stopped by signal USR1 after ")
    assert three.json("inspect", "db")["signal"] == 10
    assert "is r" not in three.fails(125, "stop", "--step", "wait:5s", "web-1")
    assert "stdin:TEXT" in three.fails(125, "stop", "--step", "nonsense", "web-1")
    assert "--now" in three.fails(125, "stop", "--now", "--step", "kill", "web-1")


def test_stop_now_though_a_stop_takes_its_time(ndtool: Ndtool, daemon: Daemon) -> None:
    stop = (Step(signal=15), Step(wait=3600_000), Step(kill=True))
    with daemon.client() as client:
        process = client.start(DEAF, env={"PATH": "/usr/bin:/bin"}, name="deaf", stop=stop)
        process.next_event(30)
    line = ndtool.fails(124, "stop", "--timeout", "0.2", "deaf")
    assert line == "deaf has not stopped after 0.2 s"
    assert ndtool.json("inspect", "deaf")["state"] == "stopping"
    assert ndtool.ok("stop", "--now", "deaf").startswith("deaf: stopped by ")
    assert ndtool.json("inspect", "deaf")["signal"] == 9


def test_each_step_is_told_as_it_is_taken(three: Ndtool) -> None:
    done = three("stop", "-v", "web-1")
    lines = done.stderr.decode().splitlines()
    assert lines[:2] == ["ndtool: web-1: stopping", 'ndtool: web-1: stdin "quit\\n"']
    # Without, a program is not bothered.
    assert three("stop", "web-2").stderr == b""


def test_a_terminal_has_one_line_that_is_written_over(three: Ndtool) -> None:
    with Terminal(three, "stop", "--step", "wait:300ms", "--step", r"stdin:quit\n", "web-1") as terminal:
        assert terminal.wait() == 0
        seen = terminal.seen
    assert b"\rweb-1: wait 300ms\x1b[K" in seen
    line = seen.rpartition(b"\x1b[K")[2]
    assert line.startswith(b'web-1: stopped by stdin "quit\\n"')
    assert seen.count(b"\n") == 1


# --- restart ---


def test_restart_runs_again(three: Ndtool) -> None:
    before = three.json("inspect", "db")
    said = three.ok("restart", "db")
    after = three.json("inspect", "db")
    assert said.startswith(f"db: running again as pid {after['pid']}, generation 2, after ")
    assert (after["id"], after["generation"]) == (before["id"], 2)
    assert after["pid"] != before["pid"]
    three.ok("stop", "db")
    assert three.json("restart", "db")["generation"] == 3


def test_restart_waits_until_it_is_ready(ndtool: Ndtool) -> None:
    code = "read line; echo up; sleep 100"
    ndtool.ok("start", "-d", "--name", "x", "--ready", "up", "--", "sh", "-c", code)
    assert "x is not ready after 0.2 s" in ndtool.fails(124, "restart", "--timeout", "0.2", "x")
    assert "starting again" in ndtool.ok("restart", "--no-wait", "x")
    with ndtool.popen("restart", "x") as restarting:
        with ndtool.popen("wait", "--for", "running", "x") as waiting:
            while restarting.poll() is None:
                ndtool("send", "x", "go")
            assert waiting.wait(30) == 0
        assert restarting.returncode == 0
        assert restarting.stdout is not None
        assert b"running again" in restarting.stdout.read()


def test_a_restart_that_cannot_be_is_told(three: Ndtool) -> None:
    assert "there is no process" in three.fails(125, "restart", "nobody")


# --- choosing ---


def test_ids_names_and_patterns(three: Ndtool) -> None:
    id = three.json("inspect", "db")["id"]
    lines = three.ok("stop", id[:8], "web-*", "web-1").splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted([id[:8], "web-1", "web-2"])
    assert set(states(three).values()) == {"exited"}


def test_labels_and_all(three: Ndtool) -> None:
    assert three.ok("stop", "-l", "kind=d*").startswith("db: stopped")
    assert states(three) == {"web-1": "running", "web-2": "running", "db": "exited"}
    assert three.ok("stop", "-l", "kind=we", "web-1").startswith("web-1: stopped")
    assert three.ok("kill", "-s", "USR1", "--all") == ""
    three("wait", "web-2")
    assert {one["name"]: one.get("signal") for one in three.json("list")} == {"web-1": None, "web-2": 10, "db": None}
    assert len(three.json("stop", "*")) == 3
    # Only those that there is something to do with.
    done = three("stop", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"ndtool: no process matches: nothing to do\n")
    assert three.json("stop", "--all") == []
    assert sorted(three.ok("rm", "-l", "kind").splitlines()) == ["db", "web-1", "web-2"]


def test_a_word_that_matches_nothing_is_an_error_and_the_others_are_tried(three: Ndtool) -> None:
    done = three("stop", "nobody", "none*", "-l", "kind=db", "web-1", "db")
    assert done.returncode == 125
    assert done.stdout.startswith(b"db: stopped")
    assert done.stderr.decode().splitlines() == [
        "ndtool: there is no process 'nobody'; see what there is: ndtool list",
        "ndtool: 'none*' matches nothing that has these labels; see what there is: ndtool list",
        "ndtool: 'web-1' matches nothing that has these labels; see what there is: ndtool list",
    ]
    assert states(three)["web-1"] == "running"
    error = json.loads(three("--json", "stop", "none*").stderr)["error"]
    assert (error["code"], error["process"], error["exit"]) == ("no-such-process", "none*", 125)


@pytest.mark.parametrize("command", ["stop", "restart", "kill", "rm"])
def test_nothing_or_too_much_said(ndtool: Ndtool, command: str) -> None:
    assert "Missing argument" in ndtool.fails(125, command)
    assert "--all is all processes" in ndtool.fails(125, command, "--all", "x")


def test_kill_of_several_needs_s(three: Ndtool) -> None:
    assert "say -s SIGNAL" in three.fails(125, "kill", "web-1", "web-2")
    assert "say -s SIGNAL" in three.fails(125, "kill", "web-1", "web-2", "db")
    told = three.json("kill", "-s", "KILL", "web-1", "web-2")
    assert [(one["process"], one["signal"]) for one in told] == [("web-1", 9), ("web-2", 9)]


def test_send_to_several(three: Ndtool) -> None:
    assert "Missing argument 'TEXT'" in three.fails(125, "send", "web-*")
    assert "extra argument" in three.fails(125, "send", "--all", "a", "b")
    assert [one["accepted"] for one in three.json("send", "web-*", "bye")] == [4, 4]
    assert three.ok("send", "-l", "kind=db", "bye") == ""
    for name in ("web-1", "web-2", "db"):
        assert three("wait", name).returncode == 0


def test_all_are_those_too_that_wait_to_be_started_again(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--restart", "always,delay=1h", "--", "true")
    eventually(lambda: ndtool.json("inspect", "x")["state"] == "backoff")
    assert ndtool.ok("stop", "--all").startswith("x: stopped")
    assert ndtool.json("inspect", "x")["state"] == "exited"


def test_rm_by_force_ends_what_would_be_started_again(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--restart", "always,delay=0ms", "--", "sleep", "100")
    done = ndtool("rm", "--all")
    assert (done.returncode, done.stdout) == (0, b"")
    assert ndtool.ok("rm", "-f", "x") == "x\n"
    assert ndtool.json("list") == []


# --- when the daemon goes ---


@pytest.fixture
def deaf() -> Iterator[tuple[Daemon, Ndtool]]:
    """A daemon of its own, and under it two processes whose stops take for ever."""
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        daemon = Daemon(Path(directory))
        stop = (Step(signal=15), Step(wait=3600_000), Step(kill=True))
        with daemon.client() as client:
            for name in ("one", "two"):
                client.start(DEAF, env={"PATH": "/usr/bin:/bin"}, name=name, stop=stop).next_event(30)
        try:
            yield daemon, Ndtool(daemon.socket)
        finally:
            daemon.stop()


def test_a_daemon_that_goes_is_told_once(deaf: tuple[Daemon, Ndtool]) -> None:
    daemon, ndtool = deaf
    with ndtool.popen("--no-reconnect", "stop", "one", "two") as stopping:
        eventually(lambda: all(one["state"] == "stopping" for one in ndtool.json("list")))
        daemon.process.kill()
        assert stopping.wait(PATIENCE) == 125
        assert stopping.stderr is not None
        assert stopping.stderr.read().count(b"\n") == 1


def test_a_stop_goes_on_with_the_next_daemon(deaf: tuple[Daemon, Ndtool]) -> None:
    daemon, ndtool = deaf
    with ndtool.popen("stop", "one", "two") as stopping:
        eventually(lambda: all(one["state"] == "stopping" for one in ndtool.json("list")))
        daemon.process.kill()
        daemon.process.wait()
        daemon.__init__(Path(daemon.socket).parent)  # type: ignore[misc]  # it starts the next one
        ndtool.ok("stop", "--now", "--all")
        assert stopping.wait(PATIENCE) == 0
        assert stopping.stdout is not None
        # By its own steps or by the other's: whichever it comes to know of.
        assert sorted(line.partition(b": ")[0] for line in stopping.stdout if b"stopped" in line) == [b"one", b"two"]
