"""One responder per request: translate, delegate, translate back; decides nothing by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from signal import SIGKILL
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

import netdaemon
from netdaemon.daemon import selection
from netdaemon.daemon.attachment import Attachment
from netdaemon.daemon.database import Stored
from netdaemon.daemon.feed import Subscription
from netdaemon.daemon.judging import subject_of
from netdaemon.daemon.peer import MAX_ATTACHMENTS, MAX_REQUESTS, Peer
from netdaemon.daemon.records import check_generation, record_of
from netdaemon.daemon.starting import Starter
from netdaemon.errors import AlreadyExited, BadRequest, Denied, LimitReached, NameTaken, SpecDiffers, UnknownChannel
from netdaemon.logs.files import check_path
from netdaemon.patterns import Pattern
from netdaemon.policy.judged import Subject, tenant_of
from netdaemon.policy.verbs import Verb
from netdaemon.process.identity import Identity
from netdaemon.process.record import Process
from netdaemon.wire.answers import (
    WINDOW,
    Attached,
    Changed,
    DaemonInfo,
    Listing,
    OfProcess,
    Ok,
    Pruned,
    Reply,
    Started,
    Stopped,
    Taken,
    Watching,
)
from netdaemon.wire.commands import (
    FOR_EVER,
    KEEP_MAX,
    LIST_LIMIT,
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.frame import MAX_MESSAGE
from netdaemon.wire.records import Channel, Counts, Fate, Limits, Reason, Scope, Until
from netdaemon.wire.specs import Log, Step
from netdaemon.wire.told import PROCESS, ProcessRecord

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService

# Seconds for which a version-1 client, which cannot be told of a gap, may hold a process back before it has read on.
V1_HOLD = 60.0

# What a LIST reply has besides its records, at most.
LIST_FRAME = 256

# A page of a LIST is as long as fits into the processor's cache, but for very long records.
LIST_PAGE = 256 * 1024
LIST_MOST = MAX_MESSAGE - LIST_FRAME

# Records out of the database that are decoded for one page to see whether they match: about ten milliseconds. A page
# may have nothing on it for that reason, and there may be more.
LIST_DECODED = 500

# Comes after every id.
AFTER_ALL = "~"

Answer = Reply | Deferred[Any]
Responder = Callable[["DaemonService", Peer, int, Any], Answer]

RESPONDERS: dict[type[Request], Responder] = {}


def responds_to(declaration: type[Request]) -> Callable[[Responder], Responder]:
    """Enter a responder in the table; a second one for the same request is a mistake."""

    def enter(responder: Responder) -> Responder:
        if declaration in RESPONDERS:
            raise TypeError(f"{declaration.__name__} has a responder already")
        RESPONDERS[declaration] = responder
        return responder

    return enter


@responds_to(Start)
def start(daemon: DaemonService, peer: Peer, id: int, request: Start) -> Answer:
    if request.attach:
        peer.check_attachments()
        if (request.from_ or 0) > 0 and request.key is None:
            raise BadRequest(f"from is {request.from_}, and a process that starts has no output yet", field="from")
    tenant = daemon.judge.tenant(peer.principal)
    known = daemon.table.by_key(request.key, tenant)
    if known is not None and not daemon.judge.sees(peer.principal, known.identity):
        raise SpecDiffers("this key is in use, for what you may not see", field="key")

    def check(identity: Identity) -> None:
        """Before anything is done, and on what will be executed."""
        daemon.judge.require_start(peer.principal, identity)
        if request.attach:
            _require_attach(daemon, peer, identity, request)
        _check_declared(request, None if known is None else known.identity.log)
        if known is None:
            _check_processes(daemon, peer, identity.owner, tenant)

    with _not_telling_who(daemon, peer):
        launching = daemon.table.start(
            request,
            Starter(str(peer.principal), tenant, check),
            # Those of version 1 disappear when they have exited and nobody is attached, as in 2009.
            passing=peer.connection.version == 1,
        )

    def started(process: Process) -> Reply:
        if request.attach:
            return _attach(peer, id, process, request)
        return Started(process=process.record(), created=process is not known)

    return launching.addCallback(started)


@responds_to(Attach)
def attach(daemon: DaemonService, peer: Peer, id: int, request: Attach) -> Answer:
    peer.check_attachments()
    one = _known(daemon, request.process)
    _require_attach(daemon, peer, subject_of(one), request)
    if isinstance(one, Stored):
        raise AlreadyExited(f"process {one.id} has exited, and its output is not kept any longer", process=one.id)
    return _attach(peer, id, one, request)


def _require_attach(daemon: DaemonService, peer: Peer, subject: Subject, request: Start | Attach) -> None:
    """What an attachment needs: to read, to write unless it says that it will not, and to hold the process back.

    Version 1 cannot be told of a gap, and always holds.
    """
    daemon.judge.require(peer.principal, Verb.ATTACH_READ, subject)
    if request.hold or peer.connection.version == 1:
        daemon.judge.require(peer.principal, Verb.ATTACH_HOLD, subject)
    if not request.read_only:
        daemon.judge.require(peer.principal, Verb.ATTACH_WRITE, subject)


def _check_processes(daemon: DaemonService, peer: Peer, owner: str, tenant: str | None) -> None:
    """Refuse one more than may run: of a tenant all together, of anybody else each.

    The policy's number counts, and where it has none the daemon's own for each: that is not for root and its own user.
    """
    most, allowed = daemon.judge.most_processes(peer.principal), "the policy allows {}"
    if most is None:
        if str(peer.principal) in daemon.settings.own:
            return
        most, allowed = daemon.settings.max_processes_each, "the limit for each is {} (--processes-each)"
    if daemon.table.running < most:
        # They are counted only where there are so many at all.
        return
    count = sum(
        not one.finished
        and (one.identity.owner == owner if tenant is None else tenant_of(one.identity.labels) == tenant)
        for one in daemon.table
    )
    if count >= most:
        whose = owner if tenant is None else tenant
        raise LimitReached(f"{count} processes of {whose} run, and {allowed.format(most)}; end one of them")


def _attach(peer: Peer, id: int, process: Process, request: Start | Attach) -> Attached:
    spool = process.spool
    offset = spool.begin if request.from_ is None else request.from_
    if offset < 0:
        offset = max(spool.begin, spool.end + offset)
    if offset > spool.end:
        raise BadRequest(f"from is {offset}, beyond the end at {spool.end}", field="from", process=process.id)
    if peer.connection.version == 1:
        hold: float | None = V1_HOLD
    elif request.hold is None:
        hold = 0.0
    else:
        hold = None if request.hold == FOR_EVER else request.hold / 1000
    attachment = Attachment(
        peer,
        id,
        process,
        offset=offset,
        channels=frozenset(request.channels or (Channel.STDOUT, Channel.STDERR)),
        hold=hold,
        renewed=peer.connection.version == 1,
        read_only=bool(request.read_only),
    )
    peer.attach(attachment)
    record = process.record()
    return Attached(
        process=record,
        offset=offset,
        begin=record.begin,
        end=record.end,
        stdin_end=record.stdin_end,
        eof=record.eof,
    )


@responds_to(List)
def list_(daemon: DaemonService, peer: Peer, id: int, request: List) -> Answer:
    matches = selection.parse(request.select or ())
    daemon.judge.require_ever(peer.principal, Verb.LIST)
    limit = LIST_LIMIT if request.limit is None else request.limit
    # Version 1 has no pages.
    pages = peer.connection.version == 2
    records: list[Any] = []
    size = decoded = 0
    last: Process | Stored | None = None
    hidden = False
    everything = daemon.judge.everything(peer.principal)
    for one in daemon.records.select(request.after):
        if len(records) == limit or (pages and (size >= LIST_PAGE or decoded >= LIST_DECODED)):
            return _page(records, last, hidden)
        hidden = False
        if not everything and not daemon.judge.allows(peer.principal, Verb.LIST, subject_of(one)):
            decoded += 1
            last, hidden = one, True
            continue
        # What is only in the database stands there as it is told.
        record = one if matches is None and pages and isinstance(one, Stored) else record_of(one)
        if matches is not None:
            decoded += isinstance(one, Stored)
            if not matches(cast("ProcessRecord", record)):
                last = one
                continue
        size += len(PROCESS.item(record))
        if size > LIST_MOST and records and pages:
            return _page(records, last, hidden)
        records.append(record)
        last = one
    return Listing(processes=tuple(records))


def _page(records: list[Any], last: Process | Stored | None, hidden: bool) -> Listing:
    """Not all of it: what comes after *last* is for the next page; that one is not named if it is *hidden*."""
    assert last is not None
    created = last.identity.created if isinstance(last, Process) else last.created
    return Listing(processes=tuple(records), after=f"{created}-{AFTER_ALL if hidden else last.id}")


@responds_to(Detach)
def detach(daemon: DaemonService, peer: Peer, id: int, request: Detach) -> Answer:
    subscription = peer.subscriptions.get(request.to)
    if subscription is not None:
        daemon.reactor.callLater(0, _end_subscription, peer, subscription)
        return Ok()
    attachment = peer.attachment(request.to)
    # END follows the reply, as every event does: both wait in the same queue.
    daemon.reactor.callLater(0, _end_detached, peer, attachment)
    attachment.pause(True)
    return Ok()


def _end_detached(peer: Peer, attachment: Attachment) -> None:
    if peer.attachments.get(attachment.id) is attachment:
        attachment.end(Reason.DETACHED)


def _end_subscription(peer: Peer, subscription: Subscription) -> None:
    if peer.subscriptions.get(subscription.id) is subscription:
        subscription.end(Reason.DETACHED)


@responds_to(Inspect)
def inspect(daemon: DaemonService, peer: Peer, id: int, request: Inspect) -> Answer:
    one = _known(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.INSPECT, subject_of(one))
    record = record_of(one)
    if not request.stats:
        return OfProcess(process=record, logged=daemon.logged(record.id))
    return OfProcess(process=record, logged=daemon.logged(record.id), stats=daemon.stats(record.id))


@responds_to(Remove)
def remove(daemon: DaemonService, peer: Peer, id: int, request: Remove) -> Answer:
    one = _known(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.REMOVE, subject_of(one))
    if isinstance(one, Stored):
        check_generation(one.record, request.generation)
        daemon.records.remove(one, str(peer.principal))
        return Ok()
    one.check_generation(request.generation)
    daemon.table.remove(one, str(peer.principal))
    return Ok()


def _known(daemon: DaemonService, process: str) -> Process | Stored:
    """The process of this id or name, or what is left of it: its record. Whoever asks is to be judged on it next.

    :raises NoSuchProcess: there is none.
    """
    stored = None if daemon.table.has(process) else daemon.records.stored(process)
    return daemon.table.find(process) if stored is None else stored


@responds_to(Prune)
def prune(daemon: DaemonService, peer: Peer, id: int, request: Prune) -> Answer:
    matches = daemon.judge.within(peer.principal, Verb.REMOVE, selection.parse(request.select or ()))
    pruning = daemon.records.prune(matches, request.age or 0, str(peer.principal))
    return pruning.addCallback(lambda count: Pruned(count=count))


@responds_to(Watch)
def watch(daemon: DaemonService, peer: Peer, id: int, request: Watch) -> Answer:
    peer.check_attachments()
    matches = daemon.judge.within(peer.principal, Verb.EVENTS, selection.parse(request.select or ()))
    feed = daemon.feed
    place = None if request.since is None else feed.place(request.since)
    fresh = place is None
    after = feed.last if place is None else place
    snapshot = daemon.records.matching(matches) if fresh else iter(())
    subscription = Subscription(peer, id, feed, matches, after, snapshot)
    looking = Deferred.fromCoroutine(_look(daemon, subscription))

    def begin(_: None) -> Reply:
        peer.check_attachments()
        if request.stats is not None:
            subscription.on_close = daemon.measure(subscription, request.stats)
        peer.subscribe(subscription)
        return Watching(cursor=feed.cursor(after), fresh=fresh, snapshot=subscription.has_snapshot or None)

    def fail(failure: Failure) -> Failure:
        subscription.close()
        return failure

    return looking.addCallback(begin).addErrback(fail)


async def _look(daemon: DaemonService, subscription: Subscription) -> None:
    """Find out whether there is a snapshot, some in each turn: of all that has finished it may select nothing."""
    while not subscription.look():
        await deferLater(daemon.reactor, 0)


@responds_to(Reload)
def reload(daemon: DaemonService, peer: Peer, id: int, request: Reload) -> Answer:
    daemon.judge.require(peer.principal, Verb.RELOAD, None)
    daemon.reload()
    return Ok()


@responds_to(Wait)
def wait(daemon: DaemonService, peer: Peer, id: int, request: Wait) -> Answer:
    until = request.for_ or Until.EXITED
    one = _known(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.INSPECT, subject_of(one))
    if isinstance(one, Stored):
        if until in (Until.EXITED, Until.ENDED):
            return OfProcess(process=one.record)
        raise AlreadyExited(f"process {one.id} has exited, and only its record is left", process=one.id)
    outcome = one.when(until)
    if not isinstance(outcome, Deferred):
        return OfProcess(process=outcome)

    def come_about(record: ProcessRecord) -> OfProcess:
        # The policy may be another by now.
        daemon.judge.require(peer.principal, Verb.INSPECT, record)
        return OfProcess(process=record)

    return outcome.addCallback(come_about)


@responds_to(Data)
def data(daemon: DaemonService, peer: Peer, id: int, request: Data) -> Answer:
    attachment = peer.attachment(request.to)
    process = attachment.process
    if attachment.read_only:
        raise Denied("this attachment is read-only", process=process.id)
    process.check_generation(request.generation)
    if request.channel == Channel.STDIN:
        # The OK of version 1 has no count: it must mean all of it.
        accepted = process.write(request.payload, request.at, whole=peer.connection.version == 1)
        return Taken(accepted=accepted, end=process.stdin.end)
    if request.channel in (Channel.STDOUT, Channel.STDERR) and not request.payload:
        process.close_output(request.channel)
        return Taken(accepted=0, end=process.stdin.end)
    raise UnknownChannel(f"nothing can be sent to channel {request.channel}; 0 is stdin", field="channel")


@responds_to(Kill)
def kill(daemon: DaemonService, peer: Peer, id: int, request: Kill) -> Answer:
    if request.process is not None:
        process = daemon.table.find(request.process)
    else:
        attachment = peer.attachment(cast("int", request.to))
        if attachment.read_only:
            raise Denied("this attachment is read-only", process=attachment.process.id)
        process = attachment.process
    daemon.judge.require(peer.principal, Verb.SIGNAL, process.identity, request.signal)
    process.check_generation(request.generation)
    process.kill(request.signal, request.scope or Scope.GROUP, str(peer.principal))
    return Ok()


@responds_to(Stop)
def stop(daemon: DaemonService, peer: Peer, id: int, request: Stop) -> Answer:
    one = _known(daemon, request.process)
    _require_stop(daemon, peer, subject_of(one), request.steps or ())
    if isinstance(one, Stored):
        check_generation(one.record, request.generation)
        return Stopped(process=one.record, already=True)
    process = one
    process.check_generation(request.generation)
    stopping = process.life.stop(request.steps, str(peer.principal))
    if stopping is None:
        return Stopped(process=process.record(), already=True)
    return stopping.addCallback(lambda step: Stopped(process=process.record(), step=step))


def _require_stop(daemon: DaemonService, peer: Peer, subject: Subject, steps: Sequence[Step]) -> None:
    """What a stop needs; steps of one's own, also what it needs to type or to send what they do."""
    daemon.judge.require(peer.principal, Verb.STOP, subject)
    for step in steps:
        if step.stdin is not None:
            daemon.judge.require(peer.principal, Verb.ATTACH_WRITE, subject)
        if step.signal is not None or step.kill:
            daemon.judge.require(peer.principal, Verb.SIGNAL, subject, step.signal or SIGKILL)


