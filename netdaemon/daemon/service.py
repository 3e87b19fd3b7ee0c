"""The daemon as a Twisted service: builds everything, starts it, and stops it in order."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger

import netdaemon
from netdaemon.daemon.adoption import adopt
from netdaemon.daemon.attachment import Attachment
from netdaemon.daemon.audit import Audit
from netdaemon.daemon.chronicle import Chronicle
from netdaemon.daemon.clients import Clients
from netdaemon.daemon.feed import Subscription
from netdaemon.daemon.files import open_files
from netdaemon.daemon.judging import Judge, Policy
from netdaemon.daemon.logbooks import Logbooks
from netdaemon.daemon.peer import Peer
from netdaemon.daemon.records import Records
from netdaemon.daemon.responders import RESPONDERS
from netdaemon.daemon.settings import Settings
from netdaemon.daemon.statistics import Statistics
from netdaemon.daemon.table import ProcessTable
from netdaemon.errors import BadRequest, Denied, LimitReached, NetdaemonError, Refusal, ShuttingDown
from netdaemon.interfaces import IKeeper, ILauncher, IPort
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.process.probe import splice_works
from netdaemon.process.record import Process
from netdaemon.process.trees import Root, mark_of
from netdaemon.sockets.binding import Bound
from netdaemon.sockets.listener import Listener
from netdaemon.systemd import Manager
from netdaemon.wire.answers import Reply, Welcome
from netdaemon.wire.commands import Detach, Flow, Hello, Info, Inspect, List, Request
from netdaemon.wire.records import Fate, Reason
from netdaemon.wire.told import Logged, Stats

# Seconds for clients to take the last output and their END, when the daemon stops.
FAREWELL = 2.0

# Seconds until a service manager that wants no signs of life is told again how many processes run.
STATUS_EVERY = 30.0

# What is still answered while the daemon stops: it changes nothing, or lets go.
HARMLESS = (Info, Inspect, List, Flow, Detach)

# A file that is there for a moment, to see how it behaves.
PROBE = "probe"

COPIES = "splice does not work where spools are: output is copied, and a kill of the daemon could lose some of it"

_log = Logger()


class DaemonService(Service):
    """One daemon.

    Making one opens its state directory; raises `netdaemon.daemon.files.StateUnusable` if that cannot be had.

    :param reactor: `IReactorTime`, `IReactorFDSet`.
    :param bound: the sockets to listen on; owned from here on.
    :param ports: where clients are listened for by TLS, besides.
    :param manager: the service manager, if there is one: it is told that we are ready, alive, and at the end.
    :param on_shutdown: called when a client asked for the end; stops the reactor, or whatever stops this service.
    """

    def __init__(
        self,
        reactor: Any,
        launcher: ILauncher,
        settings: Settings,
        *,
        bound: Sequence[Bound] = (),
        ports: Sequence[IPort] = (),
        policy: Callable[[], Policy] = OwnerPolicy.of_this_process,
        audit: Audit | None = None,
        manager: Manager | None = None,
        on_shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.settings = settings
        self.keeper: Any = launcher if IKeeper.providedBy(launcher) else None
        # What becomes of the processes when this service is stopped.
        self._fate = Fate.STOP if self.keeper is None else Fate.KEEP
        self._files = open_files(settings.state)
        self.table = ProcessTable(reactor, launcher, settings, self._files)
        self.table.on_removed = self._removed
        self.table.on_exited = self._let_pass
        self._chronicle = Chronicle(reactor, settings, self.table)
        self.journal = self._chronicle.journal
        self.feed = self._chronicle.feed
        self._logbooks = Logbooks(reactor, self.table, threaded=bound != ())
        self._statistics = Statistics(reactor, self._roots, self._keepers)
        self.records = Records(self.table, self._chronicle.database, self.journal, reactor)
        self.instance = secrets.token_hex(8)
        self.since = time.monotonic()
        self.rate = settings.rate
        self.clients = Clients(settings)
        self.peers = self.clients.all
        self._read_policy = policy
        self._audit = audit
        self.judge = Judge(policy(), audit)
        self._bound = list(bound)
        self._ports = list(ports)
        self._manager = Manager({}) if manager is None else manager
        self._alive: Any = None
        self._listeners: list[Listener] = []
        # In the order in which they last came to an answer.
        self._buffered: dict[Peer, int] = {}
        self._copies = False
        self._stopping = False
        self._asked = False
        self._on_shutdown = on_shutdown
        self._all_gone: Deferred[None] | None = None

    # --- start and stop ----------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Take over what a daemon before this one has left, and listen.

        :raises NetdaemonError: there is no keeper and none can be had.
        """
        super().startService()
        # One that was killed here may have left it.
        self._files.remove(PROBE)
        try:
            self._copies = splice_works(self._files.create(PROBE)) is False
        except OSError:
            # No room for a file, which says nothing of splice.
            pass
        self._files.remove(PROBE)
        if self._copies:
            _log.error("{why}", why=COPIES)
        if self.keeper is not None:
            self.keeper.on_stop = self.shutdown
            try:
                entries = self.keeper.open()
            except NetdaemonError:
                for bound in self._bound:
                    bound.remove()
                for port in self._ports:
                    port.remove()
                raise
            self.instance = self.keeper.instance
            if self.keeper.restarts:
                _log.warn(
                    "the daemon before this one was killed; the keeper has started this one ({count} times in a row)",
                    count=self.keeper.restarts,
                )
            known = adopt(entries, self.table, self.keeper, self.reactor)
            self._files.keep_only(known)
        else:
            known = set()
            self._files.keep_only(())
        self._chronicle.begin(known)
        for bound in self._bound:
            listener = Listener(bound.socket, self.build, self.reactor)
            listener.begin()
            self._listeners.append(listener)
            kind = "seqpacket" if bound.socket.type == socket.SOCK_SEQPACKET else "stream"
            _log.info("listening on {path} ({kind})", path=bound.path, kind=kind)
        for port in self._ports:
            self._listeners.append(port.listen(self.build, self.reactor))
            _log.info("listening on {address} (tls)", address=port.address)
        _log.info(
            "room for {clients} clients, {processes} processes, {exited} that have exited ({descriptors} descriptors)",
            clients=self.settings.max_clients,
            processes=self.settings.max_processes,
            exited=self.settings.max_exited,
            descriptors=self.settings.descriptors,
        )
        self._alive = self.reactor.callLater(0, self._ready)

    def _ready(self) -> None:
        """The first HELLO can be answered: the reactor turns, and we listen."""
        self._manager.tell("READY=1", self._status())
        self._tell_alive()

    def _tell_alive(self) -> None:
        self._alive = None
        interval = self._manager.interval
        if interval is not None:
            self._manager.tell("WATCHDOG=1", self._status())
        elif self._manager.present:
            interval = STATUS_EVERY
            self._manager.tell(self._status())
        if interval is not None:
            self._alive = self.reactor.callLater(interval, self._tell_alive)

    def _status(self) -> str:
        count = self.table.running
        return "STATUS=1 process runs" if count == 1 else f"STATUS={count} processes run"

    def stopService(self) -> Deferred[None]:
        """End in order.

        Where a keeper has the processes, they go on, and clients find the next daemon by themselves; unless `shutdown`
        has said otherwise. Else: no new requests, the processes ended, their last output sent, clients told.
        """
        super().stopService()
        self._manager.tell("STOPPING=1")
        if self._fate is Fate.KEEP:
            if self.keeper.secure():
                self._leave()
                return succeed(None)
            _log.error("there is no keeper, and none can be had: the processes end with this daemon")
        return Deferred.fromCoroutine(self._stop())

    def _leave(self) -> None:
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        count = self.table.running
        going = "1 process goes on" if count == 1 else f"{count} processes go on"
        _log.info("{going} under the keeper (pid {pid})", going=going, pid=self.keeper.pid)
        self._logbooks.let_go(finish=False)
        for process in self.table:
            process.spool.leave()
        for peer in list(self.peers):
            peer.leave()
        self.table.leave()
        self.keeper.farewell()
        self._close()

    async def _stop(self) -> None:
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        if self.table.running:
            _log.info("stopping; {count} processes are told to end", count=self.table.running)
        await self.table.stop_all()
        await self._farewell()
        self._logbooks.let_go(finish=True)
        self.table.close()
        if self.keeper is not None:
            self.keeper.end()
        self._close()

    def _close(self) -> None:
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None
        self._statistics.close()
        self._chronicle.close(keep=self._fate is Fate.KEEP)
        if self.keeper is not None:
            self.keeper.close()
        self._files.close()
        for bound in self._bound:
            bound.remove()
        _log.info("stopped")

    async def _farewell(self) -> None:
        """Let everybody have the last output, then END, and close."""
        deadline = self.reactor.seconds() + FAREWELL
        while self._lagging() and self.reactor.seconds() < deadline:
            await _later(self.reactor, 0.02)
        for peer in list(self.peers):
            peer.close(Reason.SHUTDOWN)
        if self.peers:
            self._all_gone = Deferred()
            late = self.reactor.callLater(FAREWELL, self._all_gone.callback, None)
            await self._all_gone
            if late.active():
                late.cancel()

    def _lagging(self) -> bool:
        return any(
            one.cursor.offset < one.process.spool.end and not one.paused
            for peer in self.peers
            for one in peer.attachments.values()
        )

    def shutdown(self, fate: Fate = Fate.STOP) -> None:
        """A client asked for the end; so may another at the same time."""
        if self._asked:
            if fate is Fate.STOP and not self._stopping:
                self._fate = fate
            return
        self._asked = True
        self._fate = fate
        _log.info("asked to end" if fate is Fate.STOP else "asked to end, and to leave the processes")
        self._on_shutdown()

    # --- what peers ask ----------------------------------------------------------------------------------------------

    def build(self, packets: bool) -> IProtocol:
        """A peer for a new connection."""
        return Peer(self, packets=packets)

    def arrived(self, peer: Peer) -> None:
        self.clients.arrived(peer)

    def admit(self, peer: Peer, principal: Principal, *, last: bool) -> None:
        if self._stopping:
            raise LimitReached("the daemon is stopping")
        self.clients.admit(peer, str(principal))
        decision = self.judge.admit(principal)
        if not decision.allowed and (last or not self.judge.policy.takes_tokens):
            self.clients.refused(peer)
            self.judge.turned_away(principal, decision.why)
            raise Denied(decision.why)

    def token(self, shown: bytes) -> str:
        return self.judge.token(shown)

    def greet(self, peer: Peer, hello: Hello) -> Welcome:
        self.clients.greeted(peer)
        return Welcome(
            server=f"netdaemon/{netdaemon.__version__}", instance=self.instance, principal=str(peer.principal)
        )

    def respond(self, peer: Peer, id: int, request: Request) -> Reply | Deferred[Reply]:
        if self._stopping and not isinstance(request, HARMLESS):
            raise ShuttingDown("the daemon is stopping")
        return self.judge.answer(peer.principal, request, lambda: RESPONDERS[type(request)](self, peer, id, request))

    def buffered(self, peer: Peer, count: int, *, progress: bool) -> None:
        if progress or not count:
            self._buffered.pop(peer, None)
        if count:
            self._buffered[peer] = count
        # Whoever has waited for the longest goes first, not whoever comes last: that may be anybody.
        while sum(self._buffered.values()) > self.settings.input_budget:
            oldest = next(iter(self._buffered))
            del self._buffered[oldest]
            oldest.overflow()

    def detached(self, peer: Peer, attachment: Attachment) -> None:
        self._let_pass(attachment.process)
        self.table.retain()

    def gone(self, peer: Peer) -> None:
        self.clients.gone(peer)
        self._buffered.pop(peer, None)
        if self._all_gone is not None and not self.peers and not self._all_gone.called:
            self._all_gone.callback(None)

    def reload(self) -> None:
        """Open the log files again, read the policy, and the files for TLS: what is not allowed any more ends at once.

        :raises BadRequest: one of them cannot be used, and what there was in its place stays.
        """
        self._logbooks.reopen()
        if self._audit is not None:
            self._audit.reopen()
        faults = self._reload_ports()
        try:
            self.judge.policy = self._read_policy()
        except (NetdaemonError, OSError) as error:
            _log.error("the policy stays as it was: {why}", why=error)
            told = "; ".join([f"the policy stays as it was: {error}", *faults])
            # Who may connect by TLS may be others by now.
            self.rejudge()
            raise BadRequest(told, field="policy") from error
        self.rejudge()
        if faults:
            raise BadRequest("; ".join(faults))

    def _reload_ports(self) -> list[str]:
        """Whoever connects from now on meets the files for TLS as they are now; those that are of no use."""
        faults = []
        for port in self._ports:
            try:
                port.reload()
            except NetdaemonError as error:
                faults.append(f"TLS at {port.address} stays as it was: {error}")
                _log.error("{fault}", fault=faults[-1])
        return faults

    def rejudge(self, process: Process | None = None) -> None:
        """End what the policy does not allow any more: connections, attachments, subscriptions.

        :param process: only what is about this one.
        """
        for peer in list(self.peers):
            if process is None and peer.admitted:
                why = peer.doubt()
                if why is None:
                    decision = self.judge.admit(peer.principal)
                    why = None if decision.allowed else decision.why
                if why is not None:
                    self.judge.turned_away(peer.principal, why)
                    peer.revoke(why)
                    continue
            for attachment in list(peer.attachments.values()):
                if process in (None, attachment.process) and not self._may_stay(peer, attachment):
                    attachment.end(Reason.REVOKED)
            if process is None and not self.judge.may_ever(peer.principal, Verb.EVENTS):
                for subscription in list(peer.subscriptions.values()):
                    subscription.end(Reason.REVOKED)

    def _may_stay(self, peer: Peer, attachment: Attachment) -> bool:
        verbs = [Verb.ATTACH_READ]
        if not attachment.read_only:
            verbs.append(Verb.ATTACH_WRITE)
        if attachment.holds:
            verbs.append(Verb.ATTACH_HOLD)
        return all(self.judge.allows(peer.principal, verb, attachment.process.identity) for verb in verbs)

    def logged(self, id: str) -> Logged | None:
        """How the log of a process stands; None: it has none."""
        return self._logbooks.logged(id)

    def stats(self, id: str) -> Stats | None:
        """What a process uses; None: it does not run, or that cannot be seen."""
        try:
            return self._statistics.look([id]).get(id)
        except OSError as error:
            _log.warn("what process {id} uses cannot be seen: {error}", id=id, error=error.strerror)
            return None

    def measure(self, subscription: Subscription, every: int) -> Callable[[], object]:
        """Tell *subscription* every so many milliseconds what processes use; what ends that."""

        def wanted() -> list[str]:
            return [one.id for one in self.table if one.launched is not None and subscription.wants(one.record())]

        def told(stats: dict[str, Stats]) -> None:
            known = {id: self.table.find(id) for id in stats if self.table.has(id)}
            subscription.measured({id: (known[id].record(), stats[id]) for id in known})

        return self._statistics.watch(every, told, wanted).cancel

    def _roots(self) -> dict[str, Root]:
        """The children that there are, or were, for who looks at them and at what descends from them."""
        return {
            one.id: Root(0 if one.launched is None else max(0, one.launched.pid), mark_of(one.id)) for one in self.table
        }

    def _keepers(self) -> tuple[int, ...]:
        return () if self.keeper is None else (self.keeper.pid,)

    def degraded(self) -> tuple[str, ...]:
        """What does not work here as it should."""
        found = []
        if self._copies or any(process.spool.degraded for process in self.table):
            found.append(COPIES)
        if self._audit is not None and self._audit.trouble is not None:
            found.append(self._audit.trouble)
        if self.journal.trouble is not None:
            found.append(self.journal.trouble)
        if self.keeper is not None and not self.keeper.kept:
            found.append("there is no keeper at the moment: if this daemon ends now, processes lose their output")
        return tuple(found)

    # --- what the table tells ----------------------------------------------------------------------------------------

    def _removed(self, process: Process) -> None:
        for peer in list(self.peers):
            for attachment in list(peer.attachments.values()):
                if attachment.process is process:
                    attachment.end(Reason.REMOVED)

    def _let_pass(self, process: Process) -> None:
        """A finished process of a version-1 client disappears with the last who was attached to it, as in 2009."""
        if process.passing and process.finished and not process.attached and not process.removed:
            try:
                self.table.remove(process, process.identity.owner)
            except Refusal:
                _log.failure("process {id} could not be removed", id=process.id)


def _later(reactor: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
