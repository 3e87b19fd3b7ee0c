"""Input: whole, in order, cut, repeated where there was no room; against a daemon that takes what it is told to."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from netdaemon.client.stdin import BACKOFF_LEAST, BACKOFF_MOST, CHUNK, CHUNK_FIRST, Stdin
from netdaemon.errors import AlreadyExited, ConnectionClosed, Refusal, StdinClosed, StdinFull, StdinHole
from netdaemon.wire.answers import Taken
from netdaemon.wire.commands import Data
from tests.client.support import pending, result


class Child:
    """What a daemon does with DATA: it has a window, out of which the test reads."""

    version = 2
    window = 3 * CHUNK
    max_message = 1 << 20

    def __init__(self) -> None:
        self.reactor: Any = Clock()
        self.taken = b""
        self.waiting = 0
        self.eof = False
        self.requests: deque[tuple[Data, Deferred[Taken]]] = deque()
        self.refusal: Refusal | None = None
        self.most_under_way = 0
        self.base = 0

    @property
    def end(self) -> int:
        return self.base + len(self.taken)

    def request(self, message: Data) -> Deferred[Taken]:
        done: Deferred[Taken] = Deferred()
        self.requests.append((message, done))
        self.most_under_way = max(self.most_under_way, sum(len(one.payload) for one, _ in self.requests))
        return done

    def answer(self, count: int = -1) -> None:
        """Answer so many requests, in order; all unless said."""
        while self.requests and count:
            count -= 1
            message, done = self.requests.popleft()
            try:
                done.callback(self._take(message))
            except Refusal as refusal:
                done.errback(refusal)

    def _take(self, message: Data) -> Taken:
        if self.refusal is not None:
            raise self.refusal
        if message.at is not None and message.at > self.end:
            raise StdinHole("a hole", accepted=0, end=self.end)
        if not message.payload:
            self.eof = True
            return Taken(accepted=0, end=self.end)
        room = self.window - self.waiting
        accepted = message.payload[:room]
        if not accepted:
            raise StdinFull("full", accepted=0, end=self.end)
        self.taken += accepted
        self.waiting += len(accepted)
        return Taken(accepted=len(accepted), end=self.end)


def stdin_of(child: Child, *, sole_writer: bool = True) -> Stdin:
    return Stdin(child, 2, child.end, sole_writer=sole_writer)


def test_a_write_is_told_when_it_is_safe() -> None:
    child = Child()
    stdin = stdin_of(child)
    first, second = stdin.write(b"abc"), stdin.write(b"de")
    assert [one for one, _ in child.requests] == [
        Data(to=2, at=0, payload=b"abc"),
        Data(to=2, at=3, payload=b"de"),
    ]
    assert stdin.pending == 5
    child.answer(1)
    assert result(first) == 3
    assert pending(second)
    child.answer()
    assert result(second) == 5
    assert stdin.pending == 0


def test_nothing_is_safe_at_once() -> None:
    stdin = stdin_of(Child())
    assert result(stdin.write(b"")) == 0


def test_what_is_large_is_cut_and_bounded() -> None:
    """Messages of a chunk at most, a window's worth under way at most."""
    child = Child()
    stdin = stdin_of(child)
    data = bytes(range(256)) * 4096
    done = stdin.write(data)
    while pending(done):
        child.answer(1)
        child.waiting = 0
    assert child.taken == data
    assert child.most_under_way == child.window
    assert result(done) == len(data)


def test_small_writes_that_must_wait_are_joined() -> None:
    child = Child()
    stdin = stdin_of(child, sole_writer=False)
    writes = [stdin.write(b"%d," % number) for number in range(100)]
    assert len(child.requests) == 1
    child.answer()
    assert len(child.taken) == 2 * 10 + 3 * 90
    assert result(writes[0]) == 2
    assert result(writes[9]) == 20
    assert result(writes[99]) == len(child.taken)


def test_one_of_several_writers_has_one_message_under_way() -> None:
    """Or a piece that was refused would come after the next."""
    child = Child()
    child.base = 1000
    stdin = stdin_of(child, sole_writer=False)
    stdin.write(b"x" * (4 * CHUNK))
    size = CHUNK_FIRST
    while size < CHUNK:
        assert [(one.at, len(one.payload)) for one, _ in child.requests] == [(None, size)]
        child.answer(1)
        size *= 2
    assert [(one.at, len(one.payload)) for one, _ in child.requests] == [(None, CHUNK)]
    child.base = 5000
    child.answer(1)
    assert [(one.at, len(one.payload)) for one, _ in child.requests] == [(None, CHUNK)]


