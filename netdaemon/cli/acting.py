"""send, kill, rm and shutdown: what is done to processes and to the daemon at once."""

from __future__ import annotations

import contextlib
import os
import select
import signal as signals
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from netdaemon.cli import output
from netdaemon.cli.choosing import (
    Choice,
    Chosen,
    all_option,
    choice_of,
    choose,
    document,
    each,
    is_over,
    label_option,
    processes_argument,
)
from netdaemon.cli.failure import GAVE_UP, Failure, explain
from netdaemon.cli.options import (
    SignalNumber,
    complete_kill,
    complete_process,
    json_option,
    reach_of,
    seconds_option,
)

if TYPE_CHECKING:
    from netdaemon.blocking import Client, RemoteProcess

STDIN = 0
READ = 64 * 1024

# Seconds that the daemon may take to end its processes, some by stops of their own, and itself: it kills after 80.
SHUTDOWN_WITHIN = 120.0

# Seconds that it may take to clean up once it has hung up: it removes its sockets, and is gone.
CLEANS_UP_WITHIN = 5


@click.command(short_help="Send input to a process.")
@click.option("-n", "no_newline", is_flag=True, help="Do not add a newline to TEXT.")
@click.option("--eof", is_flag=True, help="Then close its input.")
@seconds_option("Give up after this, with exit code 124.")
@label_option
@all_option
@json_option
@click.argument("words", nargs=-1, metavar="[PROCESS] [TEXT]", shell_complete=complete_process)
@click.pass_context
def send(
    context: click.Context,
    no_newline: bool,
    eof: bool,
    timeout: float | None,
    labels: tuple[str, ...],
    all_: bool,
    words: tuple[str, ...],
) -> int:
    """Send TEXT and a newline to PROCESS; without TEXT, what our input has.

    PROCESS may be a pattern. With -l or --all there is TEXT only, and it goes to those that run. Several processes get
    it one after the other.

    The exit code is 0 only if the daemon has all of it safe; what the process does with it is its own affair. If it
    does not read, this waits.
    """
    reach = reach_of(context)
    choice, text = _addressed(context, words, labels, all_)
    data: bytes | None = None
    if text is not None:
        data = os.fsencode(text) + (b"" if no_newline else b"\n")
    elif eof and (not choice.single or os.isatty(STDIN)):
        # Nobody means to type something before --eof.
        data = b""
    elif not choice.single:
        raise click.UsageError("Missing argument 'TEXT': what our input has can go to one process only", context)
    told: list[output.Plain] = []

    def send_one(one: Chosen) -> None:
        target = _send(client, one, data, eof, timeout)
        told.append({"process": target.id, "accepted": target.stdin.accepted, "end": target.stdin.end})

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json, useful=lambda record: record.pid is not None)
        code = each(client, targets, send_one, as_json=reach.json) or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    return code


def _addressed(
    context: click.Context, words: tuple[str, ...], labels: tuple[str, ...], all_: bool
) -> tuple[Choice, str | None]:
    """Who is meant, and what TEXT is."""
    few = 0 if labels or all_ else 1
    if len(words) > few + 1:
        raise click.UsageError(f"there is an extra argument ({words[few + 1]}); TEXT is one, in quotes", context)
    return choice_of(context, words[:few], labels, all_), words[few] if len(words) > few else None


def _send(client: Client, one: Chosen, data: bytes | None, eof: bool, timeout: float | None) -> RemoteProcess:
    from netdaemon.errors import AlreadyExited, TimedOut

    process = one.called
    target = client.attach(one.id, from_=-1, hold=0)
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
    return target


