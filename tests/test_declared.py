"""What is declared, from the values that programs have at hand."""

from __future__ import annotations

from typing import Any

import pytest

from netdaemon.declared import argv_of, declared, os_text, steps_of
from netdaemon.errors import BadRequest
from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step


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
        ("watchdog", 500, 500),
        ("name", "n", "n"),
        ("merge", False, False),
    ],
)
def test_what_comes_of_it(name: str, value: object, made: object) -> None:
    assert declared({name: value}) == {name: made}


def test_nothing_is_nothing() -> None:
    names: dict[str, Any] = dict.fromkeys(("path", "env", "labels", "pty", "stop", "restart", "ready", "log", "name"))
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
