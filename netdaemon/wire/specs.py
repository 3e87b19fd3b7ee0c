"""What is declared of a process besides its program: how it is stopped, restarted, known to be ready, and logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from netdaemon.errors import BadRequest
from netdaemon.signal_names import name_of
from netdaemon.wire.fields import BOOLEAN, INTEGER, OCTETS, OS_TEXT, TEXT, array, word
from netdaemon.wire.layout import open_record, record
from netdaemon.wire.records import SCOPE, Scope, check_os_text, check_range

# The kernel's signals.
SIGNAL_MAX = 64

# A stop that has more steps than this is no sequence that anybody could follow.
STEPS_MAX = 32

# What one step types: a line or a few; it has to fit into what may wait for a process, together with others.
STEP_TEXT_MAX = 4096

# Of what a step types so many characters are told where the step is told in words.
STEP_TEXT_TOLD = 80

# A day: longer than anybody waits for a stop, for readiness, or between two restarts.
WAIT_MAX = 24 * 3600 * 1000

# A text or pattern is looked for in every line that comes until the process is ready.
READY_TEXT_MAX = 512

# Where exit codes end.
CODE_MAX = 255
# As many as there are.
CODES_MAX = 256

# Restarts are counted one by one in what is saved of a process.
BURST_MAX = 100

# A log file is at least some lines, so that rotation has an end; at most what one reads with an editor.
LOG_SIZE_MIN, LOG_SIZE_MAX = 4096, 1 << 40
LOG_FILES_MAX = 1000
# A year.
LOG_AGE_MIN, LOG_AGE_MAX = 1000, 366 * 24 * 3600 * 1000
# In bytes: the kernel takes 4,095, and the files that are set aside have longer names.
LOG_PATH_MAX = 4000

# The least that a watchdog can be asked to notice: below, a busy machine is taken for a dead program.
WATCHDOG_MIN = 100


def milliseconds(duration: int) -> str:
    """A duration for people, as it may be written in a file of specs."""
    for unit, size in (("h", 3600_000), ("m", 60_000), ("s", 1000)):
        if duration >= size and duration % size == 0:
            return f"{duration // size}{unit}"
    return f"{duration}ms"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a stop; exactly one of the four.

    ``stdin`` is typed; ``wait`` waits so many milliseconds, or until the process has exited; ``signal`` is sent, to
    the group unless ``scope`` says otherwise; ``kill`` is SIGKILL to the tree.
    """

    stdin: Annotated[bytes, OCTETS] | None = None
    wait: Annotated[int, INTEGER] | None = None
    signal: Annotated[int, INTEGER] | None = None
    scope: Annotated[Scope, SCOPE] | None = None
    kill: Annotated[bool, BOOLEAN] | None = None

    def __post_init__(self) -> None:
        said = _said(self, "stdin", "wait", "signal", "kill")
        if len(said) != 1:
            seen = ", ".join(said) or "none of them"
            raise BadRequest(
                f"a step has exactly one of stdin, wait, signal and kill, and this has {seen}", field="stop"
            )
        if self.stdin is not None and not 0 < len(self.stdin) <= STEP_TEXT_MAX:
            raise BadRequest(f"stdin has {len(self.stdin)} bytes, and a step types 1 to {STEP_TEXT_MAX}", field="stop")
        if self.wait is not None:
            _range("stop", "wait", self.wait, 1, WAIT_MAX)
        if self.signal is not None:
            _range("stop", "signal", self.signal, 1, SIGNAL_MAX)
        if self.scope is not None and self.signal is None:
            raise BadRequest("scope is given, and it belongs to signal", field="stop")

    def __str__(self) -> str:
        """The step in words, as events and replies tell it: on one line, what is typed cut short where it is long."""
        if self.stdin is not None:
            return f"stdin {_quoted(self.stdin)}"
        if self.wait is not None:
            return f"wait {milliseconds(self.wait)}"
        if self.signal is not None:
            name = name_of(self.signal)
            return f"signal {name}" if self.scope is None else f"signal {name} ({self.scope.value})"
        return "kill"


