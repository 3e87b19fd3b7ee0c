"""How fast one connection may go on, by a clock that the test turns: what goes over waits, in order; none is lost."""

from __future__ import annotations

import contextlib
import errno
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from netdaemon.daemon.peer import MESSAGE_TIMEOUT
from netdaemon.daemon.rates import LEAST_READ, PAUSE, Bucket, Pace, Rate, pace
from netdaemon.errors import StdinFull
from netdaemon.wire.answers import DaemonInfo, Listing, Taken
from netdaemon.wire.commands import Data, Info, List
from netdaemon.wire.frame import MAX_MESSAGE
from tests.daemon.support import Bare, World, world

MEBIBYTE = 1 << 20


# --- the buckets -----------------------------------------------------------------------------------------------------


def test_a_bucket_is_full_at_first_and_fills_again() -> None:
    clock = Clock()
    bucket = Bucket(10, 3, clock)
    assert bucket.left() == 30
    bucket.take(30)
    assert bucket.left() == 0
    assert bucket.wait() == pytest.approx(0.1)
    clock.advance(0.5)
    assert bucket.left() == pytest.approx(5)
    assert bucket.wait() == 0
    clock.advance(3600)
    assert bucket.left() == 30, "no more is saved up than the burst"


def test_what_was_taken_too_early_is_made_up_for() -> None:
    clock = Clock()
    bucket = Bucket(100, 1, clock)
    bucket.take(300)
    assert bucket.wait() == pytest.approx(2.01)
    clock.advance(2.01)
    assert bucket.left() == pytest.approx(1)


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    clock = Clock()
    clock.advance(100)
    bucket = Bucket(10, 1, clock)
    bucket.take(10)
    clock.rightNow = 50.0
    assert bucket.left() == 0
    clock.advance(1)
    assert bucket.left() == pytest.approx(10)


@given(
    rate=st.integers(1, 1_000_000),
    burst=st.integers(1, 60),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 100_000)), max_size=50),
)
def test_never_more_than_the_rate_and_one_burst(rate: int, burst: int, steps: list[tuple[float, int]]) -> None:
    """Whoever takes only what there is has in any time no more than that time's worth, and what was saved up."""
    clock = Clock()
    bucket = Bucket(rate, burst, clock)
    taken = 0
    for seconds, wanted in steps:
        clock.advance(seconds)
        count = min(wanted, math.floor(bucket.left()))
        bucket.take(count)
        taken += count
        assert taken <= rate * (clock.seconds() + burst) * (1 + 1e-9)
        assert bucket.left() >= 0


def test_no_rate_is_no_pace() -> None:
    """Who may do what it can costs nothing."""
    assert pace(Rate(), 10, Clock()) is None


def test_a_pace_waits_for_the_slower_of_the_two() -> None:
    clock = Clock()
    one = Pace(Rate(requests=1000, octets=100_000, burst=1), 10, clock)
    assert one.wait() == 0
    one.took(1000)
    assert one.wait() == PAUSE, "not for each request by itself"
    one.received(300_000)
    assert one.wait() == pytest.approx(2, abs=0.001)
    clock.advance(one.wait())
    assert one.wait() == 0


def test_a_pace_of_bytes_only() -> None:
    one = Pace(Rate(octets=100_000, burst=1), 10, Clock())
    assert one.requests == math.inf
    one.took(1 << 40)
    assert one.wait() == 0


def test_no_more_is_read_at_once_than_may_be_carried_out() -> None:
    """Of the least requests; but so much that a connection that is over its rate is not read byte by byte."""
    clock = Clock()
    one = Pace(Rate(requests=10_000, octets=1_000_000, burst=1), 10, clock)
    assert one.most(512 * 1024) == 100_000
    one.took(5_000)
    assert one.most(512 * 1024) == 50_000
    one.received(980_000)
    assert one.most(512 * 1024) == 20_000
    one.received(1_000_000)
    assert one.most(512 * 1024) == LEAST_READ
    assert Pace(Rate(requests=1 << 40), 10, clock).most(512 * 1024) == 512 * 1024


# --- a connection ----------------------------------------------------------------------------------------------------


def send(client: Bare, count: int) -> list[int]:
    """Send so many LISTs in one piece; their ids."""
    ids, octets = [], b""
    for _ in range(count):
        id, one = client.connection.request(List())
        ids.append(id)
        octets += one
    client.send(octets)
    return ids


def answered(client: Bare) -> list[int]:
    return [id for id, message in client.got if isinstance(message, Listing)]


def advance(w: World, seconds: float) -> None:
    """In steps, as time passes."""
    for _ in range(round(seconds / PAUSE)):
        w.reactor.advance(PAUSE)
        w.daemon.settle()


