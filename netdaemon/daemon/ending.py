"""Ends processes in order: told first, and killed with all that descends from them after a grace; knows no table."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from netdaemon.errors import Refusal
from netdaemon.interfaces import ILauncher
from netdaemon.process.record import Process
from netdaemon.wire.records import Scope, Until

# Seconds that a declared stop may take at the daemon's end: a service manager kills everything after 90.
PATIENCE = 80.0

_log = Logger()


class Ending:
    """The end of all processes of one daemon: by their own stop if they have declared one.

    :param grace: seconds from SIGTERM to SIGKILL.
    """

    def __init__(self, reactor: Any, launcher: ILauncher, grace: float) -> None:
        self._reactor = reactor
        self._launcher = launcher
        self._grace = grace
        self._killing = False

    def end_all(self, left: Sequence[Process]) -> Deferred[None]:
        """End these: SIGTERM to each one's group, and after the grace SIGKILL to its tree.

        :return: fires when all have exited.
        """
        if not left:
            return succeed(None)
        done: Deferred[None] = Deferred()
        waiting = {process.id for process in left}

        def one_exited(_: Any, id: str) -> None:
            waiting.discard(id)
            if not waiting and not done.called:
                if late.active():
                    late.cancel()
                done.callback(None)

        def kill() -> None:
            _log.warn("{count} processes did not end within the grace; killing them", count=len(waiting))
            self._killing = True
            self._kill([process for process in left if not process.finished])
            for process in left:
                if process.launched is None:
                    # It is not known to run, and is seen to when it is forgotten.
                    one_exited(None, process.id)

        # What has a stop of its own is given the time for that.
        declared = [sum(step.wait or 0 for step in one.identity.stop) / 1000 for one in left if one.identity.stop]
        patience = max(self._grace, min(PATIENCE, max(declared, default=0.0) + 1))
        late = self._reactor.callLater(patience, kill)
        for process in left:
            self.end(process)
        for process in left:
            exited = process.when(Until.EXITED)
            if isinstance(exited, Deferred):
                exited.addBoth(one_exited, process.id)
            else:
                one_exited(None, process.id)
        return done

    def end(self, process: Process) -> None:
        """Tell one process to end, in whatever way it has come to now."""
        if self._killing:
            self._kill([process])
            return
        process.life.interrupt()
        if process.finished or process.life.is_stopping:
            return
        for number in (signal.SIGTERM, signal.SIGCONT):
            _try(process, number)

    def _kill(self, processes: list[Process]) -> None:
        """Kill them and their trees; from here on nobody who reads their output is waited for."""
        try:
            self._launcher.kill_trees([one.launched for one in processes if one.launched is not None])
        except OSError as error:
            _log.error(
                "not all that descends from {count} processes is killed: {error}", count=len(processes), error=error
            )
            for process in processes:
                _try(process, signal.SIGKILL)
        for process in processes:
            process.holding.let_go()


def _try(process: Process, number: int) -> None:
    """Signal its group, if there is one: it may have exited meanwhile, or be only just starting."""
    try:
        process.kill(number, Scope.GROUP)
    except Refusal:
        pass
