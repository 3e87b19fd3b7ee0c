"""Every error that netdaemon raises, and the words and numbers by which each is known on the wire; knows no message."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from netdaemon.visible import visible

__all__ = [
    "AlreadyAttached",
    "AlreadyExited",
    "BadRequest",
    "ConnectFailed",
    "ConnectionClosed",
    "ConversationAborted",
    "Denied",
    "InternalError",
    "LaunchFailed",
    "LimitReached",
    "LocalProtocolError",
    "NameTaken",
    "NetdaemonError",
    "NoSuchProcess",
    "NotAttached",
    "NotGreeted",
    "NotRunning",
    "NotStopped",
    "ProtocolError",
    "Refusal",
    "RemoteProtocolError",
    "ShuttingDown",
    "SpecDiffers",
    "StdinClosed",
    "StdinFull",
    "StdinHole",
    "TimedOut",
    "TooLarge",
    "UnknownChannel",
    "UnknownCommand",
    "UnknownRefusal",
    "Untrusted",
    "WrongGeneration",
    "refusal",
    "refusal_from_errno",
]


class NetdaemonError(Exception):
    """The root: catch this to catch everything that netdaemon raises."""


class ProtocolError(NetdaemonError):
    """The rules of the wire were broken."""


class LocalProtocolError(ProtocolError):
    """This side was about to break the rules; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules; the connection cannot go on.

    ``errno`` is what an ABORT tells the other side: EBADMSG, or EMSGSIZE where a limit was passed.
    """

    def __init__(self, message: str, number: int = errno.EBADMSG) -> None:
        super().__init__(message)
        self.errno = number


class ConnectionClosed(NetdaemonError):
    """The connection ended before the answer came: whether the request was carried out is unknown."""


class ConversationAborted(ConnectionClosed):
    """The other side ended the connection and said why (ABORT); ``errno`` is its number."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.errno = number


class ConnectFailed(NetdaemonError):
    """No daemon answered at the address."""


class Untrusted(ConnectFailed):
    """One side does not accept the other's certificate, or cannot show one of its own; the message says which, and why.

    Trying again ends the same, until somebody has mended that.
    """


class TimedOut(NetdaemonError):
    """The answer did not come in the time allowed: whether the request was carried out is unknown."""


_by_code: dict[str, type[Refusal]] = {}
_by_errno: dict[int, type[Refusal]] = {}


