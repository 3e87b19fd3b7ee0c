"""Who waits until a process has come so far; knows no process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from netdaemon.errors import NetdaemonError
from netdaemon.wire.records import Until
from netdaemon.wire.told import ProcessRecord


class Waits:
    """The Deferreds of those who wait for one process."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Until, Deferred[ProcessRecord]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, until: Until) -> Deferred[ProcessRecord]:
        """Wait; cancel the Deferred to wait no more."""
        deferred: Deferred[ProcessRecord] = Deferred(self._leave)
        self._waiting.append((until, deferred))
        return deferred

    def _leave(self, gone: Deferred[ProcessRecord]) -> None:
        self._waiting = [entry for entry in self._waiting if entry[1] is not gone]

    def answer(self, until: Until, record: Callable[[], ProcessRecord]) -> None:
        """It has come so far: those who waited for it get the record."""
        due = [entry for entry in self._waiting if entry[0] is until]
        if due:
            self._waiting = [entry for entry in self._waiting if entry[0] is not until]
            told = record()
            for _, deferred in due:
                deferred.callback(told)

    def refuse(self, error: Callable[[], NetdaemonError], until: Until | None = None) -> None:
        """It will come no further, or not so far: whoever waits for that gets an error of its own."""
        refused = [entry for entry in self._waiting if until in (None, entry[0])]
        self._waiting = [entry for entry in self._waiting if until not in (None, entry[0])]
        for _, deferred in refused:
            deferred.errback(error())
