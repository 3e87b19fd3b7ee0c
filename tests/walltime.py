"""The time of day on a clock that a test advances."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol
from unittest import mock

# Seconds since the epoch when a test's clock begins.
BEGINNING = 1_800_000_000


class Seconds(Protocol):
    """A clock."""

    def seconds(self) -> float: ...


def microseconds(clock: Seconds) -> int:
    """What `time.time_ns` says there, in microseconds."""
    return BEGINNING * 1_000_000 + round(clock.seconds() * 1e6)


@contextlib.contextmanager
def wall_time(clock: Seconds) -> Iterator[None]:
    """Have the time of day go on as *clock* does, and not otherwise."""

    def time_ns() -> int:
        return microseconds(clock) * 1000

    def seconds() -> float:
        return microseconds(clock) / 1e6

    with mock.patch.object(time, "time_ns", time_ns), mock.patch.object(time, "time", seconds):
        yield
