"""label, prune, reload; what list and inspect show of what was declared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from netdaemon.cli import output
from tests.cli.support import Ndtool, Terminal, eventually


def run(ndtool: Ndtool, name: str, *options: str) -> None:
    ndtool.ok("start", "-d", "--name", name, *options, "--", "sleep", "100")


def ended(ndtool: Ndtool, name: str, *options: str) -> None:
    ndtool("start", "--name", name, *options, "--", "true")


# --- label ---


def test_labels_are_set_and_removed(ndtool: Ndtool) -> None:
    run(ndtool, "x", "--label", "a=1", "--label", "b=2")
    assert ndtool.ok("label", "x", "a=3", "c=", "b-") == "x: a=3 c=\n"
    assert ndtool.json("inspect", "x")["labels"] == ["a=3", "c="]
    assert ndtool.json("label", "x", "a-", "c-")["labels"] == []
    assert ndtool.ok("label", "x", "nothing-") == "x: no labels\n"
    assert ndtool.json("inspect", "x")["state"] == "running"


def test_labels_of_several(ndtool: Ndtool) -> None:
    for name in ("x-1", "x-2", "y"):
        run(ndtool, name, "--label", f"n={name}")
    assert ndtool.ok("label", "x-*", "k=v") == "x-1: n=x-1 k=v\nx-2: n=x-2 k=v\n"
    assert ndtool.ok("label", "-l", "k=v", "n-") == "x-1: k=v\nx-2: k=v\n"
    assert len(ndtool.json("label", "--all", "all=yes")) == 3


def test_labels_that_cannot_be(ndtool: Ndtool) -> None:
    run(ndtool, "x")
    assert "Missing argument 'KEY=VALUE'" in ndtool.fails(125, "label", "x")
    assert "Missing argument 'PROCESS...'" in ndtool.fails(125, "label", "a=b")
    assert "netdaemon's own" in ndtool.fails(125, "label", "x", "nd.x=1")


# --- prune ---


def test_prune(ndtool: Ndtool) -> None:
    for name in ("a-1", "a-2", "b"):
        ended(ndtool, name, "--label", f"is={name[0]}")
    run(ndtool, "runs")
    run(ndtool, "waits", "--restart", "always,delay=1h")
    ndtool.ok("kill", "waits")
    eventually(lambda: ndtool.json("inspect", "waits")["state"] == "backoff")
    assert ndtool.ok("prune", "--older", "1h") == "no processes removed\n"
    assert ndtool.ok("prune", "-n", "a-*") == "a-1\na-2\n2 processes would be removed\n"
    assert ndtool.ok("prune", "a-1") == "1 process removed\n"
    told = ndtool.json("prune", "--dry-run")
    assert (told["count"], told["dry_run"], [one["name"] for one in told["processes"]]) == (2, True, ["a-2", "b"])
    assert ndtool.json("prune", "-l", "is=b") == {"count": 1, "dry_run": False}
    assert ndtool.ok("prune") == "1 process removed\n"
    assert [one["name"] for one in ndtool.json("list")] == ["runs", "waits"]
    assert "a duration" in ndtool.fails(125, "prune", "--older", "7")


# --- reload ---


def test_reload(ndtool: Ndtool, tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    ndtool.ok("start", "-d", "--name", "x", "--log", str(log), "--", "cat")
    log.rename(tmp_path / "moved")
    assert ndtool.ok("reload") == ""
    eventually(log.exists)


# --- list ---


def test_labels_and_states_in_the_list(ndtool: Ndtool) -> None:
    run(ndtool, "runs", "--label", "a=1", "--label", "b=x\x1by")
    ended(ndtool, "over")
    lines = ndtool.ok("list", "--labels").splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "PID", "AGE", "EXIT", "LABELS", "COMMAND"]
    assert r"  a=1 b=x\x1by  sleep 100" in lines[1]
    assert [one["name"] for one in ndtool.json("list", "--state", "running")] == ["runs"]
    assert len(ndtool.json("list", "--state", "running", "--state", "exited")) == 2
    assert [one["name"] for one in ndtool.json("list", "-l", "a")] == ["runs"]
    assert ndtool.json("list", "-l", "a=2") == []
    assert "nonsense" in ndtool.fails(125, "list", "--state", "nonsense")


def test_colours_are_for_terminals_that_want_them(ndtool: Ndtool) -> None:
    run(ndtool, "x")
    assert "\x1b" not in ndtool.ok("list")
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal(ndtool, "list", env=env) as terminal:
            assert terminal.wait() == 0
            assert (b"\x1b[32mrunning" in terminal.seen) is coloured


def test_a_backoff_is_listed_with_how_it_ended(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--restart", "on-failure,delay=1h", "--", "false")
    eventually(lambda: ndtool.json("inspect", "x")["state"] == "backoff")
    assert re.search(r"x +backoff +\d+s +1 +false", ndtool.ok("list"))
    facts = dict(line.split(None, 1) for line in ndtool.ok("inspect", "x").splitlines())
    assert re.fullmatch(r"backoff: exited with 1; starts again in \d+\.\d s", facts["state"])
    assert facts["restart"] == "on-failure, after 1h to 1h"
    assert facts["restarts"] == "1 since it last stayed up"


# --- inspect ---


def test_inspect_shows_what_was_declared(ndtool: Ndtool, tmp_path: Path) -> None:
    run(
        ndtool,
        "x",
        "--stop",
        r"stdin:quit\n",
        "--stop",
        "wait:5s",
        "--stop",
        "signal:int:tree",
        "--restart",
        "always,codes=0/143,burst=5",
        "--ready",
        "Done (",
        "--ready-timeout",
        "1m",
        "--watchdog",
        "5s",
        "--log",
        f"{tmp_path}/x.log,size=1M,age=1h,required",
    )
    facts = dict(line.split(None, 1) for line in ndtool.ok("inspect", "--stats", "x").splitlines())
    assert facts["state"] == "starting"
    assert facts["stop"] == r'stdin "quit\n"; wait 5s; signal INT (tree)'
    assert facts["restart"] == "always, after 100ms to 1m, no failure: 0 143, at most 5 in 1m"
    assert facts["ready"] == "once a line has 'Done (', within 1m"
    assert facts["watchdog"] == "every 5s"
    assert facts["log"] == f"{tmp_path}/x.log, set aside at 1M or 1h, 5 kept, compressed, required"
    assert facts["logged"] == "up to 0"
    assert facts["processes"].startswith("1; ")
    told = ndtool.json("inspect", "--stats", "x")
    assert told["stats"]["processes"] == 1
    assert told["logged"]["offset"] == 0
    assert told["stop"][0] == {"stdin": "quit\n"}


def test_inspect_several(ndtool: Ndtool) -> None:
    run(ndtool, "x")
    run(ndtool, "y")
    assert [one["name"] for one in ndtool.json("inspect", "y", "x")] == ["y", "x"]
    assert ndtool.ok("inspect", "--all").count("\n\nid ") == 1
    done = ndtool("--json", "inspect", "x", "nobody")
    assert done.returncode == 125
    assert [one["name"] for one in json.loads(done.stdout)] == ["x"]


# --- wait ---


def test_wait_for_several(ndtool: Ndtool) -> None:
    for name, code in (("zero", 0), ("three", 3), ("four", 4)):
        ndtool.ok("start", "-d", "--name", name, "--", "sh", "-c", f"exit {code}")
    assert ndtool("wait", "zero", "four", "three").returncode == 4
    assert ndtool("wait", "zero").returncode == 0
    done = ndtool("wait", "--json", "--all")
    assert done.returncode == 3
    assert [one["code"] for one in json.loads(done.stdout)] == [0, 3, 4]
    run(ndtool, "long")
    done = ndtool("wait", "--timeout", "0.1", "long", "three")
    assert (done.returncode, done.stderr) == (124, b"ndtool: long is not exited after 0.1 s\n")


def test_a_long_wait_is_told_on_a_terminal(ndtool: Ndtool) -> None:
    run(ndtool, "x")
    with Terminal(ndtool, "wait", "x") as terminal:
        terminal.expect(rb"\rwaiting for x to be exited \(\d+s\)\x1b\[K")
        ndtool.ok("kill", "x")
        assert terminal.wait() == 128 + 15
        assert terminal.seen.endswith(b"\r\x1b[K")


# --- words ---


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0"), (1023, "1023"), (1024, "1k"), (1536, "1.5k"), (10 << 20, "10M"), (5 << 40, "5120G")],
)
def test_a_size(count: int, told: str) -> None:
    assert output.size(count) == told


def test_a_few_of_many() -> None:
    assert output.few(["a", "b", "c"]) == "a, b, c"
    assert output.few(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
