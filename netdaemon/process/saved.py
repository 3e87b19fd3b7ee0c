"""What is saved of a process for the next daemon, as JSON: all that cannot be seen from its descriptors."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from netdaemon.keeper.child import ExitStatus
from netdaemon.wire.answers import Status
from netdaemon.wire.records import Pty, State

# Raised when what is saved changes its meaning; what is only added needs no other form.
FORM = 1

_encode = json.JSONEncoder(separators=(",", ":")).encode

# In place of what was saved: the daemon was about to forget the process.
REMOVED = b"removed"


@dataclass(frozen=True)
class Point:
    """Something that happened at an offset: a status, or the end of a channel."""

    offset: int
    status: Status | None = None
    closed: int | None = None
    time: int = 0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a process is called and what it runs; fixed when it is created.

    :param key: the key of the START that it comes from, and *digest*, by which the same START is known again.
    """

    id: str
    argv: tuple[str, ...]
    created: int = 0
    name: str | None = None
    labels: tuple[str, ...] = ()
    cwd: str = "/"
    pty: Pty | None = None
    merge: bool = False
    owner: str = ""
    key: str | None = None
    digest: str = ""

    @cached_property
    def encoded(self) -> str:
        """As JSON: it does not change, and is saved whenever something else does."""
        told = {name: getattr(self, name) for name in _IDENTITY}
        told["pty"] = None if self.pty is None else (self.pty.rows, self.pty.columns, self.pty.term)
        return _encode({name: value for name, value in told.items() if value})


_IDENTITY = tuple(field.name for field in dataclasses.fields(Identity))


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A process as it was when it was saved.

    :param stdin_end: the end of its input, where no file tells that any more.
    :param passing: it disappears when it has exited and nobody is attached.
    """

    identity: Identity
    state: State
    started: int | None = None
    exited: int | None = None
    status: ExitStatus | None = None
    points: tuple[Point, ...] = ()
    stdin_closed: bool = False
    stdin_end: int = 0
    passing: bool = False

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
        }
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
            identity = dict(told["identity"])
            for field in ("argv", "labels"):
                identity[field] = tuple(identity.get(field, ()))
            pty = identity.get("pty")
            identity["pty"] = None if pty is None else Pty(rows=pty[0], columns=pty[1], term=pty[2])
            return cls(
                identity=Identity(**identity),
                state=State(told["state"]),
                started=told["started"],
                exited=told["exited"],
                status=None if told["status"] is None else ExitStatus(*told["status"]),
                points=tuple(map(_to_point, told["points"])),
                stdin_closed=told["stdin_closed"],
                stdin_end=told["stdin_end"],
                passing=told["passing"],
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"it lacks something, or has too much: {error!r}") from error


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
