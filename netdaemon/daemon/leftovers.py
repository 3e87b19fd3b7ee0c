"""What processes that have exited have left behind: told, and ended where that is wanted; knows no clients."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from netdaemon.interfaces import ILauncher
from netdaemon.process.record import Process
from netdaemon.wire.told import Happening

# Seconds after an exit in which what descends from it has the time to end, too; those that exit together are seen to
# together.
LOOK_AFTER = 1.0

# Pids that are told of at most; more are counted.
PIDS_TOLD = 16

_log = Logger()


class Leftovers:
    """Looks for them, each time with one scan of all processes of the machine.

    :param reactor: `IReactorTime`.
    """

    def __init__(self, reactor: Any, launcher: ILauncher) -> None:
        self._reactor = reactor
        self._launcher = launcher
        self._exited: list[Process] = []
        self._looking: Any = None

    def of(self, id: str) -> str:
        """The pids of what is left of a process that has exited, in words; empty: nobody."""
        try:
            return _pids(self._launcher.leftovers(id))
        except OSError:
            # No descriptor to look with; they are found when it is started again, or stopped.
            return ""

    def end(self, process: Process) -> None:
        """Kill what its last generation has left behind, and tell whom."""
        try:
            left = self._launcher.leftovers(process.id)
            if left:
                self._launcher.kill_leftovers(process.id)
                process.tell(Happening.LEFTOVER, f"killed: {_pids(left)}")
                process.save()
        except OSError as error:
            _log.error(
                "what process {id} has left behind cannot be ended: {error}", id=process.id, error=error.strerror
            )

    def look_later(self, process: Process) -> None:
        """It has exited of itself: see in a while what it has left behind, and tell of that."""
        self._exited.append(process)
        if self._looking is None:
            self._looking = self._reactor.callLater(LOOK_AFTER, self._look)

    def _look(self) -> None:
        self._looking = None
        exited, self._exited = self._exited, []
        for process in exited:
            if process.removed or not process.finished:
                continue
            left = self.of(process.id)
            if left:
                process.leaves = True
                process.tell(Happening.LEFTOVER, f"still there: {left}")
                process.save()

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


def _pids(pids: list[int]) -> str:
    told = ", ".join(map(str, pids[:PIDS_TOLD]))
    return told if len(pids) <= PIDS_TOLD else f"{told} and {len(pids) - PIDS_TOLD} more"
