"""The back end of a hosting panel: a table in PostgreSQL says which servers are wanted, and tells how they are.

python examples/panel_postgres.py "dbname=panel" [unix:/run/user/1000/netdaemon/netdaemon.sock]

docs/panel.rst explains it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psycopg
from psycopg.rows import dict_row
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon import (
    Client,
    ConnectionClosed,
    Happened,
    Happening,
    NetdaemonError,
    NoSuchProcess,
    SpecDiffers,
    State,
    Step,
    WrongGeneration,
    connect,
)
from netdaemon.wire.told import ProcessRecord

SCHEMA = Path(__file__).with_suffix(".sql")

# Seconds until what went wrong with a server is tried again.
RETRY = 10.0

# Seconds until the next session is begun, where the database or the daemon cannot be reached.
PAUSE = 0.5

# Servers that something is done with at a time: half of what a daemon lets one connection ask.
AT_ONCE = 500

# The processes that are ours, among all those of the daemon.
OURS = "label.db_id=*"

HOW_IT_IS = """
UPDATE servers SET process = %(process)s, state = %(state)s, generation = %(generation)s, pid = %(pid)s,
    code = %(code)s, signal = %(signal)s, last_event = to_timestamp(%(time)s),
    since = CASE WHEN state = %(state)s THEN since ELSE to_timestamp(%(time)s) END
WHERE id = %(server)s
"""
WHAT_HAPPENED = """
INSERT INTO history (server, process, generation, type, time, principal, detail, cursor)
VALUES (%(server)s, %(id)s, %(generation)s, %(type)s, to_timestamp(%(time)s), %(principal)s, %(detail)s, %(cursor)s)
"""
GONE = "UPDATE servers SET process = NULL, pid = NULL, state = 'removed' WHERE id = %(id)s AND process IS NOT NULL"
RETIRE = "UPDATE servers SET retired = %(run)s WHERE id = %(id)s AND retired IS NULL"
TROUBLE = "UPDATE servers SET trouble = %(text)s WHERE id = %(id)s AND trouble IS DISTINCT FROM %(text)s"

T = TypeVar("T")
P = ParamSpec("P")


class AnotherPanel(Exception):
    """The database has a panel already."""


def key_of(id: int) -> str:
    """What makes a process that of a row, and of no other, for as long as there is the process."""
    return f"panel/{id}"


def name_of(id: int) -> str:
    """What a row's process is found by."""
    return f"server-{id}"


def server_of(record: ProcessRecord) -> int | None:
    """The row that a process is of."""
    panel, _, id = (record.key or "").partition("/")
    return int(id) if panel == "panel" and id.isdecimal() else None


def run_of(record: ProcessRecord) -> str:
    """A generation of a process: there is never another with the same word."""
    return f"{record.id}/{record.generation}"


