"""Looks for the line of output that says that a process is ready; reads the spool, and knows no process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from netdaemon.patterns import LINE, Pattern
from netdaemon.process.spool import Spool
from netdaemon.wire.specs import Ready

# Bytes that are looked at in one turn: lines are taken apart at some 100 MB/s.
LOOK = 256 * 1024

_log = Logger()


class Readiness:
    """Reads lines from *offset* on until one is what *ready* says.

    A line counts when its text has come, with or without the newline after it: prompts have none.
    """

    def __init__(self, ready: Ready, spool: Spool, offset: int) -> None:
        self._spool = spool
        self._offset = offset
        self._match: Callable[[str], bool] = lambda line: False
        self._pattern: Pattern | None = None
        if ready.output is not None:
            text = ready.output
            self._match = lambda line: text in line
        elif ready.pattern is not None:
            self._pattern = Pattern(ready.pattern, "ready")
            self._match = self._pattern.found_in
        self._tails: dict[int, bytes] = {}

    def look(self) -> bool | None:
        """Look at what has come since: whether that says so; None: there is more to look at."""
        spool = self._spool
        left = LOOK
        while self._offset < spool.end:
            if left <= 0:
                return None
            self._offset = max(self._offset, spool.begin)
            segment = spool.segment(self._offset, left)
            self._offset += len(segment.data)
            left -= len(segment.data)
            if self._says(segment.channel, bytes(segment.data)):
                return True
        return False

    def _says(self, channel: int, data: bytes) -> bool:
        lines = (self._tails.get(channel, b"") + data).split(b"\n")
        # Of a very long line its beginning is all that is looked at.
        self._tails[channel] = lines[-1][:LINE]
        for line in lines:
            if line and self._match(line[:LINE].decode("utf-8", "replace")):
                return True
        if self._pattern is not None and self._pattern.slow:
            self._pattern = None
            _log.error("the pattern of a process that is to say when it is ready takes too long, and is given up")
        return False
