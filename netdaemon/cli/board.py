"""What processes use, as rows of a table that are kept up to date by events; knows no terminal and no daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from netdaemon.cli import output
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord, Stats

TITLES = ("ID", "NAME", "STATE", "PID", "UP", "CPU%", "MEM", "THR", "FD", "PROCS", "READ", "WRITTEN", "COMMAND")

# Where numbers are: from PID to WRITTEN.
NUMBERS = range(3, 12)

# States in which nothing is used, for the time being.
AT_REST = (State.BACKOFF, State.EXITED, State.FAILED)

# What the rows can be sorted by; those that use most come first.
SORTS: dict[str, Callable[[Row], Any]] = {
    "cpu": lambda row: -row.stats.percent if row.stats else 1,
    "memory": lambda row: -row.stats.memory if row.stats else 1,
    "name": lambda row: row.record.name or row.record.id,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One process, with what it uses; None: nothing has been told, or it does not run."""

    record: ProcessRecord
    stats: Stats | None = None

    def cells(self, now: float) -> tuple[str, ...]:
        """Its row, below `TITLES`; *now* in seconds since the epoch."""
        one, stats = self.record, self.stats
        up = ""
        if one.started is not None and one.state not in AT_REST:
            up = output.duration(now - one.started / 1e6)
        used = ("",) * 7
        if stats is not None:
            used = (
                f"{stats.percent / 100:.1f}",
                size(stats.memory),
                str(stats.threads),
                str(stats.descriptors),
                str(stats.processes),
                size(stats.read),
                size(stats.written),
            )
        name, pid = output.visible(one.name or ""), str(one.pid or "")
        return (output.visible(one.id), name, one.state.value, pid, up, *used, output.command(one.argv))

    def plain(self) -> output.Plain:
        """For programs: the record, and what it uses as ``stats``."""
        told = output.plain(self.record)
        return told if self.stats is None else {**told, "stats": output.plain(self.stats)}


class Board:
    """The rows of all processes that there are.

    :param sort: one of `SORTS`.
    """

    def __init__(self, records: Iterable[ProcessRecord], sort: str) -> None:
        self._rows = {one.id: Row(one) for one in records}
        self._sort = SORTS[sort]
        self._told: dict[str, int] = {}

    def put(self, event: Happened) -> Row | None:
        """Something has happened; the row, if it is about what a process uses."""
        record = event.process
        if event.type is Happening.REMOVED:
            self._rows.pop(record.id, None)
            return None
        if event.type is Happening.STATS and event.stats is not None:
            self._told[record.id] = self._told.get(record.id, 0) + 1
            row = self._rows[record.id] = Row(record, event.stats)
            return row
        before = self._rows.get(record.id, Row(record))
        # What has exited uses nothing; but what has only changed goes on as it was told.
        self._rows[record.id] = Row(record) if record.state in AT_REST else replace(before, record=record)
        return None

    def told(self, times: int) -> bool:
        """Whether of all that runs it has been told so often what it uses."""
        return all(
            self._told.get(row.record.id, 0) >= times for row in self._rows.values() if row.record.state not in AT_REST
        )

    def rows(self) -> list[Row]:
        """All of them, sorted; by their ids where they are the same."""
        return sorted(self._rows.values(), key=lambda row: (self._sort(row), row.record.id))

    def __len__(self) -> int:
        return len(self._rows)


def size(octets: int) -> str:
    """A number of bytes in at most five characters: 0, 999, 1.2K, 34M."""
    number, units = float(octets), iter("KMGTPE")
    unit = ""
    while number >= 999.5 and unit != "E":
        number, unit = number / 1024, next(units)
    return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
