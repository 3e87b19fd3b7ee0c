"""ndtool's client: says when it waits for a daemon that is gone, and when that is back; knows no commands."""

from __future__ import annotations

from collections.abc import Callable
from select import POLLIN, POLLOUT
from time import monotonic
from typing import Any

from netdaemon.blocking import Client
from netdaemon.cli import output
from netdaemon.errors import NetdaemonError

# Seconds without a daemon after which it is said: an upgrade is over before, and nobody needs to hear of it.
QUIET = 1.0


class WaitingClient(Client):
    """A client that tells whoever waits at it.

    :ivar say: prints a line.
    :ivar leave: how to leave meanwhile.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.say: Callable[[str], None] = output.note
        self.leave = "Ctrl-C leaves"
        self._say_at: float | None = None
        self._said = False
        super().__init__(*arguments, on_disconnected=self._gone, on_reconnected=self._back, **options)

    @property
    def due(self) -> float | None:
        due = super().due
        if self._say_at is None:
            return due
        left = max(0.0, self._say_at - monotonic())
        return left if due is None else min(due, left)

    def work(self, ready: int = POLLIN | POLLOUT) -> None:
        super().work(ready)
        if self._say_at is not None and monotonic() >= self._say_at:
            self._say_at = None
            self._said = True
            self.say(f"the daemon is gone; waiting for it ({self.leave})")

    def _gone(self, reason: NetdaemonError) -> None:
        self._say_at = monotonic() + QUIET

    def _back(self) -> None:
        self._say_at = None
        if self._said:
            self._said = False
            self.say("the daemon is back")
