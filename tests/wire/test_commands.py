"""Requests: their numbers, and that none exists which breaks its own rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from netdaemon.errors import BadRequest, TooLarge
from netdaemon.wire import layout, specs
from netdaemon.wire.answers import Attached, Happened, OfProcess, Stopped
from netdaemon.wire.commands import (
    AGE_MAX,
    FOR_EVER,
    HOLD_MAX,
    KEEP_MAX,
    KEEP_MIN,
    KEY_MAX,
    LIST_LIMIT,
    RECORD_WORDS_MAX,
    REQUESTS,
    SIGNAL_MAX,
    STATS_MAX,
    STATS_MIN,
    Attach,
    Change,
    Data,
    Detach,
    Kill,
    List,
    Prune,
    Request,
    Resize,
    Start,
    Stop,
    Watch,
    check_size,
)
from netdaemon.wire.fields import INTEGER_MAX
from netdaemon.wire.frame import MAX_MESSAGE, MESSAGE_HEAD
from netdaemon.wire.records import Pty, Scope, State
from netdaemon.wire.specs import WAIT_MAX, WATCHDOG_MIN, Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening, ProcessRecord, Stats
from netdaemon.wire.whom import CAPABILITIES, CGROUP, ID_MAX, LIMIT_MAX, LIMITS, Profile, RunAs, Sandbox
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


def change(**fields: Any) -> Change:
    return Change(process="p", **fields)


def stop(**fields: Any) -> Stop:
    return Stop(process="p", **fields)


TERM, KILL = Step(signal=15), Step(kill=True)


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
        (start, {"stop": (TERM, Step(wait=1), KILL)}),
        (start, {"watchdog": WATCHDOG_MIN}),
        (start, {"watchdog": WAIT_MAX}),
        (start, {"key": "k" * KEY_MAX}),
        (change, {}),
        (change, {"generation": 0, "labels": (), "env": (), "name": "n", "cwd": "/"}),
        (change, {"whole": True, "argv": ("a",)}),
        (change, {"whole": False}),
        (change, {"merge": False}),
        (change, {"pty": Pty(), "merge": True}),
        (change, {"stop": (KILL,), "watchdog": WATCHDOG_MIN}),
        (stop, {}),
        (stop, {"steps": (KILL,), "generation": 1}),
        (Watch, {}),
        (Watch, {"since": "", "select": (), "stats": STATS_MIN}),
        (Watch, {"stats": STATS_MAX}),
        (Prune, {"age": 0}),
        (Prune, {"age": AGE_MAX}),
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
        (start, {"key": ""}, "key", "key has 0 characters, and 1 to 128"),
        (start, {"key": "k" * (KEY_MAX + 1)}, "key", "key has 129 characters"),
        (start, {"stop": ()}, "stop", "stop has 0 steps"),
        (start, {"stop": (KILL, TERM)}, "stop", "stop goes on after kill"),
        (start, {"stop": (Step(wait=1),)}, "stop", "stop only waits"),
        (start, {"watchdog": WATCHDOG_MIN - 1}, "watchdog", "watchdog is 99, and 100 to 86400000"),
        (start, {"watchdog": WAIT_MAX + 1}, "watchdog", "watchdog is 86400001"),
        (change, {"whole": True}, "argv", "whole is given without argv"),
        (change, {"argv": ()}, "argv", "argv is empty"),
        (change, {"argv": ("a", "b\0")}, "argv", "argv has a NUL"),
        (change, {"path": ""}, "path", "path is empty"),
        (change, {"env": ("A",)}, "env", "not of the form NAME=value"),
        (change, {"cwd": "tmp"}, "cwd", "it begins with /"),
        (change, {"name": ""}, "name", "a name is"),
        (change, {"labels": ("nd.a=b",)}, "labels", "netdaemon's own"),
        (change, {"pty": Pty(), "merge": False}, "merge", "a terminal has one output"),
        (change, {"stop": ()}, "stop", "stop has 0 steps"),
        (change, {"watchdog": 0}, "watchdog", "watchdog is 0"),
        (stop, {"steps": ()}, "steps", "steps has 0 steps"),
        (stop, {"steps": (KILL, TERM)}, "steps", "steps goes on after kill"),
        (Watch, {"stats": STATS_MIN - 1}, "stats", "stats is 99, and 100 to 3600000"),
        (Watch, {"stats": STATS_MAX + 1}, "stats", "stats is 3600001"),
        (Prune, {"age": -1}, "age", "age is -1, and 0 to"),
        (Prune, {"age": AGE_MAX + 1}, "age", f"age is {AGE_MAX + 1}"),
    ],
)
def test_what_is_not_allowed(make: Any, fields: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        make(**fields)
    assert caught.value.field == field


# --- a process has to fit into a message ---


def largest() -> Start:
    """What takes the most room in a record; of its words as many as are allowed."""
    typed = Step(stdin=b"\0" * specs.STEP_TEXT_MAX)
    signal = Step(signal=SIGNAL_MAX, scope=Scope.PROCESS)
    rest: dict[str, Any] = {
        "name": "n" * 64,
        "labels": tuple(f"k{number}=" for number in range(64)),
        "pty": Pty(term="t" * 1000),
        "merge": True,
        "key": "\U0001f600" * KEY_MAX,
        "stop": (typed,) * 16 + (signal,) * 16,
        "restart": Restart(policy=Policy.UNLESS_STOPPED, codes=tuple(range(256))),
        "ready": Ready(pattern="\U0001f600" * specs.READY_TEXT_MAX, timeout=1),
        "watchdog": WAIT_MAX,
        "log": Log(path="/" + "l" * (specs.LOG_PATH_MAX - 1), age=specs.LOG_AGE_MAX),
        "cwd": "/",
        "run_as": RunAs(
            user="u" * 255,
            group="g" * 255,
            groups=("s" * 255, "t"),
            umask=0,
            nice=0,
            oom_score_adj=0,
            no_new_privs=True,
            capabilities=CAPABILITIES,
        ),
        "limits": tuple(f"{name}={LIMIT_MAX}:{LIMIT_MAX}" for name in LIMITS),
        "cgroup": tuple(f"{name}={10000 if name == 'cpu.weight' else LIMIT_MAX}" for name in CGROUP),
        "sandbox": Sandbox(profile=Profile.PRIVATE, writable=("/" * 1000, "/" * 1000)),
    }
    used = sum(len(label) + 4 for label in rest["labels"]) + 1 + 4 + 1000 + 4 + 16 * specs.STEP_TEXT_MAX
    used += 255 + 1 + 2 * 4 + sum(len(one) + 4 for one in CAPABILITIES) + 4 + 2000 + 2 * 4
    return Start(argv=("a" * (RECORD_WORDS_MAX - used - 4),), **rest)


def test_the_largest_process_fits_into_every_message_that_tells_it() -> None:
    asked = largest()
    process = ProcessRecord(
        id="i" * 16,
        state=State.STOPPING,
        generation=INTEGER_MAX,
        owner="uid:4294967294",
        pid=1,
        created=1,
        started=1,
        exited=1,
        signal=1,
        core=True,
        eof=(0, 1, 2),
        digest="d" * 64,
        failures=1,
        due=1,
        step="\U0001f600" * 100,
        uid=ID_MAX,
        gid=ID_MAX,
        **{
            name: getattr(asked, name)
            for name in (
                "name",
                "labels",
                "argv",
                "cwd",
                "pty",
                "merge",
                "key",
                "stop",
                "restart",
                "ready",
                "watchdog",
                "log",
                "run_as",
                "limits",
                "cgroup",
                "sandbox",
            )
        },
    )
    event = Happened(cursor="c" * 40, type=Happening.NOT_STOPPED, detail="d" * 1000, process=process, stats=Stats())
    stopped = Stopped(process=process, step="\U0001f600" * 100)
    for message in (
        event,
        stopped,
        Attached(process=process, eof=(0, 1, 2)),
        OfProcess(process=process, stats=Stats()),
    ):
        assert MESSAGE_HEAD + len(layout.encode(message)) <= MAX_MESSAGE


@pytest.mark.parametrize(
    "more",
    [
        lambda asked: {"argv": (asked.argv[0] + "a",)},
        lambda asked: {"labels": (*asked.labels[:-1], asked.labels[-1] + "x")},
        lambda asked: {"cwd": "/a"},
        lambda asked: {"pty": Pty(term=asked.pty.term + "t")},
        lambda asked: {"stop": (*asked.stop[:16], Step(stdin=b"\0"))},
        lambda asked: {"run_as": dataclasses.replace(asked.run_as, groups=("s" * 255, "tt"))},
        # One word less, the same and a byte more.
        lambda asked: {
            "run_as": dataclasses.replace(asked.run_as, chroot="/"),
            "sandbox": None,
            "cwd": "/" * 2008 + "/",
        },
        lambda asked: {"sandbox": dataclasses.replace(asked.sandbox, writable=("/" * 1000, "/" * 1001))},
    ],
    ids=["argv", "labels", "cwd", "pty", "stop", "groups", "chroot", "writable"],
)
def test_a_process_that_is_larger_is_refused(more: Callable[[Any], dict[str, Any]]) -> None:
    """By one byte, wherever it is."""
    asked = largest()
    check_size(asked)
    with pytest.raises(TooLarge, match=f"come to {RECORD_WORDS_MAX + 1} bytes, and {RECORD_WORDS_MAX} fit"):
        dataclasses.replace(asked, **more(asked))


def test_a_changed_process_is_checked_as_a_whole() -> None:
    """What a CHANGE says may be small enough, and what it comes to not: whoever changes a record asks."""
    process = ProcessRecord(id="p", state=State.EXITED, argv=("a" * (RECORD_WORDS_MAX - 8),))
    check_size(dataclasses.replace(process, cwd=""))
    with pytest.raises(TooLarge) as caught:
        check_size(dataclasses.replace(process, labels=("a=b",)))
    assert caught.value.field == "argv"
