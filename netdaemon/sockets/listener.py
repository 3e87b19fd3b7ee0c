"""Accepts connections on a bound UNIX socket, at the limit of descriptors too; knows no messages."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.sockets.transport import PacketTransport, StreamTransport

# Connections that wait for accept: the kernel's own cap is 4,096, and a reconnect storm wants all of it.
BACKLOG = 4096

# Connections accepted at one readiness: a storm must not keep everybody else waiting.
ACCEPTS_A_TURN = 32

# Seconds without accepting when not even the descriptor kept in reserve could help.
PAUSE = 0.5

# Seconds until connections that were turned away are told of in the log again.
TELL_AGAIN = 10.0


class Listener(FileDescriptor):
    """Listens on *bound*, which it owns; the file in the file system is somebody else's to remove.

    :param build: makes the protocol for a new connection; told the listener's kind by its argument.
    :param reactor: `IReactorFDSet` and `IReactorTime`.
    :param transport: what joins a connected socket and its protocol, where it is not a UNIX socket.
    :param address: what that listens on, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        bound: socket.socket,
        build: Callable[[bool], IProtocol],
        reactor: Any,
        *,
        transport: Callable[[socket.socket, IProtocol, Any, str], StreamTransport] | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(reactor)
        self.reactor: Any = reactor
        self._socket = bound
        self._build = build
        self._packets = bound.type == socket.SOCK_SEQPACKET
        self._transport = transport or (PacketTransport if self._packets else StreamTransport)
        self._address = os.fsdecode(bound.getsockname()) if address is None else address
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._paused: Any = None
        self._turned_away = 0
        self._tell_again = 0.0

    def begin(self) -> None:
        """Listen, and accept from now on."""
        self._socket.setblocking(False)
        self._socket.listen(BACKLOG)
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"listener,{self._address}"

    def doRead(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._turn_away()
                elif error.errno in (errno.ENOMEM, errno.ENOBUFS):
                    self._pause()
                # Anything else is the fault of one connection, which is gone.
                return
            self._set_up(sock)

    def _set_up(self, sock: socket.socket) -> None:
        """Make a connection of it; what goes wrong is the end of this one, and of nothing else."""
        transport: StreamTransport | None = None
        try:
            sock.setblocking(False)
            transport = self._transport(sock, self._build(self._packets), self.reactor, self._address)
            transport.begin()
            return
        except OSError as error:
            self._log.warn("a connection could not be set up: {error}", error=error.strerror)
        except Exception:
            self._log.failure("a connection could not be set up")
        if transport is not None:
            # The reactor may know of it by now, and must not take the next one of its number for it.
            transport.connectionLost(Failure(ConnectionAborted()))
        sock.close()

    def _turn_away(self) -> None:
        """No descriptor is left: take the connection with the one in reserve, and close it."""
        os.close(self._reserve)
        try:
            sock, _address = self._socket.accept()
            sock.close()
        except OSError:
            self._pause()
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._reserve = -1
            self._pause()
        self._turned_away += 1
        now = self.reactor.seconds()
        if now >= self._tell_again:
            self._tell_again = now + TELL_AGAIN
            self._log.warn("no descriptor is left for new connections; {count} were closed", count=self._turned_away)
            self._turned_away = 0

    def _pause(self) -> None:
        if self._paused is None:
            self.stopReading()
            self._paused = self.reactor.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        self._paused = None
        if self._reserve < 0:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._pause()
                return
        try:
            self.startReading()
        except OSError:
            # The kernel has no room to watch one more.
            self._pause()

    def close(self) -> None:
        """Stop listening; connections that were made stay."""
        if self.connected:
            self.connectionLost(None)

    def connectionLost(self, reason: Failure | None) -> None:
        self.stopReading()
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        super().connectionLost(reason)
        self._socket.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
