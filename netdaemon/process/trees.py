"""Who belongs to which child, found in /proc by descent, session and mark; signals nobody, and trusts no pid for long.

A mark is a limit of no consequence that is set before a child's program is executed (see `netdaemon.keeper.limits`).
Whatever descends from it inherits that, however far it has gone: into a session of its own, to another parent, with
other descriptors and another environment.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Generator, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from netdaemon.keeper.limits import MARKS
from netdaemon.process.launches import process_of

# What tells the marks of two processes apart: of a million, two are the same with a chance of 1 in 560.
MARK_BYTES = 6

# How many processes are looked at in one go, about a millisecond; /proc is not one moment's picture anyway.
SLICE = 64

# More than any of the two files that are read here ever has.
READ = 4096

# What stands in /proc/PID/stat behind the name: the state, the parent, the session, flags of the kernel, how many
# threads, and the time of the start, by which one process is told from the next that has its pid.
_STATE, _PARENT, _SESSION, _FLAGS, _THREADS, _START = 0, 1, 3, 6, 17, 19

# States of what has exited. The main thread may have while others go on.
_DEAD = (b"Z", b"X")

# The flag of a thread of the kernel.
_KERNEL = 0x00200000

# The line in /proc/PID/limits.
_LIMIT = b"\nMax realtime timeout"

Key = TypeVar("Key", bound=Hashable)

# By pid: when it was started, and its mark.
Known = dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Root:
    """A child from which others descend.

    :param pid: its pid, as long as it has not been released; 0: it has been, and what is left of it is found by the
        mark alone.
    :param mark: of all that descends from it; 0: it has none.
    """

    pid: int
    mark: int


@dataclass(frozen=True, slots=True)
class _Seen:
    parent: int
    session: int
    started: int
    kernel: bool


def mark_of(id: str) -> int:
    """The mark of a process, by its id or by one of its launches, as in ``ID-2``; the same in any daemon."""
    octets = hashlib.sha256(process_of(id).encode()).digest()
    return MARKS | int.from_bytes(octets[:MARK_BYTES], "big")


def members(roots: Mapping[Key, Root], spared: Collection[int] = ()) -> dict[Key, dict[int, int]]:
    """Who belongs to each of *roots*, itself too, and has not exited: pids, and when each was started.

    Nobody belongs to two: the nearer root counts.

    :param spared: these belong to none, nor does what descends from them for that reason; the same goes for this
        program, and for the parents of the roots.
    :raises OSError: there is no descriptor left to look with.
    """
    scan = scanning(roots, spared)
    while True:
        try:
            next(scan)
        except StopIteration as found:
            result: dict[Key, dict[int, int]] = found.value
            return result


def leftovers(mark: int, spared: Collection[int] = ()) -> list[int]:
    """Who has *mark*, or descends from one that has, and has not exited.

    :raises OSError: there is no descriptor left to look with.
    """
    return sorted(members({None: Root(0, mark)}, spared)[None])


def started(pid: int) -> int | None:
    """When a process was started, in ticks since the boot; None: there is none.

    :raises OSError: there is no descriptor left to look with.
    """
    fields = _fields(pid)
    return None if fields is None else int(fields[_START])


def scanning(
    roots: Mapping[Key, Root], spared: Collection[int] = (), known: Known | None = None
) -> Generator[None, None, dict[Key, dict[int, int]]]:
    """As `members`, in slices: there is something else to be done at each yield.

    :param known: the marks that an earlier scan has found, which spares reading them again; kept up to date.
    """
    seen: dict[int, _Seen] = {}
    for count, name in enumerate([name for name in os.listdir("/proc") if name.isdecimal()], 1):
        one = _look(name)
        if one is not None:
            seen[int(name)] = one
        if not count % SLICE:
            yield
    keys = {root.pid: key for key, root in roots.items() if root.pid > 0}
    apart = {os.getpid(), *spared, *(seen[pid].parent for pid in keys if pid in seen)} - keys.keys()
    children: dict[int, list[int]] = {}
    owner: dict[int, Key] = dict(keys)
    for pid, one in seen.items():
        if pid in apart:
            continue
        children.setdefault(one.parent, []).append(pid)
        if pid not in keys and one.session in keys:
            owner[pid] = keys[one.session]
    _descend(list(owner), owner, children)
    marks = {root.mark: key for key, root in roots.items() if root.mark}
    known = {} if known is None else known
    for pid in known.keys() - seen.keys():
        del known[pid]
    count = 0
    # The oldest first: what descends from it need not be read.
    for pid in sorted(seen, key=lambda pid: seen[pid].started) if marks else ():
        one = seen[pid]
        if pid in owner or pid in apart or one.kernel:
            continue
        since, mark = known.get(pid, (-1, 0))
        if since != one.started:
            mark = _mark(pid)
            known[pid] = one.started, mark
            count += 1
            if not count % SLICE:
                yield
        if mark in marks:
            owner[pid] = marks[mark]
            _descend([pid], owner, children)
    found: dict[Key, dict[int, int]] = {key: {} for key in roots}
    for pid, key in owner.items():
        if pid in seen:
            found[key][pid] = seen[pid].started
    return found


def _descend(waiting: list[int], owner: dict[int, Key], children: Mapping[int, list[int]]) -> None:
    """Whatever descends from these, and is nobody's, is theirs."""
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            if child not in owner:
                owner[child] = owner[parent]
                waiting.append(child)


def _look(name: str) -> _Seen | None:
    """What there is to know of a process; None if it has exited."""
    fields = _fields(name)
    if fields is None or (fields[_STATE] in _DEAD and int(fields[_THREADS]) <= 1):
        return None
    kernel = bool(int(fields[_FLAGS]) & _KERNEL)
    return _Seen(int(fields[_PARENT]), int(fields[_SESSION]), int(fields[_START]), kernel)


def _fields(pid: int | str) -> list[bytes] | None:
    """What stands in /proc/PID/stat behind the name; None if there is no such process."""
    octets = _read(f"/proc/{pid}/stat")
    return octets.rpartition(b")")[2].split() if octets else None


def _mark(pid: int) -> int:
    """Its mark; 0: it has none, or is gone."""
    line = _read(f"/proc/{pid}/limits").partition(_LIMIT)[2].split(maxsplit=1)
    return int(line[0]) if line and line[0].isdigit() else 0


def _read(path: str) -> bytes:
    """A file of a process; nothing where that is gone, or not ours to see.

    :raises OSError: there is no descriptor left for it.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        return os.read(number, READ)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(number)