def test_where_there_is_no_room_it_is_tried_again_later_and_later() -> None:
    child = Child()
    child.waiting = child.window
    stdin = stdin_of(child)
    done = stdin.write(b"abc")
    delays = []
    for _ in range(6):
        child.answer()
        (call,) = child.reactor.getDelayedCalls()
        delays.append(round(call.getTime() - child.reactor.seconds(), 4))
        child.reactor.advance(delays[-1])
    assert delays == [BACKOFF_LEAST, 0.01, 0.02, 0.04, BACKOFF_MOST, BACKOFF_MOST]
    child.waiting = 0
    child.answer()
    assert result(done) == 3
    assert child.taken == b"abc"


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 2 * CHUNK), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2 * CHUNK)), max_size=20),
    sole=st.booleans(),
    base=st.integers(0, 10),
)
def test_whatever_is_taken_when_it_comes_out_whole(
    sizes: list[int], steps: list[tuple[int, int]], sole: bool, base: int
) -> None:
    """The daemon takes what it has room for, answers when it likes, and the child reads what it likes."""
    child = Child()
    child.base = base
    stdin = stdin_of(child, sole_writer=sole)
    data = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    writes = [stdin.write(one) for one in data]
    closed = stdin.close()
    for answers, read in steps:
        child.answer(answers)
        child.waiting = max(0, child.waiting - read)
        child.reactor.advance(BACKOFF_MOST)
    for _ in range(1000):
        if not pending(closed):
            break
        child.answer()
        child.waiting = 0
        child.reactor.advance(BACKOFF_MOST)
    assert child.taken == b"".join(data)
    assert child.eof
    assert result(closed) is None
    ends = [base + sum(sizes[: number + 1]) for number in range(len(sizes))]
    assert [result(one) for one in writes] == ends
    assert stdin.pending == 0
    assert child.reactor.getDelayedCalls() == []
    assert child.most_under_way <= (child.window + CHUNK if sole else CHUNK)


def test_eof_comes_after_all_and_once() -> None:
    child = Child()
    stdin = stdin_of(child)
    stdin.write(b"abc")
    first, second = stdin.close(), stdin.close()
    assert len(child.requests) == 1
    child.answer(1)
    assert [one for one, _ in child.requests] == [Data(to=2)]
    with pytest.raises(StdinClosed):
        result(stdin.write(b"late"))
    child.answer()
    assert result(first) is result(second) is result(stdin.close()) is None
    assert not child.requests


def test_a_refusal_fails_all_that_waits_and_all_that_comes() -> None:
    child = Child()
    stdin = stdin_of(child)
    writes = [stdin.write(b"abc"), stdin.write(b"def")]
    closing = stdin.close()
    child.refusal = AlreadyExited("it has exited")
    child.answer()
    for one in (*writes, closing, stdin.write(b"x"), stdin.close()):
        with pytest.raises(AlreadyExited):
            result(one)


def test_the_end_of_the_connection_stops_trying() -> None:
    child = Child()
    child.waiting = child.window
    stdin = stdin_of(child)
    done = stdin.write(b"abc")
    child.answer()
    stdin.fail(ConnectionClosed("gone"))
    stdin.fail(ConnectionClosed("again"))
    assert child.reactor.getDelayedCalls() == []
    with pytest.raises(ConnectionClosed, match="gone"):
        result(done)


def test_another_writer_where_there_should_be_none_is_noticed() -> None:
    child = Child()
    stdin = stdin_of(child)
    child.taken = b"somebody else's"
    done = stdin.write(b"abc")
    child.answer()
    with pytest.raises(StdinHole, match="somebody else"):
        result(done)


def test_version_1_sends_one_packet_at_a_time() -> None:
    child = Child()
    child.version, child.window = 1, 0
    child.max_message = 65536
    stdin = stdin_of(child)
    done = stdin.write(b"x" * 100_000)
    assert [(one.at, len(one.payload)) for one, _ in child.requests] == [(None, 32768)]
    child.window = 1 << 20
    child.answer()
    assert result(done) == 100_000
