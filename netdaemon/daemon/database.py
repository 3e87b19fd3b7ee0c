"""Tables of events and process records in SQLite, and the questions asked of them; knows no reactor and no clients.

A process's own numbers rise: what is not above the last one that was taken in of it is there already. The numbers of
the events rise by one, and those that are deleted are always the first, so that what is kept is a range.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from twisted.logger import Logger

from netdaemon.daemon.database_file import (
    DatabaseDamaged,
    DatabaseFailed,
    DatabaseUnusable,
    open_file,
    open_memory,
    set_aside,
    translated,
)
from netdaemon.errors import BadRequest, ProtocolError
from netdaemon.wire.answers import Happened
from netdaemon.wire.box import value_length
from netdaemon.wire.layout import decode, encode
from netdaemon.wire.told import PROCESS, ProcessRecord

__all__ = ["Database", "DatabaseDamaged", "DatabaseFailed", "DatabaseUnusable", "Entry", "Stored"]

# Octets of records or events in one answer, as far as it is up to us: what a LIST tells at a time.
PAGE_OCTETS = 256 * 1024

# Ids in one question; SQLite takes no less than 999 in any build of it.
IDS_AT_ONCE = 500

# Microseconds for which a removed process's last number is kept at least: its daemon might be killed between the commit
# and forgetting the process, and the next one would bring the same events again.
GONE_KEPT_US = 60 * 1_000_000

# States of a row in `processes`.
_UNFINISHED, _FINISHED, _GONE = 0, 1, 2

_PUT_EVENT = "INSERT INTO events (n, time, process, sum, event) VALUES (?, ?, ?, ?, ?)"
_PUT_PROCESS = """
INSERT INTO processes (id, number, n, state, created, ended, name, sum, record, saved)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET number = excluded.number, n = max(n, excluded.n), state = excluded.state,
    created = excluded.created, ended = excluded.ended, name = excluded.name, sum = excluded.sum,
    record = excluded.record, saved = excluded.saved
"""
_MAKE_GONE = "UPDATE processes SET state = 2, name = NULL, sum = 0, record = x'', saved = x''"
_STORED = "SELECT id, created, sum, record, saved FROM processes"

_log = Logger()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that happened to a process, and what it is now.

    A snapshot is no event: it brings the process's record and nothing else.

    :param process: its id.
    :param number: the process's own number of *event*; of a snapshot, that of the last event before.
    :param event: its cursor is empty.
    :param saved: what a daemon needs to have the process again; it means nothing here.
    :param gone: it was removed; its events stay.
    """

    process: str
    number: int
    event: Happened
    saved: bytes
    finished: bool = False
    gone: bool = False

    @cached_property
    def octets(self) -> bytes:
        """The event's box."""
        return encode(self.event)

    @cached_property
    def record(self) -> bytes:
        """The record's box."""
        return PROCESS.encode(self.event.process)


@dataclass(frozen=True)
class Stored:
    """A process as it is in the database. Its record is decoded when it is first asked for.

    :ivar created: as in its record.
    :ivar box: the record, encoded.
    """

    id: str
    created: int
    box: bytes = field(repr=False)
    saved: bytes = field(repr=False)

    @property
    def item(self) -> bytes:
        """The record as it stands in an array: with this, it can be told in the record's place."""
        return value_length(len(self.box)) + self.box

    @cached_property
    def record(self) -> ProcessRecord:
        """As it was committed."""
        record: ProcessRecord = PROCESS.decode(self.box)
        return record


