"""send, kill, rm and shutdown: what is done to processes and to the daemon."""

from __future__ import annotations

import os
import signal as signals
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.failure import FAILED, GAVE_UP, Failure, explain
from netdaemon.cli.options import SignalNumber, complete_process, json_option, process_argument, reach_of
from netdaemon.cli.reach import with_process

if TYPE_CHECKING:
    from netdaemon.blocking import Client, RemoteProcess

STDIN = 0
READ = 64 * 1024

# Seconds that the daemon may take to end its processes and itself; its own grace is well below.
SHUTDOWN_WITHIN = 60.0


@click.command(short_help="Send input to a process.")
@click.option("-n", "no_newline", is_flag=True, help="Do not add a newline to TEXT.")
@click.option("--eof", is_flag=True, help="Then close its input.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this, with exit code 124.")
@json_option
@process_argument
@click.argument("text", required=False)
@click.pass_context
def send(
    context: click.Context, no_newline: bool, eof: bool, timeout: float | None, process: str, text: str | None
) -> int:
    """Send TEXT and a newline to PROCESS; without TEXT, what our input has.

    The exit code is 0 only if the daemon has all of it safe; what the process does with it is its own affair. If it
    does not read, this waits.
    """
    from netdaemon.errors import AlreadyExited, TimedOut

    reach = reach_of(context)
    data: bytes | None = None
    if text is not None:
        data = os.fsencode(text) + (b"" if no_newline else b"\n")
    elif eof and os.isatty(STDIN):
        # Nobody means to type something before --eof.
        data = b""
    with reach.connect() as client:
        target = with_process(client, process, lambda one: client.attach(one, from_=-1, hold=0))
        if target.record.exited is not None:
            raise AlreadyExited(f"process {process} has exited", process=target.id)
        # Its output is of no interest here.
        target.flow(True)
        try:
            if data is not None:
                target.write(data, timeout)
            else:
                while chunk := os.read(STDIN, READ):
                    target.write(chunk, timeout)
            if eof:
                target.close_stdin(timeout)
        except TimedOut as error:
            raise Failure(
                f"{process} does not read: {target.stdin.accepted} bytes were accepted and no more after {timeout:g} s",
                code=GAVE_UP,
                error=error,
            ) from error
        except Exception as error:
            failure = explain(error)
            failure.message += f" ({target.stdin.accepted} bytes were accepted)"
            raise failure from error
        _tell_sent(target, reach.json)
    return 0


def _tell_sent(target: RemoteProcess, as_json: bool) -> None:
    if as_json:
        told = {"process": target.id, "accepted": target.stdin.accepted, "end": target.stdin.end}
        output.write(output.json_text(told))


@click.command(short_help="Send a signal to a process.")
@click.option(
    "--scope",
    type=click.Choice(["group", "process", "tree"]),
    default="group",
    show_default=True,
    help="Whom it reaches: the process's group, it alone, or all that descends from it.",
)
@json_option
@process_argument
@click.argument("signal", type=SignalNumber(), default=int(signals.SIGTERM), metavar="[SIGNAL]")
@click.pass_context
def kill(context: click.Context, scope: str, process: str, signal: int) -> None:
    """Send SIGNAL to PROCESS: a name or a number; TERM unless said."""
    from netdaemon.wire.records import Scope

    reach = reach_of(context)
    with reach.connect() as client:
        with_process(client, process, lambda one: client.kill(one, signal, scope=Scope(scope)))
    if reach.json:
        told = {"process": process, "signal": signal, "scope": scope}
        output.write(output.json_text(told))


@click.command(short_help="Remove processes that have exited.")
@click.option("-f", "--force", is_flag=True, help="Kill what runs (SIGKILL, its tree); what is not there is no error.")
@json_option
@click.argument("processes", nargs=-1, required=True, metavar="PROCESS...", shell_complete=complete_process)
@click.pass_context
def rm(context: click.Context, force: bool, processes: tuple[str, ...]) -> int:
    """Remove PROCESSes that have exited, and their output; print each that was removed.

    All are tried; the exit code is 0 if all are gone.
    """
    reach = reach_of(context)
    removed: list[str] = []
    code = 0
    with reach.connect() as client:
        for process in processes:
            try:
                if _remove(client, process, force):
                    removed.append(process)
                    if not reach.json:
                        output.write(output.visible(process) + "\n")
            except Exception as error:
                if client.lost is not None:
                    raise
                explain(error).tell(as_json=reach.json)
                code = FAILED
    if reach.json:
        output.write(output.json_text({"removed": removed}))
    return code


def _remove(client: Client, process: str, force: bool) -> bool:
    """Remove one; False if there was nothing to remove, and that is allowed."""
    from netdaemon.errors import AlreadyExited, NoSuchProcess, NotRunning
    from netdaemon.wire.records import Scope

    try:
        with_process(client, process, client.remove)
    except NoSuchProcess:
        if force:
            return False
        raise
    except NotRunning as error:
        if not force:
            hint = f"end it first (ndtool kill {output.visible(process)}), or use --force"
            raise Failure(f"{process} has not exited", hint, error=error) from error
        record = with_process(client, process, client.inspect)
        try:
            client.kill(record.id, signals.SIGKILL, scope=Scope.TREE)
        except AlreadyExited:
            pass
        client.wait(record.id, timeout=client.timeout)
        client.remove(record.id)
    return True


@click.command(short_help="End the daemon and its processes.")
@click.option("--keep", is_flag=True, help="End the daemon only; its processes go on, and the next daemon has them.")
@json_option
@click.pass_context
def shutdown(context: click.Context, keep: bool) -> None:
    """End the daemon, and before it all its processes: by SIGTERM, and after a grace by SIGKILL.

    With --keep only the daemon ends: its processes go on under the keeper, and the next daemon takes them over.

    Comes back when it has ended. Where no daemon runs there is nothing to do, and that is no error.
    """
    from netdaemon.blocking.timeouts import Deadline
    from netdaemon.errors import ConnectionClosed
    from netdaemon.wire.records import Fate

    reach = reach_of(context)
    client = reach.try_connect()
    if client is None and reach.keeper() is not None:
        # There is something to end, and in a moment somebody to do it.
        client = reach.connect()
    if client is None:
        if reach.json:
            output.write(output.json_text({"socket": reach.path, "ended": False}))
        else:
            output.note(f"no daemon runs at {reach.path}: nothing to do")
        return
    with client:
        client.shutdown(Fate.KEEP if keep else Fate.STOP)
        deadline = Deadline(SHUTDOWN_WITHIN)
        try:
            while True:
                client.pump(deadline.left(f"the daemon at {reach.path} did not end"))
        except ConnectionClosed:
            pass
    if reach.json:
        output.write(output.json_text({"socket": reach.path, "ended": True}))
