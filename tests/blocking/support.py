"""What the tests of the blocking client share: a daemon of a few lines that a test plays with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netdaemon.blocking import Client
from netdaemon.errors import Refusal, StdinClosed, StdinFull, StdinHole
from netdaemon.wire.answers import Attached, Event, Failure, Ok, Reply, Status, Taken, Welcome
from netdaemon.wire.commands import Attach, Data, Hello, Request, Start
from netdaemon.wire.records import ProcessRecord, State
from netdaemon.wire.server import ServerConnection

WINDOW = 256 * 1024

RECORD = ProcessRecord(id="bcdf", argv=("cat",), state=State.RUNNING, pid=7)
EXITED = Status(state=State.EXITED, code=0, end=0)

Answer = Reply | Refusal | None


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
            # The client has gone, in the middle of something.
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._socket.close()

    def serve(self, id: int, request: Request | Refusal) -> None:
        if isinstance(request, Hello):
            self.send(self.connection.welcome(id, Welcome(server="fake/1", instance="i", window=WINDOW)))
            return
        if isinstance(request, Refusal):
            self.send(self.connection.reply(id, Failure.of(request)))
            return
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Refusal):
            answer = Failure.of(answer)
        if answer is not None:
            self.send(self.connection.reply(id, answer))
        if isinstance(answer, Attached):
            self.attachment = id
        for event in self._after(request):
            self.send(self.connection.event(self.attachment, event))

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

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