class Refusal(NetdaemonError):
    """The daemon understood a request and did not carry it out; nothing has changed.

    :param message: what was seen and what is allowed, for a person. It quotes what others have said, and goes to
        terminals and logs: control characters in it are written out.
    :param process: the process it is about, where there is one.
    :param field: the field of the request that is at fault.
    :param stage: how far a launch came.
    :param accepted: how many bytes of stdin were taken before the refusal.
    :param end: the stdin offset after what is safe.
    :param number: the errno, where another than the class's own tells more.
    """

    code: ClassVar[str] = ""
    default_errno: ClassVar[int] = 0

    def __init_subclass__(cls, *, code: str = "", number: int = 0, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if not code:
            return
        if code in _by_code:
            raise TypeError(f"the code {code!r} belongs to {_by_code[code].__name__} already")
        cls.code = code
        cls.default_errno = number
        _by_code[code] = cls
        _by_errno.setdefault(number, cls)

    def __init__(
        self,
        message: str,
        *,
        process: str | None = None,
        field: str | None = None,
        stage: str | None = None,
        accepted: int | None = None,
        end: int | None = None,
        number: int | None = None,
    ) -> None:
        message = visible(message)
        super().__init__(message)
        self.message = message
        self.process = process
        self.field = field
        self.stage = stage
        self.accepted = accepted
        self.end = end
        self.errno = self.default_errno if number is None else number


class NoSuchProcess(Refusal, code="no-such-process", number=errno.ENOENT):
    """No process has this id or name, or it is not yours to see."""


class NameTaken(Refusal, code="name-taken", number=errno.EEXIST):
    """Another process has this name; it is in use until that process is removed."""


class SpecDiffers(Refusal, code="spec-differs", number=errno.ENOTUNIQ):
    """The key is in use for a process that was started from another specification."""


class NotRunning(Refusal, code="not-running", number=errno.ESRCH):
    """This can be done to a running process only, and it has not been started."""


class AlreadyExited(Refusal, code="already-exited", number=errno.EOWNERDEAD):
    """The process has exited: there is nothing to signal or to feed any more."""


class Denied(Refusal, code="denied", number=errno.EACCES):
    """You may not do this."""


class BadRequest(Refusal, code="bad-request", number=errno.EINVAL):
    """A field of the request is unknown, missing, of the wrong type or out of its range; ``field`` names it."""


class TooLarge(Refusal, code="too-large", number=errno.EMSGSIZE):
    """It would not fit into one message: the reply, or the record of what is to be started."""


class StdinFull(Refusal, code="stdin-full", number=errno.EAGAIN):
    """As much input waits for the process as may wait; ``accepted`` says how much of this was taken."""


class StdinClosed(Refusal, code="stdin-closed", number=errno.EPIPE):
    """The process's standard input is closed, by an EOF that was sent or by the process itself."""


class StdinHole(Refusal, code="stdin-hole", number=errno.ESPIPE):
    """``at`` is beyond the end of what has been taken: the bytes between would be missing; ``end`` is the end."""


class LaunchFailed(Refusal, code="launch-failed", number=errno.ENOEXEC):
    """The child could not be set up or executed; ``stage`` says where, ``errno`` why. No child is left."""


class LimitReached(Refusal, code="limit-reached", number=errno.EDQUOT):
    """A limit of the daemon stands against it; the message says which, and what would help."""


class WrongGeneration(Refusal, code="wrong-generation", number=errno.ESTALE):
    """The process has been started anew since: this was meant for an earlier run."""


class NotStopped(Refusal, code="not-stopped", number=errno.ETIME):
    """All steps of its stop have been taken, and the process still runs."""


class UnknownCommand(Refusal, code="unknown-command", number=errno.EOPNOTSUPP):
    """The daemon does not know this command; it is older than the client, or the command is no request."""


class ShuttingDown(Refusal, code="shutting-down", number=errno.ESHUTDOWN):
    """The daemon is stopping and takes no new requests."""


class AlreadyAttached(Refusal, code="already-attached", number=errno.EALREADY):
    """A version-1 connection is attached to one process at most, and this one is already."""


class NotAttached(Refusal, code="not-attached", number=errno.ECHILD):
    """The request is about an attachment, and this connection has none of that id."""


class UnknownChannel(Refusal, code="unknown-channel", number=errno.ECHRNG):
    """There is no such channel, or nothing can be sent to it."""


class NotGreeted(Refusal, code="not-greeted", number=errno.EBADMSG):
    """HELLO comes first."""


class InternalError(Refusal, code="internal-error", number=errno.EIO):
    """The daemon failed at this request; its log has the traceback. Other requests are not touched by it."""


class UnknownRefusal(Refusal):
    """The daemon refused with a code that this client does not know; ``code`` is that word."""

    def __init__(self, message: str, *, code: str = "", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.code = code  # type: ignore[misc]  # the one class whose code comes from the wire


def refusal(code: str, message: str, **details: Any) -> Refusal:
    """The refusal that a code on the wire stands for; details as for `Refusal`."""
    known = _by_code.get(code)
    if known is None:
        return UnknownRefusal(message, code=code, **details)
    return known(message, **details)


def refusal_from_errno(number: int, message: str) -> Refusal:
    """The refusal that an errno stands for where only numbers travel: version 1, and an ABORT before HELLO."""
    known = _by_errno.get(number)
    if known is None:
        return UnknownRefusal(message, number=number)
    return known(message, number=number)
