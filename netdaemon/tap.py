"""What `twistd netdaemon` takes and makes: options to a service."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage

from netdaemon.daemon.files import StateUnusable
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import EXITED, GRACE, Settings
from netdaemon.defaults import socket_path
from netdaemon.process.launcher import LocalLauncher
from netdaemon.sockets.binding import DEFAULT_MODE, Bound, CannotBind, bind
from netdaemon.wire.commands import KEEP, KEEP_MAX, KEEP_MIN


def _count(least: int) -> Any:
    def coerce(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(f"{text} is below {least}")
        return value

    return coerce


def _mode(text: str) -> int:
    value = int(text, 8)
    if value & ~0o666:
        raise ValueError(f"{text} is not within 0666")
    return value


class Options(usage.Options):
    """Start, watch, feed and signal long-lived programs for clients on a UNIX socket."""

    synopsis = "[--socket=PATH] [--seqpacket=PATH] [--state=DIR] [options]"

    optParameters = [  # noqa: RUF012  # usage.Options reads it from the class
        ["socket", "s", None, "The socket for clients; the user's runtime directory unless said."],
        ["seqpacket", None, None, "A SOCK_SEQPACKET socket for clients of protocol version 1, besides."],
        ["mode", "m", DEFAULT_MODE, "The sockets' file mode, in octal.", _mode],
        ["state", None, None, "A directory for the output of processes; in memory unless said."],
        ["clients", None, None, "How many may be connected; what the descriptor limit allows unless said.", _count(1)],
        ["processes", None, None, "How many may run; what the descriptor limit allows unless said.", _count(1)],
        ["exited", None, EXITED, "How many finished processes stay listed with their output.", _count(0)],
        ["keep", None, KEEP, f"Bytes of output kept for a process, {KEEP_MIN} to {KEEP_MAX}.", _count(KEEP_MIN)],
        ["grace", None, GRACE, "Seconds from SIGTERM to SIGKILL for the processes when the daemon stops.", float],
    ]

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is not understood; all of netdaemon's arguments are options")

    def postOptions(self) -> None:
        if self["keep"] > KEEP_MAX:
            raise usage.UsageError(f"--keep is {self['keep']}, and at most {KEEP_MAX} is allowed")
        if self["socket"] is None and self["seqpacket"] is None:
            self["socket"] = socket_path()
        for name in ("socket", "seqpacket", "state"):
            if self[name] is not None:
                self[name] = os.path.abspath(self[name])


def makeService(options: Options) -> IService:
    """The service; the sockets are bound already, so that a daemon that cannot have them does not start at all."""
    from twisted.internet import reactor

    bound: list[Bound] = []
    try:
        for name, kind in (("socket", socket.SOCK_STREAM), ("seqpacket", socket.SOCK_SEQPACKET)):
            if options[name] is not None:
                bound.append(bind(options[name], kind, options["mode"]))
    except CannotBind as error:
        for one in bound:
            one.remove()
        raise usage.UsageError(str(error)) from error
    core = IReactorCore(reactor)
    settings = Settings(
        state=options["state"],
        clients=options["clients"],
        processes=options["processes"],
        exited=options["exited"],
        keep=options["keep"],
        grace=options["grace"],
    )
    try:
        return DaemonService(reactor, LocalLauncher(reactor), settings, bound=bound, on_shutdown=core.stop)
    except StateUnusable as error:
        for one in bound:
            one.remove()
        raise usage.UsageError(f"--state: {error}") from error