class Database:
    """The database at *path*, or one in memory.

    `commit`, `trim` and `remove` may be called on another thread than all else, one at a time.

    :raises DatabaseUnusable: it cannot be had, or is a newer netdaemon's.
    :ivar instance: a random word, the same for as long as the numbers of the events go on.
    :ivar set_aside: where the file is now whose content made no sense, or was another program's.
    :ivar on_damaged: called when a question comes upon damage, before `DatabaseDamaged` is raised.
    """

    instance: str

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.set_aside: str | None = None
        self.on_damaged: Callable[[], object] = lambda: None
        self._writing = threading.RLock()
        # In memory there is one connection, and nobody may see what is not committed yet.
        self._reading = threading.RLock() if path is not None else self._writing
        self._told: set[int | str] = set()
        try:
            self._open()
        except DatabaseDamaged as error:
            _log.error("{path}: {error}", path=path, error=error)
            self.renew()

    # --- opening and closing -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self.path is None:
            self._writer, self.instance = open_memory()
            self._reader = self._writer
        else:
            self._writer, self._reader, self.instance = open_file(self.path)

    def close(self) -> None:
        """Close it, once a commit that is going on is done. Does nothing the second time."""
        with self._writing, self._reading, contextlib.suppress(sqlite3.Error):
            self._reader.close()
            self._writer.close()

    def renew(self) -> None:
        """Set the file aside and begin a new one; nothing else may be going on. May be tried again if it fails.

        :raises DatabaseUnusable: none could be begun.
        """
        with self._writing, self._reading:
            if hasattr(self, "_writer"):
                self.close()
            if self.path is not None:
                self.set_aside = set_aside(self.path) or self.set_aside
            self._told.clear()
            self._open()

    # --- writing -----------------------------------------------------------------------------------------------------

    def commit(self, entries: Sequence[Entry]) -> list[tuple[int, Happened]]:
        """Take these in, all or none.

        :return: those that were not there, with their numbers; without the snapshots.
        :raises DatabaseFailed: none was taken in.
        """
        happened: list[tuple[int, Happened]] = []
        events: list[tuple[Any, ...]] = []
        latest: dict[str, tuple[Entry, int]] = {}
        with self._transaction() as cursor:
            known = _numbers(cursor, {entry.process for entry in entries})
            last = _last(cursor)
            for entry in entries:
                before = known.get(entry.process, -1)
                if entry.event.snapshot:
                    if entry.number >= before:
                        known[entry.process] = entry.number
                        latest[entry.process] = entry, latest.get(entry.process, (entry, 0))[1]
                elif entry.number > before:
                    last += 1
                    known[entry.process] = entry.number
                    latest[entry.process] = entry, last
                    events.append((last, entry.event.time, entry.process, zlib.crc32(entry.octets), entry.octets))
                    happened.append((last, entry.event))
            cursor.executemany(_PUT_EVENT, events)
            cursor.executemany(_PUT_PROCESS, [_row(entry, n) for entry, n in latest.values()])
        return happened

    def remove(self, id: str) -> bool:
        """Forget a process, but not its events; whether there was one."""
        with self._transaction() as cursor:
            cursor.execute(f"{_MAKE_GONE} WHERE id = ? AND state != 2", (id,))
            return cursor.rowcount > 0

    def trim(
        self, *, events: int, events_age_us: int, finished: int, finished_age_us: int, now_us: int, most: int
    ) -> int:
        """Delete what is too much or too old, the oldest first, at most so many rows.

        :param events: how many may stay; what is after one that stays, stays.
        :param finished: how many processes that have finished may stay.
        :return: how many rows; fewer than *most*: there is nothing left to do.
        """
        with self._transaction() as cursor:
            done = _trim_events(cursor, events, now_us - events_age_us, most)
            done += _trim_finished(cursor, finished, now_us - finished_age_us, most - done)
            cursor.execute(
                "DELETE FROM processes WHERE rowid IN (SELECT rowid FROM processes"
                " WHERE state = 2 AND n < ? AND ended < ? ORDER BY n LIMIT ?)",
                (_first(cursor), now_us - GONE_KEPT_US, most - done),
            )
            return done + cursor.rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._writing, translated():
            cursor = self._writer.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            finally:
                cursor.close()

    # --- asking ------------------------------------------------------------------------------------------------------

    def numbers(self, ids: Collection[str]) -> dict[str, int]:
        """The last own number of each of these processes that was taken in; also if its events are gone."""
        with self._question() as cursor:
            return _numbers(cursor, ids)

    def events(self, after: int, limit: int) -> list[tuple[int, Happened]]:
        """The next events, in order: at least one if there is any, at most *limit*, and not many octets."""
        found: list[tuple[int, Happened]] = []
        octets = 0
        with self._question() as cursor:
            for n, total, event in cursor.execute("SELECT n, sum, event FROM events WHERE n > ? ORDER BY n", (after,)):
                happened = _happened(event) if zlib.crc32(event) == total else None
                if happened is None:
                    self._tell_once(n, "event")
                    continue
                found.append((n, happened))
                octets += len(event)
                if octets > PAGE_OCTETS or len(found) == limit:
                    break
        return found

    def span(self) -> tuple[int, int]:
        """The number of the first event that is kept, and of the last there ever was; (last + 1, last) if none is."""
        with self._question() as cursor:
            # One statement: what is committed between two of them would not fit together.
            cursor.execute(
                "SELECT (SELECT min(n) FROM events), (SELECT seq FROM sqlite_sequence WHERE name = 'events')"
            )
            first, last = cursor.fetchone()
        last = last or 0
        return (last + 1 if first is None else first), last

    def unfinished(self) -> list[Stored]:
        """The processes that have not finished, the oldest first."""
        return self._stored(f"{_STORED} WHERE state = 0 ORDER BY created, id", ())

    def page(self, after: tuple[int, str] | None, limit: int) -> list[Stored]:
        """Processes that have finished, by (created, id): at least one if there is any, at most *limit*, and not many
        octets of records."""
        created, id = (-1, "") if after is None else after
        return self._stored(
            f"{_STORED} WHERE state = 1 AND (created, id) > (?, ?) ORDER BY created, id",
            (created, id),
            limit,
            PAGE_OCTETS,
        )

    def find(self, process: str) -> Stored | None:
        """The finished process of this id, or else the newest one of this name."""
        for question in ("id = ?", "name = ? ORDER BY created DESC, id DESC"):
            found = self._stored(f"{_STORED} WHERE state = 1 AND {question}", (process,), 1)
            if found:
                return found[0]
        return None

    def finished_count(self) -> int:
        """How many have finished."""
        with self._question() as cursor:
            return _finished(cursor)

    def _stored(
        self, question: str, values: tuple[Any, ...], limit: int | None = None, octets: int | None = None
    ) -> list[Stored]:
        found: list[Stored] = []
        taken = 0
        with self._question() as cursor:
            for id, created, total, record, saved in cursor.execute(question, values):
                if zlib.crc32(saved, zlib.crc32(record)) != total:
                    self._tell_once(id, "process")
                    continue
                found.append(Stored(id, created, record, saved))
                taken += len(record)
                if len(found) == limit or (octets is not None and taken > octets):
                    break
        return found

    def _tell_once(self, which: int | str, what: str) -> None:
        """One row that is spoiled is no reason to give up all others."""
        if which not in self._told:
            self._told.add(which)
            _log.error(
                "{path}: the row of {what} {which} is damaged, and left out", path=self.path, what=what, which=which
            )

    @contextlib.contextmanager
    def _question(self) -> Iterator[sqlite3.Cursor]:
        try:
            with self._reading, translated(), contextlib.closing(self._reader.cursor()) as cursor:
                yield cursor
        except DatabaseDamaged:
            self.on_damaged()
            raise


