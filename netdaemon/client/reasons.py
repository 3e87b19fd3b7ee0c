"""Why a spawned process is over, as Twisted gives it to ``processExited`` and ``processEnded``; knows no connection."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.error import ProcessDone, ProcessTerminated

from netdaemon.reasons import ended_by
from netdaemon.wire.told import ProcessRecord

T = TypeVar("T", bound=ProcessTerminated)

# What Twisted's own child exits with when it cannot execute its program.
NOT_STARTED_CODE = 1


class ProcessNotStarted(ProcessTerminated):
    """There is no process: the daemon refused, or the program could not be executed; ``__cause__`` says why."""


class ProcessLost(ProcessTerminated):
    """The connection is lost for good: the process goes on, and what becomes of it is not known here."""


def reason_of(record: ProcessRecord) -> ProcessDone | ProcessTerminated:
    """The reason as Twisted gives it."""
    return ended_by(record.code, record.signal, bool(record.core))


def not_started(cause: BaseException | None) -> ProcessNotStarted:
    """There is no process, because of *cause*."""
    return _caused(ProcessNotStarted(NOT_STARTED_CODE, None, NOT_STARTED_CODE << 8), cause)


def lost(cause: BaseException | None) -> ProcessLost:
    """Nothing is known any more, because of *cause*."""
    return _caused(ProcessLost(), cause)


def _caused(error: T, cause: BaseException | None) -> T:
    error.__cause__ = cause
    error.args = (str(cause),)
    return error
