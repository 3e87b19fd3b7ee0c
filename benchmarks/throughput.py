"""How much goes through: one child to clients, a client to a child, lines, and the way there and back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import run
from benchmarks.place import Place
from benchmarks.tables import Case, Plot, Scale, Table, Target

BLOCK = 64 * 1024
LINE = 100
PING = 64

# The clients of the curve.
CLIENTS = (1, 2, 5, 10, 20, 50, 100)

LIMIT = "pipe's limit"
STOCK = "stock Twisted"
OWN = "spawnProcess"
ONE = "one client (Deferred)"


def throughput(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    _, path = place.daemon()
    stock = place.peer("stock")
    writer = [*place.program, "write", str(BLOCK)]
    seconds = scale.seconds

    def limit() -> float:
        command = [*place.program, "limit", str(BLOCK), str(seconds)]
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) / 1e9

    def follow(task: str, **arguments: int) -> float:
        return place.work("flows", task, path=path, argv=writer, seconds=seconds, **arguments)["rate"] / 1e9

    def follow_stock() -> float:
        return place.work("peers", "stock_follow", path=stock, argv=writer, seconds=seconds)["rate"] / 1e9

    def feed(task: str) -> float:
        reader = [*place.program, "read"]
        return place.work("flows", task, path=path, argv=reader, seconds=seconds)["rate"] / 1e9

    yield Table(
        "one child writing 64 KiB blocks",
        "GB/s",
        [
            Case(LIMIT, limit),
            Case(STOCK, follow_stock),
            Case(ONE, lambda: follow("follow")),
            Case("one client (blocking)", lambda: follow("follow_blocking")),
            Case("one sink", lambda: follow("drain")),
            Case("to stdin (Deferred)", lambda: feed("feed")),
            Case("to stdin (blocking)", lambda: feed("feed_blocking")),
        ],
        references=(LIMIT, STOCK),
        targets=(
            Target("one client, of the pipe's limit", ONE, LIMIT, least=0.45),
            Target("one client, times stock", ONE, STOCK, least=3),
            Target("a sink, of the pipe's limit", "one sink", LIMIT, least=0.6),
            Target("to stdin, of the pipe's limit", "to stdin (Deferred)", LIMIT, least=0.35),
        ),
    )

    totals = {clients: f"{clients} sinks, in total" if clients > 1 else "one sink" for clients in scale.points(CLIENTS)}
    yield Table(
        "one child writing 64 KiB blocks, by the number of clients",
        "GB/s",
        [
            Case(LIMIT, limit),
            *(
                Case(name, partial(follow, "drain", clients=clients), at=clients, series="all clients together")
                for clients, name in totals.items()
            ),
        ],
        references=(totals[1],),
        targets=(
            Target("10 sinks, times one", totals[10], totals[1], least=1.3),
            Target("100 sinks, times one", totals[100], totals[1], least=1.3),
        ),
        plot=Plot("throughput", along="clients", quantity="total throughput"),
    )

    count = scale.count(300_000)
    lines = [*place.program, "lines", str(LINE), str(count)]
    cat = "child | cat"
    yield Table(
        f"a child writing lines of {LINE} bytes, each by itself",
        "lines/s",
        [
            Case(cat, lambda: place.work("peers", "pipe_cat", argv=lines, count=count)["rate"]),
            Case(
                ONE,
                lambda: place.work("flows", "lines", path=path, argv=lines, count=count, size=count * LINE)["rate"],
            ),
        ],
        references=(cat,),
        targets=(Target("lines, of child | cat", ONE, cat, least=0.5),),
    )

    trips = scale.count(2000)
    echo = [*place.program, "echo"]
    direct = "a pair of pipes"

    def trip(module: str, task: str, **where: str) -> float:
        return place.work(module, task, argv=echo, count=trips, size=PING, **where)["microseconds"]

    yield Table(
        f"{PING} bytes to a child and back",
        "us",
        [
            Case(direct, lambda: trip("peers", "pipe_echo")),
            Case(OWN, lambda: trip("peers", "own_echo")),
            Case(STOCK, lambda: trip("peers", "stock_echo", path=stock)),
            Case(ONE, lambda: trip("flows", "echo", path=path)),
        ],
        references=(direct, OWN, STOCK),
        targets=(
            Target("round trip, times a pair of pipes", ONE, direct, most=3, waiting=True),
            Target("round trip, times a child of one's own", ONE, OWN),
        ),
    )


if __name__ == "__main__":
    run({"throughput": throughput}, __doc__ or "")
