"""What is told of processes: one, many, when something is so, and whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from netdaemon.daemon import selection
from netdaemon.daemon.database import Stored
from netdaemon.daemon.feed import Subscription
from netdaemon.daemon.judging import subject_of
from netdaemon.daemon.peer import Peer
from netdaemon.daemon.records import record_of
from netdaemon.daemon.responders.table import Answer, known_as, responds_to
from netdaemon.errors import AlreadyExited
from netdaemon.policy.verbs import Verb
from netdaemon.process.record import Process
from netdaemon.wire.answers import Listing, OfProcess, Reply, Watching
from netdaemon.wire.commands import LIST_LIMIT, Inspect, List, Wait, Watch
from netdaemon.wire.frame import MAX_MESSAGE
from netdaemon.wire.records import Until
from netdaemon.wire.told import PROCESS, ProcessRecord

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService

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


@responds_to(Inspect)
def inspect(daemon: DaemonService, peer: Peer, id: int, request: Inspect) -> Answer:
    one = known_as(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.INSPECT, subject_of(one))
    record = record_of(one)
    if not request.stats:
        return OfProcess(process=record, logged=daemon.logged(record.id))
    return OfProcess(process=record, logged=daemon.logged(record.id), stats=daemon.stats(record.id))


@responds_to(Wait)
def wait(daemon: DaemonService, peer: Peer, id: int, request: Wait) -> Answer:
    until = request.for_ or Until.EXITED
    one = known_as(daemon, request.process)
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
