"""Processes of a daemon that is dead: from what was saved of them, with what is left of them or with nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from netdaemon.keeper.child import ExitStatus
from netdaemon.process.points import Points
from netdaemon.process.record import FINISHED, Process
from netdaemon.process.run import Run
from netdaemon.process.saved import Saved
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening


def adopted(saved: Saved, spool: Spool, stdin: Stdin, reactor: Any) -> Process:
    """A process of a daemon that is dead, as that saved it; if it has a child, or had one, have it `resume` next."""
    process = Process(saved.identity, spool, stdin, reactor)
    process.state = saved.state
    process.passing = saved.passing
    process.points = Points(saved.points)
    process.logged = saved.log
    process.events.number, process.events.pending = saved.number, saved.pending
    terminal, merge = saved.form or (saved.identity.pty is not None, saved.identity.merge)
    signs = saved.signs or saved.identity.signs
    run = process.current = Run(
        saved.identity.id, saved.generation, stdin, saved.begin, terminal=terminal, merge=merge, signs=signs
    )
    run.started, run.exited, run.status = saved.started, saved.exited, saved.status
    run.ready, run.fault = saved.ready, saved.fault
    run.closed = saved.closed_channels
    stdin.closed = saved.stdin_closed
    stdin.end = max(stdin.end, saved.stdin_end)
    stdin.taken = max(stdin.taken, saved.stdin_end)
    process.holding.expect(*spool.held())
    process.life.restore(saved.life)
    return process


def lost(saved: Saved, spool: Spool, stdin: Stdin, number: int, reactor: Any) -> Process:
    """A process that there is nothing left of but *saved*, and perhaps less than was: it waits to be started again.

    :param number: that of its last event.
    """
    now = time.time_ns() // 1000
    finished = saved.state in FINISHED
    waited = saved.state is State.BACKOFF or finished
    saved = replace(
        saved,
        state=State.BACKOFF,
        begin=spool.end,
        exited=saved.exited if waited else now,
        status=saved.status if waited else ExitStatus(),
        points=(),
        closed=(),
        stdin_closed=True,
        stdin_end=saved.stdin_base,
        life={**saved.life, "due": now, "by_hand": False, "interrupted": False, "stop": None, "again": False},
        number=number,
        pending=(),
        log=None,
    )
    process = adopted(saved, spool, stdin, reactor)
    process.current.ended = True
    if not waited:
        process.tell(Happening.EXITED, "lost with its keeper")
    process.tell(Happening.BACKOFF, None if finished else "it ran when all was lost")
    return process
