"""The bytes that were read last, once more, as pages in a pipe: whoever sends them to a socket need not copy them.

tee(2) has the kernel refer to the pages of one pipe in another. The spool gets its copy all the same, and first: what
is sent from here is nothing that could be lost.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable

from netdaemon.process.pipes import PIPE_SIZE

_NONBLOCK = os.SPLICE_F_NONBLOCK


def _find_tee() -> Callable[[int, int, int, int], int] | None:
    """The C library's function, which Python does not have; None: nor has this library."""
    try:
        found = ctypes.CDLL(None, use_errno=True).tee
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    found.restype = ctypes.c_ssize_t
    return found


class Twin:
    """One for all processes: it is filled and emptied within one turn of the loop.

    :ivar offset: the offset, in the output that it was filled from, of the first byte that it holds.
    :ivar count: how many bytes it holds.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.count = 0
        self._tee = _find_tee()
        self._reading = -1
        self._writing = -1
        self._nowhere = -1

    def fill(self, pipe: int, count: int, offset: int) -> int:
        """Hold what *pipe* holds, up to *count* bytes, as what stands at *offset*; how many. It must be empty.

        0: it cannot, and everything has to go the long way.
        """
        if self._tee is None or not self._open():
            return 0
        held = self._tee(pipe, self._writing, min(count, PIPE_SIZE), _NONBLOCK)
        self.offset, self.count = offset, max(0, held)
        if held < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ENOMEM):
            # A kernel that does not know it, or does not let us: it will not, either, the next time.
            self._tee = None
        return self.count

    def _open(self) -> bool:
        if self._reading < 0:
            try:
                self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            except OSError:
                # No descriptors, or no memory; perhaps later.
                self.close()
        return self._reading >= 0

    def send(self, sock: int, count: int) -> int:
        """Send *count* bytes of what it holds; how many the socket has taken, whatever was wrong with the rest."""
        sent = 0
        try:
            while sent < count:
                moved = os.splice(self._reading, sock, count - sent, flags=_NONBLOCK)
                if not moved:
                    break
                sent += moved
        except OSError:
            # Full, or broken.
            pass
        self.offset += sent
        self.count -= sent
        return sent

    def empty(self) -> None:
        """Hold nothing."""
        while self.count > 0:
            try:
                dropped = os.splice(self._reading, self._nowhere, self.count, flags=_NONBLOCK)
            except OSError:
                dropped = 0
            if not dropped:
                # Another one is sure to be empty.
                self.close()
                return
            self.count -= dropped

    def close(self) -> None:
        """Let go of the pipe; another is opened when it is needed."""
        self.count = 0
        for number in (self._reading, self._writing, self._nowhere):
            if number >= 0:
                os.close(number)
        self._reading = self._writing = self._nowhere = -1
