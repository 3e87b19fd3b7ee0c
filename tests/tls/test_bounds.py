"""What a client by TLS can cost, and what it cannot: memory, the others' time, their connections."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from netdaemon import BadRequest, ConnectFailed, ConnectionClosed, Credentials, Untrusted, blocking, connect
from netdaemon.wire.answers import Gap, Output, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Hello, List
from tests.blocking.proxy import limits
from tests.cli.support import PATIENCE
from tests.faults.test_memory import STALLED, Highest
from tests.faults.wire import eventually
from tests.support import LONG, Figure, writable
from tests.tls.support import Cutting, Keys, TlsDaemon, tls_daemon

core: Any = reactor

# A child that writes so many numbered lines.
FLOOD = "import sys\nfor n in range(int(sys.argv[1])): print(f'{n:079d}')"

MEBIBYTE = 1 << 20

# Length, id and command of a message.
HEAD = struct.Struct(">IIH")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("tls") / "keys")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[TlsDaemon]:
    """One for all of them; the last one kills it."""
    directory = tmp_path_factory.mktemp("daemon")
    directory.chmod(0o700)
    with tls_daemon(directory, keys) as one:
        yield one


def by_hand(daemon: TlsDaemon, keys: Keys) -> tuple[ssl.SSLSocket, ClientConnection]:
    """A connection on which HELLO has been answered."""
    context = ssl.create_default_context(cafile=keys.authority)
    context.load_cert_chain(keys.issue("deaf", "deaf.example.org"))
    sock = context.wrap_socket(
        socket.create_connection(("127.0.0.1", daemon.port), PATIENCE), server_hostname="localhost"
    )
    connection = ClientConnection()
    sock.sendall(connection.hello(Hello(client="deaf")))
    while True:
        connection.receive(sock.recv(4096))
        message = connection.next_message()
        if message is not None:
            assert isinstance(message[1], Welcome)
            return sock, connection


def test_requests_whose_answers_are_not_read(daemon: TlsDaemon, keys: Keys, figure: Figure) -> None:
    """G4: LIST, a million times, by a client that never reads: it gets to send no more at some point."""
    wanted = 1_000_000
    mine = keys.credentials("panel", "panel.example.org")
    with blocking.connect(daemon.endpoint, credentials=mine) as other:
        for _ in range(3):
            other.list()
            by_hand(daemon, keys)[0].close()
        deaf, connection = by_hand(daemon, keys)
        deaf.setblocking(False)
        asked = 0
        # Of each of them only the id is another.
        octets = connection.request(List())[1]
        length, _, command = HEAD.unpack_from(octets)
        box = octets[HEAD.size :]
        with Highest(daemon.daemon.process.pid) as highest:
            pending = b""
            while asked < wanted and writable(deaf, STALLED):
                if len(pending) < 65536:
                    pending += b"".join(HEAD.pack(length, id, command) + box for id in range(asked + 9, asked + 9009))
                    asked += 9000
                try:
                    pending = pending[deaf.send(pending) :]
                except ssl.SSLWantWriteError:
                    continue
            began = time.monotonic()
            other.list()
            taken = time.monotonic() - began
        deaf.close()
    figure("G4 by TLS, 1,000,000 LISTs never read: held back after", f"{asked:,}", "told to wait")
    figure("G4 by TLS, 1,000,000 LISTs never read: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +2 MiB")
    figure("G4 by TLS, 1,000,000 LISTs never read: another's LIST meanwhile", f"{taken * 1000:.1f} ms", "")
    assert asked < wanted
    assert highest.more <= 2


def test_a_flood_that_is_not_read(daemon: TlsDaemon, keys: Keys, figure: Figure) -> None:
    """G4, G1: one client reads all of it, another none; the memory is bounded, and nothing is missing untold."""
    count = 2_500_000 if LONG else 500_000
    mine = keys.credentials("panel", "panel.example.org")
    with blocking.connect(daemon.endpoint, credentials=mine, timeout=PATIENCE) as client:
        warm = client.start([sys.executable, "-S", "-c", FLOOD, "20000"], hold=-1)
        while not warm.finished:
            client.pump(1)
            while warm.take() is not None:
                pass
        deaf, _ = by_hand(daemon, keys)
        with Highest(daemon.daemon.process.pid) as highest:
            process = client.start([sys.executable, "-S", "-c", FLOOD, str(count)], hold=-1)
            stopped = blocking.connect(daemon.endpoint, credentials=mine)
            stopped.attach(process.id, from_=0)
            received = 0
            while not process.finished:
                client.pump(1)
                while (event := process.take()) is not None:
                    assert not isinstance(event, Gap)
                    if isinstance(event, Output):
                        received += len(event.payload)
        deaf.close()
        stopped.close()
    assert received == count * 80
    figure(
        f"G4 by TLS, flood of {received // 1_000_000} MB: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +8 MiB"
    )
    assert highest.more <= 8


def test_nothing_is_left_of_who_was_refused(daemon: TlsDaemon, keys: Keys, figure: Figure) -> None:
    """G12: handshakes that fail or are given up leave no descriptor and no memory."""
    count = 3000 if LONG else 300
    pid = daemon.daemon.process.pid
    mine = keys.credentials("panel", "panel.example.org")

    def knock(words: bytes) -> None:
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as sock:
            sock.sendall(words)
            if len(words) > 10:
                sock.recv(100)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with blocking.connect(daemon.endpoint, credentials=mine) as client:
        for _ in range(50):
            knock(b"this is no TLS at all")
            knock(b"\x16\x03\x01")
        before = descriptors()
        with Highest(pid) as highest:
            for _ in range(count):
                knock(b"this is no TLS at all")
                knock(b"\x16\x03\x01")
            client.info()
            eventually(lambda: descriptors() <= before)
    figure(
        f"G12 by TLS, {2 * count:,} handshakes that fail: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +2 MiB"
    )
    assert highest.more <= 2


def test_certificates_are_swapped_under_load(daemon: TlsDaemon, keys: Keys, tmp_path: Path) -> None:
    """Twenty clients are flooded: no connection is lost; whoever comes afterwards meets the new ones."""
    clients = 20
    lines = 40_000 if LONG else 8_000
    other = Keys(tmp_path / "other")
    mine = keys.credentials("panel", "panel.example.org")
    lost: list[object] = []
    received = [0] * clients
    begun = threading.Barrier(clients + 1)

    def follow(number: int) -> None:
        with blocking.connect(
            daemon.endpoint, credentials=mine, timeout=PATIENCE, on_disconnected=lost.append
        ) as client:
            process = client.start([sys.executable, "-S", "-c", "input()\n" + FLOOD, str(lines)], hold=-1)
            begun.wait(PATIENCE)
            process.stdin.put(b"go\n")
            while not process.finished:
                client.pump(1)
                while (event := process.take()) is not None:
                    received[number] += len(event.payload) if isinstance(event, Output) else 0

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    begun.wait(PATIENCE)
    old = Path(daemon.certificate).read_bytes(), Path(keys.authority).read_bytes()
    with blocking.connect(daemon.daemon.path) as here:
        for turn in range(4):
            other.issue("daemon", "localhost", "127.0.0.1")
            swapped = turn % 2 == 0
            Path(daemon.certificate).write_bytes(
                Path(other.directory / "daemon.pem").read_bytes() if swapped else old[0]
            )
            Path(keys.authority).write_bytes(Path(other.authority).read_bytes() if swapped else old[1])
            if turn:
                here.reload()
            else:
                os.kill(here.info().pid, signal.SIGHUP)
            ca = other if swapped else keys
            credentials = Credentials(certificate=ca.issue("later", "later.example.org"), authority=ca.authority)
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    blocking.connect(daemon.endpoint, credentials=credentials).close()
                    break
                except Untrusted:
                    # The signal has not come through yet.
                    assert turn == 0
                    assert time.monotonic() < deadline
        # What is of no use changes nothing, and whoever asked is told.
        Path(daemon.certificate).write_bytes(b"nonsense")
        with pytest.raises(BadRequest, match=f"TLS at 0.0.0.0:{daemon.port} stays as it was: certificate"):
            here.reload()
        Path(daemon.certificate).write_bytes(old[0])
        here.reload()
    blocking.connect(daemon.endpoint, credentials=mine).close()
    for thread in threads:
        thread.join(PATIENCE)
    assert lost == []
    assert received == [lines * 80] * clients


def test_between_two_machines(keys: Keys, tmp_path: Path) -> None:
    """Two network namespaces with a cable between them stand in for these."""
    names = [f"nd{os.getpid()}{side}" for side in "ab"]
    cable = [f"v{os.getpid() % 100_000}{side}" for side in "ab"]
    commands = [
        *(["ip", "netns", "add", name] for name in names),
        ["ip", "link", "add", cable[0], "netns", names[0], "type", "veth", "peer", "name", cable[1], "netns", names[1]],
        *(["ip", "-n", names[side], "addr", "add", f"192.0.2.{side + 1}/24", "dev", cable[side]] for side in (0, 1)),
        *(["ip", "-n", names[side], "link", "set", cable[side], "up"] for side in (0, 1)),
    ]
    try:
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, check=False, timeout=20)
            except FileNotFoundError:
                pytest.skip("there is no ip(8) here")
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.decode().strip()}")
        directory = tmp_path / "daemon"
        directory.mkdir(mode=0o700)
        inside = ["ip", "netns", "exec"]
        with tls_daemon(directory, keys, inside=[*inside, names[0]], hosts=("192.0.2.1",)) as daemon:
            client = keys.credentials("panel", "panel.example.org")
            program = (
                "import sys; from netdaemon import Credentials, blocking\n"
                "mine = Credentials(certificate=sys.argv[2], authority=sys.argv[3])\n"
                "with blocking.connect(sys.argv[1], credentials=mine) as client:\n"
                "    process = client.start(['/bin/cat'])\n"
                "    process.stdin.put(b'over there'); process.stdin.close()\n"
                "    while not process.finished: client.pump(1)\n"
                "    print(client.welcome.principal)\n"
            )
            command = [sys.executable, "-c", program, f"tls:192.0.2.1:{daemon.port}", str(client.certificate)]
            done = subprocess.run(
                [*inside, names[1], *command, keys.authority],
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )
            assert done.stdout == b"tls:dns:panel.example.org\n", done.stderr.decode()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, timeout=20)


async def test_the_deferred_client_comes_back(daemon: TlsDaemon, keys: Keys, cutting: Cutting) -> None:
    """However often the connection is cut, in the handshake too: all that cat is told comes back whole."""
    data = random.Random(5).randbytes(2 * MEBIBYTE)
    mine = keys.credentials("panel", "panel.example.org")
    # The first connection lasts until it is cut below: connecting for the first time is not repeated.
    between = cutting(daemon.port, [(1 << 62, 1 << 62), *limits(4, 5, least=500, most=100_000)])
    client = await connect(core, f"tls:localhost:{between.port}", credentials=mine)
    process = await client.start(["/bin/cat"], keep=16 * MEBIBYTE, hold=-1)
    between.cut()
    writing = gatherResults([process.write(data[:MEBIBYTE]), process.write(data[MEBIBYTE:]), process.close_stdin()])
    octets = bytearray()
    async for item in process.output():
        assert isinstance(item, Output)
        assert item.offset == len(octets) or not item.payload
        octets += item.payload
    assert octets == data
    await writing
    assert between.cuts >= 3
    await client.remove(process)
    await client.close()


def test_killed_under_a_flood(daemon: TlsDaemon, keys: Keys, figure: Figure) -> None:
    """G6: the daemon is killed again and again, and the keeper starts the next: no byte is missing or twice."""
    kills = 10 if LONG else 3
    lines = 40_000 * kills
    mine = keys.credentials("panel", "panel.example.org")
    with blocking.connect(daemon.endpoint, credentials=mine, timeout=PATIENCE) as client:
        process = client.start([sys.executable, "-S", "-c", FLOOD, str(lines)], hold=-1, keep=64 * MEBIBYTE)
        octets = bytearray()
        killed = 0
        while not process.finished:
            client.pump(1)
            while (event := process.take()) is not None:
                assert not isinstance(event, Gap)
                if isinstance(event, Output):
                    assert event.offset == len(octets) or not event.payload
                    octets += event.payload
            if killed < kills and len(octets) >= (killed + 1) * lines * 80 // (kills + 1):
                # What was on its way may go on for so long that the next daemon is not there yet.
                with suppress(ConnectFailed, ConnectionClosed), blocking.connect(daemon.daemon.path) as here:
                    os.kill(here.info().pid, signal.SIGKILL)
                    killed += 1
        assert killed == kills
    assert bytes(octets) == b"".join(b"%079d\n" % number for number in range(lines))
    figure(f"G6 by TLS, killed {kills} times under a flood: bytes lost", 0, "0")
