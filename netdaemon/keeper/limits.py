"""How many descriptors this program may have, and how many whatever it executes; numbers that both may have; and the
mark of a child, which is a limit, too."""

from __future__ import annotations

import fcntl
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The descriptor limit that children get, soft and hard; None: ours, which is as we were given it.
_children: tuple[int, int] | None = None

# Numbers below any limit, for what is to become a program's 0, 1 and 2, and one for nothing: the C library refuses to
# duplicate a descriptor whose number the new program may not have, and numbers here are high once there are many
# children.
RESERVED = 4
_reserved: list[int] = []

# A child's mark is its soft limit of processor time for real-time programs, in microseconds, of this and above: 73,000
# years, so that it limits nobody. Whatever descends from the child inherits it, and anybody may read it in /proc.
MARKS = 1 << 61

# How many descriptors were wanted; 0: as many as the hard limit allows.
_wanted = 0


def raise_limit(wanted: int = 0) -> None:
    """Have as many descriptors as we may, and children as many as we had.

    :param wanted: have so many, if need be by raising the hard limit, which root may; 0: what the hard limit allows.
    """
    global _children, _wanted
    _children, _wanted = resource.getrlimit(resource.RLIMIT_NOFILE), wanted
    while len(_reserved) < RESERVED:
        one = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if one > 2:
            # What is not, stays: nothing of ours is to be 0, 1 or 2.
            _reserved.append(one)
    _raise_again()


def limit_wanted() -> int:
    """What `raise_limit` was called with."""
    return _wanted


def _raise_again() -> None:
    assert _children is not None
    hard = _children[1]
    most = _wanted or hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def with_limit_of_children(execute: Callable[[], int]) -> int:
    """Call *execute*, which has another program executed with the limits that we have at that time."""
    if _children is None:
        return execute()
    # What is open above it stays open.
    resource.setrlimit(resource.RLIMIT_NOFILE, _children)
    try:
        return execute()
    finally:
        _raise_again()


def take_limit_of_children() -> None:
    """In a child: have no more than it may."""
    if _children is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _children)


def take_mark(mark: int) -> None:
    """Have *mark*, and all that descends from here; 0: none. Nothing changes where the limit is somebody's own, or may
    not be that high."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    if not mark or 0 <= soft < MARKS:
        return
    try:
        resource.setrlimit(resource.RLIMIT_RTTIME, (mark, hard))
    except (ValueError, OSError):
        # What descends from it is found as far as it can be without.
        pass


def drop_mark() -> None:
    """Have none: this program does not belong to what it was started by, if that had one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    if soft >= MARKS:
        resource.setrlimit(resource.RLIMIT_RTTIME, (hard, hard))


def with_mark(mark: int, execute: Callable[[], int]) -> int:
    """Call *execute*, which has another program executed with the mark that we have at that time."""
    take_mark(mark)
    try:
        return execute()
    finally:
        drop_mark()


def with_streams(streams: tuple[int, int, int], execute: Callable[[list[Any]], int]) -> int:
    """Call *execute*, which has another program executed with the limits that we had, with what makes *streams* its 0,
    1 and 2 (``file_actions`` of `os.posix_spawn`)."""
    if not _reserved:
        sources = above_two(streams)
    else:
        sources = _reserved[:3]
        for source, stream in zip(sources, streams, strict=True):
            os.dup2(stream, source, inheritable=False)
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(sources)]
    try:
        return with_limit_of_children(lambda: execute(actions))
    finally:
        for source in sources:
            if _reserved:
                os.dup2(_reserved[3], source, inheritable=False)
            elif source not in streams:
                os.close(source)


def above_two(descriptors: tuple[int, ...]) -> list[int]:
    """Duplicates, or the same where they are above 2 already: what is to become 0, 1 and 2 must not be one of them."""
    return [one if one > 2 else fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in descriptors]
