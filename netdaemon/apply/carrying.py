"""An action of a plan as the requests that it takes, one after another; knows no connection.

Whoever has one drives it: `carry_out` gives a request, is given the reply or thrown the error, and gives the next.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from netdaemon.apply.planning import Action, Kind, Plan
from netdaemon.errors import NetdaemonError, NoSuchProcess, WrongGeneration
from netdaemon.wire.answers import Message, Started
from netdaemon.wire.commands import Again, Change, Remove, Request, Start, Stop
from netdaemon.wire.specs import USUAL_STOP, Step
from netdaemon.wire.told import ProcessRecord

# How many actions are under way at the same time, unless said: a daemon starts no more than that in a row without a
# pause, and what is stopped mostly waits.
AT_ONCE = 8
AT_ONCE_MAX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """A request that belongs to an action.

    :ivar doing: what it does, in a word: ``stopping``.
    :ivar wait: so many milliseconds the reply may take by what was declared, besides the usual.
    """

    doing: str
    request: Request
    wait: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an action: the process as it is now, if there is one; or why it was not done."""

    action: Action
    record: ProcessRecord | None = None
    error: NetdaemonError | None = None

    def plain(self) -> dict[str, Any]:
        """For programs; the error is for whoever prints it."""
        told = self.action.plain()
        if self.record is not None:
            told["process"] = self.record.id
        return told | {"done": self.error is None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """A plan, and what became of it; no outcomes where it was not carried out."""

    plan: Plan
    outcomes: tuple[Outcome, ...] = ()

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """What was not done."""
        return tuple(one for one in self.outcomes if one.error is not None)


Doing = Generator[Deed, Message, ProcessRecord | None]


def carry_out(action: Action) -> Doing:
    """What *action* takes; ends with the process as it is then.

    :raises NetdaemonError: what was thrown in and is not as good as done.
    """
    if action.kind is Kind.START:
        return (yield from _start(action.spec))
    record = action.record
    if record is None or action.kind in (Kind.LEAVE, Kind.UNCHANGED):
        return record
    if action.kind is Kind.REMOVE:
        yield from _remove(record)
        return None
    if action.kind is Kind.REPLACE:
        yield from _remove(record)
        return (yield from _start(action.spec))
    if action.kind is not Kind.START_AGAIN and action.spec is not None:
        changed: Any = yield Deed(doing="changing", request=change_of(action.spec, record))
        record = changed.process
    if action.kind is not Kind.CHANGE:
        return (yield from _restart(record))
    return record


def change_of(spec: Start, record: ProcessRecord) -> Change:
    """Make a process what *spec* says, all of it."""
    return Change(
        process=record.id,
        whole=True,
        argv=spec.argv,
        path=spec.path,
        env=spec.env,
        cwd=spec.cwd,
        name=spec.name,
        labels=spec.labels,
        pty=spec.pty,
        merge=spec.merge,
        stop=spec.stop,
        restart=spec.restart,
        ready=spec.ready,
        watchdog=spec.watchdog,
        log=spec.log,
        run_as=spec.run_as,
        limits=spec.limits,
        cgroup=spec.cgroup,
        sandbox=spec.sandbox,
    )


def _start(spec: Start | None) -> Doing:
    assert spec is not None
    reply = yield Deed(doing="starting", request=spec)
    return reply.process if isinstance(reply, Started) else None


def _restart(record: ProcessRecord) -> Doing:
    """Start it anew. One that was started anew meanwhile has all that was changed before: that is as good."""
    try:
        request = Again(process=record.id, generation=record.generation)
        reply: Any = yield Deed(doing="restarting", request=request, wait=_time_to_stop(record))
    except WrongGeneration:
        return record
    again: ProcessRecord = reply.process
    return again


def _remove(record: ProcessRecord) -> Doing:
    """Stop it and forget it. One that is not there any more is as good."""
    try:
        yield Deed(doing="stopping", request=Stop(process=record.id), wait=_time_to_stop(record))
        yield Deed(doing="removing", request=Remove(process=record.id))
    except NoSuchProcess:
        pass
    return None


def _time_to_stop(record: ProcessRecord) -> int:
    steps: tuple[Step, ...] = record.stop or USUAL_STOP
    return sum(step.wait or 0 for step in steps)
