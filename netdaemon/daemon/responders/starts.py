"""What brings a process to run: starting it, changing what it is, starting it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdaemon.daemon.database import Stored
from netdaemon.daemon.judging import subject_of
from netdaemon.daemon.peer import Peer
from netdaemon.daemon.records import check_generation
from netdaemon.daemon.responders.attachments import attached, require_attach
from netdaemon.daemon.responders.table import Answer, known_as, responds_to
from netdaemon.daemon.starting import Starter
from netdaemon.errors import AlreadyExited, BadRequest, LimitReached, NameTaken, SpecDiffers
from netdaemon.logs.files import check_path
from netdaemon.patterns import Pattern
from netdaemon.policy.judged import tenant_of
from netdaemon.policy.verbs import Verb
from netdaemon.process.identity import Identity
from netdaemon.process.record import Process
from netdaemon.wire.answers import Changed, OfProcess, Reply, Started
from netdaemon.wire.commands import Again, Attach, Change, Start
from netdaemon.wire.specs import Log

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService


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
            # What is attached to may be what was started before, and is something else by now.
            require_attach(daemon, peer, identity if known is None else known.identity, request)
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

    return launching.addCallback(_started(peer, id, known, _attachment(request)))


def _attachment(request: Start) -> Attach | None:
    """What *request* says of an attachment: many may wait, and the rest of each is not to be kept for it."""
    if not request.attach:
        return None
    return Attach(
        process="",
        from_=request.from_,
        channels=request.channels,
        hold=request.hold,
        read_only=request.read_only,
    )


def _started(peer: Peer, id: int, known: Process | None, attachment: Attach | None) -> Callable[[Process], Reply]:
    """What answers a START once its process runs; *known* is the one that was started before, by the same key."""

    def started(process: Process) -> Reply:
        if attachment is not None:
            return attached(peer, id, process, attachment)
        return Started(process=process.record(), created=process is not known)

    return started


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


@responds_to(Again)
def again(daemon: DaemonService, peer: Peer, id: int, request: Again) -> Answer:
    one = known_as(daemon, request.process)
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
    one = known_as(daemon, request.process)
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
        if error.process is None or daemon.judge.sees(peer.principal, subject_of(known_as(daemon, error.process))):
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
