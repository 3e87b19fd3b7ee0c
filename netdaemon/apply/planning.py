"""What is to be done for a daemon to match sets of specs: a value, that can be looked at before; does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from netdaemon.apply.faults import At, Fault, SpecFaults
from netdaemon.apply.reading import SpecSet
from netdaemon.signal_names import name_of
from netdaemon.wire.commands import Start
from netdaemon.wire.digest import digest_of, meaning
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord

# What counts from the next start on only, as CHANGE has it.
LATER = frozenset(
    ("argv", "path", "env", "cwd", "pty", "merge", "ready", "watchdog", "run_as", "limits", "cgroup", "sandbox")
)

# What no record tells. Whether it has changed is told by the digest.
_NOT_TOLD = ("path", "env")

# In the order in which they are told.
FIELDS = (
    "argv",
    "path",
    "env",
    "cwd",
    "name",
    "labels",
    "pty",
    "merge",
    "keep",
    "stop",
    "restart",
    "ready",
    "watchdog",
    "log",
    "run_as",
    "limits",
    "cgroup",
    "sandbox",
)

# Those that do not run and are to stay like that: they did what they were for, or somebody has stopped them.
_AT_REST = (State.EXITED, State.STOPPING)

# Those that do not run although they are to.
_DOWN = (State.BACKOFF, State.FAILED)


class Kind(Enum):
    """What is to be done with a process."""

    REMOVE = "remove"
    REPLACE = "replace"
    CHANGE = "change"
    CHANGE_AND_RESTART = "change-and-restart"
    START = "start"
    START_AGAIN = "start-again"
    LEAVE = "leave"
    UNCHANGED = "unchanged"


_WORDS = {
    Kind.REMOVE: "- remove",
    Kind.REPLACE: "! replace",
    Kind.CHANGE: "~ change",
    Kind.CHANGE_AND_RESTART: "! restart",
    Kind.START: "+ start",
    Kind.START_AGAIN: "+ start again",
    Kind.LEAVE: "= leave",
    Kind.UNCHANGED: "= unchanged",
}

# What is done before what: what goes frees its place for what comes.
PHASES = ((Kind.REMOVE,), (Kind.REPLACE, Kind.CHANGE, Kind.CHANGE_AND_RESTART), (Kind.START, Kind.START_AGAIN))


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What is to be done with one process.

    :ivar spec: what it is to be; None: it is not to be.
    :ivar record: what it is; None: there is none.
    :ivar fields: what differs.
    :ivar why: what else is to be said of it.
    """

    kind: Kind
    name: str
    set: str
    spec: Start | None = None
    record: ProcessRecord | None = None
    fields: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        more = "; ".join(filter(None, (", ".join(self.fields), self.why)))
        return f"{_WORDS[self.kind]} {self.name}" + (f": {more}" if more else "")

    def plain(self) -> dict[str, Any]:
        """The same for programs."""
        told: dict[str, Any] = {"action": self.kind.value, "set": self.set, "name": self.name}
        if self.record is not None:
            told["process"] = self.record.id
        if self.fields:
            told["fields"] = list(self.fields)
        if self.why:
            told["why"] = self.why
        return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that is to be done, in order, and what is not."""

    actions: tuple[Action, ...]

    @property
    def phases(self) -> tuple[tuple[Action, ...], ...]:
        """What is to be done, one phase after the other; the actions of one can be done at the same time."""
        phases = (tuple(one for one in self.actions if one.kind in kinds) for kinds in PHASES)
        return tuple(filter(None, phases))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.phases

    @property
    def left(self) -> Plan:
        """Those with which nothing is to be done."""
        return Plan(actions=tuple(one for one in self.actions if one.kind in (Kind.LEAVE, Kind.UNCHANGED)))

    @property
    def unchanged(self) -> int:
        """How many are as they are to be."""
        return sum(one.kind is Kind.UNCHANGED for one in self.actions)

    @property
    def lines(self) -> tuple[str, ...]:
        """The plan for people, a line each; those that are as they are to be in one."""
        lines = [str(one) for one in self.actions if one.kind is not Kind.UNCHANGED]
        if self.unchanged:
            lines.append(f"{_WORDS[Kind.UNCHANGED]} {self.unchanged}")
        return tuple(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def plain(self) -> list[dict[str, Any]]:
        """The plan for programs."""
        return [one.plain() for one in self.actions]


def plan(sets: Sequence[SpecSet], records: Iterable[ProcessRecord]) -> Plan:
    """What is to be done for a daemon to match *sets*.

    :param records: of all its processes: a name is everybody's.
    :raises SpecFaults: processes that are of none of the sets have a name that is in them.
    """
    records = tuple(records)
    by_key = {record.key: record for record in records if record.key is not None}
    actions: list[Action] = []
    for one in sets:
        wanted = {spec.key for spec in one.specs}
        for key, record in by_key.items():
            if key.startswith(one.prefix) and key not in wanted:
                name = record.name or key.removeprefix(one.prefix)
                actions.append(Action(kind=Kind.REMOVE, name=name, set=one.name, record=record))
    going = {action.record.id for action in actions if action.record is not None}
    _check_names(sets, [record for record in records if record.id not in going])
    for one in sets:
        for spec in one.specs:
            actions.append(_action(one.name, spec, by_key.get(str(spec.key))))
    order = list(Kind)
    return Plan(actions=tuple(sorted(actions, key=lambda action: order.index(action.kind))))


def _check_names(sets: Sequence[SpecSet], records: Iterable[ProcessRecord]) -> None:
    faults: list[Fault] = []
    owners: dict[str, ProcessRecord] = {}
    for record in records:
        # A name that is another's id would be ambiguous; no daemon gives it.
        owners[record.id] = record
        if record.name is not None:
            owners[record.name] = record
    for one in sets:
        for spec in one.specs:
            name = str(spec.name)
            owner = owners.get(name)
            if owner is not None and owner.key != spec.key:
                At(one.file, faults).key("process").key(name).fault(
                    f"the name belongs to process {owner.id}, which is {_origin(owner, one)}"
                )
    if faults:
        raise SpecFaults(faults)


def _origin(owner: ProcessRecord, of: SpecSet) -> str:
    key = owner.key or ""
    if key.startswith(of.prefix):
        return f"{key.removeprefix(of.prefix)!r} of this set under another name"
    return f"not of the set {of.name!r}"


def _action(set: str, spec: Start, record: ProcessRecord | None) -> Action:
    name = str(spec.name)
    if record is None:
        return Action(kind=Kind.START, name=name, set=set, spec=spec)
    fields = differing(spec, record)
    kind, why = _decide(record, fields)
    if kind is Kind.CHANGE:
        # That of one that is at rest: it is changed when it is replaced.
        fields = tuple(field for field in fields if field != "keep")
    return Action(kind=kind, name=name, set=set, spec=spec, record=record, fields=fields, why=why)


def _decide(record: ProcessRecord, fields: tuple[str, ...]) -> tuple[Kind, str]:
    if record.state in _AT_REST:
        # To replace it would be to start it.
        if not set(fields) - {"keep"}:
            return Kind.LEAVE, f"it {_ending(record)}"
        return Kind.CHANGE, f"it {_ending(record)}, and is left so"
    if "keep" in fields:
        return Kind.REPLACE, ""
    if record.state in _DOWN:
        return (Kind.CHANGE_AND_RESTART if fields else Kind.START_AGAIN), f"it {_ending(record)}"
    if LATER.intersection(fields):
        return Kind.CHANGE_AND_RESTART, ""
    return (Kind.CHANGE if fields else Kind.UNCHANGED), ""


def _ending(record: ProcessRecord) -> str:
    """How it is that it does not run."""
    if record.state is State.STOPPING:
        return "is being stopped"
    words = {State.BACKOFF: "waits to be started again", State.FAILED: "has failed"}.get(record.state, "has exited")
    if record.signal is not None:
        return f"{words} (by SIG{name_of(record.signal)})"
    return words if record.code is None else f"{words} (with {record.code})"


def differing(spec: Start, record: ProcessRecord) -> tuple[str, ...]:
    """The fields in which a process is not what *spec* says; ``keep`` is left to the daemon where that says nothing."""
    wanted, told = meaning(spec), meaning(record)
    if "keep" not in wanted:
        del told["keep"]
    found = {name for name in FIELDS if name not in _NOT_TOLD and wanted.get(name) != told.get(name)}
    if record.digest is not None:
        found |= _differing_unseen(wanted, told, record)
    return tuple(name for name in FIELDS if name in found)


def _differing_unseen(wanted: dict[str, Any], told: dict[str, Any], record: ProcessRecord) -> set[str]:
    """Which of those fields differ that no record tells: without them it would have another digest."""
    unseen = {name: wanted[name] for name in _NOT_TOLD if name in wanted}

    def fits(**values: Any) -> bool:
        whole = {name: value for name, value in {**told, **values}.items() if name != "keep"}
        return record.digest in (digest_of(whole), digest_of({**whole, "keep": record.keep}))

    if fits(**unseen):
        return set()
    if "path" in unseen:
        # It is executed by its first argument, and is to be by another path.
        del unseen["path"]
        if fits(**unseen):
            return {"path"}
    return {"env"}
