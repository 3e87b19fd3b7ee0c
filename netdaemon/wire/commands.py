"""Every request as a frozen dataclass: what a client asks, in both versions.

A message that exists is legal: what a declaration cannot say is checked when one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from netdaemon.errors import BadRequest, TooLarge
from netdaemon.wire.answers import Attached, DaemonInfo, Listing, Message, OfProcess, Ok, Reply, Started, Taken, Welcome
from netdaemon.wire.fields import BOOLEAN, INTEGER, OCTETS, OS_TEXT, PAYLOAD, TEXT, array
from netdaemon.wire.frame import MAX_MESSAGE
from netdaemon.wire.records import (
    FATE,
    PTY,
    SCOPE,
    TERMINAL_MAX,
    UNTIL,
    Channel,
    Fate,
    Pty,
    Scope,
    Until,
    check_labels,
    check_name,
    check_os_text,
    check_range,
)

# Output kept for one process: by default some thousand lines; at least a page, at most what may be asked of a daemon.
KEEP = 1 << 20
KEEP_MIN = 4096
KEEP_MAX = 256 << 20

# A key is random and nobody reads it: room for two UUIDs.
KEY_MAX = 128

# What a process's argv, labels and directory may come to in its record, which has to fit into a message: the rest of a
# record is far below what is left here.
RECORD_WORDS_MAX = MAX_MESSAGE - 16 * 1024

# An attachment that holds for ever.
FOR_EVER = -1
HOLD_MAX = 1 << 40

# The kernel's signals, and 0: "is it there?"
SIGNAL_MAX = 64

# Records in one LIST reply, so that a reply fits into a message however long their argv (see TooLarge).
LIST_LIMIT = 10000


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Message):
    """What a client asks; ``replies`` are the answers that it can get, besides ERROR."""

    replies: ClassVar[tuple[type[Reply], ...]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello(Request):
    """Who calls; always first. ``version`` is the highest that the client knows, and stands before the box."""

    command = 0x0001
    replies = (Welcome,)

    client: Annotated[str, TEXT] = ""
    token: Annotated[bytes, OCTETS] | None = None


def _check_cursor(from_: int | None, channels: tuple[int, ...] | None, hold: int | None) -> None:
    if hold is not None:
        check_range("hold", hold, FOR_EVER, HOLD_MAX)
    if channels is not None:
        if not channels or not set(channels) <= {Channel.STDOUT, Channel.STDERR}:
            raise BadRequest(
                f"channels are {list(channels)}; 1 (stdout), 2 (stderr) or both are allowed", field="channels"
            )


def _check_env(env: tuple[str, ...]) -> None:
    names: set[str] = set()
    for assignment in env:
        check_os_text("env", assignment)
        name, equals, _ = assignment.partition("=")
        if not name or not equals:
            raise BadRequest(f"env has {assignment!r}, which is not of the form NAME=value", field="env")
        if name in names:
            # Which of them counts, programs do not agree on.
            raise BadRequest(f"env has {name!r} twice", field="env")
        names.add(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start(Request):
    """Run a program. ``env`` is the whole environment; ``path`` is what is executed, if not ``argv[0]``.

    The same ``key`` again finds the process that the first one started, as long as that is not removed.
    """

    command = 0x0101
    replies = (Attached, Started)

    argv: Annotated[tuple[str, ...], array(OS_TEXT)]
    path: Annotated[str, OS_TEXT] | None = None
    env: Annotated[tuple[str, ...], array(OS_TEXT)] | None = None
    cwd: Annotated[str, OS_TEXT] | None = None
    name: Annotated[str, TEXT] | None = None
    labels: Annotated[tuple[str, ...], array(TEXT)] | None = None
    pty: Annotated[Pty, PTY] | None = None
    merge: Annotated[bool, BOOLEAN] | None = None
    keep: Annotated[int, INTEGER] | None = None
    key: Annotated[str, TEXT] | None = None
    attach: Annotated[bool, BOOLEAN] | None = None
    from_: Annotated[int, INTEGER] | None = None
    channels: Annotated[tuple[int, ...], array(INTEGER)] | None = None
    hold: Annotated[int, INTEGER] | None = None
    read_only: Annotated[bool, BOOLEAN] | None = None

    def __post_init__(self) -> None:
        if not self.argv:
            raise BadRequest("argv is empty; its first item is the program", field="argv")
        for argument in self.argv:
            check_os_text("argv", argument, empty=True)
        check_os_text("argv", self.argv[0])
        if self.path is not None:
            check_os_text("path", self.path)
        if self.env:
            _check_env(self.env)
        if self.cwd is not None:
            check_os_text("cwd", self.cwd)
            if not self.cwd.startswith("/"):
                raise BadRequest(f"cwd is {self.cwd!r}; it begins with /", field="cwd")
        if self.name is not None:
            check_name("name", self.name)
        if self.labels is not None:
            check_labels("labels", self.labels)
        if self.keep is not None:
            check_range("keep", self.keep, KEEP_MIN, KEEP_MAX)
        if self.key is not None and not 0 < len(self.key) <= KEY_MAX:
            raise BadRequest(f"key has {len(self.key)} characters, and 1 to {KEY_MAX} are allowed", field="key")
        if self.pty is not None and self.merge is False:
            raise BadRequest("merge is false and pty is given; a terminal has one output", field="merge")
        if not self.attach:
            for field, value in (
                ("from", self.from_),
                ("channels", self.channels),
                ("hold", self.hold),
                ("read_only", self.read_only),
            ):
                if value is not None:
                    raise BadRequest(f"{field} is given without attach", field=field)
        _check_cursor(self.from_, self.channels, self.hold)
        words = (*self.argv, *(self.labels or ()), self.cwd or "")
        # A character is four bytes at most: nearly always that is all that there is to look at.
        if sum(map(len, words)) * 4 + len(words) * 4 > RECORD_WORDS_MAX:
            self._check_record(words)

    def _check_record(self, words: tuple[str, ...]) -> None:
        size = sum(len(one.encode("utf-8", "surrogateescape")) + 4 for one in words)
        if size > RECORD_WORDS_MAX:
            raise TooLarge(
                f"argv, labels and cwd come to {size} bytes, and {RECORD_WORDS_MAX} fit into the process's record",
                field="argv",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Attach(Request):
    """Follow a process's output and feed its input. ``from_`` below 0 counts from the end; None is everything kept."""

    command = 0x0102
    replies = (Attached,)

    process: Annotated[str, TEXT]
    from_: Annotated[int, INTEGER] | None = None
    channels: Annotated[tuple[int, ...], array(INTEGER)] | None = None
    hold: Annotated[int, INTEGER] | None = None
    read_only: Annotated[bool, BOOLEAN] | None = None

    def __post_init__(self) -> None:
        _check_cursor(self.from_, self.channels, self.hold)


