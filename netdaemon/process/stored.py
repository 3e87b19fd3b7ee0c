"""What a service manager keeps besides the keeper, for when that and the daemon are killed together; says no protocol.

A process is there with all its descriptors or not at all: one that came back without its output's pipe would look as
if it had closed it. Its spool goes last, and whatever comes back without one is let go.
"""

from __future__ import annotations

import fcntl
import os
from typing import Protocol

from twisted.logger import Logger

from netdaemon.keeper.child import INPUT, RELAYS, SPOOL, STDIN, STDOUT
from netdaemon.keeper.messages import close_all

# The one descriptor of a terminal: a service manager takes the second duplicate of anything for a mistake. Which of the
# two there were, the relays tell: they come and go with them.
MASTER = "master"

# In place of a process's id: which daemon's processes these are. An id is longer.
INSTANCE = "instance"

_log = Logger()


class Store(Protocol):
    """Who keeps duplicates: a service manager.

    :ivar room: how many it keeps.
    """

    room: int

    def stored(self) -> dict[str, dict[str, int]]:
        """What was stored by the run before, by process and role; owned by the caller."""

    def store(self, process: str, role: str, descriptor: int) -> bool:
        """Keep a duplicate; whether it has been told to."""

    def unstore(self, process: str, role: str) -> None:
        """Close it."""


class Stored:
    """What is in the store, as it must be.

    :param store: None: there is none, and nothing is done here.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store
        # By process, the names in the store; and those for which there was no room, who have none.
        self._names: dict[str, set[str]] = {}
        self._outside: set[str] = set()

    # --- at the start ------------------------------------------------------------------------------------------------

    def take(self) -> tuple[str, dict[str, dict[str, int]]]:
        """What the run before has stored: its instance ("": not known), and descriptors by process and role."""
        if self._store is None:
            return "", {}
        found = self._store.stored()
        self._names = {process: set(roles) for process, roles in found.items()}
        instances = found.pop(INSTANCE, {})
        close_all(instances.values())
        for process in [process for process, roles in found.items() if SPOOL not in roles]:
            # It was about to be stored, or about to be removed.
            close_all(found.pop(process).values())
            self._remove(process)
        return next(iter(instances), ""), {process: _unfold(roles) for process, roles in found.items()}

    def agree(self, instance: str, taken: dict[str, dict[str, int]], entries: dict[str, dict[str, int]]) -> None:
        """Make the store hold *entries*, by process and role, and nothing else.

        :param taken: what `take` gave, and is in *entries* by other numbers, or not at all.
        """
        if self._store is None:
            return
        if self._names.get(INSTANCE) != {instance}:
            self._remove(INSTANCE)
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            self._put(INSTANCE, {instance: nothing})
            os.close(nothing)
        for process in [*self._names]:
            known = entries.get(process)
            if process == INSTANCE or (known is not None and _alike(known, taken.get(process, known))):
                continue
            self._remove(process)
        for process, roles in entries.items():
            if process not in self._names:
                self.keep(process, roles)

    # --- from then on ------------------------------------------------------------------------------------------------

    def keep(self, process: str, roles: dict[str, int]) -> None:
        """Keep these, too."""
        if self._store is None or process in self._outside:
            return
        new = process not in self._names
        # There is to be room for its input as well, whenever that comes.
        used = sum(len(names | {INPUT}) for names in self._names.values())
        if new and used + len(roles.keys() | {INPUT}) > self._store.room:
            self._outside.add(process)
            _log.warn(
                "process {id} is not in the service manager's store, which has room for {room} descriptors: it would "
                "be lost if this daemon and its keeper were killed together",
                id=process,
                room=self._store.room,
            )
        elif not self._put(process, _fold(roles)):
            self._remove(process)
            self._outside.add(process)
            _log.error("process {id} is not in the service manager's store: that does not answer", id=process)

    def drop(self, process: str, left: dict[str, int]) -> None:
        """Keep no more of it than *left*."""
        names = self._names.get(process)
        if self._store is None or names is None:
            return
        # The end of a relay by which it is known that there is one goes first.
        for name in sorted(names - _fold(left).keys(), reverse=True):
            names.discard(name)
            self._store.unstore(process, name)

    def forget(self, process: str) -> None:
        """Keep nothing of it."""
        self._outside.discard(process)
        self._remove(process)

    def clear(self) -> None:
        """Keep nothing."""
        for process in [*self._names]:
            self.forget(process)

    def _put(self, process: str, named: dict[str, int]) -> bool:
        assert self._store is not None
        names = self._names.setdefault(process, set())
        for name in sorted(named, key=SPOOL.__eq__):
            names.add(name)
            if not self._store.store(process, name, named[name]):
                return False
        return True

    def _remove(self, process: str) -> None:
        # What is left when we are killed in the middle of it has no spool, and is let go.
        for name in sorted(self._names.pop(process, ()), key=SPOOL.__ne__):
            assert self._store is not None
            self._store.unstore(process, name)


def _fold(roles: dict[str, int]) -> dict[str, int]:
    """Roles as they are named in a store."""
    if not any(relay in roles for relay in RELAYS):
        return roles
    folded = {role: descriptor for role, descriptor in roles.items() if role not in (STDIN, STDOUT)}
    masters = [roles[role] for role in (STDOUT, STDIN) if role in roles]
    return {**folded, MASTER: masters[0]} if masters else folded


def _unfold(named: dict[str, int]) -> dict[str, int]:
    """The other way round; the descriptors are owned, and those of the result are."""
    roles = dict(named)
    master = roles.pop(MASTER, -1)
    if master < 0:
        return roles
    roles.update({role: master for role, relay in ((STDOUT, RELAYS[2]), (STDIN, RELAYS[0])) if relay in roles})
    if STDIN in roles and STDOUT in roles:
        roles[STDIN] = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    elif STDIN not in roles and STDOUT not in roles:
        os.close(master)
    return roles


def _alike(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether these are the same roles of the same files."""
    return one.keys() == other.keys() and all(
        os.path.samestat(os.fstat(one[role]), os.fstat(other[role])) for role in one
    )