# --- rows ------------------------------------------------------------------------------------------------------------


def _row(entry: Entry, n: int) -> tuple[Any, ...]:
    record = entry.event.process
    ended = entry.event.time if record.exited is None else record.exited
    if entry.gone:
        # What counts is when it was removed.
        return entry.process, entry.number, n, _GONE, record.created, entry.event.time, None, 0, b"", b""
    return (
        entry.process,
        entry.number,
        n,
        _FINISHED if entry.finished else _UNFINISHED,
        record.created,
        ended,
        record.name,
        zlib.crc32(entry.saved, zlib.crc32(entry.record)),
        entry.record,
        entry.saved,
    )


def _happened(octets: bytes) -> Happened | None:
    try:
        return decode(Happened, octets, strict=False)
    except (BadRequest, ProtocolError):
        return None


def _numbers(cursor: sqlite3.Cursor, ids: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    left = list(ids)
    for at in range(0, len(left), IDS_AT_ONCE):
        some = left[at : at + IDS_AT_ONCE]
        marks = ",".join("?" * len(some))
        found.update(cursor.execute(f"SELECT id, number FROM processes WHERE id IN ({marks})", some))
    return found


def _last(cursor: sqlite3.Cursor) -> int:
    row = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if row is None else int(row[0])


def _first(cursor: sqlite3.Cursor) -> int:
    first = cursor.execute("SELECT min(n) FROM events").fetchone()[0]
    return _last(cursor) + 1 if first is None else int(first)


def _finished(cursor: sqlite3.Cursor) -> int:
    return int(cursor.execute("SELECT count(*) FROM processes WHERE state = 1").fetchone()[0])


def _trim_events(cursor: sqlite3.Cursor, stay: int, before: int, most: int) -> int:
    first, last = _first(cursor), _last(cursor)
    end = min(first + most, last + 1)
    young = cursor.execute(
        "SELECT n FROM events WHERE n < ? AND time >= ? ORDER BY n LIMIT 1", (end, before)
    ).fetchone()
    old = end if young is None else int(young[0])
    cursor.execute("DELETE FROM events WHERE n < ?", (max(old, min(last + 1 - stay, end)),))
    return cursor.rowcount


def _trim_finished(cursor: sqlite3.Cursor, stay: int, before: int, most: int) -> int:
    surplus = min(max(0, _finished(cursor) - stay), most)
    rows = cursor.execute(
        "SELECT rowid, ended FROM processes WHERE state = 1 ORDER BY ended, id LIMIT ?", (most,)
    ).fetchall()
    drop = [(rowid,) for at, (rowid, ended) in enumerate(rows) if at < surplus or ended < before]
    cursor.executemany(f"{_MAKE_GONE} WHERE rowid = ?", drop)
    return len(drop)
