"""What a crowd of idle children and idle clients costs: memory, processor time, and everybody else's waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import Place
from benchmarks.processes import memory, processor
from benchmarks.tables import Case, Scale, Table, Target
from benchmarks.throughput import BLOCK
from netdaemon.wire.commands import Info, Start

CHILDREN = 1000
CLIENTS = 1000

# The first of a kind costs more, which does not count.
FIRST = 10

# Seconds over which the processor time of an idle daemon is counted.
IDLE = 3.0

ALONE = "alone"
CROWDED = "in the crowd"


def scale(place: Place, size: Scale) -> Iterator[Table]:
    """The tables of this file."""
    children, clients = size.count(CHILDREN), size.count(CLIENTS)
    program = (*place.program, "idle")
    daemons = {}
    for name in (ALONE, CROWDED):
        process, path = place.daemon(name=name.replace(" ", "-"))
        idle = Line(path).call(Start(argv=program)).process.id
        daemons[name] = (process.pid, path, idle)
    daemon, path, _ = daemons[CROWDED]
    line = Line(path)
    keeper = line.call(Info()).keeper_pid
    pids = [pid for pid in (daemon, keeper) if pid is not None]
    crowd = [Line(path) for _ in range(FIRST)]
    line.call_all([Start(argv=program, attach=True)] * FIRST)
    before = memory(*pids)
    line.call_all([Start(argv=program, attach=True)] * children)
    with_children = memory(*pids)
    crowd += [Line(path) for _ in range(clients)]
    with_clients = memory(*pids)
    used = sum(map(processor, pids))
    seconds = IDLE * size.effort
    time.sleep(seconds)
    busy = (sum(map(processor, pids)) - used) / seconds * 100

    yield Table(
        f"memory of the daemon and its keeper, {children} children and {clients} clients",
        "KiB",
        [
            Case(f"both with {FIRST + 1} children", lambda: before),
            Case("an idle child, attached", lambda: (with_children - before) / children),
            Case("an idle client", lambda: (with_clients - with_children) / clients),
        ],
        # A few of them fit into memory that is there already.
        checked=False,
        rounds=1,
        note=f"processor time while all are idle: {busy:.2f} % over {seconds:g} s; kernel memory is not counted",
    )

    count = size.count(3000)
    latency = {name: f"{name}, 99th of 100" for name in daemons}

    def request(name: str, which: str) -> float:
        _, path, idle = daemons[name]
        return place.work("clients", "latency", path=path, process=idle, count=count)[which]

    yield Table(
        f"one request (KILL 0), without and with {children} idle children and {clients} idle clients",
        "us",
        [
            Case(ALONE, lambda: request(ALONE, "median")),
            Case(CROWDED, lambda: request(CROWDED, "median")),
            Case(latency[ALONE], lambda: request(ALONE, "p99")),
            Case(latency[CROWDED], lambda: request(CROWDED, "p99")),
        ],
        references=(ALONE,),
        targets=(Target("a request in the crowd", CROWDED, ALONE, most=1 / 0.9),),
    )

    starts = size.count(100)

    def start(name: str) -> float:
        argv = ["/bin/true"]
        return (
            1000 / place.work("clients", "spawn", path=daemons[name][1], argv=argv, in_flight=1, count=starts)["rate"]
        )

    yield Table(
        "start of /bin/true to its exit seen, without and with the crowd",
        "ms",
        [Case(ALONE, lambda: start(ALONE)), Case(CROWDED, lambda: start(CROWDED))],
        references=(ALONE,),
        targets=(Target("a start in the crowd", CROWDED, ALONE, most=1 / 0.9),),
    )

    def flow(name: str, task: str, *program: str) -> float:
        argv = [*place.program, *program]
        return place.work("flows", task, path=daemons[name][1], argv=argv, seconds=size.seconds)["rate"] / 1e9

    flows = {"to one client": ("follow", "write", str(BLOCK)), "to stdin": ("feed", "read")}
    yield Table(
        "one child writing, or reading, 64 KiB blocks, without and with the crowd",
        "GB/s",
        [
            Case(f"{what}, {name}", partial(flow, name, *how))
            for what, how in flows.items()
            for name in (ALONE, CROWDED)
        ],
        references=tuple(f"{what}, {ALONE}" for what in flows),
        targets=tuple(
            Target(f"{what}, in the crowd", f"{what}, {CROWDED}", f"{what}, {ALONE}", least=0.9) for what in flows
        ),
    )

    batches = size.count(20000)

    def rate(name: str) -> float:
        _, path, idle = daemons[name]
        return place.work("clients", "requests", path=path, kind="kill", process=idle, in_flight=64, count=batches)[
            "rate"
        ]

    yield Table(
        "64 requests (KILL 0) in flight, without and with the crowd",
        "requests/s",
        [Case(ALONE, lambda: rate(ALONE)), Case(CROWDED, lambda: rate(CROWDED))],
        references=(ALONE,),
        targets=(Target("64 in flight, in the crowd", CROWDED, ALONE, least=0.9),),
    )
    for one in crowd:
        one.close()


if __name__ == "__main__":
    run({"scale": scale}, __doc__ or "")
