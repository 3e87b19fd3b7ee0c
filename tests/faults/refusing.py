"""Runs a program whose reactor is refused: while a file named *flag* is there, every n-th descriptor is not watched.

python refusing.py FLAG N PROGRAM ARG...

The kernel refuses to watch one more descriptor (EPOLL_CTL_ADD) for want of room, and strace cannot choose by that.
"""

from __future__ import annotations

import errno
import os
import runpy
import select
import sys
from typing import Any

from twisted.internet import epollreactor


class Refusing:
    """An epoll that now and then has no room."""

    def __init__(self, size: int) -> None:
        self._epoll = select.epoll(size)
        self._count = 0

    def register(self, *arguments: Any) -> None:
        if os.path.exists(FLAG):
            self._count += 1
            if self._count % EVERY == 0:
                with open(FLAG, "a", encoding="ascii") as file:
                    file.write("x")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._epoll.register(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


FLAG, EVERY = sys.argv[1], int(sys.argv[2])
sys.argv = sys.argv[3:]
epollreactor.epoll = Refusing  # type: ignore[misc]
runpy.run_path(sys.argv[0], run_name="__main__")
