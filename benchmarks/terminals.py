"""A program on a terminal and one client of it, without netdaemon: by the terminal's other end, tmux, and dtach.

tmux's client is one in control mode, which gets a line for each piece of output. dtach's client needs a terminal
itself, and passes on what comes on a socket: it is that socket which is read here, in its stead.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from benchmarks.place import WARM, Failed, carry_out
from benchmarks.programs import GO

# How each tells its version.
PROGRAMS = {"tmux": ["tmux", "-V"], "dtach": ["dtach", "--version"]}

# What is read at a time; a terminal gives 4 KiB at most.
RECEIVE = 256 * 1024

# Milliseconds without a byte, after which nothing more is expected.
PATIENCE = 10_000

# The size of the terminal, as a daemon's own default.
COLUMNS, ROWS = 80, 24

# A packet to dtach's master: what it is about, how many bytes of it count, and those.
PACKET = struct.Struct("BB8s")
PUSH, ATTACH = 0, 1


def versions() -> dict[str, str]:
    """The programs that are there, and their versions."""
    found = {}
    for name, command in PROGRAMS.items():
        if shutil.which(name) is not None:
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            number = re.search(r"\d[\w.]*", told)
            found[name] = number.group() if number else "of an unknown version"
    return found


class Terminal(ABC):
    """What one client has of a program on a terminal.

    :ivar descriptor: what becomes readable when there is output.
    """

    descriptor: int

    @abstractmethod
    def read(self) -> bytes:
        """What has come of the program's output; it waits for some."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Type something."""


class Plain(Terminal):
    """The terminal's other end, in this very process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self) -> bytes:
        return os.read(self.descriptor, RECEIVE)

    def write(self, data: bytes) -> None:
        os.write(self.descriptor, data)


class Tmux(Terminal):
    """A client in control mode: a line ``%output PANE TEXT`` for each piece, with control characters in octal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to = process.stdin.fileno()
        self.descriptor = process.stdout.fileno()
        self._rest = b""

    def read(self) -> bytes:
        got = os.read(self.descriptor, RECEIVE)
        whole, newline, rest = got.rpartition(b"\n")
        if not newline:
            self._rest += got
            return b""
        lines = (self._rest + whole).split(b"\n")
        self._rest = rest
        text = b"".join(line.split(b" ", 2)[2] for line in lines if line.startswith(b"%output "))
        # There are no others in what our programs write.
        return text.replace(b"\\015", b"\r").replace(b"\\012", b"\n")

    def write(self, data: bytes) -> None:
        key = b"Enter" if data == b"\n" else b"-l " + data
        os.write(self._to, b"send-keys %s\n" % key)


class Dtach(Terminal):
    """A connection to dtach's master: packets of eight bytes to it, and what the program writes from it."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self.descriptor = self._socket.fileno()
        self._socket.sendall(PACKET.pack(ATTACH, 0, b""))

    def read(self) -> bytes:
        return self._socket.recv(RECEIVE)

    def write(self, data: bytes) -> None:
        pieces = (data[at : at + 8] for at in range(0, len(data), 8))
        self._socket.sendall(b"".join(PACKET.pack(PUSH, len(piece), piece) for piece in pieces))


@contextlib.contextmanager
def _plain(place: str, argv: list[str]) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        try:
            yield Plain(ours)
        finally:
            process.kill()
            os.close(ours)


@contextlib.contextmanager
def _tmux(place: str, argv: list[str]) -> Iterator[Terminal]:
    command = ["tmux", "-S", f"{place}/tmux.sock", "-f", "/dev/null"]
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    process = subprocess.Popen(
        [*command, "-C", "new-session", *size, f"exec {shlex.join(argv)}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "TMUX"},
    )
    try:
        yield Tmux(process)
    finally:
        subprocess.run([*command, "kill-server"], stdout=subprocess.DEVNULL, check=True)
        process.communicate()


@contextlib.contextmanager
def _dtach(place: str, argv: list[str]) -> Iterator[Terminal]:
    path = f"{place}/dtach.sock"
    # In the foreground, without detaching by a key, without redrawing.
    command = ["dtach", "-N", path, "-E", "-z", "-r", "none", *argv]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) as process:
        while not os.path.exists(path):
            if process.poll() is not None:
                raise Failed(f"dtach has ended with {process.returncode}")
            time.sleep(0.01)
        try:
            yield Dtach(path)
        finally:
            process.terminate()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


KINDS = {"plain": _plain, "tmux": _tmux, "dtach": _dtach}


def _take(terminal: Terminal, size: int, have: bytes = b"") -> None:
    """Read so many bytes; *have* is the first of them."""
    poll = select.poll()
    poll.register(terminal.descriptor, select.POLLIN)
    count = len(have)
    while count < size:
        if not poll.poll(PATIENCE):
            raise Failed(f"{count} bytes have come of {size}, and no more")
        count += len(terminal.read())


def _begin(terminal: Terminal) -> bytes:
    """Have the program begin; what has come after its first word."""
    terminal.write(b"\n")
    have = b""
    while GO not in have:
        have += terminal.read()
    return have.partition(GO)[2]


def lines(kind: str, place: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Lines per second of a child that writes *count* of them, *size* bytes in all."""
    with KINDS[kind](place, argv) as terminal:
        time.sleep(WARM)
        begun = time.monotonic()
        _take(terminal, size, _begin(terminal))
        return {"rate": count / (time.monotonic() - begun)}


def echo(kind: str, place: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Microseconds from a few keys until a child has sent them back."""
    times = []
    payload = b"x" * size
    with KINDS[kind](place, argv) as terminal:
        time.sleep(WARM)
        _begin(terminal)
        for _ in range(count):
            begun = time.perf_counter()
            terminal.write(payload)
            _take(terminal, size)
            times.append(time.perf_counter() - begun)
    return {"microseconds": statistics.median(times) * 1e6}


TASKS: dict[str, Callable[..., dict[str, float]]] = {"lines": lines, "echo": echo}

if __name__ == "__main__":
    carry_out(TASKS)
