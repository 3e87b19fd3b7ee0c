"""How long a call may take: said in the call, or by the client it is made on."""

from __future__ import annotations

from time import monotonic

from netdaemon.errors import TimedOut

# Seconds that an answer may take, unless said: a daemon answers in milliseconds, and a hung one is to be noticed.
DEFAULT_TIMEOUT = 30.0


class _Default:
    """Stands for the client's own timeout, because None means for ever."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT = _Default()
Timeout = float | None | _Default


class Deadline:
    """The moment at which a call gives up.

    :param timeout: seconds from now; None is for ever; DEFAULT is *default*.
    """

    __slots__ = ("_at",)

    def __init__(self, timeout: Timeout, default: float | None = None) -> None:
        seconds = default if isinstance(timeout, _Default) else timeout
        self._at = None if seconds is None else monotonic() + seconds

    def left(self, what: str) -> float | None:
        """Seconds that are left; None is for ever.

        :raises TimedOut: none; the message says that *what* did not come in time.
        """
        if self._at is None:
            return None
        left = self._at - monotonic()
        if left <= 0:
            raise TimedOut(f"{what} in the time allowed")
        return left
