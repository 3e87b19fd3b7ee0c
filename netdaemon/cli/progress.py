"""What goes on while somebody waits: a line on a terminal that is written over, or plain lines; knows no daemon."""

from __future__ import annotations

import sys
from time import monotonic

from netdaemon.cli import output

# Seconds between two looks at the clock, where one is shown.
TICK = 1.0

# What comes back sooner than that needs no clock.
QUIET = 1.0


def watched() -> bool:
    """Whether somebody sits there: standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Progress:
    """Tells what is just being done.

    :param as_json: it is for programs: nothing is told.
    :param verbose: each thing is told on a line of its own; without, on one line that is written over, on a terminal.
    :ivar verbose: whether it is told so.
    """

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.verbose = verbose and not as_json
        self._over = not verbose and not as_json and watched()
        self._text = ""
        self._shown = False
        self._began = monotonic()

    @property
    def told(self) -> bool:
        """Whether anybody is told anything."""
        return self.verbose or self._over

    @property
    def tick(self) -> float | None:
        """Seconds after which `again` is to be called."""
        return TICK if self._over else None

    def wait_for(self, what: str) -> None:
        """Something is waited for, and nothing else can be said of it: that is told if it takes long, on a terminal."""
        self._text = output.visible(f"waiting for {what}")

    def say(self, text: str) -> None:
        """That is being done now."""
        text = output.visible(text)
        if self.verbose:
            output.note(text)
        elif self._over:
            self._text = text
            self._show()

    def again(self) -> None:
        """Time has gone by."""
        if self._over and self._text:
            self._show()

    def _show(self) -> None:
        seconds = monotonic() - self._began
        text = f"{self._text} ({output.duration(seconds)})" if seconds >= QUIET else self._text
        columns = output.terminal_columns(sys.stderr) or 80
        # One column is left free: a terminal that wraps there would have two lines.
        output.complain("\r" + output.cut(text, columns - 1) + "\x1b[K")
        self._shown = True

    def note(self, text: str) -> None:
        """A line of its own, whatever is shown."""
        self.clear()
        output.note(text)

    def clear(self) -> None:
        """Something else is about to be printed, or it is over."""
        if self._shown:
            output.complain("\r\x1b[K")
            self._shown = False
