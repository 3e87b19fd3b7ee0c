"""A process's output on ours: as it is, with times, or as the lines of a log; knows no daemon."""

from __future__ import annotations

import time

from netdaemon.cli.history import lines_of
from netdaemon.cli.outlet import Outlet, outlets
from netdaemon.logs.cri import Encoder, Line

# Bytes that are gathered before they are written, where more is at hand.
GATHERED = 1 << 16


class Printer:
    """Writes pieces of output, and waits for whoever reads.

    :param wanted: the channels to print.
    :param timestamps: whether each line begins with the local time at which its first byte came.
    :param raw: whether they are printed as lines of a log, all to standard output.
    """

    def __init__(self, wanted: tuple[int, ...], *, timestamps: bool = False, raw: bool = False) -> None:
        self._wanted = wanted
        self._timestamps = timestamps
        self._encoder = Encoder() if raw else None
        self._outlets = outlets()
        self._within: set[int] = set()
        self._gathered: list[bytes] = []
        self._size = 0
        self._target = self._outlets[1]

    def put(self, piece: Line) -> None:
        """Write it, at once or with what follows."""
        if piece.channel not in self._wanted:
            return
        if self._encoder is not None:
            for block in self._encoder.feed(piece.channel, piece.time, piece.data):
                self._write(self._outlets[1], block.octets)
        elif self._timestamps:
            for data in lines_of(piece.data):
                if piece.channel not in self._within:
                    self._write(self._outlets[piece.channel], stamp(piece.time))
                self._write(self._outlets[piece.channel], data)
                (self._within.discard if data.endswith(b"\n") else self._within.add)(piece.channel)
        else:
            self._write(self._outlets[piece.channel], piece.data)

    def _write(self, target: Outlet, data: bytes) -> None:
        if target is not self._target:
            self.flush()
            self._target = target
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= GATHERED:
            self.flush()

    def flush(self) -> None:
        """Nothing follows at the moment."""
        if self._gathered:
            self._target.write(b"".join(self._gathered))
            self._gathered.clear()
            self._size = 0
            self._target.drain()

    def idle(self) -> None:
        """Nothing has followed for a while: a line that has no end yet may not get one."""
        if self._encoder is not None:
            for block in self._encoder.flush():
                self._write(self._outlets[1], block.octets)
        self.flush()

    def close(self) -> None:
        """Give back what was opened."""
        for outlet in self._outlets.values():
            outlet.close()


def stamp(microseconds: int) -> bytes:
    """A point in time, local and to the millisecond, with the space after it."""
    second, rest = divmod(microseconds, 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(second))}.{rest // 1000:03} ".encode()
