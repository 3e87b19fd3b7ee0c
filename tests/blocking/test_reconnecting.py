"""When it is tried again, until when, and what is repeated: with a clock of the test's own."""

from __future__ import annotations

import errno

import pytest

from netdaemon.blocking import reconnecting
from netdaemon.blocking.reconnecting import DELAY_FIRST, DELAY_MOST, STEADY, Retrying, passes, repeatable, unanswered
from netdaemon.errors import ConnectionClosed
from netdaemon.wire.commands import (
    REQUESTS,
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Hello,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)

REASON = ConnectionClosed("the daemon closed the connection")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_out(retrying: Retrying, clock: Clock) -> float:
    left = retrying.left(trying=False)
    assert left is not None
    clock.now += left
    assert retrying.ripe or retrying.over
    return left


def test_delays_double_up_to_the_most_and_are_jittered(clock: Clock) -> None:
    delays = []
    for _ in range(20):
        retrying = Retrying(None, clock)
        retrying.lost(REASON)
        assert not retrying.ripe
        found = []
        for _ in range(12):
            found.append(wait_out(retrying, clock))
            retrying.failed()
        delays.append(found)
    for found in delays:
        for number, delay in enumerate(found):
            most = min(DELAY_FIRST * 2**number, DELAY_MOST)
            assert most / 2 - 1e-6 <= delay <= most + 1e-6
    assert len({found[0] for found in delays}) > 10


def test_it_is_over_when_patience_is(clock: Clock) -> None:
    retrying = Retrying(5.0, clock)
    retrying.lost(REASON)
    while not retrying.over:
        wait_out(retrying, clock)
        retrying.failed()
    assert clock.now == pytest.approx(1005.0, abs=0.01)
    told = "the daemon is gone: the daemon closed the connection, and none has answered in the 5 s since"
    assert str(retrying.verdict()) == told
    # While an attempt is under way, there is nothing else to wait for than the end of all.
    retrying = Retrying(5.0, clock)
    retrying.lost(REASON)
    assert retrying.left(trying=True) == pytest.approx(5.0)
    assert Retrying(None, clock).left(trying=True) is None


def test_a_connection_that_did_not_prove_good_belongs_to_the_same_loss(clock: Clock) -> None:
    """A daemon that dies of what it is asked is asked less and less often, and not for ever."""
    retrying = Retrying(5.0, clock)
    retrying.lost(REASON)
    count = 0
    while not retrying.over:
        wait_out(retrying, clock)
        retrying.back()
        retrying.lost(REASON)
        count += 1
    assert count < 30


@pytest.mark.parametrize("how", ["answered", "lasted"])
def test_a_connection_that_proved_good_begins_anew(clock: Clock, how: str) -> None:
    retrying = Retrying(5.0, clock)
    retrying.lost(REASON)
    clock.now += 4.9
    retrying.back()
    if how == "answered":
        retrying.proved()
    else:
        clock.now += STEADY
    clock.now += 0.2
    retrying.lost(REASON)
    assert not retrying.over
    left = retrying.left(trying=False)
    assert left is not None
    assert left <= DELAY_FIRST


def test_what_passes() -> None:
    for number in (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EAGAIN):
        assert passes(OSError(number, ""))
    for number in (errno.EACCES, errno.EPERM, errno.ENOTSOCK, errno.EPROTOTYPE):
        assert not passes(OSError(number, ""))


EACH: list[tuple[Request, bool]] = [
    (Info(), True),
    (List(), True),
    (Inspect(process="x"), True),
    (Wait(process="x"), True),
    (Attach(process="x"), True),
    (Resize(to=1, rows=1, columns=1), True),
    (Flow(to=1, paused=True), True),
    (Watch(), True),
    (Stop(process="x"), True),
    (Change(process="x", name="y"), True),
    (Prune(), True),
    (Reload(), True),
    (Again(process="x", generation=1), True),
    (Again(process="x"), False),
    (Start(argv=("x",), key="k"), True),
    (Start(argv=("x",)), False),
    (Kill(process="x", signal=1), False),
    (Remove(process="x"), False),
    (Shutdown(), False),
    (Data(to=1, payload=b"x"), False),
]


@pytest.mark.parametrize(("request_", "again"), EACH, ids=lambda one: type(one).__name__)
def test_what_is_repeated(request_: Request, again: bool) -> None:
    assert repeatable(request_) == again


def test_every_request_is_decided_on() -> None:
    """DETACH succeeds by the loss, HELLO is said anew."""
    assert {type(request) for request, _ in EACH} | {Hello, Detach} == set(REQUESTS.values())


def test_what_is_not_repeated_is_unknown() -> None:
    error = unanswered(Kill(process="x", signal=1), REASON)
    assert str(error) == f"the daemon went before it answered ({REASON}): whether KILL was carried out is unknown"
    assert "RESTART" in str(unanswered(Again(process="x"), REASON))


def test_it_knows_no_sockets() -> None:
    assert not hasattr(reconnecting, "socket")
