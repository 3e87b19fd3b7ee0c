"""When to try for a lost connection again, until when, and what of it to repeat; knows no sockets."""

from __future__ import annotations

import errno
from collections.abc import Callable
from os import urandom
from time import monotonic

from netdaemon.errors import ConnectionClosed, NetdaemonError
from netdaemon.trust import words
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Flow,
    Info,
    Inspect,
    List,
    Prune,
    Reload,
    Request,
    Resize,
    Start,
    Stop,
    Wait,
    Watch,
)

# Seconds from the loss until it is over for good. A daemon that was killed or upgraded is back within one; what is not
# back after a minute has somebody looking at it, and whoever waits should hear of it.
PATIENCE = 60.0

# Seconds between two attempts: soon enough that nobody notices, and then seldom enough to cost nothing.
DELAY_FIRST = 0.01
DELAY_MOST = 0.5

# Seconds after which a connection has proved good, even if nothing was asked on it: what ends it then is a new loss.
STEADY = 1.0

# What connecting fails with while one daemon has gone and the next is not there, or has not yet come to accept.
PASSING = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EAGAIN)

# What may be carried out twice and is as if it were once.
_REPEATABLE = (Info, List, Inspect, Wait, Attach, Watch, Stop, Change, Prune, Reload, Resize, Flow)


def passes(error: OSError) -> bool:
    """Whether connecting may succeed later although it failed with *error*."""
    return error.errno in PASSING or words.passes(error)


def repeatable(request: Request) -> bool:
    """Whether a request whose answer was lost can be sent again: it changes nothing, or nothing more."""
    if isinstance(request, Start):
        return request.key is not None
    if isinstance(request, Again):
        return request.generation is not None
    return isinstance(request, _REPEATABLE)


def unanswered(request: Request, error: NetdaemonError) -> ConnectionClosed:
    """What the caller of a request gets that was lost with its connection and cannot be repeated."""
    word = "RESTART" if isinstance(request, Again) else type(request).__name__.upper()
    return ConnectionClosed(f"the daemon went before it answered ({error}): whether {word} was carried out is unknown")


class Retrying:
    """The times of the attempts after a loss: from `lost` to `back`.

    The delay is doubled from attempt to attempt, and each is drawn from its upper half, so that many clients do not
    come back at the same moment. A connection that is lost again before it has proved good belongs to the same loss: a
    daemon that dies of what it is asked is not asked for ever.

    :param patience: seconds from the loss on for which it is tried; None is for ever.
    """

    def __init__(self, patience: float | None, clock: Callable[[], float] = monotonic) -> None:
        self.patience = patience
        self._clock = clock
        self._since: float | None = None
        self._back_at = 0.0
        self._delay = DELAY_FIRST
        self._next = 0.0
        self._reason: NetdaemonError | None = None

    def lost(self, reason: NetdaemonError) -> None:
        """An established connection is gone, for *reason*."""
        now = self._clock()
        if self._since is None or now - self._back_at >= STEADY:
            self._since = now
            self._delay = DELAY_FIRST
        self._reason = reason
        self._plan(now)

    def failed(self) -> None:
        """An attempt came to nothing."""
        self._plan(self._clock())

    def back(self) -> None:
        """There is a connection again."""
        self._back_at = self._clock()

    def proved(self) -> None:
        """It is good: something was answered on it."""
        self._since = None

    def _plan(self, now: float) -> None:
        fraction = int.from_bytes(urandom(2), "big") / 0x10000
        self._next = now + self._delay * (0.5 + fraction / 2)
        self._delay = min(self._delay * 2, DELAY_MOST)

    @property
    def ripe(self) -> bool:
        """Whether it is time for an attempt."""
        return self._clock() >= self._next

    @property
    def over(self) -> bool:
        """Whether it has been tried for long enough."""
        return self.patience is not None and self._since is not None and self._clock() >= self._since + self.patience

    def left(self, *, trying: bool) -> float | None:
        """Seconds until something is to be done; None if nothing is.

        :param trying: whether an attempt is under way: then there is only its end to wait for, or the end of all.
        """
        times = [] if trying else [self._next]
        if self.patience is not None and self._since is not None:
            times.append(self._since + self.patience)
        return max(0.0, min(times) - self._clock()) if times else None

    def verdict(self) -> ConnectionClosed:
        """What is known when it is over."""
        told = f"the daemon is gone: {self._reason}, and none has answered in the {self.patience:g} s since"
        return ConnectionClosed(told)
