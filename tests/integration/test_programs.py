"""Real programs, as their hosts run them: a game server, terminals, a database, a gigabyte."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.blocking import Client, RemoteProcess
from netdaemon.wire.answers import Gap, Output
from netdaemon.wire.records import Pty, State
from tests.support import LONG, RunningDaemon

PATIENCE = 120.0
BIN = Path(sys.executable).parent

OPENTTD = shutil.which("openttd", path="/usr/games:/usr/local/games:" + os.environ.get("PATH", ""))
REDIS = shutil.which("redis-server")

# What is copied; in the short form a sixteenth.
COPY = (1 << 30) if LONG else (64 << 20)


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[Client]:
    with blocking.connect(daemon.path, timeout=PATIENCE) as connected:
        yield connected


def free_port() -> int:
    """A port on loopback that nobody has just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Console:
    """What one attachment has shown, in the order of its offsets."""

    def __init__(self, process: RemoteProcess, before: bytes = b"") -> None:
        self.process = process
        self.text = before
        self.offset = len(before)

    def until(self, words: bytes) -> bytes:
        """Read on until *words* have been shown; all that was shown."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.text:
            event = self.process.next_event(timeout=max(0.0, deadline - time.monotonic()))
            assert event is not None, self.text.decode(errors="replace")
            assert not isinstance(event, Gap)
            if isinstance(event, Output):
                assert event.offset == self.offset
                self.offset += len(event.payload)
                self.text += event.payload
        return self.text


@pytest.mark.skipif(OPENTTD is None, reason="openttd is not installed")
def test_openttd(daemon: RunningDaemon, client: Client, tmp_path: Path) -> None:
    """Its map made, a command answered; the client killed and followed up from its last byte; `quit`, exit 0."""
    assert OPENTTD is not None
    config = tmp_path / "openttd.cfg"
    config.write_text("[misc]\n")
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    argv = [OPENTTD, "-D", f"127.0.0.1:{free_port()}", "-g", "-c", str(config)]
    record = client.start_detached(argv, env=env, name="openttd", merge=True)
    try:
        # A client of its own, in a process of its own, killed in the middle of the map generation.
        victim = subprocess.Popen(
            [BIN / "ndtool", "--socket", daemon.path, "attach", "--read-only", "openttd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert victim.stdout is not None
        seen = b""
        while b"Map generation percentage complete: 3" not in seen:
            piece = os.read(victim.stdout.fileno(), 65536)
            assert piece, seen.decode(errors="replace")
            seen += piece
        victim.send_signal(signal.SIGKILL)
        seen += victim.stdout.read()
        victim.wait()
        victim.stdout.close()

        console = Console(client.attach("openttd", from_=len(seen)), seen)
        console.until(b"Map generated, starting game")
        console.process.write(b"server_info\n")
        console.until(b"Current/maximum clients")
        # Nothing is missing and nothing is twice: the two parts are what is kept of it from the beginning.
        with blocking.connect(daemon.path) as other:
            whole = Console(other.attach("openttd", from_=0, read_only=True))
            whole.until(b"Current/maximum clients")
        both = console.text
        # Either may have read on a little further than the other.
        common = min(len(whole.text), len(both))
        assert whole.text[:common] == both[:common]
        steps = [line.rpartition(b" ")[2] for line in both.splitlines() if b"percentage complete" in line]
        assert [int(step) for step in steps] == [*range(5, 95, 5), 99]
        console.process.write(b"quit\n")
        ended = client.wait("openttd")
        assert (ended.state, ended.code, ended.signal) == (State.EXITED, 0, None)
    finally:
        forget(client, record.id)


def forget(client: Client, process: str) -> None:
    """Kill what still runs of it, and remove it."""
    if client.inspect(process).state is not State.EXITED:
        client.kill(process, signal.SIGKILL)
        client.wait(process)
    client.remove(process)


def test_python_in_a_terminal(client: Client) -> None:
    """The prompt, an answer, an interrupt that does not end it, the end of input that does."""
    pty = Pty(rows=30, columns=90, term="dumb")
    env = {"PATH": os.environ["PATH"], "PYTHON_BASIC_REPL": "1"}
    process = client.start([sys.executable, "-q"], env=env, pty=pty)
    try:
        console = Console(process)
        console.until(b">>> ")
        process.write(b"import os; print(6 * 7, os.get_terminal_size().columns, os.isatty(0))\n")
        console.until(b"42 90 True")
        process.write(b"import time; print('now'); time.sleep(60)\n")
        console.until(b"now\r\n")
        process.write(b"\x03")
        console.until(b"KeyboardInterrupt")
        process.resize(10, 133)
        process.write(b"print(os.get_terminal_size().columns)\n")
        console.until(b"133")
        process.close_stdin()
        assert client.wait(process.id).code == 0
    finally:
        forget(client, process.id)


def test_bash_in_a_terminal(client: Client) -> None:
    """Job control works: it is the terminal's owner; the terminal's interrupt reaches the job and not the shell."""
    env = {"PATH": os.environ["PATH"], "PS1": "prompt# "}
    process = client.start(["bash", "--norc", "--noprofile", "-i"], env=env, pty=Pty(term="dumb"))
    try:
        console = Console(process)
        console.until(b"prompt# ")
        assert b"no job control" not in console.text
        process.write(b"sleep 60; echo after=$?\n")
        time.sleep(0.3)
        process.write(b"\x03")
        process.write(b"echo code=$?; tty; stty size\n")
        console.until(b"24 80")
        assert b"code=130" in console.text
        assert b"/dev/pts/" in console.text
        process.write(b"exit 9\n")
        assert client.wait(process.id).code == 9
    finally:
        forget(client, process.id)


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
def test_redis(client: Client, tmp_path: Path) -> None:
    """Its log followed, its port asked, its SHUTDOWN seen as exit 0."""
    assert REDIS is not None
    port = free_port()
    argv = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = client.start(argv, env={"PATH": os.environ["PATH"]})
    try:
        console = Console(process)
        console.until(b"eady to accept connections")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as asking:
            asking.sendall(b"PING\r\n")
            assert asking.recv(100) == b"+PONG\r\n"
            asking.sendall(b"SHUTDOWN NOSAVE\r\n")
        console.until(b"bye bye")
        assert client.wait(process.id).code == 0
    finally:
        forget(client, process.id)


def test_a_copy_is_the_same(daemon: RunningDaemon) -> None:
    """So much through `ndtool start -- cat`, in and out: the same SHA-256."""
    ndtool = subprocess.Popen(
        [BIN / "ndtool", "--socket", daemon.path, "start", "--rm", "--", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    sent = hashlib.sha256()

    def feed() -> None:
        assert ndtool.stdin is not None
        block = os.urandom(1 << 20)
        for number in range(COPY >> 20):
            # No two blocks are alike, and none can be left out or come twice unseen.
            piece = number.to_bytes(8, "big") + block[8:]
            sent.update(piece)
            ndtool.stdin.write(piece)
        ndtool.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    received, length = hashlib.sha256(), 0
    assert ndtool.stdout is not None
    while piece := ndtool.stdout.read(1 << 20):
        received.update(piece)
        length += len(piece)
    feeder.join()
    assert ndtool.wait() == 0
    ndtool.stdout.close()
    assert length == COPY
    assert received.digest() == sent.digest()
