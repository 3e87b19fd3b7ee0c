"""Input across a lost connection: what the daemon has is not sent again, what it has not is; what cannot be known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.client.stdin import BACKOFF_MOST, CHUNK, CHUNK_FIRST, Stdin
from netdaemon.errors import AlreadyExited, ConnectionClosed, NetdaemonError, StdinClosed
from netdaemon.wire.commands import Data
from tests.client.support import pending, result
from tests.client.test_stdin import Child, stdin_of


def lose(child: Child, *, carried_out: int = 0) -> None:
    """So many of the requests under way arrive, and no reply does."""
    while child.requests:
        message, _ = child.requests.popleft()
        if carried_out:
            carried_out -= 1
            child._take(message)


def sent(child: Child) -> list[Data]:
    return [message for message, _ in child.requests]


@pytest.mark.parametrize("carried_out", [0, 1, 2])
def test_a_sole_writer_goes_on_where_the_daemon_is(carried_out: int) -> None:
    """What it has is safe, whether its reply came or not."""
    child = Child()
    stdin = stdin_of(child)
    writes = [stdin.write(b"abc"), stdin.write(b"de"), stdin.write(b"f")]
    child.answer(1)
    lose(child, carried_out=carried_out)
    stdin.interrupt()
    later = stdin.write(b"later")
    assert sent(child) == []
    stdin.resume(child, 9, child.end)
    assert [pending(one) for one in writes] == [False, carried_out < 1, carried_out < 2]
    assert all(message.to == 9 for message in sent(child))
    child.answer()
    assert child.taken == b"abcdeflater"
    assert [result(one) for one in (*writes, later)] == [3, 5, 6, 11]
    assert stdin.pending == 0


def test_a_piece_that_was_taken_in_part() -> None:
    child = Child()
    stdin = stdin_of(child)
    writing = stdin.write(b"abcdef")
    lose(child)
    child.taken = b"abcd"
    stdin.interrupt()
    stdin.resume(child, 3, 4)
    assert sent(child) == [Data(to=3, at=4, payload=b"ef")]
    child.answer()
    assert result(writing) == 6


@pytest.mark.parametrize(("end", "says"), [(2, "is gone"), (7, "somebody else writes")])
def test_what_a_sole_writer_cannot_go_on_from(end: int, says: str) -> None:
    child = Child()
    stdin = stdin_of(child)
    safe = stdin.write(b"abc")
    child.answer()
    assert result(safe) == 3
    writing, closing = stdin.write(b"def"), stdin.close()
    lose(child)
    stdin.interrupt()
    stdin.resume(child, 3, end)
    for one in (writing, closing, stdin.write(b"late")):
        with pytest.raises(NetdaemonError, match=f"has taken {end} bytes of input, and 3 were safe of .*{says}"):
            result(one)
    assert sent(child) == []


def test_what_waits_for_room_goes_on_at_once() -> None:
    child = Child()
    child.waiting = child.window
    stdin = stdin_of(child)
    writing = stdin.write(b"abc")
    child.answer()
    assert child.reactor.getDelayedCalls()
    stdin.interrupt()
    assert child.reactor.getDelayedCalls() == []
    child.waiting = 0
    stdin.resume(child, 3, 0)
    child.answer()
    assert result(writing) == 3


# --- one of several writers ------------------------------------------------------------------------------------------


def test_what_was_not_taken_is_sent_again() -> None:
    """Nobody's input was."""
    child = Child()
    child.base = 1000
    stdin = stdin_of(child, sole_writer=False)
    writes = [stdin.write(b"abc"), stdin.write(b"de")]
    lose(child)
    stdin.interrupt()
    stdin.resume(child, 4, 1000)
    assert sent(child) == [Data(to=4, payload=b"abcde")]
    child.answer()
    assert [result(one) for one in writes] == [1003, 1005]


