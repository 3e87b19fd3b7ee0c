"""The launcher inside of this process: the reactor watches a start, and this process is the parent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from signal import SIGKILL
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from netdaemon.interfaces import ILauncher
from netdaemon.keeper import child, launch, limits
from netdaemon.keeper.child import GATE, ExitStatus, Launched, LaunchError, Spec
from netdaemon.process import signals
from netdaemon.process.cgroups import Cgroups
from netdaemon.process.launches import process_of
from netdaemon.process.trees import leftovers, mark_of
from netdaemon.watching import insisting

_log = Logger()


class Gate:
    """The socket that tells how a start went, for the reactor to watch; it is closed when that is known.

    :param done: fires with *launched* when its program is being executed, or fails with LaunchError.
    """

    def __init__(self, launched: Launched, done: Deferred[Launched], reactor: Any) -> None:
        self._launched = launched
        self._done = done
        self._reactor = reactor

    def watch(self) -> None:
        """Be told; where the kernel has no room to watch one more, look in a while."""
        insisting(self._reactor, lambda: self._reactor.addReader(self), self.doRead)

    def fileno(self) -> int:
        return self._launched.gate

    def logPrefix(self) -> str:
        return f"start of {self._launched.pid}"

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        error: LaunchError | None = None
        try:
            known = launch.finish(self._launched.gate)
        except LaunchError as told:
            known, error = True, told
        if not known:
            self.watch()
            return
        launch.close_gate(self._launched)
        if error is None:
            self._done.callback(self._launched)
        else:
            self._done.errback(error)

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw the end of it and nothing to read: the program runs."""
        self.doRead()


class Signals:
    """What every launcher does alike: signals go by pidfd, which whoever has it may use.

    :ivar cgroups: the control groups that children are put into; None: they are put into none.
    """

    cgroups: Cgroups | None = None

    def _prepare_group(self, id: str, spec: Spec) -> None:
        """Have the group of a process be as it is asked for, before there is a child to put into it.

        :raises LaunchError: it cannot be.
        """
        if self.cgroups is None:
            if spec.cgroup:
                raise LaunchError(
                    "cgroup",
                    errno.ENOTSUP,
                    "this daemon has no control groups; start it with --cgroup=DIRECTORY, of cgroup2 and its own",
                )
            return
        try:
            self.cgroups.prepare(process_of(id), spec.cgroup)
        except OSError as error:
            raise LaunchError("cgroup", error.errno or 0, f"{error.filename}: {error.strerror}") from error

    def _enter_group(self, launched: Launched) -> None:
        """Put a child that waits at its gate into the group of its process.

        :raises LaunchError: it is not in it.
        """
        if self.cgroups is not None:
            try:
                self.cgroups.enter(process_of(launched.id), launched.pid)
            except OSError as error:
                raise LaunchError("cgroup", error.errno or 0) from error

    def _kill_groups(self, ids: Iterable[str]) -> None:
        """Kill all that is in the groups of these processes: nobody is missed, whatever is being forked."""
        if self.cgroups is not None:
            for id in {process_of(one) for one in ids}:
                self.cgroups.kill(id)

    def _leave_group(self, id: str) -> None:
        """There is no such process any more: what it has left behind keeps its group."""
        if self.cgroups is not None:
            try:
                self.cgroups.remove(process_of(id))
            except OSError as error:
                _log.warn("the control group of {id} cannot be removed: {error}", id=id, error=error.strerror)

    def _spared(self) -> tuple[int, ...]:
        """Whoever is never to be signalled with a tree, besides this program."""
        return ()

    def signal(self, launched: Launched, number: int, scope: str) -> None:
        if launched.pid <= 0:
            # To the kernel that would mean us, or everybody.
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        if scope == "tree" and number == SIGKILL:
            self._kill_groups([launched.id])
        signals.send(launched.pid, launched.pidfd, number, scope, mark_of(launched.id), self._spared())

    def kill_trees(self, launched: Sequence[Launched]) -> None:
        self._kill_groups([one.id for one in launched])
        roots = [(max(one.pid, 0), one.pidfd, mark_of(one.id)) for one in launched]
        signals.kill_trees(roots, self._spared())

    def leftovers(self, id: str) -> list[int]:
        found = set(leftovers(mark_of(id), self._spared()))
        if self.cgroups is not None:
            found.update(self.cgroups.pids(process_of(id)))
        return sorted(found)

    def kill_leftovers(self, id: str) -> None:
        self._kill_groups([id])
        signals.kill_marked(mark_of(id), self._spared())


@implementer(ILauncher)
class LocalLauncher(Signals):
    """Starts children as this process's own: they end with it, if only for want of somebody to read their output."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        launch.own_descriptors()
        limits.drop_mark()

    def launch(self, id: str, spec: Spec, spool: int, shared: Mapping[str, int] | None = None) -> Deferred[Launched]:
        gated = self.cgroups is not None
        try:
            self._prepare_group(id, spec)
            pid, roles = launch.begin(spec, gated=gated)
        except LaunchError as error:
            return fail(error)
        launched = Launched.of_roles(id, pid, roles)
        if GATE not in roles:
            return succeed(launched)
        if gated:
            try:
                self._enter_group(launched)
            except LaunchError as error:
                child.kill_group(pid, launched.pidfd, SIGKILL)
                launch.wait(launched.pid)
                launched.close()
                return fail(error)
            launch.open_gate(launched.gate)
        done: Deferred[Launched] = Deferred()
        done.addErrback(self._failed, launched)
        Gate(launched, done, self._reactor).watch()
        return done

    def _failed(self, failure: Any, launched: Launched) -> Any:
        launch.wait(launched.pid)
        launched.close()
        return failure

    def share(self, id: str, role: str, descriptor: int) -> None:
        """Nobody else could make use of it."""

    def withdraw(self, launched: Launched, *roles: str, at_once: bool = False) -> None:
        """Nobody else has it."""

    def forget(self, id: str) -> None:
        self._leave_group(id)

    def collect(self, launched: Launched) -> Deferred[ExitStatus | None]:
        try:
            return succeed(child.collect(launched.pidfd))
        except ChildProcessError:
            return succeed(ExitStatus())

    def release(self, launched: Launched) -> None:
        child.release(launched.pidfd)
