"""What waits for one child's standard input on its way there, as fast as the child takes it; knows no clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netdaemon.keeper.child import Launched
from netdaemon.process.stdin import Stdin
from netdaemon.process.streams import Input, TerminalInput
from netdaemon.watching import RETRY


def _nothing() -> None:
    """Nobody is to be told."""


class Feeding:
    """Moves what waits in *stdin* to a child.

    :param on_closed: called once, when nothing can be fed any more: after EOF, or because nobody reads.
    """

    def __init__(self, reactor: Any, launched: Launched, stdin: Stdin, on_closed: Callable[[], None]) -> None:
        self.reactor = reactor
        self.pid = launched.pid
        self._stdin = stdin
        self._on_closed = on_closed
        self._retry: Any = None
        self.terminal = launched.stdin_relay[0] >= 0
        self._entry: Input | None
        if launched.stdin < 0:
            self._entry = None
        elif self.terminal:
            self._entry = TerminalInput(launched.stdin, launched.stdin_relay, self)
        else:
            self._entry = Input(launched.stdin, self)

    def begin(self) -> None:
        """Feed what waits already, and look out for the other end's closing."""
        if self._entry is not None and not self.terminal:
            # Readable at the writing end means that the reading end is closed.
            self._entry.watch()
        self.feed()

    def feed(self) -> None:
        """Move as much as the child takes; the rest follows by itself."""
        entry = self._entry
        if entry is None:
            self._stdin.discard()
            return
        try:
            try:
                entry.push(self._stdin)
            except BlockingIOError:
                self.reactor.addWriter(entry)
                return
        except BrokenPipeError:
            self.lost()
            return
        except OSError:
            # No memory, and its like: that says nothing of the reader, and what was accepted is not lost by it.
            self.reactor.removeWriter(entry)
            if self._retry is None:
                self._retry = self.reactor.callLater(RETRY, self._feed_again)
            return
        self.reactor.removeWriter(entry)
        if self._stdin.closed:
            self._close()

    def _feed_again(self) -> None:
        self._retry = None
        self.feed()

    def lost(self) -> None:
        """Nobody reads the child's stdin any more."""
        self._stdin.discard()
        self._close()

    def _close(self) -> None:
        if self._entry is not None:
            on_closed = self._on_closed
            self.abandon()
            on_closed()

    def abandon(self) -> None:
        """Close everything and tell nobody."""
        # Whoever is told has this: let go, the two are freed at once.
        self._on_closed = _nothing
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.close()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
