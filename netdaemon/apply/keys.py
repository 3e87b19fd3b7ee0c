"""The keys of a file of specs, by the table that they stand in, and what each comes to; reads no file."""

from __future__ import annotations

import shlex
from typing import Any

from netdaemon.apply.faults import At
from netdaemon.apply.tables import Keys, made, place, values_of
from netdaemon.apply.values import (
    argument,
    array_of,
    boolean,
    choice,
    duration,
    integer,
    of_type,
    os_text,
    signal,
    size,
    table,
    text_within,
)
from netdaemon.apply.whom import cgroup, limits, run_as, sandbox
from netdaemon.patterns import Pattern
from netdaemon.wire.commands import KEEP_MAX, KEEP_MIN
from netdaemon.wire.records import TERMINAL_MAX, Pty, Scope, check_labels
from netdaemon.wire.specs import (
    BURST_MAX,
    CODE_MAX,
    LOG_AGE_MAX,
    LOG_AGE_MIN,
    LOG_FILES_MAX,
    LOG_SIZE_MAX,
    LOG_SIZE_MIN,
    READY_TEXT_MAX,
    STEP_TEXT_MAX,
    WAIT_MAX,
    WATCHDOG_MIN,
    Log,
    Policy,
    Ready,
    Restart,
    Step,
    check_steps,
    milliseconds,
)

# Output is kept in whole pages: said as the daemon tells it, it is the same.
PAGE = 4096


# --- stop ---


def _typed(value: Any, at: At) -> bytes | None:
    text = text_within(STEP_TEXT_MAX, one_line=False)(value, at)
    return None if text is None else text.encode()


STEP_KEYS: Keys = {
    "stdin": _typed,
    "wait": duration(1, WAIT_MAX),
    "signal": signal,
    "scope": choice(Scope),
    "kill": boolean,
}


def _step(value: Any, at: At) -> Step | None:
    return made(Step, values_of(STEP_KEYS, value, at), at)


def _stop(value: Any, at: At) -> tuple[Step, ...] | None:
    steps = array_of(_step)(value, at)
    if steps is not None:
        made(check_steps, {"steps": steps}, at)
    return steps


# --- restart ---

RESTART_KEYS: Keys = {
    "policy": choice(Policy),
    "codes": array_of(integer(0, CODE_MAX)),
    "delay": duration(0, WAIT_MAX),
    "longest": duration(0, WAIT_MAX),
    "settled": duration(0, WAIT_MAX),
    "burst": integer(0, BURST_MAX),
    "interval": duration(1, WAIT_MAX),
}

_USUAL_RESTART = Restart(policy=Policy.NEVER)


def _restart(value: Any, at: At) -> Restart | None:
    if not isinstance(value, dict):
        policy = choice(Policy)(value, at)
        return None if policy is None else Restart(policy=policy)
    values = values_of(RESTART_KEYS, value, at, "policy")
    if values is not None:
        delay, longest = (values.get(name, getattr(_USUAL_RESTART, name)) for name in ("delay", "longest"))
        if longest < delay:
            at.key("longest").fault(
                f"it is {milliseconds(longest)}, and delay, which comes first, {milliseconds(delay)}"
            )
            return None
    return made(Restart, values, at)


# --- ready ---

_line = text_within(READY_TEXT_MAX, one_line=True)


def _pattern(value: Any, at: At) -> str | None:
    text = _line(value, at)
    if text is not None:
        made(Pattern, {"pattern": text, "field": "pattern"}, at)
    return text


READY_KEYS: Keys = {
    "output": _line,
    "pattern": _pattern,
    "notify": boolean,
    "timeout": duration(1, WAIT_MAX),
}


def _ready(value: Any, at: At) -> Ready | None:
    return made(Ready, values_of(READY_KEYS, value, at), at)


# --- log ---


def _log_path(value: Any, at: At) -> str | None:
    path = place(value, at)
    if path is not None and value.endswith("/"):
        at.fault("it ends with /; a log is a file")
        return None
    return path


LOG_KEYS: Keys = {
    "path": _log_path,
    "size": size(LOG_SIZE_MIN, LOG_SIZE_MAX),
    "age": duration(LOG_AGE_MIN, LOG_AGE_MAX),
    "files": integer(0, LOG_FILES_MAX),
    "compress": boolean,
    "required": boolean,
}


def _log(value: Any, at: At) -> Log | None:
    if not isinstance(value, dict):
        path = _log_path(value, at)
        return None if path is None else made(Log, {"path": path}, at)
    return made(Log, values_of(LOG_KEYS, value, at, "path"), at)


# --- what is run ---

PTY_KEYS: Keys = {
    "rows": integer(0, TERMINAL_MAX),
    "columns": integer(0, TERMINAL_MAX),
    "term": os_text,
}


def _pty(value: Any, at: At) -> Pty | None:
    if isinstance(value, bool):
        return Pty() if value else None
    return made(Pty, values_of(PTY_KEYS, value, at), at)


def _argv(value: Any, at: At) -> tuple[str, ...] | None:
    argv = array_of(argument, least=1)(value, at)
    return None if argv is None or os_text(argv[0], at.item(0)) is None else argv


def _command(value: Any, at: At) -> tuple[str, ...] | None:
    text = os_text(value, at)
    if text is None:
        return None
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        at.fault(f"it cannot be split into words: {error}")
        return None
    if not argv or not argv[0]:
        at.fault("it names no program")
        return None
    return argv


def _check_variable(name: str, at: At) -> None:
    if not name or "=" in name or "\0" in name:
        at.fault("a variable's name is not empty, and has no = and no NUL")


def _env(value: Any, at: At) -> dict[str, str] | None:
    if of_type(dict, value, at, "a table of strings") is None:
        return None
    for name in value:
        _check_variable(name, at.key(name))
    return table(dict.fromkeys(value, argument), value, at)


def _inherit(value: Any, at: At) -> tuple[str, ...] | None:
    names = array_of(os_text)(value, at)
    for index, name in enumerate(names or ()):
        _check_variable(name, at.item(index))
    return names


def _labels(value: Any, at: At) -> tuple[str, ...] | None:
    if of_type(dict, value, at, "a table of strings") is None:
        return None
    before = len(at.faults)
    read = table(dict.fromkeys(value, argument), value, at)
    labels = tuple(f"{name}={text}" for name, text in (read or {}).items())
    for label in labels:
        # One by one, so that each that is wrong is told.
        made(check_labels, {"field": "labels", "labels": (label,)}, at.key(label.partition("=")[0]))
    if len(at.faults) == before:
        made(check_labels, {"field": "labels", "labels": labels}, at)
    return labels


PROCESS_KEYS: Keys = {
    "argv": _argv,
    "command": _command,
    "path": os_text,
    "cwd": place,
    "env": _env,
    "inherit": _inherit,
    "labels": _labels,
    "pty": _pty,
    "merge": boolean,
    "keep": size(KEEP_MIN, KEEP_MAX, PAGE),
    "stop": _stop,
    "restart": _restart,
    "ready": _ready,
    "watchdog": duration(WATCHDOG_MIN, WAIT_MAX),
    "log": _log,
    "run_as": run_as,
    "limits": limits,
    "cgroup": cgroup,
    "sandbox": sandbox,
}


def _text(value: Any, at: At) -> str | None:
    return of_type(str, value, at, "a string")


SET_KEYS: Keys = {
    "name": _text,
}
