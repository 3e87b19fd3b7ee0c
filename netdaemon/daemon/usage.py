"""What one process uses, by psutil; knows no trees."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Use:
    """What one process uses; processor time in milliseconds, with that of the children it has waited for."""

    cpu: float = 0.0
    memory: int = 0
    threads: int = 0
    descriptors: int = 0
    read: int = 0
    written: int = 0


def process_of(pid: int) -> psutil.Process | None:
    """The process that has this pid now; None: there is none."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def use_of(process: psutil.Process) -> Use | None:
    """What a process uses; what may not be seen is 0. None: it has exited.

    :raises OSError: there is no descriptor left to look with.
    """
    try:
        with process.oneshot():
            times = process.cpu_times()
            read, written = _storage(process)
            return Use(
                cpu=1000 * (times.user + times.system + times.children_user + times.children_system),
                memory=process.memory_info().rss,
                threads=process.num_threads(),
                descriptors=_descriptors(process),
                read=read,
                written=written,
            )
    except psutil.NoSuchProcess:
        return None


def _descriptors(process: psutil.Process) -> int:
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return 0


def _storage(process: psutil.Process) -> tuple[int, int]:
    """Bytes read and written."""
    try:
        counted = process.io_counters()
    except (psutil.AccessDenied, AttributeError, RuntimeError):
        # Not ours to see; or the kernel does not count them, or not for this one.
        return 0, 0
    return counted.read_bytes, counted.write_bytes
