"""The daemon that a command is about: where it is, getting through to it, and which process is meant."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import netdaemon
from netdaemon import defaults
from netdaemon.cli.failure import Failure
from netdaemon.cli.named import Target, target

if TYPE_CHECKING:
    from netdaemon.blocking import Client
    from netdaemon.cli.waiting import WaitingClient

T = TypeVar("T")

# Seconds for which a daemon is waited for whose keeper is there: it may be just being started again.
NEXT_WITHIN = 10.0
PROBE_EVERY = 0.05

_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)


class Reach:
    """What the options before the command say.

    :ivar socket: the socket that was named, or None.
    :ivar place: the daemon that was named instead, by a name in the file or as host:port, or None.
    :ivar token_file: where the token is that is to be shown, or None.
    :ivar json: whether to print for programs.
    :ivar autostart: whether to start a daemon where none answers.
    :ivar reconnect: whether to wait for the next daemon when the connection to one is lost.
    """

    def __init__(self) -> None:
        self.socket: str | None = None
        self.place: str | None = None
        self.token_file: str | None = None
        self.json = False
        self.autostart = True
        self.reconnect = True

        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """The daemon that is meant.

        :raises Failure: there is no such daemon, or something is wrong with what the file says of it.
        """
        if self._target is None:
            self._target = target(self.socket, self.place, self.token_file)
        return self._target

    @property
    def named(self) -> str | None:
        """The socket or place that was named, by option, environment or file."""
        return self.target.socket or self.target.place

    @property
    def path(self) -> str:
        """The socket, or ``host:port``."""
        return self.named or defaults.default_socket()

    def connect(self, *, autostart: bool = True) -> WaitingClient:
        """Get through to the daemon; start one for the user if that is allowed and none answers.

        :raises Failure: nobody answers; the message says what to do.
        :raises NetdaemonError: somebody does, and will not talk.
        """
        client = self.try_connect() or self._next_daemon()
        if client is not None:
            return client
        path = self.path
        if self.target.place is not None:
            raise Failure(f"no daemon answers at {path}", "does one run there, with --listen?", word="connect-failed")
        from shlex import join

        from netdaemon.cli.autostart import twistd

        command = [*twistd(), "--nodaemon", "--pidfile=", "netdaemon", f"--socket={path}"]
        by_hand = f"start one: {join(command)}"
        if self.named is not None:
            raise Failure(f"no daemon answers at {path}", by_hand, word="connect-failed")
        if not (autostart and self.autostart):
            raise Failure(f"no daemon answers at {path}", by_hand, word="connect-failed")
        from netdaemon.cli.autostart import start

        return start(path, self.try_connect)

    def keeper(self) -> int | None:
        """The pid of the keeper that has processes for the next daemon at the socket, if there is one."""
        if self.target.place is not None:
            # That machine's affair.
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            try:
                sock.connect(self.path + defaults.KEEPER_SUFFIX)
            except OSError:
                return None
            pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def _next_daemon(self) -> WaitingClient | None:
        """Where a keeper is, a daemon is mostly about to be; None where it is for us to start one, or none is to come.

        :raises Failure: there is a keeper, and no daemon comes.
        """
        keeper = self.keeper()
        if keeper is None or (self.named is None and self.autostart):
            return None
        deadline = time.monotonic() + NEXT_WITHIN
        while time.monotonic() < deadline:
            client = self.try_connect()
            if client is not None or self.keeper() is None:
                return client
            time.sleep(PROBE_EVERY)
        raise Failure(
            f"no daemon answers at {self.path}; its processes go on under their keeper (pid {keeper})",
            f"start a daemon there, or end everything: kill {keeper}",
            word="connect-failed",
        )

    def try_connect(self) -> WaitingClient | None:
        """A client, or None if nobody listens there."""
        from netdaemon.blocking.client import connect_as
        from netdaemon.cli.waiting import WaitingClient
        from netdaemon.errors import ConnectFailed, Untrusted

        path, meant = self.path, self.target
        directory = os.path.dirname(path)
        try:
            if meant.place is not None:
                return connect_as(
                    WaitingClient,
                    "tls:" + meant.place,
                    credentials=meant.credentials,
                    token=meant.token,
                    program=f"ndtool/{netdaemon.__version__}",
                    reconnect=self.reconnect,
                )
            if self.named is None:
                self._check_place(directory)
            return connect_as(
                WaitingClient,
                path,
                token=meant.token,
                program=f"ndtool/{netdaemon.__version__}",
                reconnect=self.reconnect,
                # Whose place it is may have changed since.
                check=partial(defaults.check_directory, directory) if self.named is None else None,
            )
        except ConnectFailed as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _NOBODY:
                return None
            if meant.place is not None:
                hint = "see what a certificate says: ndtool keys show FILE" if isinstance(error, Untrusted) else ""
                raise Failure(str(error), hint, error=error) from error
            hint = f"is that the socket of a daemon of yours? {defaults.SOCKET_VARIABLE} and --socket name another"
            raise Failure(str(error), hint, error=error) from error
        except FileNotFoundError:
            return None

    def _check_place(self, directory: str) -> None:
        try:
            defaults.check_directory(directory)
        except PermissionError as error:
            raise Failure(
                f"{directory}: {error.strerror}",
                f"remove it, or name another place: --socket or {defaults.SOCKET_VARIABLE}",
                error=error,
            ) from error


def with_process(client: Client, process: str, action: Callable[[str], T]) -> T:
    """Do *action* with *process*: an id, a name, or the beginning of exactly one id.

    :raises NoSuchProcess: there is none.
    :raises Failure: several ids begin like that.
    """
    from netdaemon.errors import NoSuchProcess

    try:
        return action(process)
    except NoSuchProcess:
        if not (process.isascii() and process.isalnum()):
            raise
        found = [one.id for one in client.list(f"id={process}*")]
        if not found:
            raise
        if len(found) > 1:
            few = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            raise Failure(
                f"{len(found)} processes have ids that begin with {process!r}: {few}",
                "say more of it",
                word="no-such-process",
            ) from None
        return action(found[0])


def wire_text(text: str) -> str:
    """An argument or path as the protocol takes it: the system's bytes, whatever the locale's encoding is."""
    if text.isascii() or sys.getfilesystemencoding() == "utf-8":
        return text
    return os.fsencode(text).decode("utf-8", "surrogateescape")
