"""Small requests on one connection, against AMP with the same content and supervisor's XML-RPC.

KILL with signal 0 is what is compared: it has a process to find, a system call to make and an empty answer, and AMP's
command has the same three values and does the same. INSPECT is compared with an AMP command that returns the same
record, with supervisor's getProcessInfo, and with circus's status, which is one word.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import supervisors
from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import Place
from benchmarks.tables import Case, Scale, Table, Target
from netdaemon.wire.commands import Start

IN_FLIGHT = 64


def requests(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    _, path = place.daemon()
    amp = place.peer("amp")
    supervisor, circus = supervisors.supervisor(place), supervisors.circus(place)
    process = Line(path).call(Start(argv=(*place.program, "idle"))).process.id

    def ours(kind: str, in_flight: int, count: int) -> float:
        arguments = {"kind": kind, "process": process, "in_flight": in_flight, "count": scale.count(count)}
        return place.work("clients", "requests", path=path, **arguments)["rate"]

    def theirs(kind: str, in_flight: int, count: int) -> float:
        arguments = {"kind": kind, "in_flight": in_flight, "count": scale.count(count)}
        return place.work("peers", "amp_requests", path=amp, **arguments)["rate"]

    def supervised(task: str, **arguments: str) -> float:
        return place.work("supervisors", task, count=scale.count(1000), **arguments)["rate"]

    yield Table(
        "one request after another",
        "requests/s",
        [
            Case("AMP, like KILL", lambda: theirs("kill", 1, 3000)),
            Case("KILL 0", lambda: ours("kill", 1, 8000)),
            Case("AMP, like INSPECT", lambda: theirs("inspect", 1, 2000)),
            Case("INSPECT", lambda: ours("inspect", 1, 5000)),
            Case("supervisor getState", lambda: supervised("supervisor_requests", path=supervisor, method="getState")),
            Case(
                "supervisor getProcessInfo",
                lambda: supervised("supervisor_requests", path=supervisor, method="getProcessInfo"),
            ),
            Case("circus status", lambda: supervised("circus_requests", path=circus)),
        ],
        references=("AMP, like KILL", "supervisor getProcessInfo"),
        targets=(
            Target("KILL, times AMP", "KILL 0", "AMP, like KILL", least=4),
            Target("INSPECT, times AMP", "INSPECT", "AMP, like INSPECT"),
            Target("INSPECT, times supervisor", "INSPECT", "supervisor getProcessInfo"),
            Target("INSPECT, times circus", "INSPECT", "circus status"),
        ),
    )

    yield Table(
        f"{IN_FLIGHT} requests in flight",
        "requests/s",
        [
            Case("AMP, like KILL", lambda: theirs("kill", IN_FLIGHT, 6000)),
            Case("KILL 0", lambda: ours("kill", IN_FLIGHT, 40000)),
            Case("AMP, like INSPECT", lambda: theirs("inspect", IN_FLIGHT, 3000)),
            Case("INSPECT", lambda: ours("inspect", IN_FLIGHT, 10000)),
        ],
        references=("AMP, like KILL",),
        targets=(
            Target("KILL, times AMP", "KILL 0", "AMP, like KILL", least=10),
            Target("INSPECT, times AMP", "INSPECT", "AMP, like INSPECT"),
        ),
    )

    times = scale.count(10)
    beside = Path(sys.executable).parent
    nothing = "python3 -c pass"

    def command(*argv: str) -> float:
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        begun = time.perf_counter()
        for _ in range(times):
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - begun) / times * 1000

    yield Table(
        "one command from a shell",
        "ms",
        [
            Case(nothing, lambda: command(sys.executable, "-c", "pass")),
            Case("ndtool list", lambda: command(str(beside / "ndtool"), "--socket", path, "list")),
            Case("ndtool send", lambda: command(str(beside / "ndtool"), "--socket", path, "send", process, "x")),
            Case(
                "supervisorctl pid",
                lambda: command(str(beside / "supervisorctl"), "-s", f"unix://{supervisor}", "pid"),
            ),
        ],
        references=(nothing,),
        targets=(Target("ndtool list, times python3 -c pass", "ndtool list", nothing, most=4),),
    )


if __name__ == "__main__":
    run({"requests": requests}, __doc__ or "")
