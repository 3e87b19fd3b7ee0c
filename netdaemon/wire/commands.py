"""Every request as a frozen dataclass: what a client asks, in both versions.

A message that exists is legal: what a declaration cannot say is checked when one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from netdaemon.errors import BadRequest, TooLarge
from netdaemon.wire.answers import (
    Attached,
    Changed,
    DaemonInfo,
    Listing,
    Message,
    OfProcess,
    Ok,
    Pruned,
    Reply,
    Started,
    Stopped,
    Taken,
    Watching,
    Welcome,
)
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
from netdaemon.wire.specs import (
    LOG,
    READY,
    RESTART,
    SIGNAL_MAX,
    STEP,
    Log,
    Ready,
    Restart,
    Step,
    check_steps,
    check_watchdog,
)
from netdaemon.wire.whom import RUN_AS, SANDBOX, RunAs, Sandbox, check_cgroup, check_limits

# Output kept for one process: by default some thousand lines; at least a page, at most what may be asked of a daemon.
KEEP = 1 << 20
KEEP_MIN = 4096
KEEP_MAX = 256 << 20

# A key is random and nobody reads it: room for two UUIDs.
KEY_MAX = 128

# What a process's argv, labels, directory, kind of terminal, the text of its stop and what can be as long of its run_as
# and sandbox may come to in its record, which has to fit into a message: the rest of a record, and of what tells it, is
# below what is left here.
RECORD_WORDS_MAX = MAX_MESSAGE - 16 * 1024

# An attachment that holds for ever.
FOR_EVER = -1
HOLD_MAX = 1 << 40

# How often statistics can be told: each is a scan of all processes of the machine.
STATS_MIN, STATS_MAX = 100, 3600_000

# A century: what is older than that was never there.
AGE_MAX = 100 * 366 * 24 * 3600 * 1000

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


def _check_spec(spec: Start | Change) -> None:
    """Refuse what no process could be."""
    argv = spec.argv
    if argv is not None:
        if not argv:
            raise BadRequest("argv is empty; its first item is the program", field="argv")
        for argument in argv:
            check_os_text("argv", argument, empty=True)
        check_os_text("argv", argv[0])
    if spec.path is not None:
        check_os_text("path", spec.path)
    if spec.env:
        _check_env(spec.env)
    if spec.cwd is not None:
        check_os_text("cwd", spec.cwd)
        if not spec.cwd.startswith("/"):
            raise BadRequest(f"cwd is {spec.cwd!r}; it begins with /", field="cwd")
    if spec.name is not None:
        check_name("name", spec.name)
    if spec.labels is not None:
        check_labels("labels", spec.labels)
    if spec.stop is not None:
        check_steps(spec.stop)
    if spec.watchdog is not None:
        check_watchdog(spec.watchdog)
    if spec.limits:
        check_limits(spec.limits)
    if spec.cgroup:
        check_cgroup(spec.cgroup)
    if spec.sandbox is not None and spec.run_as is not None and spec.run_as.chroot is not None:
        raise BadRequest("sandbox and a chroot are given; a sandbox makes a root of its own", field="sandbox")
    check_size(spec)


class Declared(Protocol):
    """Whatever has what a process's record tells of its declaration."""

    @property
    def argv(self) -> tuple[str, ...] | None: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def cwd(self) -> str | None: ...

    @property
    def pty(self) -> Pty | None: ...

    @property
    def stop(self) -> tuple[Step, ...] | None: ...

    @property
    def run_as(self) -> RunAs | None: ...

    @property
    def sandbox(self) -> Sandbox | None: ...