def test_a_client_over_its_rate_keeps_order_and_loses_nothing() -> None:
    with world(requests=100, burst=1) as w:
        client, other = w.client(), w.client()
        ids = send(client, 1000)
        w.daemon.settle()
        # HELLO was the first of a hundred.
        assert answered(client) == ids[:99]
        for second in range(1, 10):
            advance(w, 1)
            assert len(answered(client)) == pytest.approx(99 + 100 * second, abs=2)
            told = w.ask(other, Info())[1]
            assert isinstance(told, DaemonInfo)
            assert (told.counts.slowed, told.limits.request_rate, told.limits.burst) == (1, 100, 1)
        advance(w, 1)
        assert answered(client) == ids
        assert not client.lost
        advance(w, 1)
        told = w.ask(other, Info())[1]
        assert isinstance(told, DaemonInfo)
        assert told.counts.slowed == 0
        assert isinstance(w.ask(client, List())[1], Listing), "and it goes on as anybody"


def test_what_waits_is_not_read() -> None:
    """It stays where it is: with the sender, once its socket is full."""
    with world(requests=100, burst=1) as w:
        client = w.client()
        peer = next(iter(w.daemon.service.peers))
        for _ in range(50):
            send(client, 100)
        w.daemon.settle()
        assert peer.connection.waiting < 2 * len(client.connection.request(List())[1]) * 100
        before = client.transport.waiting  # type: ignore[union-attr]
        advance(w, 1)
        assert client.transport.waiting <= before  # type: ignore[union-attr]


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
def test_bytes_over_the_rate(packets: bool) -> None:
    """Input at its rate, whole and in order."""
    rate = 256 * 1024
    with world(octets=rate, burst=1) as w:
        client, other = w.client(version=1 if packets else 2, packets=packets), w.client()
        id, _, child = w.start(client, "cat")
        piece = 32 * 1024
        pieces = [bytes([65 + number]) * piece for number in range(24)]
        posted = []
        for one in pieces:
            request, octets = client.connection.request(Data(to=id, payload=one))
            posted.append(request)
            client.send(octets)
        got = b""
        for step in range(400):
            w.daemon.settle()
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += child.read()
                    w.daemon.settle()
            if step == 0:
                assert rate - piece <= len(got) <= rate + piece
                assert isinstance(w.ask(other, List())[1], Listing)
            w.reactor.advance(PAUSE)
        assert got == b"".join(pieces)
        assert w.reactor.seconds() >= 2
        assert [number for number, message in client.got if isinstance(message, Taken)] == posted


def test_a_message_may_take_as_long_as_the_rate_makes_it() -> None:
    """It is this side that does not read: the message's own time does not count then."""
    with world(octets=64 * 1024, burst=1) as w:
        client = w.client()
        id, _, _ = w.start(client, "cat")
        for _ in range(3):
            _, octets = client.connection.request(Data(to=id, payload=b"x" * (MAX_MESSAGE - 100)))
            client.send(octets)
        # Of the last one only the beginning.
        client.send(b"\0\0\1\0xx")
        begun = 3 * MEBIBYTE / (64 * 1024) - 1
        advance(w, begun + MESSAGE_TIMEOUT - 2)
        assert not client.lost
        assert len([message for _, message in client.got if isinstance(message, Taken | StdinFull)]) == 3
        advance(w, MESSAGE_TIMEOUT)
        assert client.aborted is not None, "in the end it was the client that took too long"
        assert client.aborted.errno == errno.ETIMEDOUT


def test_a_message_that_is_not_read_is_not_late() -> None:
    """Its end was sent in time, and waits because of what came before it."""
    with world(octets=64 * 1024, burst=1) as w:
        client = w.client()
        id, _, _ = w.start(client, "cat")
        octets = b"".join(
            client.connection.request(Data(to=id, payload=b"x" * (MAX_MESSAGE - 100)))[1] for _ in range(4)
        )
        half = len(octets) * 7 // 8
        client.send(octets[:half])
        client.send(octets[half:])
        advance(w, half / (64 * 1024) + 1)
        assert w.reactor.seconds() > MESSAGE_TIMEOUT + 20
        assert not client.lost
        assert len([message for _, message in client.got if isinstance(message, Taken | StdinFull)]) == 4


def test_no_rate_by_default() -> None:
    """All in one go, and nobody waits."""
    with world() as w:
        client = w.client()
        ids = send(client, 20_000)
        w.daemon.settle()
        assert answered(client) == ids


def test_a_client_that_goes_while_it_is_over_its_rate() -> None:
    """Nothing of it is left: `world` looks at what is still scheduled."""
    with world(requests=10, burst=1) as w:
        client = w.client()
        send(client, 100)
        w.daemon.settle()
        client.transport.loseConnection()  # type: ignore[union-attr]
        advance(w, 0.5)
        w.daemon.service.peers.copy().pop().transport.abortConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        assert not w.daemon.service.peers
