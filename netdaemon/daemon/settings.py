"""What a daemon is told at its start, with the reason for each default; knows nothing that is done with it."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field

from netdaemon.wire.commands import KEEP

# stdin, stdout, stderr, pidfd, spool, its map and stdin's file; a terminal has two relays besides.
DESCRIPTORS_A_PROCESS = 9

# Of one that has exited the spool stays, and its map while somebody reads it.
DESCRIPTORS_EXITED = 2

# What the interpreter, the reactor, the log and the listeners have open.
DESCRIPTORS_OF_OURS = 40

# Finished processes that stay listed with their output: a small site's crashes of a day, 100 MiB at most by default.
EXITED = 100

# Events that are kept: a week of a site with a thousand processes, in some 100 MB.
EVENTS = 200_000

# Finished processes that are remembered without their output, in some 10 MB.
RECORDS = 10_000

# Days for which either is kept at most.
DAYS = 30.0

# What can be asked for as the descriptor limit at least: with it there is room for three processes.
LEAST_DESCRIPTORS = 128

# Seconds between SIGTERM and SIGKILL when the daemon stops: shorter than a service manager's own patience.
GRACE = 10.0

# An eighth of the descriptors for what has exited at most, however many were asked for.
EXITED_SHARE = 8

# Half of the descriptors for clients at most: whoever connects must not keep processes from starting.
CLIENT_SHARE = 2


def descriptor_limit() -> int:
    """How many descriptors this process may have."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def default_clients(descriptors: int) -> int:
    """How many clients fit, with room for processes left."""
    return max(8, min(10_000, (descriptors - DESCRIPTORS_OF_OURS) // CLIENT_SHARE))


def default_processes(descriptors: int, clients: int, exited: int) -> int:
    """How many processes fit beside that many clients, and beside that many that have exited."""
    left = descriptors - DESCRIPTORS_OF_OURS - clients - exited * DESCRIPTORS_EXITED
    return max(1, left // DESCRIPTORS_A_PROCESS)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The daemon's limits and habits.

    :param state: a directory for spools; None keeps them in memory.
    :param runtime: a directory for the sockets on which processes say that they are ready; None: a temporary one.
    :param journal: where the database is if there is no *state*; None: in memory.
    :param events: how many are kept in the journal, and for how many days.
    :param records: how many finished processes are remembered, without their output, and for how many days.
    :param clients: connections at the same time; None: what the descriptor limit allows.
    :param processes: running at the same time; None likewise.
    :param exited: finished ones that stay listed; fewer where there are few descriptors.
    :param keep: output kept per process where START does not say, in bytes.
    :param grace: seconds from SIGTERM to SIGKILL when the daemon stops.
    """

    state: str | None = None
    runtime: str | None = None
    journal: str | None = None
    events: int = EVENTS
    events_days: float = DAYS
    records: int = RECORDS
    records_days: float = DAYS
    clients: int | None = None
    processes: int | None = None
    exited: int = EXITED
    keep: int = KEEP
    grace: float = GRACE
    descriptors: int = field(default_factory=descriptor_limit)

    @property
    def max_clients(self) -> int:
        return default_clients(self.descriptors) if self.clients is None else self.clients

    @property
    def max_processes(self) -> int:
        if self.processes is not None:
            return self.processes
        return default_processes(self.descriptors, self.max_clients, self.max_exited)

    @property
    def max_exited(self) -> int:
        return min(self.exited, self.descriptors // EXITED_SHARE // DESCRIPTORS_EXITED)
