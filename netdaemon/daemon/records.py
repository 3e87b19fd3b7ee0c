"""All processes that are known: those of the table, and those that have finished and are in the database only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from netdaemon.daemon.database import Database, DatabaseFailed, Entry, Stored
from netdaemon.daemon.journal import Journal
from netdaemon.daemon.table import ProcessTable
from netdaemon.errors import InternalError, NoSuchProcess, WrongGeneration
from netdaemon.process.record import Process
from netdaemon.process.saved import Saved
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import NAME
from netdaemon.wire.told import Happening, ProcessRecord

# Records that are read from the database at a time.
PAGE = 256

# Records that are looked at in one turn for whoever selects: with their labels, some milliseconds.
LOOK = 256

# Processes that are forgotten in one turn: a few milliseconds.
PRUNE = 16

# A time in microseconds has no more digits in the next 200,000 years.
CREATED_DIGITS = 19

Match = Callable[[ProcessRecord], bool]


class Records:
    """What LIST, INSPECT, REMOVE and PRUNE are about, as one list in the order of creation."""

    def __init__(self, table: ProcessTable, database: Database, journal: Journal, reactor: Any) -> None:
        self._table = table
        self._database = database
        self._journal = journal
        self._reactor = reactor

    def find(self, process: str) -> ProcessRecord:
        """The record of the process with this id or name.

        :raises NoSuchProcess: there is none.
        """
        try:
            return self._table.find(process).record()
        except NoSuchProcess:
            stored = self.stored(process)
            if stored is None:
                raise
            return stored.record

    def stored(self, process: str) -> Stored | None:
        """A process that has finished and is in the database only."""
        if not NAME.fullmatch(process):
            # Neither an id nor a name.
            return None
        try:
            found = self._database.find(process)
        except DatabaseFailed as error:
            raise InternalError(f"the records of finished processes cannot be read: {error}") from error
        # One that is being removed is still there for a moment.
        return None if found is None or self._table.knows(found.id) else found

    def select(self, after: str | None) -> Iterator[Process | Stored]:
        """All of them, from the one after *after* on, which may have been removed meanwhile.

        :raises NoSuchProcess: *after* was never the end of a page.
        """
        place: tuple[int, str] | None = None
        if after is not None:
            created, _, id = after.partition("-")
            if not created.isdecimal() or len(created) > CREATED_DIGITS or not id:
                raise NoSuchProcess(f"{after!r} does not come from a LIST reply", field="after")
            place = int(created), id
        live = self._table.following(place)
        return self._merged(live, place) if self._table.archives else live

    def _merged(self, live: Iterator[Process], place: tuple[int, str] | None) -> Iterator[Process | Stored]:
        process = next(live, None)
        # Nothing is decoded only to be put in order.
        for stored in self._archived(place):
            while process is not None and (process.identity.created, process.id) < (stored.created, stored.id):
                yield process
                process = next(live, None)
            if process is not None and process.id == stored.id:
                # It was let go while this was being read.
                process = next(live, None)
            yield stored
        if process is not None:
            yield process
            yield from live

    def _archived(self, place: tuple[int, str] | None) -> Iterator[Stored]:
        while True:
            try:
                page = self._database.page(place, PAGE)
            except DatabaseFailed as error:
                raise InternalError(f"the records of finished processes cannot be read: {error}") from error
            if not page:
                return
            for stored in page:
                if not self._table.knows(stored.id):
                    yield stored
            place = page[-1].created, page[-1].id

    def matching(self, matches: Match | None) -> Iterator[ProcessRecord | None]:
        """The records of all that match, and a None for each that does not: there may be very many of those."""
        for one in self.select(None):
            record = record_of(one)
            yield record if matches is None or matches(record) else None

    # --- forgetting --------------------------------------------------------------------------------------------------

    def remove(self, stored: Stored, principal: str) -> None:
        """Forget one that is in the database only."""
        number = self._last_number(stored.id) + 1
        event = Happened(type=Happening.REMOVED, time=_now(), principal=principal, process=stored.record)
        self._table.gone.add(stored.id)
        self._journal.append(
            Entry(process=stored.id, number=number, event=event, saved=stored.saved, finished=True, gone=True)
        )

    def left_of(self, stored: Stored) -> tuple[Saved, int, int, int]:
        """What it takes to have it run again: what was saved, the end of its output and how much of it is kept, and its
        last number.

        :raises LimitReached: there is no room for it.
        """
        self._table.check_room()
        record = stored.record
        number = self._last_number(stored.id)
        return Saved.decode(stored.saved), record.end, record.keep, number

    def _last_number(self, id: str) -> int:
        """That of its last event, whether that is in the journal yet or not."""
        return max(self._database.numbers([id]).get(id, 0), self._table.last_told(id))

    def prune(self, matches: Match | None, age: int, principal: str) -> Deferred[int]:
        """Forget all that have finished at least *age* milliseconds ago and match, some in each turn; how many."""
        return Deferred.fromCoroutine(self._prune(matches, _now() - age * 1000, principal))

    async def _prune(self, matches: Match | None, before: int, principal: str) -> int:
        count = 0
        found = self.select(None)
        while some := list(islice(found, LOOK)):
            for number, one in enumerate(some, 1):
                if self._prunable(one, matches, before):
                    if isinstance(one, Stored):
                        self.remove(one, principal)
                    else:
                        self._table.remove(one, principal)
                    count += 1
                if not number % PRUNE:
                    await deferLater(self._reactor, 0)
            # Not faster than they are journalled.
            await self._journal.flush()
        return count

    def _prunable(self, one: Process | Stored, matches: Match | None, before: int) -> bool:
        if isinstance(one, Process) and (one.removed or not one.finished):
            return False
        if isinstance(one, Stored) and self._table.knows(one.id):
            return False
        record = record_of(one)
        return (record.exited or 0) <= before and (matches is None or matches(record))


def check_generation(record: ProcessRecord, generation: int | None) -> None:
    """Refuse what was meant for another run."""
    if generation is not None and generation != record.generation:
        raise WrongGeneration(
            f"process {record.id} is in its generation {record.generation}, not {generation}", process=record.id
        )


def record_of(one: Process | Stored) -> ProcessRecord:
    """Its record."""
    return one.record() if isinstance(one, Process) else one.record


def _now() -> int:
    return time.time_ns() // 1000
