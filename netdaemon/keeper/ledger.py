"""The processes that a keeper has, with their descriptors, and the form in which it hands them on; knows no daemon."""

from __future__ import annotations

import os
import signal

from netdaemon.keeper import child
from netdaemon.keeper.child import GATE, PIDFD, SPOOL, ExitStatus, Spec
from netdaemon.keeper.launch import begin, pidfd_of, spawn
from netdaemon.keeper.messages import Torn, close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Entry:
    """One process.

    :ivar pid: its child's; 0 once that has exited and was released.
    :ivar roles: the descriptors that are kept for it, by name.
    """

    __slots__ = ("pid", "roles")

    def __init__(self, pid: int, roles: dict[str, int]) -> None:
        self.pid = pid
        self.roles = roles

    def close(self, *names: str) -> None:
        """Close those of them that there are."""
        for name in names:
            if name in self.roles:
                os.close(self.roles.pop(name))


class Ledger:
    """The table of processes.

    :ivar dying: the pidfds of children that nobody asks for any more and that have not exited.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.dying: set[int] = set()

    def launch(self, id: str, spec: Spec, spool: int) -> Entry:
        """Start a gated child; one that has this id already is given back. *spool* is owned from here on.

        :raises LaunchError: there is no child.
        """
        known = self.entries.get(id)
        if known is not None:
            os.close(spool)
            return known
        try:
            pid, roles = begin(spec, gated=True)
        except BaseException:
            os.close(spool)
            raise
        self.entries[id] = entry = Entry(pid, {SPOOL: spool, **roles})
        return entry

    def spawn(self, id: str, spec: Spec, claimed: int, streams: tuple[int, int, int], roles: dict[str, int]) -> Entry:
        """Start a child that takes its claim; one that has this id already is given back.

        :param streams: the child's ends of what is in *roles*; all descriptors are owned from here on.
        :raises LaunchError: there is no child.
        """
        entry = self.entries.get(id)
        try:
            pid = spawn(spec, streams, claimed) if entry is None else 0
        except BaseException:
            close_all((claimed, *streams, *roles.values()))
            raise
        # First: there is room for its pidfd then.
        close_all((claimed, *streams))
        if entry is None:
            entry = Entry(pid, {PIDFD: pidfd_of(pid, roles.values()), **roles})
            self.entries[id] = entry
        else:
            close_all(roles.values())
        return entry

    def share(self, id: str, role: str, descriptor: int) -> None:
        """Keep one more descriptor for a process, in place of what had this name."""
        entry = self.entries.get(id)
        if entry is None:
            os.close(descriptor)
            return
        entry.close(role)
        entry.roles[role] = descriptor

    def withdraw(self, id: str, role: str) -> None:
        """Keep it no more."""
        entry = self.entries.get(id)
        if entry is not None:
            entry.close(role)

    def collect(self, id: str) -> ExitStatus | None:
        """How a child of ours has ended; None: not to be seen now, ask again.

        :raises ChildProcessError: we are not its parent.
        """
        entry = self.entries.get(id)
        if entry is None or PIDFD not in entry.roles:
            raise ChildProcessError
        return child.collect(entry.roles[PIDFD])

    def release(self, id: str) -> None:
        """Its exit has been recorded: let the kernel forget it. What else is kept for it stays."""
        entry = self.entries.get(id)
        if entry is not None and PIDFD in entry.roles:
            child.release(entry.roles[PIDFD])
            entry.pid = 0
            entry.close(PIDFD, GATE)

    def forget(self, id: str) -> None:
        """Keep nothing of a process any more."""
        entry = self.entries.pop(id, None)
        if entry is None:
            return
        pidfd = entry.roles.pop(PIDFD, -1)
        entry.close(*list(entry.roles))
        if pidfd < 0:
            return
        if child.has_exited(pidfd):
            self.bury(pidfd)
        else:
            self.dying.add(pidfd)

    def abandon(self, id: str) -> None:
        """End a child whose start nobody waits for any more, and keep nothing of it."""
        entry = self.entries.get(id)
        if entry is not None and PIDFD in entry.roles:
            child.kill_group(entry.pid, entry.roles[PIDFD], signal.SIGKILL)
        self.forget(id)

    def bury(self, pidfd: int) -> None:
        """A child that nobody asks for has exited."""
        self.dying.discard(pidfd)
        child.release(pidfd)
        os.close(pidfd)

    def kill(self, number: int) -> None:
        """Signal the groups of all children."""
        for entry in self.entries.values():
            if entry.pid and PIDFD in entry.roles:
                child.kill_group(entry.pid, entry.roles[PIDFD], number)

    @property
    def alive(self) -> int:
        """How many children have not exited."""
        return sum(PIDFD in one.roles and not child.has_exited(one.roles[PIDFD]) for one in self.entries.values())

    # --- how it is handed on -----------------------------------------------------------------------------------------

    def described(self, id: str) -> tuple[list[bytes], list[int]]:
        """An entry as fields, and its descriptors in the same order."""
        entry = self.entries[id]
        fields = [os.fsencode(id), b"%d" % entry.pid, *map(os.fsencode, entry.roles)]
        return fields, list(entry.roles.values())

    def enter(self, fields: Sequence[bytes], descriptors: Sequence[int]) -> None:
        """The other way round; the descriptors are owned from here on.

        :raises Torn: the two do not belong together.
        """
        id, pid, roles = read_entry(fields, descriptors)
        self.forget(id)
        self.entries[id] = Entry(pid, roles)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.entries))

    def __len__(self) -> int:
        return len(self.entries)


def read_entry(fields: Sequence[bytes], descriptors: Sequence[int]) -> tuple[str, int, dict[str, int]]:
    """An entry's id, pid, and descriptors by name, as `Ledger.described` gives them.

    :raises Torn: the two do not belong together; the descriptors have been closed.
    """
    if len(fields) != len(descriptors) + 2 or not fields[1].isdigit():
        close_all(descriptors)
        raise Torn(f"an entry of {len(fields)} fields with {len(descriptors)} descriptors")
    if len(set(fields[2:])) != len(descriptors):
        # One of them would have no owner.
        close_all(descriptors)
        raise Torn("an entry that has two descriptors of one name")
    names = (name.decode() for name in fields[2:])
    return fields[0].decode(), int(fields[1]), dict(zip(names, descriptors, strict=True))
