"""For tests of programs that use netdaemon: a daemon and its clients in memory, children that the test plays.

Nothing here needs a socket, a second process or real time::

    daemon = MemoryDaemon()
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/srv/game"], name="game"))
    daemon.children[0].write(b"ready\\n")
    daemon.children[0].exit(3)
    record = daemon.settle(client.wait("game"))
    daemon.stop()

A program is seen through the loss of its connection, and a daemon that is away for a while, so::

    daemon.listening = False
    daemon.drop_connections()
    daemon.reactor.advance(5)
    daemon.listening = True
    daemon.reactor.advance(5)
    daemon.settle()
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet import main
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.client.client import Client
from netdaemon.client.reconnecting import PATIENCE
from netdaemon.client.session import Session
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import Settings
from netdaemon.errors import ConnectFailed, ConnectionClosed
from netdaemon.interfaces import IDirectTransport, ILauncher, IPeerCredentials
from netdaemon.keeper.child import PIDFD, ExitStatus, Launched, LaunchError, Spec
from netdaemon.keeper.launch import Ends, open_streams
from netdaemon.wire.answers import Welcome

T = TypeVar("T")

# What a UNIX socket holds, about, before its writer has to wait.
PIPE_SIZE = 208 * 1024

# A test in which this many turns change nothing more is not going to come to an end.
MAX_TURNS = 10_000


@implementer(IReactorFDSet)
class MemoryReactor(Clock):
    """A clock that stands still until it is advanced, and descriptors that are looked at when `turn` is called."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, IReadDescriptor] = {}
        self._writers: dict[int, IWriteDescriptor] = {}

    def addReader(self, reader: IReadDescriptor) -> None:
        self._readers[reader.fileno()] = reader

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self._writers[writer.fileno()] = writer

    def removeReader(self, reader: IReadDescriptor) -> None:
        self._readers = {number: one for number, one in self._readers.items() if one is not reader}

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self._writers = {number: one for number, one in self._writers.items() if one is not writer}

    def removeAll(self) -> list[Any]:
        both = [*self._readers.values(), *self._writers.values()]
        self._readers.clear()
        self._writers.clear()
        return both

    def getReaders(self) -> list[Any]:
        return list(self._readers.values())

    def getWriters(self) -> list[Any]:
        return list(self._writers.values())

    def turn(self) -> bool:
        """Serve every descriptor that is ready, and every call that is due now; False if there was nothing."""
        poll = select.poll()
        for number in self._readers.keys() | self._writers.keys():
            wanted = (select.POLLIN if number in self._readers else 0) | (
                select.POLLOUT if number in self._writers else 0
            )
            poll.register(number, wanted)
        busy = False
        for number, event in poll.poll(0):
            reader, writer = self._readers.get(number), self._writers.get(number)
            if reader is not None and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                reader.doRead()
                busy = True
            elif writer is not None:
                writer.doWrite()
                busy = True
        due = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
        self.advance(0)
        return busy or bool(due)


class FakeChild:
    """A child that the test plays: its ends of the pipes or its side of a terminal, and its exit."""

    def __init__(self, id: str, spec: Spec, pid: int) -> None:
        self.spec = spec
        self.pid = pid
        self.status: ExitStatus | None = None
        self.released = False
        self.signals: list[tuple[int, str]] = []
        ends = Ends()
        # By channel; of a terminal, and of merged outputs, several are one.
        self._ends = dict(enumerate(open_streams(ends, spec)))
        for number in self._ends.values():
            os.set_blocking(number, False)
        ends.ours[PIDFD], self._exit = os.pipe2(os.O_CLOEXEC)
        self.launched = Launched.of_roles(id, pid, ends.ours)

    def write(self, data: bytes, channel: int = 1) -> int:
        """Write output; how many bytes a pipe had room for: it holds 64 KiB until the daemon reads.

        :raises BlockingIOError: it is full.
        """
        return os.write(self._ends[channel], data)

    def read(self) -> bytes:
        """The input that has come; empty at EOF.

        :raises BlockingIOError: there is none yet.
        """
        return os.read(self._ends[0], 1 << 20)

    def size(self) -> tuple[int, int]:
        """(rows, columns) of its terminal.

        :raises OSError: it has none.
        """
        columns, rows = os.get_terminal_size(self._ends[0])
        return rows, columns

    def close(self, channel: int) -> None:
        """Close one stream."""
        number = self._ends.pop(channel)
        if number not in self._ends.values():
            os.close(number)

    def exit(self, code: int | None = 0, *, signal: int | None = None, leave_open: bool = False) -> None:
        """Exit. *leave_open* keeps the streams open, as a grandchild that has them would."""
        if not leave_open:
            for channel in list(self._ends):
                self.close(channel)
        self.status = ExitStatus(code=None if signal is not None else code, signal=signal)
        os.close(self._exit)
        self._exit = -1

    def clean(self) -> None:
        """Close what is left."""
        for channel in list(self._ends):
            self.close(channel)
        if self._exit >= 0:
            os.close(self._exit)
            self._exit = -1


