"""The socket on which a process says that it is ready, and alive: sd_notify(3); knows no process.

Its file stays where it is over the daemon's death, and its descriptor with the keeper: what is said meanwhile waits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

# A message of sd_notify has a few lines.
MESSAGE = 4096

# Messages that are read in one turn.
AT_ONCE = 64

# By which name the keeper has it.
ROLE = "notify"

_log = Logger()


class NotifySocket:
    """One process's; what is said before `begin` waits.

    :param on_word: called with each line that was said, such as ``READY=1``.
    """

    def __init__(self, reactor: Any, descriptor: int, on_word: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0, descriptor)
        self._socket.setblocking(False)
        self._on_word = on_word

    def begin(self) -> None:
        """Hear it, from what waits on."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "notify"

    def doRead(self) -> None:
        for _ in range(AT_ONCE):
            try:
                # It stays there until what follows of it is saved: the next daemon hears it again, which does no harm.
                data = self._socket.recv(MESSAGE, socket.MSG_PEEK)
            except OSError:
                # There is nothing more; or no memory, and it will be told again.
                return
            for word in data.decode("utf-8", "replace").splitlines():
                self._on_word(word)
            if self._socket.fileno() < 0:
                return
            self._socket.recv(1)

    def connectionLost(self, reason: Any) -> None:
        """The reactor does not watch it any more."""

    def close(self) -> None:
        """Hear no more."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


def bind(path: str) -> int:
    """A socket at *path*, in place of what another run has left there.

    :raises OSError: there is none to be had.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        return sock.detach()
