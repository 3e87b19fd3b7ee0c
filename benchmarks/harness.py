"""What every benchmark needs: a place with a daemon and peers in it, interleaved rounds, tables of ratios, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent

# Seconds for what was started to answer, and to end.
PATIENCE = 20.0

# A smoke test fails only on what cannot be noise: this many times worse than the target.
NONSENSE = 10

NDTOOL = [sys.executable, "-m", "netdaemon.cli"]
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]


class Failed(Exception):
    """A benchmark could not be carried out; the message has what its program said."""


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


FULL = Scale(rounds=7, seconds=1.0, effort=1.0)
SMOKE = Scale(rounds=1, seconds=0.25, effort=0.1)


class Place:
    """A directory of its own, the programs compiled into it, and everything started from it, which ends with it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ndbench"))
        self.compiled = False
        self._started: list[subprocess.Popen[bytes]] = []
        self._daemons: dict[subprocess.Popen[bytes], str] = {}
        self.program = self._build()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._started:
            self.stop(self._started[-1])
        shutil.rmtree(self.path, ignore_errors=True)

    def _build(self) -> tuple[str, ...]:
        """The command for the programs of programs.c: compiled if there is a compiler, in Python otherwise."""
        target = self.path / "programs"
        compiler = os.environ.get("CC", "cc")
        try:
            subprocess.run([compiler, "-O2", "-o", str(target), str(HERE / "programs.c")], check=True)
        except (OSError, subprocess.CalledProcessError):
            return (sys.executable, "-I", str(HERE / "programs.py"))
        self.compiled = True
        return (str(target),)

    # --- what is started ---------------------------------------------------------------------------------------------

    def start(self, name: str, argv: Sequence[str], answers: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a program that stays, and wait until it listens on the socket *answers*."""
        with open(self.path / f"{name}.log", "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        self._started.append(process)
        deadline = time.monotonic() + PATIENCE
        while answers is not None and not _listening(answers):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{name} does not answer:\n{(self.path / f'{name}.log').read_text()}")
            time.sleep(0.02)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End what was started."""
        self._started.remove(process)
        if process.poll() is None:
            socket = self._daemons.get(process)
            if socket is None:
                process.send_signal(signal.SIGTERM)
            else:
                # Its keeper and its processes with it.
                subprocess.run([*NDTOOL, "--socket", socket, "shutdown"], check=False, timeout=PATIENCE)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def daemon(self, *options: str, name: str = "netdaemon") -> tuple[subprocess.Popen[bytes], str]:
        """A netdaemon, and the path of its socket."""
        path = self.path / f"{name}.sock"
        process = self.start(name, [*TWISTD, "netdaemon", f"--socket={path}", *options], path)
        self._daemons[process] = str(path)
        return process, str(path)

    def peer(self, name: str) -> str:
        """A server of benchmarks.peers, by its name; the path of its socket."""
        path = self.path / f"{name}.sock"
        self.start(name, [sys.executable, "-m", "benchmarks.peers", name, str(path), *self.program], path)
        return str(path)

    # --- what is measured --------------------------------------------------------------------------------------------

    def work(self, module: str, task: str, **arguments: Any) -> dict[str, float]:
        """Carry out one of *module*'s tasks in a process of its own; what it measured."""
        command = [sys.executable, "-m", f"benchmarks.{module}", task, json.dumps(arguments)]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=120)
        if done.returncode:
            raise Failed(f"{module} {task} {arguments}: {done.stderr.decode(errors='replace')}")
        measured: dict[str, float] = json.loads(done.stdout)
        return measured


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def carry_out(tasks: Mapping[str, Callable[..., dict[str, float]]]) -> None:
    """The main function of a module whose tasks `Place.work` carries out."""
    task, arguments = sys.argv[1:]
    print(json.dumps(tasks[task](**json.loads(arguments))))


# --- tables ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One row: what *run* measures, in the table's unit."""

    name: str
    run: Callable[[], float]


