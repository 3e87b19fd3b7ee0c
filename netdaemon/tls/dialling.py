"""Connects a protocol to a daemon by TLS, and finds out that it is the one that was meant; knows no messages."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from netdaemon.errors import ConnectFailed, NetdaemonError, Untrusted
from netdaemon.tls.contexts import CannotUse, client_context, found
from netdaemon.tls.identity import check_daemon
from netdaemon.tls.transport import ClientTransport, TlsTransport, reason_of
from netdaemon.trust.credentials import Credentials
from netdaemon.trust.places import Place
from netdaemon.trust.sockets import prepare
from netdaemon.trust.words import broken, found_wrong, meaning, refused_by_daemon

P = TypeVar("P", bound=IProtocol)


async def connect(reactor: Any, place: Place, protocol: P, credentials: Credentials) -> P:
    """Connect *protocol* to the daemon at *place*.

    :param reactor: `IReactorFDSet`, `IReactorTime`, and for names `IReactorThreads`.
    :return: the protocol, connected; the daemon is known, and whether it wants us only its answer to HELLO tells.
    :raises ConnectFailed: nobody listens there.
    :raises Untrusted: it is not the daemon that was meant, or our own certificate is of no use.
    """
    try:
        context = client_context(credentials)
    except CannotUse as error:
        raise Untrusted(f"{place}: {error}") from error
    sock = await _connected(reactor, place)
    made: Deferred[None] = Deferred()
    connection = SSL.Connection(context, sock)
    connection.set_connect_state()
    if not place.is_address:
        connection.set_tlsext_host_name(place.host.encode("idna"))

    def completed(transport: TlsTransport) -> None:
        try:
            check_daemon(connection, place, credentials)
        except Untrusted as error:
            raise Untrusted(f"{place}: {error}") from None
        waiting.protocol = protocol
        protocol.makeConnection(transport)
        made.callback(None)

    waiting = _Waiting(made, place)
    explain = partial(_explain, connection, place, credentials)
    transport = ClientTransport(sock, waiting, reactor, str(place), connection, completed, explain)  # type: ignore[arg-type]
    transport.begin()
    try:
        await made
    except CancelledError:
        transport.abortConnection()
        raise
    return protocol


class _Waiting:
    """In the protocol's place until the handshake is completed, and for good if it is not."""

    def __init__(self, made: Deferred[None], place: Place) -> None:
        self.protocol: Any = None
        self._place = place
        self._made = made

    def dataReceived(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        if self.protocol is not None:
            self.protocol.connectionLost(reason)
        elif not self._made.called:
            error = reason.value
            if not isinstance(error, NetdaemonError):
                error = ConnectFailed(f"{self._place}: the daemon closed the connection in the middle of the handshake")
                error.__cause__ = ConnectionResetError(errno.ECONNRESET, "closed")
            self._made.errback(error)


def _explain(connection: SSL.Connection, place: Place, credentials: Credentials, error: SSL.Error) -> NetdaemonError:
    number = found(connection)
    if number:
        why = found_wrong(number, "the daemon's", credentials.authority_file)
    else:
        reason = reason_of(error)
        why = refused_by_daemon(reason) or broken(reason)
    return Untrusted(f"{place}: {why}")


async def _connected(reactor: Any, place: Place) -> socket.socket:
    """A socket that is connected to the first of the place's addresses that takes it."""
    try:
        addresses = await _addresses(reactor, place)
    except OSError as error:
        raise ConnectFailed(f"{place}: {error.strerror}") from error
    last: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)
            prepare(sock)
            number = sock.connect_ex(address)
            if number == errno.EINPROGRESS:
                number = await _Connecting(sock, reactor).done
            if not number:
                return sock
            last = OSError(number, os.strerror(number))
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise ConnectFailed(f"{place}: {meaning(last)}") from last


async def _addresses(reactor: Any, place: Place) -> list[tuple[int, Any]]:
    def look_up() -> list[tuple[int, Any]]:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    if place.is_address:
        return look_up()
    looking: Deferred[list[tuple[int, Any]]] = deferToThreadPool(reactor, reactor.getThreadPool(), look_up)
    return await looking


class _Connecting(FileDescriptor):
    """Waits until the kernel has connected *sock*, or given up.

    :ivar done: fires with 0, or with the errno.
    """

    def __init__(self, sock: socket.socket, reactor: Any) -> None:
        super().__init__(reactor)
        self._sock = sock
        self.done: Deferred[int] = Deferred(lambda _: self.stopWriting())
        self.startWriting()

    def fileno(self) -> int:
        return self._sock.fileno()

    def doWrite(self) -> None:
        self.stopWriting()
        self.done.callback(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Failure) -> None:
        # An error comes out as the end, from a reactor that looks for that first.
        self.stopWriting()
        if not self.done.called:
            self.done.callback(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED)
