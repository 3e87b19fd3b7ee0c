"""Benchmarks that do nothing, or too much; run as a program: ``python -m tests.benchmarks.fakes NAME [OPTION...]``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

from benchmarks.harness import run
from benchmarks.line import Line
from benchmarks.place import Place
from benchmarks.tables import Case, Plot, Scale, Table, Target
from netdaemon.wire.commands import Info, Start


def sound(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("a sound one", "s", [Case("one", lambda: 1.0)], targets=(Target("one", "one", most=1),))


def curve(place: Place, scale: Scale) -> Iterator[Table]:
    cases = [Case(str(at), lambda: 1.0, at=at, series="line") for at in (1, 10)]
    yield Table("a curve", "s", [*cases, Case("limit", lambda: 30.0)], plot=Plot("curve", "clients", "latency"))


def missed(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("one that misses", "s", [Case("one", lambda: 1.0)], targets=(Target("one", "one", most=0.5),))


def zero(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("nothing", "s", [Case("one", lambda: 0.0)])


def tenth(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("a tenth", "s", [Case("one", lambda: 1.0)], targets=(Target("one", "one", least=11),))


def noisy(place: Place, scale: Scale) -> Iterator[Table]:
    """Nonsense once."""
    figures = iter([0.0, 1.0])
    yield Table("noise", "s", [Case("one", figures.__next__)])


def case_fails(place: Place, scale: Scale) -> Iterator[Table]:
    def fail() -> float:
        raise OSError("no such peer")

    yield Table("half of one", "s", [Case("broken", fail), Case("one", lambda: 1.0)])


def all_fails(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("before it fails", "s", [Case("one", lambda: 1.0)])
    raise OSError("no such daemon")


def busy(place: Place) -> Case:
    """Start a daemon with a child, and whatever else stays; a case that takes its time."""
    _, path = place.daemon()
    child = Line(path).call(Start(argv=(*place.program, "idle"))).process.id
    place.start("alone", [*place.program, "idle"])
    print(f"in {place.path}", flush=True)
    return Case("long", lambda: place.work("clients", "latency", path=path, process=child, count=10**7)["median"])


def busy_and_fails(place: Place, scale: Scale) -> Iterator[Table]:
    busy(place)
    yield from all_fails(place, scale)


def busy_and_waits(place: Place, scale: Scale) -> Iterator[Table]:
    yield Table("that is not waited for", "s", [busy(place)])


def daemon_dies(place: Place, scale: Scale) -> Iterator[Table]:
    """With nobody to start it again, and its keeper and its child alive."""
    process, path = place.daemon()
    line = Line(path)
    line.call(Start(argv=(*place.program, "idle")))
    assert line.call(Info()).pid == process.pid
    print(f"in {place.path}", flush=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    yield from sound(place, scale)


FAKES = (
    sound,
    curve,
    missed,
    zero,
    tenth,
    noisy,
    case_fails,
    all_fails,
    busy_and_fails,
    busy_and_waits,
    daemon_dies,
)

if __name__ == "__main__":
    name = sys.argv.pop(1)
    # One that is sound follows: what fails does not keep it from being measured.
    run({fake.__name__: fake for fake in (*FAKES, sound) if fake.__name__ in (name, "sound")}, "fakes")
