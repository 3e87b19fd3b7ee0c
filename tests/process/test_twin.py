"""What was read last, once more: the same bytes at the same offset, or none; the spool has them in any case."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.process.pipes import PIPE_SIZE
from netdaemon.process.twin import Twin
from tests.process.test_spool import Fed


@pytest.fixture
def twin() -> Iterator[Twin]:
    made = Twin()
    yield made
    made.close()


def take(sock: socket.socket, count: int) -> bytes:
    result = b""
    while len(result) < count:
        result += sock.recv(count - len(result))
    return result


@settings(deadline=None, max_examples=100)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=6000), min_size=1, max_size=12),
    late=st.lists(st.binary(max_size=100), min_size=12, max_size=12),
)
def test_the_same_bytes(pieces: list[bytes], late: list[bytes]) -> None:
    """Whatever its child writes in the middle, what the spool calls a segment is what its twin begins with."""
    fed, twin = Fed(1 << 16), Twin()
    ours, theirs = socket.socketpair()
    fill = twin.fill
    sent = bytearray()

    def filling(pipe: int, count: int, offset: int) -> int:
        held = fill(pipe, count, offset)
        # The child writes on between the two system calls.
        os.write(fed.writing, more)
        return held

    twin.fill = filling  # type: ignore[method-assign]
    try:
        written = b""
        for data, more in zip(pieces, late, strict=False):
            os.write(fed.writing, data)
            written += data + more
            begin = fed.spool.end
            fed.spool.twin = twin
            fed.spool.append_from(fed.reading, 1, PIPE_SIZE, 1)
            segment = fed.spool.segment(begin, PIPE_SIZE)
            assert segment.twin is twin
            assert twin.send(ours.fileno(), len(segment.data)) == len(segment.data)
            assert take(theirs, len(segment.data)) == segment.data
            sent += segment.data
            twin.empty()
            fed.spool.twin = None
            assert fed.spool.segment(begin, PIPE_SIZE).twin is None
        assert written.startswith(sent)
    finally:
        fed.close()
        twin.close()
        ours.close()
        theirs.close()


def test_a_socket_that_is_full(twin: Twin) -> None:
    """As much goes as it takes; what is left is dropped, and the next filling begins anew."""
    fed = Fed(1 << 20)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    fcntl.fcntl(fed.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    data = os.urandom(PIPE_SIZE)
    sent = -1
    told = bytearray()
    while sent:
        os.write(fed.writing, data)
        fed.spool.twin = twin
        begin = fed.spool.end
        assert fed.spool.append_from(fed.reading, 1, PIPE_SIZE, 1) == PIPE_SIZE
        sent = twin.send(ours.fileno(), PIPE_SIZE)
        told += fed.spool.segment(begin, PIPE_SIZE).data[:sent]
        assert twin.count == PIPE_SIZE - sent
        assert fed.spool.segment(begin, PIPE_SIZE).twin is (twin if not sent else None)
        twin.empty()
        assert twin.count == 0
    assert take(theirs, len(told)) == told
    ours.close()
    assert twin.fill(fed.reading, 100, 0) == 0, "the pipe is empty"
    os.write(fed.writing, b"more")
    assert twin.fill(fed.reading, 100, fed.spool.end) == 4
    # Nobody is there.
    theirs.close()
    dead, gone = socket.socketpair()
    gone.close()
    assert twin.send(dead.fileno(), 4) == 0
    assert twin.count == 4
    dead.close()
    fed.close()


def test_where_there_is_none(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library or a kernel without it, a descriptor too few: the spool has the bytes, and that is all there is."""
    fed = Fed()
    os.write(fed.writing, b"bytes")
    fed.spool.twin = twin

    def few(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", few)
        assert fed.spool.append_from(fed.reading, 1, 100, 1) == 5
    assert fed.spool.segment(0, 100).twin is None
    os.write(fed.writing, b" again")
    assert fed.spool.append_from(fed.reading, 1, 100, 1) == 6
    again = fed.spool.segment(5, 100)
    assert again.twin is twin
    twin.empty()
    # What is no pipe cannot be looked at twice: that is the kernel's word, once and for all.
    assert twin.fill(fed.spool.descriptor, 100, 0) == 0
    os.write(fed.writing, b" and again")
    assert fed.spool.append_from(fed.reading, 1, 100, 1) == 10
    assert fed.spool.segment(11, 100).twin is None
    assert bytes(fed.spool.segment(0, 100).data) == b"bytes again and again"
    fed.close()


@settings(deadline=None, max_examples=60)
@given(
    rounds=st.lists(
        st.tuples(
            st.integers(1, PIPE_SIZE), st.lists(st.integers(0, PIPE_SIZE), min_size=3, max_size=3), st.booleans()
        ),
        min_size=1,
        max_size=8,
    )
)
def test_several_readers(rounds: list[tuple[int, list[int], bool]]) -> None:
    """Each has the same bytes, as far as its socket takes them, whoever of the others is full or does not come."""
    fed, twin = Fed(1 << 20), Twin()
    fcntl.fcntl(fed.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    pairs = [socket.socketpair() for _ in range(3)]
    expected = [bytearray() for _ in pairs]
    got = [bytearray() for _ in pairs]
    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.setblocking(False)
    try:
        for size, reads, all_come in rounds:
            os.write(fed.writing, os.urandom(size))
            begin = fed.spool.end
            twin.expect(len(pairs))
            fed.spool.twin = twin
            moved = fed.spool.append_from(fed.reading, 1, PIPE_SIZE, 1)
            fed.drain(size - moved)
            for number, (ours, _) in enumerate(pairs):
                segment = fed.spool.segment(begin, moved)
                if segment.twin is not None and (all_come or number != 1):
                    expected[number] += segment.data[: twin.send(ours.fileno(), moved)]
            twin.empty()
            fed.spool.twin = None
            for number, (_, theirs) in enumerate(pairs):
                try:
                    got[number] += theirs.recv(reads[number])
                except BlockingIOError:
                    continue
        for number, (ours, theirs) in enumerate(pairs):
            ours.close()
            theirs.setblocking(True)
            while more := theirs.recv(1 << 20):
                got[number] += more
            assert got[number] == expected[number]
    finally:
        fed.close()
        twin.close()
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
