"""What ends a process, and what forgets it."""

from __future__ import annotations

from collections.abc import Sequence
from signal import SIGKILL
from typing import TYPE_CHECKING, cast

from netdaemon.daemon import selection
from netdaemon.daemon.database import Stored
from netdaemon.daemon.judging import subject_of
from netdaemon.daemon.peer import Peer
from netdaemon.daemon.records import check_generation
from netdaemon.daemon.responders.table import Answer, known_as, responds_to
from netdaemon.errors import Denied
from netdaemon.policy.judged import Subject
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import Ok, Pruned, Stopped
from netdaemon.wire.commands import Kill, Prune, Remove, Stop
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import Step

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService


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
    one = known_as(daemon, request.process)
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


@responds_to(Remove)
def remove(daemon: DaemonService, peer: Peer, id: int, request: Remove) -> Answer:
    one = known_as(daemon, request.process)
    daemon.judge.require(peer.principal, Verb.REMOVE, subject_of(one))
    if isinstance(one, Stored):
        check_generation(one.record, request.generation)
        daemon.records.remove(one, str(peer.principal))
        return Ok()
    one.check_generation(request.generation)
    daemon.table.remove(one, str(peer.principal))
    return Ok()


@responds_to(Prune)
def prune(daemon: DaemonService, peer: Peer, id: int, request: Prune) -> Answer:
    matches = daemon.judge.within(peer.principal, Verb.REMOVE, selection.parse(request.select or ()))
    pruning = daemon.records.prune(matches, request.age or 0, str(peer.principal))
    return pruning.addCallback(lambda count: Pruned(count=count))
