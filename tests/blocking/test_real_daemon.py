"""The client on a plain socket, with a real daemon."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.blocking import Client
from netdaemon.errors import ConnectionClosed, LaunchFailed, NameTaken, NoSuchProcess
from netdaemon.wire.answers import End, Gap, Output
from netdaemon.wire.records import Fate, Pty, Reason, Until
from tests.cli.support import Daemon


@pytest.fixture(scope="module")
def real() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        running = Daemon(Path(directory))
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def client(real: Daemon) -> Iterator[Client]:
    with real.client() as connected:
        yield connected


def test_a_process_from_start_to_removal(client: Client) -> None:
    remote = client.start(["sh", "-c", 'read line; echo "$line $A"; echo err >&2; exit 3'], env={"A": "b"}, name="job")
    assert client.inspect("job").id == remote.id
    assert remote.write(b"hello\n") == 6
    assert remote.read() == (b"hello b\n", b"err\n")
    assert client.wait("job", timeout=30).code == 3
    with client.attach("job") as again:
        assert again.read() == (b"hello b\n", b"err\n")
        assert again.wait().code == 3
    with pytest.raises(NameTaken):
        client.start_detached(["true"], name="job")
    client.remove("job")
    with pytest.raises(NoSuchProcess):
        client.inspect("job")


def test_a_launch_that_fails_says_where_and_why(client: Client) -> None:
    with pytest.raises(LaunchFailed) as raised:
        client.start(["/no/such/program"])
    assert (raised.value.stage, raised.value.errno) == ("exec", errno.ENOENT)


def test_many_attachments_on_one_connection(client: Client) -> None:
    """Each gets its own bytes, whatever the order in which they are asked for."""
    remotes = [client.start(["sh", "-c", f"cat; seq {number} 20000"], hold=-1) for number in range(8)]
    for number, remote in enumerate(remotes):
        remote.write(b"%d\n" % number * 1000)
        remote.close_stdin()
    for number, remote in reversed(list(enumerate(remotes))):
        out, _ = remote.read()
        assert out == b"%d\n" % number * 1000 + b"".join(b"%d\n" % line for line in range(number, 20001))
        client.remove(remote.id)


def test_what_a_reader_that_holds_does_not_take_is_not_lost(client: Client) -> None:
    """More than is kept, than the queue holds and than the socket: the process waits."""
    remote = client.start(["head", "-c", "20000000", "/dev/zero"], hold=-1)
    time.sleep(0.5)
    client.info()
    total = 0
    for event in remote.events(Until.EXITED):
        assert not isinstance(event, Gap)
        if isinstance(event, Output):
            total += len(event.payload)
    assert total == 20_000_000
    client.remove(remote.id)


def test_what_a_reader_that_drops_does_not_take_is_told(client: Client) -> None:
    remote = client.start(["head", "-c", "20000000", "/dev/zero"], hold=0)
    remote.flow(True)
    client.wait(remote.id, timeout=30)
    remote.flow(False)
    received = gaps = 0
    for event in remote:
        if isinstance(event, Output):
            received += len(event.payload)
        elif isinstance(event, Gap):
            gaps += event.to - event.from_
    assert gaps
    assert received + gaps == 20_000_000
    client.remove(remote.id)


def test_a_terminal(client: Client) -> None:
    script = "trap 'stty size; exit 5' WINCH; stty size; while :; do sleep 0.05; done"
    remote = client.start(["bash", "-c", script], env={"PATH": os.environ["PATH"]}, pty=Pty(rows=10, columns=20))
    event = remote.next_event(30)
    assert isinstance(event, Output)
    assert event.payload == b"10 20\r\n"
    remote.resize(30, 40)
    assert remote.read() == (b"30 40\r\n", b"")
    assert remote.wait(30).code == 5
    client.remove(remote.id)


@pytest.mark.parametrize("packets", [False, True])
def test_version_1_with_a_real_daemon(real: Daemon, packets: bool) -> None:
    path = real.packets if packets else real.socket
    data = os.urandom(1_000_000)
    with blocking.connect(path, version=1, packets=packets) as old:
        remote = old.start(["/bin/cat"])
        got = bytearray()
        offset = 0
        deadline = time.monotonic() + 60
        while len(got) < len(data):
            assert time.monotonic() < deadline
            offset += remote.stdin.put(memoryview(data)[offset : offset + 65536])
            old.pump(1)
            while (event := remote.take()) is not None:
                assert isinstance(event, Output)
                got += event.payload
        assert got == data
        remote.close_stdin()
        assert remote.wait(30).code == 0


def pump_for_ever(client: Client) -> None:
    while True:
        client.pump(30)


def test_the_end_of_the_daemon_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        daemon = Daemon(Path(directory))
        try:
            with daemon.client() as client:
                remote = client.start(["sleep", "100"])
                client.shutdown(Fate.STOP)
                with pytest.raises(ConnectionClosed):
                    pump_for_ever(client)
                events = []
                while (event := remote.take()) is not None:
                    events.append(event)
            assert events[-1] == End(reason=Reason.SHUTDOWN)
            assert daemon.process.wait(30) == 0
        finally:
            daemon.stop()