@dataclass(frozen=True, kw_only=True, slots=True)
class List(Request):
    """Records of the processes that match every term of ``select``, in pages."""

    command = 0x0103
    replies = (Listing,)

    select: Annotated[tuple[str, ...], array(TEXT)] | None = None
    after: Annotated[str, TEXT] | None = None
    limit: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_range("limit", self.limit, 1, LIST_LIMIT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Detach(Request):
    """End the attachment whose id is ``to``; the process goes on, its stdin stays open."""

    command = 0x0104
    replies = (Ok,)

    to: Annotated[int, INTEGER]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspect(Request):
    """The record of one process."""

    command = 0x0105
    replies = (OfProcess,)

    process: Annotated[str, TEXT]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remove(Request):
    """Forget a process that has exited, and its output."""

    command = 0x0106
    replies = (Ok,)

    process: Annotated[str, TEXT]
    generation: Annotated[int, INTEGER] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait(Request):
    """Answered when the process is as asked: exited unless ``for_`` says otherwise."""

    command = 0x0107
    replies = (OfProcess,)

    process: Annotated[str, TEXT]
    for_: Annotated[Until, UNTIL] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Data(Request):
    """Input for the process of attachment ``to``, whole, in order; no payload is EOF. ``at`` drops repeats."""

    command = 0x0201
    replies = (Taken,)

    to: Annotated[int, INTEGER]
    channel: Annotated[int, INTEGER] = 0
    at: Annotated[int, INTEGER] | None = None
    payload: Annotated[bytes | memoryview, PAYLOAD] = b""

    def __post_init__(self) -> None:
        if self.at is not None and self.at < 0:
            raise BadRequest(f"at is {self.at}; an offset is 0 or more", field="at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill(Request):
    """Send one signal, to the ``process`` or to that of the attachment ``to``; ``scope`` is the group unless said."""

    command = 0x0203
    replies = (Ok,)

    process: Annotated[str, TEXT] | None = None
    to: Annotated[int, INTEGER] | None = None
    signal: Annotated[int, INTEGER]
    scope: Annotated[Scope, SCOPE] | None = None
    generation: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        check_range("signal", self.signal, 0, SIGNAL_MAX)
        if (self.process is None) == (self.to is None):
            raise BadRequest("either process or to says whom to signal, and not both", field="process")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize(Request):
    """Set the size of the terminal of attachment ``to``'s process."""

    command = 0x0204
    replies = (Ok,)

    to: Annotated[int, INTEGER]
    rows: Annotated[int, INTEGER]
    columns: Annotated[int, INTEGER]

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 0, TERMINAL_MAX)
        check_range("columns", self.columns, 0, TERMINAL_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow(Request):
    """Stop sending for attachment ``to``, or go on."""

    command = 0x0206
    replies = (Ok,)

    to: Annotated[int, INTEGER]
    paused: Annotated[bool, BOOLEAN]


@dataclass(frozen=True, kw_only=True, slots=True)
class Info(Request):
    """What the daemon is, allows and has."""

    command = 0x0301
    replies = (DaemonInfo,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shutdown(Request):
    """End the daemon in order."""

    command = 0x0303
    replies = (Ok,)

    processes: Annotated[Fate, FATE] | None = None


REQUESTS: dict[int, type[Request]] = {
    declaration.command: declaration
    for declaration in (
        Hello,
        Start,
        Attach,
        List,
        Detach,
        Inspect,
        Remove,
        Wait,
        Data,
        Kill,
        Resize,
        Flow,
        Info,
        Shutdown,
    )
}
