"""Looks for the line of output that says that a process is ready; reads the spool, and knows no process."""

from __future__ import annotations

from twisted.logger import Logger

from netdaemon.patterns import LINE, Pattern
from netdaemon.process.spool import Spool
from netdaemon.wire.specs import Ready

# Bytes that are looked at in one turn: lines are taken apart at some 100 MB/s.
LOOK = 256 * 1024

# A character has four bytes at most.
LINE_OCTETS = 4 * LINE

_log = Logger()


class Readiness:
    """Reads lines from *offset* on until one is what *ready* says.

    A line counts when its text has come, with or without the newline after it: prompts have none. Where output was
    overwritten before it could be looked at, nothing is taken to go on in what follows.
    """

    def __init__(self, ready: Ready, spool: Spool, offset: int) -> None:
        self._spool = spool
        self._offset = offset
        self._text = b"" if ready.output is None else ready.output.encode()
        self._pattern = None if ready.pattern is None else Pattern(ready.pattern, "ready")
        # What has come of the present line of each channel, as far as it can still matter.
        self._tails: dict[int, bytes] = {}

    def look(self) -> bool | None:
        """Look at what has come since: whether that says so; None: there is more to look at."""
        spool = self._spool
        left = LOOK
        while self._offset < spool.end:
            if left <= 0:
                return None
            if self._offset < spool.begin:
                self._offset = spool.begin
                self._tails.clear()
            segment = spool.segment(self._offset, left)
            self._offset += len(segment.data)
            left -= len(segment.data)
            if self._says(segment.channel, bytes(segment.data)):
                return True
        return False

    def _says(self, channel: int, data: bytes) -> bool:
        data = self._tails.get(channel, b"") + data
        if self._pattern is not None:
            return self._matches(self._pattern, channel, data)
        # A text that has no newline in it is in one line, wherever it is.
        self._tails[channel] = data[max(0, len(data) - len(self._text) + 1) :]
        return self._text in data

    def _matches(self, pattern: Pattern, channel: int, data: bytes) -> bool:
        if pattern.slow:
            return False
        lines = data.split(b"\n")
        # Of a very long line its beginning is all that is looked at.
        self._tails[channel] = lines[-1][:LINE_OCTETS]
        for line in lines:
            # A terminal ends its lines with both.
            line = line[:LINE_OCTETS].removesuffix(b"\r")
            if line and pattern.found_in(line.decode("utf-8", "replace")):
                return True
        if pattern.slow:
            _log.error("the pattern of a process that is to say when it is ready takes too long, and is given up")
        return False
