"""A service manager that does what systemd does with sockets, messages and stored descriptors, and a world under it."""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from netdaemon.systemd import ROOM
from tests.faults.wire import eventually
from tests.support import keeper_pid
from tests.survive.world import TWISTD, Death, World, within

PASSING = str(Path(__file__).with_name("passing.py"))

# As systemd has them in the environment of a service; the last in that of its descendants, too.
VARIABLES = ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE")

_libc = ctypes.CDLL(None, use_errno=True)
_KCMP = {"x86_64": 312, "aarch64": 272}[platform.machine()]


def same(one: int, other: int) -> bool:
    """Whether two descriptors are duplicates: systemd drops the second."""
    return bool(_libc.syscall(_KCMP, os.getpid(), os.getpid(), 0, one, other) == 0)


class FakeManager:
    """Hears what a service says.

    :param place: a directory for its socket; None: an abstract one.
    :param room: how many descriptors it stores; it says nothing of those that are too many.
    :ivar heard: all messages, as lines.
    :ivar store: what it keeps: name and descriptor.
    """

    def __init__(self, place: Path | None, room: int = ROOM) -> None:
        self.address = f"@netdaemon-{secrets.token_hex(6)}" if place is None else str(place / "notify")
        self.heard: list[list[str]] = []
        self.store: list[tuple[str, int]] = []
        self.environment: dict[str, str] = {}
        self._room = room
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + self.address[1:] if place is None else self.address)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            octets, descriptors, _, _ = socket.recv_fds(self._sock, 4096, 100)
            lines = octets.decode().split("\n")
            if not octets:
                return
            name = next((line[7:] for line in lines if line.startswith("FDNAME=")), "stored")
            if "FDSTOREREMOVE=1" in lines:
                for entry in [entry for entry in self.store if entry[0] == name]:
                    self.store.remove(entry)
                    os.close(entry[1])
            for descriptor in descriptors:
                assert "FDPOLL=0" in lines
                twice = any(same(descriptor, kept) for _, kept in self.store)
                if "FDSTORE=1" in lines and not twice and len(self.store) < self._room:
                    self.store.append((name, descriptor))
                else:
                    os.close(descriptor)
            self.heard.append(lines)

    def wait(self, line: str, count: int = 1) -> None:
        """Until it has been said so many times."""
        eventually(lambda: sum(line in lines for lines in self.heard) >= count)

    def said(self, line: str) -> int:
        """How many times."""
        return sum(line in lines for lines in self.heard)

    def roles(self) -> dict[str, set[str]]:
        """What is stored, by process."""
        found: dict[str, set[str]] = {}
        for name, _ in list(self.store):
            process, _, role = name.partition(".")
            found.setdefault(process, set()).add(role)
        return found

    def start(
        self, command: Sequence[str], *, sockets: Sequence[socket.socket] = (), **more: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program as a service, with these sockets and what is stored."""
        stored = list(self.store)
        passed = [*(one.fileno() for one in sockets), *(descriptor for _, descriptor in stored)]
        names = ["netdaemon.socket"] * len(sockets) + [name for name, _ in stored]
        env = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "SYSTEMD_EXEC_PID")}
        env |= {"NOTIFY_SOCKET": self.address, "LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(names)}
        numbers = ",".join(map(str, passed))
        return subprocess.Popen(
            [sys.executable, "-I", "-S", PASSING, numbers, *command],
            env={**env, **self.environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=passed,
            **more,
        )

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()
        for _, descriptor in self.store:
            os.close(descriptor)


class Managed(World):
    """A world whose daemons are started by a manager."""

    def __init__(self, *options: str, abstract: bool = False, room: int = ROOM) -> None:
        super().__init__(*options)
        self.manager = FakeManager(None if abstract else self.directory, room)
        self.sockets: list[socket.socket] = []
        self.options = [f"--socket={self.path}", "--grace=2", *self._options]

    def start(self) -> None:
        self.process = self.manager.start(
            [TWISTD, "-n", "--pidfile=", "netdaemon", *self.options],
            sockets=self.sockets,
            cwd=self.directory,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def listen(self, path: str, kind: int = socket.SOCK_STREAM, mode: int = 0o600) -> socket.socket:
        """A socket that the manager listens on, and passes."""
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(path)
        os.chmod(path, mode)
        sock.listen(100)
        self.sockets.append(sock)
        return sock

    def kill_both(self, *, keeper_first: bool) -> None:
        """Daemon and keeper, at once."""
        keeper = keeper_pid(self.path)
        assert keeper is not None
        victims = [Death(self.process.pid), Death(keeper)]
        for one in victims[::-1] if keeper_first else victims:
            one.send(9)
        for one in victims:
            assert one.wait()
            one.close()
        self.process.wait()

    def close(self, *, sound: bool = True) -> None:
        try:
            super().close(sound=sound)
        finally:
            self.manager.close()
            for sock in self.sockets:
                sock.close()


def managed(*options: str, **more: Any) -> AbstractContextManager[Managed]:
    """Such a world; nothing has been started."""
    return within(Managed(*options, **more))
