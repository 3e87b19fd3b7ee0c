"""The table of responders, one for each request, and what several of them need; answers nothing itself.

A responder translates, asks whether that may be, delegates, and translates back; it decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from netdaemon.daemon.database import Stored
from netdaemon.daemon.peer import Peer
from netdaemon.process.record import Process
from netdaemon.wire.answers import Reply
from netdaemon.wire.commands import Request

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService

Answer = Reply | Deferred[Any]
Responder = Callable[["DaemonService", Peer, int, Any], Answer]

RESPONDERS: dict[type[Request], Responder] = {}


def responds_to(declaration: type[Request]) -> Callable[[Responder], Responder]:
    """Enter a responder in the table; a second one for the same request is a mistake."""

    def enter(responder: Responder) -> Responder:
        if declaration in RESPONDERS:
            raise TypeError(f"{declaration.__name__} has a responder already")
        RESPONDERS[declaration] = responder
        return responder

    return enter


def known_as(daemon: DaemonService, process: str) -> Process | Stored:
    """The process of this id or name, or what is left of it: its record. Whoever asks is to be judged on it next.

    :raises NoSuchProcess: there is none.
    """
    stored = None if daemon.table.has(process) else daemon.records.stored(process)
    return daemon.table.find(process) if stored is None else stored