@click.command(short_help="Send a signal to processes.")
@click.option("-s", "--signal", "said", type=SignalNumber(), metavar="SIGNAL", help="Which; TERM unless said.")
@click.option(
    "--scope",
    type=click.Choice(["group", "process", "tree"]),
    default="group",
    show_default=True,
    help="Whom it reaches: the process's group, it alone, or all that descends from it.",
)
@label_option
@all_option
@json_option
@click.argument("words", nargs=-1, metavar="[PROCESS]... [SIGNAL]", shell_complete=complete_kill)
@click.pass_context
def kill(
    context: click.Context, said: int | None, scope: str, labels: tuple[str, ...], all_: bool, words: tuple[str, ...]
) -> int:
    """Send a signal to PROCESSes: a name or a number; TERM unless said.

    With one PROCESS and nothing else, SIGNAL may stand behind it: ndtool kill web HUP. What is killed may be started
    again, if it was declared so: stop is what keeps it down.
    """
    from netdaemon.wire.records import Scope

    reach = reach_of(context)
    if said is None and len(words) == 2 and not labels:
        said = _signal(context, words[1])
        words = words[:1]
    elif said is None and len(words) > 1:
        raise click.UsageError("several processes, or labels, and no -s: say -s SIGNAL", context)
    signal = int(signals.SIGTERM) if said is None else said
    choice = choice_of(context, words, labels, all_)
    told: list[output.Plain] = []

    def kill_one(one: Chosen) -> None:
        client.kill(one.id, signal, scope=Scope(scope))
        told.append({"process": one.called, "signal": signal, "scope": scope})

    with reach.connect() as client:
        targets, code = choose(client, choice, as_json=reach.json, useful=lambda record: record.pid is not None)
        code = each(client, targets, kill_one, as_json=reach.json) or code
    if reach.json and (told or not choice.single):
        output.write(document(choice, told))
    return code


def _signal(context: click.Context, word: str) -> int:
    try:
        return SignalNumber().convert(word, None, context)
    except click.BadParameter as error:
        raise click.UsageError(f"{error.message}; for several processes, say -s SIGNAL", context) from error


@click.command(short_help="Remove processes that have exited.")
@click.option("-f", "--force", is_flag=True, help="Kill what runs (SIGKILL, its tree); what is not there is no error.")
@processes_argument
@json_option
@click.pass_context
def rm(context: click.Context, force: bool, words: tuple[str, ...], labels: tuple[str, ...], all_: bool) -> int:
    """Remove PROCESSes that have exited, and their output; print each that was removed.

    All are tried; the exit code is 0 if all are gone. With -l or --all alone, and without -f, what has not exited is
    passed over.
    """
    reach = reach_of(context)
    choice = choice_of(context, words, labels, all_)
    removed: list[str] = []

    def remove_one(one: Chosen) -> None:
        if _remove(client, one, force):
            removed.append(one.called)
            if not reach.json:
                output.write(output.visible(one.called) + "\n")

    with reach.connect() as client:
        targets, code = choose(
            client, choice, as_json=reach.json, useful=lambda record: force or is_over(record), missing_is_well=force
        )
        code = each(client, targets, remove_one, as_json=reach.json) or code
    if reach.json:
        output.write(output.json_text({"removed": removed}))
    return code


def _remove(client: Client, one: Chosen, force: bool) -> bool:
    """Remove one; False if there was nothing to remove, and that is allowed."""
    from netdaemon.errors import AlreadyExited, NoSuchProcess, NotRunning
    from netdaemon.wire.records import Scope
    from netdaemon.wire.specs import Step

    try:
        client.remove(one.id)
    except NoSuchProcess:
        # It was there a moment ago.
        if force:
            return False
        raise
    except NotRunning as error:
        if not force:
            hint = f"end it first (ndtool stop {output.visible(one.called)}), or use --force"
            raise Failure(f"{one.called} has not exited", hint, error=error) from error
        try:
            # A stop that has begun is joined, and its steps may take their time.
            client.kill(one.id, signals.SIGKILL, scope=Scope.TREE)
        except AlreadyExited:
            pass
        # It is not to be started again.
        client.stop(one.id, steps=(Step(kill=True),), timeout=client.timeout)
        client.remove(one.id)
    return True


@contextlib.contextmanager
def _end_of(client: Client, local: bool) -> Iterator[Callable[[float], None]]:
    """What waits so many seconds for the daemon's own process to be gone; not at all where it is out of sight."""
    descriptor = -1
    if local:
        try:
            descriptor = os.pidfd_open(client.info().pid)
        except OSError:
            # In another container, perhaps.
            pass
    poll = select.poll()
    if descriptor >= 0:
        poll.register(descriptor, select.POLLIN)

    def wait(seconds: float) -> None:
        if descriptor >= 0:
            poll.poll(seconds * 1000)

    try:
        yield wait
    finally:
        if descriptor >= 0:
            os.close(descriptor)


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
    with client, _end_of(client, local=reach.target.place is None) as gone:
        client.shutdown(Fate.KEEP if keep else Fate.STOP)
        deadline = Deadline(SHUTDOWN_WITHIN)
        try:
            while True:
                client.pump(deadline.left(f"the daemon at {reach.path} did not end"))
        except ConnectionClosed:
            # All that is left to do is to clean up.
            gone(CLEANS_UP_WITHIN)
    if reach.json:
        output.write(output.json_text({"socket": reach.path, "ended": True}))
