"""What a daemon is told at its start, with the reason for each default; knows nothing that is done with it."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field

from netdaemon.daemon.rates import BURST, Rate
from netdaemon.wire.commands import KEEP
from netdaemon.wire.frame import MAX_MESSAGE

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

# Half of the clients, and of the processes, for each user: one cannot take all. Root and the daemon's own user can:
# they could end the daemon, too, and where there is nobody else, as is usual, half of the room would be for nobody.
EACH_SHARE = 2

# Half of the clients for those that have not said HELLO, so that whoever says nothing cannot keep out those who do.
# They say it at once: only a program that opens thousands of connections before it sends anything has as many.
NEWCOMER_SHARE = 2

# Connections that only root and the daemon's own user may have: whoever is to put things right gets in. If there are
# few in all, an eighth.
RESERVED = 8
RESERVED_SHARE = 8

# What all clients together may have of unfinished messages: some of the largest, and no more memory than a few spools.
INPUT_BUDGET = 16 << 20

# Less, and one client's largest message would be another's end.
LEAST_INPUT = 2 * MAX_MESSAGE

# The largest message has come in half of the time that a message may take.
LEAST_BYTES = 64 * 1024


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


def own_users() -> frozenset[str]:
    """Root and this program's own user, as principals are told."""
    return frozenset((f"uid:{os.geteuid()}", "uid:0"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The daemon's limits and habits.

    :param state: a directory for spools; None keeps them in memory.
    :param runtime: a directory for the sockets on which processes say that they are ready; None: a temporary one.
    :param journal: where the database is if there is no *state*; None: in memory.
    :param events: how many are kept in the journal, and for how many days.
    :param records: how many finished processes are remembered, without their output, and for how many days.
    :param clients: connections at the same time; None: what the descriptor limit allows.
    :param clients_each: of each principal but those of *own*; None: a share of all.
    :param newcomers: connections that have not said HELLO; None: a share of all.
    :param processes: running at the same time; None: what descriptors allow.
    :param processes_each: of each principal but those of *own*; None: a share of all.
    :param input_budget: bytes that all clients together may have of messages that are not finished.
    :param requests: that a connection may make in a second; None: as many as it can.
    :param octets: that it may send in a second; None likewise.
    :param burst: for how many seconds' worth of either at once, after it was quiet.
    :param exited: finished ones that stay listed; fewer where there are few descriptors.
    :param keep: output kept per process where START does not say, in bytes.
    :param grace: seconds from SIGTERM to SIGKILL when the daemon stops.
    :param own: the principals that are held to no share.
    """

    state: str | None = None
    runtime: str | None = None
    journal: str | None = None
    events: int = EVENTS
    events_days: float = DAYS
    records: int = RECORDS
    records_days: float = DAYS
    clients: int | None = None
    clients_each: int | None = None
    newcomers: int | None = None
    processes: int | None = None
    processes_each: int | None = None
    input_budget: int = INPUT_BUDGET
    requests: int | None = None
    octets: int | None = None
    burst: int = BURST
    exited: int = EXITED
    keep: int = KEEP
    grace: float = GRACE
    descriptors: int = field(default_factory=descriptor_limit)
    own: frozenset[str] = field(default_factory=own_users)

    @property
    def max_clients(self) -> int:
        return default_clients(self.descriptors) if self.clients is None else self.clients

    @property
    def max_clients_each(self) -> int:
        return max(1, self.max_clients // EACH_SHARE) if self.clients_each is None else self.clients_each

    @property
    def max_newcomers(self) -> int:
        return max(1, self.max_clients // NEWCOMER_SHARE) if self.newcomers is None else self.newcomers

    @property
    def reserved_clients(self) -> int:
        """Of all clients those that are for *own* only."""
        return min(RESERVED, self.max_clients // RESERVED_SHARE)

    @property
    def max_processes(self) -> int:
        if self.processes is not None:
            return self.processes
        return default_processes(self.descriptors, self.max_clients, self.max_exited)

    @property
    def max_processes_each(self) -> int:
        return max(1, self.max_processes // EACH_SHARE) if self.processes_each is None else self.processes_each

    @property
    def rate(self) -> Rate:
        """What each connection may do in a second."""
        return Rate(requests=self.requests, octets=self.octets, burst=self.burst)

    @property
    def max_exited(self) -> int:
        return min(self.exited, self.descriptors // EXITED_SHARE // DESCRIPTORS_EXITED)
