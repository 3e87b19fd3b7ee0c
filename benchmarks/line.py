"""A conversation with a daemon on a blocking socket: for what is not measured, and for sinks that do not look."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from netdaemon.errors import Refusal
from netdaemon.wire.answers import Event
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Hello, List, Request

# What is read at a time; more would not stay in the processor's cache.
RECEIVE = 512 * 1024

# Requests that are under way at any time where there are many.
IN_FLIGHT = 64


class Line:
    """One connection, whose HELLO has been answered."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.connection = ClientConnection()
        self.buffer = memoryview(bytearray(RECEIVE))
        self.socket.sendall(self.connection.hello(Hello(client="benchmarks")))
        self._next()

    def close(self) -> None:
        self.socket.close()

    def _next(self) -> tuple[int, Any]:
        """The next message."""
        while True:
            message = self.connection.next_message()
            if message is not None:
                return message
            got = self.socket.recv_into(self.buffer)
            if not got:
                raise ConnectionError("the daemon has closed the connection")
            self.connection.receive(self.buffer[:got])

    def send(self, request: Request) -> int:
        """The id that the reply will have."""
        id, octets = self.connection.request(request)
        self.socket.sendall(octets)
        return id

    def reply(self) -> Any:
        """The next reply; events before it are thrown away."""
        return self._reply()[1]

    def _reply(self) -> tuple[int, Any]:
        """The same, and the id of its request."""
        while True:
            id, message = self._next()
            if isinstance(message, Refusal):
                raise message
            if not isinstance(message, Event):
                return id, message

    def call(self, request: Request) -> Any:
        """The reply to *request*."""
        self.send(request)
        return self.reply()

    def count(self, *select: str) -> int:
        """How many records LIST has, all its pages together."""
        count, after = 0, None
        while True:
            page = self.call(List(select=select or None, after=after))
            count += len(page.processes)
            after = page.after
            if after is None:
                return count

    def call_all(self, requests: Sequence[Request]) -> list[Any]:
        """The replies to all of them, in their order, some being under way at any time."""
        replies: dict[int, Any] = {}
        ids: list[int] = []
        for request in requests:
            ids.append(self.send(request))
            if len(ids) - len(replies) >= IN_FLIGHT:
                id, reply = self._reply()
                replies[id] = reply
        while len(replies) < len(ids):
            id, reply = self._reply()
            replies[id] = reply
        return [replies[id] for id in ids]
