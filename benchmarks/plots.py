"""Pictures of the tables that are curves: `python -m benchmarks.plots FILE.json` makes docs/*.png of a run."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.harness import line_of
from benchmarks.place import ROOT

# Inches, and dots for each.
SIZE = (8.0, 5.0)
DOTS = 110

# Characters in a line below the picture.
CAPTION = 130

# Beyond this factor between the least and the most, a linear axis shows only the most.
LINEAR_MOST = 20


def draw(table: dict[str, Any], caption: str, to: Path) -> None:
    """One table: a line for each series, a band from its least to its most, and the limits as levels."""
    picture, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    series: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for name, case in table["cases"].items():
        if case["at"] is None:
            axes.axhline(case["median"], linestyle="--", color="gray", label=name)
        else:
            series.setdefault(case["series"], []).append((case["at"], case))
    for name, points in series.items():
        at = [place for place, _ in points]
        (line,) = axes.plot(at, [case["median"] for _, case in points], marker="o", label=name)
        least, most = ([edge(case["all"]) for _, case in points] for edge in (min, max))
        axes.fill_between(at, least, most, color=line.get_color(), alpha=0.2, linewidth=0)
    _scale(axes, table, sorted({place for points in series.values() for place, _ in points}))
    axes.set_title(table["title"])
    axes.set_xlabel(table["plot"]["along"])
    axes.set_ylabel(f"{table['plot']['quantity']} ({table['unit']})")
    axes.grid(alpha=0.3)
    axes.legend()
    picture.supxlabel(textwrap.fill(caption, CAPTION), fontsize=7, color="gray")
    picture.savefig(to, dpi=DOTS)
    pyplot.close(picture)


def _scale(axes: Axes, table: dict[str, Any], places: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(places)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    medians = [case["median"] for case in table["cases"].values()]
    if max(medians) > LINEAR_MOST * min(medians):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, metavar="FILE.json", help="what --json has written")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", metavar="DIRECTORY", help="where the pictures go")
    options = parser.parse_args()
    report = json.loads(options.figures.read_text())
    caption = line_of(report["machine"])
    for table in report["tables"]:
        if table["plot"] and table["cases"]:
            to = options.to / f"{table['plot']['name']}.png"
            rounds = f"{report['rounds']} rounds" if table["rounds"] is None else ""
            draw(table, "; ".join(filter(None, (caption, rounds))), to)
            print(to)


if __name__ == "__main__":
    main()
