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

# How many descriptors may be stored where the manager does not say (systemd < 254), as in our unit. More would do harm:
# all their names together come in one variable, which the kernel refuses, and with it the start, from 128 KiB on.
ROOM = 4096


class Manager:
    """The service manager of this process, as its environment tells of it.

    :param environ: what belongs to this process alone is taken out of it.
    :ivar interval: seconds between two signs of life that it wants to hear; None: it does not.
    :ivar restarts: whether it is the one who starts this program again when that is killed.
    :ivar room: how many descriptors it stores.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        mine = str(os.getpid())
        self._address = environ.pop("NOTIFY_SOCKET", "")
        # Whatever was started from a service has its INVOCATION_ID; since systemd 248 it is told who is meant.
        invoked = bool(environ.get("INVOCATION_ID")) and environ.get("SYSTEMD_EXEC_PID", mine) == mine
        self.restarts = invoked or self.present
        self._passed = _passed(environ, mine)
        limit = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", mine) == mine
        self.interval = int(limit) / 2e6 if limit.isdecimal() and int(limit) and watched else None
        room = environ.pop("FDSTORE", "")
        self.room = min(int(room), ROOM) if room.isdecimal() else ROOM

    @property
    def present(self) -> bool:
        """Whether there is one that listens."""
        return bool(self._address)

    def tell(self, *lines: str, descriptors: Iterable[int] = ()) -> bool:
        """Say something, such as ``READY=1``; whether that could be done.

        Waits while its queue is full: what it was told is not lost by our death, and what was not told would be.
        One that does not listen any more is no reason to fail.
        """
        if not self._address:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        given = list(descriptors)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(given)}i", *given))] if given else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendmsg(["\n".join(lines).encode()], rights, 0, address)
            except OSError:
                return False
        return True

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

    def store(self, process: str, role: str, descriptor: int) -> bool:
        """Have a duplicate kept for the next run; whether it was told.

        Never polled: a pipe whose other end closes would be dropped.
        """
        return self.tell("FDSTORE=1", "FDPOLL=0", f"FDNAME={process}{BETWEEN}{role}", descriptors=(descriptor,))

    def unstore(self, process: str, role: str) -> None:
        """Have it closed."""
        self.tell("FDSTOREREMOVE=1", f"FDNAME={process}{BETWEEN}{role}")

    def discard(self) -> None:
        """Have everything closed that an earlier run has stored, here and there."""
        for process, roles in self.stored().items():
            for role, descriptor in roles.items():
                os.close(descriptor)
                self.unstore(process, role)


def _passed(environ: MutableMapping[str, str], mine: str) -> list[tuple[str, int]]:
    """The descriptors that were passed to this process, with their names; close-on-exec from here on."""
    owner, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if owner != mine or not count.isdecimal():
        return []
    named = names.split(":") if names else []
    passed = []
    for index in range(int(count)):
        try:
            os.set_inheritable(FIRST + index, False)
        except OSError:
            # Somebody has closed it, or it has never been.
            continue
        passed.append((named[index] if index < len(named) else "", FIRST + index))
    return passed


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
