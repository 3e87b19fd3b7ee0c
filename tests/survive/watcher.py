"""Whoever watches what happens to processes, over any number of connections; and what must be so of what it is told.

It has nothing of the library's own clients but the wire, as `tests.survive.follower`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import traceback
from collections.abc import Sequence

from netdaemon.errors import ConversationAborted
from netdaemon.wire.answers import End, Happened, Watching
from netdaemon.wire.commands import Watch
from netdaemon.wire.records import Reason
from netdaemon.wire.told import PROCESS, Happening, ProcessRecord
from tests.faults.wire import PATIENCE, Wire, eventually

# Seconds after which it looks whether it is wanted any more.
LOOK = 0.2

# Of one that waits when daemon and keeper are killed together.
LOST = "it ran when all was lost"

# What may happen at any time before a process is removed.
ANY_TIME = {
    Happening.CHANGED,
    Happening.SIGNALLED,
    Happening.LEFTOVER,
    Happening.LOG_FAILED,
    Happening.LOG_RECOVERED,
}


class Watcher:
    """Somebody who has watched from the beginning, and goes on after each loss where it was.

    :ivar events: all that it was told.
    """

    def __init__(self, path: str) -> None:
        self.events: list[Happened] = []
        self.cursor: str | None = None
        self.begun = threading.Event()
        self._path = path
        self._error = ""
        self._leaving = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.begun.wait(PATIENCE)

    def _run(self) -> None:
        try:
            while not self._leaving:
                try:
                    wire = Wire(self._path)
                except (OSError, EOFError, ConversationAborted):
                    time.sleep(0.005)
                    continue
                try:
                    self._follow(wire)
                except (ConnectionError, EOFError, ConversationAborted):
                    pass
                finally:
                    wire.close()
        except BaseException:
            self._error = traceback.format_exc()

    def _follow(self, wire: Wire) -> None:
        id = wire.post(Watch(since=self.cursor))
        reply = wire.answer(id)
        assert isinstance(reply, Watching), f"{reply!r}"
        if self.cursor is None:
            assert not reply.snapshot, "there is something already"
            self.cursor = reply.cursor
            self.begun.set()
        else:
            assert not reply.fresh, f"{self.cursor} is not known any more"
            assert reply.cursor == self.cursor
        wire.sock.settimeout(LOOK)
        while not self._leaving:
            try:
                other, event = wire.later.pop(0) if wire.later else wire.receive()
            except TimeoutError:
                continue
            assert other == id
            if isinstance(event, End):
                assert event.reason in (Reason.SHUTDOWN, Reason.RESUBSCRIBE), event
                return
            assert isinstance(event, Happened), f"{event!r}"
            assert place(event.cursor) > place(self.cursor or ""), f"{event.cursor} comes after {self.cursor}"
            self.cursor = event.cursor
            self.events.append(event)

    def of(self, process: str) -> list[Happened]:
        """What has happened to one of them."""
        assert not self._error, self._error
        return [event for event in self.events if event.process.id == process]

    def until(self, process: str, *types: Happening) -> list[Happened]:
        """Wait until the last thing that has happened to it is one of these."""

        def found() -> list[Happened]:
            events = self.of(process)
            return events if events and events[-1].type in types else []

        found_at_last: list[Happened] = eventually(found)
        return found_at_last

    def all_again(self) -> list[Happened]:
        """What somebody is told who has been told nothing: all that is in the journal, up to where this one is."""
        assert self.cursor is not None
        found: list[Happened] = []
        wire = Wire(self._path)
        try:
            id = wire.post(Watch(since=f"{self.cursor.rpartition('-')[0]}-0"))
            reply = wire.answer(id)
            assert isinstance(reply, Watching)
            assert not reply.fresh
            for event in wire.events(id) if place(self.cursor) else ():
                assert isinstance(event, Happened)
                found.append(event)
                if event.cursor == self.cursor:
                    break
        finally:
            wire.close()
        return found

    def leave(self) -> None:
        """Watch no more."""
        self._leaving = True
        self._thread.join()
        assert not self._error, self._error


def place(cursor: str) -> int:
    """The number in a cursor."""
    return int(cursor.rpartition("-")[2])


# --- what the journal has --------------------------------------------------------------------------------------------


def numbers(database: str, process: str) -> tuple[int, int]:
    """The last number that a process has given its events, by the journal; and how many of them that has.

    Its numbers rise in the journal: where both are the same, they are 1 to that, each once.
    """
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT number FROM processes WHERE id = ?", (process,)).fetchall()
        (count,) = connection.execute("SELECT count(*) FROM events WHERE process = ?", (process,)).fetchone()
    finally:
        connection.close()
    return (rows[0][0] if rows else 0), count


def recorded(database: str, process: str) -> ProcessRecord | None:
    """A process's record in the journal; None: it has none, or none any more."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT record FROM processes WHERE id = ? AND state != 2", (process,)).fetchall()
    finally:
        connection.close()
    record: ProcessRecord | None = PROCESS.decode(rows[0][0]) if rows else None
    return record


