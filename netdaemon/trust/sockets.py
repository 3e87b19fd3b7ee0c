"""How TCP sockets are set up on both sides: sent at once, and found out when the other machine is gone."""

from __future__ import annotations

import socket

# Seconds of silence until the kernel asks whether the other side is there, seconds between two questions, how many, and
# milliseconds for which what was sent may be unacknowledged: a machine that is gone says nothing.
KEEPALIVE = (60, 15, 4)
UNACKNOWLEDGED = 120_000

# Attempts of the kernel to reach a host that does not answer: some 15 seconds, and then the next address has its turn.
ATTEMPTS = 3


def prepare(sock: socket.socket) -> None:
    """Set up a TCP socket that is connected, or is to be.

    Its buffers are left to the kernel, which finds by itself how much has to be on its way over this distance.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, ATTEMPTS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle, interval, count = KEEPALIVE
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
