"""Every reply and event as a frozen dataclass: what the daemon says, in both versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from netdaemon.errors import Refusal, refusal
from netdaemon.wire.fields import BOOLEAN, INTEGER, MESSAGE, PAYLOAD, TEXT, array
from netdaemon.wire.frame import MAX_MESSAGE
from netdaemon.wire.records import COUNTS, LIMITS, REASON, STATE, Counts, Limits, Reason, State
from netdaemon.wire.told import HAPPENING, LOGGED, PROCESS, STATS, Happening, Logged, ProcessRecord, Stats

# Input that may wait for one process: one message of input while another is fed. Told in HELLO.
WINDOW = 512 * 1024

# Characters of an error's message: more is not read by anybody, and what it quotes may be a whole argument.
MESSAGE_MOST = 2000

NO_LIMITS = Limits()
NO_COUNTS = Counts()


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Whatever travels; ``command`` is its number on the wire."""

    command: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply(Message):
    """What the daemon answers a request with; exactly one each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event(Message):
    """What the daemon tells by itself, on the id of the request that asked for it."""


# --- replies ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Ok(Reply):
    """Done; there is nothing more to tell."""

    command = 0xFF00


@dataclass(frozen=True, kw_only=True, slots=True)
class Welcome(Reply):
    """The answer to HELLO: the version that is spoken from here on, who answers, and what it allows."""

    command = 0x0001

    server: Annotated[str, TEXT] = ""
    instance: Annotated[str, TEXT] = ""
    principal: Annotated[str, TEXT] = ""
    max_message: Annotated[int, INTEGER] = MAX_MESSAGE
    window: Annotated[int, INTEGER] = WINDOW
    features: Annotated[tuple[str, ...], array(TEXT)] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Started(Reply):
    """A process was started (``created``), or the same one exists already."""

    command = 0xFF00

    process: Annotated[ProcessRecord, PROCESS]
    created: Annotated[bool, BOOLEAN] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached(Reply):
    """The request's id is an attachment now; output follows from ``offset`` on, after a GAP if it is not kept."""

    command = 0x0110

    process: Annotated[ProcessRecord, PROCESS]
    offset: Annotated[int, INTEGER] = 0
    begin: Annotated[int, INTEGER] = 0
    end: Annotated[int, INTEGER] = 0
    stdin_end: Annotated[int, INTEGER] = 0
    eof: Annotated[tuple[int, ...], array(INTEGER)] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Reply):
    """Records in the order in which their processes were created; ``after`` begins the next page, if any."""

    command = 0x0103

    processes: Annotated[tuple[ProcessRecord, ...], array(PROCESS)] = ()
    after: Annotated[str, TEXT] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OfProcess(Reply):
    """The record as it is now: of INSPECT, and of WAIT and RESTART when it is so."""

    command = 0xFF00

    process: Annotated[ProcessRecord, PROCESS]
    logged: Annotated[Logged, LOGGED] | None = None
    stats: Annotated[Stats, STATS] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped(Reply):
    """The process has stopped; ``step`` is what worked, in words, and ``already``: it was not running."""

    command = 0xFF00

    process: Annotated[ProcessRecord, PROCESS]
    step: Annotated[str, TEXT] = ""
    already: Annotated[bool, BOOLEAN] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed(Reply):
    """A process was changed; ``restart``: some of it counts from the next start on only."""

    command = 0xFF00

    process: Annotated[ProcessRecord, PROCESS]
    restart: Annotated[bool, BOOLEAN] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned(Reply):
    """So many were forgotten."""

    command = 0xFF00

    count: Annotated[int, INTEGER]


@dataclass(frozen=True, kw_only=True, slots=True)
class Watching(Reply):
    """The request's id is a subscription now; ``cursor`` is where it stands.

    ``fresh``: what happened before is not told; a snapshot of all that match comes first, an event for each, if there
    are any: then ``snapshot``.
    """

    command = 0xFF00

    cursor: Annotated[str, TEXT]
    fresh: Annotated[bool, BOOLEAN] = True
    snapshot: Annotated[bool, BOOLEAN] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken(Reply):
    """``accepted`` bytes of a DATA are safe and may be forgotten; ``end`` is the stdin offset after them."""

    command = 0xFF00

    accepted: Annotated[int, INTEGER]
    end: Annotated[int, INTEGER]


