"""What a crowd of idle children and idle clients costs: memory, processor time, and everybody else's waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clients import Line
from benchmarks.harness import ROOT, Case, Failed, Place, Scale, Table, Target, run
from netdaemon.wire.commands import Info, Start

CHILDREN = 1000
CLIENTS = 1000

# Seconds over which the processor time of an idle daemon is counted.
IDLE = 3.0

ALONE = "alone"
CROWDED = "in the crowd"


def memory(*pids: int) -> float:
    """KiB of processes: their own pages, their share of others', and what their memory files hold."""
    resident = 0
    files = {}
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        resident += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{name}"
            try:
                if os.readlink(link).startswith("/memfd:"):
                    status = os.stat(link)
                    files[status.st_ino] = status.st_blocks / 2
            except FileNotFoundError:
                continue
    return resident + sum(files.values())


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Crowd:
    """Children and clients that do nothing, as long as the process that made them is there."""

    def __init__(self, path: str, program: Sequence[str], children: int, clients: int) -> None:
        arguments = {"path": path, "children": [*program, "idle"], "count": children, "clients": clients}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.clients", "crowd", json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise Failed("the crowd did not come together")

    def disperse(self) -> None:
        """End the clients; the children stay."""
        self._process.communicate()


def scale(place: Place, size: Scale) -> list[Table]:
    """The tables of this file."""
    children, clients = size.count(CHILDREN), size.count(CLIENTS)
    daemons = {}
    for name in (ALONE, CROWDED):
        process, path = place.daemon(name=name.replace(" ", "-"))
        idle = Line(path).call(Start(argv=(*place.program, "idle"))).process.id
        daemons[name] = (process.pid, path, idle)
    daemon, path, _ = daemons[CROWDED]
    keeper = Line(path).call(Info()).keeper_pid
    pids = [pid for pid in (daemon, keeper) if pid is not None]
    # What the first of a kind costs does not count.
    first = Crowd(path, place.program, 10, 10)
    before = memory(*pids)
    crowd = Crowd(path, place.program, children, 0)
    with_children = memory(*pids)
    others = Crowd(path, place.program, 0, clients)
    with_clients = memory(*pids)
    used = sum(map(processor, pids))
    time.sleep(IDLE)
    busy = (sum(map(processor, pids)) - used) / IDLE * 100

    sizes = Table(
        f"memory of the daemon and its keeper, {children} children and {clients} clients",
        "KiB",
        [
            Case("both with 11 children", lambda: before),
            Case("an idle child, attached", lambda: (with_children - before) / children),
            Case("an idle client", lambda: (with_clients - with_children) / clients),
        ],
        # A few of them fit into memory that is there already.
        checked=False,
    )
    sizes.measure(Scale(rounds=1, seconds=0, effort=0))
    sizes.note = f"processor time while all are idle: {busy:.2f} % over {IDLE:g} s; kernel memory is not counted"

    count = size.count(5000)
    latency = {name: f"{name}, 99th of 100" for name in daemons}

    def request(name: str, which: str) -> float:
        _, path, idle = daemons[name]
        return place.work("clients", "latency", path=path, process=idle, count=count)[which]

    waiting = Table(
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
    waiting.measure(size)

    starts = size.count(200)

    def start(name: str) -> float:
        argv = ["/bin/true"]
        return (
            1000 / place.work("clients", "spawn", path=daemons[name][1], argv=argv, in_flight=1, count=starts)["rate"]
        )

    beside = Table(
        "start of /bin/true to its exit seen, without and with the crowd",
        "ms",
        [Case(ALONE, lambda: start(ALONE)), Case(CROWDED, lambda: start(CROWDED))],
        references=(ALONE,),
        targets=(Target("a start in the crowd", CROWDED, ALONE, most=1 / 0.9),),
    )
    beside.measure(size)

    records = Table(
        f"LIST of {children + 11} processes and up to 100 that have exited, to a Python client",
        "ms",
        [Case(CROWDED, lambda: place.work("clients", "listing", path=path, count=size.count(20))["milliseconds"])],
    )
    records.measure(size)
    for one in (first, crowd, others):
        one.disperse()
    return [sizes, waiting, beside, records]


if __name__ == "__main__":
    run({"scale": scale}, __doc__ or "")
