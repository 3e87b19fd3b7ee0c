"""Requests: their numbers, and that none exists which breaks its own rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netdaemon.errors import BadRequest
from netdaemon.wire.commands import (
    FOR_EVER,
    HOLD_MAX,
    KEEP_MAX,
    KEEP_MIN,
    LIST_LIMIT,
    REQUESTS,
    SIGNAL_MAX,
    Attach,
    Data,
    Detach,
    Kill,
    List,
    Request,
    Resize,
    Start,
)
from netdaemon.wire.records import Pty, Scope
from tests.wire import strategies


def test_the_numbers_are_those_of_the_protocol() -> None:
    # RESTART is called otherwise here: that is what a policy of restarts is.
    names = {"AGAIN": "RESTART"}
    told = {number: declaration.__name__.upper() for number, declaration in REQUESTS.items()}
    assert {names.get(name, name): number for number, name in told.items()} == {
        "HELLO": 0x0001,
        "START": 0x0101,
        "ATTACH": 0x0102,
        "LIST": 0x0103,
        "DETACH": 0x0104,
        "INSPECT": 0x0105,
        "REMOVE": 0x0106,
        "WAIT": 0x0107,
        "WATCH": 0x0108,
        "CHANGE": 0x0109,
        "PRUNE": 0x010A,
        "DATA": 0x0201,
        "KILL": 0x0203,
        "RESIZE": 0x0204,
        "FLOW": 0x0206,
        "STOP": 0x0209,
        "RESTART": 0x020A,
        "INFO": 0x0301,
        "RELOAD": 0x0302,
        "SHUTDOWN": 0x0303,
    }
    assert set(REQUESTS.values()) == set(strategies.REQUESTS)
    assert all(number == declaration.command for number, declaration in REQUESTS.items())


@pytest.mark.parametrize("declaration", strategies.REQUESTS, ids=lambda d: d.__name__)
def test_each_request_is_answered(declaration: type[Request]) -> None:
    """With replies that can be told from one another by their numbers."""
    numbers = [reply.command for reply in declaration.replies]
    assert numbers
    assert len(set(numbers)) == len(numbers)


def test_requests_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Detach(to=1).to = 2  # type: ignore[misc]


def attach_start(**fields: Any) -> Start:
    return Start(argv=("a",), attach=True, **fields)


def start(**fields: Any) -> Start:
    return Start(**{"argv": ("a",), **fields})


def attach(**fields: Any) -> Attach:
    return Attach(process="p", **fields)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (start, {"argv": ("a", "")}),
        (start, {"argv": ("\udcff",)}),
        (start, {"path": "bin/a"}),
        (start, {"env": ()}),
        (start, {"env": ("A=", "B=C=D", "a b=\udcff")}),
        (start, {"cwd": "/"}),
        (start, {"keep": KEEP_MIN}),
        (start, {"keep": KEEP_MAX}),
        (start, {"pty": Pty(), "merge": True}),
        (start, {"merge": False}),
        (start, {"attach": False}),
        (attach_start, {"from_": -5, "channels": (1, 2), "hold": 0, "read_only": True}),
        (attach_start, {"hold": FOR_EVER}),
        (attach, {"hold": HOLD_MAX}),
        (attach, {"channels": (2,)}),
        (attach, {"from_": -(1 << 62)}),
        (List, {"limit": 1}),
        (List, {"limit": LIST_LIMIT}),
        (Data, {"to": 1, "at": 0}),
        (Kill, {"to": 1, "signal": 0}),
        (Kill, {"process": "p", "signal": SIGNAL_MAX, "scope": Scope.TREE}),
        (Resize, {"to": 1, "rows": 0, "columns": 0xFFFF}),
    ],
)
def test_what_is_allowed(make: Any, fields: dict[str, Any]) -> None:
    make(**fields)


@pytest.mark.parametrize(
    ("make", "fields", "field", "what"),
    [
        (start, {"argv": ()}, "argv", "argv is empty"),
        (start, {"argv": ("",)}, "argv", "argv is empty"),
        (start, {"argv": ("a", "b\0")}, "argv", "argv has a NUL"),
        (start, {"path": ""}, "path", "path is empty"),
        (start, {"path": "a\0"}, "path", "path has a NUL"),
        (start, {"env": ("A",)}, "env", "not of the form NAME=value"),
        (start, {"env": ("",)}, "env", "env is empty"),
        (start, {"env": ("=A",)}, "env", "not of the form NAME=value"),
        (start, {"env": ("A=\0",)}, "env", "env has a NUL"),
        (start, {"env": ("A=1", "B=2", "A=3")}, "env", "env has 'A' twice"),
        (start, {"cwd": ""}, "cwd", "cwd is empty"),
        (start, {"cwd": "tmp"}, "cwd", "it begins with /"),
        (start, {"name": "a b"}, "name", "a name is"),
        (start, {"labels": ("a",)}, "labels", "key=value"),
        (start, {"keep": KEEP_MIN - 1}, "keep", "keep is 4095, and 4096 to 268435456"),
        (start, {"keep": KEEP_MAX + 1}, "keep", "keep is 268435457"),
        (start, {"pty": Pty(), "merge": False}, "merge", "a terminal has one output"),
        (start, {"from_": 0}, "from", "from is given without attach"),
        (start, {"attach": False, "channels": (1,)}, "channels", "channels is given without attach"),
        (start, {"hold": 0}, "hold", "hold is given without attach"),
        (start, {"read_only": False}, "read_only", "read_only is given without attach"),
        (attach_start, {"hold": -2}, "hold", "hold is -2"),
        (attach_start, {"channels": ()}, "channels", "channels are"),
        (attach, {"hold": FOR_EVER - 1}, "hold", "hold is -2"),
        (attach, {"hold": HOLD_MAX + 1}, "hold", "hold is"),
        (attach, {"channels": ()}, "channels", "channels are"),
        (attach, {"channels": (0,)}, "channels", "channels are"),
        (attach, {"channels": (1, 3)}, "channels", "channels are"),
        (List, {"limit": 0}, "limit", "limit is 0, and 1 to 10000"),
        (List, {"limit": LIST_LIMIT + 1}, "limit", "limit is 10001"),
        (Data, {"to": 1, "at": -1}, "at", "at is -1"),
        (Kill, {"to": 1, "signal": -1}, "signal", "signal is -1, and 0 to 64"),
        (Kill, {"to": 1, "signal": SIGNAL_MAX + 1}, "signal", "signal is 65"),
        (Kill, {"signal": 9}, "process", "either process or to"),
        (Kill, {"signal": 9, "process": "p", "to": 1}, "process", "either process or to"),
        (Resize, {"to": 1, "rows": -1, "columns": 1}, "rows", "rows is -1"),
        (Resize, {"to": 1, "rows": 1, "columns": 0x10000}, "columns", "columns is 65536"),
    ],
)
def test_what_is_not_allowed(make: Any, fields: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        make(**fields)
    assert caught.value.field == field
