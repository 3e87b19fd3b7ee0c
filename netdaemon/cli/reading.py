"""logs: the output of a process, without being the process."""

from __future__ import annotations

import click

from netdaemon.cli import output
from netdaemon.cli.declaring import Moment
from netdaemon.cli.options import json_option, process_argument, reach_of
from netdaemon.cli.outlet import is_broken
from netdaemon.cli.reach import with_process
from netdaemon.cli.running import Size

# Channels by what --stream says.
STREAMS = {None: (1, 2), "stdout": (1,), "stderr": (2,)}


@click.command(short_help="Print the output of a process.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, restarts included, until it has exited.")
@click.option("--from", "from_", type=click.IntRange(0), metavar="OFFSET", help="Begin at this offset of its output.")
@click.option("--tail", type=Size(), metavar="BYTES", help="Begin that much before its end.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Begin with the last N lines.")
@click.option("--since", type=Moment(), metavar="TIME", help="Begin at this time, or so long ago: 12:30, 10m, 2d.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this one. Default: both, apart.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with the local time at which it came.")
@click.option("--raw", is_flag=True, help="Print both as the lines of a log: TIME STREAM F|P TEXT, in UTC.")
@json_option
@process_argument
@click.pass_context
def logs(
    context: click.Context,
    follow: bool,
    from_: int | None,
    tail: int | None,
    lines: int | None,
    since: int | None,
    stream: str | None,
    timestamps: bool,
    raw: bool,
    process: str,
) -> int:
    """Print the output of PROCESS, and leave: from its log files if it has a log, else what the daemon keeps.

    Its stdout comes out of ours, its stderr likewise, as it was written. Nothing is read here, nothing is sent to it,
    and the exit code is ours: 0 if all was printed.
    """
    from netdaemon.cli.history import History
    from netdaemon.cli.outflow import Printer

    reach = reach_of(context)
    if sum(one is not None for one in (from_, tail, lines, since)) > 1:
        raise click.UsageError("two of --from, --tail, --lines and --since both say where to begin", context)
    if timestamps and raw:
        raise click.UsageError("--raw has times of its own, and --timestamps adds others", context)
    with reach.connect() as client:
        record = with_process(client, process, client.inspect)
        history = History(client, record, lambda text: output.note(output.visible(text)))
        printer = Printer(STREAMS[stream], timestamps=timestamps, raw=raw)
        try:
            if tail is not None:
                from_ = max(0, record.end - tail)
            for piece in history.past(from_, since) if lines is None else history.last_lines(lines):
                printer.put(piece)
            printer.flush()
            for one in history.live() if follow else ():
                if one is None:
                    printer.idle()
                else:
                    printer.put(one)
                    printer.flush()
            printer.idle()
        except OSError as error:
            if is_broken(error):
                raise output.NobodyReads from error
            raise
        finally:
            printer.close()
    return 0
