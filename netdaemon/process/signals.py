"""Signals by pidfd: to a child, to its group, to all that descends from it; a pid is never trusted by itself."""

from __future__ import annotations

import os
import signal

# Linux 6.9: the group that the pidfd's process leads.
PIDFD_SIGNAL_PROCESS_GROUP = 4

# A tree that forks while it is being stopped is looked at again, this many times.
PASSES = 8


def number_of(name: str | int) -> int:
    """The number of a signal given by number or by name, with or without SIG.

    :raises ValueError: there is none.
    """
    if isinstance(name, int):
        number = name
    elif name.isdecimal():
        number = int(name)
    else:
        word = name.upper()
        try:
            return signal.Signals[word if word.startswith("SIG") else "SIG" + word].value
        except KeyError:
            raise ValueError(f"{name!r} is no signal's name") from None
    if not 0 <= number < signal.NSIG:
        raise ValueError(f"{number} is no signal's number; 0 to {signal.NSIG - 1} are")
    return number


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
    """Everybody once. What is to be killed is stopped first: the children of the dead cannot be told for its own."""
    found = _descendants(pid)
    if number == signal.SIGKILL:
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        for _ in range(PASSES):
            for one in found:
                _send_one(one, signal.SIGSTOP)
            fresh = _descendants(pid) - found
            if not fresh:
                break
            found |= fresh
    signal.pidfd_send_signal(pidfd, number)
    for one in found:
        _send_one(one, number)


def _send_one(pid: int, number: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def _descendants(root: int) -> set[int]:
    """Who descends from *root*, or is in its session, by one scan of /proc."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        pid = int(name)
        children.setdefault(int(fields[1]), []).append(pid)
        if int(fields[3]) == root:
            found.add(pid)
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    found.discard(root)
    return found
