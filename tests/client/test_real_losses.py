"""A real daemon behind a proxy that cuts connections and goes away for a while; few, the rest is tested in memory."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from netdaemon import Client, ConnectionClosed, Output, connect
from tests.client.test_real_daemon import Gathering
from tests.support import RunningDaemon, running_daemon

core: Any = reactor


class End(Protocol):
    """One end of a connection through the proxy: what comes goes out at the other end, until it is cut."""

    def __init__(self, proxy: Proxy, other: End | None = None) -> None:
        self.proxy = proxy
        self.other = other
        self.early = b""

    def connectionMade(self) -> None:
        self.proxy.ends.add(self)
        if self.other is not None:
            self.other.other = self
            self.write(self.other.early)

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        data, cut = self.proxy.count(data)
        if self.other is None:
            self.early += data
        else:
            self.other.write(data)
        if cut:
            self.proxy.cut()

    def connectionLost(self, reason: Any = None) -> None:
        self.proxy.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class Proxy(Factory):
    """Listens at a path of its own for a daemon.

    :ivar every: bytes after which all connections are cut; 0: none.
    """

    noisy = False

    def __init__(self, daemon: str, path: str) -> None:
        self.daemon = daemon
        self.path = path
        self.ends: set[End] = set()
        self.every = 0
        self.cuts = 0
        self._passed = 0
        self.port = core.listenUNIX(path, self)

    def buildProtocol(self, address: Any) -> End:
        end = End(self)
        onward = Factory.forProtocol(lambda: End(self, end))
        onward.noisy = False
        UNIXClientEndpoint(core, self.daemon).connect(onward)
        return end

    def count(self, data: bytes) -> tuple[bytes, bool]:
        """What of *data* goes through, and whether that was all."""
        self._passed += len(data)
        if not self.every or self._passed < self.every:
            return data, False
        rest = self._passed - self.every
        self._passed = 0
        return data[: len(data) - rest], True

    def cut(self) -> None:
        """Cut all connections; what was written before may still arrive."""
        self.cuts += 1
        for end in tuple(self.ends):
            assert end.transport is not None
            end.transport.loseConnection()

    async def away(self, seconds: float) -> None:
        """There is no socket for a while."""
        await self.port.stopListening()
        self.cut()
        await deferLater(core, seconds)
        self.port = core.listenUNIX(self.path, self)

    async def close(self) -> None:
        await self.port.stopListening()
        self.cut()
        while self.ends:
            await deferLater(core, 0.001)


@asynccontextmanager
async def through(daemon: RunningDaemon, tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Proxy, Client]]:
    proxy = Proxy(daemon.path, str(tmp_path / "proxy"))
    try:
        client = await connect(core, f"unix:{proxy.path}", **options)
        yield proxy, client
        await client.disconnect()
    finally:
        await proxy.close()


async def test_much_in_and_out_over_many_connections(daemon: RunningDaemon, tmp_path: Path) -> None:
    """It comes back whole, however often the connection is cut: every few messages, in the middle of one."""
    data = os.urandom(1 << 20)
    async with through(daemon, tmp_path) as (proxy, client):
        process = await client.start(["/bin/cat"], keep=4 << 20, hold=-1)
        proxy.every = 300_007
        writing = gatherResults([process.write(data), process.close_stdin()])
        digest, offset = hashlib.sha256(), 0
        async for item in process.output():
            assert isinstance(item, Output)
            assert item.offset == offset
            offset += len(item.payload)
            digest.update(item.payload)
        assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
        assert (await writing)[0] == len(data)
        assert (await process.when_exited()).code == 0
        proxy.every = 0
        await client.remove(process)
        assert proxy.cuts >= 6


async def test_a_daemon_that_is_away_for_a_while(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A protocol notices nothing; the application is told by its callbacks."""
    told: list[Any] = []
    options = {"on_disconnected": told.append, "on_reconnected": told.append}
    async with through(daemon, tmp_path, **options) as (proxy, client):
        protocol = Gathering()
        transport = client.spawnProcess(protocol, "/bin/sh", ["sh", "-c", "read a; echo got $a; read b; echo got $b"])
        starting = client.start(["/bin/sleep", "60"])
        transport.write(b"one\n")
        going = Deferred.fromCoroutine(proxy.away(0.3))
        transport.write(b"two\n")
        process = await starting
        killing = process.kill("KILL")
        await going
        assert isinstance(await protocol.ended, ProcessDone)
        assert protocol.out == b"got one\ngot two\n"
        await killing
        assert (await process.when_exited()).signal == signal.SIGKILL
        assert [record.id for record in await client.list("state=exited", process.id)] == [process.id]
        await client.remove(process)
        assert isinstance(told[0], ConnectionClosed)
        assert told[1] == client.daemon
        assert len(told) == 2


async def test_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """While programs are being started, fed and read; each is started once, and nothing of it is lost."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path) as daemon:
        client = await connect(core, f"unix:{daemon.path}")
        data = os.urandom(1 << 20)
        process = await client.start(["/bin/cat"], keep=4 << 20, hold=-1)
        protocol = Gathering()
        transport = client.spawnProcess(protocol, "/bin/sh", ["sh", "-c", "read a; echo got $a; exit 3"])
        writing = gatherResults([process.write(data), process.close_stdin()])
        starting = [client.start(["/bin/sh", "-c", f"echo {number}; exit {number}"]) for number in range(10)]
        os.kill((await client.info()).pid, signal.SIGKILL)
        transport.write(b"this\n")
        output = b"".join([item.payload async for item in process.output() if isinstance(item, Output)])
        assert hashlib.sha256(output).digest() == hashlib.sha256(data).digest()
        assert (await writing)[0] == len(data)
        statuses = [await started.when_exited() for started in await gatherResults(starting)]
        assert [status.code for status in statuses] == list(range(10))
        assert (await protocol.ended).exitCode == 3
        assert protocol.out == b"got this\n"
        assert len(await client.list()) == 11
        await client.disconnect()