class Policy(Enum):
    """When a process that has exited is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


POLICY = word(Policy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """When and how a process is started again.

    ``codes`` are those exit codes that are no failure. The first delay is ``delay``, each further one twice as long up
    to ``longest``, until it has stayed up for ``settled``. With ``burst``, so many starts within ``interval`` are
    allowed, and the next makes it *failed*; 0: no limit. Durations are milliseconds.
    """

    policy: Annotated[Policy, POLICY]
    codes: Annotated[tuple[int, ...], array(INTEGER)] = (0,)
    delay: Annotated[int, INTEGER] = 100
    longest: Annotated[int, INTEGER] = 60_000
    settled: Annotated[int, INTEGER] = 10_000
    burst: Annotated[int, INTEGER] = 0
    interval: Annotated[int, INTEGER] = 60_000

    def __post_init__(self) -> None:
        if len(self.codes) > CODES_MAX:
            raise BadRequest(f"codes has {len(self.codes)} items, and at most {CODES_MAX} are allowed", field="restart")
        for code in self.codes:
            _range("restart", "codes", code, 0, CODE_MAX)
        _range("restart", "delay", self.delay, 0, WAIT_MAX)
        _range("restart", "longest", self.longest, self.delay, WAIT_MAX)
        _range("restart", "settled", self.settled, 0, WAIT_MAX)
        _range("restart", "burst", self.burst, 0, BURST_MAX)
        _range("restart", "interval", self.interval, 1, WAIT_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """How it is known that a process is ready: exactly one of ``output``, ``pattern`` and ``notify``.

    A line of its output contains the text ``output``; or matches the regular expression ``pattern`` somewhere; or
    READY=1 comes to its NOTIFY_SOCKET. If that takes longer than ``timeout`` milliseconds, it has failed.
    """

    output: Annotated[str, TEXT] | None = None
    pattern: Annotated[str, TEXT] | None = None
    notify: Annotated[bool, BOOLEAN] | None = None
    timeout: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        said = _said(self, "output", "pattern", "notify")
        if len(said) != 1:
            seen = ", ".join(said) or "none of them"
            raise BadRequest(f"ready has exactly one of output, pattern and notify, and this has {seen}", field="ready")
        for name in ("output", "pattern"):
            text = getattr(self, name)
            if text is not None and (not 0 < len(text) <= READY_TEXT_MAX or "\n" in text):
                raise BadRequest(
                    f"ready: {name} has {len(text)} characters; it is 1 to {READY_TEXT_MAX} within one line",
                    field="ready",
                )
        if self.timeout is not None:
            _range("ready", "timeout", self.timeout, 1, WAIT_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """A file that the output goes to, as CRI lines.

    When it has ``size`` bytes or is ``age`` milliseconds old it is set aside; of those set aside ``files`` are kept,
    compressed unless ``compress`` is false. ``required``: the process waits while its output cannot be logged.
    """

    path: Annotated[str, OS_TEXT]
    size: Annotated[int, INTEGER] = 10 << 20
    age: Annotated[int, INTEGER] | None = None
    files: Annotated[int, INTEGER] = 5
    compress: Annotated[bool, BOOLEAN] = True
    required: Annotated[bool, BOOLEAN] = False

    def __post_init__(self) -> None:
        check_os_text("log", self.path)
        if not self.path.startswith("/") or self.path.endswith("/") or not {".", ".."}.isdisjoint(self.path.split("/")):
            raise BadRequest(
                f"log: the path is {self.path!r}; it begins with /, names a file and goes through no . or ..",
                field="log",
            )
        size = len(self.path.encode("utf-8", "surrogateescape"))
        if size > LOG_PATH_MAX:
            raise BadRequest(f"log: the path has {size} bytes, and at most {LOG_PATH_MAX} are allowed", field="log")
        _range("log", "size", self.size, LOG_SIZE_MIN, LOG_SIZE_MAX)
        if self.age is not None:
            _range("log", "age", self.age, LOG_AGE_MIN, LOG_AGE_MAX)
        _range("log", "files", self.files, 0, LOG_FILES_MAX)


def _said(spec: Step | Ready, *names: str) -> list[str]:
    """Those of them that *spec* says; false says nothing."""
    return [name for name in names if getattr(spec, name) is not None and getattr(spec, name) is not False]


def _quoted(octets: bytes) -> str:
    """What is typed, as a programmer would write it; all of it can be printed."""
    text = octets.decode("utf-8", "surrogateescape")
    shown = "".join(map(_character, text[:STEP_TEXT_TOLD]))
    return f'"{shown}"' + ("..." if len(text) > STEP_TEXT_TOLD else "")


def _character(one: str) -> str:
    if "\udc80" <= one <= "\udcff":
        # A byte that is no UTF-8.
        return f"\\x{ord(one) - 0xDC00:02x}"
    if one in '"\\':
        return "\\" + one
    return one if one.isprintable() else one.encode("unicode_escape").decode()


def _range(field: str, name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadRequest(f"{field}: {name} is {value}, and {least} to {most} are allowed", field=field)


STEP = record(Step)
RESTART = record(Restart)
READY = record(Ready)
LOG = record(Log)

# The same as a daemon tells them.
TOLD_STEP = open_record(Step)
TOLD_RESTART = open_record(Restart)
TOLD_READY = open_record(Ready)
TOLD_LOG = open_record(Log)

# How a process is stopped that says nothing of it: as a service manager does.
USUAL_STOP = (Step(signal=15), Step(wait=10_000), Step(kill=True))


def check_steps(steps: Sequence[Step], field: str = "stop") -> None:
    """Refuse a stop that cannot be.

    :raises BadRequest: it is empty, too long, only waits, or goes on after what nothing survives.
    """
    if not 0 < len(steps) <= STEPS_MAX:
        raise BadRequest(f"{field} has {len(steps)} steps, and 1 to {STEPS_MAX} are allowed", field=field)
    if any(step.kill for step in steps[:-1]):
        raise BadRequest(f"{field} goes on after kill, which nothing survives: kill is the last step", field=field)
    if all(step.wait is not None for step in steps):
        raise BadRequest(f"{field} only waits; a step that does something is needed", field=field)


def check_watchdog(interval: int) -> None:
    """Refuse what is no watchdog's interval."""
    check_range("watchdog", interval, WATCHDOG_MIN, WAIT_MAX)
