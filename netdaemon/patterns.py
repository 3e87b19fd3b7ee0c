"""Regular expressions that others have written: bounded in length and time, so that none can stop the daemon."""

from __future__ import annotations

from typing import Any

from netdaemon.errors import BadRequest

# Seconds that one line may take. Sound expressions take microseconds.
WITHIN = 0.01

# Characters of a line that are looked at: what says that a program is ready stands at its beginning.
LINE = 4096


class Pattern:
    """A compiled expression.

    :raises BadRequest: it is none; *field* is what that names.
    :ivar slow: whether it has taken too long for a line, and is not asked any more.
    """

    def __init__(self, pattern: str, field: str) -> None:
        # Few processes have one, and few programs that speak of processes need to have it loaded.
        import regex

        try:
            self._compiled: Any = regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError, ValueError) as error:
            raise BadRequest(
                f"{field}: the pattern {pattern!r} is no regular expression: {error}", field=field
            ) from None
        self.slow = False

    def found_in(self, line: str) -> bool:
        """Whether *line* matches somewhere."""
        if self.slow:
            return False
        try:
            return self._compiled.search(line[:LINE], timeout=WITHIN) is not None
        except TimeoutError:
            self.slow = True
            return False
