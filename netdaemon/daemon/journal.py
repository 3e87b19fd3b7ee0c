"""Commits what happens in groups, in order, on a thread, and again until it works; knows no clients."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.daemon.database import Database, DatabaseDamaged, DatabaseFailed, DatabaseUnusable, Entry
from netdaemon.wire.answers import Happened

# Seconds until the first of a group is committed: what happens meanwhile goes with it.
FLUSH = 0.005

# Entries in one transaction at most: nobody is told of the first before the last is in.
BATCH_MOST = 1000

# Seconds until what failed is tried again.
RETRY = 1.0

# Seconds from one new database to the next: where each is damaged at once, the disk is not to be filled with them.
RENEW_EVERY = 60.0

# Rows that retention deletes in one transaction, some milliseconds of it; and the seconds between two of them if there
# is nothing to commit.
TRIM_MOST = 200
TRIM_PAUSE = 0.005

# Seconds between two calls of `retain`, for whoever calls it.
RETAIN_EVERY = 60.0

_log = Logger()


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How many events and finished processes are kept, and for how many microseconds."""

    events: int
    events_age: int
    finished: int
    finished_age: int


def _nothing(*_: object) -> None:
    """Nobody has asked to be told."""


class Journal:
    """What is appended is committed to *database*, in order, within `FLUSH` or as soon as the commit before is done.

    All of it is called on the reactor's thread, and so are the callbacks; the database is asked on that thread, too.

    :param run: ``run(f, *args, **keywords)``: calls f, on a thread or at once; a Deferred of what it gives. One at a
        time is asked for.
    :ivar on_committed: called with what has been committed, numbers and events, in order.
    :ivar on_process_committed: called with a process and its last own number in the database, once a commit.
    :ivar on_trouble: called with a text when something begins to fail, and when it works again.
    :ivar on_renewed: called when the database was damaged and a new one is begun, which knows only what is appended
        from then on, and what had not been committed: for a snapshot of each process.
    :ivar trouble: what does not work at the moment.
    """

    def __init__(self, reactor: IReactorTime, database: Database, *, run: Callable[..., Deferred[Any]]) -> None:
        self.database = database
        self.on_committed: Callable[[Sequence[tuple[int, Happened]]], object] = _nothing
        self.on_process_committed: Callable[[str, int], object] = _nothing
        self.on_trouble: Callable[[str], object] = _nothing
        self.on_renewed: Callable[[], object] = _nothing
        self.trouble: str | None = None
        self._reactor = reactor
        self._run = run
        self._pending: deque[Entry] = deque()
        # How many were ever appended, and committed: what a flush waits for.
        self._appended = 0
        self._committed = 0
        self._flushing: deque[tuple[int, Deferred[None]]] = deque()
        self._busy = False
        self._damaged = False
        self._renewed: float | None = None
        self._call: IDelayedCall | None = None
        self._retention: tuple[Retention, int] | None = None
        self._trimmed = 0
        self._trim_next = False
        self._retaining: list[Deferred[int]] = []
        self._closing: Deferred[None] | None = None
        self._closed = False
        database.on_damaged = self._found_damaged

    @property
    def waiting(self) -> int:
        """How many entries are not committed yet; they take memory for as long as the disk takes nothing."""
        return len(self._pending)

    def append(self, entry: Entry) -> None:
        """Commit *entry* after all those before it. Once closed, nothing is done: the process itself still has it.

        :raises netdaemon.errors.LocalProtocolError: a value in it is not of its field's type.
        """
        # Encoded here, where an error is its caller's; later, it would keep all others waiting.
        _ = entry.octets, entry.record
        if self._closed:
            return
        self._pending.append(entry)
        self._appended += 1
        if not self._busy and self._call is None:
            self._turn_in(FLUSH)

    def flush(self) -> Deferred[None]:
        """Fires when all that was appended until now is committed, however long that takes."""
        if not self._pending:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._flushing.append((self._appended, waiting))
        if not self._busy and self.trouble is None:
            self._turn()
        return waiting

    def retain(self, retention: Retention, now_us: int) -> Deferred[int]:
        """Delete what is not to be kept, in slices between which there is time for commits.

        If that is being done already, it goes on by the new numbers.

        :return: fires with the count of rows deleted when there is nothing left to do, or it failed: see `on_trouble`.
        """
        done: Deferred[int] = Deferred()
        if self._closed:
            return succeed(0)
        self._retaining.append(done)
        self._retention = retention, now_us
        if not self._busy and self._call is None:
            self._turn_in(0)
        return done

    def close(self) -> Deferred[None]:
        """Commit what there is, trying once more if that has failed until now, and close the database."""
        if self._closed:
            return succeed(None)
        if self._closing is None:
            self._closing = Deferred()
            if not self._busy:
                self._turn()
        waiting: Deferred[None] = Deferred()
        self._closing.chainDeferred(waiting)
        return waiting

    def close_now(self) -> None:
        """The same at once, without the reactor: a commit that is going on is waited for."""
        if self._closed:
            return
        error: Exception | None = None
        try:
            self._commit_rest()
        except DatabaseDamaged:
            try:
                self.database.renew()
                self._commit_rest()
            except (DatabaseFailed, DatabaseUnusable) as failed:
                error = failed
        except DatabaseFailed as failed:
            error = failed
        self._end(error)

    def _commit_rest(self) -> None:
        while self._pending:
            # What is being committed is among them, and is not taken in twice.
            some = self._first()
            self.database.commit(some)
            self._take(len(some))

    # --- turns: one thing at a time ----------------------------------------------------------------------------------

    def _turn_in(self, delay: float) -> None:
        if self._call is not None:
            if self._call.getTime() <= self._reactor.seconds() + delay:
                return
            self._call.cancel()
        self._call = self._reactor.callLater(delay, self._turn)

    def _turn(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._damaged and not self._renew():
            return
        if self._retention is not None and self._closing is None and (self._trim_next or not self._pending):
            self._trim_next = False
            keep, now_us = self._retention
            self._start(
                self._has_trimmed,
                self.database.trim,
                events=keep.events,
                events_age_us=keep.events_age,
                finished=keep.finished,
                finished_age_us=keep.finished_age,
                now_us=now_us,
                most=TRIM_MOST,
            )
        elif self._pending:
            self._trim_next = True
            batch = self._first()
            self._start(lambda happened: self._has_committed(batch, happened), self.database.commit, batch)
        elif self._closing is not None:
            self._end(None)

    def _first(self) -> list[Entry]:
        return list(itertools.islice(self._pending, BATCH_MOST))

    def _start(self, done: Callable[[Any], None], f: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        self._busy = True
        self._run(f, *arguments, **keywords).addCallbacks(self._done, self._failed, callbackArgs=(done,)).addErrback(
            self._broken
        )

    def _done(self, result: Any, done: Callable[[Any], None]) -> None:
        if self._closed:
            return
        self._busy = False
        if self.trouble is not None:
            self.trouble = None
            self._tell(self.on_trouble, "the journal works again")
        done(result)
        if self._closed or self._busy:
            return
        if self._pending or self._damaged or self._closing is not None:
            self._turn_in(0)
        elif self._retention is not None:
            self._turn_in(TRIM_PAUSE)

    def _has_committed(self, batch: list[Entry], happened: list[tuple[int, Happened]]) -> None:
        self._take(len(batch))
        if happened:
            self._tell(self.on_committed, happened)
        for process, number in {entry.process: entry.number for entry in batch}.items():
            self._tell(self.on_process_committed, process, number)
        while self._flushing and self._flushing[0][0] <= self._committed:
            self._flushing.popleft()[1].callback(None)

    def _take(self, count: int) -> None:
        for _ in range(count):
            self._pending.popleft()
        self._committed += count

    def _has_trimmed(self, count: int) -> None:
        self._trimmed += count
        # A slice that is not full was the last: where events keep coming, there is always one more.
        if count < TRIM_MOST:
            self._retained()

    def _retained(self) -> None:
        count, self._trimmed, self._retention = self._trimmed, 0, None
        waiting, self._retaining = self._retaining, []
        for one in waiting:
            one.callback(count)

    # --- failures ----------------------------------------------------------------------------------------------------

    def _failed(self, failure: Failure) -> None:
        if self._closed:
            return
        self._busy = False
        error = failure.value
        if not isinstance(error, DatabaseFailed):
            # Nothing that the database knows of: told with its traceback, and tried again all the same.
            _log.failure("the journal failed", failure=failure)
            error = DatabaseFailed(f"{type(error).__name__}: {error}")
        if isinstance(error, DatabaseDamaged) and self._may_renew():
            self._damaged = True
            self._turn_in(0)
            return
        self._in_trouble(error)

    def _may_renew(self) -> bool:
        return self._renewed is None or self._reactor.seconds() - self._renewed >= RENEW_EVERY

    def _in_trouble(self, error: Exception) -> None:
        if self._closing is not None:
            self._end(error)
            return
        first = self.trouble is None
        self.trouble = f"the journal cannot be written: {error}"
        if first:
            self._tell(self.on_trouble, f"{self.trouble}; it is tried again every {RETRY:g} s, and nothing is lost")
        if self._retention is not None:
            # There will be another.
            self._retained()
        self._turn_in(RETRY)

    def _found_damaged(self) -> None:
        """Somebody has asked the database, and it could not be understood."""
        if not self._closed and self._may_renew():
            self._damaged = True
            if not self._busy:
                self._turn_in(0)

    def _renew(self) -> bool:
        """Begin a new database: on the reactor's thread, so that nobody asks meanwhile."""
        try:
            self.database.renew()
        except DatabaseUnusable as error:
            self._in_trouble(error)
            return False
        self._damaged = False
        self._renewed = self._reactor.seconds()
        self.trouble = None
        self._tell(
            self.on_trouble,
            f"the journal was damaged and is set aside as {self.database.set_aside}; a new one is begun, without the "
            "events and the finished processes of the old one",
        )
        self._tell(self.on_renewed)
        return True

    def _tell(self, whom: Callable[..., object], *arguments: object) -> None:
        try:
            whom(*arguments)
        except Exception:
            # Its own affair: the others are to be journalled all the same.
            _log.failure("the journal has told {whom}, which failed", whom=whom)

    def _broken(self, failure: Failure) -> None:
        _log.failure("the journal is broken", failure=failure)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end(self, error: Exception | None) -> None:
        self._closed = True
        if self._call is not None:
            if self._call.active():
                self._call.cancel()
            self._call = None
        self.database.close()
        if self._pending:
            self._tell(self.on_trouble, f"{len(self._pending)} entries could not be journalled: {error}")
        self._retained()
        while self._flushing:
            count, waiting = self._flushing.popleft()
            if count <= self._committed:
                waiting.callback(None)
            else:
                waiting.errback(DatabaseFailed(f"closed before it was committed: {error}"))
        if self._closing is not None:
            self._closing.callback(None)
