"""apply: making the daemon match files of specs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.failure import FAILED, Failure, explain
from netdaemon.cli.options import json_option, reach_of
from netdaemon.cli.reach import Reach

if TYPE_CHECKING:
    from netdaemon.apply import Action, Outcome, Plan, SpecFaults, SpecSet
    from netdaemon.blocking import Client

# As in `netdaemon.apply.carrying`, which is not loaded for a look at the help; a test holds them together.
AT_ONCE, AT_ONCE_MAX = 8, 256


@click.command(short_help="Make the daemon match files of specs.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what is to be done, and do nothing.")
@click.option(
    "-j",
    "--at-once",
    type=click.IntRange(1, AT_ONCE_MAX),
    default=AT_ONCE,
    show_default=True,
    metavar="N",
    help="See to so many processes at the same time.",
)
@json_option
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.pass_context
def apply(context: click.Context, dry_run: bool, at_once: int, files: tuple[str, ...]) -> int:
    """Make the daemon match FILEs of specs (TOML): start, change, restart, stop and remove processes.

    Each file is a set of processes. What is in the set and not in its file any more is stopped and removed; what other
    sets have, or was started by hand, is left alone. Files are checked whole before anything is done.

    Prints a line for each process that something is done with. All are tried; the exit code is 0 if all went well,
    also where there was nothing to do.
    """
    from netdaemon.apply import SpecFaults, read
    from netdaemon.apply import plan as make_plan

    reach = reach_of(context)
    try:
        sets = read(*files)
        client = _client_for_a_look(reach) if dry_run else reach.connect()
        if client is None:
            plan = make_plan(sets, ())
        else:
            with client:
                plan = make_plan(sets, client.list())
                if not dry_run:
                    return _carry_out(client, sets, plan, at_once, reach)
    except SpecFaults as error:
        raise _failure(error) from error
    _tell_plan(sets, plan, reach.json)
    return 0


def _client_for_a_look(reach: Reach) -> Client | None:
    """The daemon, if there is one or there is about to be; None is started for a look."""
    client = reach.try_connect()
    if client is None and reach.keeper() is not None:
        return reach.connect(autostart=False)
    return client


def _failure(error: SpecFaults) -> Failure:
    lines = tuple(map(str, error.faults))
    many = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return Failure(f"{many} found, nothing was done:", error=error, detail=lines)


def _tell_plan(sets: tuple[SpecSet, ...], plan: Plan, as_json: bool) -> None:
    if as_json:
        output.write(output.json_text({"sets": [one.name for one in sets], "dry_run": True, "actions": plan.plain()}))
        return
    for line in plan.lines:
        output.write(output.visible(line) + "\n")
    if plan.idle:
        output.write("nothing to do\n")


def _carry_out(client: Client, sets: tuple[SpecSet, ...], plan: Plan, at_once: int, reach: Reach) -> int:
    from netdaemon.blocking.applying import carry_out_plan

    def on_doing(action: Action, doing: str) -> None:
        output.note(f"{output.visible(action.name)}: {doing}")

    def on_done(outcome: Outcome) -> None:
        if outcome.error is None:
            output.write(output.visible(str(outcome.action)) + "\n")
        else:
            _failed(outcome).tell(as_json=False)

    # Somebody sits there and waits; a log is to have results only.
    watched = not reach.json and sys.stderr is not None and sys.stderr.isatty()
    outcomes = carry_out_plan(
        client,
        plan,
        at_once=at_once,
        on_doing=on_doing if watched else None,
        on_done=None if reach.json else on_done,
    )
    failed = [one for one in outcomes if one.error is not None]
    if reach.json:
        done = [_plain(one) for one in outcomes] + plan.left.plain()
        output.write(output.json_text({"sets": [one.name for one in sets], "dry_run": False, "actions": done}))
    else:
        for line in plan.left.lines:
            output.write(output.visible(line) + "\n")
        if plan.idle:
            output.write("nothing to do\n")
    return FAILED if failed else 0


def _failed(outcome: Outcome) -> Failure:
    """Why an action was not done."""
    assert outcome.error is not None
    failure = explain(outcome.error)
    failure.message = f"{outcome.action.name}: {outcome.action.kind.value}: {failure.message}"
    return failure


def _plain(outcome: Outcome) -> output.Plain:
    told = outcome.plain()
    if outcome.error is not None:
        told["error"] = explain(outcome.error).plain()["error"]
    return told
