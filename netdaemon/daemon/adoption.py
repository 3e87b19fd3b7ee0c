"""Takes over the processes of a daemon that is dead, from their keeper: each goes on where it was; knows no clients."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netdaemon.daemon.table import ProcessTable
from netdaemon.interfaces import IKeeper
from netdaemon.keeper.child import GATE, INPUT, PIDFD, RELAYS, SPOOL, STDIN, STDOUT, Launched, LaunchError
from netdaemon.keeper.messages import close_all
from netdaemon.process.coming_back import adopted
from netdaemon.process.launches import launch_id, process_of
from netdaemon.process.notify import ROLE as NOTIFY
from netdaemon.process.saved import REMOVED, Saved, was_removed
from netdaemon.process.spool import Spool
from netdaemon.wire.records import State

Entry = tuple[str, int, dict[str, int]]

_log = Logger()


def adopt(entries: Iterable[Entry], table: ProcessTable, keeper: IKeeper, reactor: Any) -> set[str]:
    """Have *table* go on with *entries*, whose descriptors are owned from here on; the ids of all processes of them.

    One that cannot be understood is left with the keeper, for a daemon that can: its child goes on.
    """
    # Of a process there may be several: one for each generation that has not been let go.
    together: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        together.setdefault(process_of(entry[0]), {})[entry[0]] = entry
    ids: set[str] = set()
    found: list[tuple[Saved, Spool, Entry]] = []
    for id, runs in together.items():
        read = _read(id, runs)
        if isinstance(read, _Removed):
            table.finish_removal(read.saved, partial(_let_go, runs, keeper))
            continue
        ids.add(id)
        if read is not None:
            found.append((*read, _only(read[0], runs, keeper)))
    found.sort(key=lambda one: one[0].identity.created)
    for saved, spool, entry in found:
        try:
            _go_on(saved, spool, entry, table, keeper, reactor)
        except Exception:
            # One that cannot be gone on with is no reason to leave all the others. It stays with the keeper.
            _log.failure("process {id} (pid {pid}) could not be gone on with", id=saved.identity.id, pid=entry[1])
    if ids:
        _log.info("{count} processes taken over from the keeper", count=len(found))
    return ids


def _kept(saved: Saved, runs: dict[str, Entry]) -> str:
    """Which of *runs* is the process's: its present generation, or the one before, where that was not launched."""
    wanted = launch_id(saved.identity.id, saved.generation)
    return wanted if wanted in runs else next(iter(runs))


def _only(saved: Saved, runs: dict[str, Entry], keeper: IKeeper) -> Entry:
    """The entry of that; the others are over, but for what they have left behind, and are let go."""
    kept = _kept(saved, runs)
    _let_go({name: entry for name, entry in runs.items() if name != kept}, keeper)
    return runs[kept]


def _let_go(runs: dict[str, Entry], keeper: IKeeper) -> None:
    for name, _, roles in runs.values():
        keeper.forget(name)
        close_all(roles.values())


@dataclass(frozen=True)
class _Removed:
    """A process whose removal the daemon was in the middle of; what it was, if that is known."""

    saved: Saved | None


def _read(id: str, runs: dict[str, Entry]) -> tuple[Saved, Spool] | _Removed | None:
    entry = next(iter(runs.values()))
    try:
        octets = Spool.adopt(entry[2][SPOOL]).saved.read()
        if octets.startswith(REMOVED):
            return _Removed(was_removed(octets))
        saved = Saved.decode(octets)
        if saved.identity.id != id:
            raise ValueError(f"it is of process {saved.identity.id}")
        entry = runs[_kept(saved, runs)]
        # The very number: the launcher hands it to the next keeper, should this one die.
        spool = Spool.adopt(entry[2][SPOOL])
        # Where the next one begins is known by what was read of the last.
        spool.saved.read()
    except (KeyError, ValueError, OSError) as error:
        _leave(entry, error)
        return None
    del entry[2][SPOOL]
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
    name, pid, roles = entry
    launching = saved.state is State.STARTING and saved.started is None
    over = name != launch_id(saved.identity.id, saved.generation)
    if over:
        # Of the generation before there is nothing left but what it has left behind.
        keeper.withdraw(Launched.of_roles(name, 0, {}), *roles)
        close_all(roles.values())
        roles.clear()
    notify = roles.pop(NOTIFY, -1)
    stdin = table.stdin_of(saved)
    if INPUT in roles:
        stdin.adopt(roles.pop(INPUT))
    process = adopted(saved, spool, stdin, reactor)
    if not launching and saved.status is None:
        # What it has told is told again before it goes on, and with it what it is now.
        process.current.pid = pid or None
    if launching and over:
        table.launch_adopted(process, name)
        return
    halves = _halves(roles)
    launched = Launched.of_roles(name, pid, {role: number for role, number in roles.items() if role not in halves})
    keeper.withdraw(launched, *halves, *(() if STDIN in roles else (INPUT,)))
    close_all(roles.pop(role) for role in halves)
    if notify >= 0:
        table.listen_again(process, notify)
    elif launching and GATE in roles and saved.identity.notifies:
        table.listen_anew(process, name)
    if launching:
        child: Deferred[Any] = Deferred()
        table.adopt(process, name, child)
        if PIDFD not in roles:
            child.errback(LaunchError("fork", errno.ESRCH))
        elif GATE in roles:
            keeper.resume(launched).chainDeferred(child)
        else:
            # It was known that it runs, and not yet said.
            child.callback(launched)
        return
    table.adopt(process, name)
    if GATE in roles:
        os.close(launched.gate)
        launched.gate = -1
        keeper.withdraw(launched, GATE)
    process.resume(keeper, launched)