@responds_to(Again)
def again(daemon: DaemonService, peer: Peer, id: int, request: Again) -> Answer:
    one = _known(daemon, request.process)
    subject = subject_of(one)
    daemon.judge.require(peer.principal, Verb.START, subject)
    if isinstance(one, Stored) or one.finished:
        _check_processes(daemon, peer, subject.owner, tenant_of(subject.labels))
    if isinstance(one, Stored):
        check_generation(one.record, request.generation)
        process = daemon.table.revive(*daemon.records.left_of(one))
        daemon.table.archives = True
    else:
        process = one
        if not process.finished:
            daemon.judge.require(peer.principal, Verb.STOP, process.identity)
        process.check_generation(request.generation)
    return process.life.restart(str(peer.principal)).addCallback(lambda _: OfProcess(process=process.record()))


@responds_to(Change)
def change(daemon: DaemonService, peer: Peer, id: int, request: Change) -> Answer:
    one = _known(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.START, subject_of(one))
    if isinstance(one, Stored):
        raise AlreadyExited(
            f"process {one.id} has exited, and only its record is left: start it again first", process=one.id
        )
    process = one
    process.check_generation(request.generation)

    def check(identity: Identity) -> None:
        """What it comes to has to be what may be started."""
        daemon.judge.require_start(peer.principal, identity)
        _check_declared(request, process.identity.log)

    with _not_telling_who(daemon, peer):
        restart = daemon.table.change(process, request, str(peer.principal), check)
    # Others may not see it any more.
    daemon.rejudge(process)
    return Changed(process=process.record(), restart=restart)


