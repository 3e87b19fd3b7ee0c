"""As many children as a daemon can hold, up to 5,000: what is asked of it meanwhile, and how that grows with them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import Failed, Place
from benchmarks.processes import descriptor_limit, descriptors
from benchmarks.tables import Case, Plot, Scale, Table, Target
from netdaemon.wire.commands import Data, Detach, Info, Kill, Start, Wait
from netdaemon.wire.records import Pty

CHILDREN = 5000

# Children of the curve, besides as many as there is room for.
STEPS = (1, 10, 100, 1000)

# Requests of which the 99th of 100 is told; as many when little is done.
REQUESTS = 4000
REQUESTS_LEAST = 2000

# How often that is measured for each number of children, as there is no second round.
TIMES = 3

# What a child may be, besides the plainest with three pipes: to be found out is which has the fewest descriptors.
SHAPES: dict[str, dict[str, Any]] = {
    "outputs merged": {"merge": True},
    "outputs merged, input at its end": {"merge": True},
    "on a terminal": {"pty": Pty()},
}
AT_ITS_END = "outputs merged, input at its end"

# Children that show how many descriptors a shape has.
SAMPLE = 8

# What has exited, and who is connected, are not to take room from those that run. A few more must be started.
OPTIONS = ("--clients=20", "--exited=20", f"--processes={CHILDREN + 10}")
SPARE = 100

START = "/bin/true, from START until its exit is known"
LISTED = "LIST of all, until a client has the records"
MEDIAN = "KILL 0, median"
P99 = "KILL 0, 99th of 100"
EXIT = "KILL 9 of one, until its exit is known"


def many(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    daemon, path = place.daemon(*OPTIONS)
    line = Line(path)
    info = line.call(Info())
    idle = (*place.program, "idle")
    children: list[str] = []

    def counts() -> list[int]:
        return [descriptors(pid) for pid in (daemon.pid, info.keeper_pid)]

    def start(count: int, shape: str) -> None:
        if shape != AT_ITS_END:
            children.extend(one.process.id for one in line.call_all([Start(argv=idle, **SHAPES[shape])] * count))
            return
        for _ in range(count):
            to = line.send(Start(argv=idle, attach=True, **SHAPES[shape]))
            children.append(line.reply().process.id)
            line.call_all([Data(to=to), Detach(to=to)])

    def end(process: str) -> None:
        line.call(Kill(process=process, signal=9))
        line.call(Wait(process=process))

    costs = {}
    for name in SHAPES:
        before = counts()
        start(SAMPLE, name)
        costs[name] = [round((now - then) / SAMPLE) for now, then in zip(counts(), before, strict=True)]
        while children:
            end(children.pop())
    shape = min(costs, key=lambda name: max(costs[name]))
    room = descriptor_limit(daemon.pid) - max(counts()) - SPARE
    most = min(scale.count(CHILDREN), room // max(costs[shape]))
    asked = max(REQUESTS_LEAST, scale.count(REQUESTS))

    def latency() -> dict[str, float]:
        return place.work("clients", "latency", path=path, process=children[0], count=asked)

    # They only grow, so each number of children is there once.
    @cache
    def with_children(count: int) -> dict[str, float]:
        start(count - len(children), shape)
        found = [latency() for _ in range(TIMES)]
        return {which: statistics.median(one[which] for one in found) for which in ("median", "p99")}

    def beside(count: int, which: str) -> float:
        return with_children(count)[which]

    steps = [*(step for step in scale.points(STEPS) if step < most), most]
    yield Table(
        "one request (KILL 0), by the number of idle children",
        "us",
        [
            Case(
                f"{step:,} alive, {name}",
                partial(beside, step, which),
                at=step,
                series=name,
            )
            for step in steps
            for name, which in (("median", "median"), ("99th of 100", "p99"))
        ],
        rounds=1,
        plot=Plot("latency", along="idle children", quantity="from a request to its reply"),
        note=f"each the median of {TIMES} times {asked:,} requests",
    )

    def milliseconds(call: Any) -> float:
        begun = time.perf_counter()
        call()
        return (time.perf_counter() - begun) * 1000

    def begin_and_end() -> None:
        process = line.call(Start(argv=("/bin/true",))).process.id
        line.call(Wait(process=process))

    def list_all() -> None:
        count = line.count("state=running")
        if count != len(children):
            raise Failed(f"{count} were listed of {len(children)} children")

    def end_one() -> float:
        took = milliseconds(lambda: end(children.pop()))
        start(1, shape)
        return took

    in_daemon, in_keeper = costs[shape]
    yield Table(
        f"{most:,} children alive, {shape}",
        "ms",
        [
            Case(START, lambda: milliseconds(begin_and_end)),
            Case(EXIT, end_one),
            Case(LISTED, lambda: milliseconds(list_all)),
            Case(MEDIAN, lambda: latency()["median"] / 1000),
            Case(P99, lambda: latency()["p99"] / 1000),
        ],
        targets=(Target(f"a request beside {most:,} children, 99th of 100 of {asked:,}", P99, most=20),),
        note=f"the limit of descriptors here is {descriptor_limit(daemon.pid):,}; of such a child the daemon has "
        f"{in_daemon}, its keeper {in_keeper}",
    )


if __name__ == "__main__":
    run({"many": many}, __doc__ or "")
