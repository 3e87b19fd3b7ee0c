"""list, inspect, wait and info: what there is, and how it stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.failure import GAVE_UP, SIGNALLED, Failure
from netdaemon.cli.options import complete_process, json_option, process_argument, reach_of
from netdaemon.cli.reach import with_process

if TYPE_CHECKING:
    from netdaemon.wire.answers import DaemonInfo


@click.command("list", short_help="List the processes.")
@json_option
@click.argument("select", nargs=-1, metavar="[SELECT]...", shell_complete=complete_process)
@click.pass_context
def list_(context: click.Context, select: tuple[str, ...]) -> None:
    """List the processes that match every SELECT.

    SELECT is a name or id, with * and ? if you like, or one of name=web*, id=b*, state=running, label.KEY=VALUE. AGE is
    the time since the start, EXIT the exit code or the signal.
    """
    from netdaemon.cli import quick

    reach = reach_of(context)
    with reach.connect() as client:
        records = [output.plain(record) for record in client.list(*select)]
    output.write(quick.listing(records, as_json=reach.json))


@click.command(short_help="Tell all about a process.")
@json_option
@process_argument
@click.pass_context
def inspect(context: click.Context, process: str) -> None:
    """Tell all that the daemon knows about PROCESS."""
    reach = reach_of(context)
    with reach.connect() as client:
        record = output.plain(with_process(client, process, client.inspect))
    output.write(output.json_text(record) if reach.json else _about(record))


def _about(record: output.Plain) -> str:
    state = record["state"]
    if state in ("exited", "failed"):
        ending = output.ending(record)
        state += {"?": ", nobody knows how"}.get(ending, f" by {ending}" if ending[:1].isalpha() else f" with {ending}")
        if record.get("core"):
            state += ", core dumped"
    rows = [
        ("id", output.visible(record["id"])),
        ("name", output.visible(record.get("name") or "-")),
        ("state", state),
        ("command", output.command(record["argv"])),
        ("directory", output.visible(record["cwd"])),
        ("pid", str(record.get("pid") or "-")),
        ("owner", output.visible(record["owner"])),
        ("labels", " ".join(map(output.visible, record["labels"])) or "-"),
        ("streams", _streams(record)),
        ("created", output.moment(record["created"])),
    ]
    rows += [(word, output.moment(record[word])) for word in ("started", "exited") if record.get(word)]
    kept = record["end"] - record["begin"]
    rows += [
        (
            "output",
            f"{record['end']} bytes, of which {kept} are kept (from {record['begin']}; {record['keep']} at most)",
        ),
        ("input", f"{record['stdin_end']} bytes"),
        ("closed", " ".join(("stdin", "stdout", "stderr")[channel] for channel in record["eof"]) or "-"),
        ("attached", str(record["attached"])),
    ]
    return output.table(rows, None)


def _streams(record: output.Plain) -> str:
    pty = record.get("pty")
    if pty:
        return f"a terminal, {pty['columns']} x {pty['rows']}" + (
            f", {output.visible(pty['term'])}" if pty.get("term") else ""
        )
    return "pipes, stdout and stderr merged" if record["merge"] else "pipes"


@click.command(short_help="Wait until a process has exited.")
@click.option(
    "--for",
    "for_",
    type=click.Choice(["exited", "ended", "running", "removed"]),
    default="exited",
    show_default=True,
    help="What to wait for. Ended: exited, and its output closed.",
)
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this, with exit code 124.")
@json_option
@process_argument
@click.pass_context
def wait(context: click.Context, for_: str, timeout: float | None, process: str) -> int:
    """Wait until PROCESS has exited, and exit with its code, or 128 plus the number of its signal.

    With --for running or removed the exit code is 0.
    """
    from netdaemon.errors import TimedOut
    from netdaemon.wire.records import Until

    reach = reach_of(context)
    with reach.connect() as client:
        try:
            record = with_process(client, process, lambda one: client.wait(one, Until(for_), timeout=timeout))
        except TimedOut as error:
            raise Failure(f"{process} is not {for_} after {timeout:g} s", code=GAVE_UP, error=error) from error
    if reach.json:
        output.write(output.json_text(output.plain(record)))
    if for_ in ("running", "removed"):
        return 0
    if record.signal is not None:
        return SIGNALLED + record.signal
    if record.code is None:
        raise Failure(f"{process} has exited, and nobody knows how", word="status-unknown")
    return record.code


@click.command(short_help="Tell about the daemon.")
@json_option
@click.pass_context
def info(context: click.Context) -> None:
    """Tell what the daemon is, has and allows."""
    reach = reach_of(context)
    with reach.connect() as client:
        told = client.info()
    output.write(output.json_text(output.plain(told)) if reach.json else _about_daemon(told, reach.path))


def _about_daemon(told: DaemonInfo, path: str) -> str:
    counts, limits = told.counts, told.limits
    since = time.time() - told.uptime / 1000
    rows = [
        ("socket", output.visible(path)),
        ("version", output.visible(told.version)),
        ("instance", output.visible(told.instance)),
        ("pid", str(told.pid)),
    ]
    if told.keeper_pid is not None:
        rows.append(("keeper", str(told.keeper_pid)))
    rows += [
        ("up", f"{output.duration(told.uptime / 1000)}, since {output.moment(int(since * 1e6))}"),
        ("running", f"{counts.running} of at most {limits.processes}"),
        ("exited", f"{counts.exited} listed, the last {limits.exited} are kept"),
        ("clients", f"{counts.clients} of at most {limits.clients}"),
        ("attachments", f"{counts.attachments}, at most {limits.attachments} for a client"),
        ("descriptors", f"{counts.descriptors} of at most {limits.descriptors}"),
    ]
    words = list(map(output.visible, told.degraded)) or ["-"]
    rows += zip(["degraded"] + [""] * (len(words) - 1), words, strict=True)
    return output.table(rows, None)
