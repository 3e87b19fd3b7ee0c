"""Starts that a keeper was asked for and has not answered, in the two forms there are; sends nothing itself.

A child that has its *claim* is spawned by the keeper at once, and the claim tells, should the keeper be killed before
it has said so, whether that was done. One behind a *gate* executes nothing before this program opens that: where more
has to be so first, and for terminals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.internet.defer import Deferred

from netdaemon.keeper import claim
from netdaemon.keeper.child import PIDFD, SPOOL, STDERR, STDIN, STDOUT, Launched, LaunchError, Spec, has_exited
from netdaemon.keeper.launch import Ends, open_streams
from netdaemon.process.strangers import holder_of, surely_holds


class GatedStart:
    """A child that waits at its gate.

    :ivar message: what the keeper is told, with *descriptors*.
    :param marked: whether the keeper knows of marks.
    :ivar done: fires with the `Launched` once the program is being executed, or fails with LaunchError.
    :ivar shared: what is to be shared before the gate is opened.
    """

    def __init__(self, id: str, spec: Spec, spool: int, marked: bool = True) -> None:
        self.id = id
        self.shared: Mapping[str, int] = {}
        self.done: Deferred[Launched] = Deferred()
        self.spool = spool
        pty = b"" if spec.pty is None else b"%dx%d" % spec.pty
        what = (id.encode(), spec.path, spec.cwd, pty, b"1" if spec.merge else b"0")
        whom = () if spec.whom is None else (spec.whom.pack(),)
        self.message = (b"launch", *what, _count(spec, marked), *whom, *spec.argv, *spec.env)
        self.descriptors: tuple[int, ...] = (spool,)

    def give_up(self) -> None:
        """Nobody waits for it any more, and nobody opens its gate."""

    def close(self) -> None:
        """It is over."""


class ClaimedStart:
    """A child that takes its claim; its pipes are made here, so that they are there whoever dies.

    :param marked: whether the keeper knows of marks.
    :raises OSError: there is no descriptor left for it.
    """

    def __init__(self, id: str, spec: Spec, spool: int, marked: bool = True) -> None:
        self.id = id
        self.done: Deferred[Launched] = Deferred()
        self.spool = spool
        what = (id.encode(), spec.path, spec.cwd, _count(spec, marked))
        self.message = (b"spawn", *what, *spec.argv, *spec.env)
        self._spec = spec
        self._claim = -1
        self._ends = Ends()
        try:
            self._streams = open_streams(self._ends, spec)
            self._claim = claim.make()
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What goes along: its claim, its ends, and what is to be kept."""
        ours = self._ends.ours
        return (
            self._claim,
            *self._streams,
            self.spool,
            *(ours[name] for name in (STDIN, STDOUT, STDERR) if name in ours),
        )

    def spawned(self, pid: int, keeper: int) -> tuple[int, dict[str, int]]:
        """It runs as a child of the keeper with the pidfd *keeper*: its pid, and all that is to be kept of it.

        :raises LaunchError: it cannot be watched; the keeper is to end it.
        """
        self._settled()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # Its parent is dead, too.
            return 0, self._roles(-1)
        except OSError as error:
            self.close()
            raise LaunchError("descriptors", error.errno or 0) from error
        if has_exited(keeper) and not surely_holds(pid, self._pipes()):
            # Somebody else has waited for it, and the number is another's; or nobody can tell.
            os.close(pidfd)
            return 0, self._roles(-1)
        return pid, self._roles(pidfd)

    def revoked(self) -> bool:
        """Whether the keeper, which is dead, came to nothing: then another may be asked.

        :raises OSError: it came to nothing, and there is no descriptor left to ask another.
        """
        if not claim.revoke(self._claim):
            return False
        os.close(self._claim)
        self._claim = -1
        self._claim = claim.make()
        return True

    def orphaned(self) -> tuple[int, dict[str, int]]:
        """It was executed and the keeper killed before it had said so: its pid, and all that is to be kept of it.

        What has exited meanwhile has none, and no pidfd; neither has what cannot be told from its own descendants.
        """
        # It began before it took its claim.
        taken = os.fstat(self._claim).st_ctime
        self._settled()
        pid, pidfd = holder_of(self._pipes(), self._spec, taken)
        return pid, self._roles(pidfd)

    def give_up(self) -> None:
        """Nobody waits for it any more: if it has not been executed, it will not be."""
        claim.revoke(self._claim)
        self.close()

    def _pipes(self) -> set[str]:
        return {f"pipe:[{os.fstat(number).st_ino}]" for number in self._ends.ours.values()}

    def _roles(self, pidfd: int) -> dict[str, int]:
        roles, self._ends.ours = {**self._ends.ours, SPOOL: self.spool}, {}
        return roles if pidfd < 0 else {PIDFD: pidfd, **roles}

    def _settled(self) -> None:
        """Nobody is to be asked again."""
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        self._ends.close_theirs()

    def close(self) -> None:
        """There is no child: nothing stays open."""
        self._settled()
        self._ends.close()


def _count(spec: Spec, marked: bool) -> bytes:
    """How many arguments there are, behind that the mark, and behind that whether a field says as whom it runs."""
    if spec.whom is not None:
        return b"%d:%d:1" % (len(spec.argv), spec.mark)
    return b"%d:%d" % (len(spec.argv), spec.mark) if marked and spec.mark else b"%d" % len(spec.argv)


Start = GatedStart | ClaimedStart