@contextmanager
def _not_telling_who(daemon: DaemonService, peer: Peer) -> Iterator[None]:
    """A name that is taken by what one may not see is taken, and nothing else is told of that."""
    try:
        yield
    except NameTaken as error:
        if error.process is None or daemon.judge.sees(peer.principal, subject_of(_known(daemon, error.process))):
            raise
        raise NameTaken("this name is in use, for what you may not see; take another", field="name") from None


def _check_declared(request: Start | Change, log: Log | None) -> None:
    """Refuse now what would be found out when it is needed.

    :param log: what the process has by now.
    """
    if request.ready is not None and request.ready.pattern is not None:
        Pattern(request.ready.pattern, "ready")
    if request.log is not None:
        check_path(request.log.path, own=log is not None and log.path == request.log.path)


@responds_to(Resize)
def resize(daemon: DaemonService, peer: Peer, id: int, request: Resize) -> Answer:
    attachment = peer.attachment(request.to)
    if attachment.read_only:
        raise Denied("this attachment is read-only", process=attachment.process.id)
    attachment.process.resize(request.rows, request.columns)
    return Ok()


@responds_to(Flow)
def flow(daemon: DaemonService, peer: Peer, id: int, request: Flow) -> Answer:
    peer.attachment(request.to).pause(request.paused)
    return Ok()