@dataclass(frozen=True)
class Target:
    """What the ratio of one case to another is to be.

    :ivar least: the ratio must not be below it.
    :ivar most: the ratio must not be above it.
    """

    name: str
    case: str
    to: str
    least: float | None = None
    most: float | None = None

    @property
    def wanted(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else ""

    def met(self, ratio: float, slack: float = 1.0) -> bool:
        """Whether *ratio* will do, within *slack* times the target."""
        if self.least is not None and not ratio * slack >= self.least:
            return False
        return self.most is None or 0 < ratio <= self.most * slack


@dataclass
class Table:
    """Cases that are measured side by side.

    :ivar references: the cases that the others are told in ratios to: columns of the table.
    :ivar checked: whether a figure of 0 or less is nonsense.
    """

    title: str
    unit: str
    cases: Sequence[Case]
    references: Sequence[str] = ()
    targets: Sequence[Target] = ()
    note: str = ""
    checked: bool = True
    values: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, scale: Scale) -> None:
        """Every case once a round, the order turned round every time, so that a slow minute strikes all alike."""
        self.values = {case.name: [] for case in self.cases}
        for number in range(scale.rounds):
            for case in self.cases if number % 2 == 0 else reversed(self.cases):
                self.values[case.name].append(case.run())

    def ratio(self, case: str, to: str) -> float:
        """The median of the rounds' ratios: both sides of each were measured within seconds."""
        pairs = zip(self.values[case], self.values[to], strict=True)
        return statistics.median(mine / theirs if theirs else 0.0 for mine, theirs in pairs)

    def lines(self) -> list[str]:
        """The table as text."""
        head = [self.title, self.unit, "least", "most", *(f"/ {name}" for name in self.references)]
        rows = [head]
        for case in self.cases:
            values = self.values[case.name]
            ratios = [figure(self.ratio(case.name, name)) for name in self.references]
            rows.append(
                [case.name, figure(statistics.median(values)), figure(min(values)), figure(max(values)), *ratios]
            )
        lines = _align(rows)
        if self.targets:
            rows = [["target", "ratio", "wanted", ""]]
            for target in self.targets:
                ratio = self.ratio(target.case, target.to)
                rows.append([target.name, figure(ratio), target.wanted, _verdict(target, ratio)])
            lines += ["", *_align(rows)]
        return [*lines, *([f"({self.note})"] if self.note else [])]

    def record(self) -> dict[str, Any]:
        """The table for a program."""
        return {
            "title": self.title,
            "unit": self.unit,
            "cases": {
                name: {"median": statistics.median(values), "all": values} for name, values in self.values.items()
            },
            "ratios": [
                {
                    **asdict(target),
                    "ratio": self.ratio(target.case, target.to),
                    "met": target.met(self.ratio(target.case, target.to)),
                }
                for target in self.targets
            ],
        }

    def nonsense(self) -> list[str]:
        """What no noise explains: nothing measured, or a tenth of a target."""
        found = []
        if self.checked:
            found = [f"{self.title}: {name} is {values}" for name, values in self.values.items() if min(values) <= 0]
        for target in self.targets:
            ratio = self.ratio(target.case, target.to)
            if not target.met(ratio, NONSENSE):
                found.append(f"{self.title}: {target.name} is {ratio:.3g}, wanted {target.wanted}")
        return found


def _verdict(target: Target, ratio: float) -> str:
    if target.least is None and target.most is None:
        return ""
    return "met" if target.met(ratio) else "MISSED"


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
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


# --- programs --------------------------------------------------------------------------------------------------------

Benchmark = Callable[[Place, Scale], Sequence[Table]]


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
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "python": platform.python_version(),
        **{name: version(name) for name in ("netdaemon", "Twisted")},
    }


def run(benchmarks: Mapping[str, Benchmark], description: str) -> None:
    """The main function of a benchmark: measure, print, say in the exit status whether it was nonsense (--smoke)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="a little of everything; fails on nonsense only")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE as JSON; - is the standard output")
    options = parser.parse_args()
    # However it ends, what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    scale = SMOKE if options.smoke else FULL
    if options.rounds:
        scale = Scale(rounds=options.rounds, seconds=scale.seconds, effort=scale.effort)
    out = sys.stderr if options.json == "-" else sys.stdout
    about = machine()
    print(", ".join(f"{key}: {value}" for key, value in about.items()), file=out)
    print(f"median of {scale.rounds} interleaved rounds; a ratio is the median of the rounds' ratios", file=out)
    began = time.monotonic()
    tables: list[Table] = []
    for name, benchmark in benchmarks.items():
        with Place() as place:
            if not place.compiled:
                print("no C compiler: the programs are in Python, and what they limit is lower", file=out)
            found = benchmark(place, scale)
        for table in found:
            print("", *table.lines(), sep="\n", file=out, flush=True)
        tables += found
        print(f"\n[{name}: {time.monotonic() - began:.0f} s since the start]", file=out, flush=True)
    if options.json:
        report = json.dumps({"machine": about, "rounds": scale.rounds, "tables": [table.record() for table in tables]})
        if options.json == "-":
            print(report)
        else:
            Path(options.json).write_text(report + "\n")
    if options.smoke:
        nonsense = [line for table in tables for line in table.nonsense()]
        if nonsense:
            sys.exit("\n".join(nonsense))