@dataclass(frozen=True, kw_only=True, slots=True)
class DaemonInfo(Reply):
    """The daemon as it is now; ``uptime`` in milliseconds, ``degraded`` what does not work here as it should."""

    command = 0xFF00

    version: Annotated[str, TEXT]
    instance: Annotated[str, TEXT]
    pid: Annotated[int, INTEGER]
    keeper_pid: Annotated[int, INTEGER] | None = None
    uptime: Annotated[int, INTEGER] = 0
    limits: Annotated[Limits, LIMITS] = NO_LIMITS
    counts: Annotated[Counts, COUNTS] = NO_COUNTS
    degraded: Annotated[tuple[str, ...], array(TEXT)] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure(Reply):
    """ERROR: the request was understood and not carried out; the conversation goes on."""

    command = 0xFFF0

    code: Annotated[str, TEXT]
    errno: Annotated[int, INTEGER] = 0
    message: Annotated[str, MESSAGE] = ""
    process: Annotated[str, TEXT] | None = None
    field: Annotated[str, TEXT] | None = None
    stage: Annotated[str, TEXT] | None = None
    accepted: Annotated[int, INTEGER] | None = None
    end: Annotated[int, INTEGER] | None = None

    @classmethod
    def of(cls, error: Refusal) -> Failure:
        """The message that tells *error*."""
        return cls(
            code=error.code,
            errno=error.errno,
            message=error.message if len(error.message) <= MESSAGE_MOST else error.message[:MESSAGE_MOST] + "...",
            process=error.process,
            field=error.field,
            stage=error.stage,
            accepted=error.accepted,
            end=error.end,
        )

    def refusal(self) -> Refusal:
        """The error to raise in the caller."""
        return refusal(
            self.code,
            self.message,
            number=self.errno,
            process=self.process,
            field=self.field,
            stage=self.stage,
            accepted=self.accepted,
            end=self.end,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Abort(Event):
    """The conversation is over, and why; always on id 0, and the connection closes after it."""

    command = 0xFFFF

    code: Annotated[str, TEXT] = ""
    errno: Annotated[int, INTEGER] = 0
    message: Annotated[str, MESSAGE] = ""


# --- events ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Output(Event):
    """DATA from the daemon: bytes that a process wrote, where and about when; no bytes: EOF."""

    command = 0x0201

    channel: Annotated[int, INTEGER]
    offset: Annotated[int, INTEGER] = 0
    time: Annotated[int, INTEGER] = 0
    payload: Annotated[bytes, PAYLOAD] = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status(Event):
    """The process has come to a state; for *exited*, every byte that the generation wrote has gone before."""

    command = 0x0202

    state: Annotated[State, STATE]
    generation: Annotated[int, INTEGER] = 1
    pid: Annotated[int, INTEGER] | None = None
    code: Annotated[int, INTEGER] | None = None
    signal: Annotated[int, INTEGER] | None = None
    core: Annotated[bool, BOOLEAN] | None = None
    end: Annotated[int, INTEGER] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap(Event):
    """The bytes from ``from_`` up to ``to`` are not kept any more; output goes on at ``to``."""

    command = 0x0205

    from_: Annotated[int, INTEGER]
    to: Annotated[int, INTEGER]


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened(Event):
    """EVENT: something happened to a process, which is now as in ``process``; ``snapshot``: nothing did, it is so.

    ``cursor`` is where to go on from after this; empty in a snapshot but for its last event, and with ``stats``, which
    are not kept.
    """

    command = 0x0207

    cursor: Annotated[str, TEXT] = ""
    type: Annotated[Happening, HAPPENING]
    time: Annotated[int, INTEGER] = 0
    principal: Annotated[str, TEXT] = ""
    detail: Annotated[str, MESSAGE] | None = None
    process: Annotated[ProcessRecord, PROCESS]
    snapshot: Annotated[bool, BOOLEAN] | None = None
    stats: Annotated[Stats, STATS] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End(Event):
    """The attachment or subscription is over; its id may be used again."""

    command = 0x0208

    reason: Annotated[Reason, REASON]


# Those replies whose id stays open: events come on it, until END.
OPENING = (Attached, Watching)

EVENTS: dict[int, type[Event]] = {
    declaration.command: declaration for declaration in (Output, Status, Gap, Happened, End)
}
