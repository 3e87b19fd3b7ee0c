"""The spool against a model that keeps everything: offsets, channels, gaps, holders, and what the file itself tells."""

import fcntl
import os
from struct import Struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.process.spool import MARK_INTERVAL, PAGE, Spool

KEEP = PAGE


class Fed:
    """A spool with a pipe before it, and a model beside it."""

    def __init__(self, keep: int = KEEP) -> None:
        self.file = os.memfd_create("spool")
        self.spool = Spool(self.file, keep)
        self.reading, self.writing = os.pipe()
        self.model = bytearray()
        self.channels = bytearray()

    def append(self, data: bytes, channel: int = 1, now: int = 1) -> None:
        """Everything, in as many moves as it takes."""
        os.write(self.writing, data)
        left = len(data)
        while left:
            left -= self.spool.append_from(self.reading, channel, left, now)
        self.model += data
        self.channels += bytes([channel]) * len(data)

    def read(self, offset: int, limit: int = 1 << 20) -> bytes:
        """From *offset* to the end, checking channels on the way."""
        result = bytearray()
        while offset < self.spool.end:
            segment = self.spool.segment(offset, limit)
            assert segment.offset == offset
            assert 0 < len(segment.data) <= limit
            assert set(self.channels[offset : offset + len(segment.data)]) == {segment.channel}
            result += segment.data
            offset += len(segment.data)
        return bytes(result)

    def close(self) -> None:
        self.spool.close()
        os.close(self.reading)
        os.close(self.writing)


CHUNKS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=3000), st.sampled_from([1, 2]), st.integers(0, 2 * MARK_INTERVAL)),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(chunks=CHUNKS, limit=st.integers(1, 5000))
def test_what_is_kept_is_what_was_written(chunks: list[tuple[bytes, int, int]], limit: int) -> None:
    """Every byte from begin to end is there, with its channel; at least the last `size` bytes, marks allowing."""
    fed = Fed()
    now = 0
    try:
        for data, channel, wait in chunks:
            now += wait
            fed.append(data, channel, now)
            spool = fed.spool
            assert spool.end == len(fed.model)
            assert spool.end - spool.begin <= spool.size
            assert spool.begin == max(0, spool.end - spool.size) or len(spool._offsets) == spool.capacity
        assert fed.read(fed.spool.begin, limit) == bytes(fed.model[fed.spool.begin :])
    finally:
        fed.close()


@settings(deadline=None, max_examples=100)
@given(chunks=CHUNKS)
def test_the_file_alone_tells_the_end(chunks: list[tuple[bytes, int, int]]) -> None:
    """Whoever has the file's description after a kill finds the end: the base in the header and the position."""
    fed = Fed()
    try:
        for data, channel, now in chunks:
            fed.append(data, channel, now)
            base = Struct("<Q").unpack(os.pread(fed.file, 8, 24))[0]
            place = os.lseek(fed.file, 0, os.SEEK_CUR) - fed.spool._start
            assert base + place == fed.spool.end
    finally:
        fed.close()


def test_scarce_marks_shorten_what_is_kept() -> None:
    """Output that changes its channel at every byte is kept as far as there are marks for it, and no memory grows."""
    fed = Fed()
    try:
        for number in range(3 * fed.spool.capacity):
            fed.append(b"x", 1 + number % 2)
        assert len(fed.spool._offsets) == fed.spool.capacity
        assert fed.spool.end - fed.spool.begin == fed.spool.capacity
        assert fed.read(fed.spool.begin) == b"x" * fed.spool.capacity
    finally:
        fed.close()


def test_time_is_told_to_within_the_interval() -> None:
    """Bytes read later than the interval after a mark get a time of their own."""
    fed = Fed()
    try:
        fed.append(b"early", now=1_000)
        fed.append(b"still", now=1_000 + MARK_INTERVAL - 1)
        fed.append(b"later", now=1_000 + MARK_INTERVAL)
        first = fed.spool.segment(0, 100)
        assert (bytes(first.data), first.time) == (b"earlystill", 1_000)
        second = fed.spool.segment(10, 100)
        assert (bytes(second.data), second.time) == (b"later", 1_000 + MARK_INTERVAL)
    finally:
        fed.close()


class Reader:
    """Somebody at an offset."""

    offset = 0


def test_a_holder_bounds_the_room() -> None:
    """Nothing that a holder has not read is overwritten."""
    fed = Fed()
    reader = Reader()
    fed.spool.hold(reader)
    try:
        assert fed.spool.room() == fed.spool.size
        fed.append(b"a" * 4000)
        assert fed.spool.room() == fed.spool.size - 4000
        fed.append(b"b" * (fed.spool.size - 4000))
        assert fed.spool.room() == 0
        assert list(fed.spool.blocking()) == [reader]
        reader.offset = 100
        assert fed.spool.room() == 100
        fed.spool.release(reader)
        assert fed.spool.room() == fed.spool.size
    finally:
        fed.close()


def test_a_holder_is_not_robbed_of_marks() -> None:
    """When the marks are used up, a holder that needs the oldest makes the process wait."""
    fed = Fed()
    reader = Reader()
    fed.spool.hold(reader)
    try:
        for number in range(fed.spool.capacity):
            assert fed.spool.room() > 0
            fed.append(b"x", 1 + number % 2)
        assert fed.spool.room() == 0
        assert list(fed.spool.blocking()) == [reader]
        reader.offset = 1
        assert fed.spool.room() > 0
    finally:
        fed.close()


def test_a_file_that_cannot_be_spliced_into_is_written_and_said_so() -> None:
    """O_APPEND makes splice refuse; the bytes arrive all the same, and `degraded` tells."""
    fed = Fed()
    try:
        fcntl.fcntl(fed.file, fcntl.F_SETFL, fcntl.fcntl(fed.file, fcntl.F_GETFL) | os.O_APPEND)
        os.write(fed.writing, b"hello")
        with pytest.raises(OSError, match="Invalid argument"):
            os.splice(fed.reading, fed.file, 5)
        assert fed.spool.append_from(fed.reading, 1, 5, 1) == 5
        assert fed.spool.degraded
    finally:
        fed.close()


def test_an_empty_pipe_and_its_end() -> None:
    """Nothing there raises; the end is 0 bytes."""
    fed = Fed()
    os.set_blocking(fed.reading, False)
    with pytest.raises(BlockingIOError):
        fed.spool.append_from(fed.reading, 1, 10, 1)
    os.close(fed.writing)
    assert fed.spool.append_from(fed.reading, 1, 10, 1) == 0
    os.close(fed.reading)
    fed.spool.close()


@pytest.mark.parametrize("keep", [4096, 4097, 65536, 1 << 20])
def test_sizes(keep: int) -> None:
    """At least what was asked is kept, in whole pages; an idle spool takes one page of memory."""
    file = os.memfd_create("spool")
    spool = Spool(file, keep)
    try:
        assert keep <= spool.size < keep + PAGE
        assert os.fstat(file).st_blocks * 512 <= PAGE
    finally:
        spool.close()
