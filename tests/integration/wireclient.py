"""A blocking client on a plain socket and the bare messages: for tests that must see each message and each byte."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from netdaemon.errors import Refusal
from netdaemon.wire.answers import Event, Message, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Hello, Request
from tests.support import readable

# Seconds for one answer on a busy machine.
PATIENCE = 60.0

Told = tuple[int, Message | Refusal]


class Closed(Exception):
    """The daemon closed the connection without a word."""


class WireClient:
    """One connection. Replies are asked for by id; everything else waits in ``events``, in order.

    :param hello: whether to say HELLO and wait for its answer.
    """

    def __init__(self, path: str, *, version: int = 2, packets: bool = False, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.connection = ClientConnection(version=version, packets=packets)
        self.events: deque[Told] = deque()
        self.welcome: Welcome | None = None
        if hello:
            self.socket.sendall(self.connection.hello(Hello(client="test")))
            _id, message = self._next(PATIENCE)
            assert isinstance(message, Welcome), message
            self.welcome = message

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def post(self, request: Request) -> int:
        """Send a request and do not wait; its id."""
        id, octets = self.connection.request(request)
        self.socket.sendall(octets)
        return id

    def answer(self, id: int, timeout: float = PATIENCE) -> Any:
        """The reply to the request *id*; a refusal is raised."""
        deadline = time.monotonic() + timeout
        while True:
            other, message = self._next(deadline - time.monotonic())
            if other == id and not isinstance(message, Event):
                if isinstance(message, Refusal):
                    raise message
                return message
            self.events.append((other, message))

    def ask(self, request: Request, timeout: float = PATIENCE) -> Any:
        """The reply to *request*; a refusal is raised."""
        return self.answer(self.post(request), timeout)

    def event(self, timeout: float = PATIENCE) -> Told:
        """The next message that nobody has asked for by its id."""
        return self.events.popleft() if self.events else self._next(timeout)

    def until(self, wanted: Callable[[Message | Refusal], bool], id: int | None = None) -> list[Any]:
        """The messages of *id* up to the first that is *wanted*, which is the last of them."""
        seen: list[Any] = []
        while True:
            other, message = self.event()
            if id is None or other == id:
                seen.append(message)
                if wanted(message):
                    return seen

    def _next(self, timeout: float) -> Told:
        deadline = time.monotonic() + timeout
        while True:
            received = self.connection.next_message()
            if received is not None:
                return received
            if not readable(self.socket, max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"no message within {timeout:g} seconds")
            octets = self.socket.recv(1 << 18)
            if not octets:
                raise Closed
            self.connection.receive(octets)
