"""The log of one process: a reader of its output like any other, that writes files; knows no lines and no clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.daemon.cursor import Cursor
from netdaemon.errors import BadRequest
from netdaemon.logs.cri import Block, Encoder
from netdaemon.logs.files import tidy
from netdaemon.logs.writer import LogFile, Position
from netdaemon.process.record import Process
from netdaemon.process.spool import Segment
from netdaemon.visible import visible
from netdaemon.wire.answers import Gap, Status
from netdaemon.wire.records import Channel, State
from netdaemon.wire.specs import Log
from netdaemon.wire.told import Happening, Logged

# What is read of the spool at a time, and what is written to the file in one turn of the loop: some milliseconds of
# work even if every byte is a line.
PIECE = 32 * 1024
TURN = 256 * 1024

# Of small files, one turn fills so many at most: setting one aside takes several system calls and two saves.
FILES_A_TURN = 4

# Seconds for which output waits for more of it: so many saves a second at most that slow output costs.
GROUPED = 0.05

# Seconds for which the beginning of a line waits for the rest.
TAIL_WAITS = 1.0

# Seconds until it is tried again to write.
RETRY = 1.0

# A part of the spool: where so much of it waits to be written, or to be completed, it is time to write it. The process
# would be held back otherwise.
SHARE = 4

BOTH = frozenset({Channel.STDOUT, Channel.STDERR})

# Where a generation has come to its end.
_OVER = (State.BACKOFF, State.EXITED, State.FAILED)

_log = Logger()

InThread = Callable[..., "Deferred[Any]"]


class ProcessLog:
    """Follows one process.

    While it can write it holds the process back rather than lose anything. While it cannot, it does so only if the log
    is ``required``.

    :param reactor: `IReactorTime`.
    :param position: what was saved last; None: it is new, and begins at the offset *start*.
    :param save: keeps a position so that it survives a kill.
    :param tell: LOG_FAILED with the reason, once; LOG_RECOVERED with what was lost.
    :param in_thread: as `twisted.internet.threads.deferToThread`.
    """

    # It is nobody who is attached.
    counts = False

    def __init__(
        self,
        process: Process,
        spec: Log,
        reactor: Any,
        *,
        position: Position | None,
        start: int,
        save: Callable[[Position], None],
        tell: Callable[[Happening, str], None],
        in_thread: InThread,
    ) -> None:
        self.process = process
        self.spec = spec
        self._file = LogFile(spec, position or Position(offset=start), save)
        self._reactor = reactor
        self._tell = tell
        self._in_thread = in_thread
        self._encoder = Encoder()
        self._error = ""
        # What had been lost when it was last told.
        self._told_lost = self._file.position.lost
        self._tidying = False
        self._closed = False
        self._call: Any = None
        # When the tail is due to be written, complete or not, and where it begins.
        self._tail_due = 0.0
        self._tail_at = -1
        # None while nothing is held because nothing can be written.
        self._cursor: Cursor | None = self._new_cursor()
        process.observe(self)
        self._schedule(0)

    def _new_cursor(self) -> Cursor:
        return Cursor(self.process, self._file.position.offset, BOTH, None)

    # --- what others see ---------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """What is logged, for a log that is to go on where this one ends."""
        return self._file.position

    @property
    def logged(self) -> Logged:
        """How it stands. What has been overwritten meanwhile counts as lost, though no file tells it yet."""
        position = self._file.position
        overwritten = max(0, self.process.spool.begin - position.offset)
        # What cannot even be opened is not told as if it were there.
        present = self._file.is_open or not self._error
        return Logged(
            offset=position.offset,
            inode=position.inode if present else 0,
            size=position.size if present else 0,
            lost=position.lost + overwritten,
            error=self._error or None,
        )

    @property
    def behind(self) -> bool:
        """Whether there is something to be written that is not going to be given up."""
        return self._cursor is not None and (self._cursor.behind or bool(self._encoder.tail))

    # --- when --------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is more output."""
        if self._error or self._closed:
            # The next attempt will see it.
            return
        spool = self.process.spool
        waiting = spool.end - self._file.position.offset
        self._schedule(0 if waiting >= min(TURN, spool.size // SHARE) or not spool.room() else GROUPED)

    def _schedule(self, delay: float) -> None:
        """Have a turn then, or earlier."""
        if self._call is None:
            self._call = self._reactor.callLater(delay, self._turn)
        elif self._call.getTime() > self._reactor.seconds() + delay:
            self._call.reset(delay)

    def _turn(self) -> None:
        self._call = None
        if not self._write_some():
            return
        if self._cursor is not None and self._cursor.behind:
            self._schedule(0)
        elif self._encoder.tail:
            self._schedule(max(0.0, self._tail_due - self._reactor.seconds()))

    # --- writing -----------------------------------------------------------------------------------------------------

    def _write_some(self, *, flush: bool = False) -> bool:
        """Write what is there, within limits; whether it could be. *flush*: the tail, too, once all is read."""
        if self._cursor is None:
            # It is tried again; from here on nothing is overwritten.
            self._cursor = self._new_cursor()
        lines = self._read(self._cursor, flush)
        try:
            self._file.append(lines)
        except (BadRequest, OSError) as error:
            self._failed(error)
            return False
        self._cursor.floor = self._file.position.offset
        self._worked()
        self.process.holding.moved()
        return True

    def _read(self, cursor: Cursor, flush: bool) -> list[Block]:
        """The lines for one turn."""
        encoder = self._encoder
        lines: list[Block] = []
        size = 0
        most = min(TURN, FILES_A_TURN * self.spec.size)
        while size < most:
            item = cursor.next(PIECE)
            if isinstance(item, Segment):
                made = list(encoder.feed(item.channel, item.time, bytes(item.data)))
            elif isinstance(item, Gap):
                made = [*encoder.flush(), Block(b"", item.to - item.from_, lost=True)]
            elif isinstance(item, Status) and item.state in _OVER:
                made = list(encoder.flush())
            elif item is None:
                if flush or self._tail_is_due(cursor.offset):
                    lines += encoder.flush()
                break
            else:
                continue
            lines += made
            size += sum(len(one.octets) for one in made)
        return lines

    def _tail_is_due(self, end: int) -> bool:
        """Whether the tail has waited long enough for its rest, or takes too much of the spool."""
        tail = len(self._encoder.tail)
        if not tail:
            return False
        now = self._reactor.seconds()
        if self._tail_at != end - tail:
            self._tail_at = end - tail
            self._tail_due = now + TAIL_WAITS
        return bool(now >= self._tail_due) or tail >= self.process.spool.size // SHARE

    def _failed(self, error: BadRequest | OSError) -> None:
        """Nothing more can be written at the moment."""
        self._encoder = Encoder()
        cursor = self._cursor
        # What was read and not written is read again.
        self._cursor = self._new_cursor() if self.spec.required else None
        if cursor is not None:
            cursor.close()
        why = str(error) if isinstance(error, BadRequest) else visible(f"{self.spec.path}: {error.strerror}")
        first = not self._error
        self._error = why
        if not self._closed:
            self._schedule(RETRY)
        if first:
            self._tell(Happening.LOG_FAILED, why)

    def _worked(self) -> None:
        lost = self._file.position.lost
        if self._error or lost != self._told_lost:
            self._error = ""
            self._tell(Happening.LOG_RECOVERED, f"{lost - self._told_lost} bytes lost")
            self._told_lost = lost
        if self._file.untidy and not self._tidying:
            self._file.untidy = False
            self._tidying = True
            done = self._in_thread(tidy, self.spec.path, self.spec.files, self.spec.compress)
            done.addErrback(self._untidy)
            done.addCallback(self._tidied)

    def _untidy(self, failure: Failure) -> None:
        _log.warn(
            "{path}: what was set aside is not all compressed or removed: {error}",
            path=visible(self.spec.path),
            error=failure.getErrorMessage(),
        )

    def _tidied(self, _: object) -> None:
        self._tidying = False
        if self._file.untidy and not self._closed:
            # More was set aside meanwhile.
            self._schedule(GROUPED)

    # --- what is done to it ------------------------------------------------------------------------------------------

    def finish(self) -> bool:
        """Write all that there is, to the last byte, before this returns; whether it could be."""
        while self._write_some(flush=True):
            if not self.behind:
                return True
        return False

    def reopen(self) -> None:
        """Somebody has moved the file: go on in another. If it failed before, it is tried again now."""
        try:
            self._file.reopen()
        except (BadRequest, OSError) as error:
            self._failed(error)
        else:
            self._schedule(0)

    def close(self) -> None:
        """Follow the process no more. What is not written is not lost: the next log goes on at this position."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.process.ignore(self)
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self._file.close()
