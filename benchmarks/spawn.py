"""Starting programs: /bin/true from START until its exit is seen, one at a time and many."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import supervisors
from benchmarks.harness import run
from benchmarks.place import Place
from benchmarks.tables import Case, Scale, Table, Target

PROGRAM = ["/bin/true"]
IN_FLIGHT = 64

RUN = "subprocess.run"
POPEN = "subprocess.Popen"
STOCK = "stock spawnProcess"
OURS = "netdaemon (Deferred)"
BLOCKING = "netdaemon (blocking)"
CIRCUS = f"circus, looking every {supervisors.CIRCUS_LOOKS * 1000:g} ms"


def spawn(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    _, path = place.daemon()
    circus = supervisors.circus(place)
    alone, few, many = scale.count(200), scale.count(10), scale.count(800)

    def milliseconds(module: str, task: str, count: int = alone, **arguments: object) -> float:
        return 1000 / place.work(module, task, argv=PROGRAM, count=count, **arguments)["rate"]

    def rate(module: str, task: str, **arguments: object) -> float:
        return place.work(module, task, argv=PROGRAM, count=many, in_flight=IN_FLIGHT, **arguments)["rate"]

    yield Table(
        "start of /bin/true to its exit seen, one at a time",
        "ms",
        [
            Case(RUN, lambda: milliseconds("peers", "run_blocking", captured=False)),
            Case("subprocess.run, captured", lambda: milliseconds("peers", "run_blocking", captured=True)),
            Case(STOCK, lambda: milliseconds("peers", "stock_spawn", in_flight=1)),
            Case(OURS, lambda: milliseconds("clients", "spawn", path=path, in_flight=1)),
            Case(BLOCKING, lambda: milliseconds("clients", "spawn_blocking", path=path)),
            Case(CIRCUS, lambda: milliseconds("supervisors", "circus_spawn", count=few, path=circus)),
        ],
        references=(RUN, STOCK),
        targets=(
            Target("start to exit, blocking, times subprocess.run", BLOCKING, RUN, most=2, waiting=True),
            Target("start to exit, Deferred, times subprocess.run", OURS, RUN, most=2, waiting=True),
            Target("start to exit, Deferred, times stock", OURS, STOCK),
        ),
    )

    yield Table(
        f"{IN_FLIGHT} starts in flight",
        "starts/s",
        [
            Case(POPEN, lambda: rate("peers", "popen")),
            Case(STOCK, lambda: rate("peers", "stock_spawn")),
            Case(OURS, lambda: rate("clients", "spawn", path=path)),
        ],
        references=(POPEN, STOCK),
        targets=(Target("starts, of a loop of Popen", OURS, POPEN, least=0.6),),
    )


if __name__ == "__main__":
    run({"spawn": spawn}, __doc__ or "")
