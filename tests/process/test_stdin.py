"""Input: accepted once, whole, in order, within its window, whatever is repeated."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.process.stdin import Hole, Stdin


def create() -> int:
    return os.memfd_create("stdin")


class Pipe:
    """A pipe whose writing end does not block."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self.writing, False)

    def take(self) -> bytes:
        try:
            return os.read(self.reading, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=5000),
    steps=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000), st.booleans()), max_size=60),
)
def test_exactly_once(data: bytes, steps: list[tuple[int, int, bool]]) -> None:
    """A writer that repeats from anywhere with ``at`` gets every byte across once, in order."""
    stdin, pipe = Stdin(create, 1000), Pipe()
    got = bytearray()
    try:
        for back, length, feed in steps:
            start = max(0, stdin.end - back)
            piece = data[start : start + length]
            accepted = stdin.accept(piece, start)
            assert 0 <= accepted <= len(piece)
            assert stdin.waiting <= 1000
            if feed and stdin.waiting:
                stdin.feed(pipe.writing)
                got += pipe.take()
        while stdin.waiting:
            stdin.feed(pipe.writing)
            got += pipe.take()
        assert bytes(got) == data[: stdin.end]
    finally:
        stdin.close()
        pipe.close()


def test_a_hole_is_refused() -> None:
    """Bytes beyond the end would leave a hole."""
    stdin = Stdin(create, 100)
    assert stdin.accept(b"abc", 0) == 3
    with pytest.raises(Hole):
        stdin.accept(b"e", 4)
    assert stdin.end == 3
    stdin.close()


def test_the_window_cuts() -> None:
    """What does not fit is not taken; nothing fits into a full one."""
    stdin = Stdin(create, 10)
    assert stdin.accept(b"x" * 25, None) == 10
    assert stdin.accept(b"y", None) == 0
    assert stdin.waiting == 10
    stdin.close()


def test_the_file_gives_back_its_memory() -> None:
    """However much went through, the file takes about a window of memory, and its size is the offset."""
    files: list[int] = []

    def remember() -> int:
        files.append(create())
        return files[0]

    stdin, pipe = Stdin(remember, 65536), Pipe()
    for _ in range(256):
        assert stdin.accept(b"z" * 65536, None) == 65536
        while stdin.waiting:
            stdin.feed(pipe.writing)
            pipe.take()
    assert os.fstat(files[0]).st_size == 256 * 65536
    assert os.fstat(files[0]).st_blocks * 512 <= 2 * 65536
    assert os.lseek(files[0], 0, os.SEEK_CUR) == stdin.taken
    stdin.close()
    pipe.close()


def test_an_idle_process_has_no_file() -> None:
    """The file comes with the first byte."""
    made: list[int] = []
    stdin = Stdin(lambda: made.append(1) or create(), 10)
    assert stdin.accept(b"", None) == 0
    assert made == []
    stdin.accept(b"x", None)
    assert made == [1]
    stdin.close()
