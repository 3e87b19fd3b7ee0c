"""The input of one process: a file that grows, appended by pwrite and spliced into the child; knows no processes.

The file's size is what has been accepted, the position of its description is what the child's pipe has been given.
Both are the kernel's, so that a kill at any moment loses and doubles nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable

from netdaemon.process.holes import PAGE, punch
from netdaemon.process.pipes import PIPE_SIZE

# Moved at once: an enlarged pipe takes all of it. A pty takes a line of at most 4,096 bytes at a time.
FEED = PIPE_SIZE


class Hole(Exception):
    """Bytes are missing before those that were offered."""


class Stdin:
    """What waits to be read by one process.

    :param create: makes an empty file when the first byte comes: most processes are never fed.
    :param window: how many bytes may wait.
    :param base: the offset at which this file begins: what was before is another generation's.
    :ivar end: the offset after what has been accepted.
    :ivar taken: the offset after what the child's pipe has been given.
    :ivar closed: EOF has been accepted: there will be no more.
    """

    def __init__(self, create: Callable[[], int], window: int, base: int = 0) -> None:
        self.window = window
        self.base = base
        self.end = base
        self.taken = base
        self.closed = False
        self._create = create
        self._descriptor = -1
        self._punched = 0
        self._degraded = False

    def adopt(self, descriptor: int) -> None:
        """Go on with the file of a program that is dead; *descriptor* shares its description, and is owned here."""
        self._descriptor = descriptor
        self.end = self.base + os.fstat(descriptor).st_size
        self.taken = self.base + os.lseek(descriptor, 0, os.SEEK_CUR)

    @property
    def waiting(self) -> int:
        """How many accepted bytes the child has not been given."""
        return self.end - self.taken

    @property
    def room(self) -> int:
        """How many more bytes may wait."""
        return self.window - self.waiting

    def accept(self, data: bytes | memoryview, at: int | None) -> int:
        """Take as much of *data* as the window has room for.

        :param at: the offset of its first byte; what is below ``end`` was taken before and is dropped.
        :return: how many bytes of *data* are safe.
        :raises Hole: ``at`` is beyond ``end``.
        """
        repeated = 0
        if at is not None:
            if at > self.end:
                raise Hole
            repeated = min(self.end - at, len(data))
        fresh = memoryview(data)[repeated : repeated + self.room]
        if not fresh:
            return repeated
        if self._descriptor < 0:
            self._descriptor = self._create()
        written = os.pwrite(self._descriptor, fresh, self.end - self.base)
        self.end += written
        return repeated + written

    def take_back(self, count: int) -> None:
        """Forget the last *count* bytes that were accepted; none of them may have been fed."""
        self.end -= count
        os.ftruncate(self._descriptor, self.end - self.base)

    def feed(self, pipe: int) -> int:
        """Move what waits into *pipe*.

        :return: how many bytes went.
        :raises BlockingIOError: the pipe is full.
        :raises BrokenPipeError: nobody reads it any more.
        """
        count = min(self.waiting, FEED)
        if not self._degraded:
            try:
                moved = os.splice(self._descriptor, pipe, count, flags=os.SPLICE_F_NONBLOCK)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._degraded = True
        if self._degraded:
            moved = os.write(pipe, os.pread(self._descriptor, count, self.taken - self.base))
            os.lseek(self._descriptor, self.taken - self.base + moved, os.SEEK_SET)
        self.taken += moved
        if self.taken - self.base - self._punched >= self.window:
            self._punch(pipe)
        return moved

    def _punch(self, pipe: int) -> None:
        """Give back the memory of what has been read out of *pipe*; the size, which is the offset, stays.

        Whole pages only, and none before it has been read: the pipe has no copies but refers to the file's pages, and
        what is punched of a page reads as zeros there.
        """
        try:
            unread: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]
        except OSError:
            return
        end = (self.taken - self.base - unread) // PAGE * PAGE
        if end <= self._punched:
            return
        try:
            punch(self._descriptor, self._punched, end)
        except OSError:
            # A file system that cannot: it costs space, and nothing else.
            pass
        self._punched = end

    def discard(self) -> None:
        """The child will not take what waits: nobody reads it any more."""
        self.closed = True
        self.taken = self.end
        self.close()

    def close(self) -> None:
        """Free the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
