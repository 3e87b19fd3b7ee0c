"""How long readers may hold a process back: a table of moments on a clock that the test turns."""

from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock

from netdaemon.process.holding import Holding


@dataclass(eq=False)
class Reader:
    """A holder that counts how often it lapsed."""

    allowance: float | None
    offset: int = 0
    lapsed: int = 0

    def lapse(self) -> None:
        self.lapsed += 1


class Ring:
    """A spool of which only the room matters."""

    def __init__(self) -> None:
        self.holders: list[Reader] = []

    def room(self) -> int:
        return 0 if any(one.offset == 0 for one in self.holders) else 1

    def blocking(self) -> list[Reader]:
        return [one for one in self.holders if one.offset == 0]

    def release(self, reader: Reader) -> None:
        if reader in self.holders:
            self.holders.remove(reader)


class Producer:
    """Counts how often it was told to go on."""

    resumed = 0

    def resumeProducing(self) -> None:
        self.resumed += 1


def build(*allowances: float | None) -> tuple[Clock, Ring, Holding, Producer]:
    clock, ring = Clock(), Ring()
    ring.holders = [Reader(allowance) for allowance in allowances]
    return clock, ring, Holding(ring, clock), Producer()  # type: ignore[arg-type]


def test_the_shortest_allowance_goes_first() -> None:
    """Two holders: the child waits for the one that may hold for longer, and goes on after it."""
    clock, ring, holding, producer = build(1.0, 3.0)
    short, long = ring.holders
    holding.block(producer)
    clock.advance(1.0)
    assert (short.lapsed, long.lapsed, producer.resumed) == (1, 0, 0)
    clock.advance(1.9)
    assert producer.resumed == 0
    clock.advance(0.1)
    assert (long.lapsed, producer.resumed) == (1, 1)
    assert clock.getDelayedCalls() == []


def test_for_ever_is_for_ever() -> None:
    """No timer, until it moves."""
    clock, ring, holding, producer = build(None)
    holding.block(producer)
    assert clock.getDelayedCalls() == []
    clock.advance(1e6)
    assert producer.resumed == 0
    ring.holders[0].offset = 1
    holding.moved()
    assert producer.resumed == 1


def test_pauses_add_up() -> None:
    """Three pauses of 0.4 s are more than one second."""
    clock, ring, holding, producer = build(1.0)
    reader = ring.holders[0]
    for _ in range(2):
        reader.offset = 0
        holding.block(producer)
        clock.advance(0.4)
        reader.offset = 1
        holding.moved()
    assert (reader.lapsed, producer.resumed) == (0, 2)
    reader.offset = 0
    holding.block(producer)
    clock.advance(0.21)
    assert reader.lapsed == 1
    assert producer.resumed == 3


def test_moving_without_need_does_nothing() -> None:
    """A reader that reads while nobody waits costs nothing and is told nothing."""
    clock, _, holding, producer = build(1.0)
    holding.moved()
    assert producer.resumed == 0
    assert clock.getDelayedCalls() == []


def test_the_end() -> None:
    """Nothing is left to happen."""
    clock, _, holding, producer = build(1.0)
    holding.block(producer)
    holding.close()
    assert clock.getDelayedCalls() == []
    clock.advance(10)
    assert producer.resumed == 0


class ShortClock(Clock):
    """One that is not asked without end."""

    asked = 0

    def callLater(self, *arguments: Any, **named: Any) -> Any:
        self.asked += 1
        assert self.asked < 100, "it waits for nothing, again and again"
        return super().callLater(*arguments, **named)


def test_what_rounding_leaves_of_a_right_is_none() -> None:
    """At a late hour a moment is not what was added to the last; nobody waits for the difference for ever."""
    late, allowance = 1_000_000.4, 0.7
    assert 0 < allowance - (late + allowance - late) < 1e-9
    ring, clock, producer = Ring(), ShortClock(), Producer()
    ring.holders = [Reader(allowance)]
    holding = Holding(ring, clock)  # type: ignore[arg-type]
    clock.advance(late)
    holding.block(producer)
    clock.advance(allowance)
    assert ring.holders == []
    assert producer.resumed == 1
