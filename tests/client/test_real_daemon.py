"""The client and a real daemon, over a real socket, with real programs; few, the rest is tested in memory."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

import netdaemon
from netdaemon import (
    Client,
    ConnectFailed,
    ConnectionClosed,
    LaunchFailed,
    NoSuchProcess,
    NotRunning,
    RemoteProcess,
    TimedOut,
    connect,
)
from netdaemon.client.reasons import ProcessNotStarted
from netdaemon.wire.answers import Gap, Output
from netdaemon.wire.records import Fate, State
from tests.support import RunningDaemon

core: Any = reactor


async def connected(daemon: RunningDaemon) -> Client:
    return await connect(core, f"unix:{daemon.path}")


async def output_of(process: RemoteProcess) -> bytes:
    return b"".join([item.payload async for item in process.output() if isinstance(item, Output)])


async def test_start_feed_read_exit_remove(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    process = await client.start(["cat"], name="feed", labels={"purpose": "test"}, env={"PATH": os.environ["PATH"]})
    assert process.pid
    assert os.path.exists(f"/proc/{process.pid}")
    assert [one.id for one in await client.list("label.purpose=test")] == [process.id]
    assert await process.write(b"hello ") == 6
    assert await process.write(b"world") == 11
    await process.close_stdin()
    assert await output_of(process) == b"hello world"
    assert (await process.when_exited()).code == 0
    assert (await client.wait("feed", "ended")).eof == (0, 1, 2)
    assert (await client.inspect(process)).state is State.EXITED
    await client.remove(process)
    with pytest.raises(NoSuchProcess):
        await client.inspect("feed")
    await client.disconnect()


async def test_large_input_comes_back_whole(daemon: RunningDaemon) -> None:
    """Several windows' worth, written at once, through a program that takes its time."""
    client = await connected(daemon)
    process = await client.start(["cat"], hold=-1)
    data = os.urandom(1 << 20) * 8
    writing = gatherResults([process.write(data), process.write(b"the end"), process.close_stdin()])
    digest = hashlib.sha256(await output_of(process)).hexdigest()
    assert digest == hashlib.sha256(data + b"the end").hexdigest()
    assert (await writing)[:2] == [len(data), len(data) + 7]
    await client.remove(process)
    await client.disconnect()


async def test_large_output_to_a_slow_reader_is_held(daemon: RunningDaemon) -> None:
    """The daemon is paused and resumed on the way, and nothing is missing."""
    client = await connected(daemon)
    process = await client.start(["head", "-c", "20000000", "/dev/zero"], hold=-1)
    await deferLater(core, 0.2)
    total = 0
    async for item in process.output():
        assert isinstance(item, Output)
        assert item.offset == total
        total += len(item.payload)
        if total % 5 == 0:
            await deferLater(core, 0.001)
    assert total == 20000000
    await client.remove(process)
    await client.disconnect()


async def test_what_is_not_kept_is_a_gap(daemon: RunningDaemon) -> None:
    """Received and missing together are what was written."""
    client = await connected(daemon)
    process = await client.start(["head", "-c", "5000000", "/dev/zero"], attach=False, keep=65536)
    assert (await process.when_exited()).code == 0
    late = await client.attach(process)
    items = [item async for item in late.output()]
    assert sum(len(item.payload) for item in items if isinstance(item, Output)) <= 65536
    end = 0
    for item in items:
        assert end == (item.from_ if isinstance(item, Gap) else item.offset) or end == 0
        end = item.to if isinstance(item, Gap) else item.offset + len(item.payload)
    assert end == 5000000
    await client.remove(process)
    await client.disconnect()


