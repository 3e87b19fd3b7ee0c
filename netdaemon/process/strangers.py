"""What the kernel tells of a process that is not, or not any more, a child of ours; never a guess."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Collection

from netdaemon.keeper.child import ExitStatus, Spec

# Linux 6.15: what the kernel still knows of a process whose pidfd was opened before it was waited for.
PIDFD_GET_INFO = 0xC040FF0B
INFO_SIZE = 64
INFO_EXIT = 8
_STATUS_AT = 60

# How often a child is looked for that somebody holds the pipes of, and how many seconds apart: it is about to execute
# its program.
LOOKS = 20
LOOK_AGAIN = 0.002

# The field of /proc/PID/stat, counted from the state, that tells when it was started, in ticks since the boot.
_STARTED = 19

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


def holder_of(pipes: Collection[str], spec: Spec, before: float) -> tuple[int, int]:
    """The pid and pidfd of the child that was executed for *spec* with *pipes*; (0, -1): there is none, or none that is
    sure to be it and no descendant.

    :param pipes: by their names, as in ``pipe:[4711]``.
    :param before: when it had begun, in seconds since the epoch.
    """
    for _ in range(LOOKS):
        try:
            holding = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if holds(pid, pipes)]
            for pid in holding:
                if _is_child(pid, spec, before):
                    pidfd = os.pidfd_open(pid)
                    if holds(pid, pipes):
                        return pid, pidfd
                    # It was another's number by then.
                    os.close(pidfd)
        except ProcessLookupError:
            continue
        except OSError:
            # No memory, or no descriptor; perhaps in a moment.
            holding = [0]
        if not holding:
            break
        # It may not have come as far as to be what it is going to be.
        time.sleep(LOOK_AGAIN)
    return 0, -1


def holds(pid: int, pipes: Collection[str]) -> bool:
    """Whether a process, another than this one, has one of *pipes* open.

    :raises OSError: that cannot be seen for want of something.
    """
    if pid == os.getpid():
        return False
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It is gone, or none of our business.
        return False
    for number in numbers:
        try:
            if os.readlink(f"{folder}/{number}") in pipes:
                return True
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return False


def surely_holds(pid: int, pipes: Collection[str]) -> bool:
    """Whether a process has one of *pipes* open, looking again where that cannot be seen; False: nobody can tell."""
    for _ in range(LOOKS):
        try:
            return holds(pid, pipes)
        except OSError:
            # No memory, or no descriptor; perhaps in a moment.
            time.sleep(LOOK_AGAIN)
    return False


def _is_child(pid: int, spec: Spec, before: float) -> bool:
    """Whether it leads a session, executes what was asked for, and is not too young to be the first to do so."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
        with open(f"/proc/{pid}/stat", "rb") as file:
            started = int(file.read().rpartition(b")")[2].split()[_STARTED])
        leads = os.getsid(pid) == pid
    except (FileNotFoundError, ProcessLookupError):
        return False
    tick = 1 / os.sysconf("SC_CLK_TCK")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return leads and _executes(words, spec) and booted + started * tick <= before + tick


def _executes(words: list[bytes], spec: Spec) -> bool:
    """Whether this is the command line of *spec*; a script's has its interpreter before it, and its path."""
    if tuple(words) == spec.argv:
        return True
    given = len(words) - len(spec.argv) + 1
    if given < 2 or tuple(words[given:]) != spec.argv[1:]:
        return False
    return os.path.basename(words[given - 1]) == os.path.basename(spec.path)


def pid_of(pidfd: int) -> int:
    """Whose pidfd it is; 0: of one that has exited and was waited for."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "Pid":
                return max(0, int(value))
    return 0
