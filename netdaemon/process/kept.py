"""The launcher behind a keeper: children, descriptors and exit statuses outlive this program, and the keeper's death.

The keeper has a duplicate of every descriptor, and so has this side of every one that it has: whichever is killed, the
other has all that there is, and hands it to the next.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.interfaces import IKeeper
from netdaemon.keeper import launch, limits
from netdaemon.keeper.child import GATE, PIDFD, SPOOL, ExitStatus, Launched, LaunchError, Spec
from netdaemon.keeper.ledger import read_entry
from netdaemon.keeper.messages import Torn, close_all
from netdaemon.process.conversation import MARKS, SPAWNS, WHOM, KeeperConversation
from netdaemon.process.keeper_link import Entry, KeeperLink, KeeperUnusable
from netdaemon.process.launcher import Gate, Signals
from netdaemon.process.starts import ClaimedStart, GatedStart, Start
from netdaemon.process.stored import Store, Stored
from netdaemon.process.strangers import pid_of, status_of

# Seconds until it is tried again to have a keeper where none could be started, or to have it keep something.
TRY_AGAIN = 1.0

_log = Logger()


@implementer(IKeeper)
class KeptLauncher(Signals, KeeperConversation):
    """Has the keeper start children.

    :param reactor: `IReactorFDSet` and `IReactorTime`.
    :param link: not yet open.
    :param store: has duplicates, too, for when this program and its keeper are killed together.
    """

    def __init__(self, reactor: Any, link: KeeperLink, store: Store | None = None) -> None:
        super().__init__(reactor, link)
        self._stored = Stored(store)
        # What is not yet in the store must not run: there is no other to find it if both of us are killed.
        self._gated = store is not None
        self.on_stop: Callable[[], None] = lambda: None
        # The keeper's ledger, as it must be: by our own numbers.
        self._roles: dict[str, tuple[int, dict[str, int]]] = {}
        self._starts: dict[str, Start] = {}
        self._collecting: dict[str, tuple[Launched, Deferred[ExitStatus | None]]] = {}

    def open(self) -> list[Entry]:
        launch.own_descriptors()
        limits.drop_mark()
        instance, stored = self._stored.take()
        self._link.instance = instance or self._link.instance
        found = self._upgraded(self._link.open())
        orphans = self._orphans(stored, {id for id, _, _ in found})
        found += orphans
        self._roles = {id: (pid, dict(roles)) for id, pid, roles in found}
        self._stored.agree(self._link.instance, stored, {id: roles for id, _, roles in found})
        adopted = {id for id, _, _ in orphans}
        for id, roles in stored.items():
            if id not in adopted:
                close_all(roles.values())
        self.kept = True
        self.watch()
        if self._link.stop_asked:
            self.reactor.callLater(0, self._heard, [b"stop"], [])
        return found

    def _upgraded(self, found: list[Entry]) -> list[Entry]:
        """Have the keeper be the newest; should it die of that, another has what it had."""
        try:
            self._link.upgrade()
        except (EOFError, OSError) as error:
            _log.error("the keeper (pid {pid}) died of its upgrade: {error!r}", pid=self._link.pid, error=error)
            if not self._link.bury():
                raise KeeperUnusable(f"the keeper (pid {self._link.pid}) has hung up and is not dead") from error
            self._link.close()
            self._link.open()
            self._link.hand_over(found)
        return found

    def _orphans(self, stored: dict[str, dict[str, int]], known: set[str]) -> list[Entry]:
        """What no keeper had any more, and the store had; a new keeper has it now."""
        found = [
            (id, pid_of(roles[PIDFD]) if PIDFD in roles else 0, roles)
            for id, roles in stored.items()
            if id not in known
        ]
        if found:
            _log.warn("{count} processes had lost their keeper, and were in the store", count=len(found))
            self._link.hand_over(found)
        return found

    def _keep(self, id: str, pid: int, roles: dict[str, int]) -> None:
        """These are kept from now on, besides what is."""
        self._roles[id] = pid, {**self._roles.get(id, (0, {}))[1], **roles}
        self._stored.keep(id, roles)

    def _drop(self, id: str, *roles: str) -> list[str]:
        """These are not kept any more; those of them that were."""
        entry = self._roles.get(id)
        if entry is None:
            return []
        dropped = [role for role in roles if entry[1].pop(role, None) is not None]
        if dropped:
            self._stored.drop(id, entry[1])
        return dropped

    @property
    def instance(self) -> str:
        """Which daemon's processes these are."""
        return self._link.instance

    @property
    def restarts(self) -> int:
        """How many times in a row the keeper has started a daemon."""
        return self._link.restarts

    @property
    def pid(self) -> int:
        """The keeper's."""
        return self._link.pid

    def _spared(self) -> tuple[int, ...]:
        # It has the mark of a child itself at the moment that it spawns that.
        return (self._link.pid,)

    # --- ILauncher ---------------------------------------------------------------------------------------------------

    def launch(self, id: str, spec: Spec, spool: int, shared: Mapping[str, int] | None = None) -> Deferred[Launched]:
        self._say()
        try:
            self._can_launch(spec)
            self._prepare_group(id, spec)
        except LaunchError as error:
            return fail(error)
        gated = self._gated or self.cgroups is not None or spec.pty is not None or self._link.revision < SPAWNS
        gated = gated or bool(shared) or spec.whom is not None
        form = GatedStart if gated else ClaimedStart
        try:
            self._starts[id] = start = form(id, spec, spool, self._link.revision >= MARKS)
            if isinstance(start, GatedStart):
                start.shared = shared or {}
            self._post(*start.message, descriptors=start.descriptors)
        except OSError as error:
            self._not_asked(id)
            return fail(LaunchError("descriptors", error.errno or 0))
        return start.done

    def _can_launch(self, spec: Spec) -> None:
        """:raises LaunchError: the keeper would take part of *spec* for nothing."""
        if spec.whom is not None and self._link.revision < WHOM:
            raise LaunchError(
                "keeper",
                errno.ENOTSUP,
                f"the keeper (pid {self._link.pid}) is of revision {self._link.revision} and knows neither users nor "
                f"limits; {WHOM} does, and the daemon's log says why it was not upgraded",
            )

    def _not_asked(self, id: str) -> None:
        start = self._starts.pop(id, None)
        if start is not None:
            start.close()

    def resume(self, launched: Launched) -> Deferred[Launched]:
        """A start that the daemon before this one was in the middle of: see to its end."""
        done: Deferred[Launched] = Deferred()
        self._open_gate(launched, done)
        return done

    def share(self, id: str, role: str, descriptor: int) -> None:
        self._say()
        if self.kept and (self._link.channel.waits or self._link.channel.stalled):
            # It would not be the kernel's at once, and what is written to it would not be safe.
            number = self._link.channel.short or errno.EAGAIN
            raise OSError(number, os.strerror(number))
        self._post(b"share", id.encode(), role.encode(), descriptors=(descriptor,))
        self._keep(id, self._roles[id][0], {role: descriptor})

    def withdraw(self, launched: Launched, *roles: str, at_once: bool = False) -> None:
        for role in self._drop(launched.id, *roles):
            self._mention(b"withdraw", launched.id.encode(), role.encode())
        if at_once:
            self._say()

    def forget(self, id: str) -> None:
        start = self._starts.pop(id, None)
        if start is not None:
            # The keeper has not said how it went; should it be about to execute it, it ends it again.
            start.give_up()
            self._send(b"abandon" if self._link.revision >= SPAWNS else b"forget", id.encode())
        if self._roles.pop(id, None) is not None:
            self._stored.forget(id)
            self._mention(b"forget", id.encode())
        self._leave_group(id)

    def collect(self, launched: Launched) -> Deferred[ExitStatus | None]:
        if not self.kept:
            # Whoever comes next is not its parent, either.
            return succeed(status_of(launched.pid, launched.pidfd))
        done: Deferred[ExitStatus | None] = Deferred()
        self._collecting[launched.id] = launched, done
        self._send(b"collect", launched.id.encode())
        return done

    def release(self, launched: Launched) -> None:
        entry = self._roles.get(launched.id)
        if entry is not None:
            self._drop(launched.id, PIDFD)
            self._roles[launched.id] = 0, entry[1]
            self._mention(b"release", launched.id.encode())

    def secure(self) -> bool:
        self._say()
        if self.kept and not self._link.sync():
            self._lost()
        elif not self.kept:
            self._replace(self._link.pid)
        return self.kept

    def farewell(self) -> None:
        """This program ends, and its processes go on."""
        self._send(b"farewell")

    def end(self) -> None:
        """There are no processes any more, and need be no keeper."""
        self._stored.clear()
        self._send(b"end")

    def close(self) -> None:
        """Say no more, and hear no more."""
        self._say()
        if self.kept:
            self.kept = False
            self._let_go()
            self._link.drain()
            self._link.close()
        while self._starts:
            # What was asked for is done, and found by the next daemon.
            self._starts.popitem()[1].close()

    # --- what the keeper says ----------------------------------------------------------------------------------------

    def _heard(self, fields: list[bytes], descriptors: list[int]) -> None:
        word, *rest = fields
        if word == b"launched":
            self._launched(*read_entry(rest, descriptors))
            return
        close_all(descriptors)
        if word == b"spawned":
            self._spawned(rest[0].decode(), int(rest[1]))
        elif word == b"refused":
            start = self._starts.pop(rest[0].decode(), None)
            if start is not None:
                start.close()
                start.done.errback(LaunchError(rest[1].decode(), int(rest[2])))
        elif word == b"status":
            self._told(rest[0].decode(), [one.decode() for one in rest[1:]])
        elif word == b"unshared":
            self.reactor.callLater(TRY_AGAIN, self._share_again, rest[0].decode(), rest[1].decode())
        elif word == b"stop":
            _log.info("the keeper was told to end; so are the processes")
            self.on_stop()

    def _torn(self, fields: list[bytes]) -> None:
        """Something was said whose descriptors found no place here."""
        if fields[:1] == [b"launched"] and len(fields) > 1:
            id = fields[1].decode()
            start = self._starts.pop(id, None)
            self._send(b"forget", fields[1])
            if start is not None:
                start.done.errback(LaunchError("descriptors", errno.EMFILE))

    def _share_again(self, id: str, role: str) -> None:
        """The keeper had no descriptor left for it: what is accepted into it meanwhile would not outlive us."""
        number = self._roles.get(id, (0, {}))[1].get(role)
        if number is not None:
            try:
                self._post(b"share", id.encode(), role.encode(), descriptors=(number,))
            except OSError as error:
                _log.error("{role} of process {id} is not with the keeper: {error}", role=role, id=id, error=error)

    def _launched(self, id: str, pid: int, roles: dict[str, int]) -> None:
        start = self._starts.pop(id, None)
        if start is None:
            close_all(roles.values())
            return
        # That is a duplicate of ours.
        os.close(roles.pop(SPOOL))
        self._keep(id, pid, {**roles, SPOOL: start.spool})
        if isinstance(start, GatedStart):
            self._share_first(id, start.shared)
        self._open_gate(Launched.of_roles(id, pid, roles), start.done)

    def _share_first(self, id: str, shared: Mapping[str, int]) -> None:
        """Share what the next daemon has to have, whatever the program does first."""
        for role, descriptor in shared.items():
            try:
                self.share(id, role, descriptor)
            except OSError as error:
                _log.warn("{role} of process {id} is not with the keeper: {error}", role=role, id=id, error=error)

    def _spawned(self, id: str, pid: int) -> None:
        start = self._starts.pop(id, None)
        if not isinstance(start, ClaimedStart):
            return
        try:
            pid, roles = start.spawned(pid, self._link.pidfd)
        except LaunchError as error:
            self._send(b"abandon", id.encode())
            start.done.errback(error)
            return
        self._keep(id, pid, roles)
        start.done.callback(Launched.of_roles(id, pid, roles))

    def _orphaned(self) -> None:
        """The keeper is dead: see which starts it came to; their children are nobody's now, and go on."""
        for id, start in list(self._starts.items()):
            try:
                if not isinstance(start, ClaimedStart) or start.revoked():
                    continue
            except OSError as error:
                self._not_asked(id)
                start.done.errback(LaunchError("descriptors", error.errno or 0))
                continue
            del self._starts[id]
            pid, roles = start.orphaned()
            self._keep(id, pid, roles)
            start.done.callback(Launched.of_roles(id, pid, roles))

    def _open_gate(self, launched: Launched, done: Deferred[Launched]) -> None:
        known: Deferred[Launched] = Deferred()
        known.addCallbacks(self._runs, self._failed, callbackArgs=(), errbackArgs=(launched,))
        known.chainDeferred(done)
        try:
            self._enter_group(launched)
        except LaunchError as error:
            # Nobody opens its gate: it executes nothing.
            self._send(b"abandon" if self._link.revision >= SPAWNS else b"forget", launched.id.encode())
            known.errback(error)
            return
        launch.open_gate(launched.gate)
        Gate(launched, known, self.reactor).watch()

    def _runs(self, launched: Launched) -> Launched:
        self.withdraw(launched, GATE)
        return launched

    def _failed(self, failure: Failure, launched: Launched) -> Failure:
        self.forget(launched.id)
        launched.close()
        return failure

    def _told(self, id: str, words: list[str]) -> None:
        launched, done = self._collecting.pop(id, (None, None))
        if launched is None or done is None:
            return
        if words[0] == "later":
            done.callback(None)
        elif words[0] == "code":
            done.callback(ExitStatus(code=int(words[1])))
        elif words[0] == "signal":
            done.callback(ExitStatus(signal=int(words[1]), core=bool(words[2])))
        else:
            done.callback(status_of(launched.pid, launched.pidfd))

    # --- when the keeper dies ----------------------------------------------------------------------------------------

    def _lost(self) -> None:
        """The keeper is dead. Only then: as long as it may live there is not to be a second one."""
        self._let_go()
        self.kept = False
        if not self._link.bury():
            _log.error("the keeper (pid {pid}) has hung up and is not dead; waiting for that", pid=self._link.pid)
            self.reactor.callLater(TRY_AGAIN, self._lost)
            return
        self._link.close()
        self._replace(self._link.pid)

    def _replace(self, dead: int) -> None:
        """Have another keeper in place of the dead one."""
        self._orphaned()
        try:
            for _, _, roles in self._link.open():
                # Nobody else's: somebody has started a keeper in this very moment, and it has nothing.
                close_all(roles.values())
            self._link.hand_over([(id, pid, roles) for id, (pid, roles) in self._roles.items()])
        except (KeeperUnusable, Torn, EOFError, OSError) as error:
            _log.error(
                "the keeper (pid {pid}) is dead, and there is no other: {error}. If this daemon ends now, its "
                "processes lose their output. Trying again",
                pid=dead,
                error=error,
            )
            self._link.close()
            collecting, self._collecting = self._collecting, {}
            for launched, done in collecting.values():
                done.callback(status_of(launched.pid, launched.pidfd))
            self.reactor.callLater(TRY_AGAIN, self._replace, dead)
            return
        _log.warn(
            "the keeper (pid {dead}) is dead; {pid} has taken its place with {count} processes",
            dead=dead,
            pid=self._link.pid,
            count=len(self._roles),
        )
        self._go_on()

    def _go_on(self) -> None:
        """What the dead one has not answered, its successor is asked."""
        self.kept = True
        self.watch()
        for id, start in list(self._starts.items()):
            try:
                self._post(*start.message, descriptors=start.descriptors)
            except OSError as error:
                self._not_asked(id)
                start.done.errback(LaunchError("descriptors", error.errno or 0))
        for id in list(self._collecting):
            self._send(b"collect", id.encode())
