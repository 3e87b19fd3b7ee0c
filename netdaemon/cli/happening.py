"""events: what has happened to processes, and what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import label_option, label_terms
from netdaemon.cli.declaring import moment
from netdaemon.cli.options import complete_process, json_option, reach_of

if TYPE_CHECKING:
    from netdaemon.blocking import Client, Watch
    from netdaemon.wire.answers import Happened

# What no process matches: where only the reply to a WATCH is of interest, and no snapshot.
_NOBODY = "id="

# Seconds without an event after which those that are still missing are taken for lost: one that cannot be read from
# the journal any more is never told.
PATIENCE = 5.0


@click.command(short_help="Tell what happened to processes.")
@click.argument("select", nargs=-1, metavar="[SELECT]...", shell_complete=complete_process)
@label_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens.")
@click.option(
    "--since",
    metavar="CURSOR|TIME",
    help="Begin after that event; at this time, or so long ago: 12:30, 10m, 2d; 0: as early as there is.",
)
@click.option("--snapshot", is_flag=True, help="With -f: first tell how each process is.")
@json_option
@click.pass_context
def events(
    context: click.Context,
    select: tuple[str, ...],
    labels: tuple[str, ...],
    follow: bool,
    since: str | None,
    snapshot: bool,
) -> None:
    """Tell what has happened to the processes that match every SELECT, as for list: all that is still known of.

    With -f tell what happens from now on, until interrupted; what happened before only with --since. For programs each
    event is a line of JSON with its cursor, from which another events goes on.
    """
    reach = reach_of(context)
    if snapshot and (not follow or since is not None):
        raise click.UsageError("--snapshot is for -f without --since: how it is now, and then what happens", context)
    terms = (*select, *label_terms(labels))
    with reach.connect() as client:
        begin = _Beginning(client, since or ("" if follow else "0"))
        if begin.missing and not reach.json:
            output.note(begin.missing)
        if begin.missing and reach.json:
            output.write(output.json_text({"fresh": True, "cursor": begin.cursor}, indent=None))
        if follow:
            found = _follow(client, terms, begin, snapshot, as_json=reach.json)
        else:
            found = _past(client, terms, begin, as_json=reach.json)
        for event in found:
            if event.time >= begin.time:
                output.write(_json(event) if reach.json else _line(event))


class _Beginning:
    """Where to begin.

    :ivar cursor: after what; None: now.
    :ivar time: what happened before is not told, though it comes.
    :ivar missing: what was asked for and is not known any more, in words.
    """

    def __init__(self, client: Client, since: str) -> None:
        self.cursor: str | None = None
        self.time = 0
        self.missing = ""
        if since == "0":
            self.cursor = oldest(client)
        elif "-" in since and ":" not in since and _knows(client, since):
            self.cursor = since
        elif since:
            try:
                self.time = moment(since)
            except ValueError:
                self.missing = f"what followed {since} is not known any more; this is all that is"
            self.cursor = oldest(client)


def _knows(client: Client, cursor: str) -> bool:
    """Whether the daemon has all that followed."""
    with client.watch(_NOBODY, since=cursor) as watch:
        return not watch.fresh


def oldest(client: Client) -> str:
    """The cursor before the oldest event that is kept.

    A cursor is a word for the journal and a number, which rises from event to event. What is kept is known to the
    daemon only; it is found by asking again and again, in as many steps as the number has bits.
    """
    with client.watch(_NOBODY) as watch:
        journal, newest = _parts(watch.cursor or "")
    first, last = 0, newest
    while first < last:
        # Mostly nothing has been forgotten yet.
        middle = (first + last) // 2 if first else 0
        if _knows(client, f"{journal}-{middle}"):
            last = middle
        else:
            first = middle + 1
    return f"{journal}-{last}"


def _parts(cursor: str) -> tuple[str, int]:
    journal, _, number = cursor.rpartition("-")
    return journal, int(number)


def _past(client: Client, terms: tuple[str, ...], begin: _Beginning, *, as_json: bool) -> Iterator[Happened]:
    """What has happened up to now. All of it is asked for, since only so it is seen when it is complete."""
    from netdaemon.daemon.selection import parse
    from netdaemon.errors import TimedOut

    matches = parse(terms)
    with client.watch(_NOBODY) as now:
        _, end = _parts(now.cursor or "")
    assert begin.cursor is not None
    with client.watch(since=begin.cursor) as watch:
        watch.on_fresh = lambda: _tell_fresh(watch, as_json)
        while _parts(watch.cursor or begin.cursor)[1] < end:
            try:
                event = watch.next_event(PATIENCE)
            except TimedOut:
                return
            if event is None:
                return
            if not event.snapshot and (matches is None or matches(event.process)):
                yield event


def _follow(
    client: Client, terms: tuple[str, ...], begin: _Beginning, snapshot: bool, *, as_json: bool
) -> Iterator[Happened]:
    """What happens, for ever."""
    with client.watch(*terms, since=begin.cursor) as watch:
        if not snapshot or begin.cursor is not None:
            # The daemon that comes next may not know what happened in between.
            watch.on_fresh = lambda: _tell_fresh(watch, as_json)
        for event in watch:
            if snapshot or not event.snapshot:
                yield event


def _tell_fresh(watch: Watch, as_json: bool) -> None:
    if as_json:
        output.write(output.json_text({"fresh": True, "cursor": watch.cursor}, indent=None))
    else:
        output.note("what happened meanwhile is not known any more")


def _json(event: Happened) -> str:
    return output.json_text(output.plain(event), indent=None)


def _line(event: Happened) -> str:
    """An event for people: when, to whom, what, more of it, and by whom."""
    record = event.process
    when = output.moment(event.time).rpartition(" ")[0] if event.time else "-" * 19
    who = record.name or record.id
    by = "" if event.principal in ("", "netdaemon") else f"by {event.principal}"
    said = "  ".join(filter(None, (_detail(event), by)))
    return f"{when}  {output.visible(who):<16}  {event.type.value:<13}  {output.visible(said)}".rstrip() + "\n"


def _detail(event: Happened) -> str:
    if event.detail is not None:
        return event.detail
    record = event.process
    word = event.type.value
    if word in ("started", "ready"):
        return f"pid {record.pid}, generation {record.generation}"
    if word == "created":
        return output.command(record.argv)
    if word == "backoff" and record.due is not None:
        return f"starts again in {max(0.0, (record.due - event.time) / 1e6):.1f} s"
    if word in ("exited", "failed"):
        return output.ending(output.plain(record))
    if word == "snapshot":
        return record.state.value
    return ""
