"""Listens by TCP for clients that show certificates, and reads the files for that anew; knows no policy."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from zope.interface import implementer

from netdaemon.errors import NetdaemonError, Untrusted
from netdaemon.interfaces import IPort
from netdaemon.sockets.binding import CannotBind
from netdaemon.sockets.listener import BACKLOG, Listener
from netdaemon.tls.contexts import CannotUse, daemon_context, found
from netdaemon.tls.endpoint import Listen
from netdaemon.tls.identity import client_of
from netdaemon.tls.transport import DaemonTransport, TlsTransport, reason_of
from netdaemon.trust.pins import read_pins
from netdaemon.trust.words import found_wrong

# Seconds until clients that were refused are told of in the log again.
TELL_AGAIN = 10.0

_log = Logger()


@implementer(IPort)
class TlsPort:
    """A bound TCP socket, and what is shown to and wanted of whoever connects.

    :raises CannotUse: a file is of no use.
    :raises CannotBind: the address cannot be had.
    """

    def __init__(self, said: Listen) -> None:
        self._said = said
        self._context, self._pins = self._read()
        self._refused = 0
        self._tell_again = 0.0
        self._socket = _bind(said.interface, said.port)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _read(self) -> tuple[SSL.Context, frozenset[str] | None]:
        said = self._said
        context = daemon_context(said.certificate, said.key, said.authority)
        if said.pins is None:
            return context, None
        try:
            return context, read_pins(said.pins)
        except OSError as error:
            raise CannotUse(f"pins {said.pins}: {error.strerror}") from error
        except ValueError as error:
            raise CannotUse(f"pins {error}") from error

    def reload(self) -> None:
        """Read all files anew. Connections that there are live on as they are; who asks anew whose they are is told by
        the pins that there are now.

        :raises CannotUse: one of them is of no use, and all stays as it was.
        """
        self._context, self._pins = self._read()

    def listen(self, build: Callable[[bool], IProtocol], reactor: Any) -> Listener:
        """Accept from now on; the socket is the listener's from here on."""
        listener = Listener(self._socket, build, reactor, transport=self._transport, address=self.address)
        listener.begin()
        return listener

    def remove(self) -> None:
        """Nobody is to listen here after all."""
        self._socket.close()

    def _transport(self, sock: socket.socket, protocol: IProtocol, reactor: Any, address: str) -> DaemonTransport:
        connection = SSL.Connection(self._context, sock)
        connection.set_accept_state()
        return DaemonTransport(
            sock,
            protocol,
            reactor,
            address,
            connection,
            _known,
            partial(self._explain, connection, reactor, _peer(sock)),
            identify=self._identify,
        )

    def _identify(self, connection: SSL.Connection) -> tuple[str, tuple[str, ...]]:
        return client_of(connection, signed=self._said.authority is not None, pins=self._pins)

    def _explain(self, connection: SSL.Connection, reactor: Any, peer: str, error: SSL.Error) -> NetdaemonError:
        """Tell the log why a client was refused, now and then; the client has been told by TLS."""
        number = found(connection)
        reason = reason_of(error)
        why = found_wrong(number, "the client's", self._said.authority) if number else reason
        self._refused += 1
        now = reactor.seconds()
        if now >= self._tell_again:
            self._tell_again = now + TELL_AGAIN
            others = f" ({self._refused - 1} others since the last of these lines)" if self._refused > 1 else ""
            self._refused = 0
            _log.warn("{peer} was refused: {why}{others}", peer=peer, why=why, others=others)
        return Untrusted(why)


def _known(transport: TlsTransport) -> None:
    transport.protocol.handshakeCompleted()  # type: ignore[attr-defined]


def _peer(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "somebody who has gone"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # Two may be bound to a port; who listens there is found out now, when it can be told.
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotBind(f"tls:{port} on {host}: {os.strerror(error.errno or 0)}") from error
    return sock
