"""Version 1: against bytes as a daemon of 2009 sends them, and against our own daemon on both kinds of socket."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol

from netdaemon import AlreadyAttached, LocalProtocolError, NotAttached, StdinFull, connect
from netdaemon.client.client import Client
from netdaemon.sockets.transport import PacketTransport
from netdaemon.wire.answers import Output
from netdaemon.wire.commands import Data, Kill, Start
from tests.client.support import Stage, pending, result
from tests.support import RunningDaemon

core: Any = reactor


def packet(id: int, command: int, body: bytes = b"") -> bytes:
    return id.to_bytes(4, "big") + command.to_bytes(2, "big") + body


def u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


class Original(Protocol):
    """A daemon of 2009 that answers from a script: bytes that it must get, and bytes that it sends then."""

    def __init__(self, script: list[tuple[bytes, list[bytes]]]) -> None:
        self.script = script
        self.surprises: list[bytes] = []
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: Any) -> None:
        received = bytes(data)
        if not self.script or received != self.script[0][0]:
            self.surprises.append(received)
            self.transport.loseConnection()  # type: ignore[union-attr]
            return
        for one in self.script.pop(0)[1]:
            self.transport.write(one)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


async def test_a_daemon_of_2009(tmp_path: Path) -> None:
    """Start, feed, signal, output, exit; byte for byte."""
    attached = b"/bin/cat:4242\0" + u16(1, 4242)
    original = Original(
        [
            (packet(1, 0x0001, u16(1)), [packet(1, 0x0001, u16(1))]),
            (
                packet(2, 0x0101, b"/bin/cat\0" + u16(1) + b"-u\0" + u16(1) + b"A=1\0"),
                [packet(2, 0x0110, attached)],
            ),
            (packet(3, 0x0103), [packet(3, 0x0103, u16(1) + attached)]),
            (
                packet(4, 0x0201, u16(0, 5) + b"hello"),
                [packet(4, 0xFF00), packet(0, 0x0201, u16(1, 5) + b"hello")],
            ),
            (packet(5, 0x0201, u16(0, 0)), [packet(5, 0xFF00)]),
            (
                packet(6, 0x0203, u16(15)),
                [
                    packet(6, 0xFF00),
                    packet(0, 0x0202, u16(3, 15)),
                    packet(0, 0x0201, u16(1, 0)),
                    packet(0, 0x0201, u16(2, 0)),
                ],
            ),
        ]
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(tmp_path / "original"))
        listening.listen()
        connecting = connect(core, f"unix-seqpacket:{tmp_path}/original")
        sock, _ = listening.accept()
        sock.setblocking(False)
        PacketTransport(sock, original, core, "original").begin()
        client = await connecting
    assert client.version == 1
    process = await client.start(["/bin/cat", "-u"], env={"A": "1"})
    assert (process.id, process.pid) == ("/bin/cat:4242", 4242)
    (listed,) = await client.list()
    assert listed.id == process.id
    assert await process.write(b"hello") == 5
    await process.close_stdin()
    await process.kill()
    assert [item.payload async for item in process.output() if isinstance(item, Output)] == [b"hello"]
    status = await process.when_exited()
    assert (status.code, status.signal) == (None, 15)
    await client.disconnect()
    await original.lost
    assert (original.script, original.surprises) == ([], [])


async def converse(client: Client) -> None:
    """What a version-1 client does, on our own daemon."""
    process = await client.start(["/bin/cat"], env={"A": "1"})
    assert process.id in [one.id for one in await client.list()]
    with pytest.raises(AlreadyAttached):
        await client.start(["/bin/cat"])
    data = bytes(range(256)) * 2000
    writing = gatherResults([process.write(data), process.close_stdin()])
    got = b"".join([item.payload async for item in process.output() if isinstance(item, Output)])
    assert got == data
    assert await writing == [len(data), None]
    status = await process.when_exited()
    assert (status.code, status.signal) == (0, None)


async def test_our_daemon_on_packets(daemon: RunningDaemon) -> None:
    client = await connect(core, f"unix-seqpacket:{daemon.seqpacket}")
    assert client.version == 1
    await converse(client)
    await client.disconnect()


async def test_our_daemon_on_a_stream(daemon: RunningDaemon) -> None:
    client = await connect(core, f"unix:{daemon.path}", version=1)
    assert client.version == 1
    await converse(client)
    await client.disconnect()


async def test_attach_and_kill(daemon: RunningDaemon) -> None:
    """What one version-1 client started, another one attaches to and signals."""
    one = await connect(core, f"unix-seqpacket:{daemon.seqpacket}")
    two = await connect(core, f"unix-seqpacket:{daemon.seqpacket}")
    started = await one.start(["/bin/sleep", "60"])
    attached = await two.attach(started.id)
    await attached.kill("KILL")
    for process in (started, attached):
        assert (await process.when_exited()).signal == signal.SIGKILL
    await one.disconnect()
    await two.disconnect()


def greeted() -> Stage:
    from netdaemon.wire.answers import Welcome

    return Stage(1, packets=True, welcome=Welcome())


def test_what_version_1_cannot_say() -> None:
    """It is refused here, and nothing is sent."""
    s = greeted()
    id, process = s.attached()
    for refused in (
        s.client.info(),
        s.client.inspect("x"),
        s.client.wait("x"),
        s.client.remove("x"),
        s.client.shutdown(),
        s.client.list("state=running"),
        s.client.start(["x"], name="n"),
        s.client.start(["x"], cwd="/"),
        s.client.start(["x"], attach=False),
        s.client.attach("x", from_=3),
        process.detach(),
        process.resize(1, 2),
        process.kill(scope="tree"),
    ):
        with pytest.raises(LocalProtocolError):
            result(refused)
    with pytest.raises(NotAttached):
        result(s.client.kill("x"))
    assert s.requests() == []
    process.kill()
    assert s.request()[1] == Kill(to=id, signal=15)


def test_input_that_has_no_room_is_sent_again() -> None:
    from netdaemon.wire.answers import Failure, Taken

    s = greeted()
    id, process = s.attached()
    writing = process.write(b"abc")
    data, request = s.request()
    assert request == Data(to=id, payload=b"abc")
    s.reply(data, Failure.of(StdinFull("full")))
    assert pending(writing)
    s.clock.advance(1)
    data, request = s.request()
    assert request == Data(to=id, payload=b"abc")
    s.reply(data, Taken(accepted=3, end=3))
    assert result(writing) == 3


def test_pausing_stops_reading() -> None:
    """There is no FLOW, and one attachment: the connection is not read."""
    s = greeted()
    _, process = s.attached()
    process.pause()
    assert s.transport.producerState == "paused"
    process.resume()
    assert s.transport.producerState == "producing"
    assert s.requests() == []


def test_spawn_process() -> None:
    """In the daemon's own directory, where version 1 runs everything."""
    from twisted.internet.protocol import ProcessProtocol

    s = greeted()
    s.client.spawnProcess(ProcessProtocol(), "/bin/cat", env={"A": "1"})
    _, request = s.request()
    assert request == Start(argv=("/bin/cat",), env=("A=1",), attach=True)
