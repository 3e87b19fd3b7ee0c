"""What is declared, from the values that programs have at hand."""

from __future__ import annotations

from typing import Any

import pytest

from netdaemon.declared import Declared, argv_of, declared, os_text, steps_of
from netdaemon.errors import BadRequest
from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox


@pytest.mark.parametrize(
    ("name", "value", "made"),
    [
        ("path", b"/\xff", "/\udcff"),
        ("env", {"A": "1", b"B": b"\xfe"}, ("A=1", "B=\udcfe")),
        ("env", ["A=1", b"B=2"], ("A=1", "B=2")),
        ("env", {}, ()),
        ("labels", {"a": "b", "c": ""}, ("a=b", "c=")),
        ("labels", {}, ()),
        ("pty", True, Pty()),
        ("pty", False, None),
        ("pty", Pty(rows=1), Pty(rows=1)),
        ("stop", [Step(kill=True)], (Step(kill=True),)),
        ("restart", "unless-stopped", Restart(policy=Policy.UNLESS_STOPPED)),
        ("restart", Policy.NEVER, Restart(policy=Policy.NEVER)),
        ("restart", Restart(policy=Policy.ALWAYS, delay=5), Restart(policy=Policy.ALWAYS, delay=5)),
        ("ready", Ready(notify=True), Ready(notify=True)),
        ("log", "/var/log/x", Log(path="/var/log/x")),
        ("log", b"/\xff", Log(path="/\udcff")),
        ("log", Log(path="/x", files=2), Log(path="/x", files=2)),
        ("run_as", "games", RunAs(user="games")),
        ("run_as", 992, RunAs(user="992")),
        ("run_as", 0, RunAs(user="0")),
        ("run_as", RunAs(nice=5), RunAs(nice=5)),
        ("limits", {"nofile": 1024, "core": "unlimited"}, ("nofile=1024", "core=unlimited")),
        ("limits", {"nproc": (100, 200), "cpu": ("1", "unlimited")}, ("nproc=100:200", "cpu=1:unlimited")),
        ("limits", {"nproc": [100, 200], "as": "5:6"}, ("nproc=100:200", "as=5:6")),
        ("limits", {}, ()),
        (
            "cgroup",
            {"memory.max": 1 << 29, "cpu.max": "50000/100000"},
            ("memory.max=536870912", "cpu.max=50000/100000"),
        ),
        ("cgroup", {}, ()),
        ("sandbox", "private", Sandbox(profile=Profile.PRIVATE)),
        ("sandbox", Profile.PRIVATE, Sandbox(profile=Profile.PRIVATE)),
        (
            "sandbox",
            Sandbox(profile=Profile.PRIVATE, network=True),
            Sandbox(profile=Profile.PRIVATE, network=True),
        ),
        ("watchdog", 500, 500),
        ("name", "n", "n"),
        ("merge", False, False),
    ],
)
def test_what_comes_of_it(name: str, value: object, made: object) -> None:
    assert declared({name: value}) == {name: made}


def test_nothing_is_nothing() -> None:
    names: dict[str, Any] = dict.fromkeys(Declared.__annotations__)
    assert declared(names) == names
    assert declared({}) == {}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("env", {"A": 1}, TypeError),
        ("path", 7, TypeError),
        ("labels", {"a": 1}, TypeError),
        ("pty", "xterm", TypeError),
        ("stop", ["TERM"], TypeError),
        ("restart", 1, TypeError),
        ("restart", "sometimes", ValueError),
        ("ready", "listening", TypeError),
        ("log", 3, TypeError),
        ("log", "relative", BadRequest),
        ("run_as", True, TypeError),
        ("run_as", b"games", TypeError),
        ("run_as", -1, BadRequest),
        ("run_as", 4294967295, BadRequest),
        ("run_as", "a b", BadRequest),
        ("limits", ("nofile=1",), TypeError),
        ("limits", "nofile=1", TypeError),
        ("limits", {"nofile": True}, TypeError),
        ("limits", {"nofile": None}, TypeError),
        ("limits", {"nofile": 1.5}, TypeError),
        ("limits", {"nofile": (1, False)}, TypeError),
        ("limits", {"nofile": ()}, ValueError),
        ("limits", {"nofile": (1, 2, 3)}, ValueError),
        ("limits", {"nofile": (2, 1)}, BadRequest),
        ("limits", {"nofile": -1}, BadRequest),
        ("limits", {"files": 1}, BadRequest),
        ("cgroup", ["memory.max=1"], TypeError),
        ("cgroup", {"memory.max": True}, TypeError),
        ("cgroup", {"memory.max": 0.5}, TypeError),
        ("cgroup", {"memory.max": "512M"}, BadRequest),
        ("cgroup", {"memory.min": 1}, BadRequest),
        ("sandbox", True, TypeError),
        ("sandbox", "public", ValueError),
    ],
)
def test_what_cannot_be(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        declared({name: value})


def test_argv_is_no_string() -> None:
    assert argv_of(["x", b"\xff"]) == ("x", "\udcff")
    for argv in ("x", b"x"):
        with pytest.raises(TypeError, match="list"):
            argv_of(argv)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        argv_of([1])  # type: ignore[list-item]


def test_text_of_the_operating_system() -> None:
    assert os_text("é") == os_text("é".encode()) == "é"
    with pytest.raises(TypeError):
        os_text(None)  # type: ignore[arg-type]
    assert steps_of(()) == ()
