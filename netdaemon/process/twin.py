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


class _Pipe:
    """A pipe of our own, opened when it is needed."""

    def __init__(self) -> None:
        self.reading = -1
        self.writing = -1

    def open(self) -> None:
        if self.reading < 0:
            self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def empty(self, count: int, nowhere: int) -> None:
        """Drop the *count* bytes that are in it."""
        while count > 0:
            try:
                dropped = os.splice(self.reading, nowhere, count, flags=_NONBLOCK)
            except OSError:
                dropped = 0
            if not dropped:
                # Another one is sure to be empty.
                self.close()
                return
            count -= dropped

    def close(self) -> None:
        for number in (self.reading, self.writing):
            if number >= 0:
                os.close(number)
        self.reading = self.writing = -1


class Twin:
    """One for all processes: it is filled and emptied within one turn of the loop.

    :ivar offset: the offset, in the output that it was filled from, of the first byte that it holds.
    :ivar count: how many bytes it holds.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.count = 0
        self._tee = _find_tee()
        self._held = _Pipe()
        # What goes to one reader while there are others to come.
        self._going = _Pipe()
        self._nowhere = -1
        self._readers = 0

    def expect(self, readers: int) -> None:
        """So many are going to send what it will hold."""
        self._readers = readers

    def fill(self, pipe: int, count: int, offset: int) -> int:
        """Hold what *pipe* holds, up to *count* bytes, as what stands at *offset*; how many. It must be empty.

        0: it cannot, and everything has to go the long way.
        """
        if self._tee is None or not self._open():
            return 0
        held = self._tee(pipe, self._held.writing, min(count, PIPE_SIZE), _NONBLOCK)
        self.offset, self.count = offset, max(0, held)
        if held < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ENOMEM):
            # A kernel that does not know it, or does not let us: it will not, either, the next time.
            self._tee = None
        return self.count

    def _open(self) -> bool:
        try:
            if self._nowhere < 0:
                self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            self._held.open()
            if self._readers > 1:
                self._going.open()
        except OSError:
            # No descriptors, or no memory; perhaps later.
            self.close()
            return False
        return True

    def send(self, sock: int, count: int) -> int:
        """Send the first *count* bytes of what it holds; how many the socket has taken, whatever was wrong with the
        rest. The last reader that was expected gets what is held itself, and those before it the same pages again."""
        self._readers -= 1
        if self._readers <= 0:
            sent = _move(self._held.reading, sock, count)
            self.offset += sent
            self.count -= sent
            return sent
        assert self._tee is not None
        going = self._tee(self._held.reading, self._going.writing, count, _NONBLOCK)
        if going <= 0:
            return 0
        sent = _move(self._going.reading, sock, going)
        self._going.empty(going - sent, self._nowhere)
        return sent

    def empty(self) -> None:
        """Hold nothing."""
        self._held.empty(self.count, self._nowhere)
        self.count = 0

    def close(self) -> None:
        """Let go of all descriptors; others are opened when they are needed."""
        self.count = 0
        self._held.close()
        self._going.close()
        if self._nowhere >= 0:
            os.close(self._nowhere)
            self._nowhere = -1


def _move(pipe: int, sock: int, count: int) -> int:
    """How many of *count* bytes went from one to the other."""
    sent = 0
    try:
        while sent < count:
            moved = os.splice(pipe, sock, count - sent, flags=_NONBLOCK)
            if not moved:
                break
            sent += moved
    except OSError:
        # Full, or broken.
        pass
    return sent
