"""Signals by pidfd: to a child, to its group, to all that descends from it; a pid is never trusted by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence, Set

# Linux 6.9: the group that the pidfd's process leads.
PIDFD_SIGNAL_PROCESS_GROUP = 4

# A tree that forks while it is being stopped is looked at again, this many times.
PASSES = 8


def send(pid: int, pidfd: int, number: int, scope: str) -> None:
    """Send a signal. *pid* is that of a child that has not been released, and leads its process group.

    :raises ProcessLookupError: nobody is left to signal.
    """
    if scope == "process":
        signal.pidfd_send_signal(pidfd, number)
    elif scope == "group":
        _send_group(pid, pidfd, number)
    else:
        _send_tree(pid, pidfd, number)


def _send_group(pid: int, pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if isinstance(error, ProcessLookupError):
            raise
        # An older kernel. The child is not released, so its group's number is still its own.
        os.killpg(pid, number)


def _send_tree(pid: int, pidfd: int, number: int) -> None:
    """Everybody once."""
    if number == signal.SIGKILL:
        # Whether it is there, and whether we may.
        signal.pidfd_send_signal(pidfd, 0)
        kill_trees([(pid, pidfd)])
        return
    found = _descendants({pid})
    signal.pidfd_send_signal(pidfd, number)
    _send_each(found, number)


def kill_trees(roots: Sequence[tuple[int, int]]) -> None:
    """SIGKILL to children, given as (pid, pidfd), and to all that descends from any of them.

    Everybody is stopped first: the children of the dead cannot be told for theirs.

    :raises OSError: the descendants cannot be found for want of a descriptor, and nobody has been killed; or one of
        the children may not be signalled, and the others have been killed.
    """
    pids = {pid for pid, _ in roots}
    found: dict[int, int] = {}
    try:
        fresh = _descendants(pids)
        for _, pidfd in roots:
            _try(pidfd, signal.SIGSTOP)
        for _ in range(PASSES):
            _send_each(fresh, signal.SIGSTOP)
            found |= fresh
            fresh = {pid: started for pid, started in _descendants(pids).items() if pid not in found}
            if not fresh:
                break
    except OSError:
        for _, pidfd in roots:
            _try(pidfd, signal.SIGCONT)
        _send_each(found, signal.SIGCONT)
        raise
    refused: OSError | None = None
    for _, pidfd in roots:
        error = _try(pidfd, signal.SIGKILL)
        if error is not None:
            refused = error
            _try(pidfd, signal.SIGCONT)
    _send_each(found, signal.SIGKILL)
    if refused is not None:
        raise refused


def _try(pidfd: int, number: int) -> OSError | None:
    """Send to a child that may have gone; why it could not be."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return None
    except OSError as error:
        return error
    return None


def _send_each(found: Mapping[int, int], number: int) -> None:
    """Send to processes found by a scan, each the one that was found and not another that has its pid since."""
    for pid, started in found.items():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if _started(pid) == started:
                signal.pidfd_send_signal(pidfd, number)
        except (ProcessLookupError, PermissionError):
            continue
        finally:
            os.close(pidfd)


def _fields(pid: int | str) -> list[bytes] | None:
    """What stands in /proc/PID/stat behind the name; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


# Places in that list: the parent, the session, and the time of its start, by which one is told from the next.
_PARENT, _SESSION, _START = 1, 3, 19


def _started(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None else int(fields[_START])


def _descendants(roots: Set[int]) -> dict[int, int]:
    """Who descends from one of *roots*, or is in the session of one, and when each was started; one scan of /proc."""
    children: dict[int, list[int]] = {}
    started: dict[int, int] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        fields = _fields(name) if name.isdecimal() else None
        if fields is None:
            continue
        pid = int(name)
        started[pid] = int(fields[_START])
        children.setdefault(int(fields[_PARENT]), []).append(pid)
        if int(fields[_SESSION]) in roots:
            found.add(pid)
    waiting = list(roots | found)
    seen = set(waiting)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return {pid: started[pid] for pid in seen - roots if pid in started}
