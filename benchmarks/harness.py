"""Runs benchmarks: each in a place of its own, its tables measured and printed as they come, the figures as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from benchmarks.place import Place
from benchmarks.tables import FULL, SMOKE, Scale, Table

# How often a smoke test measures again what looks like nonsense: on a busy machine anything may happen once.
AGAIN = 4

# What ends a run; what was started is stopped.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Gives its tables one by one; each is measured before the next one is asked for.
Benchmark = Callable[[Place, Scale], Iterator[Table]]


def machine() -> dict[str, str]:
    """Where the figures come from."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": f"{len(os.sched_getaffinity(0))} x {model}",
        "kernel": f"{platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "python": platform.python_version(),
        **{name: version(name) for name in ("netdaemon", "Twisted", "supervisor", "circus")},
    }


def line_of(about: Mapping[str, str]) -> str:
    """The machine in a line."""
    return ", ".join(f"{key}: {value}" for key, value in about.items())


class Run:
    """One run: what was measured, and what went wrong.

    :param out: where the tables are printed.
    :param judge: whether nonsense is a failure, once it has been measured again.
    """

    def __init__(self, scale: Scale, out: TextIO, *, judge: bool) -> None:
        self.tables: list[Table] = []
        self.failures: list[str] = []
        self._scale = scale
        self._out = out
        self._judge = judge

    def carry_out(self, name: str, benchmark: Benchmark) -> None:
        """Measure a benchmark's tables. One that fails does not keep the others from being measured."""
        try:
            with Place() as place:
                if not place.compiled:
                    print("no C compiler: the programs are in Python, and what they limit is lower", file=self._out)
                for table in benchmark(place, self._scale):
                    self._measure(table)
        except Exception as error:
            self._fail(f"{name}: {type(error).__name__}: {error}")

    def _measure(self, table: Table) -> None:
        table.measure(self._scale)
        nonsense = table.nonsense() if self._judge else []
        for _ in range(AGAIN):
            if not nonsense:
                break
            table.measure(self._scale)
            nonsense = table.nonsense()
        self.tables.append(table)
        print("", *table.lines(), sep="\n", file=self._out, flush=True)
        for failure in (*table.failures.values(), *nonsense):
            self._fail(failure)

    def _fail(self, text: str) -> None:
        self.failures.append(text)
        print(f"\nFAILED {text}", file=self._out, flush=True)


def _end(number: int, frame: object) -> None:
    # Once is enough: the second would disturb the stopping.
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(f"ended by {signal.Signals(number).name}")


def run(benchmarks: Mapping[str, Benchmark], description: str) -> None:
    """The main function of a benchmark: measure and print.

    The exit status is 1 where something could not be measured or, with --smoke, was nonsense; a target that is missed
    is neither.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="a little of everything; fails on nonsense only")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE as JSON; - is the standard output")
    options = parser.parse_args()
    for number in ENDING:
        signal.signal(number, _end)
    # As installed programs are: compiled, which the first start sees to.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    scale = SMOKE if options.smoke else FULL
    if options.rounds:
        scale = Scale(rounds=options.rounds, seconds=scale.seconds, effort=scale.effort)
    out = sys.stderr if options.json == "-" else sys.stdout
    about = machine()
    print(line_of(about), file=out)
    print(f"median of {scale.rounds} interleaved rounds; a ratio is the median of the rounds' ratios", file=out)
    began = time.monotonic()
    done = Run(scale, out, judge=options.smoke)
    for name, benchmark in benchmarks.items():
        done.carry_out(name, benchmark)
        print(f"\n[{name}: {time.monotonic() - began:.0f} s since the start]", file=out, flush=True)
    if options.json:
        report = {
            "machine": about,
            "rounds": scale.rounds,
            "tables": [table.record() for table in done.tables],
            "failures": done.failures,
        }
        if options.json == "-":
            print(json.dumps(report))
        else:
            Path(options.json).parent.mkdir(parents=True, exist_ok=True)
            Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if done.failures:
        sys.exit(f"{len(done.failures)} failed:\n" + "\n".join(done.failures))
