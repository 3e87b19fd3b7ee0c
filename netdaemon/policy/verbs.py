"""What can be allowed or denied: one verb for each way of using a daemon."""

from __future__ import annotations

from enum import Enum


class Verb(Enum):
    """What somebody wants to do. All but the last two are done to processes."""

    LIST = "list"
    INSPECT = "inspect"
    EVENTS = "events"
    ATTACH_READ = "attach.read"
    ATTACH_WRITE = "attach.write"
    ATTACH_HOLD = "attach.hold"
    START = "start"
    SIGNAL = "signal"
    STOP = "stop"
    REMOVE = "remove"
    RELOAD = "policy.reload"
    SHUTDOWN = "shutdown"


# Those for which there is no process.
OF_THE_DAEMON = frozenset((Verb.RELOAD, Verb.SHUTDOWN))
