"""Whether and when a process that has exited is started again; decides from numbers, and knows no process."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any

from netdaemon.keeper.child import ExitStatus
from netdaemon.wire.specs import BURST_MAX, Policy, Restart, milliseconds

# A delay is up to so much shorter or longer than it would be: what fell together is not started together.
JITTER = 0.2

# Doubled this often, any delay has come to its longest.
DOUBLINGS = 40


class GivenUp(Exception):
    """It was started as often as it may be; the message says how often that was."""


class Restarting:
    """The restarts of one process.

    :ivar failures: how many in a row, since it last stayed up.
    """

    def __init__(self, chance: Callable[[], float] = random) -> None:
        self.failures = 0
        # When it was started, in microseconds since the epoch; as many as may have to be counted.
        self._starts: list[int] = []
        self._chance = chance

    def saved(self) -> dict[str, Any]:
        """For the next daemon."""
        return {"failures": self.failures, "starts": self._starts}

    def restore(self, saved: dict[str, Any]) -> None:
        """As the daemon before had it."""
        self.failures, self._starts = saved["failures"], list(saved["starts"])

    def started(self, restart: Restart | None, now: int) -> None:
        """It is being started."""
        if restart is not None and restart.burst:
            self._starts = [*self._starts, now][-BURST_MAX:]

    def forget(self) -> None:
        """Somebody has started it by hand: what was before does not count."""
        self.failures = 0
        self._starts = []

    def delay(self, restart: Restart | None, status: ExitStatus | None, *, fault: str, up: int, now: int) -> int | None:
        """Milliseconds until it is started again; None: it is not.

        :param status: how it has exited; None: it could not be started.
        :param fault: why it counts as a failure however it has exited; empty: it does not.
        :param up: for how many microseconds it was up.
        :raises GivenUp: it would be, but for its limit.
        """
        if restart is None or restart.policy is Policy.NEVER:
            return None
        failed = bool(fault) or status is None or status.code not in restart.codes
        if restart.policy is Policy.ON_FAILURE and not failed:
            return None
        if up >= restart.settled * 1000:
            self.failures = 0
        if restart.burst:
            recent = sum(start > now - restart.interval * 1000 for start in self._starts)
            if recent >= restart.burst:
                often = "once" if recent == 1 else f"{recent} times"
                raise GivenUp(f"started {often} within {milliseconds(restart.interval)}")
        delay = min(restart.longest, restart.delay << min(self.failures, DOUBLINGS))
        self.failures += 1
        return round(delay * (1 + JITTER * (2 * self._chance() - 1)))
