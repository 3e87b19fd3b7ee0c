"""Regular expressions that others have written: bounded in size and time, so that none can stop the daemon."""

from __future__ import annotations

import re
from typing import Any

from netdaemon.errors import BadRequest

# Seconds that one line may take. Sound expressions take microseconds.
WITHIN = 0.01

# Characters of a line that are looked at: what says that a program is ready stands at its beginning.
LINE = 4096

# What an expression may come to with its counted repeats written out, which is how it is compiled: so much takes some
# milliseconds and a megabyte; a thousand thousands, one in the other, take all the memory there is.
SIZE_MAX = 4000

# A counted repeat, and what stands before it: after a group or another repeat it multiplies what is in that.
_COUNTED = re.compile(r"([)}]?)\{(\d*)(?:,(\d*))?\}")

# White space may stand anywhere in an expression that has this flag.
_VERBOSE = re.compile(r"\(\?[\w-]*x")


class Pattern:
    """A compiled expression.

    :raises BadRequest: it is none, or too large; *field* is what that names.
    :ivar slow: whether it has taken too long for a line, and is not asked any more.
    """

    def __init__(self, pattern: str, field: str) -> None:
        size = _size(pattern)
        if size > SIZE_MAX:
            raise BadRequest(
                f"{field}: the pattern {pattern!r} comes to {size:.6g} with its repeats written out, "
                f"and {SIZE_MAX} are allowed",
                field=field,
            )
        # Few processes have one, and few programs that speak of processes need to have it loaded.
        import regex

        try:
            # Not kept by the library: what others have written would stay there when their processes are gone.
            self._compiled: Any = regex.compile(pattern, cache_pattern=False)
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


def _size(pattern: str) -> float:
    """An upper bound of what *pattern* comes to with its counted repeats written out.

    A float, since what is far too much need not be known to the digit.
    """
    verbose = _VERBOSE.search(pattern) is not None
    if verbose:
        pattern = "".join(pattern.split())
    alone, together = float(len(pattern)), 1.0
    for before, least, most in _COUNTED.findall(pattern):
        times = max(float(least or 0), float(most or 0), 1.0)
        if before or verbose:
            together *= times
        else:
            alone += times
    return alone * together
