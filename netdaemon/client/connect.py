"""From an endpoint's name to a connected client; knows the forms of names, and how long to wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from netdaemon.client.client import Client
from netdaemon.client.reconnecting import PATIENCE
from netdaemon.client.session import Session
from netdaemon.defaults import socket_path
from netdaemon.errors import ConnectionClosed, TimedOut
from netdaemon.sockets import connector
from netdaemon.wire.answers import Welcome

# Seconds for connecting and HELLO: longer than a daemon that has just been restarted under load takes.
TIMEOUT = 10.0

FORMS = "unix:/path, or unix-seqpacket:/path for version 1 of the protocol"


def connect(
    reactor: Any,
    endpoint: str | None = None,
    *,
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

    :param reactor: `IReactorTime` and `IReactorFDSet`.
    :param endpoint: ``unix:/path``, or ``unix-seqpacket:/path``, where version 1 is spoken. None: the socket that
        ndtool and a daemon without options use (see `netdaemon.defaults`).
    :param version: the highest version of the protocol to offer: 2 unless said; 1 for a daemon of 2009. What an older
        version cannot say fails with LocalProtocolError.
    :param timeout: seconds in which the daemon must have answered HELLO; None: as long as it takes.
    :param reconnect: whether to connect again when the connection is lost. Over version 1, it never is.
    :param patience: seconds after a loss for which that is tried; None: for ever.
    :param on_disconnected: called with the reason when the connection is lost and another one is tried for.
    :param on_reconnected: called with what the daemon said to HELLO when there is another one.
    :return: fires with the client. Cancelling it closes the connection.
    :raises ValueError: there is no such endpoint or version.
    :raises ConnectFailed: (errback) nobody listens there, or not for us.
    :raises Denied, LimitReached: (errback) the daemon does not let us in.
    :raises ConnectionClosed: (errback) it hung up.
    :raises TimedOut: (errback) it did not answer in time.
    """
    if endpoint is None:
        endpoint = "unix:" + socket_path()
    kind, _, path = endpoint.partition(":")
    if kind not in ("unix", "unix-seqpacket") or not path:
        raise ValueError(f"the endpoint {endpoint!r} is not of the form {FORMS}")
    if version not in (None, 1, 2):
        raise ValueError(f"version {version}; 1 and 2 are known")
    packets = kind == "unix-seqpacket"
    if packets and version == 2:
        raise ValueError("version 2 of the protocol is not spoken on a SOCK_SEQPACKET socket; use unix:/path")
    place = os.path.expanduser(path)

    def dial() -> Deferred[Session]:
        session = Session(reactor, version=version or (1 if packets else 2), packets=packets)
        connecting = Deferred.fromCoroutine(_connect(reactor, place, session, packets))
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


async def _connect(reactor: Any, path: str, session: Session, packets: bool) -> Session:
    await connector.connect(reactor, path, session, packets=packets)
    try:
        await session.greeted()
    except BaseException:
        session.abort()
        raise
    return session


def _too_late(endpoint: str, seconds: float) -> None:
    raise TimedOut(f"{endpoint}: the daemon did not answer HELLO within {seconds:g} seconds") from CancelledError()
