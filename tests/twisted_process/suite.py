"""Twisted's own process tests on `Client.spawnProcess`: for trial, in a process of its own, the daemon outside.

The reactors that these tests build are taken as they are, but for one attribute: ``spawnProcess`` is that of a client
connected to the daemon at NETDAEMON_TEST_SOCKET.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.test.test_process import ProcessTestsBuilder, PTYProcessTestsBuilder

from netdaemon.client.client import Client
from netdaemon.client.session import Session
from netdaemon.sockets.transport import StreamTransport

SOCKET = os.environ["NETDAEMON_TEST_SOCKET"]

# Twisted's own list, but for GIReactor, which needs a library that is not ours to install.
REACTORS = [
    "twisted.internet.selectreactor.SelectReactor",
    "twisted.internet.pollreactor.PollReactor",
    "twisted.internet.epollreactor.EPollReactor",
    "twisted.internet._threadedselect.ThreadedSelectReactor",
    "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
]

NO_USERS = "the daemon runs every process as its own user; uid and gid are refused with ValueError"

# What cannot apply to a process at the other end of a socket, and why.
SKIPPED = {
    "test_spawnProcessEarlyIsReaped": "waits for SIGCHLD in this process, which is not the parent",
    "test_errorDuringExec": "patches os.execvpe in this process, which does not execute the program",
    "test_changeUID": NO_USERS,
    "test_changeGID": NO_USERS,
}

# Seconds for HELLO.
PATIENCE = 10.0


def connect_now(reactor: Any) -> Client:
    """A client on *reactor*, which need not be running yet."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(SOCKET)
    sock.setblocking(False)
    session = Session(reactor)
    transport = StreamTransport(sock, session, reactor, SOCKET)
    transport.begin()
    while session.welcome is None:
        readable, _, _ = select.select([sock], [], [], PATIENCE)
        if not readable or transport.doRead() is not None:
            raise RuntimeError(f"the daemon at {SOCKET} does not answer")
    return Client(session)


class AcrossASocket:
    """Gives the built reactors the `spawnProcess` of a client."""

    _reactors = REACTORS

    def buildReactor(self) -> Any:
        reactor = super().buildReactor()  # type: ignore[misc]
        clients: list[Client] = []

        def spawnProcess(*arguments: Any, **named: Any) -> Any:
            if not clients:
                clients.append(connect_now(reactor))
            return clients[0].spawnProcess(*arguments, **named)

        reactor.spawnProcess = spawnProcess
        return reactor


def _skipping(name: str, reason: str) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        raise AssertionError(f"{name} is skipped")

    test.skip = reason  # type: ignore[attr-defined]
    test.__name__ = name
    return test


for _name, _reason in SKIPPED.items():
    setattr(AcrossASocket, _name, _skipping(_name, _reason))


class SpawnedProcessBuilder(AcrossASocket, ProcessTestsBuilder):
    """With pipes."""


class SpawnedTerminalBuilder(AcrossASocket, PTYProcessTestsBuilder):
    """With a terminal."""


globals().update(SpawnedProcessBuilder.makeTestCaseClasses())
globals().update(SpawnedTerminalBuilder.makeTestCaseClasses())
