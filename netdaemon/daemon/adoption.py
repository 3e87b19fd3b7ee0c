"""Takes over the processes of a daemon that is dead, from their keeper: each goes on where it was; knows no clients."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netdaemon.daemon.table import ProcessTable
from netdaemon.interfaces import IKeeper
from netdaemon.keeper.child import GATE, INPUT, PIDFD, RELAYS, SPOOL, STDIN, STDOUT, Launched, LaunchError
from netdaemon.keeper.messages import close_all
from netdaemon.process.record import Process
from netdaemon.process.saved import REMOVED, Saved
from netdaemon.process.spool import Spool
from netdaemon.wire.records import State

Entry = tuple[str, int, dict[str, int]]

_log = Logger()


def adopt(entries: Iterable[Entry], table: ProcessTable, keeper: IKeeper, reactor: Any) -> set[str]:
    """Have *table* go on with *entries*, whose descriptors are owned from here on; the ids of all of them.

    One that cannot be understood is left with the keeper, for a daemon that can: its child goes on.
    """
    ids: set[str] = set()
    found: list[tuple[Saved, Spool, Entry]] = []
    for entry in entries:
        read = _read(entry)
        if isinstance(read, _Removed):
            keeper.forget(entry[0])
            close_all(entry[2].values())
            continue
        ids.add(entry[0])
        if read is not None:
            found.append((*read, entry))
    found.sort(key=lambda one: one[0].identity.created)
    for saved, spool, entry in found:
        try:
            _go_on(saved, spool, entry, table, keeper, reactor)
        except Exception:
            # One that cannot be gone on with is no reason to leave all the others. It stays with the keeper.
            _log.failure("process {id} (pid {pid}) could not be gone on with", id=entry[0], pid=entry[1])
    if ids:
        _log.info("{count} processes taken over from the keeper", count=len(found))
    return ids


class _Removed:
    """A process whose removal the daemon was in the middle of."""


def _read(entry: Entry) -> tuple[Saved, Spool] | _Removed | None:
    id, _, roles = entry
    try:
        # The very number: the launcher hands it to the next keeper, should this one die.
        spool = Spool.adopt(roles[SPOOL])
        octets = spool.saved.read()
        if octets == REMOVED:
            return _Removed()
        saved = Saved.decode(octets)
        if saved.identity.id != id:
            raise ValueError(f"it is of process {saved.identity.id}")
    except (KeyError, ValueError, OSError) as error:
        _leave(entry, error)
        return None
    del roles[SPOOL]
    return saved, spool


def _leave(entry: Entry, error: Exception) -> None:
    id, pid, _ = entry
    # Its descriptors stay open here, for the next keeper, should this one die.
    _log.error(
        "process {id} (pid {pid}) is not taken over: what was saved of it cannot be understood ({error}); it goes on, "
        "and its keeper keeps it for a daemon that can",
        id=id,
        pid=pid,
        error=error,
    )


def _halves(roles: dict[str, int]) -> list[str]:
    """What is left of a stream that was being given up when the daemon was killed."""
    return [
        role
        for stream, relays in ((STDIN, RELAYS[:2]), (STDOUT, RELAYS[2:]))
        for role in relays
        if stream not in roles and role in roles
    ]


def _go_on(saved: Saved, spool: Spool, entry: Entry, table: ProcessTable, keeper: IKeeper, reactor: Any) -> None:
    id, pid, roles = entry
    stdin = table.stdin_of(id)
    if INPUT in roles:
        stdin.adopt(roles.pop(INPUT))
    process = Process.adopted(saved, spool, stdin, reactor)
    halves = _halves(roles)
    launched = Launched.of_roles(id, pid, {role: number for role, number in roles.items() if role not in halves})
    keeper.withdraw(launched, *halves, *(() if STDIN in roles else (INPUT,)))
    close_all(roles.pop(role) for role in halves)
    if saved.state is State.STARTING:
        launching: Deferred[Any] = Deferred()
        table.adopt(process, launching)
        if PIDFD not in roles:
            launching.errback(LaunchError("fork", errno.ESRCH))
        elif GATE in roles:
            keeper.resume(launched).chainDeferred(launching)
        else:
            # It was known that it runs, and not yet said.
            launching.callback(launched)
        return
    table.adopt(process)
    if GATE in roles:
        os.close(launched.gate)
        launched.gate = -1
        keeper.withdraw(launched, GATE)
    process.resume(keeper, launched)
