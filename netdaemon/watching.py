"""Being watched by the reactor, at the kernel's limits too: what it has no room to watch now, it is asked for again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Seconds until what the kernel refused is tried again.
RETRY = 1.0


class Watched:
    """What the reactor is to watch for reading, as a base class; ``reactor`` is its reactor.

    EPOLL_CTL_ADD may fail (ENOMEM, ENOSPC), and a descriptor that is not watched is never heard of again.
    """

    reactor: Any
    _again: Any = None

    def watch(self) -> None:
        """Be told of what there is to read, as soon as the kernel has room to watch one more."""
        if self._again is None:
            self._watch()

    def _watch(self) -> None:
        self._again = insisting(self.reactor, lambda: self.reactor.addReader(self), self._watch)

    def unwatch(self) -> None:
        """Be told no more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.reactor.removeReader(self)


def insisting(reactor: Any, add: Callable[[], object], again: Callable[[], object]) -> Any:
    """Call *add*; where the kernel has no room, have *again* called in a while: the delayed call, else None."""
    try:
        add()
    except OSError:
        return reactor.callLater(RETRY, again)
    return None
