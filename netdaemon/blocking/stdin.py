"""The input of one process on its way there: what is accepted is forgotten, what is not is sent again; never waits."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from netdaemon.errors import ConnectionClosed, NetdaemonError, Refusal, RemoteProtocolError, StdinFull, StdinHole
from netdaemon.resumption import UNTIL_NEXT_GENERATION
from netdaemon.wire.answers import Message, Taken
from netdaemon.wire.commands import Data

# Input in one message while several are under way: large enough to cost little, small enough to be accepted whole.
CHUNK = 256 * 1024

# The first message over a connection; the next is twice as large, and so on: where connections are cut again and again,
# something comes across each of them.
CHUNK_FIRST = 64 * 1024

# What one message of version 1 can carry.
CHUNK_V1 = 0xFFFF

# Seconds until input is offered again that the process had no room for: at once almost, then less and less often.
RETRY_FIRST = 0.001
RETRY_MOST = 0.05

Answer = Message | NetdaemonError
Submit = Callable[[Data, Callable[[Answer], None]], object]


class Stdin:
    """A queue of input for one attachment.

    A sole writer says at which offset each piece belongs and has several under way: if one is accepted in part, the
    daemon refuses those behind it instead of taking them out of order, and all is sent again from the accepted end.
    Where others write as well, offsets cannot be told beforehand, and one piece is under way at a time.

    When the connection is lost, what is under way is in doubt. On the next one the daemon tells its stdin offset: of a
    sole writer's, what is below it is safe and the rest is sent again. Where others write as well, the one piece was
    taken if the offset has moved by its length since it was last told, and was not if it has not moved; otherwise
    somebody else wrote, or a part was taken: nobody can tell, and that is an error.

    What is refused because the process has exited, or has closed its input, is an error until its next generation
    begins: then input is taken again, at the offset where it ended.

    :param submit: sends a request and calls back with its answer.
    :param attachment: the id of the attachment.
    :param sole: whether nobody else writes.
    :param end: the stdin offset as the attachment begins.
    :param terminal: whether it is a terminal's: there an EOF counts as a byte.
    :param window: how much may wait at the daemon, and how much is kept here.
    :param chunk: the most that one message carries.
    :ivar accepted: how many bytes are safe with the daemon.
    :ivar end: the stdin offset after what is safe, as it was last told.
    :ivar closing: EOF is to follow what is queued.
    :ivar closed: EOF was accepted.
    :ivar error: why nothing can be written any more, or None.
    :ivar dropped: how many queued bytes were not accepted when that came about.
    :ivar disconnected: there is no connection; what is queued waits for the next.
    """

    def __init__(
        self,
        submit: Submit,
        attachment: int,
        *,
        sole: bool,
        end: int,
        terminal: bool = False,
        window: int,
        chunk: int = CHUNK,
    ) -> None:
        start = end if sole else None
        self.accepted = 0
        self.end = end
        self.closed = False
        self.error: NetdaemonError | None = None
        self.dropped = 0
        self._submit = submit
        self._attachment = attachment
        self._start = start
        self._window = max(window, chunk)
        # Alone a piece may fill the window; it goes in whole if there is room for it.
        self._largest = chunk if start is not None or chunk < CHUNK else self._window
        self._chunk = self._first_chunk()
        self._waiting = bytearray()
        self._sent = 0
        self._under_way = 0
        self._allowance = self._window
        self._retry = RETRY_FIRST
        self._due: float | None = None
        self._stalled = False
        self.closing = False
        self._eof_under_way = False
        self._terminal = terminal
        self.disconnected = False
        # Counts connections: an answer that belongs to an earlier one is none.
        self._connection = 0
        # The next generation has begun, and nothing is sent until answers to what was sent before have come.
        self._settling = False
        self._eof_in_doubt = False

    def _first_chunk(self) -> int:
        return self._largest if self._start is None else min(CHUNK_FIRST, self._largest)

    @property
    def room(self) -> int:
        """How many bytes `put` takes now."""
        if self.error is not None or self.closing:
            return 0
        return self._window - len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether all that was put is accepted, EOF included, or will never be."""
        return self.error is not None or (not self._waiting and (self.closed or not self.closing))

    @property
    def due(self) -> float | None:
        """When `work` is to be called although nothing has arrived, as `time.monotonic` has it."""
        return self._due

    def put(self, data: bytes | memoryview) -> int:
        """Queue as much of *data* as there is room for, and send what may be sent.

        :return: how many bytes were queued.
        """
        count = min(self.room, len(data))
        if count:
            self._waiting += data[:count]
            self.work()
        return count

    def close(self) -> None:
        """EOF after all that is queued. Repeating it does nothing."""
        self.closing = True
        self.work()

    def nudge(self) -> None:
        """The process has done something: it may have read, so offer what it had no room for."""
        if self._due is not None and self._retry <= 8 * RETRY_FIRST:
            self._due = None
            self.work()

    def fail(self, error: NetdaemonError) -> None:
        """Nothing can be written any more."""
        if self.error is None:
            self.error = error
            self.dropped = len(self._waiting)
        self._waiting.clear()
        self._sent = 0
        self._due = None

    def work(self) -> None:
        """Send what may be sent now."""
        if self.error is not None or self._eof_under_way or self._settling or self.closed or self.disconnected:
            return
        if self._due is not None:
            if monotonic() < self._due:
                return
            self._due = None
        if self._stalled:
            return
        # Sending may be what finds out that the connection is lost.
        while self._sent < len(self._waiting) and self._may_send() and not self.disconnected:
            self._send_piece()
        if self.closing and not self._waiting and not self._under_way and not self.disconnected:
            self._eof_under_way = True
            at = None if self._start is None else self._start + self.accepted
            connection = self._connection
            self._submit(Data(to=self._attachment, at=at), lambda answer: self._eof_answered(connection, answer))

    def _may_send(self) -> bool:
        if self._start is None:
            return not self._under_way
        return self._sent < self._allowance

    def _send_piece(self) -> None:
        limit = min(self._chunk, len(self._waiting) - self._sent, self._allowance - self._sent)
        with memoryview(self._waiting) as view:
            payload = bytes(view[self._sent : self._sent + limit])
        position = self.accepted + self._sent
        at = None if self._start is None else self._start + position
        self._sent += limit
        self._under_way += 1
        connection = self._connection
        self._submit(
            Data(to=self._attachment, at=at, payload=payload),
            lambda answer: self._answered(connection, position, limit, answer),
        )

    def _answered(self, connection: int, position: int, length: int, answer: Answer) -> None:
        if connection != self._connection:
            return
        self._under_way -= 1
        if self.error is not None or self._settling:
            self._learn(answer)
            return
        if isinstance(answer, Taken):
            self.end = answer.end
            self._advance(position + answer.accepted)
            if answer.accepted < length:
                self._stalled = True
            elif not self._stalled:
                if length == self._chunk:
                    self._chunk = min(2 * length, self._largest)
                self._allowance = min(self._allowance + length, self._window)
        elif isinstance(answer, StdinFull):
            if answer.end is not None:
                self.end = answer.end
            self._advance(position + (answer.accepted or 0))
            self._stalled = True
        elif isinstance(answer, StdinHole) and self._start is not None:
            self._hole(answer)
        elif isinstance(answer, NetdaemonError):
            self._learn(answer)
            self.fail(answer)
            return
        if not self._under_way and self._stalled:
            # All answers are here: what is left begins at the accepted end. Offer a little of it after a while.
            self._stalled = False
            self._sent = 0
            self._allowance = min(self._allowance, self._chunk // 4)
            self._wait()
        self.work()

    def _hole(self, refusal: StdinHole) -> None:
        assert self._start is not None
        if refusal.end is not None and refusal.end < self._start + self.accepted:
            self.fail(
                RemoteProtocolError(
                    f"the daemon has {refusal.end} bytes of stdin and had accepted {self._start + self.accepted}"
                )
            )
        else:
            self._stalled = True

    def _advance(self, position: int) -> None:
        """What is before *position* is safe."""
        count = position - self.accepted
        if count > 0:
            del self._waiting[:count]
            self._sent -= count
            self.accepted = position
            self._retry = RETRY_FIRST

    def _wait(self) -> None:
        self._due = monotonic() + self._retry
        self._retry = min(self._retry * 2, RETRY_MOST)

    def _eof_answered(self, connection: int, answer: Answer) -> None:
        if connection != self._connection:
            return
        self._eof_under_way = False
        if self._settling:
            self._learn(answer)
        elif isinstance(answer, StdinFull):
            self._wait()
        elif isinstance(answer, NetdaemonError) and not isinstance(answer, Refusal):
            self.fail(answer)
        elif isinstance(answer, Refusal):
            # It reads no more, and that is what EOF asks for; who wants to know finds it in `error`.
            self.closed = True
            self.fail(answer)
        else:
            self.closed = True
            if isinstance(answer, Taken):
                self.end = answer.end

    # --- when the next generation begins -----------------------------------------------------------------------------

    def reopen(self) -> None:
        """The process has been started again: it takes input, at the offset where that ended."""
        if self.error is None and not self.closed:
            # What waits is for whoever reads it.
            return
        if self.error is not None and not isinstance(self.error, UNTIL_NEXT_GENERATION):
            return
        self.error = None
        self.dropped = 0
        self.closing = self.closed = self._eof_in_doubt = False
        self._stalled = False
        self._retry = RETRY_FIRST
        self._allowance = self._window
        # They may have been taken nevertheless, by the new generation even.
        self._settling = bool(self._under_way or self._eof_under_way)
        self._align()

    def _learn(self, answer: Answer) -> None:
        """How far the input has come, from an answer that says nothing else any more."""
        if isinstance(answer, Taken | Refusal) and answer.end is not None:
            self.end = max(self.end, answer.end)
        if self._settling and not self._under_way and not self._eof_under_way:
            self._settling = False
            self._align()
            self.work()

    def _align(self) -> None:
        if self._start is not None:
            self.accepted = self.end - self._start

    # --- when the connection is lost, and there is a new one ---------------------------------------------------------

    def disconnect(self) -> None:
        """The connection is lost: no answer comes any more, and nothing is sent until `resume`."""
        self._connection += 1
        self._chunk = self._first_chunk()
        self.disconnected = True
        self._under_way = 0
        self._stalled = False
        self._due = None
        self._eof_in_doubt |= self._eof_under_way
        self._eof_under_way = False

    def resume(self, attachment: int, end: int, *, later: bool = False) -> None:
        """There is a new one: go on from *end*, the daemon's stdin offset. What does not fit to it is an error.

        :param later: whether a later generation runs: an EOF that was under way was none for it.
        """
        self._attachment = attachment
        self.disconnected = False
        if self._settling or isinstance(self.error, UNTIL_NEXT_GENERATION):
            self._settling = False
            self.end = end
            self._align()
        if self.error is not None:
            return
        told = self.end if self._start is None or self.closed else self._start + self.accepted
        taken = end - told
        if taken < 0:
            self.fail(RemoteProtocolError(f"the daemon has {end} bytes of stdin and had accepted {told}"))
            return
        if not self.closed:
            # An EOF is sent when all else is accepted: they are not in doubt together.
            doubt = 1 if self._eof_in_doubt and self._terminal else self._sent
            if not self._fits(taken, doubt):
                return
            self.end = end
            if self._eof_in_doubt and self._terminal and taken:
                self.closed = True
            else:
                self._advance(self.accepted + min(taken, self._sent))
        if later and self._eof_in_doubt:
            self.closing = self.closed = False
        self._eof_in_doubt = False
        self._sent = 0
        self.work()

    def _fits(self, taken: int, doubt: int) -> bool:
        """Whether *taken* bytes can be what the daemon took of *doubt* that were under way; if not, it is over."""
        if self._start is not None:
            if taken > doubt:
                self.fail(
                    RemoteProtocolError(
                        f"the daemon has {self._start + self.accepted + taken} bytes of stdin, and only "
                        f"{self._start + self.accepted + doubt} were sent: somebody else has written, too"
                    )
                )
        elif doubt and taken not in (0, doubt):
            self.fail(
                ConnectionClosed(
                    f"{doubt} bytes of stdin were under way when the connection was lost, and the daemon has taken "
                    f"{taken} since, somebody else's perhaps: whether they were taken is unknown"
                )
            )
        return self.error is None
