"""A process as it is told, and as it is saved: the two records of it; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdaemon.process.saved import Saved
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.process.record import Process


def described(process: Process) -> ProcessRecord:
    """Its record, as it is now."""
    identity, run, life = process.identity, process.current, process.life
    status = run.status
    return ProcessRecord(
        id=identity.id,
        name=identity.name,
        labels=identity.labels,
        state=process.state,
        generation=run.generation,
        argv=identity.argv,
        cwd=identity.cwd,
        pty=identity.pty,
        merge=identity.merge,
        owner=identity.owner,
        pid=run.pid,
        created=identity.created,
        started=run.started,
        exited=run.exited,
        code=status.code if status else None,
        signal=status.signal if status else None,
        core=status.core or None if status else None,
        begin=process.spool.begin,
        end=process.spool.end,
        stdin_end=run.stdin.end,
        eof=tuple(sorted(run.closed)),
        attached=process.attached,
        keep=process.spool.size,
        key=identity.key,
        digest=identity.digest or None,
        stop=identity.stop,
        restart=identity.restart,
        ready=identity.ready,
        watchdog=identity.watchdog,
        log=identity.log,
        run_as=identity.run_as,
        limits=identity.limits,
        cgroup=identity.cgroup,
        sandbox=identity.sandbox,
        uid=None if identity.account is None else identity.account.uid,
        gid=None if identity.account is None else identity.account.gid,
        failures=life.failures or None,
        due=life.due,
        step=life.step,
    )


def saved_of(process: Process) -> Saved:
    """What the next daemon has to know."""
    run = process.current
    form = run.terminal, run.merge
    return Saved(
        identity=process.identity,
        state=process.state,
        generation=run.generation,
        begin=run.begin,
        started=run.started,
        exited=run.exited,
        status=run.status,
        points=tuple(process.points),
        form=None if form == (process.identity.pty is not None, process.identity.merge) else form,
        signs=None if run.signs == process.identity.signs else run.signs,
        closed=tuple(sorted(run.closed)),
        stdin_base=run.stdin.base,
        stdin_closed=run.stdin.closed,
        stdin_end=run.stdin.taken if run.stdin.closed and not run.stdin.waiting else 0,
        passing=process.passing,
        ready=run.ready,
        fault=run.fault,
        life=process.life.saved(),
        number=process.events.number,
        pending=process.events.pending,
        log=process.logged,
    )
