"""The words that messages speak of: states, channels, scopes, names, labels; and the daemon's own limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated

from netdaemon.errors import BadRequest
from netdaemon.wire.fields import INTEGER, TEXT, word
from netdaemon.wire.layout import open_record, record


class Channel(IntEnum):
    """One of a process's three standard streams. A pty and a merged process have output on STDOUT only."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2


class State(Enum):
    """Where a process is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    EXITED = "exited"
    FAILED = "failed"


class Scope(Enum):
    """Whom a signal reaches: the child alone, its process group, or all that descends from it."""

    PROCESS = "process"
    GROUP = "group"
    TREE = "tree"


class Until(Enum):
    """What WAIT waits for. *ended* is exited and all its output closed."""

    EXITED = "exited"
    ENDED = "ended"
    RUNNING = "running"
    REMOVED = "removed"


class Reason(Enum):
    """Why an attachment or a subscription ended."""

    DETACHED = "detached"
    REMOVED = "removed"
    REVOKED = "revoked"
    REPLACED = "replaced"
    SHUTDOWN = "shutdown"
    RESUBSCRIBE = "resubscribe"


class Fate(Enum):
    """What SHUTDOWN does with the processes."""

    KEEP = "keep"
    STOP = "stop"


STATE = word(State)
SCOPE = word(Scope)
UNTIL = word(Until)
REASON = word(Reason)
FATE = word(Fate)

# A terminal's size travels to the kernel as two unsigned shorts.
TERMINAL_MAX = 0xFFFF

# A name is typed, matched by globs and used in file names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}")
NAME_RULE = "1 to 64 of the characters A-Z a-z 0-9 . _ @ : -, the first a letter or digit"

# Labels are kept with the process and sent with every record.
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
LABEL_KEY_RULE = "1 to 63 of the characters A-Z a-z 0-9 . _ / -, the first a letter or digit"
MAX_LABELS = 64
MAX_LABEL_VALUE = 256
# Labels that only netdaemon itself sets.
RESERVED_LABEL = "nd."


def check_range(field: str, value: int, least: int, most: int) -> None:
    """Refuse an integer outside of what its field allows."""
    if not least <= value <= most:
        raise BadRequest(f"{field} is {value}, and {least} to {most} are allowed", field=field)


def check_os_text(field: str, value: str, *, empty: bool = False) -> None:
    """Refuse what the operating system cannot take as a name: a NUL, or nothing at all."""
    if "\0" in value:
        raise BadRequest(f"{field} has a NUL in it", field=field)
    if not value and not empty:
        raise BadRequest(f"{field} is empty", field=field)


def check_name(field: str, value: str) -> None:
    """Refuse what cannot be a process's name."""
    if not NAME.fullmatch(value):
        raise BadRequest(f"{field} is {value!r}, and a name is {NAME_RULE}", field=field)


def check_labels(field: str, labels: tuple[str, ...]) -> None:
    """Refuse labels that are malformed, doubled, too many or reserved."""
    if len(labels) > MAX_LABELS:
        raise BadRequest(f"{len(labels)} labels, and at most {MAX_LABELS} are allowed", field=field)
    seen: set[str] = set()
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals:
            raise BadRequest(f"the label {label!r} is not of the form key=value", field=field)
        if not LABEL_KEY.fullmatch(key):
            raise BadRequest(f"the label key {key!r} is not {LABEL_KEY_RULE}", field=field)
        if key.startswith(RESERVED_LABEL):
            raise BadRequest(
                f"the label {key!r}: keys that begin with {RESERVED_LABEL!r} are netdaemon's own", field=field
            )
        if key in seen:
            raise BadRequest(f"the label {key!r} stands twice", field=field)
        if len(value) > MAX_LABEL_VALUE:
            raise BadRequest(f"the label {key!r} has {len(value)} characters; at most {MAX_LABEL_VALUE}", field=field)
        seen.add(key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pty:
    """A terminal: its size in character cells, and TERM if it is to be set in the child's environment."""

    rows: Annotated[int, INTEGER] = 24
    columns: Annotated[int, INTEGER] = 80
    term: Annotated[str, TEXT] | None = None

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 0, TERMINAL_MAX)
        check_range("columns", self.columns, 0, TERMINAL_MAX)
        if self.term is not None:
            check_os_text("term", self.term)


PTY = record(Pty)
# The same as a daemon tells it in a process's record.
TOLD_PTY = open_record(Pty)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the daemon allows; bytes and counts. A rate is that of one connection in a second; None: there is none."""

    clients: Annotated[int, INTEGER] = 0
    processes: Annotated[int, INTEGER] = 0
    exited: Annotated[int, INTEGER] = 0
    attachments: Annotated[int, INTEGER] = 0
    requests: Annotated[int, INTEGER] = 0
    message: Annotated[int, INTEGER] = 0
    window: Annotated[int, INTEGER] = 0
    keep: Annotated[int, INTEGER] = 0
    descriptors: Annotated[int, INTEGER] = 0
    clients_each: Annotated[int, INTEGER] | None = None
    newcomers: Annotated[int, INTEGER] | None = None
    processes_each: Annotated[int, INTEGER] | None = None
    input: Annotated[int, INTEGER] | None = None
    request_rate: Annotated[int, INTEGER] | None = None
    byte_rate: Annotated[int, INTEGER] | None = None
    burst: Annotated[int, INTEGER] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What the daemon has now: connected clients, processes by whether they run, attachments, open descriptors;
    of the clients those that have not said HELLO, and those that are not read because they are over their rate."""

    clients: Annotated[int, INTEGER] = 0
    running: Annotated[int, INTEGER] = 0
    exited: Annotated[int, INTEGER] = 0
    attachments: Annotated[int, INTEGER] = 0
    descriptors: Annotated[int, INTEGER] = 0
    newcomers: Annotated[int, INTEGER] | None = None
    slowed: Annotated[int, INTEGER] | None = None


LIMITS = open_record(Limits)
COUNTS = open_record(Counts)
