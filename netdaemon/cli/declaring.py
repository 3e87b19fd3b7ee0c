"""What is declared of a process on the command line: steps, policies, log files, durations; starts nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from netdaemon.cli.reach import wire_text

if TYPE_CHECKING:
    from netdaemon.apply.faults import At
    from netdaemon.wire.specs import Log, Ready, Restart, Step

# What stands for a character in a text that is typed.
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.|\Z)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"e": b"\x1b", b"0": b"\0", b"\\": b"\\"}

# What is a duration, if perhaps not a good one.
_DURATION = re.compile(r"\d+(ms|[smhd])")

# What may follow a log's path.
_LOG_OPTION = re.compile(r"(.+),(?:(size|age|files|compress)=([^,]*)|(required))", re.DOTALL)

# Of what a log is declared with, those that are true or false.
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}

# Milliseconds, as in `netdaemon.wire`, most of which is not loaded for a look at the help; a test holds them together.
DAY = 24 * 3600 * 1000
CENTURY = 100 * 366 * DAY
WATCHDOG_MIN = 100

STEP_FORMS = "stdin:TEXT, wait:DURATION, signal:NAME or kill"


def read(reader: Callable[[Any, At], Any], value: Any) -> Any:
    """What a reader of files of specs makes of *value*.

    :raises ValueError: it has something against it.
    """
    from netdaemon.apply.faults import At, Fault

    faults: list[Fault] = []
    found = reader(value, At("", faults))
    if faults:
        raise ValueError("; ".join(map(str, faults)))
    return found


def duration(text: str, least: int, most: int) -> int:
    """Milliseconds of ``500ms``, ``5s``, ``2m``, ``1h`` or ``7d``.

    :raises ValueError: it is none, or out of the range.
    """
    from netdaemon.apply.values import duration as reader

    return int(read(reader(least, most), text))


class Duration(click.ParamType[int]):
    """A duration with its unit, as milliseconds."""

    name = "duration"

    def __init__(self, least: int, most: int) -> None:
        self._range = (least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else duration(value, *self._range)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class StopStep(click.ParamType["Step"]):
    """One step of a stop."""

    name = "step"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Step:
        from netdaemon.errors import BadRequest
        from netdaemon.wire.specs import Step

        try:
            return value if isinstance(value, Step) else _step(value)
        except ValueError as error:
            self.fail(f"'{value}': {error}", param, ctx)
        except BadRequest as error:
            self.fail(f"'{value}': {error.message.removeprefix('stop: ')}", param, ctx)


def _step(text: str) -> Step:
    from netdaemon.signal_names import number_of
    from netdaemon.wire.records import Scope
    from netdaemon.wire.specs import WAIT_MAX, Step

    kind, _, rest = text.partition(":")
    if kind == "stdin" and rest:
        return Step(stdin=typed(rest))
    if kind == "wait" and rest:
        return Step(wait=duration(rest, 1, WAIT_MAX))
    if kind == "signal" and rest:
        name, colon, scope = rest.partition(":")
        if colon and scope not in (words := [one.value for one in Scope]):
            raise ValueError(f"whom it reaches is {scope!r}, and {', '.join(words)} are allowed")
        return Step(signal=number_of(name), scope=Scope(scope) if colon else None)
    if text == "kill":
        return Step(kill=True)
    raise ValueError(f"a step is {STEP_FORMS}")


def typed(text: str) -> bytes:
    r"""What is typed where *text* is said: ``\n``, ``\r``, ``\t``, ``\e``, ``\0``, ``\\`` and ``\xHH`` stand for bytes.

    :raises ValueError: another character follows a backslash.
    """

    def one(found: re.Match[bytes]) -> bytes:
        word = found[1]
        if len(word) == 3:
            return bytes([int(word[1:], 16)])
        if word not in _ESCAPED:
            raise ValueError(rf"\{os.fsdecode(word)} stands for nothing; there are \n \r \t \e \0 \\ \xHH")
        return _ESCAPED[word]

    return _ESCAPE.sub(one, os.fsencode(text))


class RestartPolicy(click.ParamType["Restart"]):
    """``POLICY`` or ``POLICY,key=value,...``."""

    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Restart:
        from netdaemon.wire.specs import Restart

        try:
            return value if isinstance(value, Restart) else _restart(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _restart(text: str) -> Restart:
    from netdaemon.apply.keys import RESTART_KEYS
    from netdaemon.apply.tables import made, values_of
    from netdaemon.wire.specs import Policy, Restart

    policy, *rest = text.split(",")
    said: dict[str, Any] = {"policy": policy}
    for one in rest:
        key, equals, value = one.partition("=")
        if not equals:
            raise ValueError(f"{one!r} is not of the form key=value")
        said[key] = _numbers(value) if key == "codes" else _number(value)
    if isinstance(said.get("delay"), str):
        # A first delay above the usual longest one is the longest, too, unless that is said.
        delay = duration(said["delay"], 0, DAY)
        if delay > Restart(policy=Policy.NEVER).longest:
            said.setdefault("longest", said["delay"])
    restart: Restart = read(lambda given, at: made(Restart, values_of(RESTART_KEYS, given, at), at), said)
    return restart


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _numbers(text: str) -> list[int | str]:
    return [_number(one) for one in text.split("/")]


class LogFile(click.ParamType["Log"]):
    """``PATH`` or ``PATH,key=value,...``."""

    name = "log"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Log:
        from netdaemon.wire.specs import Log

        try:
            return value if isinstance(value, Log) else _log(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _log(text: str) -> Log:
    from netdaemon.apply.keys import LOG_KEYS
    from netdaemon.apply.tables import made, values_of
    from netdaemon.wire.specs import Log

    said: dict[str, Any] = {}
    # From the end: a path may have commas, too.
    while (found := _LOG_OPTION.fullmatch(text)) is not None:
        text, key, value, flag = found.groups()
        if flag:
            said[flag] = True
        else:
            said[key] = _FLAGS.get(value, value) if key == "compress" else _number(value)
    said["path"] = wire_text(os.path.join(os.getcwd(), text))
    log: Log = read(lambda given, at: made(Log, values_of(LOG_KEYS, given, at), at), said)
    return log


def ready_of(
    context: click.Context, text: str | None, pattern: str | None, notify: bool, timeout: int | None
) -> Ready | None:
    """How the options say that it is known to be ready; None: they do not.

    :raises click.UsageError: they say it twice, or only for how long.
    """
    from netdaemon.wire.specs import Ready

    if (text is not None) + (pattern is not None) + notify > 1:
        raise click.UsageError("--ready, --ready-pattern and --ready-notify each say when it is ready", context)
    if text is None and pattern is None and not notify:
        if timeout is not None:
            raise click.UsageError("--ready-timeout is for --ready, --ready-pattern or --ready-notify", context)
        return None
    return Ready(output=text, pattern=pattern, notify=notify or None, timeout=timeout)


class Moment(click.ParamType[int]):
    """A point in time, local unless it says its zone, or a duration before now; as microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else moment(value)
        except ValueError:
            self.fail(f"{value!r} is neither a time, as 12:30 or 2026-01-31T12:30, nor a duration, as 10m", param, ctx)


def moment(text: str) -> int:
    """Microseconds since the epoch of a time of today, of a date and time, or of so long ago.

    :raises ValueError: it is none of them.
    """
    import time
    from datetime import date, datetime
    from datetime import time as time_of_day

    if _DURATION.fullmatch(text):
        return int(time.time() * 1e6) - 1000 * duration(text, 0, CENTURY)
    if ":" in text and "-" not in text.partition(":")[0]:
        said = datetime.combine(date.today(), time_of_day.fromisoformat(text))
    else:
        said = datetime.fromisoformat(text)
    return int(said.timestamp() * 1e6)
