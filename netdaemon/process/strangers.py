"""What the kernel tells of a process that is not, or not any more, a child of ours; never a guess."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection

from netdaemon.keeper.child import ExitStatus

# Linux 6.15: what the kernel still knows of a process whose pidfd was opened before it was waited for.
PIDFD_GET_INFO = 0xC040FF0B
INFO_SIZE = 64
INFO_EXIT = 8
_STATUS_AT = 60

# The last field of /proc/PID/stat, as long as nobody has waited for it.
_ZOMBIE = b"Z"


def status_of(pid: int, pidfd: int) -> ExitStatus:
    """The status of a process that has exited; neither code nor signal where nobody can tell."""
    status = _from_pidfd(pidfd)
    if status is None:
        status = _from_zombie(pid, pidfd)
    if status is None:
        # It may have been waited for between the two.
        status = _from_pidfd(pidfd)
    return ExitStatus() if status is None else ExitStatus.of_wait_status(status)


def _from_pidfd(pidfd: int) -> int | None:
    """The wait status, of one that somebody has waited for."""
    buffer = bytearray(struct.pack("=Q", INFO_EXIT).ljust(INFO_SIZE, b"\0"))
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, buffer)
    except OSError:
        # An older kernel, or nobody has waited for it yet.
        return None
    (mask,) = struct.unpack_from("=Q", buffer)
    if not mask & INFO_EXIT:
        return None
    status: int = struct.unpack_from("=i", buffer, _STATUS_AT)[0]
    return status


def _from_zombie(pid: int, pidfd: int) -> int | None:
    """The wait status, of one that nobody has waited for: its pid is its own as long."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            owner = os.fstat(file.fileno()).st_uid
    except OSError:
        return None
    if fields[0] != _ZOMBIE or os.geteuid() not in (0, owner):
        # Whoever may not know is told 0.
        return None
    if pid_of(pidfd) != pid:
        # Somebody has waited for it, and this may have been another's.
        return None
    return int(fields[-1])


def holder_of(pipes: Collection[str]) -> tuple[int, int]:
    """The pid and pidfd of the session's first process that has one of *pipes* open; (0, -1): there is none.

    :param pipes: by their names, as in ``pipe:[4711]``.
    """
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid() or not _holds(name, pipes):
            continue
        pid = int(name)
        try:
            if os.getsid(pid) != pid:
                continue
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        if _holds(name, pipes):
            return pid, pidfd
        # It was another's number by then.
        os.close(pidfd)
    return 0, -1


def _holds(name: str, pipes: Collection[str]) -> bool:
    try:
        numbers = os.listdir(f"/proc/{name}/fd")
    except OSError:
        # It is gone, or none of our business.
        return False
    for number in numbers:
        try:
            if os.readlink(f"/proc/{name}/fd/{number}") in pipes:
                return True
        except OSError:
            continue
    return False


def pid_of(pidfd: int) -> int:
    """Whose pidfd it is; 0: of one that has exited and was waited for."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "Pid":
                return max(0, int(value))
    return 0
