"""The events of one process, numbered from its first, until the journal is known to have them; knows no journal."""

from __future__ import annotations

import time

from netdaemon.process.saved import PENDING_MOST, Told
from netdaemon.wire.told import Happening


class OwnEvents:
    """What one process has told of.

    :ivar number: that of the last; 0: it has never told any.
    :ivar pending: those that are saved, and may not be in the journal.
    """

    def __init__(self) -> None:
        self.number = 0
        self.pending: tuple[Told, ...] = ()
        self._fresh: list[Told] = []

    def tell(self, happening: Happening, detail: str | None, principal: str) -> None:
        """Something has happened."""
        self.number += 1
        self._fresh.append(Told(self.number, happening, time.time_ns() // 1000, principal, detail))

    @property
    def fresh(self) -> bool:
        """Whether there are some that are not saved."""
        return bool(self._fresh)

    def take(self) -> list[Told]:
        """Those that are not saved, and are about to be: they are pending from now on."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            self.pending = (*self.pending, *fresh)[-PENDING_MOST:]
        return fresh

    def journalled(self, number: int) -> None:
        """The journal has those up to that one."""
        self.pending = tuple(one for one in self.pending if one.number > number)
