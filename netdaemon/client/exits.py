"""Who waits for the exit of a remote process, and the daemon's word for it if it is not told; knows no attachment."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.errors import LocalProtocolError
from netdaemon.wire.answers import OfProcess
from netdaemon.wire.told import ProcessRecord

_log = Logger()


class Exits:
    """The Deferreds of those who wait.

    :param wait: has the daemon tell when the process has exited.
    :param exited: called with what it told.
    :param is_told: whether the exit is told without that, in its turn.
    """

    def __init__(
        self,
        wait: Callable[[], Deferred[OfProcess]],
        exited: Callable[[ProcessRecord], None],
        is_told: Callable[[], bool],
    ) -> None:
        self._wait = wait
        self._exited = exited
        self._is_told = is_told
        self._waiting: list[Deferred[ProcessRecord]] = []
        self._asked = False

    def add(self) -> Deferred[ProcessRecord]:
        """One more who waits. Cancelling it stops that and nothing else."""
        waiting: Deferred[ProcessRecord] = Deferred(self._without)
        self._waiting.append(waiting)
        return waiting

    def _without(self, gone: Deferred[ProcessRecord]) -> None:
        self._waiting = [one for one in self._waiting if one is not gone]

    def ask(self) -> None:
        """If anybody waits: the exit comes after output that does not come at present, so have it told apart."""
        if self._asked or not self._waiting:
            return
        self._asked = True
        asking = self._wait()
        asking.addCallbacks(self._answered, self._unknown)
        asking.addErrback(lambda failure: _log.failure("an exit could not be told", failure))

    def _answered(self, reply: OfProcess) -> None:
        self._asked = False
        self._exited(reply.process)

    def _unknown(self, failure: Failure) -> None:
        self._asked = False
        if self._is_told() and failure.check(LocalProtocolError):
            # Version 1 has no WAIT: the status comes in its turn.
            return
        assert failure.value is not None
        self.fail(failure.value)

    def tell(self, record: ProcessRecord) -> None:
        """It has exited."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(record)

    def fail(self, error: BaseException) -> None:
        """Nobody will know."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(error)
