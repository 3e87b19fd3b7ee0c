"""What systemd and a service say to each other: readiness, watchdog, sockets, stored descriptors; no reactor.

See sd_notify(3) and sd_listen_fds(3). Where there is no service manager, everything here does nothing.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, MutableMapping

# The first descriptor that a service manager passes.
FIRST = 3

# Between the process and the role in the name of a stored descriptor; a name has no colon.
BETWEEN = "."


class Manager:
    """The service manager of this process, as its environment tells of it.

    :param environ: what belongs to this process alone is taken out of it.
    :ivar interval: seconds within which it wants to hear that this program is alive; None: it does not.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = str(os.getpid())
        self._passed: list[tuple[str, int]] = []
        if environ.pop("LISTEN_PID", "") == mine:
            names = environ.get("LISTEN_FDNAMES", "").split(":")
            count = int(environ.get("LISTEN_FDS", "0"))
            self._passed = [(names[index] if index < len(names) else "", FIRST + index) for index in range(count)]
            for _, descriptor in self._passed:
                os.set_inheritable(descriptor, False)
        for name in ("LISTEN_FDS", "LISTEN_FDNAMES"):
            environ.pop(name, None)
        limit = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", mine) == mine
        self.interval = int(limit) / 2e6 if limit.isdecimal() and int(limit) and watched else None

    @property
    def present(self) -> bool:
        """Whether there is one that listens."""
        return bool(self._address)

    def tell(self, *lines: str, descriptors: Iterable[int] = ()) -> None:
        """Say something, such as ``READY=1``. One that does not listen any more is no reason to fail."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        given = list(descriptors)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(given)}i", *given))] if given else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendmsg(["\n".join(lines).encode()], rights, 0, address)
            except OSError:
                pass

    # --- descriptors -------------------------------------------------------------------------------------------------

    def sockets(self) -> list[socket.socket]:
        """The listening UNIX sockets that were passed; owned by the caller from here on."""
        found, rest = [], []
        for name, descriptor in self._passed:
            sock = _listener(descriptor)
            if sock is None:
                rest.append((name, descriptor))
            else:
                found.append(sock)
        self._passed = rest
        return found

    def stored(self) -> dict[str, dict[str, int]]:
        """The descriptors that an earlier run has stored, by process and role; owned by the caller from here on."""
        found: dict[str, dict[str, int]] = {}
        for name, descriptor in self._passed:
            process, between, role = name.partition(BETWEEN)
            if between and role not in found.setdefault(process, {}):
                found[process][role] = descriptor
            else:
                os.close(descriptor)
        self._passed = []
        return found

    def store(self, process: str, role: str, descriptor: int) -> None:
        """Have a duplicate kept for the next run. Never polled: a pipe whose other end closes would be dropped."""
        self.tell("FDSTORE=1", "FDPOLL=0", f"FDNAME={process}{BETWEEN}{role}", descriptors=(descriptor,))

    def unstore(self, process: str, role: str) -> None:
        """Have it closed."""
        self.tell("FDSTOREREMOVE=1", f"FDNAME={process}{BETWEEN}{role}")


def _listener(descriptor: int) -> socket.socket | None:
    """A listening UNIX socket, or None if it is something else."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if sock.family == socket.AF_UNIX and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return sock
    sock.detach()
    return None
