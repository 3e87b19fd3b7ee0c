"""What start says of how a process is stopped, restarted, known to be ready and logged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from netdaemon.cli import declaring
from netdaemon.wire import commands, specs
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from tests.cli.support import PATIENCE, Ndtool

SURELY = click.Context(click.Command("x"))


def converted(kind: click.ParamType[Any], text: str) -> Any:
    value = kind.convert(text, None, SURELY)
    # A value of its own is taken as it is: click converts defaults, too.
    assert kind.convert(value, None, SURELY) is value
    return value


def test_the_limits_are_those_of_the_wire() -> None:
    assert (declaring.DAY, declaring.WATCHDOG_MIN) == (specs.WAIT_MAX, specs.WATCHDOG_MIN)
    assert declaring.CENTURY == commands.AGE_MAX


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (r"stdin:quit\n", Step(stdin=b"quit\n")),
        (r"stdin:a:b \\ \t\r\e\0\x7F\xff", Step(stdin=b"a:b \\ \t\r\x1b\0\x7f\xff")),
        ("stdin:grüße", Step(stdin="grüße".encode())),
        ("wait:1500ms", Step(wait=1500)),
        ("signal:TERM", Step(signal=15)),
        ("signal:sigint:tree", Step(signal=2, scope=Scope.TREE)),
        ("signal:9:process", Step(signal=9, scope=Scope.PROCESS)),
        ("kill", Step(kill=True)),
    ],
)
def test_a_step(text: str, step: Step) -> None:
    assert converted(declaring.StopStep(), text) == step


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a step is"),
        ("stdin:", "a step is"),
        ("stdin", "a step is"),
        ("kill:9", "a step is"),
        ("jump", "a step is stdin:TEXT, wait:DURATION, signal:NAME or kill"),
        (r"stdin:a\q", r"\q stands for nothing"),
        ("stdin:a\\", "stands for nothing"),
        (r"stdin:\x1", "stands for nothing"),
        ("wait:5", "ms, s, m, h or d"),
        ("wait:2d", "24h"),
        ("signal:NOTHING", "no signal"),
        ("signal:0", "1 to 64"),
        ("signal:TERM:all", "process, group, tree"),
        ("stdin:" + "x" * 5000, "4096"),
    ],
)
def test_what_is_no_step(text: str, what: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        declaring.StopStep().convert(text, None, SURELY)
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("text", "restart"),
    [
        ("always", Restart(policy=Policy.ALWAYS)),
        ("always,delay=1h", Restart(policy=Policy.ALWAYS, delay=3600_000, longest=3600_000)),
        ("on-failure,codes=0/143", Restart(policy=Policy.ON_FAILURE, codes=(0, 143))),
        (
            "unless-stopped,delay=1s,longest=5m,settled=1h,burst=5,interval=1d",
            Restart(
                policy=Policy.UNLESS_STOPPED,
                delay=1000,
                longest=300_000,
                settled=3600_000,
                burst=5,
                interval=24 * 3600_000,
            ),
        ),
    ],
)
def test_a_policy(text: str, restart: Restart) -> None:
    assert converted(declaring.RestartPolicy(), text) == restart


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "policy"),
        ("sometimes", "on-failure"),
        ("always,delay", "key=value"),
        ("always,dealy=1s", "did you mean"),
        ("always,delay=1", "Say the unit"),
        ("always,burst=x", "burst"),
        ("always,codes=0/x", "codes"),
        ("always,delay=5m,longest=1s", "longest"),
    ],
)
def test_what_is_no_policy(text: str, what: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        declaring.RestartPolicy().convert(text, None, SURELY)
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("text", "log"),
    [
        ("/l/x.log", Log(path="/l/x.log")),
        ("/l/a,b", Log(path="/l/a,b")),
        ("/l/a,size", Log(path="/l/a,size")),
        (
            "/l/a,b,size=64k,age=1d,files=0,compress=no,required",
            Log(path="/l/a,b", size=65536, age=24 * 3600_000, files=0, compress=False, required=True),
        ),
        ("/l/x,size=4096,compress=yes", Log(path="/l/x", size=4096)),
    ],
)
def test_a_log(text: str, log: Log) -> None:
    assert converted(declaring.LogFile(), text) == log


def test_a_log_is_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert converted(declaring.LogFile(), "./x.log").path == os.path.realpath(tmp_path / "x.log")


@pytest.mark.parametrize(
    ("text", "what"), [("/l/x,size=1", "4k"), ("/l/x,compress=maybe", "true or false"), ("/l/x,age=1", "unit")]
)
def test_what_is_no_log(text: str, what: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        declaring.LogFile().convert(text, None, SURELY)
    assert what in caught.value.message


def test_ready() -> None:
    assert declaring.ready_of(SURELY, None, None, False, None) is None
    assert declaring.ready_of(SURELY, "x", None, False, 5) == Ready(output="x", timeout=5)
    assert declaring.ready_of(SURELY, None, "x.*", False, None) == Ready(pattern="x.*")
    assert declaring.ready_of(SURELY, None, None, True, None) == Ready(notify=True)
    for wrong in (("x", "y", False, None), ("x", None, True, None), (None, None, False, 5)):
        with pytest.raises(click.UsageError):
            declaring.ready_of(SURELY, *wrong)


# --- as a user has it ---


def test_start_waits_until_it_is_ready(ndtool: Ndtool) -> None:
    options = ["-d", "--wait-ready", "--ready-pattern", "^up [0-9]+$"]
    ndtool.ok("start", *options, "--name", "x", "--", "sh", "-c", "echo up; sleep 0.3; echo up 1; sleep 100")
    assert ndtool.json("inspect", "x")["state"] == "running"
    line = ndtool.fails(125, "start", *options, "--name", "y", "--", "true")
    assert line.startswith("y was started, and exited before it was ready; see how it ended: ndtool inspect y")
    assert "for -d" in ndtool.fails(125, "start", "--wait-ready", "true")


def test_what_is_run_here_goes_on_over_restarts(ndtool: Ndtool) -> None:
    """Its output stays ours when a generation has closed its own."""
    code = "read n; echo got $n; exec >&-; exit $n"
    with ndtool.popen("start", "--name", "x", "--restart", "on-failure,delay=0ms", "--", "sh", "-c", code) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got 1\n"
        ndtool("wait", "--for", "running", "x")
        while process.poll() is None:
            ndtool("send", "x", "0")
        assert process.stdout.read() == b"got 0\n"
        assert process.wait(PATIENCE) == 0
