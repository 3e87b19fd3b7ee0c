"""logs: what is kept of a process's output, without being the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.options import json_option, process_argument, reach_of
from netdaemon.cli.outlet import is_broken, outlets
from netdaemon.cli.reach import with_process
from netdaemon.cli.running import Size

if TYPE_CHECKING:
    from netdaemon.blocking import RemoteProcess
    from netdaemon.wire.answers import Event

# Channels by what --stream says.
STREAMS = {None: (1, 2), "stdout": (1,), "stderr": (2,)}


@click.command(short_help="Print the output of a process.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it has exited.")
@click.option("--from", "from_", type=click.IntRange(0), metavar="OFFSET", help="Begin at this offset of its output.")
@click.option("--tail", type=Size(), metavar="BYTES", help="Begin that much before its end.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this one. Default: both, apart.")
@json_option
@process_argument
@click.pass_context
def logs(
    context: click.Context, follow: bool, from_: int | None, tail: int | None, stream: str | None, process: str
) -> int:
    """Print what is kept of the output of PROCESS, and leave.

    Its stdout comes out of ours, its stderr likewise. Nothing is read here, nothing is sent to it, and the exit code is
    ours: 0 if all was printed.
    """
    reach = reach_of(context)
    if from_ is not None and tail is not None:
        raise click.UsageError("--from and --tail both say where to begin", context)
    with reach.connect() as client:

        def look(one: str) -> RemoteProcess:
            begin = client.inspect(one).end if tail == 0 else from_ if tail is None else -tail
            return client.attach(one, from_=begin, read_only=True)

        found = with_process(client, process, look)
        if found.attached.begin and from_ is None and tail is None:
            output.note(f"{found.attached.begin} earlier bytes are no longer kept")
        try:
            _print(found, STREAMS[stream], None if follow else found.attached.end)
        except OSError as error:
            if is_broken(error):
                raise output.NobodyReads from error
            raise
    return 0


def _print(process: RemoteProcess, wanted: tuple[int, ...], end: int | None) -> None:
    """Up to the offset *end*, or until the process has exited."""
    from netdaemon.wire.answers import Gap, Output

    targets = outlets()
    try:
        position = process.attached.offset
        while end is None or position < end:
            event: Event | None = process.next_event()
            if event is None:
                return
            if isinstance(event, Gap):
                output.note(f"{event.to - event.from_} bytes are no longer kept")
                position = event.to
            elif isinstance(event, Output):
                position = event.offset + len(event.payload)
                if event.payload and event.channel in wanted:
                    targets[event.channel].write(event.payload)
                    targets[event.channel].drain()
            elif process.exited:
                return
    finally:
        for target in targets.values():
            target.close()
