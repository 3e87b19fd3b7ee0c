"""Children that a test plays, and the launcher that makes them; knows no daemon."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from netdaemon.interfaces import ILauncher
from netdaemon.keeper.child import PIDFD, ExitStatus, Launched, LaunchError, Spec
from netdaemon.keeper.launch import Ends, open_streams
from netdaemon.process.launches import process_of


class FakeChild:
    """A child that the test plays: its ends of the pipes or its side of a terminal, and its exit."""

    def __init__(self, id: str, spec: Spec, pid: int) -> None:
        self.spec = spec
        self.pid = pid
        self.status: ExitStatus | None = None
        self.released = False
        self.signals: list[tuple[int, str]] = []
        ends = Ends()
        # By channel; of a terminal, and of merged outputs, several are one.
        self._ends = dict(enumerate(open_streams(ends, spec)))
        for number in self._ends.values():
            os.set_blocking(number, False)
        ends.ours[PIDFD], self._exit = os.pipe2(os.O_CLOEXEC)
        self.launched = Launched.of_roles(id, pid, ends.ours)

    def write(self, data: bytes, channel: int = 1) -> int:
        """Write output; how many bytes a pipe had room for: it holds 64 KiB until the daemon reads.

        :raises BlockingIOError: it is full.
        """
        return os.write(self._ends[channel], data)

    def read(self) -> bytes:
        """The input that has come; empty at EOF.

        :raises BlockingIOError: there is none yet.
        """
        return os.read(self._ends[0], 1 << 20)

    def size(self) -> tuple[int, int]:
        """(rows, columns) of its terminal.

        :raises OSError: it has none.
        """
        columns, rows = os.get_terminal_size(self._ends[0])
        return rows, columns

    def close(self, channel: int) -> None:
        """Close one stream."""
        number = self._ends.pop(channel)
        if number not in self._ends.values():
            os.close(number)

    def exit(self, code: int | None = 0, *, signal: int | None = None, leave_open: bool = False) -> None:
        """Exit. *leave_open* keeps the streams open, as a grandchild that has them would."""
        if not leave_open:
            for channel in list(self._ends):
                self.close(channel)
        self.status = ExitStatus(code=None if signal is not None else code, signal=signal)
        os.close(self._exit)
        self._exit = -1

    def clean(self) -> None:
        """Close what is left."""
        for channel in list(self._ends):
            self.close(channel)
        if self._exit >= 0:
            os.close(self._exit)
            self._exit = -1


@implementer(ILauncher)
class FakeLauncher:
    """Launches children that the test plays.

    :ivar children: all that were launched, in order.
    :ivar refusals: errors for the launches to come, first in first out.
    :ivar left: the pids of what has been left over, by process id.
    """

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.refusals: deque[LaunchError] = deque()
        self.left: dict[str, list[int]] = {}

    def launch(self, id: str, spec: Spec, spool: int, shared: Mapping[str, int] | None = None) -> Deferred[Launched]:
        if self.refusals:
            return fail(self.refusals.popleft())
        child = FakeChild(id, spec, 1000 + len(self.children))
        self.children.append(child)
        return succeed(child.launched)

    def share(self, id: str, role: str, descriptor: int) -> None:
        """Nobody outlives a daemon in memory."""

    def withdraw(self, launched: Launched, *roles: str, at_once: bool = False) -> None:
        """Likewise."""

    def forget(self, id: str) -> None:
        """Likewise."""

    def _child(self, launched: Launched) -> FakeChild:
        return next(child for child in self.children if child.launched is launched)

    def collect(self, launched: Launched) -> Deferred[ExitStatus | None]:
        return succeed(self._child(launched).status or ExitStatus())

    def signal(self, launched: Launched, number: int, scope: str) -> None:
        child = self._child(launched)
        if child.status is not None:
            raise ProcessLookupError(errno.ESRCH, "it has exited")
        child.signals.append((number, scope))

    def kill_trees(self, launched: Sequence[Launched]) -> None:
        for one in launched:
            if self._child(one).status is None:
                self.signal(one, 9, "tree")

    def leftovers(self, id: str) -> list[int]:
        return list(self.left.get(process_of(id), ()))

    def kill_leftovers(self, id: str) -> None:
        self.left.pop(process_of(id), None)

    def release(self, launched: Launched) -> None:
        self._child(launched).released = True
