"""Signals by pidfd: to a child, to its group, to all that descends from it; a pid is never trusted by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping, Sequence

from netdaemon.process.trees import Root, members, started

# Linux 6.9: the group that the pidfd's process leads.
PIDFD_SIGNAL_PROCESS_GROUP = 4

# A tree that forks while it is being stopped is looked at again, this many times.
PASSES = 8


def send(pid: int, pidfd: int, number: int, scope: str, mark: int = 0, spared: Collection[int] = ()) -> None:
    """Send a signal. *pid* is that of a child that has not been released, and leads its process group.

    :param mark: what descends from it has this mark; 0: none.
    :param spared: nobody takes these for descendants.
    :raises ProcessLookupError: nobody is left to signal.
    """
    if scope == "process":
        signal.pidfd_send_signal(pidfd, number)
    elif scope == "group":
        _send_group(pid, pidfd, number)
    else:
        _send_tree(pid, pidfd, number, mark, spared)


def _send_group(pid: int, pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if isinstance(error, ProcessLookupError):
            raise
        # An older kernel. The child is not released, so its group's number is still its own.
        os.killpg(pid, number)


def _send_tree(pid: int, pidfd: int, number: int, mark: int, spared: Collection[int]) -> None:
    """Everybody once."""
    if number == signal.SIGKILL:
        # Whether it is there, and whether we may.
        signal.pidfd_send_signal(pidfd, 0)
        kill_trees([(pid, pidfd, mark)], spared)
        return
    found = _descendants([Root(pid, mark)], spared)
    signal.pidfd_send_signal(pidfd, number)
    _send_each(found, number)


def kill_marked(mark: int, spared: Collection[int] = ()) -> None:
    """SIGKILL to all that has *mark*, and to what descends from any of that.

    :raises OSError: it cannot be found for want of a descriptor, and nobody has been killed.
    """
    kill_trees([(0, -1, mark)], spared)


def kill_trees(children: Sequence[tuple[int, int, int]], spared: Collection[int] = ()) -> None:
    """SIGKILL to children, given as (pid, pidfd, mark), and to all that descends from any of them.

    Everybody is stopped first: the children of the dead cannot be told for theirs. Of a child that has been released,
    which has the pid 0 and no pidfd, what is left is found by its mark.

    :param spared: nobody takes these for descendants.
    :raises OSError: the descendants cannot be found for want of a descriptor, and nobody has been killed; or one of
        the children may not be signalled, and the others have been killed.
    """
    roots = [Root(pid, mark) for pid, _, mark in children]
    pidfds = [pidfd for _, pidfd, _ in children if pidfd >= 0]
    found: dict[int, int] = {}
    try:
        fresh = _descendants(roots, spared)
        for pidfd in pidfds:
            _try(pidfd, signal.SIGSTOP)
        for _ in range(PASSES):
            _send_each(fresh, signal.SIGSTOP)
            found |= fresh
            fresh = {pid: since for pid, since in _descendants(roots, spared).items() if pid not in found}
            if not fresh:
                break
    except OSError:
        for pidfd in pidfds:
            _try(pidfd, signal.SIGCONT)
        _send_each(found, signal.SIGCONT)
        raise
    refused: OSError | None = None
    for pidfd in pidfds:
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
    for pid, since in found.items():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if started(pid) == since:
                signal.pidfd_send_signal(pidfd, number)
        except (ProcessLookupError, PermissionError):
            continue
        finally:
            os.close(pidfd)


def _descendants(roots: Sequence[Root], spared: Collection[int]) -> dict[int, int]:
    """Who descends from any of *roots*, and when each was started; one scan of /proc."""
    found = members(dict(enumerate(roots)), spared)
    pids = {root.pid for root in roots}
    return {pid: since for one in found.values() for pid, since in one.items() if pid not in pids}