def spec_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a row wants to be run, as START and CHANGE take it."""
    spec = {column: row[column] for column in ("argv", "env", "cwd", "restart")}
    if row["stop"] is not None:
        texts = [step | ({"stdin": step["stdin"].encode()} if "stdin" in step else {}) for step in row["stop"]]
        spec["stop"] = [Step(**step) for step in texts]
    return spec | {"name": name_of(row["id"]), "labels": {"db_id": str(row["id"]), "title": row["name"]}}


class Database:
    """The tables. It blocks: all of it is called in one thread, one call after the other."""

    def __init__(self, conninfo: str) -> None:
        with ExitStack() as opened:
            connected = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)
            self._connection = opened.enter_context(closing(connected))
            # It is the connection that writes which has the lock: nobody writes after it has lost that.
            if not self.ask("SELECT pg_try_advisory_lock(hashtext('netdaemon panel')) AS ours")[0]["ours"]:
                raise AnotherPanel("another panel works on this database")
            if self.ask("SELECT to_regclass('servers') AS found")[0]["found"] is None:
                with self._connection.transaction():
                    self._connection.execute(SCHEMA.read_bytes())
            self.bell = opened.enter_context(closing(psycopg.connect(conninfo, autocommit=True)))
            self.bell.execute("LISTEN servers")
            self.close = opened.pop_all().close

    def ask(self, question: str, **values: object) -> list[dict[str, Any]]:
        answer = self._connection.execute(question.encode(), values)
        return answer.fetchall() if answer.description else []

    def store(self, event: Happened) -> int | None:
        """Take in what has happened, and that it was told: both or neither. Whose it is."""
        record, server = event.process, server_of(event.process)
        # A snapshot is of no time of its own.
        time = event.time or max(filter(None, (record.created, record.started, record.exited)), default=0)
        values: dict[str, Any] = {name: getattr(event, name) for name in ("principal", "detail", "cursor")}
        values |= {name: getattr(record, name) for name in ("id", "generation", "pid", "code", "signal")}
        values |= {"server": server, "process": record.id, "state": record.state.value}
        values |= {"type": event.type.value, "time": time / 1e6}
        if event.type is Happening.REMOVED:
            values |= {"process": None, "state": "removed"}
        with self._connection.transaction():
            if server is not None:
                self.ask(HOW_IT_IS, **values)
            if server is not None and not event.snapshot:
                self.ask(WHAT_HAPPENED, **values)
            if event.cursor:
                self.ask("UPDATE cursor SET cursor = %(cursor)s", cursor=event.cursor)
        return server


@implementer(IReadDescriptor)
class Bell:
    """Calls with the id of each row that has changed, as the reactor finds that the database has told it."""

    def __init__(
        self, connection: psycopg.Connection, changed: Callable[[int], None], lost: Callable[[Failure], None]
    ) -> None:
        self._connection = connection.pgconn
        # The database's library closes its own as soon as the connection is lost, and a reactor must not watch that.
        self._fileno = os.dup(connection.fileno())
        self._changed = changed
        self.connectionLost = lost

    def fileno(self) -> int:
        return self._fileno

    def close(self) -> None:
        os.close(self._fileno)

    def doRead(self) -> None:
        try:
            self._connection.consume_input()
        except psycopg.Error:
            self.connectionLost(Failure())
            return
        while (notification := self._connection.notifies()) is not None:
            self._changed(int(notification.extra))

    def logPrefix(self) -> str:
        return "bell"


class Panel:
    """A session: as long as there is the database, and a daemon that can be come back to."""

    def __init__(self, reactor: Any, database: Database, client: Client) -> None:
        self._reactor = reactor
        self._database = database
        self._client = client
        self._looking: set[int] = set()
        self._again: set[int] = set()
        self._troubled: set[int] = set()
        self._turns = DeferredSemaphore(AT_ONCE)
        self._over: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Work until something is lost.

        :raises psycopg.Error, NetdaemonError: what was.
        """
        bell = Bell(self._database.bell, self.look, self._fail)
        self._reactor.addReader(bell)
        retrying = LoopingCall(lambda: self._look_at(self._troubled))
        retrying.clock = self._reactor
        retrying.start(RETRY, now=False).addErrback(self._fail)
        following = Deferred.fromCoroutine(self._follow()).addErrback(self._fail)
        try:
            await self._over
        finally:
            self._reactor.removeReader(bell)
            bell.close()
            retrying.stop()
            await self._client.disconnect()
            await following

    def _fail(self, failure: Failure) -> None:
        if not self._over.called:
            self._over.errback(failure)

    def _do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args, **kwargs)

    # What the daemon tells goes into the table.

    async def _follow(self) -> None:
        [row] = await self._do(self._database.ask, "SELECT cursor FROM cursor")
        watch = await self._client.watch(OURS, since=row["cursor"], on_fresh=self._look_at_all)
        self._look_at_all()
        async for event in watch:
            server = await self._do(self._database.store, event)
            if server is not None:
                self.look(server)
        raise ConnectionClosed("the daemon has ended the watch")

    # What the table wants is made so at the daemon.

    def _look_at_all(self) -> None:
        Deferred.fromCoroutine(self._find_all()).addErrback(self._fail)

    async def _find_all(self) -> None:
        rows = await self._do(self._database.ask, "SELECT id FROM servers")
        records = await self._client.list(OURS)
        self._look_at({row["id"] for row in rows} | {id for id in map(server_of, records) if id is not None})

    def _look_at(self, ids: set[int]) -> None:
        for id in tuple(ids):
            self.look(id)

    def look(self, id: int) -> None:
        """Look whether a server is as it is wanted, and see to it. Too often does no harm."""
        self._again.add(id)
        if id not in self._looking:
            self._looking.add(id)
            Deferred.fromCoroutine(self._look(id)).addErrback(self._fail)

    async def _look(self, id: int) -> None:
        while id in self._again and not self._over.called:
            self._again.discard(id)
            trouble = None
            try:
                async with self._turns:
                    await self._step(id)
            except (ConnectionClosed, NoSuchProcess, WrongGeneration):
                # Perhaps it was done, or somebody else was quicker: what is so now decides.
                self._again.add(id)
                continue
            except psycopg.Error:
                raise
            except Exception as error:
                # Whatever is wrong with one server, or with what its row says, the others are well.
                trouble = str(error) or repr(error)
            await self._do(self._database.ask, TROUBLE, id=id, text=trouble)
            (self._troubled.discard if trouble is None else self._troubled.add)(id)
        self._looking.discard(id)

    async def _step(self, id: int) -> None:
        """One step towards what is wanted; the event that it causes brings the next."""
        rows = await self._do(self._database.ask, "SELECT * FROM servers WHERE id = %(id)s", id=id)
        wanted = rows[0]["wanted"] if rows else "absent"
        record = await self._record(id)
        if record is None:
            await self._do(self._database.ask, GONE, id=id)
        if wanted == "running":
            await self._run(rows[0], record)
        elif record is not None and record.state not in (State.EXITED, State.FAILED):
            await self._client.stop(record.id)
        elif record is not None and wanted == "absent":
            await self._client.remove(record.id)

    async def _record(self, id: int) -> ProcessRecord | None:
        try:
            record = await self._client.inspect(name_of(id))
        except NoSuchProcess:
            return None
        return record if record.key == key_of(id) else None

    async def _run(self, row: dict[str, Any], record: ProcessRecord | None) -> None:
        spec, retired = spec_of(row), row["retired"]
        if retired is None:
            retired = "" if record is None else run_of(record)
            await self._do(self._database.ask, RETIRE, id=row["id"], run=retired)
        try:
            record = (await self._client.start(**spec, key=key_of(row["id"]), attach=False)).record
        except SpecDiffers as difference:
            record = (await self._client.change(str(difference.process), **spec, whole=True)).process
        if run_of(record) == retired:
            await self._client.restart(record.id, generation=record.generation)


async def main(reactor: Any, conninfo: str, endpoint: str | None = None) -> None:
    # In one thread, what is asked of the database is done in that order.
    reactor.suggestThreadPoolSize(1)
    threads = reactor.getThreadPool()
    while True:
        try:
            database = await deferToThreadPool(reactor, threads, Database, conninfo)
            try:
                client = await connect(reactor, endpoint, patience=None)
                await Panel(reactor, database, client).run()
            finally:
                await deferToThreadPool(reactor, threads, database.close)
        except (psycopg.Error, NetdaemonError, AnotherPanel) as error:
            print(f"panel: {error}; it is tried again in {PAUSE:g} seconds", file=sys.stderr, flush=True)
        await deferLater(reactor, PAUSE)


if __name__ == "__main__":
    react(main, sys.argv[1:])
