"""top: what processes use, in a table that is kept up to date, or once, or for programs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import label_option, label_terms
from netdaemon.cli.options import complete_process, json_option, reach_of

if TYPE_CHECKING:
    from netdaemon.blocking import Watch
    from netdaemon.cli.board import Board

# Seconds: the least is the daemon's.
INTERVAL, LEAST, MOST = 2.0, 0.1, 3600.0

# A percentage is of the time between two times that it is told.
TIMES = 2

# Seconds more than that, after which what has come is what there is: something may have ended meanwhile, or not begun.
SPARE = 2.0

# As in `netdaemon.cli.board`, which is not loaded for a look at the help; a test holds them together.
SORTS = ("cpu", "memory", "name")


@click.command(short_help="Show what the processes use.")
@click.option(
    "--interval",
    type=click.FloatRange(LEAST, MOST),
    default=INTERVAL,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Print one table after the first interval, and leave.")
@click.option("--sort", type=click.Choice(SORTS), default="cpu", show_default=True, help="What comes first.")
@label_option
@json_option
@click.argument("select", nargs=-1, metavar="[SELECT]...", shell_complete=complete_process)
@click.pass_context
def top(
    context: click.Context, interval: float, once: bool, sort: str, labels: tuple[str, ...], select: tuple[str, ...]
) -> int:
    """Show what the processes that match every SELECT use, each with all that descends from it.

    SELECT is as for list. CPU% is of one processor, since the last look. q or Ctrl-C leaves. Where standard output is
    no terminal, one table is printed; with --json a line for each process and look, until Ctrl-C or with --once.
    """
    from netdaemon.cli.board import Board

    reach = reach_of(context)
    milliseconds = round(interval * 1000)
    terms = (*select, *label_terms(labels))
    shows = not (once or reach.json) and sys.stdout is not None and sys.stdout.isatty()
    with reach.connect() as client:
        # First, so that there is a table of what does not run, too.
        board = Board(client.list(*terms), sort)
        with client.watch(*terms, stats=milliseconds) as watch:
            if shows:
                from netdaemon.cli.live import Live

                return Live(client, watch, board).run()
            if reach.json and not once:
                follow(watch, board)
                return 0
            gather(watch, board, TIMES * interval + SPARE)
    if reach.json:
        output.write("".join(output.json_text(row.plain(), indent=None) for row in board.rows()))
    else:
        output.write(table(board, output.terminal_columns(sys.stdout), time.time()))
    return 0


def gather(watch: Watch, board: Board, patience: float) -> None:
    """Wait until it has been told what everything uses; at most for *patience* seconds."""
    from netdaemon.errors import TimedOut

    deadline = time.monotonic() + patience
    while not board.told(TIMES):
        try:
            event = watch.next_event(max(0.0, deadline - time.monotonic()))
        except TimedOut:
            return
        if event is None:
            return
        board.put(event)


def follow(watch: Watch, board: Board) -> None:
    """Print a line of JSON whenever it is told what a process uses."""
    for event in watch:
        row = board.put(event)
        if row is not None:
            output.write(output.json_text(row.plain(), indent=None))


def table(board: Board, columns: int | None, now: float) -> str:
    """All rows as plain text, in that many columns."""
    from netdaemon.cli.board import NUMBERS, TITLES

    rows = [TITLES, *(row.cells(now) for row in board.rows())]
    widths = [max(output.width(row[place]) for row in rows) for place in range(len(TITLES))]
    aligned = [
        [cell.rjust(widths[place]) if place in NUMBERS else cell for place, cell in enumerate(row)] for row in rows
    ]
    return output.table(aligned, columns)
