"""The table of faults: what was done to a daemon, how often, what came of it, and what it had before and after."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from tests.faults.wire import Wire, daemon_of, descriptors, memory
from tests.support import RunningDaemon

# The name under which a test's report has its rows.
PROPERTY = "fault"

# Seconds for a daemon to close what it no longer needs: nothing fails by it, only the figure is worse.
REST = 3.0

# Rows that begin with this are summed up besides.
INJECTED = "strace: "


@dataclass(frozen=True)
class Row:
    """One line; memory in bytes."""

    what: str
    count: int
    outcome: str
    alive: bool
    memory: tuple[int, int]
    descriptors: tuple[int, int]


class Trial:
    """What is done to one daemon, from when this is made to when `row` is called.

    :ivar count: how often; the test says it.
    :ivar outcome: what came of it, in words; the test says it.
    """

    def __init__(self, running: RunningDaemon, what: str) -> None:
        self.count = 0
        self.outcome = ""
        self._path = running.path
        self._what = what
        pid = running.process.pid
        self._memory, self._descriptors = memory(pid), descriptors(pid)

    def row(self) -> Row:
        """What there was before, and is now; of the daemon that answers now, should it be another."""
        pid = self._answering()
        after = (memory(pid), at_rest(pid, self._descriptors)) if pid else (0, 0)
        return Row(
            what=self._what,
            count=self.count,
            outcome=self.outcome,
            alive=pid is not None,
            memory=(self._memory, after[0]),
            descriptors=(self._descriptors, after[1]),
        )

    def _answering(self) -> int | None:
        """The daemon that says WELCOME."""
        try:
            wire = Wire(self._path)
        except OSError:
            return None
        pid = daemon_of(wire)
        wire.close()
        return pid


def at_rest(pid: int, most: int) -> int:
    """How many descriptors it has once there are no more than *most*, or when it has had its time for that."""
    deadline = time.monotonic() + REST
    while (count := descriptors(pid)) > most and time.monotonic() < deadline:
        time.sleep(0.02)
    return count


def write_table(reporter: Any, reports: Iterable[Any], form: str) -> None:
    """The rows of all tests, and how many system calls were made to fail altogether."""
    rows = [
        Row(*value)
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if not rows:
        return
    reporter.section(f"faults ({form} form)")
    widths = max(len(row.what) for row in rows), max(len(row.outcome) for row in rows)
    reporter.write_line(_line(widths, "what", "how many", "outcome", "alive", "RSS MiB", "descriptors"))
    for row in sorted(rows, key=lambda row: row.what):
        megabytes = " -> ".join(f"{one / (1 << 20):.1f}" for one in row.memory)
        numbers = " -> ".join(map(str, row.descriptors))
        alive = "yes" if row.alive else "NO"
        reporter.write_line(_line(widths, row.what, f"{row.count:,}", row.outcome, alive, megabytes, numbers))
    failed = [row.count for row in rows if row.what.startswith(INJECTED)]
    if failed:
        reporter.write_line(f"system calls made to fail: {sum(failed):,} in {len(failed)} cases")


def _line(widths: tuple[int, int], what: str, count: str, outcome: str, alive: str, *before_and_after: str) -> str:
    memory, numbers = before_and_after
    return f"{what:<{widths[0]}} {count:>9}  {outcome:<{widths[1]}}  {alive:<5}  {memory:>14}  {numbers:>12}".rstrip()


def as_property(row: Row) -> tuple[Any, ...]:
    """What survives the way from a worker process."""
    return astuple(row)