@implementer(ILauncher)
class FakeLauncher:
    """Launches children that the test plays.

    :ivar children: all that were launched, in order.
    :ivar refusals: errors for the launches to come, first in first out.
    """

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.refusals: deque[LaunchError] = deque()

    def launch(self, id: str, spec: Spec, spool: int) -> Deferred[Launched]:
        if self.refusals:
            return fail(self.refusals.popleft())
        child = FakeChild(id, spec, 1000 + len(self.children))
        self.children.append(child)
        return succeed(child.launched)

    def share(self, id: str, role: str, descriptor: int) -> None:
        """Nobody outlives a daemon in memory."""

    def withdraw(self, launched: Launched, *roles: str) -> None:
        """Likewise."""

    def forget(self, id: str) -> None:
        """Likewise."""

    def _child(self, launched: Launched) -> FakeChild:
        return next(child for child in self.children if child.launched is launched)

    def collect(self, launched: Launched) -> Deferred[ExitStatus | None]:
        return succeed(self._child(launched).status or ExitStatus())

    def signal(self, launched: Launched, number: int, scope: str) -> None:
        child = self._child(launched)
        if child.status is not None:
            raise ProcessLookupError(errno.ESRCH, "it has exited")
        child.signals.append((number, scope))

    def kill_trees(self, launched: Sequence[Launched]) -> None:
        for one in launched:
            if self._child(one).status is None:
                self.signal(one, 9, "tree")

    def release(self, launched: Launched) -> None:
        self._child(launched).released = True


@implementer(IDirectTransport, IPeerCredentials)
class MemoryTransport:
    """One end of a connection in memory, with room for so many bytes and a peer that may not read."""

    def __init__(self, reactor: MemoryReactor, protocol: IProtocol, uid: int) -> None:
        self.protocol: Any = protocol
        self.other: MemoryTransport
        self.waiting = 0
        self.connected = True
        self.disconnecting = False
        self._reactor = reactor
        self._uid = uid
        self._incoming: deque[bytes] = deque()
        self._queue: deque[bytes] = deque()
        self._reading = True
        self._producer: Any = None
        self._paused = False
        self._call: Any = None

    # What the protocol on this side does with it.

    def write(self, data: bytes) -> None:
        self.sendParts((data,))

    def writeSequence(self, data: Sequence[bytes]) -> None:
        self.sendParts(data)

    def sendParts(self, parts: Sequence[bytes | memoryview]) -> None:
        if not self.connected or self.disconnecting:
            return
        data = b"".join(parts)
        self._queue.append(data)
        self.waiting += len(data)
        self._move()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._move()

    def abortConnection(self) -> None:
        self._lose()
        self.other._lose()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self._schedule()

    def stopProducing(self) -> None:
        self.loseConnection()

    def peerCredentials(self) -> tuple[int, int, int]:
        return os.getpid(), self._uid, 0

    def getPeer(self) -> str:
        return "memory"

    getHost = getPeer

    def cut(self, count: int) -> None:
        """Have so many more bytes of what is under way to this side arrive, and nothing after them."""
        under_way = b"".join((*self._incoming, *self.other._queue))
        self._incoming.clear()
        self.other._queue.clear()
        if count and self.connected and under_way:
            self.protocol.dataReceived(under_way[:count])

    # How bytes come across.

    def _move(self) -> None:
        """Put what waits into the other side's hands, as far as there is room."""
        while self._queue and sum(map(len, self.other._incoming)) < PIPE_SIZE:
            data = self._queue.popleft()
            self.waiting -= len(data)
            self.other._incoming.append(data)
        self.other._schedule()
        if self._queue and not self._paused and self._producer is not None:
            self._paused = True
            self._producer.pauseProducing()
        elif not self._queue and self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def _schedule(self) -> None:
        if self._call is None and self.connected:
            self._call = self._reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._call = None
        if not self._reading or not self.connected:
            return
        if self._incoming:
            data = self._incoming.popleft()
            self.other._move()
            self.protocol.dataReceived(data)
            self._schedule()
        elif not self.other.connected or (self.other.disconnecting and not self.other._queue):
            self.other._lose()
            self._lose()

    def _lose(self) -> None:
        if not self.connected:
            return
        self.connected = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.protocol.connectionLost(Failure(main.CONNECTION_DONE))
        self.other._schedule()


