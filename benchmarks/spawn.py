"""Starting programs: /bin/true from START until its exit is seen, one at a time and many."""

from __future__ import annotations

from benchmarks.harness import Case, Place, Scale, Table, Target, run

PROGRAM = ["/bin/true"]
IN_FLIGHT = 64

RUN = "subprocess.run"
POPEN = "subprocess.Popen"
STOCK = "stock spawnProcess"
OURS = "netdaemon (Deferred)"
BLOCKING = "netdaemon (blocking)"


def spawn(place: Place, scale: Scale) -> list[Table]:
    """The tables of this file."""
    _, path = place.daemon()
    alone, many = scale.count(300), scale.count(1000)

    def milliseconds(module: str, task: str, **arguments: object) -> float:
        return 1000 / place.work(module, task, argv=PROGRAM, count=alone, **arguments)["rate"]

    def rate(module: str, task: str, **arguments: object) -> float:
        return place.work(module, task, argv=PROGRAM, count=many, in_flight=IN_FLIGHT, **arguments)["rate"]

    one = Table(
        "start of /bin/true to its exit seen, one at a time",
        "ms",
        [
            Case(RUN, lambda: milliseconds("peers", "run_blocking", captured=False)),
            Case("subprocess.run, captured", lambda: milliseconds("peers", "run_blocking", captured=True)),
            Case(STOCK, lambda: milliseconds("peers", "stock_spawn", in_flight=1)),
            Case(OURS, lambda: milliseconds("clients", "spawn", path=path, in_flight=1)),
            Case(BLOCKING, lambda: milliseconds("clients", "spawn_blocking", path=path)),
        ],
        references=(RUN, STOCK),
        targets=(
            Target("start to exit, blocking, times subprocess.run", BLOCKING, RUN, most=2),
            Target("start to exit, Deferred, times subprocess.run", OURS, RUN, most=2),
            Target("start to exit, Deferred, times stock", OURS, STOCK),
        ),
    )
    one.measure(scale)

    together = Table(
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
    together.measure(scale)
    return [one, together]


if __name__ == "__main__":
    run({"spawn": spawn}, __doc__ or "")
