"""A process as people know it: its record, what it uses, how its log stands, and what can happen to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from netdaemon.wire.fields import BOOLEAN, INTEGER, MESSAGE, OS_TEXT, TEXT, array, word
from netdaemon.wire.layout import Remembered, open_record
from netdaemon.wire.records import STATE, TOLD_PTY, Pty, State
from netdaemon.wire.specs import TOLD_LOG, TOLD_READY, TOLD_RESTART, TOLD_STEP, Log, Ready, Restart, Step
from netdaemon.wire.whom import TOLD_RUN_AS, TOLD_SANDBOX, RunAs, Sandbox


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRecord(Remembered):
    """A process as people know it. Times are microseconds since the epoch, UTC.

    Once it has exited: ``code`` xor ``signal``; neither means that the status is unknown. ``eof`` lists the
    channels that are closed: 0 that the child reads no more input, 1 and 2 that no more output can come.

    ``failures`` counts the restarts since it last stayed up, ``due`` is when the next comes, ``step`` what a stop is
    at. ``digest`` stands for all that it was started with: the same for the same. ``uid`` and ``gid`` are what
    ``run_as`` comes to.
    """

    id: Annotated[str, TEXT]
    name: Annotated[str, TEXT] | None = None
    labels: Annotated[tuple[str, ...], array(TEXT)] = ()
    state: Annotated[State, STATE]
    generation: Annotated[int, INTEGER] = 1
    argv: Annotated[tuple[str, ...], array(OS_TEXT)]
    cwd: Annotated[str, OS_TEXT] = "/"
    pty: Annotated[Pty, TOLD_PTY] | None = None
    merge: Annotated[bool, BOOLEAN] = False
    owner: Annotated[str, TEXT] = ""
    pid: Annotated[int, INTEGER] | None = None
    created: Annotated[int, INTEGER] = 0
    started: Annotated[int, INTEGER] | None = None
    exited: Annotated[int, INTEGER] | None = None
    code: Annotated[int, INTEGER] | None = None
    signal: Annotated[int, INTEGER] | None = None
    core: Annotated[bool, BOOLEAN] | None = None
    begin: Annotated[int, INTEGER] = 0
    end: Annotated[int, INTEGER] = 0
    stdin_end: Annotated[int, INTEGER] = 0
    eof: Annotated[tuple[int, ...], array(INTEGER)] = ()
    attached: Annotated[int, INTEGER] = 0
    keep: Annotated[int, INTEGER] = 0
    key: Annotated[str, TEXT] | None = None
    digest: Annotated[str, TEXT] | None = None
    stop: Annotated[tuple[Step, ...], array(TOLD_STEP)] | None = None
    restart: Annotated[Restart, TOLD_RESTART] | None = None
    ready: Annotated[Ready, TOLD_READY] | None = None
    watchdog: Annotated[int, INTEGER] | None = None
    log: Annotated[Log, TOLD_LOG] | None = None
    run_as: Annotated[RunAs, TOLD_RUN_AS] | None = None
    limits: Annotated[tuple[str, ...], array(TEXT)] | None = None
    cgroup: Annotated[tuple[str, ...], array(TEXT)] | None = None
    sandbox: Annotated[Sandbox, TOLD_SANDBOX] | None = None
    uid: Annotated[int, INTEGER] | None = None
    gid: Annotated[int, INTEGER] | None = None
    failures: Annotated[int, INTEGER] | None = None
    due: Annotated[int, INTEGER] | None = None
    step: Annotated[str, TEXT] | None = None


PROCESS = open_record(ProcessRecord)


class Happening(Enum):
    """What an event tells; see the protocol description for the order in which they come."""

    CREATED = "created"
    STARTED = "started"
    READY = "ready"
    STOPPING = "stopping"
    STEP = "step"
    EXITED = "exited"
    BACKOFF = "backoff"
    FAILED = "failed"
    REMOVED = "removed"
    CHANGED = "changed"
    SIGNALLED = "signalled"
    NOT_READY = "not-ready"
    NOT_STARTED = "not-started"
    NOT_STOPPED = "not-stopped"
    WATCHDOG = "watchdog"
    LEFTOVER = "leftover"
    LOG_FAILED = "log-failed"
    LOG_RECOVERED = "log-recovered"
    SNAPSHOT = "snapshot"
    STATS = "stats"


HAPPENING = word(Happening)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What a process and all that descends from it use.

    ``cpu`` is milliseconds of processor time since their starts, ``percent`` hundredths of a percent of one processor
    since they were last looked at; ``memory`` is resident bytes, ``read`` and ``written`` bytes of storage.
    """

    time: Annotated[int, INTEGER] = 0
    processes: Annotated[int, INTEGER] = 0
    cpu: Annotated[int, INTEGER] = 0
    percent: Annotated[int, INTEGER] = 0
    memory: Annotated[int, INTEGER] = 0
    threads: Annotated[int, INTEGER] = 0
    descriptors: Annotated[int, INTEGER] = 0
    read: Annotated[int, INTEGER] = 0
    written: Annotated[int, INTEGER] = 0


STATS = open_record(Stats)


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """How a process's log stands: all output before ``offset`` is in the files, the present one ending at ``size``.

    ``inode`` is that of the present file; ``lost`` counts bytes that could not be logged; ``error`` is why nothing can
    be at the moment.
    """

    offset: Annotated[int, INTEGER] = 0
    inode: Annotated[int, INTEGER] = 0
    size: Annotated[int, INTEGER] = 0
    lost: Annotated[int, INTEGER] = 0
    error: Annotated[str, MESSAGE] | None = None


LOGGED = open_record(Logged)
