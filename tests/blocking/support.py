"""What the tests of the blocking client share: a daemon of a few lines that a test plays with."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from netdaemon.blocking import Client, connect
from netdaemon.errors import Refusal, StdinClosed, StdinFull, StdinHole
from netdaemon.wire.answers import Attached, Event, Failure, Ok, Reply, Status, Taken, Watching, Welcome
from netdaemon.wire.commands import Attach, Data, Hello, Request, Start
from netdaemon.wire.records import State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.told import ProcessRecord

WINDOW = 512 * 1024

RECORD = ProcessRecord(id="bcdf", argv=("cat",), state=State.RUNNING, pid=7)
EXITED = Status(state=State.EXITED, code=0, end=0)


class Cut:
    """In place of an answer: the connection is closed, and whether it was carried out is nobody's to know."""


CUT = Cut()

Answer = Reply | Refusal | Cut | None


class FakeDaemon(threading.Thread):
    """Serves one client on a socket pair's other end, by the functions that the test gives it.

    :param answer: the reply to each request; None for none.
    :param after: events to send when the reply to a request is out.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[Request], Answer],
        after: Callable[[Request], list[Event]] = lambda request: [],
        *,
        packets: bool = False,
        version: int = 2,
    ) -> None:
        super().__init__(daemon=True)
        self.connection = ServerConnection(packets=packets)
        self.requests: list[Request] = []
        self.attachment = 0
        self.error: BaseException | None = None
        self.welcomed = threading.Event()
        self._socket = sock
        self._answer = answer
        self._after = after
        self._version = version

    def run(self) -> None:
        try:
            while octets := self._socket.recv(65536):
                self.connection.receive(octets)
                while (received := self.connection.next_request()) is not None:
                    self.serve(*received)
        except OSError:
            # The client has gone, in the middle of something; or the test has cut it off.
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._socket.close()

    def serve(self, id: int, request: Request | Refusal) -> None:
        if isinstance(request, Hello):
            self.send(self.connection.welcome(id, Welcome(server="fake/1", instance="i", window=WINDOW)))
            self.welcomed.set()
            return
        if isinstance(request, Refusal):
            self.send(self.connection.reply(id, Failure.of(request)))
            return
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Cut):
            raise ConnectionResetError
        if isinstance(answer, Refusal):
            answer = Failure.of(answer)
        if answer is not None:
            self.send(self.connection.reply(id, answer))
        if isinstance(answer, Attached | Watching):
            self.attachment = id
        for event in self._after(request):
            self.send(self.connection.event(self.attachment, event))

    def tell(self, *events: Event) -> None:
        """Events of the latest attachment or subscription, from the test."""
        for event in events:
            self.send(self.connection.event(self.attachment, event))

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def cut(self) -> None:
        """The daemon dies."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def asked(self, declaration: type[Request]) -> list[Request]:
        return [request for request in self.requests if type(request) is declaration]


@contextmanager
def fake(
    answer: Callable[[Request], Answer],
    after: Callable[[Request], list[Event]] = lambda request: [],
    *,
    timeout: float = 10.0,
    version: int = 2,
    packets: bool = False,
) -> Iterator[tuple[Client, FakeDaemon]]:
    """A client that talks to a fake daemon."""
    kind = socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    daemon = FakeDaemon(theirs, answer, after, packets=packets)
    daemon.start()
    client = Client(ours, timeout=timeout, version=version, packets=packets)
    try:
        yield client, daemon
    finally:
        client.close()
        daemon.join(10)
        assert not daemon.is_alive()
    assert daemon.error is None


def attached(**fields: object) -> Attached:
    return Attached(process=RECORD, **fields)  # type: ignore[arg-type]


class Child:
    """The input side of a process, with the daemon's rules: a window, offsets, holes."""

    def __init__(self, *, window: int = WINDOW, stdin_end: int = 0) -> None:
        self.window = window
        self.taken = bytearray(stdin_end)
        self.waiting = 0
        self.closed = False
        self.refused = 0

    def answer(self, request: Request) -> Answer:
        if isinstance(request, Start | Attach):
            return attached(stdin_end=len(self.taken))
        if not isinstance(request, Data):
            return Ok()
        end = len(self.taken)
        payload = request.payload
        if request.at is not None:
            if request.at > end:
                self.refused += 1
                return StdinHole("hole", accepted=0, end=end)
            payload = payload[end - request.at :]
        if not request.payload:
            self.closed = True
            return Taken(accepted=0, end=end)
        if self.closed:
            return StdinClosed("closed", accepted=0, end=end)
        fresh = payload[: self.window - self.waiting]
        if not fresh:
            self.refused += 1
            return StdinFull("full", accepted=0, end=end)
        self.taken += fresh
        self.waiting += len(fresh)
        return Taken(accepted=len(request.payload) - len(payload) + len(fresh), end=end + len(fresh))

    def read(self, count: int) -> None:
        """The program reads."""
        self.waiting -= min(count, self.waiting)


class Reader(threading.Thread):
    """Reads a child's input, a piece at a time."""

    def __init__(self, child: Child, piece: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._child, self._piece, self._pause = child, piece, pause
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(self._pause):
            self._child.read(self._piece)


class FakeServer:
    """A fake daemon that can be killed and started again: one after the other at the same socket, by the same script.

    :ivar daemons: one for each connection, in order.
    """

    def __init__(self, answer: Callable[[Request], Answer], after: Callable[[Request], list[Event]]) -> None:
        self.answer = answer
        self.after = after
        self.daemons: list[FakeDaemon] = []
        self.daemon: type[FakeDaemon] = FakeDaemon
        self.version = 2
        self._directory = tempfile.TemporaryDirectory(prefix="nd")
        self.path = os.path.join(self._directory.name, "s")
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        self._socket = sock = socket.socket(socket.AF_UNIX)
        sock.bind(self.path)
        sock.listen()
        self._thread = threading.Thread(target=self._accept, args=(sock,), daemon=True)
        self._thread.start()

    def _accept(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connected, _ = sock.accept()
                daemon = self.daemon(connected, lambda r: self.answer(r), lambda r: self.after(r), version=self.version)
                self.daemons.append(daemon)
                daemon.start()

    def die(self) -> None:
        """Nobody listens any more, and what was connected is cut."""
        assert self._socket is not None
        assert self._thread is not None
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)
        os.unlink(self.path)
        self._socket = None
        for daemon in self.daemons:
            daemon.cut()
            daemon.join(10)

    def close(self) -> None:
        if self._socket is not None:
            self.die()
        self._directory.cleanup()

    @property
    def requests(self) -> list[list[Request]]:
        """What was asked, by connection."""
        return [daemon.requests for daemon in self.daemons]

    def asked(self, declaration: type[Request]) -> list[Any]:
        """What of this kind was asked, on whatever connection."""
        return [request for daemon in self.daemons for request in daemon.asked(declaration)]


@contextmanager
def server(
    answer: Callable[[Request], Answer], after: Callable[[Request], list[Event]] = lambda request: [], **options: Any
) -> Iterator[tuple[Client, FakeServer]]:
    """A client that comes back, and the fake daemons that it comes back to."""
    fakes = FakeServer(answer, after)
    fakes.listen()
    try:
        with connect(fakes.path, **{"timeout": 10.0, **options}) as client:
            yield client, fakes
    finally:
        fakes.close()
    for daemon in fakes.daemons:
        assert daemon.error is None


def until(client: Client, condition: Callable[[], object], patience: float = 10.0) -> None:
    """Pump *client* until it is so."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        client.pump(0.05)
