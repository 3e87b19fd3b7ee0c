"""A daemon with many children and attached clients, ended and started anew: how long until all have come back to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import Failed, Place
from benchmarks.tables import Case, Scale, Table, Target
from netdaemon.wire.commands import Info, Start

CHILDREN = 1000
CLIENTS = 50


def restart(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    daemon, path = place.daemon()
    children, clients = scale.count(CHILDREN), scale.count(CLIENTS)
    line = Line(path)
    line.call_all([Start(argv=(*place.program, "idle"))] * (children - clients))
    started = line.call_all([Start(argv=(*place.program, "echo"))] * clients)
    line.close()
    echoing = [one.process.id for one in started]

    def seconds(number: int) -> float:
        nonlocal daemon
        with place.working("clients", "resume", path=path, processes=echoing) as task:
            assert task.stdout is not None
            # They say that they are all attached.
            task.stdout.readline()
            begun = time.monotonic()
            daemon = place.restart(daemon, number)
            took = place.measured(task)["at"] - begun
        line = Line(path)
        running = line.call(Info()).counts.running
        line.close()
        if running != children:
            raise Failed(f"{running} children were taken over of {children}")
        return took

    yield Table(
        f"a daemon with {children} children and {clients} attached clients, ended and started anew, until the last "
        "client's child has answered it",
        "s",
        [
            Case("SIGTERM", lambda: seconds(signal.SIGTERM)),
            Case("kill -9", lambda: seconds(signal.SIGKILL)),
        ],
        targets=(
            Target("back after SIGTERM", "SIGTERM", most=3),
            Target("back after kill -9", "kill -9", most=3),
        ),
    )


if __name__ == "__main__":
    run({"restart": restart}, __doc__ or "")
