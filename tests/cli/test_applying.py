"""ndtool apply, as a user has it: what it prints, does and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netdaemon.apply import carrying
from netdaemon.cli import applying
from tests.cli.support import Daemon, Ndtool, Terminal

TWO = """
[set]
name = "two"
[process.a]
command = "sleep 100"
inherit = ["PATH"]
labels = { n = "1" }
[process.b]
command = "sleep 100"
inherit = ["PATH"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_numbers_are_those_of_who_uses_them() -> None:
    assert (applying.AT_ONCE, applying.AT_ONCE_MAX) == (carrying.AT_ONCE, carrying.AT_ONCE_MAX)


def test_from_nothing_to_nothing(ndtool: Ndtool, file: Path) -> None:
    assert ndtool.ok("apply", "--dry-run", str(file)) == "+ start a\n+ start b\n"
    assert ndtool.json("list") == []
    assert sorted(ndtool.ok("apply", str(file)).splitlines()) == ["+ start a", "+ start b"]
    a, b = (ndtool.json("inspect", name) for name in "ab")
    assert (a["labels"], a["state"], a["key"]) == (["n=1"], "running", "apply/two/a")
    assert ndtool.ok("apply", str(file)) == "= unchanged 2\nnothing to do\n"

    edit(file, 'n = "1"', 'n = "2"')
    assert ndtool.ok("apply", str(file)) == "~ change a: labels\n= unchanged 1\n"
    changed = ndtool.json("inspect", "a")
    assert (changed["labels"], changed["pid"]) == (["n=2"], a["pid"])
    assert ndtool.ok("apply", str(file)) == "= unchanged 2\nnothing to do\n"

    edit(file, '[process.b]\ncommand = "sleep 100"', '[process.b]\ncommand = "sleep 101"')
    assert ndtool.ok("apply", "-j", "1", str(file)) == "! restart b: argv\n= unchanged 1\n"
    restarted = ndtool.json("inspect", "b")
    assert (restarted["id"], restarted["argv"], restarted["generation"]) == (b["id"], ["sleep", "101"], 2)
    assert ndtool.ok("apply", str(file)) == "= unchanged 2\nnothing to do\n"

    file.write_text('[set]\nname = "two"\n[process]\n')
    assert sorted(ndtool.ok("apply", str(file)).splitlines()) == ["- remove a", "- remove b"]
    assert ndtool.json("list") == []
    assert ndtool.ok("apply", str(file)) == "nothing to do\n"


def test_what_was_ended_by_hand_stays_so(ndtool: Ndtool, file: Path) -> None:
    ndtool.ok("apply", str(file))
    ndtool.ok("kill", "a", "KILL")
    ndtool("wait", "a")
    assert ndtool.ok("apply", str(file)) == "= leave a: it has exited (by SIGKILL)\n= unchanged 1\nnothing to do\n"


def test_for_programs(ndtool: Ndtool, file: Path) -> None:
    edit(file, 'command = "sleep 100"\ninherit = ["PATH"]\nlabels', 'command = "/nowhere/x"\nlabels')
    told = ndtool.json("apply", "-n", str(file))
    assert (told["sets"], told["dry_run"]) == (["two"], True)
    assert [(one["action"], one["name"]) for one in told["actions"]] == [("start", "a"), ("start", "b")]
    done = ndtool("--json", "apply", str(file))
    assert (done.returncode, done.stderr) == (125, b"")
    told = json.loads(done.stdout)
    a, b = sorted(told["actions"], key=lambda one: one["name"])
    assert (b["done"], b["process"]) == (True, ndtool.json("inspect", "b")["id"])
    assert (a["done"], a["error"]["code"], a["error"]["stage"]) == (False, "launch-failed", "exec")


def test_what_fails_is_told_and_the_rest_is_done(ndtool: Ndtool, file: Path) -> None:
    edit(file, 'command = "sleep 100"\ninherit = ["PATH"]\nlabels', 'command = "/nowhere/x"\nlabels')
    done = ndtool("apply", str(file))
    assert (done.returncode, done.stdout) == (125, b"+ start b\n")
    assert done.stderr.startswith(b"ndtool: a: start: ")
    assert b"/nowhere/x" in done.stderr


def test_faults_are_told_at_once_and_nothing_is_done(ndtool: Ndtool, file: Path, tmp_path: Path) -> None:
    edit(file, "labels", "lables")
    other = tmp_path / "other.toml"
    other.write_text("[process.x\n")
    done = ndtool("apply", str(file), str(other))
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.decode().splitlines() == [
        "ndtool: 2 faults found, nothing was done:",
        f'  {file}: process.a.lables: there is no such key; did you mean "labels"?',
        f"  {other}:1:11: Expected ']' at the end of a table declaration",
    ]
    assert ndtool.json("list") == []
    done = ndtool("--json", "apply", str(file))
    error = json.loads(done.stderr)["error"]
    assert (error["code"], len(error["detail"]), error["exit"]) == ("spec-faults", 1, 125)


def test_a_name_of_another_is_a_fault(ndtool: Ndtool, file: Path) -> None:
    process = ndtool.ok("start", "-d", "--name", "b", "--", "sleep", "100").strip()
    done = ndtool("apply", str(file))
    assert done.returncode == 125
    assert f"process.b: the name belongs to process {process}, which is not of the set 'two'" in done.stderr.decode()
    assert len(ndtool.json("list")) == 1


def test_no_daemon_is_started_for_a_look(file: Path, tmp_path: Path) -> None:
    alone = Ndtool(None, XDG_RUNTIME_DIR=str(tmp_path))
    assert alone.ok("apply", "-n", str(file)) == "+ start a\n+ start b\n"
    assert not list((tmp_path / "netdaemon").glob("*.sock"))


def test_a_terminal_is_told_what_is_just_being_done(ndtool: Ndtool, daemon: Daemon, file: Path) -> None:
    with Terminal(ndtool, "apply", str(file)) as terminal:
        assert terminal.wait() == 0
        assert b"ndtool: a: starting" in terminal.seen
        assert b"+ start a" in terminal.seen
