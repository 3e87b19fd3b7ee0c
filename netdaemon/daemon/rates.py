"""How fast one connection may go on: requests and bytes a second, with something saved up; knows no messages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

# Seconds for which a connection that is over its rate is left alone at least: it is looked at a hundred times a second,
# and not once for each request that it may make.
PAUSE = 0.01

# Seconds of its rate that a connection may use at once after it was quiet: a panel that opens a page with all of its
# processes on it does in a moment what it would not do all the time.
BURST = 5

# What is read at once of a connection that is over its rate, at least. Small: what it has sent too early waits with it,
# and next to nothing here.
LEAST_READ = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a connection may do in a second; None: as much as it can.

    :param burst: for how many seconds' worth of it at once, after it was quiet.
    """

    requests: int | None = None
    octets: int | None = None
    burst: int = BURST


class Bucket:
    """So many a second, and no more than so many at once.

    :param clock: `IReactorTime`.
    """

    def __init__(self, rate: int, burst: int, clock: IReactorTime) -> None:
        self._rate = rate
        self._most = float(rate * burst)
        self._left = self._most
        self._at = clock.seconds()
        self._clock = clock

    def left(self) -> float:
        """How many may be taken now; below zero: more were taken, and have to be made up for."""
        now = self._clock.seconds()
        # A clock that was set back gives nothing, and takes nothing.
        if now > self._at:
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def take(self, count: int) -> None:
        """Take so many, there being enough or not."""
        self._left = self.left() - count

    def wait(self) -> float:
        """Seconds until there is one; 0: there is."""
        return max(0.0, (1 - self.left()) / self._rate)


class Pace:
    """What one connection may do at the moment.

    Bytes are counted when they have come, so that there may be more of them than there should: the connection is then
    not read for as long as it takes to make up for that. Requests are counted before they are carried out.

    :param least: bytes that a request has at least.
    """

    def __init__(self, rate: Rate, least: int, clock: IReactorTime) -> None:
        self._requests = None if rate.requests is None else Bucket(rate.requests, rate.burst, clock)
        self._octets = None if rate.octets is None else Bucket(rate.octets, rate.burst, clock)
        self._least = least

    @property
    def requests(self) -> float:
        """How many requests may be carried out now."""
        return math.inf if self._requests is None else self._requests.left()

    def took(self, requests: int) -> None:
        """So many were carried out."""
        if self._requests is not None:
            self._requests.take(requests)

    def received(self, octets: int) -> None:
        """So many bytes have come."""
        if self._octets is not None:
            self._octets.take(octets)

    def wait(self) -> float:
        """Seconds for which the connection is not to be read; 0: it is within its rate."""
        longest = max(bucket.wait() for bucket in (self._requests, self._octets) if bucket is not None)
        return max(longest, PAUSE) if longest else 0.0

    def most(self, limit: int) -> int:
        """How many bytes to read at once, at most *limit*: what has come beyond the rate would have to wait here."""
        wanted = float(limit)
        if self._requests is not None:
            wanted = min(wanted, self._requests.left() * self._least)
        if self._octets is not None:
            wanted = min(wanted, self._octets.left())
        return max(LEAST_READ, int(wanted))


def pace(rate: Rate, least: int, clock: IReactorTime) -> Pace | None:
    """That of a new connection; None: it may do what it can."""
    return None if rate.requests is None and rate.octets is None else Pace(rate, least, clock)
