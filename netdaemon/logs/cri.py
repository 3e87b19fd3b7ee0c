"""Output as CRI lines and back, to the byte; knows no files.

A line is ``2026-01-02T03:04:05.123456000Z stdout F text``: the time at which its first byte was read, the stream, and F
where a newline followed the text, P where none did (yet). Texts joined, with a newline after each F, are the output.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

# A text that is longer is cut: what the kubelet and containerd write at most, so that all who read such files can.
TEXT_MAX = 16 * 1024

# What has no newline for so long is no line of ours: it is passed over, whatever it is, and memory stays bounded.
LINE_MAX = 1 << 20

# By channel.
STREAMS = {1: b"stdout", 2: b"stderr"}
_CHANNELS = {word: channel for channel, word in STREAMS.items()}

# Others write fewer digits, a zone of their own, and tags after the first; we read them all.
_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP])(?::[^ ]*)?(?: (.*))?",
    re.DOTALL,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def stamp(now: int) -> bytes:
    """Microseconds since the epoch as CRI lines have them."""
    second, rest = divmod(now, 1_000_000)
    return f"{_second(second)}.{rest:06}000Z".encode()


@lru_cache(maxsize=8)
def _microseconds(second: bytes, zone: bytes) -> int:
    moment = datetime.fromisoformat((second + (b"+00:00" if zone == b"Z" else zone)).decode())
    return (moment - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines as they are written to the file, all of the same kind, time and stream; or a loss, which has no lines.

    :ivar raw: how many bytes of output they stand for.
    :ivar prefix: how many octets of each line come before its text.
    :ivar full: F; of P it is one line only.
    :ivar lost: whether they stand for output that is lost.
    """

    octets: bytes
    raw: int
    prefix: int = 0
    full: bool = False
    lost: bool = False

    def cut(self, room: int) -> tuple[Block | None, Block | None]:
        """The lines that fit into *room* octets, and the others."""
        if len(self.octets) <= room:
            return self, None
        end = self.octets.rfind(b"\n", 0, max(room, 0)) + 1
        if not self.full or not end:
            return None, self
        raw = end - self.octets.count(b"\n", 0, end) * self.prefix
        return (
            Block(self.octets[:end], raw, self.prefix, True),
            Block(self.octets[end:], self.raw - raw, self.prefix, True),
        )


def split(blocks: Iterable[Block], room: int) -> tuple[list[Block], list[Block]]:
    """Those lines, from the first on, that fit into *room* octets; and the others."""
    fitting: list[Block] = []
    others: list[Block] = []
    for block in blocks:
        if others:
            others.append(block)
            continue
        first, second = block.cut(room)
        if first is not None:
            fitting.append(first)
            room -= len(first.octets)
        if second is not None:
            others.append(second)
    return fitting, others


def first_line(blocks: list[Block]) -> int:
    """How many octets the first line of them has; 0 if there is none."""
    for block in blocks:
        if block.octets:
            return block.octets.index(b"\n") + 1
    return 0


class Encoder:
    """Makes lines of output. A tail without newline is kept for what completes it.

    :ivar tail: the bytes that were fed and are in no line yet: always the last.
    """

    def __init__(self) -> None:
        self.tail = b""
        self._channel = 1
        self._time = 0

    def feed(self, channel: int, now: int, data: bytes) -> Iterator[Block]:
        """Lines of *data*, which is of *channel* and was read at *now*, microseconds since the epoch."""
        if self.tail and channel != self._channel:
            yield from self.flush()
        if self.tail:
            # The line began earlier than what completes it.
            end = data.find(b"\n") + 1 or len(data)
            yield from self._lines(channel, self._time, self.tail + data[:end])
            data = data[end:]
            if not data:
                return
        yield from self._lines(channel, now, data)

    def _lines(self, channel: int, now: int, data: bytes) -> Iterator[Block]:
        head = stamp(now) + b" " + STREAMS[channel]
        full, part = head + b" F ", head + b" P "
        begin = start = 0
        # Lines that are not too long go together; `begin` is the first of them, `start` where the next begins.
        while len(data) - start > TEXT_MAX:
            end = data.rfind(b"\n", start, start + TEXT_MAX + 1) + 1
            if end:
                start = end
                continue
            if begin < start:
                yield _full(full, data[begin:start])
            yield Block(part + data[start : start + TEXT_MAX] + b"\n", TEXT_MAX, len(part))
            begin = start = start + TEXT_MAX
        end = max(start, data.rfind(b"\n", start) + 1)
        if begin < end:
            yield _full(full, data[begin:end])
        self.tail = data[end:]
        self._channel, self._time = channel, now

    def flush(self) -> Iterator[Block]:
        """The tail as it is; what completes it will be a line of its own, which readers join."""
        if self.tail:
            head = stamp(self._time) + b" " + STREAMS[self._channel] + b" P "
            yield Block(head + self.tail + b"\n", len(self.tail), len(head))
            self.tail = b""


def _full(head: bytes, data: bytes) -> Block:
    """*data* ends with a newline."""
    octets = head + data[:-1].replace(b"\n", b"\n" + head) + b"\n"
    return Block(octets, len(data), len(head), True)


@dataclass(frozen=True, slots=True)
class Line:
    """One line, read. ``data`` has the newline where the output had it."""

    time: int
    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Invalid:
    """What is no CRI line; ``octets`` is its beginning."""

    octets: bytes


# Of what is no line, as much as shows what it is.
SHOWN = 200


def parse(octets: bytes) -> Line | Invalid:
    """One line, without the newline after it."""
    match = _LINE.fullmatch(octets)
    if match is None:
        return Invalid(octets[:SHOWN])
    second, fraction, zone, stream, kind, text = match.groups(default=b"")
    try:
        moment = _microseconds(second, zone) + int(fraction.ljust(9, b"0")) // 1000
    except ValueError:
        # A thirteenth month, or the like.
        return Invalid(octets[:SHOWN])
    return Line(moment, _CHANNELS[stream], text + b"\n" if kind == b"F" else text)


class Decoder:
    """Reads lines as their octets come, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, octets: bytes) -> Iterator[Line | Invalid]:
        """The lines that these octets complete; iterate to the end before more are fed."""
        octets = self._rest + octets
        self._rest = b""
        start = 0
        while end := octets.find(b"\n", start) + 1:
            if not self._skipping:
                yield parse(octets[start : end - 1])
            self._skipping = False
            start = end
        if not self._skipping and len(octets) - start > LINE_MAX:
            self._skipping = True
            yield Invalid(octets[start : start + SHOWN])
        if not self._skipping:
            self._rest = octets[start:]

    def end(self) -> Iterator[Invalid]:
        """There is no more: what is left is no line."""
        if self._rest:
            yield Invalid(self._rest[:SHOWN])
        self._rest = b""
