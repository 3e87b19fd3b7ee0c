"""Writing to standard output and error without ever waiting there, and without changing what others share with us."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
from collections import deque

# Bytes that may wait for a reader; then no more are taken from the daemon.
PENDING_MOST = 1 << 18

# What a pipe takes without waiting when poll says that it takes anything: POSIX's PIPE_BUF.
PIPE_BUF = 4096


class Outlet:
    """One of our outputs.

    O_NONBLOCK belongs to the open file, which the shell and other programs have as well: it would outlive us and break
    them. So a pipe or terminal is opened a second time, for us alone; a socket is told with each call; a file or
    device that never makes its writer wait is used as it is.

    :param descriptor: 1 or 2.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = 0
        self._pending: deque[bytes | memoryview] = deque()
        self._own = -1
        self._socket: socket.socket | None = None
        # Bytes in one write; 0: as many as there are.
        self._piece = 0
        self._closing = False
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            try:
                self._own = os.open(
                    f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:
                # Someone else's, perhaps. Small writes after poll do not wait, unless another writer comes between.
                self._piece = PIPE_BUF
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3))

    @property
    def waits(self) -> bool:
        """Whether to poll `fileno` for POLLOUT, and then call `work`."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether to write no more for now."""
        return self.size >= PENDING_MOST

    def fileno(self) -> int:
        """What to poll."""
        return self._own if self._own >= 0 else self.descriptor

    def write(self, data: bytes) -> None:
        """Write, now if nothing waits, and else after it.

        :raises BrokenPipeError: nobody reads any more.
        :raises OSError: it cannot be written.
        """
        self._pending.append(data)
        self.size += len(data)
        if len(self._pending) == 1 and not self._piece:
            self.work()

    def work(self) -> None:
        """Write what can be written without waiting; raises as `write`."""
        pending = self._pending
        try:
            while pending:
                data = pending[0]
                count = self._write(data[: self._piece] if self._piece else data)
                self.size -= count
                if count == len(data):
                    pending.popleft()
                else:
                    pending[0] = memoryview(data)[count:]
                if self._piece:
                    break
        except (BlockingIOError, InterruptedError):
            return
        if self._closing and not pending:
            self._shut()

    def drain(self) -> None:
        """Wait until all is written; raises as `write`."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        while self._pending:
            poll.poll()
            self.work()

    def _write(self, data: bytes | memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self.fileno(), data)

    def finish(self) -> None:
        """The process has closed this output: close ours, once all is written, so that its reader sees the end.

        A terminal stays open: whoever looks at it has others to hear from.
        """
        self._closing = True
        if not self._pending:
            self._shut()

    def _shut(self) -> None:
        self._closing = False
        if os.isatty(self.descriptor):
            return
        self.close()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self.descriptor)
        os.close(null)

    def close(self) -> None:
        """Close what was opened here; what waits is lost."""
        self._pending.clear()
        self.size = 0
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def outlets() -> dict[int, Outlet]:
    """Those for channels 1 and 2; one for both, to keep their order, if both go to one pipe, terminal or socket."""
    first = Outlet(1)
    one, two = os.fstat(1), os.fstat(2)
    same = (one.st_dev, one.st_ino, one.st_rdev) == (two.st_dev, two.st_ino, two.st_rdev)
    if same and not stat.S_ISREG(one.st_mode):
        return {1: first, 2: first}
    return {1: first, 2: Outlet(2)}


def is_broken(error: OSError) -> bool:
    """Whether nobody reads what we write: an end like any filter's, not a failure."""
    return error.errno in (errno.EPIPE, errno.ECONNRESET)