def check_size(spec: Declared) -> None:
    """Refuse what does not fit into a process's record; for a CHANGE, also what it comes to with all that stays.

    :raises TooLarge: it does not.
    """
    words = (*(spec.argv or ()), *(spec.labels or ()), spec.cwd or "")
    if spec.pty is not None and spec.pty.term is not None:
        words = (*words, spec.pty.term)
    if spec.run_as is not None:
        run_as = spec.run_as
        words = (*words, *(run_as.groups or ()), *(run_as.capabilities or ()), run_as.chroot or "")
    if spec.sandbox is not None:
        words = (*words, *spec.sandbox.writable)
    typed = 0 if spec.stop is None else sum(len(step.stdin) for step in spec.stop if step.stdin is not None)
    # A character is four bytes at most: nearly always that is all that there is to look at.
    if sum(map(len, words)) * 4 + len(words) * 4 + typed <= RECORD_WORDS_MAX:
        return
    size = sum(len(one.encode("utf-8", "surrogateescape")) + 4 for one in words) + typed
    if size > RECORD_WORDS_MAX:
        raise TooLarge(
            "argv, labels, cwd, the pty's term, what stop types, the groups, capabilities and chroot of run_as and "
            f"the paths of the sandbox come to {size} bytes, and {RECORD_WORDS_MAX} fit into the process's record",
            field="argv",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Start(Request):
    """Run a program. ``env`` is the whole environment; ``path`` is what is executed, if not ``argv[0]``.

    Left out, ``stop`` is SIGTERM, ten seconds and SIGKILL, ``restart`` is never, and it is ready at once. With
    ``watchdog``, WATCHDOG=1 has to come to its NOTIFY_SOCKET at least every so many milliseconds. ``limits`` are its
    resource limits, as ``nofile=1024:4096``; ``cgroup`` those of its control group, as ``memory.max=536870912``.

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
    stop: Annotated[tuple[Step, ...], array(STEP)] | None = None
    restart: Annotated[Restart, RESTART] | None = None
    ready: Annotated[Ready, READY] | None = None
    watchdog: Annotated[int, INTEGER] | None = None
    log: Annotated[Log, LOG] | None = None
    run_as: Annotated[RunAs, RUN_AS] | None = None
    limits: Annotated[tuple[str, ...], array(TEXT)] | None = None
    cgroup: Annotated[tuple[str, ...], array(TEXT)] | None = None
    sandbox: Annotated[Sandbox, SANDBOX] | None = None

    def __post_init__(self) -> None:
        _check_spec(self)
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
    """The record of one process, how its log stands, and with ``stats`` what it and its descendants use."""

    command = 0x0105
    replies = (OfProcess,)

    process: Annotated[str, TEXT]
    stats: Annotated[bool, BOOLEAN] | None = None


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
class Watch(Request):
    """Be told what happens to the processes that match every term of ``select``, from the cursor ``since`` on.

    Where that is not kept any more, or nothing is said, a snapshot comes first: see `Watching`. With ``stats``, what
    they use is told every so many milliseconds.
    """

    command = 0x0108
    replies = (Watching,)

    since: Annotated[str, TEXT] | None = None
    select: Annotated[tuple[str, ...], array(TEXT)] | None = None
    stats: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        if self.stats is not None:
            check_range("stats", self.stats, STATS_MIN, STATS_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change(Request):
    """Change what a process was started with; what is left out stays as it is, or with ``whole`` becomes the default.

    Labels, name, ``stop``, ``restart`` and ``log`` count from now on; the rest from its next start on.
    """

    command = 0x0109
    replies = (Changed,)

    process: Annotated[str, TEXT]
    generation: Annotated[int, INTEGER] | None = None
    whole: Annotated[bool, BOOLEAN] | None = None
    argv: Annotated[tuple[str, ...], array(OS_TEXT)] | None = None
    path: Annotated[str, OS_TEXT] | None = None
    env: Annotated[tuple[str, ...], array(OS_TEXT)] | None = None
    cwd: Annotated[str, OS_TEXT] | None = None
    name: Annotated[str, TEXT] | None = None
    labels: Annotated[tuple[str, ...], array(TEXT)] | None = None
    pty: Annotated[Pty, PTY] | None = None
    merge: Annotated[bool, BOOLEAN] | None = None
    stop: Annotated[tuple[Step, ...], array(STEP)] | None = None
    restart: Annotated[Restart, RESTART] | None = None
    ready: Annotated[Ready, READY] | None = None
    watchdog: Annotated[int, INTEGER] | None = None
    log: Annotated[Log, LOG] | None = None
    run_as: Annotated[RunAs, RUN_AS] | None = None
    limits: Annotated[tuple[str, ...], array(TEXT)] | None = None
    cgroup: Annotated[tuple[str, ...], array(TEXT)] | None = None
    sandbox: Annotated[Sandbox, SANDBOX] | None = None

    def __post_init__(self) -> None:
        _check_spec(self)
        if self.whole and self.argv is None:
            raise BadRequest("whole is given without argv; the whole of a process has a program", field="argv")
        if self.pty is not None and self.merge is False:
            raise BadRequest("merge is false and pty is given; a terminal has one output", field="merge")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prune(Request):
    """Forget all that have exited, match every term of ``select``, and exited ``age`` milliseconds ago or earlier."""

    command = 0x010A
    replies = (Pruned,)

    select: Annotated[tuple[str, ...], array(TEXT)] | None = None
    age: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        if self.age is not None:
            check_range("age", self.age, 0, AGE_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Data(Request):
    """Input for the process of attachment ``to``, whole, in order; no payload is EOF. ``at`` drops repeats."""

    command = 0x0201
    replies = (Taken,)

    to: Annotated[int, INTEGER]
    channel: Annotated[int, INTEGER] = 0
    at: Annotated[int, INTEGER] | None = None
    generation: Annotated[int, INTEGER] | None = None
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
class Stop(Request):
    """Stop a process by its own sequence, or by ``steps``; answered when it has stopped. Whoever comes later joins."""

    command = 0x0209
    replies = (Stopped,)

    process: Annotated[str, TEXT]
    steps: Annotated[tuple[Step, ...], array(STEP)] | None = None
    generation: Annotated[int, INTEGER] | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_steps(self.steps, "steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Again(Request):
    """RESTART: stop a process if it runs, and start it again; answered when its next generation runs."""

    command = 0x020A
    replies = (OfProcess,)

    process: Annotated[str, TEXT]
    generation: Annotated[int, INTEGER] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload(Request):
    """Open the log files again."""

    command = 0x0302
    replies = (Ok,)


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
        Watch,
        Change,
        Prune,
        Data,
        Kill,
        Resize,
        Flow,
        Stop,
        Again,
        Info,
        Reload,
        Shutdown,
    )
}
