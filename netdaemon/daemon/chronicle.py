"""What processes tell goes into the journal, and from there to whoever watches; and what a reboot has interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from netdaemon.daemon.database import Database, DatabaseFailed, Entry, Stored
from netdaemon.daemon.feed import Feed
from netdaemon.daemon.journal import RETAIN_EVERY, Journal, Retention
from netdaemon.daemon.settings import Settings
from netdaemon.daemon.table import ProcessTable
from netdaemon.errors import Refusal
from netdaemon.keeper.child import ExitStatus
from netdaemon.process.lifecycle import BY_ITSELF
from netdaemon.process.record import FINISHED, Process
from netdaemon.process.saved import Saved, Told
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy
from netdaemon.wire.told import Happening, ProcessRecord

# The database in a state directory; and beside the daemon's socket, where there is none.
DATABASE = "processes.db"

# What is kept where there is no file for it: some megabytes.
EVENTS_IN_MEMORY, RECORDS_IN_MEMORY = 4096, 1024

# How a process has exited that nobody has any more.
LOST = "lost with its keeper"

_log = Logger()


class Chronicle:
    """The journal of one daemon.

    :raises netdaemon.daemon.database.DatabaseUnusable: there is none to be had.
    """

    def __init__(self, reactor: Any, settings: Settings, table: ProcessTable) -> None:
        self._reactor = reactor
        self._settings = settings
        self._table = table
        self._pool: ThreadPool | None = None
        self._retaining: Any = None
        path = settings.journal if settings.state is None else os.path.join(settings.state, DATABASE)
        self.database = Database(path)
        if self.database.set_aside is not None:
            _log.error("{why}", why=f"the records were damaged, and are set aside: {self.database.set_aside}")
        self.journal = Journal(reactor, self.database, run=maybeDeferred if path is None else self._in_thread)
        self.feed = Feed(self.database)
        self.journal.on_committed = self._committed
        self.journal.on_process_committed = table.journalled
        self.journal.on_trouble = lambda text: _log.error("{text}", text=text)
        self.journal.on_renewed = self._renewed
        table.on_event = self._told
        table.on_gone = self._gone

    def _in_thread(self, call: Any, *arguments: Any, **named: Any) -> Deferred[Any]:
        if self._pool is None:
            self._pool = ThreadPool(1, 1, "journal")
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, call, *arguments, **named)

    # --- what is told ------------------------------------------------------------------------------------------------

    def _told(self, process: Process, told: Told) -> None:
        happened = Happened(
            type=told.type, time=told.time, principal=told.principal, detail=told.detail, process=process.record()
        )
        self.journal.append(
            Entry(
                process=process.id,
                number=told.number,
                event=happened,
                saved=process.octets,
                finished=process.finished and not process.life.comes_back,
                gone=told.type is Happening.REMOVED,
            )
        )

    def _gone(self, saved: Saved) -> None:
        """A process that the last daemon was forgetting: what it had told, and the journal may not have."""
        record = record_from(saved)
        for told in saved.pending:
            happened = Happened(
                type=told.type, time=told.time, principal=told.principal, detail=told.detail, process=record
            )
            self.journal.append(
                Entry(
                    process=record.id,
                    number=told.number,
                    event=happened,
                    saved=saved.encode(),
                    finished=True,
                    gone=told.type is Happening.REMOVED,
                )
            )

    def _committed(self, events: Sequence[tuple[int, Happened]]) -> None:
        self.feed.happened(events)

    def _renewed(self) -> None:
        """There is a new journal, which knows nothing: tell it what there is."""
        for process in self._table:
            snapshot = Happened(type=Happening.SNAPSHOT, time=_now(), process=process.record(), snapshot=True)
            self.journal.append(
                Entry(
                    process=process.id,
                    number=process.events.number,
                    event=snapshot,
                    saved=process.octets,
                    finished=process.finished and not process.life.comes_back,
                )
            )
        self.feed.renewed()

    # --- the beginning -----------------------------------------------------------------------------------------------

    def begin(self, known: Collection[str]) -> None:
        """See to what is in the database and not among *known*, which the keeper had."""
        try:
            unfinished = self.database.unfinished()
            self._table.archives = self._table.archives or self.database.finished_count() > 0
        except DatabaseFailed as error:
            _log.error("what ran before cannot be seen: {error}", error=error)
            unfinished = []
        for stored in unfinished:
            if stored.id not in known and not self._table.knows(stored.id):
                try:
                    self._lost(stored)
                except ValueError as error:
                    _log.error("process {id} is not understood: {error}", id=stored.id, error=error)
        self._retain()

    def _lost(self, stored: Stored) -> None:
        """A process that nobody has any more: the machine was restarted, or everything was killed at once."""
        saved = Saved.decode(stored.saved)
        number = self.database.numbers([stored.id]).get(stored.id, 0)
        restart = saved.identity.restart
        detail = LOST
        if restart is not None and restart.policy is not Policy.NEVER and not _was_stopped(saved, restart.policy):
            try:
                self._table.revive(saved, stored.record.end, stored.record.keep, number)
            except Refusal as refusal:
                detail = f"{LOST}, and it cannot be started again: {refusal.message}"
                _log.error("process {id} ran before: {detail}", id=stored.id, detail=detail)
            else:
                _log.info("process {id} ran before, and is started again", id=stored.id)
                return
        left = self._table.leftovers.of(stored.id)
        if left:
            detail += f"; still there: {left}"
        now = _now()
        record = replace(stored.record, pid=None, due=None, step=None)
        if saved.state is State.BACKOFF or saved.state in FINISHED:
            # How it has exited was told; and it is to have been started again.
            happening, state = Happening.FAILED, State.FAILED
            record = replace(record, state=state)
        else:
            happening, state = Happening.EXITED, State.EXITED
            record = replace(record, state=state, exited=now, code=None, signal=None, core=None)
            saved = replace(saved, exited=now, status=ExitStatus())
        over = replace(saved, state=state, life={}, number=number + 1)
        event = Happened(type=happening, time=now, principal=BY_ITSELF, detail=detail, process=record)
        self.journal.append(
            Entry(process=stored.id, number=number + 1, event=event, saved=over.encode(), finished=True)
        )
        self._table.archives = True

    def _retain(self) -> None:
        settings = self._settings
        most = (settings.events, settings.records)
        if self.database.path is None:
            most = min(most[0], EVENTS_IN_MEMORY), min(most[1], RECORDS_IN_MEMORY)
        keep = Retention(
            events=most[0],
            events_age=int(settings.events_days * 86400e6),
            finished=most[1],
            finished_age=int(settings.records_days * 86400e6),
        )
        self.journal.retain(keep, _now())
        self._retaining = self._reactor.callLater(RETAIN_EVERY, self._retain)

    def close(self, *, keep: bool) -> None:
        """Commit what there is.

        :param keep: there will be another daemon that goes on with it.
        """
        if self._retaining is not None:
            self._retaining.cancel()
            self._retaining = None
        self.journal.close_now()
        if self._pool is not None:
            self._pool.stop()
        path = self.database.path
        if not keep and path is not None and self._settings.state is None:
            for suffix in ("", "-wal", "-shm"):
                try:
                    os.unlink(path + suffix)
                except OSError:
                    # It is only that nobody else will want it.
                    pass


def _was_stopped(saved: Saved, policy: Policy) -> bool:
    """Whether somebody was stopping it, for good, when it was lost."""
    return policy is not Policy.ALWAYS and saved.life.get("stop") is not None and not saved.life.get("again")


def record_from(saved: Saved) -> ProcessRecord:
    """The record of a process that there is nothing left of but what was saved."""
    identity, status = saved.identity, saved.status or ExitStatus()
    return ProcessRecord(
        id=identity.id,
        name=identity.name,
        labels=identity.labels,
        state=saved.state,
        generation=saved.generation,
        argv=identity.argv,
        cwd=identity.cwd,
        pty=identity.pty,
        merge=identity.merge,
        owner=identity.owner,
        created=identity.created,
        started=saved.started,
        exited=saved.exited,
        code=status.code,
        signal=status.signal,
        core=status.core or None,
        key=identity.key,
        digest=identity.digest or None,
    )


def _now() -> int:
    return time.time_ns() // 1000
