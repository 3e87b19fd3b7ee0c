"""The journal: events at a high rate, LIST of a hundred thousand finished processes, and deleting what is old."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import run
from benchmarks.place import Place
from benchmarks.tables import Case, Scale, Table, Target

RATE = 10_000
SECONDS = 5.0
RECORDS = 100_000

COMMITTED = "committed, events/s"
LATE = "the loop is late, p99, ms"
WITHOUT = "the same without a journal, p99, ms"
WAITED = "from append to committed, p99, ms"

MEDIAN = "a page, median"
P99 = "a page, p99"
MOST = "a page, the slowest"
DECODED = "a page, all its records decoded, p99"

LONGEST = "the longest turn, ms"
DELETED = "rows deleted, rows/s"


def journal(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    numbers = itertools.count()
    found: dict[str, dict[str, float]] = {}
    records = scale.count(RECORDS)

    def measure(task: str, figure: str, **arguments: Any) -> float:
        """Carry a task out, whose other figures are those of the cases that come after."""
        path = str(place.path / f"journal-{next(numbers)}")
        found[task] = place.work("journalling", task, path=path, **arguments)
        return found[task][figure]

    def append(figure: str, journalled: bool = True) -> float:
        return measure("append", figure, rate=RATE, seconds=SECONDS * scale.effort, journalled=journalled)

    yield Table(
        f"{RATE:,} events a second, on a thread",
        "",
        [
            Case(COMMITTED, lambda: append("rate")),
            Case(LATE, lambda: found["append"]["late"]),
            Case(WAITED, lambda: found["append"]["waited"]),
            Case(WITHOUT, lambda: append("late", journalled=False)),
        ],
        targets=(
            Target("events committed a second", COMMITTED, least=RATE * 0.95),
            Target("the loop's delay, p99", LATE, most=20, waiting=True),
        ),
        rounds=1,
    )
    yield Table(
        f"LIST of {records:,} finished processes, until a page is encoded",
        "ms",
        [
            Case(MEDIAN, lambda: measure("pages", "median", count=records)),
            Case(P99, lambda: found["pages"]["p99"]),
            Case(MOST, lambda: found["pages"]["most"]),
            Case(DECODED, lambda: found["pages"]["decoded"]),
        ],
        targets=(Target("a page, the slowest", MOST, most=20, waiting=True),),
        rounds=1,
    )
    yield Table(
        f"deleting {records:,} events and as many finished processes",
        "",
        [
            Case(LONGEST, lambda: measure("trim", "longest", count=records)),
            Case(DELETED, lambda: found["trim"]["rate"]),
            Case(LATE, lambda: found["trim"]["late"]),
        ],
        targets=(Target("the longest turn", LONGEST, most=50, waiting=True),),
        rounds=1,
    )


if __name__ == "__main__":
    run({"journal": journal}, __doc__ or "")
