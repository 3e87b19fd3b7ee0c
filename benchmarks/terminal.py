"""A program on a terminal: lines to one client, and keys there and back, beside tmux and dtach."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import terminals
from benchmarks.harness import run
from benchmarks.place import Place
from benchmarks.tables import Case, Scale, Table, Target

LINE = 100
KEYS = 64

PLAIN = "the terminal itself"
OURS = "netdaemon (Deferred)"

# The peers as the rows call them; those that are not installed have none.
PEERS = {"tmux": "tmux, control mode", "dtach": "dtach, its socket"}


def terminal(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    _, path = place.daemon()
    versions = terminals.versions()
    note = ", ".join(f"{kind} {versions.get(kind, 'is not found here')}" for kind in PEERS)
    others = {kind: name for kind, name in PEERS.items() if kind in versions}
    count, trips = scale.count(100_000), scale.count(2000)
    lines = [*place.program, "typed", "lines", str(LINE), str(count)]
    echo = [*place.program, "typed", "echo"]

    def rate(kind: str) -> float:
        # On a terminal a line has one more, its carriage return.
        arguments = {"argv": lines, "count": count, "size": count * (LINE + 1)}
        if kind == OURS:
            return place.work("flows", "terminal_lines", path=path, **arguments)["rate"]
        return place.work("terminals", "lines", kind=kind, place=str(place.path), **arguments)["rate"]

    yield Table(
        f"a child writing lines of {LINE} bytes to a terminal, one client",
        "lines/s",
        [
            Case(PLAIN, lambda: rate("plain")),
            Case(OURS, lambda: rate(OURS)),
            *(Case(name, partial(rate, kind)) for kind, name in others.items()),
        ],
        references=(PLAIN,),
        targets=(
            Target("lines, of the terminal's own", OURS, PLAIN),
            *(Target(f"lines, times {kind}", OURS, name) for kind, name in others.items()),
        ),
        note=note,
    )

    def trip(kind: str) -> float:
        arguments = {"argv": echo, "count": trips, "size": KEYS}
        if kind == OURS:
            return place.work("flows", "terminal_echo", path=path, **arguments)["microseconds"]
        return place.work("terminals", "echo", kind=kind, place=str(place.path), **arguments)["microseconds"]

    yield Table(
        f"{KEYS} keys to a child on a terminal and back",
        "us",
        [
            Case(PLAIN, lambda: trip("plain")),
            Case(OURS, lambda: trip(OURS)),
            *(Case(name, partial(trip, kind)) for kind, name in others.items()),
        ],
        references=(PLAIN,),
        targets=tuple(Target(f"round trip, times {kind}", OURS, name) for kind, name in others.items()),
        note=note,
    )


if __name__ == "__main__":
    run({"terminal": terminal}, __doc__ or "")
