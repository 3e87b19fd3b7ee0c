"""label, prune and reload: keeping order among processes and their logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import Chosen, all_option, choice_of, choose, document, each, label_option, label_terms
from netdaemon.cli.declaring import CENTURY, Duration
from netdaemon.cli.options import complete_process, json_option, reach_of

if TYPE_CHECKING:
    from netdaemon.blocking import Client
    from netdaemon.wire.told import ProcessRecord


@click.command(short_help="Change the labels of processes.")
@click.argument("words", nargs=-1, metavar="[PROCESS]... KEY=VALUE|KEY-...", shell_complete=complete_process)
@label_option
@all_option
@json_option
@click.pass_context
def label(context: click.Context, words: tuple[str, ...], labels: tuple[str, ...], all_: bool) -> int:
    """Set labels of PROCESSes (KEY=VALUE), or remove them (KEY-); at once, and what runs goes on.

    Prints the labels that each has then. Labels that are not named stay.
    """
    names, settings, removals = _sorted(words)
    if not settings and not removals:
        raise click.UsageError("Missing argument 'KEY=VALUE': or KEY-, to remove that label", context)
    choice = choice_of(context, names, labels, all_)
    reach = reach_of(context)
    told: list[output.Plain] = []

    def label_one(one: Chosen) -> None:
        record = _label(client, one.record, settings, removals)
        if reach.json:
            told.append(output.plain(record))
        else:
            output.write(f"{output.visible(one.called)}: {_labels(record)}\n")

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json)
        code = each(client, targets, label_one, as_json=reach.json) or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    return code


def _sorted(words: tuple[str, ...]) -> tuple[list[str], dict[str, str], list[str]]:
    """Processes, labels to set, and those to remove. No name has a =; one that ends with - is to be given by its id."""
    names: list[str] = []
    settings: dict[str, str] = {}
    removals: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            settings[key] = value
        elif word.endswith("-"):
            removals.append(word[:-1])
        else:
            names.append(word)
    return names, settings, removals


def _label(client: Client, record: ProcessRecord, settings: dict[str, str], removals: list[str]) -> ProcessRecord:
    before: dict[str, str] = {}
    for one in record.labels:
        key, _, value = one.partition("=")
        before[key] = value
    after = {key: value for key, value in {**before, **settings}.items() if key not in removals}
    return record if after == before else client.change(record.id, labels=after).process


def _labels(record: ProcessRecord) -> str:
    return " ".join(map(output.visible, record.labels)) or "no labels"


@click.command(short_help="Remove all processes that have exited.")
@click.argument("select", nargs=-1, metavar="[SELECT]...", shell_complete=complete_process)
@label_option
@click.option(
    "--older", type=Duration(0, CENTURY), metavar="DURATION", help="Only those that exited so long ago: 30m, 7d."
)
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@json_option
@click.pass_context
def prune(
    context: click.Context, select: tuple[str, ...], labels: tuple[str, ...], older: int | None, dry_run: bool
) -> None:
    """Remove all processes that have exited or failed and match every SELECT, as for list; and say how many.

    What runs, or waits to be started again, is never removed.
    """
    reach = reach_of(context)
    terms = (*select, *label_terms(labels))
    with reach.connect() as client:
        if dry_run:
            found = _to_prune(client, terms, older)
            _tell_pruned(len(found), reach.json, found)
        else:
            _tell_pruned(client.prune(*terms, age=older), reach.json)


def _to_prune(client: Client, terms: tuple[str, ...], older: int | None) -> list[output.Plain]:
    before = (time.time() - (older or 0) / 1000) * 1e6
    records = map(output.plain, client.list(*terms))
    return [one for one in records if one["state"] in ("exited", "failed") and one.get("exited", 0) <= before]


def _tell_pruned(count: int, as_json: bool, would_be: list[output.Plain] | None = None) -> None:
    if as_json:
        told: output.Plain = {"count": count, "dry_run": would_be is not None}
        if would_be is not None:
            told["processes"] = would_be
        output.write(output.json_text(told))
        return
    for one in would_be or ():
        output.write(output.visible(one.get("name") or one["id"]) + "\n")
    many = "no processes" if not count else "1 process" if count == 1 else f"{count} processes"
    output.write(f"{many} {'removed' if would_be is None else 'would be removed'}\n")


@click.command(short_help="Have the daemon open its log files again.")
@click.pass_context
def reload(context: click.Context) -> None:
    """Have the daemon open the log files of all processes again, as after a program has moved them."""
    with reach_of(context).connect() as client:
        client.reload()
