"""list, inspect, wait and info: what there is, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import (
    Chosen,
    choice_of,
    choose,
    document,
    each,
    label_option,
    label_terms,
    processes_argument,
)
from netdaemon.cli.failure import GAVE_UP, SIGNALLED, Failure
from netdaemon.cli.options import complete_process, json_option, reach_of, seconds_option

if TYPE_CHECKING:
    from netdaemon.cli.jobs import Asking, Job
    from netdaemon.wire.told import ProcessRecord

STATES = ("starting", "running", "stopping", "backoff", "exited", "failed")


@click.command("list", short_help="List the processes.")
@label_option
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state; or in one of them."
)
@click.option("--labels", "with_labels", is_flag=True, help="Show their labels, too.")
@json_option
@click.argument("select", nargs=-1, metavar="[SELECT]...", shell_complete=complete_process)
@click.pass_context
def list_(
    context: click.Context, labels: tuple[str, ...], states: tuple[str, ...], with_labels: bool, select: tuple[str, ...]
) -> None:
    """List the processes that match every SELECT.

    SELECT is a name or id, with * and ? if you like, or one of name=web*, id=b*, state=running, label.KEY=VALUE. AGE is
    the time since the start, EXIT the exit code or the signal.
    """
    from netdaemon.cli import quick

    reach = reach_of(context)
    with reach.connect() as client:
        found = client.list(*select, *label_terms(labels))
    records = [output.plain(record) for record in found if not states or record.state.value in states]
    output.write(quick.listing(records, as_json=reach.json, labels=with_labels))


@click.command(short_help="Tell all about processes.")
@processes_argument
@click.option("--stats", is_flag=True, help="And what it uses, with all that descends from it.")
@json_option
@click.pass_context
def inspect(context: click.Context, words: tuple[str, ...], labels: tuple[str, ...], all_: bool, stats: bool) -> int:
    """Tell all that the daemon knows about PROCESSes."""
    from netdaemon.cli.describing import about_process

    reach = reach_of(context)
    choice = choice_of(context, words, labels, all_)
    told: list[output.Plain] = []
    texts: list[str] = []

    def inspect_one(one: Chosen) -> None:
        found = client.look(one.id, stats=stats)
        if reach.json:
            plain = output.plain(found)
            told.append({**plain.pop("process"), **plain})
        else:
            texts.append(about_process(found))

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json)
        code = each(client, targets, inspect_one, as_json=reach.json) or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    elif texts:
        output.write("\n".join(texts))
    return code


@click.command(short_help="Wait until processes have exited.")
@processes_argument
@click.option(
    "--for",
    "for_",
    type=click.Choice(["exited", "ended", "running", "removed"]),
    default="exited",
    show_default=True,
    help="What to wait for. Exited: for good. Ended: exited, and its output closed. Running: and ready.",
)
@seconds_option("Give up after this, with exit code 124.")
@json_option
@click.pass_context
def wait(
    context: click.Context,
    words: tuple[str, ...],
    labels: tuple[str, ...],
    all_: bool,
    for_: str,
    timeout: float | None,
) -> int:
    """Wait until PROCESS has exited, and exit with its code, or 128 plus the number of its signal.

    What will be started again has not exited. Of several the code is that of the first, as they were named, that ended
    otherwise than with 0. With --for running or removed it is 0.
    """
    from netdaemon.cli.jobs import carry_out
    from netdaemon.cli.progress import Progress
    from netdaemon.errors import TimedOut

    reach = reach_of(context)
    choice = choice_of(context, words, labels, all_)
    records: dict[str, ProcessRecord] = {}

    def done(job: Job) -> None:
        records[job.chosen.id] = job.answer

    with reach.connect() as client:
        patience = client.timeout
        if timeout is not None:
            # To find out who is meant is no reason to wait for longer, either.
            client.timeout = timeout
        try:
            targets, code = choose(client, choice, as_json=reach.json)
        except TimedOut as error:
            if timeout is None:
                raise
            what = ", ".join(words) or "they"
            raise Failure(f"{what}: not {for_} after {timeout:g} s", code=GAVE_UP, error=error) from error
        client.timeout = patience
        if targets:
            progress = Progress(as_json=reach.json)
            progress.wait_for(f"{output.few([one.called for one in targets])} to be {for_}")
            failed = carry_out(
                client,
                targets,
                lambda one: _wait(one, for_),
                progress=progress,
                doing=None,
                done=done,
                timeout=timeout,
                not_yet=f"is not {for_}",
                as_json=reach.json,
            )
            code = failed or code
    in_order = [(one, records[one.id]) for one in targets if one.id in records]
    if reach.json and (in_order or not choice.single):
        output.write(document(choice, [output.plain(record) for _, record in in_order]))
    return code or (0 if for_ in ("running", "removed") else _code(in_order))


def _wait(one: Chosen, for_: str) -> Asking:
    from netdaemon.wire.commands import Wait
    from netdaemon.wire.records import Until

    return (yield Wait(process=one.id, for_=Until(for_))).process


def _code(ended: Sequence[tuple[Chosen, ProcessRecord]]) -> int:
    for one, record in ended:
        if record.signal is not None:
            return SIGNALLED + record.signal
        if record.code is None:
            raise Failure(f"{one.called} has exited, and nobody knows how", word="status-unknown")
        if record.code:
            return record.code
    return 0


@click.command(short_help="Tell about the daemon.")
@json_option
@click.pass_context
def info(context: click.Context) -> None:
    """Tell what the daemon is, has and allows."""
    from netdaemon.cli.describing import about_daemon

    reach = reach_of(context)
    with reach.connect() as client:
        told = client.info()
    output.write(output.json_text(output.plain(told)) if reach.json else about_daemon(told, reach.path))