def test_what_may_have_been_taken_fails_and_what_follows_goes_on() -> None:
    """The rest of a write that failed is not sent: half of it is of no use to anybody."""
    child = Child()
    stdin = stdin_of(child, sole_writer=False)
    moved = []
    stdin.on_moved = lambda: moved.append(stdin.pending)
    safe = stdin.write(b"a")
    child.answer()
    assert result(safe) == 1
    large, small, next_ = stdin.write(b"x" * (2 * CHUNK_FIRST)), stdin.write(b"yy"), stdin.write(b"zz")
    closing = stdin.close()
    lose(child, carried_out=1)
    stdin.interrupt()
    stdin.resume(child, 5, child.end)
    with pytest.raises(ConnectionClosed, match=f"from 1 to {1 + CHUNK_FIRST} meanwhile"):
        result(large)
    assert sent(child) == [Data(to=5, payload=b"yyzz")]
    assert moved[-1] == 4
    child.answer()
    child.answer()
    assert [result(one) for one in (small, next_)] == [CHUNK_FIRST + 3, CHUNK_FIRST + 5]
    assert child.taken == b"a" + b"x" * CHUNK_FIRST + b"yyzz"
    assert child.eof
    assert result(closing) is None
    assert stdin.pending == 0


def test_input_of_others_while_nothing_of_ours_was_under_way() -> None:
    child = Child()
    stdin = stdin_of(child, sole_writer=False)
    stdin.interrupt()
    writing = stdin.write(b"abc")
    child.base = 500
    stdin.resume(child, 5, 500)
    child.answer()
    assert result(writing) == 503


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [None, StdinClosed("it is"), AlreadyExited("by that")], ids=repr)
def test_eof_is_sent_again(refusal: StdinClosed | AlreadyExited | None) -> None:
    """If it was carried out before, it has succeeded."""
    child = Child()
    stdin = stdin_of(child)
    stdin.write(b"abc")
    closing = stdin.close()
    child.answer(1)
    lose(child, carried_out=1)
    stdin.interrupt()
    stdin.resume(child, 6, 3)
    assert sent(child) == [Data(to=6)]
    child.refusal = refusal
    child.answer()
    assert result(closing) is result(stdin.close()) is None


def test_eof_that_was_answered_is_not_sent_again() -> None:
    child = Child()
    stdin = stdin_of(child)
    closing = stdin.close()
    child.answer()
    assert result(closing) is None
    stdin.interrupt()
    stdin.resume(child, 6, 0)
    assert sent(child) == []


def test_a_refusal_of_input_after_a_loss_is_one() -> None:
    """Only an EOF may find the input closed."""
    child = Child()
    stdin = stdin_of(child)
    writing, closing = stdin.write(b"abc"), stdin.close()
    lose(child)
    stdin.interrupt()
    stdin.resume(child, 6, 0)
    child.refusal = StdinClosed("by the process")
    child.answer()
    for one in (writing, closing):
        with pytest.raises(StdinClosed):
            result(one)
    stdin.interrupt()
    stdin.resume(child, 7, 0)
    assert sent(child) == []


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 2 * CHUNK), min_size=1, max_size=6),
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2 * CHUNK), st.booleans(), st.integers(0, 4)), max_size=20
    ),
)
def test_whatever_is_lost_when_it_comes_out_whole(sizes: list[int], steps: list[tuple[int, int, bool, int]]) -> None:
    """The daemon answers some, takes some more, and the connection is lost."""
    child = Child()
    stdin: Stdin = stdin_of(child)
    data = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    writes = [stdin.write(one) for one in data[:-1]]
    last = [stdin.write(data[-1]), stdin.close()] if len(steps) % 2 else []
    for number, (answers, read, lost, carried_out) in enumerate(steps):
        child.answer(answers)
        child.waiting = max(0, child.waiting - read)
        child.reactor.advance(BACKOFF_MOST)
        if lost:
            while child.requests:
                message, _ = child.requests.popleft()
                if carried_out and (message.at is None or message.at <= child.end):
                    carried_out -= 1
                    try:
                        child._take(message)
                    except NetdaemonError:
                        carried_out = 0
            stdin.interrupt()
            stdin.resume(child, 10 + number, child.end)
    last = last or [stdin.write(data[-1]), stdin.close()]
    for _ in range(1000):
        if not pending(last[1]):
            break
        child.answer()
        child.waiting = 0
        child.reactor.advance(BACKOFF_MOST)
    assert child.taken == b"".join(data)
    assert child.eof
    assert [result(one) for one in (*writes, last[0])] == [sum(sizes[: number + 1]) for number in range(len(sizes))]
    assert stdin.pending == 0
    assert child.reactor.getDelayedCalls() == []
