"""Attachments: making one, what is sent to its process over it, and ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdaemon.daemon.attachment import Attachment
from netdaemon.daemon.database import Stored
from netdaemon.daemon.feed import Subscription
from netdaemon.daemon.judging import subject_of
from netdaemon.daemon.peer import Peer
from netdaemon.daemon.responders.table import Answer, known_as, responds_to
from netdaemon.errors import AlreadyExited, BadRequest, Denied, UnknownChannel
from netdaemon.policy.judged import Subject
from netdaemon.policy.verbs import Verb
from netdaemon.process.record import Process
from netdaemon.wire.answers import Attached, Ok, Taken
from netdaemon.wire.commands import FOR_EVER, Attach, Data, Detach, Flow, Resize, Start
from netdaemon.wire.records import Channel, Reason

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService

# Seconds for which a version-1 client, which cannot be told of a gap, may hold a process back before it has read on.
V1_HOLD = 60.0


@responds_to(Attach)
def attach(daemon: DaemonService, peer: Peer, id: int, request: Attach) -> Answer:
    peer.check_attachments()
    one = known_as(daemon, request.process)
    require_attach(daemon, peer, subject_of(one), request)
    if isinstance(one, Stored):
        raise AlreadyExited(f"process {one.id} has exited, and its output is not kept any longer", process=one.id)
    return attached(peer, id, one, request)


def require_attach(daemon: DaemonService, peer: Peer, subject: Subject, request: Start | Attach) -> None:
    """What an attachment needs: to read, to write unless it says that it will not, and to hold the process back.

    Version 1 cannot be told of a gap, and always holds.
    """
    daemon.judge.require(peer.principal, Verb.ATTACH_READ, subject)
    if request.hold or peer.connection.version == 1:
        daemon.judge.require(peer.principal, Verb.ATTACH_HOLD, subject)
    if not request.read_only:
        daemon.judge.require(peer.principal, Verb.ATTACH_WRITE, subject)


def attached(peer: Peer, id: int, process: Process, request: Attach) -> Attached:
    """Attach *peer* to *process*, as *request* says: whichever process that names."""
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
