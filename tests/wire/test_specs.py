"""How a process is stopped, restarted, ready and logged: each rule on both its sides, and a step in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.errors import BadRequest, RemoteProtocolError
from netdaemon.wire import layout
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import (
    BURST_MAX,
    CODE_MAX,
    CODES_MAX,
    LOG_AGE_MAX,
    LOG_AGE_MIN,
    LOG_FILES_MAX,
    LOG_PATH_MAX,
    LOG_SIZE_MAX,
    LOG_SIZE_MIN,
    READY_TEXT_MAX,
    SIGNAL_MAX,
    STEP_TEXT_MAX,
    STEP_TEXT_TOLD,
    STEPS_MAX,
    TOLD_LOG,
    TOLD_READY,
    TOLD_RESTART,
    TOLD_STEP,
    USUAL_STOP,
    WAIT_MAX,
    WATCHDOG_MIN,
    Log,
    Policy,
    Ready,
    Restart,
    Step,
    check_steps,
    check_watchdog,
    milliseconds,
)
from tests.wire import strategies
from tests.wire.support import box, integer

TERM = Step(signal=15)
KILL = Step(kill=True)


def restart(**fields: Any) -> Restart:
    return Restart(policy=Policy.ALWAYS, **fields)


def log(path: str = "/l", **fields: Any) -> Log:
    return Log(path=path, **fields)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (Step, {"stdin": b"\0"}),
        (Step, {"stdin": b"x" * STEP_TEXT_MAX, "kill": False}),
        (Step, {"wait": 1}),
        (Step, {"wait": WAIT_MAX}),
        (Step, {"signal": 1}),
        (Step, {"signal": SIGNAL_MAX, "scope": Scope.PROCESS}),
        (Step, {"kill": True}),
        (restart, {}),
        (restart, {"codes": ()}),
        (restart, {"codes": (0, CODE_MAX)}),
        (restart, {"codes": tuple(range(CODES_MAX))}),
        (restart, {"delay": 0, "longest": 0, "settled": 0, "burst": 0, "interval": 1}),
        (restart, {"delay": WAIT_MAX, "longest": WAIT_MAX, "settled": WAIT_MAX, "interval": WAIT_MAX}),
        (restart, {"burst": BURST_MAX}),
        (Ready, {"output": "x"}),
        (Ready, {"output": "\u00e9" * READY_TEXT_MAX, "notify": False}),
        (Ready, {"pattern": "x" * READY_TEXT_MAX}),
        (Ready, {"notify": True, "timeout": 1}),
        (Ready, {"notify": True, "timeout": WAIT_MAX}),
        (log, {"path": "/var/log/a..b/.c"}),
        (log, {"path": "/\udcff"}),
        (log, {"path": "/" + "x" * (LOG_PATH_MAX - 1)}),
        (log, {"size": LOG_SIZE_MIN, "age": LOG_AGE_MIN, "files": 0}),
        (log, {"size": LOG_SIZE_MAX, "age": LOG_AGE_MAX, "files": LOG_FILES_MAX}),
    ],
)
def test_what_is_allowed(make: Any, fields: dict[str, Any]) -> None:
    make(**fields)


@pytest.mark.parametrize(
    ("make", "fields", "field", "what"),
    [
        (Step, {}, "stop", "exactly one of stdin, wait, signal and kill, and this has none of them"),
        (Step, {"kill": False}, "stop", "this has none of them"),
        (Step, {"stdin": b"x", "wait": 1}, "stop", "this has stdin, wait"),
        (Step, {"signal": 1, "kill": True}, "stop", "this has signal, kill"),
        (Step, {"wait": 0, "signal": 0}, "stop", "this has wait, signal"),
        (Step, {"stdin": b"x", "wait": 1, "signal": 1, "kill": True}, "stop", "this has stdin, wait, signal, kill"),
        (Step, {"stdin": b""}, "stop", "stdin has 0 bytes, and a step types 1 to 4096"),
        (Step, {"stdin": b"x" * (STEP_TEXT_MAX + 1)}, "stop", "stdin has 4097 bytes"),
        (Step, {"wait": 0}, "stop", "stop: wait is 0, and 1 to 86400000 are allowed"),
        (Step, {"wait": WAIT_MAX + 1}, "stop", "stop: wait is 86400001"),
        (Step, {"signal": 0}, "stop", "stop: signal is 0, and 1 to 64 are allowed"),
        (Step, {"signal": SIGNAL_MAX + 1}, "stop", "stop: signal is 65"),
        (Step, {"wait": 1, "scope": Scope.TREE}, "stop", "scope is given, and it belongs to signal"),
        (restart, {"codes": (0, -1)}, "restart", "restart: codes is -1, and 0 to 255 are allowed"),
        (restart, {"codes": (CODE_MAX + 1,)}, "restart", "restart: codes is 256"),
        (restart, {"codes": (0,) * (CODES_MAX + 1)}, "restart", "codes has 257 items, and at most 256"),
        (restart, {"delay": -1}, "restart", "restart: delay is -1, and 0 to 86400000"),
        (restart, {"delay": WAIT_MAX + 1, "longest": WAIT_MAX}, "restart", "restart: delay is 86400001"),
        (restart, {"delay": 200, "longest": 199}, "restart", "restart: longest is 199, and 200 to 86400000"),
        (restart, {"longest": WAIT_MAX + 1}, "restart", "restart: longest is 86400001"),
        (restart, {"settled": -1}, "restart", "restart: settled is -1"),
        (restart, {"settled": WAIT_MAX + 1}, "restart", "restart: settled is 86400001"),
        (restart, {"burst": -1}, "restart", "restart: burst is -1, and 0 to 100"),
        (restart, {"burst": BURST_MAX + 1}, "restart", "restart: burst is 101"),
        (restart, {"interval": 0}, "restart", "restart: interval is 0, and 1 to"),
        (restart, {"interval": WAIT_MAX + 1}, "restart", "restart: interval is 86400001"),
        (Ready, {}, "ready", "exactly one of output, pattern and notify, and this has none of them"),
        (Ready, {"notify": False}, "ready", "this has none of them"),
        (Ready, {"output": "a", "pattern": "b"}, "ready", "this has output, pattern"),
        (Ready, {"output": "", "notify": True}, "ready", "this has output, notify"),
        (Ready, {"output": ""}, "ready", "ready: output has 0 characters; it is 1 to 512"),
        (Ready, {"pattern": "x" * (READY_TEXT_MAX + 1)}, "ready", "ready: pattern has 513 characters"),
        (Ready, {"output": "a\nb"}, "ready", "ready: output has 3 characters; it is 1 to 512 within one line"),
        (Ready, {"pattern": "\n"}, "ready", "within one line"),
        (Ready, {"notify": True, "timeout": 0}, "ready", "ready: timeout is 0, and 1 to 86400000"),
        (Ready, {"notify": True, "timeout": WAIT_MAX + 1}, "ready", "ready: timeout is 86400001"),
        (log, {"path": ""}, "log", "log is empty"),
        (log, {"path": "/a\0"}, "log", "log has a NUL in it"),
        (log, {"path": "a"}, "log", "the path is 'a'; it begins with /"),
        (log, {"path": "/"}, "log", "names a file"),
        (log, {"path": "/a/"}, "log", "names a file"),
        (log, {"path": "/a/../b"}, "log", r"goes through no \. or \.\."),
        (log, {"path": "/a/./b"}, "log", r"goes through no \. or \.\."),
        (log, {"path": "/a/.."}, "log", r"goes through no \. or \.\."),
        (log, {"path": "/."}, "log", r"goes through no \. or \.\."),
        (log, {"path": "/" + "x" * LOG_PATH_MAX}, "log", "the path has 4001 bytes, and at most 4000"),
        (log, {"path": "/" + "\u00e9" * (LOG_PATH_MAX // 2)}, "log", "the path has 4001 bytes"),
        (log, {"size": LOG_SIZE_MIN - 1}, "log", "log: size is 4095, and 4096 to 1099511627776"),
        (log, {"size": LOG_SIZE_MAX + 1}, "log", "log: size is 1099511627777"),
        (log, {"age": LOG_AGE_MIN - 1}, "log", "log: age is 999, and 1000 to 31622400000"),
        (log, {"age": LOG_AGE_MAX + 1}, "log", "log: age is 31622400001"),
        (log, {"files": -1}, "log", "log: files is -1, and 0 to 1000"),
        (log, {"files": LOG_FILES_MAX + 1}, "log", "log: files is 1001"),
    ],
)
def test_what_is_not_allowed(make: Any, fields: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        make(**fields)
    assert caught.value.field == field


# --- a stop as a whole ---


@pytest.mark.parametrize(
    "steps",
    [USUAL_STOP, (KILL,), (TERM,), (Step(wait=1), TERM), (TERM,) * STEPS_MAX, (Step(stdin=b"q\n"), Step(wait=5))],
)
def test_stops(steps: tuple[Step, ...]) -> None:
    check_steps(steps)


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ((), "stop has 0 steps, and 1 to 32 are allowed"),
        ((TERM,) * (STEPS_MAX + 1), "stop has 33 steps"),
        ((KILL, TERM), "stop goes on after kill"),
        ((KILL, KILL), "stop goes on after kill"),
        ((Step(wait=5),), "stop only waits"),
        ((Step(wait=5), Step(wait=6)), "stop only waits"),
    ],
)
def test_what_is_no_stop(steps: tuple[Step, ...], what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        check_steps(steps)
    assert caught.value.field == "stop"
    with pytest.raises(BadRequest, match=what.replace("stop", "steps", 1)) as caught:
        check_steps(steps, "steps")
    assert caught.value.field == "steps"


def test_watchdogs() -> None:
    check_watchdog(WATCHDOG_MIN)
    check_watchdog(WAIT_MAX)
    for interval in (0, WATCHDOG_MIN - 1, WAIT_MAX + 1):
        with pytest.raises(BadRequest, match=f"watchdog is {interval}, and 100 to 86400000 are allowed") as caught:
            check_watchdog(interval)
        assert caught.value.field == "watchdog"


# --- in words ---


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(stdin=b"quit\n"), r'stdin "quit\n"'),
        (Step(stdin=b'say "hi" \\ bye\r\n'), r'stdin "say \"hi\" \\ bye\r\n"'),
        (Step(stdin="caf\u00e9".encode()), 'stdin "caf\u00e9"'),
        (Step(stdin=b"\x03\x1b[0m\x7f\xff"), r'stdin "\x03\x1b[0m\x7f\xff"'),
        (Step(stdin="\u202e\u009b".encode()), r'stdin "\u202e\x9b"'),
        (Step(stdin=b"x" * STEP_TEXT_TOLD), 'stdin "' + "x" * 80 + '"'),
        (Step(stdin=b"x" * STEP_TEXT_TOLD + b"\n"), 'stdin "' + "x" * 80 + '"...'),
        (Step(wait=1500), "wait 1500ms"),
        (Step(wait=10_000), "wait 10s"),
        (Step(signal=15), "signal TERM"),
        (Step(signal=2, scope=Scope.TREE), "signal INT (tree)"),
        (Step(signal=35), "signal RTMIN+1"),
        (Step(signal=32), "signal 32"),
        (KILL, "kill"),
    ],
)
def test_a_step_in_words(step: Step, words: str) -> None:
    assert str(step) == words


@given(step=strategies.STEPS)
def test_a_step_in_words_is_one_short_line(step: Step) -> None:
    """Whatever it types: nothing of that reaches a terminal."""
    assert str(step).isprintable()
    assert len(str(step)) <= 10 * STEP_TEXT_TOLD + len('stdin ""...')


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1001, "1001ms"),
        (59_000, "59s"),
        (60_000, "1m"),
        (90_000, "90s"),
        (3_600_000, "1h"),
        (5_400_000, "90m"),
        (WAIT_MAX, "24h"),
    ],
)
def test_durations(duration: int, words: str) -> None:
    assert milliseconds(duration) == words


@given(duration=st.integers(0, WAIT_MAX))
def test_a_duration_in_words_is_exact(duration: int) -> None:
    words = milliseconds(duration)
    number = words.rstrip("hms")
    assert int(number) * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}[words.removeprefix(number)] == duration


# --- as bytes ---


@pytest.mark.parametrize("policy", Policy)
def test_the_words_of_a_policy(policy: Policy) -> None:
    octets = box({b"policy": policy.value.encode()})
    assert layout.decode(Restart, octets, strict=True) == Restart(policy=policy)


@pytest.mark.parametrize(
    ("declaration", "pairs", "what"),
    [
        (Restart, {b"policy": b"sometimes"}, "is none of: never, on-failure, always, unless-stopped"),
        (Restart, {}, "Restart needs the field 'policy'"),
        (Restart, {b"policy": b"never", b"codes": integer(0)}, "codes is not of type array of integer"),
        (Step, {b"signal": integer(1), b"scope": b"everybody"}, "is none of: process, group, tree"),
        (Step, {b"sleep": integer(1)}, "Step has no field 'sleep'; it has: stdin, wait, signal, scope, kill"),
        (Step, {b"kill": b"\2"}, "kill is not of type boolean"),
        (Ready, {b"port": integer(80)}, "Ready has no field 'port'"),
        (Log, {}, "Log needs the field 'path'"),
    ],
)
def test_what_is_none_of_them(declaration: type[Any], pairs: dict[bytes, bytes], what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        layout.decode(declaration, box(pairs), strict=True)


def test_a_newer_daemon_may_tell_more() -> None:
    """In each of these records."""
    more = {b"moon": b"full"}
    assert TOLD_STEP.decode(box({b"kill": b"\1"} | more)) == KILL
    assert TOLD_RESTART.decode(box({b"policy": b"always"} | more)) == Restart(policy=Policy.ALWAYS)
    assert TOLD_READY.decode(box({b"notify": b"\1"} | more)) == Ready(notify=True)
    assert TOLD_LOG.decode(box({b"path": b"/l"} | more)) == Log(path="/l")
    with pytest.raises(ValueError, match="end mark"):
        TOLD_STEP.decode(b"")
    with pytest.raises(RemoteProtocolError):
        layout.decode(Step, b"", strict=False)