async def test_kill_and_the_refusal_to_remove_what_runs(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    process = await client.start(["sleep", "60"])
    with pytest.raises(NotRunning):
        await client.remove(process)
    await process.kill()
    status = await process.when_exited()
    assert (status.code, status.signal) == (None, signal.SIGTERM)
    await client.remove(process)
    await client.disconnect()


async def test_a_terminal(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    process = await client.start(["sh", "-c", "stty size; read line; stty size; cat"], pty=True)
    lines = process.output()
    assert (await anext(lines)).payload.strip() == b"24 80"  # type: ignore[union-attr]
    await process.resize(10, 20)
    await process.write(b"\n")
    seen = b""
    while b"10 20" not in seen:
        seen += (await anext(lines)).payload  # type: ignore[union-attr]
    await process.close_stdin()
    assert (await process.when_exited()).code == 0
    await client.remove(process)
    await client.disconnect()


async def test_launch_failure(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    with pytest.raises(LaunchFailed) as caught:
        await client.start(["/nonexistent/program"])
    assert (caught.value.stage, caught.value.errno) == ("exec", 2)
    await client.disconnect()


async def test_two_clients_of_one_process(daemon: RunningDaemon) -> None:
    one, two = await connected(daemon), await connected(daemon)
    first = await one.start(["cat"])
    second = await two.attach(first.id)
    await second.write(b"from two")
    await second.close_stdin()
    assert await output_of(first) == await output_of(second) == b"from two"
    assert (await first.when_exited()).code == (await second.when_exited()).code == 0
    await one.disconnect()
    assert isinstance(await one.when_disconnected(), ConnectionClosed)
    await two.remove(first.id)
    await two.disconnect()


async def test_info(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    info = await client.info()
    assert info.pid == daemon.process.pid
    assert info.version == netdaemon.__version__
    assert info.instance == client.daemon.instance
    assert client.version == 2
    assert client.window == info.limits.window
    await client.disconnect()


async def test_start_cancelled_leaves_a_process_and_no_attachment(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    starting = client.start(["sleep", "60"], name="left")
    starting.cancel()
    with pytest.raises(CancelledError):
        await starting
    await client.wait("left", "running")
    # The answer to START may be on its way still; what it brings is given up when it comes.
    for _ in range(100):
        if not (await client.inspect("left")).attached:
            break
        await deferLater(core, 0.05)
    assert (await client.inspect("left")).attached == 0
    await client.kill("left", "KILL")
    await client.wait("left")
    await client.remove("left")
    await client.disconnect()


class Gathering(ProcessProtocol):
    """Output and the end."""

    def __init__(self) -> None:
        self.out = self.err = b""
        self.ended: Deferred[Any] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.value)


async def test_spawn_process_leaves_nothing(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    before = len(await client.list())
    protocol = Gathering()
    program = "import sys; sys.stderr.write('err'); sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"
    transport = client.spawnProcess(protocol, sys.executable, [sys.executable, "-c", program], env=None)
    transport.write(b"in")
    transport.closeStdin()
    reason = await protocol.ended
    assert (protocol.out, protocol.err) == (b"IN", b"err")
    assert isinstance(reason, ProcessTerminated)
    assert reason.exitCode == 3
    assert len(await client.list()) == before
    await client.disconnect()


async def test_a_terminal_is_hung_up(daemon: RunningDaemon) -> None:
    """As closing the master side does."""

    class Leaving(Gathering):
        def outReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.loseConnection()

    client, protocol = await connected(daemon), Leaving()
    client.spawnProcess(protocol, "/bin/sh", ["sh", "-c", "echo ready; sleep 60"], usePTY=True)
    reason = await protocol.ended
    assert isinstance(reason, ProcessTerminated)
    assert reason.signal == signal.SIGHUP
    await client.disconnect()


async def test_an_output_that_is_closed_breaks_the_pipe(daemon: RunningDaemon) -> None:
    class Leaving(Gathering):
        def outReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.closeStdout()

    client, protocol = await connected(daemon), Leaving()
    client.spawnProcess(protocol, "/usr/bin/yes")
    reason = await protocol.ended
    assert isinstance(reason, ProcessTerminated)
    assert reason.signal == signal.SIGPIPE
    await client.disconnect()


async def test_spawn_process_of_many(daemon: RunningDaemon) -> None:
    """One connection has room for many attachments at the same time."""
    client = await connected(daemon)
    protocols = [Gathering() for _ in range(30)]
    for number, protocol in enumerate(protocols):
        client.spawnProcess(protocol, "/bin/sh", ["sh", "-c", f"echo {number}"])
    reasons = await gatherResults([protocol.ended for protocol in protocols])
    assert all(isinstance(reason, ProcessDone) for reason in reasons)
    assert [int(protocol.out) for protocol in protocols] == list(range(30))
    missing = Gathering()
    client.spawnProcess(missing, "/nonexistent/program")
    assert isinstance(await missing.ended, ProcessNotStarted)
    await client.disconnect()


# --- connecting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["", "unix:", "/path", "tcp:host:1"])
def test_endpoints_that_there_are_not(endpoint: str) -> None:
    with pytest.raises(ValueError, match="unix:/path"):
        connect(core, endpoint)


def test_versions_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="1 and 2"):
        connect(core, "unix:/x", version=3)
    with pytest.raises(ValueError, match="SOCK_SEQPACKET"):
        connect(core, "unix-seqpacket:/x", version=2)


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="no such socket"):
        await connect(core, f"unix:{tmp_path}/none")


async def test_the_other_kind_of_socket(daemon: RunningDaemon) -> None:
    with pytest.raises(ConnectFailed, match="other kind"):
        await connect(core, f"unix:{daemon.seqpacket}")


async def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        with pytest.raises(TimedOut, match=r"0\.1 seconds"):
            await connect(core, f"unix:{tmp_path}/deaf", timeout=0.1)


async def test_connecting_can_be_cancelled(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        connecting = connect(core, f"unix:{tmp_path}/deaf", timeout=None)
        connecting.cancel()
        with pytest.raises(CancelledError):
            await connecting


def test_names_of_the_package() -> None:
    """What the package promises, loaded when it is asked for."""
    assert {"connect", "Client", "RemoteProcess", "NoSuchProcess", "__version__"} <= set(dir(netdaemon))
    assert netdaemon.Client is Client
    for name in ("nonsense", "_private", "wire_format"):
        with pytest.raises(AttributeError):
            getattr(netdaemon, name)


# --- its end: the last test, since it ends the daemon of this module


async def test_shutdown_ends_everything(daemon: RunningDaemon) -> None:
    client = await connected(daemon)
    process = await client.start(["sleep", "60"])
    exited, lost = process.when_exited(), client.when_disconnected()
    await client.shutdown(Fate.STOP)
    assert (await exited).signal == signal.SIGTERM
    assert isinstance(await lost, ConnectionClosed)
    with pytest.raises(ConnectionClosed):
        await client.info()
    assert daemon.process.wait(20) == 0
    assert "Traceback" not in daemon.log.read_text(encoding="utf-8", errors="replace")
