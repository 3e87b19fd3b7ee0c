"""What tests share: the failures that were logged, and a real daemon in a process of its own, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twisted.python.failure import Failure

from netdaemon.wire.answers import Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Hello

# `make faults` runs the full counts of what is promised; the ordinary run a part of them.
LONG = bool(os.environ.get("NETDAEMON_LONG"))

# What the fixture of this name is called with: what was measured, the figure, what is promised.
Figure = Callable[[str, object, str], None]


class HasFileno(Protocol):
    """What select and poll take besides a descriptor."""

    def fileno(self) -> int: ...


# A descriptor, or what has one.
Pollable = int | HasFileno

# Seconds for the start and the end of a daemon on a busy machine.
PATIENCE = 30.0


def readable(file: Pollable, patience: float) -> bool:
    """Wait until it can be read, or has ended; whether that was so within so many seconds."""
    return _polled(file, select.POLLIN, patience)


def writable(file: Pollable, patience: float) -> bool:
    """Wait until it can be written; whether that was so within so many seconds."""
    return _polled(file, select.POLLOUT, patience)


def _polled(file: Pollable, events: int, patience: float) -> bool:
    # Not select: a test of many clients has descriptors above what that takes.
    poll = select.poll()
    poll.register(file, events)
    return bool(poll.poll(patience * 1000))


class Logged(list[Failure]):
    """The failures that were logged during a test; those left in it at the end fail the test."""

    def flush(self, *kinds: type[BaseException]) -> list[Failure]:
        """Take out those of these kinds, or all: they were expected."""
        found = [one for one in self if not kinds or one.check(*kinds)]
        self[:] = [one for one in self if one not in found]
        return found


@dataclass(frozen=True)
class RunningDaemon:
    """Where it listens, what it logs, and which process it is."""

    path: str
    seqpacket: str
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running_daemon(directory: Path, *options: str, inside: Sequence[str] = ()) -> Iterator[RunningDaemon]:
    """A daemon with its sockets in *directory*, whose mode must be 0700; it has answered HELLO.

    :param inside: a command that executes the one after it, with a limit or in a place of its own.
    """
    path, packets, log = str(directory / "stream"), str(directory / "packets"), directory / "log"
    command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "netdaemon"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*inside, *command, f"--socket={path}", f"--seqpacket={packets}", "--grace=2", *options],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_hello(path, process, log)
        yield RunningDaemon(path, packets, log, process)
    finally:
        end_daemon(path, process)


def keeper_pid(path: str) -> int | None:
    """The keeper of the daemon whose socket is at *path*; None: there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        try:
            sock.connect(path + ".keeper")
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def end_daemon(path: str, process: subprocess.Popen[bytes]) -> None:
    """End the daemon at *path*, its processes and its keeper; *process* is what was started as the daemon first."""
    keeper = keeper_pid(path)
    if keeper is not None:
        # It has the daemon end everything, or does itself if there is none.
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(keeper)
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            if not readable(pidfd, PATIENCE):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_hello(path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a daemon answers: its socket exists before it listens."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if os.path.exists(path) and _says_hello(path):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the daemon did not start:\n{log.read_text(errors='replace')}")


def _says_hello(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(path)
        except OSError:
            return False
        connection = ClientConnection()
        sock.sendall(connection.hello(Hello(client="test")))
        while True:
            octets = sock.recv(65536)
            if not octets:
                return False
            connection.receive(octets)
            received = connection.next_message()
            if received is not None:
                return isinstance(received[1], Welcome)
