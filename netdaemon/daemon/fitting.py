"""Whether the limits that a daemon was told fit each other and the descriptors that it may have; changes none."""

from __future__ import annotations

from collections.abc import Iterator

from netdaemon.daemon.settings import (
    DESCRIPTORS_A_PROCESS,
    DESCRIPTORS_EXITED,
    DESCRIPTORS_OF_OURS,
    EXITED,
    Settings,
)

# A pidfd, one pipe and the spool: what a process has that takes no input and has one output.
DESCRIPTORS_LEAST = 3

MORE = "ulimit -n, LimitNOFILE= or --descriptors gives more"


def contradictions(settings: Settings) -> Iterator[str]:
    """What cannot be: with these a daemon is not to start."""
    limit = settings.descriptors
    clients, processes = settings.max_clients, settings.max_processes
    needed = DESCRIPTORS_OF_OURS + clients + DESCRIPTORS_A_PROCESS
    if needed > limit:
        yield (
            f"--clients is {clients}, and with that many connected no process could be started: it takes {needed} "
            f"descriptors, and {limit} are allowed; say at most "
            f"--clients={max(0, limit - DESCRIPTORS_OF_OURS - DESCRIPTORS_A_PROCESS)}, or have more ({MORE})"
        )
    needed = DESCRIPTORS_OF_OURS + 1 + processes * DESCRIPTORS_LEAST
    if needed > limit:
        yield (
            f"--processes is {processes}, and they could never all run: they take {needed} descriptors at least, and "
            f"{limit} are allowed; say at most "
            f"--processes={max(0, (limit - DESCRIPTORS_OF_OURS - 1) // DESCRIPTORS_LEAST)}, or have more ({MORE})"
        )
    for option, part, whole, name in (
        ("clients-each", settings.clients_each, clients, "clients"),
        ("newcomers", settings.newcomers, clients, "clients"),
        ("processes-each", settings.processes_each, processes, "processes"),
    ):
        if part is not None and part > whole:
            yield f"--{option} is {part}, and --{name}, of which it is a part, is {whole}; lower one or raise the other"


def tight(settings: Settings) -> Iterator[str]:
    """What may come to be missing, and is worth a line in the log."""
    limit = settings.descriptors
    clients, processes, exited = settings.max_clients, settings.max_processes, settings.max_exited
    needed = DESCRIPTORS_OF_OURS + clients + processes * DESCRIPTORS_A_PROCESS + exited * DESCRIPTORS_EXITED
    if needed > limit:
        yield (
            f"{clients} clients, {processes} processes and {exited} that have exited can take {needed} descriptors, "
            f"and {limit} are allowed: if they are used up, starts fail below their limit; lower --clients, "
            f"--processes or --exited, or have more ({MORE})"
        )
    if settings.exited > exited and settings.exited != EXITED:
        yield (
            f"--exited is {settings.exited}, and {exited} stay listed: no more than that is left for them of {limit} "
            f"descriptors ({MORE})"
        )
