"""Who may use the daemon; decides on what the kernel says of a peer, never on what the peer says."""

from __future__ import annotations

import os
from dataclasses import dataclass

from netdaemon.errors import Denied

# What the kernel gives for a user or process that has no name on this side of a namespace.
UNKNOWN_UID = 65534
UNKNOWN_PID = 0


@dataclass(frozen=True)
class Principal:
    """On whose behalf a connection speaks; fixed when it is made."""

    uid: int

    def __str__(self) -> str:
        return f"uid:{self.uid}"


@dataclass(frozen=True)
class OwnerPolicy:
    """The daemon's own user and root may do everything, nobody else anything."""

    uid: int

    @classmethod
    def of_this_process(cls) -> OwnerPolicy:
        """For the user that the daemon runs as."""
        return cls(os.geteuid())

    def admit(self, credentials: tuple[int, int, int]) -> Principal:
        """The principal of a peer with these (pid, uid, gid).

        :raises Denied: it may not use this daemon.
        """
        pid, uid, _gid = credentials
        if uid == UNKNOWN_UID or pid == UNKNOWN_PID:
            raise Denied("the kernel does not know who you are here; connect from the daemon's own namespaces")
        if uid not in (self.uid, 0):
            raise Denied(f"uid {uid} may not use this daemon; it serves uid {self.uid} and root")
        return Principal(uid)