@responds_to(Info)
def info(daemon: DaemonService, peer: Peer, id: int, request: Info) -> Answer:
    settings = daemon.settings
    return DaemonInfo(
        version=netdaemon.__version__,
        instance=daemon.instance,
        pid=os.getpid(),
        keeper_pid=None if daemon.keeper is None else daemon.keeper.pid,
        uptime=int((time.monotonic() - daemon.since) * 1000),
        limits=Limits(
            clients=settings.max_clients,
            processes=settings.max_processes,
            exited=settings.max_exited,
            attachments=MAX_ATTACHMENTS,
            requests=MAX_REQUESTS,
            message=MAX_MESSAGE,
            window=WINDOW,
            keep=KEEP_MAX,
            descriptors=settings.descriptors,
            clients_each=settings.max_clients_each,
            newcomers=settings.max_newcomers,
            processes_each=settings.max_processes_each,
            input=settings.input_budget,
            request_rate=settings.requests,
            byte_rate=settings.octets,
            burst=settings.burst,
        ),
        counts=_counts(daemon, peer),
        degraded=daemon.degraded(),
    )


def _counts(daemon: DaemonService, peer: Peer) -> Counts:
    """How much there is of what: for somebody who does not see all of it, of what he does."""
    table = daemon.table
    if daemon.judge.everything(peer.principal):
        return Counts(
            clients=len(daemon.peers),
            running=table.running,
            exited=table.exited,
            attachments=sum(len(one.attachments) for one in daemon.peers),
            descriptors=_descriptors(daemon.settings.descriptors),
            newcomers=daemon.clients.newcomers,
            slowed=daemon.clients.slowed,
        )
    seen = [one for one in table if daemon.judge.sees(peer.principal, one.identity)]
    running = sum(not one.finished for one in seen)
    return Counts(clients=1, running=running, exited=len(seen) - running, attachments=len(peer.attachments))


def _descriptors(limit: int) -> int:
    """How many are open."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        # Not one is left for looking.
        return limit


@responds_to(Shutdown)
def shutdown(daemon: DaemonService, peer: Peer, id: int, request: Shutdown) -> Answer:
    daemon.judge.require(peer.principal, Verb.SHUTDOWN, None)
    if request.processes is Fate.KEEP and daemon.keeper is None:
        raise BadRequest(
            "processes is keep, and this daemon is ephemeral: its processes end with it", field="processes"
        )
    daemon.reactor.callLater(0, daemon.shutdown, request.processes or Fate.STOP)
    return Ok()
