"""Stands between a client and a real daemon, and cuts their connection wherever it likes: also within a message."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards what comes to *path* to *target*.

    A connection is cut once so many bytes have gone in one of its directions; after that what was read of it is
    dropped, so that a request may have been carried out and its reply be lost.

    :param limits: for each connection in turn, how many bytes may go (to the daemon, to the client); when there are
        no more of these, connections last.
    :ivar cuts: how many there have been.
    :ivar pieces: how often something went up to the daemon: HELLO, and when that is answered a request.
    """

    def __init__(self, path: str, target: str, limits: Iterable[tuple[int, int]] = ()) -> None:
        self.path = path
        self.cuts = 0
        self.pieces = 0
        self._target = target
        self._limits = iter(limits)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.listen()

    def listen(self) -> None:
        """Be there (again)."""
        self._listener = listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        self._run(self._accept, listener)

    def die(self) -> None:
        """Be gone, with all connections, as a daemon that was killed."""
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        os.unlink(self.path)
        self.cut()

    def cut(self) -> None:
        """Cut all connections that there are."""
        with self._lock:
            cut, self._open = self._open, []
        for sock in cut:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._listener is not None:
            self.die()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _run(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._run(self._serve, client)

    def connect(self) -> socket.socket:
        """A connection to the daemon."""
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(self._target)
        return daemon

    def _serve(self, client: socket.socket) -> None:
        with client, self.connect() as daemon:
            with self._lock:
                self._open += [client, daemon]
                up, down = next(self._limits, (1 << 62, 1 << 62))
            other = threading.Thread(target=self._forward, args=(daemon, client, down, False), daemon=True)
            other.start()
            self._forward(client, daemon, up, True)
            other.join(10)

    def _forward(self, source: socket.socket, sink: socket.socket, limit: int, up: bool) -> None:
        gone = 0
        with suppress(OSError):
            while octets := source.recv(65536):
                piece = octets[: limit - gone]
                sink.sendall(piece)
                if up:
                    with self._lock:
                        self.pieces += 1
                gone += len(piece)
                if gone >= limit:
                    with self._lock:
                        self.cuts += 1
                    break
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def limits(count: int, seed: int, *, least: int, most: int, ways: str = "ud") -> Iterator[tuple[int, int]]:
    """Where *count* connections are cut: after so many bytes, on the way up to the daemon or down from it."""
    chance = random.Random(seed)
    for _ in range(count):
        far, near = 1 << 62, chance.randrange(least, most)
        yield (near, far) if chance.choice(ways) == "u" else (far, near)


@contextmanager
def proxy(directory: str, target: str, cuts: Iterable[tuple[int, int]] = ()) -> Iterator[Proxy]:
    """A proxy at ``directory/x``."""
    between = Proxy(os.path.join(directory, "x"), target, cuts)
    try:
        yield between
    finally:
        between.close()
