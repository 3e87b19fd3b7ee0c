"""Cases that are measured side by side, what they are to come to, and both as text and JSON; knows no programs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# A smoke test fails only on what cannot be noise: this many times worse than the target.
NONSENSE = 10


@dataclass(frozen=True)
class Scale:
    """How much is done: `FULL` for figures, `SMOKE` to see that it works at all.

    :ivar rounds: how often each case is measured, in turn with the others.
    :ivar seconds: how long one measurement of a flow lasts.
    :ivar effort: what share of the full count of small things is done.
    """

    rounds: int
    seconds: float
    effort: float

    def count(self, full: int) -> int:
        """*full*, or less of it."""
        return max(1, int(full * self.effort))

    def points(self, full: Sequence[int]) -> Sequence[int]:
        """The points of a curve, or every third of them."""
        return full if self.effort == 1 else full[::3]


FULL = Scale(rounds=5, seconds=0.75, effort=1.0)
SMOKE = Scale(rounds=1, seconds=0.25, effort=0.1)


@dataclass(frozen=True)
class Case:
    """One row: what *run* measures, in the table's unit.

    :ivar at: where it stands along a plot; None: it is drawn as a limit that does not depend on that.
    :ivar series: the line of the plot that it is a point of.
    """

    name: str
    run: Callable[[], float]
    at: float | None = None
    series: str = ""


@dataclass(frozen=True)
class Target:
    """What the ratio of one case to another is to be, or one case's figure itself.

    :ivar to: the other case; None: the figure counts, in the table's unit.
    :ivar least: it must not be below that.
    :ivar most: it must not be above that.
    :ivar waiting: most of it is waiting for other processes to be woken, for which the other case does not wait: on a
        busy machine that takes many times longer, which is no nonsense.
    """

    name: str
    case: str
    to: str | None = None
    least: float | None = None
    most: float | None = None
    waiting: bool = False

    @property
    def wanted(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else ""

    def met(self, value: float, slack: float = 1.0) -> bool:
        """Whether *value* will do, within *slack* times the target."""
        if self.least is not None and not value * slack >= self.least:
            return False
        return self.most is None or 0 < value <= self.most * slack

    def nonsense(self, value: float) -> bool:
        """Whether no noise explains *value*."""
        return not self.met(value, NONSENSE**2 if self.waiting else NONSENSE)

    def verdict(self, value: float | None) -> str:
        """What is said of *value*; None: it could not be measured."""
        if self.least is None and self.most is None:
            return ""
        return "met" if value is not None and self.met(value) else "MISSED"


@dataclass(frozen=True)
class Plot:
    """How a table is drawn.

    :ivar name: of the picture's file.
    :ivar along: what its cases differ in: the horizontal axis.
    :ivar quantity: what is measured: the vertical axis, in the table's unit.
    """

    name: str
    along: str
    quantity: str


@dataclass
class Table:
    """Cases that are measured side by side.

    :ivar references: the cases that the others are told in ratios to: columns of the table.
    :ivar checked: whether a figure of 0 or less is nonsense.
    :ivar rounds: how often each case is measured, if that is not the scale's to say: some can be measured only once.
    :ivar plot: how it is drawn, if it is.
    :ivar values: what was measured of each case, a figure for each round.
    :ivar failures: the cases that could not be measured, and why.
    """

    title: str
    unit: str
    cases: Sequence[Case]
    references: Sequence[str] = ()
    targets: Sequence[Target] = ()
    note: str = ""
    checked: bool = True
    rounds: int | None = None
    plot: Plot | None = None
    values: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def measure(self, scale: Scale) -> None:
        """Every case once a round, the order turned round every time, so that a slow minute strikes all alike.

        A case that fails is left out from there on, and the others are measured all the same.
        """
        self.values = {case.name: [] for case in self.cases}
        self.failures = {}
        for number in range(self.rounds or scale.rounds):
            for case in self.cases if number % 2 == 0 else reversed(self.cases):
                if case.name not in self.values:
                    continue
                try:
                    self.values[case.name].append(case.run())
                except Exception as error:
                    del self.values[case.name]
                    self.failures[case.name] = f"{self.title}: {case.name}: {type(error).__name__}: {error}"

    def value(self, case: str, to: str | None = None) -> float | None:
        """The median of a case, or of the rounds' ratios, both sides of which were measured within seconds; None if
        one of them has failed."""
        mine, theirs = self.values.get(case), None if to is None else self.values.get(to)
        if mine is None or (to is not None and theirs is None):
            return None
        if theirs is None:
            return statistics.median(mine)
        return statistics.median(one / other if other else 0.0 for one, other in zip(mine, theirs, strict=True))

    def of(self, target: Target) -> float | None:
        """What *target* is about, as measured."""
        return self.value(target.case, target.to)

    def lines(self) -> list[str]:
        """The table as text."""
        rows = [[self.title, self.unit, "least", "most", *(f"/ {name}" for name in self.references)]]
        for case in self.cases:
            values = self.values.get(case.name)
            if values is None:
                rows.append([case.name, "failed", "", "", *("" for _ in self.references)])
                continue
            ratios = [figure(self.value(case.name, name)) for name in self.references]
            rows.append(
                [case.name, figure(statistics.median(values)), figure(min(values)), figure(max(values)), *ratios]
            )
        lines = _align(rows)
        if self.targets:
            rows = [
                ["target", "figure" if all(target.to is None for target in self.targets) else "ratio", "wanted", ""]
            ]
            for target in self.targets:
                value = self.of(target)
                rows.append([target.name, figure(value), target.wanted, target.verdict(value)])
            lines += ["", *_align(rows)]
        return [*lines, *([f"({self.note})"] if self.note else [])]

    def record(self) -> dict[str, Any]:
        """The table for a program."""
        return {
            "title": self.title,
            "unit": self.unit,
            "note": self.note,
            "rounds": self.rounds,
            "plot": None if self.plot is None else asdict(self.plot),
            "cases": {
                case.name: {
                    "median": statistics.median(self.values[case.name]),
                    "all": self.values[case.name],
                    "at": case.at,
                    "series": case.series,
                }
                for case in self.cases
                if case.name in self.values
            },
            "targets": [
                {**asdict(target), "value": self.of(target), "verdict": target.verdict(self.of(target))}
                for target in self.targets
            ],
            "failures": self.failures,
        }

    def nonsense(self) -> list[str]:
        """What no noise explains: nothing measured, or a tenth of a target."""
        found = []
        if self.checked:
            found = [f"{self.title}: {name} is {values}" for name, values in self.values.items() if min(values) <= 0]
        for target in self.targets:
            value = self.of(target)
            if value is not None and target.nonsense(value):
                found.append(f"{self.title}: {target.name} is {value:.3g}, wanted {target.wanted}")
        return found


def figure(value: float | None) -> str:
    """Three significant digits, without an exponent; a dash for what is not known."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 or value <= 0 else f"{value:.5f}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines
