"""The logs of all processes that have one: begun, changed, reopened and ended with them; knows no clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from netdaemon.daemon.process_log import ProcessLog
from netdaemon.daemon.table import ProcessTable
from netdaemon.logs.writer import Position
from netdaemon.process.record import Process
from netdaemon.wire.told import Happening, Logged

_log = Logger()


class Logbooks:
    """One `ProcessLog` for each process that declares one.

    :param threaded: whether files are compressed on a thread, as a daemon does; or at once.
    """

    def __init__(self, reactor: Any, table: ProcessTable, *, threaded: bool) -> None:
        self._reactor = reactor
        self._table = table
        self._threaded = threaded
        self._pool: ThreadPool | None = None
        self._logs: dict[str, ProcessLog] = {}
        table.on_logged = self.follow

    def _in_thread(self, call: Any, *arguments: Any, **named: Any) -> Deferred[Any]:
        if not self._threaded:
            return maybeDeferred(call, *arguments, **named)
        if self._pool is None:
            self._pool = ThreadPool(1, 1, "logs")
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, call, *arguments, **named)

    def follow(self, process: Process) -> None:
        """See to the log that *process* declares now; to none if it declares none, or is gone."""
        spec = process.identity.log
        present = self._logs.get(process.id)
        if present is not None:
            if present.spec == spec and not process.removed:
                return
            present.finish()
            present.close()
            del self._logs[process.id]
        if spec is None or process.removed:
            return

        def save(position: Position) -> None:
            process.logged = position
            process.save()
            if process.finished:
                # It may have been this that it was still listed for.
                self._table.retain()

        def tell(happening: Happening, detail: str) -> None:
            process.tell(happening, detail)
            process.save()
            if happening is Happening.LOG_FAILED:
                _log.error("process {id} cannot be logged: {why}", id=process.id, why=detail)

        position = process.logged
        if position is not None and present is not None and present.spec.path != spec.path:
            # Another file: that one has what was before.
            position = Position(offset=position.offset, lost=position.lost)
        self._logs[process.id] = ProcessLog(
            process,
            spec,
            self._reactor,
            position=position,
            start=process.current.begin if position is None else position.offset,
            save=save,
            tell=tell,
            in_thread=self._in_thread,
        )

    def logged(self, id: str) -> Logged | None:
        """How the log of a process stands; None: it has none."""
        log = self._logs.get(id)
        return None if log is None else log.logged

    def reopen(self) -> None:
        """Open all files again: somebody has moved them."""
        for log in list(self._logs.values()):
            log.reopen()

    def let_go(self, *, finish: bool) -> None:
        """Write no more; the next daemon goes on.

        :param finish: there will be none: what there is is written, as far as that can be done at once.
        """
        for log in list(self._logs.values()):
            if finish:
                log.finish()
            log.close()
        self._logs.clear()
        if self._pool is not None:
            self._pool.stop()
            self._pool = None
