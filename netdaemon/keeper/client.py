"""One daemon as its keeper has it: who it is, how it is started again, what it is being handed; decides nothing."""

from __future__ import annotations

import os
import socket
import struct

from netdaemon.keeper.child import has_exited
from netdaemon.keeper.messages import Channel, Torn, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Linux 6.5: the pidfd of who connected, which cannot be another's by now.
SO_PEERPIDFD = 77

_CREDENTIALS = struct.Struct("3i")


class Command:
    """How a program is started: what is executed, its arguments, its environment, where."""

    __slots__ = ("argv", "cwd", "env", "path")

    def __init__(self, path: bytes, argv: Sequence[bytes], env: Iterable[bytes], cwd: bytes) -> None:
        self.path = path
        self.argv = list(argv)
        self.env = list(env)
        self.cwd = cwd

    def pack(self) -> bytes:
        return pack((self.path, self.cwd, pack(self.argv), pack(self.env)))

    @classmethod
    def unpack(cls, octets: bytes) -> Command:
        """:raises Torn: it is none."""
        fields = unpack(octets)
        if len(fields) != 4:
            raise Torn(f"a command of {len(fields)} fields")
        return cls(fields[0], unpack(fields[2]), unpack(fields[3]), fields[1])


class Daemon:
    """A daemon that has connected.

    :ivar command: how it is started again; None: it has not introduced itself.
    :ivar restart: whether that is ours to do when it is killed.
    :ivar farewell: it has said that it ends, and that this is no crash.
    :ivar left: the ids of the processes that it is still to be handed; None: it has been handed all.
    """

    def __init__(self, channel: Channel, pid: int, pidfd: int) -> None:
        self.channel: Channel | None = channel
        self.pid = pid
        self.pidfd = pidfd
        self.command: Command | None = None
        self.restart = False
        self.farewell = False
        self.left: list[str] | None = []
        self.since = 0.0

    @classmethod
    def of_connection(cls, sock: socket.socket) -> Daemon:
        """Whoever has connected.

        :raises PermissionError: it is somebody else's.
        :raises OSError: it has gone already.
        """
        pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid not in (0, os.geteuid()):
            raise PermissionError(f"uid {uid} is not ours")
        try:
            pidfd = sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
            os.set_inheritable(pidfd, False)
        except OSError:
            pidfd = os.pidfd_open(pid)
        return cls(Channel(sock), pid, pidfd)

    @property
    def alive(self) -> bool:
        """Whether it can still touch anything that it was handed. A lost connection says nothing."""
        return self.pidfd >= 0 and not has_exited(self.pidfd)

    @property
    def ready(self) -> bool:
        """Whether it has been handed everything."""
        return self.channel is not None and self.left is None

    def hang_up(self) -> None:
        """Close the connection."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def close(self) -> None:
        """Forget it."""
        self.hang_up()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
