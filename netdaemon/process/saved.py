"""What is saved of a process for the next daemon, as JSON: all that cannot be seen from its descriptors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from netdaemon.errors import BadRequest
from netdaemon.keeper.child import ExitStatus
from netdaemon.logs.writer import Position
from netdaemon.process.identity import Identity, Signs, identity_of, signs_of
from netdaemon.process.points import Point
from netdaemon.wire.answers import Status
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening

# Raised when what is saved changes its meaning; what is only added needs no other form.
FORM = 1

_encode = json.JSONEncoder(separators=(",", ":")).encode

# Before what was saved: the daemon was about to forget the process.
REMOVED = b"removed"

# Events that wait for the journal, of one process: where that cannot be written for long, the oldest go.
PENDING_MOST = 256


class Told(NamedTuple):
    """An event of a process, by its number: it is kept until the journal has it."""

    number: int
    type: Happening
    time: int
    principal: str
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A process as it was when it was saved.

    :param begin: the offset at which the output of its generation begins.
    :param form: whether its generation has a terminal, and one output, where that is not what is declared by now.
    :param signs: by which its generation is known to be ready and alive, where those are not what is declared by now.
    :param closed: the channels of its generation whose ends have come.
    :param stdin_base: the offset at which the generation's input begins.
    :param stdin_end: the end of its input, where no file tells that any more.
    :param passing: it disappears when it has exited and nobody is attached.
    :param ready: its generation is known to be ready.
    :param fault: why that counts as a failure.
    :param life: what its stop and its restarts have come to; empty: nothing.
    :param number: that of its last event.
    :param pending: those that may not be in the journal.
    :param log: how far its log has come.
    """

    identity: Identity
    state: State
    generation: int = 1
    begin: int = 0
    started: int | None = None
    exited: int | None = None
    status: ExitStatus | None = None
    points: tuple[Point, ...] = ()
    form: tuple[bool, bool] | None = None
    signs: Signs | None = None
    closed: tuple[int, ...] | None = None
    stdin_base: int = 0
    stdin_closed: bool = False
    stdin_end: int = 0
    passing: bool = False
    ready: bool = False
    fault: str = ""
    life: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    pending: tuple[Told, ...] = ()
    log: Position | None = None

    @property
    def closed_channels(self) -> frozenset[int]:
        """The channels of its generation whose ends have come; an earlier version has saved them as points only."""
        if self.closed is not None or self.generation > 1:
            return frozenset(self.closed or ())
        return frozenset(point.closed for point in self.points if point.closed is not None)

    def encode(self) -> bytes:
        """As octets."""
        status = self.status
        told = {
            "form": FORM,
            "state": self.state.value,
            "started": self.started,
            "exited": self.exited,
            "status": None if status is None else (status.code, status.signal, status.core),
            "points": [_point(one) for one in self.points],
            "stdin_closed": self.stdin_closed,
            "stdin_end": self.stdin_end,
            "passing": self.passing,
            **{name: value for name in _ADDED if (value := getattr(self, name)) != _ADDED[name]},
        }
        if self.form is not None:
            told["form_of_run"] = self.form
        if self.signs is not None:
            told["signs"] = self.signs.plain
        if self.closed:
            told["closed"] = self.closed
        if self.log is not None:
            told["log"] = (self.log.offset, self.log.inode, self.log.size, self.log.lost)
        if self.pending:
            told["pending"] = [
                (one.number, one.type.value, one.time, one.principal, one.detail) for one in self.pending
            ]
        # What came as bytes of no encoding is kept as JSON has it, escaped.
        return f'{{"identity":{self.identity.encoded},{_encode(told)[1:]}'.encode()

    @classmethod
    def decode(cls, octets: bytes) -> Saved:
        """The other way round.

        :raises ValueError: it is nothing that this version knows.
        """
        try:
            told = json.loads(octets)
            if told["form"] != FORM:
                raise ValueError(f"form {told['form']!r}, and {FORM} is known")
            added = {name: told[name] for name in _ADDED if name in told}
            log, signs = told.get("log"), told.get("signs")
            return cls(
                identity=identity_of(told["identity"]),
                state=State(told["state"]),
                started=told["started"],
                exited=told["exited"],
                status=None if told["status"] is None else ExitStatus(*told["status"]),
                points=tuple(map(_to_point, told["points"])),
                signs=None if signs is None else signs_of(signs),
                stdin_closed=told["stdin_closed"],
                stdin_end=told["stdin_end"],
                passing=told["passing"],
                pending=tuple(_to_told(*one) for one in told.get("pending", ())),
                form=tuple(told["form_of_run"]) if "form_of_run" in told else None,
                closed=tuple(told["closed"]) if "closed" in told else None,
                log=None if log is None else Position(*log),
                **added,
            )
        except (KeyError, TypeError, IndexError, AttributeError, BadRequest) as error:
            raise ValueError(f"it lacks something, or has too much: {error!r}") from error


# What is left out where it is as usual.
_ADDED: dict[str, Any] = {
    "generation": 1,
    "begin": 0,
    "stdin_base": 0,
    "ready": False,
    "fault": "",
    "life": {},
    "number": 0,
}


def _to_told(number: int, type: str, time: int, principal: str, detail: str | None) -> Told:
    return Told(number, Happening(type), time, principal, detail)


def _point(one: Point) -> list[Any]:
    if one.status is None:
        return [one.offset, one.time, one.closed]
    status = one.status
    return [one.offset, one.time, None, status.state.value, *(getattr(status, name) for name in _STATUS)]


_STATUS = ("generation", "pid", "code", "signal", "core", "end")


def _to_point(told: list[Any]) -> Point:
    offset, time, closed, *status = told
    if not status:
        return Point(offset, closed=closed, time=time)
    return Point(
        offset, status=Status(state=State(status[0]), **dict(zip(_STATUS, status[1:], strict=True))), time=time
    )


def was_removed(octets: bytes) -> Saved | None:
    """What follows `REMOVED`: its events may not be in the journal. Of an earlier version there is nothing more."""
    rest = octets[len(REMOVED) :]
    return Saved.decode(rest) if rest else None
