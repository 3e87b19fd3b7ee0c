"""LIST of ten thousand records, in processor time of the daemon.

They are those of processes that have exited, which have few descriptors. A daemon gives an eighth of its descriptors to
them, at most; with the usual limit that is no ten thousand. The one here may give them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import TWISTD, Failed, Place
from benchmarks.processes import processor
from benchmarks.tables import Case, Scale, Table, Target
from netdaemon.wire.commands import Info, Start, Wait

RECORDS = 10_000

# LISTs over which the time is divided.
TIMES = 5

# For a limit of which nothing is left but what must be.
ALL_FOR_EXITED = f"from netdaemon.daemon import settings; settings.EXITED_SHARE //= settings.EXITED_SHARE; {TWISTD}"

# No more have to run at a time than are started at a time.
OPTIONS = ("--ephemeral", f"--exited={RECORDS}", "--processes=200", "--clients=20")

DAEMON = "the daemon's processor time"


def listing(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    process, path = place.daemon(*OPTIONS, twistd=ALL_FOR_EXITED)
    line = Line(path)
    wanted = min(scale.count(RECORDS), line.call(Info()).limits.exited)
    started = line.call_all([Start(argv=("/bin/true",))] * wanted)
    line.call_all([Wait(process=one.process.id) for one in started])

    def milliseconds(clock: Callable[[], float], times: int = TIMES) -> float:
        begun = clock()
        for _ in range(times):
            count = line.count()
            if count != wanted:
                raise Failed(f"{count} records were listed of {wanted}")
        return (clock() - begun) / times * 1000

    def used() -> float:
        return processor(process.pid)

    first = milliseconds(used, times=1)
    yield Table(
        f"LIST of {wanted:,} records of processes that have exited",
        "ms",
        [
            Case(DAEMON, lambda: milliseconds(used)),
            Case("until a Python client has them as objects", lambda: milliseconds(time.perf_counter)),
        ],
        targets=(Target(f"LIST of {wanted:,} records, daemon's time", DAEMON, most=10),),
        note=f"the first LIST takes the daemon {first:.0f} ms: it encodes the records, once for as long as they stay",
    )


if __name__ == "__main__":
    run({"listing": listing}, __doc__ or "")
