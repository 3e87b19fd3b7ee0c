"""The spool against a model that keeps everything: offsets, channels, gaps, holders, and what the file itself tells."""

import errno
import fcntl
import os
import termios
from struct import Struct, unpack

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

    def drain(self, count: int) -> None:
        """Throw away so many bytes that are in the pipe."""
        while count:
            count -= len(os.read(self.reading, count))

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

    floor = 0
    allowance: float | None = None


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
        reader.floor = 100
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
        reader.floor = 1
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


class SmallDisk:
    """A file system with room for so many bytes of one file: what `os.splice` and `os.pwrite` say when it is full."""

    def __init__(self, file: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = file
        self.room = room
        self._splice, self._pwrite = os.splice, os.pwrite
        monkeypatch.setattr(os, "splice", self.splice)
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def _check(self, place: int, count: int) -> int:
        """How many of *count* bytes at *place* have a page or can get one."""
        free = (self.room - os.fstat(self._file).st_blocks * 512) // PAGE
        for page in range(place // PAGE, -(-(place + count) // PAGE)):
            free -= not self._present(page)
            if free < 0:
                return max(0, page * PAGE - place)
        return count

    def _present(self, page: int) -> bool:
        here = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            return os.lseek(self._file, page * PAGE, os.SEEK_DATA) == page * PAGE
        except OSError:
            return False
        finally:
            os.lseek(self._file, here, os.SEEK_SET)

    def splice(self, source: int, target: int, count: int, **options: int) -> int:
        waiting = unpack("i", fcntl.ioctl(source, termios.FIONREAD, bytes(4)))[0]
        fits = self._check(os.lseek(self._file, 0, os.SEEK_CUR), min(count, waiting))
        if waiting and not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._splice(source, target, min(count, fits) if waiting else count, **options)

    def pwrite(self, file: int, data: bytes, place: int) -> int:
        if self._check(place, len(data)) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._pwrite(file, data, place)


# The header, and the first page of marks.
PAGES_OF_OURS = 2


@pytest.mark.parametrize("pages", [1, 2, 5, 40])
def test_on_a_full_disk_less_is_kept(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    """The oldest makes room for the newest, whatever is kept is right, and it is more again when there is room."""
    fed = Fed(64 * PAGE)
    disk = SmallDisk(fed.file, (PAGES_OF_OURS + pages) * PAGE, monkeypatch)
    try:
        for number in range(300):
            fed.append(bytes([number % 251]) * 1500, now=number)
            assert fed.read(fed.spool.begin) == bytes(fed.model[fed.spool.begin :])
        assert fed.spool.given_up > 0
        assert fed.spool.end - fed.spool.begin <= pages * PAGE
        assert unpack("<Q", os.pread(fed.file, 8, 32))[0] == fed.spool.begin
        disk.room = 100 * PAGE
        for number in range(300):
            fed.append(bytes([number % 251]) * 1500, now=number)
        assert fed.spool.end - fed.spool.begin == fed.spool.size
        assert fed.read(fed.spool.begin) == bytes(fed.model[fed.spool.begin :])
    finally:
        fed.close()


def test_a_full_disk_takes_nothing_from_a_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not read stays; appending fails, nothing has left the pipe, and it works when it has read on."""
    fed = Fed(16 * PAGE)
    SmallDisk(fed.file, (PAGES_OF_OURS + 2) * PAGE, monkeypatch)
    reader = Reader()
    fed.spool.hold(reader)
    try:
        os.write(fed.writing, b"x" * 3 * PAGE)
        assert fed.spool.append_from(fed.reading, 1, 3 * PAGE, 1) == 2 * PAGE
        with pytest.raises(OSError, match="No space"):
            fed.spool.append_from(fed.reading, 1, PAGE, 1)
        assert fed.spool.begin == 0
        reader.floor = PAGE
        assert fed.spool.append_from(fed.reading, 1, PAGE, 1) == PAGE
        assert (fed.spool.begin, fed.spool.end) == (PAGE, 3 * PAGE)
    finally:
        fed.close()


def test_what_cannot_be_kept_at_all_is_counted() -> None:
    """Dropped bytes have their offsets, and nothing that is read later is taken for another byte."""
    fed = Fed(2 * PAGE)
    try:
        fed.append(b"kept" * 100)
        os.write(fed.writing, b"d" * 3 * PAGE)
        dropped = 0
        while dropped < 3 * PAGE:
            dropped += fed.spool.drop_from(fed.reading, 3 * PAGE - dropped)
        assert fed.spool.begin == fed.spool.end == 400 + 3 * PAGE
        fed.model += b"d" * 3 * PAGE
        fed.channels += bytes([1]) * 3 * PAGE
        fed.append(b"again", 2)
        assert fed.read(400 + 3 * PAGE) == b"again"
        base = unpack("<Q", os.pread(fed.file, 8, 24))[0]
        assert base + os.lseek(fed.file, 0, os.SEEK_CUR) - fed.spool._start == fed.spool.end
    finally:
        fed.close()


def test_what_is_emptied_gives_its_room_back_at_once() -> None:
    """Though another has the file open, too; what goes with it stays."""
    fed = Fed(keep=16 * PAGE)
    fed.append(b"x" * 10 * PAGE)
    assert fed.read(0) == fed.model
    fed.spool.saved.write(b"removed")
    other = os.dup(fed.file)
    fed.spool.empty()
    fed.close()
    assert os.fstat(other).st_blocks * 512 <= PAGE
    adopted = Spool.adopt(other)
    assert adopted.saved.read() == b"removed"
    adopted.close()
