"""The launcher inside of this process: the reactor watches a start, and this process is the parent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from netdaemon.interfaces import ILauncher
from netdaemon.keeper import launch
from netdaemon.keeper.launch import Begun, ExitStatus, Launched, LaunchError, Spec
from netdaemon.process import signals
from netdaemon.watching import insisting


class _Report:
    """The pipe that tells how a start went, for the reactor to watch."""

    def __init__(self, begun: Begun, done: Deferred[Launched], reactor: Any) -> None:
        self._begun = begun
        self._done = done
        self._reactor = reactor

    def watch(self) -> None:
        """Be told; where the kernel has no room to watch one more, look in a while."""
        insisting(self._reactor, lambda: self._reactor.addReader(self), self.doRead)

    def fileno(self) -> int:
        return self._begun.report

    def logPrefix(self) -> str:
        return f"start of {self._begun.launched.pid}"

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        try:
            launched = launch.finish(self._begun)
        except LaunchError as error:
            self._done.errback(error)
            return
        if launched is None:
            self.watch()
        else:
            self._done.callback(launched)

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw the end of the pipe and nothing to read: the program runs."""
        self.doRead()


@implementer(ILauncher)
class LocalLauncher:
    """Starts children as this process's own: they end with it, if only for want of somebody to read their output."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        launch.own_descriptors()

    def launch(self, spec: Spec) -> Deferred[Launched]:
        try:
            begun = launch.begin(spec)
            if begun.report < 0:
                return succeed(begun.launched)
        except LaunchError as error:
            return fail(error)
        done: Deferred[Launched] = Deferred()
        _Report(begun, done, self._reactor).watch()
        return done

    def collect(self, launched: Launched) -> Deferred[ExitStatus | None]:
        return succeed(launch.collect(launched))

    def signal(self, launched: Launched, number: int, scope: str) -> None:
        signals.send(launched.pid, launched.pidfd, number, scope)

    def kill_trees(self, launched: Sequence[Launched]) -> None:
        signals.kill_trees([(one.pid, one.pidfd) for one in launched])

    def release(self, launched: Launched) -> None:
        launch.release(launched)
