"""What is about the daemon itself."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import netdaemon
from netdaemon.daemon.peer import MAX_ATTACHMENTS, MAX_REQUESTS, Peer
from netdaemon.daemon.responders.table import Answer, responds_to
from netdaemon.errors import BadRequest
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import WINDOW, DaemonInfo, Ok
from netdaemon.wire.commands import KEEP_MAX, Info, Reload, Shutdown
from netdaemon.wire.frame import MAX_MESSAGE
from netdaemon.wire.records import Counts, Fate, Limits

if TYPE_CHECKING:
    from netdaemon.daemon.service import DaemonService


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


@responds_to(Reload)
def reload(daemon: DaemonService, peer: Peer, id: int, request: Reload) -> Answer:
    daemon.judge.require(peer.principal, Verb.RELOAD, None)
    daemon.reload()
    return Ok()


@responds_to(Shutdown)
def shutdown(daemon: DaemonService, peer: Peer, id: int, request: Shutdown) -> Answer:
    daemon.judge.require(peer.principal, Verb.SHUTDOWN, None)
    if request.processes is Fate.KEEP and daemon.keeper is None:
        raise BadRequest(
            "processes is keep, and this daemon is ephemeral: its processes end with it", field="processes"
        )
    daemon.reactor.callLater(0, daemon.shutdown, request.processes or Fate.STOP)
    return Ok()
