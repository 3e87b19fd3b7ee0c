"""One generation of a process, as the IProcessProtocol that its transport tells; translates, decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.interfaces import IOutputProtocol

if TYPE_CHECKING:
    from netdaemon.process.record import Process

_log = Logger()


@implementer(IOutputProtocol)
class Child(ProcessProtocol):
    """Tells a `Process` what becomes of its child."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def outputArrived(self, channel: int, length: int) -> None:
        self._process.output_arrived()

    def outputBlocked(self) -> None:
        self._process.output_blocked()

    def outputFailed(self, error: OSError) -> None:
        _log.warn(
            "output of process {id} cannot be kept ({error}); it waits until there is room",
            id=self._process.id,
            error=error.strerror,
        )

    def outputStuck(self) -> None:
        self._process.holding.let_go()

    def exitSaved(self) -> bool:
        return not self._process.unsaved or self._process.save()

    def outputGivenUp(self, count: int) -> None:
        _log.warn(
            "the disk is full: process {id} has {count} bytes less of its output kept, to make room for newer",
            id=self._process.id,
            count=count,
        )

    def childConnectionLost(self, childFD: int) -> None:
        self._process.channel_closed(childFD)

    def processExited(self, reason: Failure) -> None:
        assert self.transport is not None
        self._process.child_exited(self.transport.status)  # type: ignore[attr-defined]

    def processEnded(self, reason: Failure) -> None:
        # It has this: let go, the two are freed at once.
        self.transport = None
        self._process.child_ended()
