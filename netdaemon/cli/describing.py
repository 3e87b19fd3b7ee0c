"""A process and a daemon in words, for inspect and info: rows of a word and what there is to say; asks nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netdaemon.cli import output
from netdaemon.wire.specs import USUAL_STOP, milliseconds
from netdaemon.wire.whom import CPU_PERIOD, RunAs

if TYPE_CHECKING:
    from netdaemon.wire.answers import DaemonInfo, OfProcess
    from netdaemon.wire.records import Counts, Limits
    from netdaemon.wire.specs import Log, Ready, Restart
    from netdaemon.wire.told import Logged, ProcessRecord, Stats
    from netdaemon.wire.whom import Sandbox

Rows = list[tuple[str, str]]

# The limits that are sizes.
IN_BYTES = ("fsize", "data", "stack", "core", "rss", "memlock", "as", "msgqueue")


def about_process(told: OfProcess) -> str:
    """All that is known of a process."""
    record = told.process
    rows: Rows = [
        ("id", output.visible(record.id)),
        ("name", output.visible(record.name or "-")),
        ("state", _state(record)),
        ("generation", str(record.generation)),
        ("command", output.command(record.argv)),
        ("directory", output.visible(record.cwd)),
        ("pid", str(record.pid or "-")),
        ("owner", output.visible(record.owner)),
        ("labels", " ".join(map(output.visible, record.labels)) or "-"),
        ("streams", _streams(record)),
        ("created", output.moment(record.created)),
    ]
    for word, moment in (("started", record.started), ("exited", record.exited)):
        if moment:
            rows.append((word, output.moment(moment)))
    rows += _declared(record)
    kept = record.end - record.begin
    rows += [
        ("output", f"{record.end} bytes, of which {kept} are kept (from {record.begin}; {record.keep} at most)"),
        ("input", f"{record.stdin_end} bytes"),
        ("closed", " ".join(("stdin", "stdout", "stderr")[channel] for channel in record.eof) or "-"),
        ("attached", str(record.attached)),
    ]
    if told.logged is not None:
        rows.append(("logged", _logged(told.logged)))
    if told.stats is not None:
        rows += _stats(told.stats)
    return output.table(rows, None)


def _state(record: ProcessRecord) -> str:
    state = record.state.value
    if state in ("exited", "failed", "backoff"):
        ending = output.ending(output.plain(record))
        if state != "exited" and not ending:
            ending = "?"
        by = {"?": ", nobody knows how"}.get(ending, f" by {ending}" if ending[:1].isalpha() else f" with {ending}")
        state += by if state == "exited" else f": exited{by}"
        if record.core:
            state += ", core dumped"
    if record.due is not None:
        state += f"; starts again in {max(0.0, record.due / 1e6 - time.time()):.1f} s"
    if record.step is not None:
        state += f": {output.visible(record.step)}"
    return state


def _streams(record: ProcessRecord) -> str:
    pty = record.pty
    if pty is None:
        return "pipes, stdout and stderr merged" if record.merge else "pipes"
    return f"a terminal, {pty.columns} x {pty.rows}" + (f", {output.visible(pty.term)}" if pty.term else "")


def _declared(record: ProcessRecord) -> Rows:
    steps = "; ".join(map(str, record.stop or USUAL_STOP)) + ("" if record.stop else " (as usual)")
    rows: Rows = [
        ("stop", output.visible(steps)),
        ("restart", "never" if record.restart is None else _restart(record.restart)),
    ]
    if record.failures:
        rows.append(("restarts", f"{record.failures} since it last stayed up"))
    if record.ready is not None:
        rows.append(("ready", _ready(record.ready)))
    if record.watchdog is not None:
        rows.append(("watchdog", f"every {milliseconds(record.watchdog)}"))
    if record.log is not None:
        rows.append(("log", _log(record.log)))
    if record.run_as is not None or record.uid is not None:
        rows.append(("runs as", _runs_as(record)))
    for word, terms, told in (("limits", record.limits, _limit), ("cgroup", record.cgroup, _setting)):
        if terms:
            rows.append((word, ", ".join(output.visible(told(term)) for term in terms)))
    if record.sandbox is not None:
        rows.append(("sandbox", _sandbox(record.sandbox)))
    return rows


def _runs_as(record: ProcessRecord) -> str:
    run_as = record.run_as or RunAs()
    user = "the daemon's user" if run_as.user is None else output.visible(run_as.user)
    said = [user if record.uid is None else f"{user} (uid {record.uid}, gid {record.gid})"]
    if run_as.groups is not None:
        said.append("groups " + " ".join(map(output.visible, run_as.groups)) if run_as.groups else "no other groups")
    if run_as.umask is not None:
        said.append(f"umask {run_as.umask:03o}")
    if run_as.chroot is not None:
        said.append(f"root {output.visible(run_as.chroot)}")
    if run_as.nice is not None:
        said.append(f"niceness {run_as.nice}")
    if run_as.oom_score_adj is not None:
        said.append(f"oom score {run_as.oom_score_adj:+d}")
    if run_as.no_new_privs:
        said.append("no new privileges")
    if run_as.capabilities is not None:
        said.append("capabilities " + " ".join(run_as.capabilities) if run_as.capabilities else "no capabilities")
    return ", ".join(said)


def _limit(term: str) -> str:
    """As it can be given to --limit, sizes as people say them."""
    name, _, value = term.partition("=")
    if name in IN_BYTES:
        value = ":".join(map(_bytes, value.split(":")))
    return f"{name}={value}"


def _setting(term: str) -> str:
    """As it can be given to --cgroup, sizes and shares as people say them."""
    name, _, value = term.partition("=")
    if name.startswith("memory."):
        value = _bytes(value)
    elif name == "cpu.max" and value.isdecimal():
        value = f"{int(value) * 100 / CPU_PERIOD:g}%"
    return f"{name}={value}"


def _bytes(value: str) -> str:
    """The number exactly, if by a larger unit."""
    if not value.isdecimal():
        return value
    from netdaemon.apply.values import bytes_of

    return bytes_of(int(value))


def _sandbox(sandbox: Sandbox) -> str:
    said = [sandbox.profile.value, "with the network" if sandbox.network else "no network"]
    if sandbox.writable:
        said.append("can write to " + " ".join(map(output.visible, sandbox.writable)))
    return ", ".join(said)


def _restart(restart: Restart) -> str:
    said = f"{restart.policy.value}, after {milliseconds(restart.delay)} to {milliseconds(restart.longest)}"
    if restart.codes != (0,):
        said += ", no failure: " + (" ".join(map(str, restart.codes)) or "none")
    if restart.burst:
        said += f", at most {restart.burst} in {milliseconds(restart.interval)}"
    return said


def _ready(ready: Ready) -> str:
    if ready.output is not None:
        said = f"once a line has {output.command([ready.output])}"
    elif ready.pattern is not None:
        said = f"once a line matches {output.command([ready.pattern])}"
    else:
        said = "once it says READY=1"
    return said if ready.timeout is None else f"{said}, within {milliseconds(ready.timeout)}"


def _log(log: Log) -> str:
    said = f"{output.visible(log.path)}, set aside at {output.size(log.size)}"
    if log.age is not None:
        said += f" or {milliseconds(log.age)}"
    said += f", {log.files} kept" + (", compressed" if log.compress else "")
    return said + (", required" if log.required else "")


def _logged(logged: Logged) -> str:
    said = f"up to {logged.offset}"
    if logged.lost:
        said += f", {logged.lost} bytes lost"
    return said if logged.error is None else f"{said}; cannot be written: {output.visible(logged.error)}"


def _stats(stats: Stats) -> Rows:
    return [
        ("processes", f"{stats.processes}; threads: {stats.threads}, descriptors: {stats.descriptors}"),
        ("processor", f"{stats.percent / 100:.1f} %, {stats.cpu / 1000:.1f} s in all"),
        ("memory", output.size(stats.memory)),
        ("storage", f"{output.size(stats.read)} read, {output.size(stats.written)} written"),
    ]


def _each(limit: int | None) -> str:
    return "" if limit is None else f", {limit} for each user but root and the daemon's own"


def _rate(limits: Limits, counts: Counts) -> str:
    rates = []
    if limits.request_rate is not None:
        rates.append(f"{limits.request_rate} requests")
    if limits.byte_rate is not None:
        rates.append(f"{output.size(limits.byte_rate)} bytes")
    if not rates:
        return "no limit"
    return f"{' and '.join(rates)} a second for a client, {limits.burst} s of it at once; {counts.slowed} wait"


def about_daemon(told: DaemonInfo, path: str) -> str:
    """All that is known of a daemon."""
    counts, limits = told.counts, told.limits
    since = time.time() - told.uptime / 1000
    rows: Rows = [
        ("socket", output.visible(path)),
        ("version", output.visible(told.version)),
        ("instance", output.visible(told.instance)),
        ("pid", str(told.pid)),
    ]
    if told.keeper_pid is not None:
        rows.append(("keeper", str(told.keeper_pid)))
    rows += [
        ("up", f"{output.duration(told.uptime / 1000)}, since {output.moment(int(since * 1e6))}"),
        ("running", f"{counts.running} of at most {limits.processes}{_each(limits.processes_each)}"),
        ("exited", f"{counts.exited} listed, the last {limits.exited} are kept"),
        ("clients", f"{counts.clients} of at most {limits.clients}{_each(limits.clients_each)}"),
        ("attachments", f"{counts.attachments}, at most {limits.attachments} for a client"),
        ("descriptors", f"{counts.descriptors} of at most {limits.descriptors}"),
    ]
    if limits.newcomers is not None:
        rows.append(("newcomers", f"{counts.newcomers} of at most {limits.newcomers} have not said HELLO"))
    if limits.input is not None:
        rows.append(("input", f"at most {output.size(limits.input)} bytes of unfinished messages"))
        rows.append(("rate", _rate(limits, counts)))
    words = list(map(output.visible, told.degraded)) or ["-"]
    rows += zip(["degraded"] + [""] * (len(words) - 1), words, strict=True)
    return output.table(rows, None)
