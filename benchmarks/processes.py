"""What a process has and has used, as the kernel tells it in /proc."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def processor(pid: int) -> float:
    """Seconds of processor time that a process's main thread has used; the daemon and its keeper have no other."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def descriptor_limit(pid: int) -> int:
    """How many it may have open."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


def memory(*pids: int) -> float:
    """KiB of processes: their own pages, their share of others', and what their memory files hold."""
    resident = 0
    files = {}
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        resident += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{name}"
            try:
                if os.readlink(link).startswith("/memfd:"):
                    status = os.stat(link)
                    files[status.st_ino] = status.st_blocks / 2
            except FileNotFoundError:
                continue
    return resident + sum(files.values())
