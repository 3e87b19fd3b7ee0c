"""From an endpoint's name to a connected client; knows the forms of names, and how long to wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from netdaemon.client.client import Client
from netdaemon.client.reconnecting import PATIENCE
from netdaemon.client.session import Session
from netdaemon.defaults import socket_path
from netdaemon.errors import ConnectionClosed, TimedOut
from netdaemon.sockets import connector
from netdaemon.trust.credentials import Credentials
from netdaemon.trust.places import place_of
from netdaemon.wire.answers import Welcome

# Seconds for connecting and HELLO: longer than a daemon that has just been restarted under load takes.
TIMEOUT = 10.0

PACKETS = "unix-seqpacket:"

FORMS = "unix:/path, tls:host:port, or unix-seqpacket:/path for version 1 of the protocol"


def connect(
    reactor: Any,
    endpoint: str | None = None,
    *,
    credentials: Credentials | None = None,
    token: bytes | str | None = None,
    version: int | None = None,
    timeout: float | None = TIMEOUT,
    reconnect: bool = True,
    patience: float | None = PATIENCE,
    on_disconnected: Callable[[ConnectionClosed], object] | None = None,
    on_reconnected: Callable[[Welcome], object] | None = None,
) -> Deferred[Client]:
    """Connect to a daemon.

    A daemon that has been killed or is restarted while its processes go on is connected to again, by the client itself:
    see `Client`. The first connection is tried for once.

    :param reactor: `IReactorTime` and `IReactorFDSet`; to look up a host's name `IReactorThreads`.
    :param endpoint: ``unix:/path``; ``tls:host:port``, where a host of IPv6 is in brackets; or
        ``unix-seqpacket:/path``, where version 1 is spoken. None: the socket that ndtool and a daemon without options
        use (see `netdaemon.defaults`).
    :param credentials: what is shown to a daemon at ``tls:...``, and by what it is known; needed there, and only there.
    :param token: what to show the daemon besides, where its policy knows tokens.
    :param version: the highest version of the protocol to offer: 2 unless said; 1 for a daemon of 2009. What an older
        version cannot say fails with LocalProtocolError.
    :param timeout: seconds in which the daemon must have answered HELLO; None: as long as it takes.
    :param reconnect: whether to connect again when the connection is lost. Over version 1, it never is.
    :param patience: seconds after a loss for which that is tried; None: for ever.
    :param on_disconnected: called with the reason when the connection is lost and another one is tried for.
    :param on_reconnected: called with what the daemon said to HELLO when there is another one.
    :return: fires with the client. Cancelling it closes the connection.
    :raises ValueError: there is no such endpoint or version, or the credentials are missing.
    :raises ConnectFailed: (errback) nobody listens there, or not for us.
    :raises Untrusted: (errback) the daemon is not the one that was meant, or does not accept our certificate.
    :raises Denied, LimitReached: (errback) the daemon does not let us in.
    :raises ConnectionClosed: (errback) it hung up.
    :raises TimedOut: (errback) it did not answer in time.
    """
    if endpoint is None:
        endpoint = "unix:" + socket_path()
    if version not in (None, 1, 2):
        raise ValueError(f"version {version}; 1 and 2 are known")
    link = _link(reactor, endpoint, credentials, version)
    packets = endpoint.startswith(PACKETS)
    shown = token.encode() if isinstance(token, str) else token

    def dial() -> Deferred[Session]:
        session = Session(reactor, version=version or (1 if packets else 2), packets=packets, token=shown)
        connecting = Deferred.fromCoroutine(_connect(link, session))
        if timeout is not None:
            connecting.addTimeout(timeout, reactor, lambda _, seconds: _too_late(endpoint, seconds))
        return connecting

    def connected(session: Session) -> Client:
        return Client(
            session,
            dial=dial if reconnect else None,
            patience=patience,
            on_disconnected=on_disconnected,
            on_reconnected=on_reconnected,
        )

    return dial().addCallback(connected)


def _link(
    reactor: Any, endpoint: str, credentials: Credentials | None, version: int | None
) -> Callable[[Session], Coroutine[Any, Any, Session]]:
    """What connects a session to *endpoint*."""
    kind, _, path = endpoint.partition(":")
    if kind == "tls":
        place = place_of(endpoint)
        if credentials is None:
            raise ValueError(f"the endpoint {endpoint!r} needs credentials: certificate, key, and authority or pin")
        try:
            # Few need it, and it is not installed with the rest.
            from netdaemon.tls import dialling
        except ModuleNotFoundError as error:
            raise ValueError(f"{endpoint} needs {error.name}: pip install 'netdaemon[tls]'") from error
        return lambda session: dialling.connect(reactor, place, session, credentials)
    if kind not in ("unix", "unix-seqpacket") or not path:
        raise ValueError(f"the endpoint {endpoint!r} is not of the form {FORMS}")
    if credentials is not None:
        raise ValueError(f"the endpoint {endpoint!r} takes no credentials: the kernel tells who connects")
    packets = kind == "unix-seqpacket"
    if packets and version == 2:
        raise ValueError("version 2 of the protocol is not spoken on a SOCK_SEQPACKET socket; use unix:/path")
    return lambda session: connector.connect(reactor, os.path.expanduser(path), session, packets=packets)


async def _connect(link: Callable[[Session], Coroutine[Any, Any, Session]], session: Session) -> Session:
    await link(session)
    try:
        await session.greeted()
    except BaseException:
        session.abort()
        raise
    return session


def _too_late(endpoint: str, seconds: float) -> None:
    raise TimedOut(f"{endpoint}: the daemon did not answer HELLO within {seconds:g} seconds") from CancelledError()