def join(reactor: MemoryReactor, server: IProtocol, client: IProtocol, uid: int = 0) -> MemoryTransport:
    """Connect two protocols in memory; *uid* is what the server's side is told of the client.

    :return: the server's end.
    """
    here, there = MemoryTransport(reactor, server, uid), MemoryTransport(reactor, client, 0)
    here.other, there.other = there, here
    server.makeConnection(here)  # type: ignore[arg-type]
    client.makeConnection(there)  # type: ignore[arg-type]
    return here


class MemoryDaemon:
    """A daemon whose children are `FakeChild` objects, and whose time stands still.

    :param launcher: another launcher, to run real programs; `until` waits for them.
    :param reactor: the one that *launcher* uses.
    :ivar listening: whether it can be connected to; set it to False for a daemon that is away.
    """

    def __init__(
        self,
        *,
        launcher: ILauncher | None = None,
        settings: Settings | None = None,
        reactor: MemoryReactor | None = None,
    ) -> None:
        self.reactor = MemoryReactor() if reactor is None else reactor
        self.fake = FakeLauncher()
        self.shutdown_asked = False
        self.listening = True
        self._connections: list[MemoryTransport] = []
        self._clients: list[Client] = []
        self.service = DaemonService(
            self.reactor,
            self.fake if launcher is None else launcher,
            Settings() if settings is None else settings,
            on_shutdown=self._shutdown,
        )
        self.service.startService()

    def _shutdown(self) -> None:
        self.shutdown_asked = True

    @property
    def children(self) -> list[FakeChild]:
        """The children, in the order in which they were started."""
        return self.fake.children

    def connect(
        self,
        *,
        reconnect: bool = True,
        patience: float | None = PATIENCE,
        on_disconnected: Callable[[ConnectionClosed], object] | None = None,
        on_reconnected: Callable[[Welcome], object] | None = None,
    ) -> Deferred[Client]:
        """A client of this daemon; fires once HELLO has been answered, which takes a `settle`.

        The parameters are those of `netdaemon.connect`.
        """

        def connected(session: Session) -> Client:
            client = Client(
                session,
                dial=self._dial if reconnect else None,
                patience=patience,
                on_disconnected=on_disconnected,
                on_reconnected=on_reconnected,
            )
            self._clients.append(client)
            return client

        return self._dial().addCallback(connected)

    def _dial(self) -> Deferred[Session]:
        if not self.listening:
            error = ConnectFailed("nobody listens")
            error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
            return fail(error)
        session = Session(self.reactor)
        self._connections = [one for one in self._connections if one.connected]
        self._connections.append(join(self.reactor, self.service.build(False), session, os.geteuid()))
        return session.greeted().addCallback(lambda _: session)

    def drop_connections(self, *, to_daemon: int = 0, to_client: int = 0) -> None:
        """Cut all connections, as a daemon does that is killed; what was under way is lost.

        Clients connect again when time passes: ``reactor.advance(1)`` is enough.

        :param to_daemon: bytes that still come through to the daemon, which may be a part of a message.
        :param to_client: bytes that still come through to the client, after that.
        """
        connections, self._connections = self._connections, []
        for one in connections:
            one.cut(to_daemon)
            one.other.cut(to_client)
            one.abortConnection()

    def settle(self, waiting: Deferred[T] | None = None) -> T | None:
        """Let everything happen that can, without time passing.

        :return: the result of *waiting*, or None if it has none yet; its failure is raised.
        """
        for _ in range(MAX_TURNS):
            if not self.reactor.turn():
                break
        else:
            raise RuntimeError(f"something still happens after {MAX_TURNS} turns")
        if waiting is None or not waiting.called:
            return None
        results: list[T] = []
        failures: list[Failure] = []
        waiting.addCallbacks(results.append, failures.append)
        if failures:
            failures[0].raiseException()
        return results[0] if results else None

    def until(self, condition: Callable[[], object], patience: float = 20.0) -> None:
        """Let things happen until *condition* is so; *patience* is in real seconds, as real programs need.

        :raises TimeoutError: it was not so in time.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it has not happened within {patience:g} seconds")
            if not self.reactor.turn():
                time.sleep(0.001)

    def connect_now(self, **options: Any) -> Client:
        """A client of this daemon, connected; options as for `connect`."""
        client = self.settle(self.connect(**options))
        assert client is not None
        return client

    def stop(self) -> None:
        """End the daemon and its clients, and clean up. Children that still run die of the first signal."""
        self.listening = False
        for child in self.children:
            if child.status is None:
                child.exit(signal=15)
        stopping = self.service.stopService()
        for _ in range(100):
            self.settle()
            if stopping.called:
                break
            self.reactor.advance(0.1)
        for client in self._clients:
            self.settle(client.disconnect())
        for child in self.children:
            child.clean()
