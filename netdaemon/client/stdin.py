"""The input of one remote process: cut, kept until it is safe, repeated where it was not taken; knows no sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.errors import (
    AlreadyExited,
    ConnectionClosed,
    NetdaemonError,
    Refusal,
    StdinClosed,
    StdinFull,
    StdinHole,
)
from netdaemon.resumption import UNTIL_NEXT_GENERATION
from netdaemon.wire.answers import Taken
from netdaemon.wire.commands import Data

# One message of input: what the daemon moves into a pipe in one go, and half of what it lets wait.
CHUNK = 256 * 1024

# The first message over a connection; the next is twice as large, and so on: where connections are cut again and again,
# something comes across each of them.
CHUNK_FIRST = 64 * 1024

# Input in version 1: one packet, less what stands around it.
CHUNK_V1 = 32 * 1024

# What stands before the input in a message, and more.
HEAD_ROOM = 256

# Seconds until input that had no room at all is sent again: from the first to the last, doubling.
BACKOFF_LEAST = 0.005
BACKOFF_MOST = 0.05

_log = Logger()


class Requests(Protocol):
    """The session, as it is needed here."""

    reactor: Any

    @property
    def version(self) -> int: ...

    @property
    def window(self) -> int: ...

    @property
    def max_message(self) -> int: ...

    def request(self, message: Data) -> Deferred[Taken]: ...


class Stdin:
    """What has been written to one attachment and is not safe yet.

    A sole writer says where each piece belongs (``at``), has up to a window's worth under way, and goes back to where
    the daemon stopped when there was no room. Anybody else has one piece under way, so that the order holds.

    When the connection is lost, all waits until there is another one, and the daemon tells how far it has come. To a
    sole writer that says all. Anybody else knows by it only if *nothing* was taken since the last reply: then the piece
    that was under way is sent again. Otherwise it may have been that piece, or another's; the writes that had a part in
    it fail, nothing more of them is sent, and those after them go on.

    What is refused because the process has exited, or has closed its input, fails with all that waits behind it. When
    the process's next generation begins, input is taken again, at the offset where it ended.

    :param to: the attachment.
    :param end: the stdin offset at which writing begins.
    :ivar end: the offset after what is known to be safe.
    :ivar on_moved: called when something became safe.
    :ivar resumes: whether another connection will take the place of a lost one.
    """

    def __init__(self, session: Requests, to: int, end: int, *, sole_writer: bool) -> None:
        self.end = end
        self.failure: NetdaemonError | None = None
        self.on_moved: Callable[[], None] | None = None
        self.resumes: Callable[[], bool] = lambda: False
        self._sole_writer = sole_writer and session.version > 1
        self._interrupted = False
        # The offset after all that was ever sent.
        self._furthest = end
        self._bind(session, to)
        self._queue: deque[bytes | memoryview] = deque()
        self._sent: deque[bytes | memoryview] = deque()
        self._sent_size = 0
        # How many bytes have been written and have become safe, ever; and who waits for how many.
        self._written = 0
        self._safe = 0
        self._waiting: deque[tuple[int, Deferred[int]]] = deque()
        self._eof: Deferred[None] | None = None
        self._eof_sent = False
        self._eof_repeated = False
        # Replies to what was sent before we went back say nothing, but how far the input has come after a failure.
        self._round = 0
        self._delay = BACKOFF_LEAST
        self._retry: Any = None

    def _bind(self, session: Requests, to: int) -> None:
        self._session = session
        self._to = to
        self._unanswered = 0
        self._settling = False
        self._largest = min(CHUNK if session.version > 1 else CHUNK_V1, session.max_message - HEAD_ROOM)
        self._limit = min(CHUNK_FIRST, self._largest)
        # How much may be under way: a window's worth, less after the daemon had no room for it, until it has again.
        self._most = max(session.window, self._largest) if self._sole_writer else self._largest
        self._room = self._most

    @property
    def pending(self) -> int:
        """How many bytes are not safe yet."""
        return self._written - self._safe

    def write(self, data: bytes) -> Deferred[int]:
        """Queue *data*; fires with the offset after it when it is safe."""
        if self.failure is not None:
            return fail(self.failure)
        if self._eof is not None:
            return fail(StdinClosed("the standard input was closed by close_stdin"))
        if not data:
            return succeed(self.end + self.pending)
        self._written += len(data)
        # It is sent from where it is, now and again: nobody may change it meanwhile.
        self._queue.append(bytes(data))
        done: Deferred[int] = Deferred()
        self._waiting.append((self._written, done))
        self._push()
        return done

    def close(self) -> Deferred[None]:
        """EOF after all that was written; fires when the daemon has it. Closing again gives the same."""
        if self.failure is not None:
            return fail(self.failure)
        if self._eof is None:
            self._eof = Deferred()
            self._push()
        done: Deferred[None] = Deferred()
        self._eof.addBoth(_pass_on, done)
        return done

    def fail(self, error: NetdaemonError) -> None:
        """Nothing more will become safe."""
        if self.failure is not None:
            return
        self.failure = error
        self._stop()
        self._queue.clear()
        self._sent.clear()
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            done.errback(error)
        if self._eof is not None and not self._eof.called:
            self._eof.errback(error)
            self._eof.addErrback(lambda _: None)

    def _stop(self) -> None:
        """What was sent is not answered any more, and what waits is not sent."""
        self._round += 1
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def reopen(self) -> None:
        """The next generation has begun: it takes input."""
        if self._eof is not None and self._eof.called:
            self._eof, self._eof_sent, self._eof_repeated = None, False, False
        if not isinstance(self.failure, UNTIL_NEXT_GENERATION):
            return
        self.failure = None
        self._eof, self._eof_sent, self._eof_repeated = None, False, False
        self._safe = self._written
        self._sent_size = 0
        self._delay = BACKOFF_LEAST
        self._room = self._most
        # They may have been taken nevertheless, by the new generation even.
        self._settling = self._unanswered > 0
        self._furthest = self.end

    # --- from one connection to the next -----------------------------------------------------------------------------

    def interrupt(self) -> None:
        """The connection is lost: wait for `resume`."""
        self._interrupted = True
        self._stop()

    def resume(self, session: Requests, to: int, end: int, *, later: bool = False) -> None:
        """Go on over another connection.

        :param end: the offset after all that the daemon has taken, from whomever.
        :param later: whether a later generation runs: an EOF that was under way was none for it.
        """
        self._interrupted = False
        if self.failure is not None or self._settling:
            self.end = self._furthest = end
        if self.failure is not None:
            self._bind(session, to)
            return
        self._bind(session, to)
        self._delay = BACKOFF_LEAST
        if self._eof_sent and self._eof is not None and not self._eof.called:
            if later:
                self._eof.callback(None)
                self._eof = None
            self._eof_sent, self._eof_repeated = False, not later
        known, under_way = self.end, self._sent_size
        furthest = self._furthest if self._sole_writer else end
        if not known <= end <= furthest:
            self.fail(
                NetdaemonError(
                    f"the daemon has taken {end} bytes of input, and {known} were safe of {furthest} sent: "
                    + ("input that was safe is gone" if end < known else "somebody else writes to this process, too")
                )
            )
            return
        self._queue.extendleft(reversed(self._sent))
        self._sent.clear()
        self._sent_size = 0
        if self._sole_writer:
            self._drop(end - known)
            self._safe_now(end - known, end)
        elif under_way and end != known:
            self._give_up(under_way, end)
        else:
            self.end = end
        self._push()

    def _drop(self, count: int) -> None:
        """Forget so many bytes from the front of the queue."""
        while count:
            first = self._queue.popleft()
            if len(first) > count:
                self._queue.appendleft(memoryview(first)[count:])
                return
            count -= len(first)

    def _give_up(self, under_way: int, end: int) -> None:
        """Whether so many bytes were taken is unknown: what they were a part of fails."""
        error = ConnectionClosed(
            f"the connection was lost while {under_way} bytes of input were under way, and others may write to this "
            f"process: its input went from {self.end} to {end} meanwhile, which may or may not be these"
        )
        failed = []
        until = self._safe
        while until < self._safe + under_way:
            until, done = self._waiting.popleft()
            failed.append(done)
        self._drop(until - self._safe)
        self._safe, self.end = until, end
        for done in failed:
            done.errback(error)
        if self.on_moved is not None:
            self.on_moved()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _push(self) -> None:
        """Send what may be sent now."""
        if self._retry is not None or self.failure is not None or self._interrupted or self._settling:
            return
        while self._queue and not self._interrupted and self._sent_size < self._room:
            if self._sent and not self._sole_writer:
                break
            piece = self._next_piece(min(self._limit, self._room - self._sent_size))
            at = self.end + self._sent_size if self._sole_writer else None
            self._sent.append(piece)
            self._sent_size += len(piece)
            self._furthest = max(self._furthest, self.end + self._sent_size)
            self._post(Data(to=self._to, at=at, payload=piece), self._taken, len(piece))
        if self._eof is not None and not (self._eof_sent or self._queue or self._sent or self._interrupted):
            self._eof_sent = True
            self._post(Data(to=self._to), self._closed, 0)

    def _post(self, message: Data, taken: Callable[[Taken, int, int], None], length: int) -> None:
        self._unanswered += 1
        self._session.request(message).addBoth(self._answered, self._session).addCallbacks(
            taken, self._refused, callbackArgs=(self._round, length), errbackArgs=(self._round,)
        ).addErrback(lambda failure: _log.failure("input could not be sent", failure))

    def _answered(self, result: Any, session: Requests) -> Any:
        """Before anything else is done about it: count it, and see how far the input has come after a failure."""
        answer = result.value if isinstance(result, Failure) else result
        if session is not self._session or isinstance(answer, ConnectionClosed):
            # That is told over the next connection.
            return result
        self._unanswered -= 1
        if (self.failure is not None or self._settling) and isinstance(answer, Taken | Refusal):
            self.end = max(self.end, answer.end or 0)
        if self._settling and not self._unanswered:
            self._settling = False
            self._furthest = self.end
            self._push()
        return result

    def _next_piece(self, limit: int) -> bytes | memoryview:
        """Up to *limit* bytes from the front of the queue; small pieces are joined."""
        queue = self._queue
        first = queue.popleft()
        if len(first) > limit:
            view = memoryview(first)
            queue.appendleft(view[limit:])
            return view[:limit]
        if not queue or len(first) + len(queue[0]) > limit:
            return first
        parts, size = [first], len(first)
        while queue and size + len(queue[0]) <= limit:
            size += len(queue[0])
            parts.append(queue.popleft())
        return b"".join(parts)

    def _taken(self, reply: Taken, round: int, length: int) -> None:
        if round != self._round:
            return
        piece = self._sent.popleft()
        self._sent_size -= length
        if self._sole_writer and reply.end > self.end + length:
            self.fail(
                StdinHole(
                    "somebody else writes to this process, too, and input was lost by it: "
                    "have no sole_writer where there are several",
                    accepted=0,
                    end=reply.end,
                )
            )
            return
        accepted = min(reply.accepted, length)
        self._delay = BACKOFF_LEAST
        if accepted < length:
            self._go_back(piece[accepted:])
        else:
            if length == self._limit:
                self._limit = min(2 * length, self._largest)
            self._room = min(2 * self._room, self._most)
        self._safe_now(accepted, reply.end)
        self._push()

    def _safe_now(self, count: int, end: int) -> None:
        self.end = end
        self._safe += count
        waiting = self._waiting
        while waiting and waiting[0][0] <= self._safe:
            written, done = waiting.popleft()
            done.callback(end - (self._safe - written))
        if count and self.on_moved is not None:
            self.on_moved()

    def _go_back(self, *unsafe: bytes | memoryview) -> None:
        """Put what was sent and not taken before what was not sent yet."""
        self._round += 1
        self._room = min(self._limit, self._most)
        self._queue.extendleft(reversed((*unsafe, *self._sent)))
        self._sent.clear()
        self._sent_size = 0

    def _refused(self, failure: Failure, round: int) -> None:
        if round != self._round:
            return
        error = failure.value
        if isinstance(error, ConnectionClosed) and self.resumes():
            self.interrupt()
            return
        if self._eof_sent and self._eof_repeated and isinstance(error, StdinClosed | AlreadyExited):
            # The first one was carried out, and the process may have exited by it.
            self._closed(Taken(accepted=0, end=self.end), round, 0)
            return
        if not isinstance(error, StdinFull):
            if isinstance(error, Refusal) and error.end is not None:
                self.end = max(self.end, error.end)
            self.fail(error if isinstance(error, NetdaemonError) else NetdaemonError(str(error)))
            return
        if error.accepted and error.end is not None:
            self._go_back(self._sent.popleft()[error.accepted :])
            self._safe_now(error.accepted, error.end)
        else:
            self._go_back()
        self._retry = self._session.reactor.callLater(self._delay, self._again)
        self._delay = min(2 * self._delay, BACKOFF_MOST)

    def _again(self) -> None:
        self._retry = None
        self._push()

    def _closed(self, reply: Taken, round: int, length: int) -> None:
        if round != self._round or self._eof is None:
            return
        self.end = reply.end
        self._eof.callback(None)


def _pass_on(result: Failure | None, done: Deferred[None]) -> Failure | None:
    if isinstance(result, Failure):
        done.errback(result)
        return None
    done.callback(None)
    return None