# --- the order of what happens ---------------------------------------------------------------------------------------


class Order:
    """The documented order of what happens to one process, event by event."""

    def __init__(self) -> None:
        self.starts = 0
        self.stops = 0
        self._where = "nowhere"
        self._once: set[str] = set()

    def take(self, event: Happened) -> None:
        """The next one; raises AssertionError if it may not come here."""
        type = event.type
        before, self._where = self._where, self._next(event)
        assert self._where, f"{type.value} comes where the process is {before}"
        if type is Happening.STARTED:
            self.starts += 1
            self._once.clear()
        elif type is Happening.STOPPING:
            self.stops += 1
        elif type in (Happening.READY, Happening.WATCHDOG, Happening.NOT_READY, Happening.STEP):
            what = f"{type.value} {event.detail if type is Happening.STEP else ''} of stop {self.stops}"
            assert what not in self._once, f"{what} comes twice"
            self._once.add(what)

    def _next(self, event: Happened) -> str:
        where, type = self._where, event.type
        if type in ANY_TIME:
            return where if where not in ("nowhere", "gone") else ""
        if where == "waiting" and type is Happening.BACKOFF and event.detail == LOST:
            # It need not wait any longer.
            return where
        return {
            ("nowhere", Happening.CREATED): "not started",
            ("not started", Happening.STARTED): "running",
            ("running", Happening.READY): "running",
            ("running", Happening.NOT_READY): "running",
            ("running", Happening.WATCHDOG): "running",
            ("running", Happening.STOPPING): "stopping",
            ("running", Happening.EXITED): "exited",
            ("stopping", Happening.STEP): "stopping",
            ("stopping", Happening.READY): "stopping",
            ("stopping", Happening.EXITED): "exited",
            ("stopping", Happening.NOT_STOPPED): "running",
            ("exited", Happening.BACKOFF): "waiting",
            ("exited", Happening.FAILED): "over",
            ("exited", Happening.STARTED): "running",
            ("exited", Happening.NOT_STARTED): "exited",
            ("exited", Happening.REMOVED): "gone",
            ("waiting", Happening.STARTED): "running",
            ("waiting", Happening.NOT_STARTED): "exited",
            ("waiting", Happening.STOPPING): "over",
            ("over", Happening.STARTED): "running",
            ("over", Happening.NOT_STARTED): "exited",
            ("over", Happening.REMOVED): "gone",
        }.get((where, type), "")


def in_order(events: Sequence[Happened]) -> Order:
    """What these come to, which must have come in order."""
    order = Order()
    for event in events:
        try:
            order.take(event)
        except AssertionError as error:
            raise AssertionError(f"{error}: {told(events)}") from None
    return order


def told(events: Sequence[Happened]) -> str:
    """Events for people."""
    return ", ".join(one.type.value + (f" ({one.detail})" if one.detail else "") for one in events)
