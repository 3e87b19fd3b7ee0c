"""Connects a protocol to a UNIX socket; knows no messages."""

from __future__ import annotations

import socket
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from netdaemon.defaults import meaning
from netdaemon.errors import ConnectFailed
from netdaemon.sockets.transport import PacketTransport, StreamTransport

P = TypeVar("P", bound=IProtocol)

# A full backlog says EAGAIN and offers nothing to wait for: ask again after this many seconds, this many times.
RETRY = 0.02
RETRIES = 250


async def connect(reactor: Any, path: str, protocol: P, *, packets: bool = False) -> P:
    """Connect *protocol* to the socket at *path*.

    :param packets: SOCK_SEQPACKET instead of SOCK_STREAM.
    :return: the protocol, connected.
    :raises ConnectFailed: nobody listens there, or not for us.
    """
    kind = socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        for _ in range(RETRIES):
            try:
                sock.connect(path)
                break
            except BlockingIOError:
                await _later(reactor, RETRY)
        else:
            raise ConnectFailed(f"{path}: the daemon there does not accept connections")
    except OSError as error:
        sock.close()
        raise ConnectFailed(f"{path}: {meaning(error)}") from error
    except BaseException:
        sock.close()
        raise
    transport = PacketTransport if packets else StreamTransport
    transport(sock, protocol, reactor, path).begin()
    return protocol


def _later(reactor: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = reactor.callLater(seconds, done.callback, None)
    return done
