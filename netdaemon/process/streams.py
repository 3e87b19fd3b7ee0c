"""What the reactor watches of one child: its pipes or terminal, and its pidfd; decides nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import time
from typing import Any, Protocol

from twisted.internet.error import ConnectionLost

from netdaemon.process.pipes import BIG, ENOUGH, PIPE_SIZE, enlarge
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.watching import Watched

STDIN, STDOUT, STDERR = 0, 1, 2

# Where the kernel gives no count of what there is to read, as of a terminal: never more than this.
UNCOUNTED = 1 << 20


class Owner(Protocol):
    """Whose a stream is."""

    @property
    def reactor(self) -> Any: ...

    @property
    def pid(self) -> int | None: ...


class OutputOwner(Owner, Protocol):
    """Who is told of the outputs and of the exit: the transport.

    :ivar reading: whether output is to be read at present.
    """

    reading: bool

    def readable(self, output: Output) -> None:
        """There is something to read, or the end."""

    def ended(self, output: Output) -> None:
        """There is nothing to read, and there will not be."""

    def exit_seen(self) -> None:
        """The child has exited."""


class InputOwner(Owner, Protocol):
    """Who is told of the input: its feeding."""

    def feed(self) -> None:
        """There is room in the child's stdin."""

    def lost(self) -> None:
        """Nobody reads the child's stdin any more."""


def _pending(descriptor: int) -> int:
    """How many bytes a pipe holds."""
    count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]
    return count


class Selectable(Watched):
    """What the reactor watches: one descriptor, owned, with nothing of Twisted's buffering."""

    def __init__(self, descriptor: int, owner: Owner) -> None:
        self.descriptor = descriptor
        self.reactor = owner.reactor
        self._pid = owner.pid

    def fileno(self) -> int:
        return self.descriptor

    def logPrefix(self) -> str:
        return f"process {self._pid}"

    def close(self) -> None:
        self.unwatch()
        self.reactor.removeWriter(self)
        os.close(self.descriptor)
        self.descriptor = -1


class Output(Selectable):
    """Our end of a pipe that the child writes to."""

    def __init__(self, descriptor: int, channel: int, owner: OutputOwner) -> None:
        super().__init__(descriptor, owner)
        self._owner = owner
        self.channel = channel
        # How many bytes must be read before the exit may be told; None while there is no exit to tell.
        self.owed: int | None = None
        self._enlarged = False

    def doRead(self) -> None:
        self._owner.readable(self)

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw a hang-up and nothing to read."""
        if self.descriptor >= 0 and self.hung_up(reason):
            self._owner.ended(self)
            return
        if self.descriptor >= 0:
            self._owner.readable(self)
        if self.descriptor >= 0 and self._owner.reading:
            self.watch()

    def hung_up(self, reason: Any) -> bool:
        """Whether that is the end: a pipe that nobody can write to and that had nothing to read stays empty."""
        return isinstance(reason.value, ConnectionLost)

    def count_owed(self) -> None:
        """The child has exited: what is here now is to be read before that is told."""
        try:
            self.owed = _pending(self.descriptor)
        except OSError:
            self.owed = UNCOUNTED

    def move(self, spool: Spool, count: int) -> int:
        """Append up to *count* bytes, and no more than one read; 0 at the end."""
        moved = spool.append_from(self.descriptor, self.channel, min(count, PIPE_SIZE), time.time_ns() // 1000)
        if moved >= BIG and not self._enlarged:
            self._enlarged = True
            enlarge(self.descriptor)
        return moved

    def drop(self, spool: Spool, count: int) -> int:
        """Take up to *count* bytes and keep none; 0 at the end."""
        return spool.drop_from(self.descriptor, count)

    @property
    def residue(self) -> int:
        """Bytes that are here and that no descriptor tells of."""
        return 0


class TerminalOutput(Output):
    """The master side of a terminal, read by way of a pipe, because splice has a pipe at one end."""

    def __init__(self, descriptor: int, relay: tuple[int, int], owner: OutputOwner) -> None:
        super().__init__(descriptor, STDOUT, owner)
        self._relay = relay
        # Something, if whoever had it before was killed.
        self._residue = _pending(relay[0])

    def count_owed(self) -> None:
        self.owed = UNCOUNTED

    def hung_up(self, reason: Any) -> bool:
        # Somebody may open a terminal again.
        return False

    @property
    def residue(self) -> int:
        return self._residue

    def _fill(self, count: int) -> bool:
        """Have something in the relay; False at the end."""
        if not self._residue:
            try:
                self._residue = os.splice(self.descriptor, self._relay[1], count, flags=os.SPLICE_F_NONBLOCK)
            except OSError as error:
                # What a terminal says when everybody at its other end has gone.
                if error.errno != errno.EIO:
                    raise
        return self._residue > 0

    def move(self, spool: Spool, count: int) -> int:
        total = 0
        if self._fill(count):
            # To the last byte, though the ring may turn in between: nothing tells the reactor of what stays here.
            while self._residue and total < count:
                try:
                    moved = spool.append_from(
                        self._relay[0], self.channel, min(self._residue, count - total), time.time_ns() // 1000
                    )
                except BlockingIOError as error:
                    # The relay is not empty: this is no word on the terminal, and has to be tried again.
                    raise OSError(errno.EIO, error.strerror) from error
                self._residue -= moved
                total += moved
        return total

    def drop(self, spool: Spool, count: int) -> int:
        if not self._fill(count):
            return 0
        dropped = spool.drop_from(self._relay[0], min(self._residue, count))
        self._residue -= dropped
        return dropped

    def close(self) -> None:
        super().close()
        for one in self._relay:
            os.close(one)


class Input(Selectable):
    """Our end of the pipe that the child reads from."""

    def __init__(self, descriptor: int, owner: InputOwner) -> None:
        super().__init__(descriptor, owner)
        self._owner = owner
        self._enlarged = False

    def doWrite(self) -> None:
        self._owner.feed()

    def doRead(self) -> None:
        """Nothing can be read from it: the reactor says so because the other end was closed."""
        self._owner.lost()

    def connectionLost(self, reason: Any) -> None:
        if self.descriptor >= 0:
            self._owner.lost()

    def push(self, stdin: Stdin) -> None:
        """Move what waits; raises BlockingIOError when no more fits."""
        if stdin.waiting >= BIG and stdin.taken >= ENOUGH and not self._enlarged:
            self._enlarged = True
            enlarge(self.descriptor)
        while stdin.waiting:
            stdin.feed(self.descriptor)


class TerminalInput(Input):
    """A duplicate of the master side, written to by way of a pipe."""

    def __init__(self, descriptor: int, relay: tuple[int, int], owner: InputOwner) -> None:
        super().__init__(descriptor, owner)
        self._relay = relay
        self._residue = _pending(relay[0])

    def push(self, stdin: Stdin) -> None:
        while self._residue or stdin.waiting:
            if not self._residue:
                self._residue = stdin.feed(self._relay[1])
            try:
                moved = os.splice(self._relay[0], self.descriptor, self._residue, flags=os.SPLICE_F_NONBLOCK)
            except OSError as error:
                if error.errno == errno.EIO:
                    raise BrokenPipeError(errno.EPIPE, "the terminal was hung up") from error
                raise
            self._residue -= moved

    def close(self) -> None:
        super().close()
        for one in self._relay:
            os.close(one)


class Exit(Selectable):
    """The pidfd: readable once the child has exited."""

    def __init__(self, descriptor: int, owner: OutputOwner) -> None:
        super().__init__(descriptor, owner)
        self._owner: OutputOwner | None = owner

    def close(self) -> None:
        super().close()
        # It has this: let go, the two are freed at once.
        self._owner = None

    def doRead(self) -> None:
        self.unwatch()
        if self._owner is not None:
            self._owner.exit_seen()

    def connectionLost(self, reason: Any) -> None:
        return
