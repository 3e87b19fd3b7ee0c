"""start and attach: a program at the other end of a socket as if it ran here."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from netdaemon.cli import output
from netdaemon.cli.declaring import DAY, WATCHDOG_MIN, Duration, LogFile, RestartPolicy, StopStep, ready_of
from netdaemon.cli.failure import Failure
from netdaemon.cli.options import json_option, process_argument, reach_of
from netdaemon.cli.reach import wire_text, with_process
from netdaemon.cli.terminal import DETACH_KEYS, parse_keys, size
from netdaemon.cli.whom import check_directory, whom_of, whom_options

if TYPE_CHECKING:
    from netdaemon.blocking import RemoteProcess
    from netdaemon.cli.waiting import WaitingClient
    from netdaemon.wire.records import Pty
    from netdaemon.wire.specs import Log, Restart, Step
    from netdaemon.wire.told import ProcessRecord

STDIN, STDOUT = 0, 1

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

detach_keys_option = click.option(
    "--detach-keys",
    default=DETACH_KEYS,
    show_default=True,
    metavar="KEYS",
    help="What to type on a raw terminal to detach: characters and ctrl-X, with commas; empty: nothing.",
)
sig_proxy_option = click.option(
    "--sig-proxy",
    is_flag=True,
    help="Send INT, TERM, HUP, QUIT, USR1 and USR2 on to the process. Without, they detach.",
)


class Size(click.ParamType[int]):
    """A number of bytes, with k, M or G for the powers of 1024."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)([kmg]?)(i?b)?", value.lower())
        if not found:
            self.fail(f"{value!r} is not a number of bytes, such as 65536, 64k or 16M", param, ctx)
        return int(found[1]) * _SIZES[found[2]]


def _complete_program(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(incomplete, type="file")]


@click.command(context_settings={"allow_interspersed_args": False}, short_help="Run a program.")
@click.option("-d", "--detach", is_flag=True, help="Leave it running, and print its id.")
@click.option("--name", metavar="NAME", help="What it is called; unique until it is removed.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Set a variable; K alone takes it from here.")
@click.option("--no-env", is_flag=True, help="Do not pass this environment on; only what -e says.")
@click.option("--cwd", metavar="DIR", help="Where it runs. Default: here, or / with --chroot.", type=click.Path())
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("--merge", is_flag=True, help="One pipe for its stdout and stderr, to keep their order.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label; many are possible.")
@click.option("--keep", type=Size(), metavar="BYTES", help="How much output is kept: 4k to 256M. Default: 1M.")
@click.option("--rm", "remove", is_flag=True, help="Remove it when it has exited; not with -d.")
@click.option(
    "--stop",
    "steps",
    multiple=True,
    type=StopStep(),
    metavar="STEP",
    help="How it is stopped, a step each: stdin:TEXT (with \\n), wait:5s, signal:TERM[:SCOPE], kill.",
)
@click.option(
    "--restart",
    type=RestartPolicy(),
    metavar="POLICY[,KEY=VALUE]...",
    help="When it is started again: never, on-failure, always, unless-stopped. Keys: codes, delay, longest, settled, "
    "burst, interval.",
)
@click.option("--ready", "ready_text", metavar="TEXT", help="It is ready once a line of its output has this in it.")
@click.option("--ready-pattern", metavar="REGEX", help="It is ready once a line of its output matches.")
@click.option("--ready-notify", is_flag=True, help="It is ready once it says READY=1 to its NOTIFY_SOCKET.")
@click.option("--ready-timeout", type=Duration(1, DAY), metavar="DURATION", help="Not ready after that, it has failed.")
@click.option("--wait-ready", is_flag=True, help="With -d: come back once it is ready.")
@click.option(
    "--watchdog",
    type=Duration(WATCHDOG_MIN, DAY),
    metavar="DURATION",
    help="It has failed if WATCHDOG=1 does not come to its NOTIFY_SOCKET that often.",
)
@click.option(
    "--log",
    type=LogFile(),
    metavar="PATH[,KEY=VALUE]...",
    help="A file for its output. Keys: size, age, files, compress; and the word required.",
)
@whom_options
@sig_proxy_option
@detach_keys_option
@json_option
@click.argument("argv", nargs=-1, required=True, metavar="[--] PROGRAM [ARG]...", shell_complete=_complete_program)
@click.pass_context
def start(
    context: click.Context,
    /,
    detach: bool,
    name: str | None,
    env: tuple[str, ...],
    no_env: bool,
    cwd: str | None,
    tty: bool,
    merge: bool,
    labels: tuple[str, ...],
    keep: int | None,
    remove: bool,
    steps: tuple[Step, ...],
    restart: Restart | None,
    ready_text: str | None,
    ready_pattern: str | None,
    ready_notify: bool,
    ready_timeout: int | None,
    wait_ready: bool,
    watchdog: int | None,
    log: Log | None,
    sig_proxy: bool,
    detach_keys: str,
    argv: tuple[str, ...],
    **whom: Any,
) -> int:
    """Run PROGRAM under the daemon.

    Without -d it is as if it ran here: its output is ours, our input is its, and we end as it ends: with its exit code,
    or by its signal. It is not touched by our end, though: when ndtool is killed, or detached by Ctrl-C, it goes on.
    When it has exited it stays listed, with the end of its output, until it is removed.

    With -t on a terminal, every key goes to it, but for those that detach (--detach-keys).
    """
    reach = reach_of(context)
    if remove and detach:
        raise click.UsageError("--rm removes it when it has exited, and with -d nobody waits for that", context)
    if wait_ready and not detach:
        raise click.UsageError("--wait-ready is for -d: without, we come back when it has exited", context)
    options = {
        "env": _environment(env, no_env),
        # Where we are is not likely to be there, too.
        "cwd": "/" if cwd is None and whom["chroot"] is not None else _directory(cwd),
        "name": name,
        "labels": _assignments("--label", labels) if labels else None,
        "pty": _terminal() if tty else None,
        "merge": merge or None,
        "keep": keep,
        "stop": steps or None,
        "restart": restart,
        "ready": ready_of(context, ready_text, ready_pattern, ready_notify, ready_timeout),
        "watchdog": watchdog,
        "log": log,
        **whom_of(context, whom),
    }
    check_directory(options["cwd"], options["sandbox"])
    keys = parse_keys(detach_keys) if detach_keys else b""
    words = [wire_text(word) for word in argv]
    client = reach.connect()
    if detach:
        record = client.start_detached(words, **options)
        if wait_ready:
            record = _ready(client, record, name)
        output.write(output.json_text(output.plain(record)) if reach.json else record.id + "\n")
        return 0
    from netdaemon.wire.commands import FOR_EVER

    process = client.start(words, hold=FOR_EVER, **options)
    return _follow(client, process, name or process.id, sig_proxy=sig_proxy, keys=keys, remove=remove)


def _ready(client: WaitingClient, record: ProcessRecord, name: str | None) -> ProcessRecord:
    """Wait until it is ready; its record then."""
    from netdaemon.errors import AlreadyExited

    try:
        return client.wait(record.id, "running")
    except AlreadyExited as error:
        label = name or record.id
        hint = f"see how it ended: ndtool inspect {label}; and what it said: ndtool logs {label}"
        raise Failure(f"{label} was started, and exited before it was ready", hint, error=error) from error


@click.command(short_help="Follow a process, and feed it.")
@click.option("--from", "from_", type=click.IntRange(0), metavar="OFFSET", help="Begin at this offset of its output.")
@click.option("--tail", type=Size(), metavar="BYTES", help="Begin that much before its end.")
@click.option("--read-only", is_flag=True, help="Only look: nothing is read here and sent to it.")
@click.option(
    "--hold",
    type=click.IntRange(-1),
    metavar="MS",
    help="Milliseconds for which it may be held back when we are slow; -1: for ever. Default: 0, output is dropped.",
)
@sig_proxy_option
@detach_keys_option
@json_option
@process_argument
@click.pass_context
def attach(
    context: click.Context,
    from_: int | None,
    tail: int | None,
    read_only: bool,
    hold: int | None,
    sig_proxy: bool,
    detach_keys: str,
    process: str,
) -> int:
    """Follow PROCESS as if it ran here: what is kept of its output first, then what comes.

    Our input is its, end of input included, unless it is /dev/null; --read-only leaves it alone. If it has a terminal,
    every key goes to it, but for those that detach (--detach-keys). What has exited is shown, and we end as it ended.
    """
    reach = reach_of(context)
    if from_ is not None and tail is not None:
        raise click.UsageError("--from and --tail both say where to begin", context)
    keys = parse_keys(detach_keys) if detach_keys else b""
    client = reach.connect()

    def follow(one: str) -> RemoteProcess:
        begin = from_ if tail is None else -tail
        if tail == 0:
            # The wire counts back from the end by one byte at least.
            begin = client.inspect(one).end
        return client.attach(one, from_=begin, hold=hold, read_only=read_only or None)

    followed = with_process(client, process, follow)
    lost = followed.attached.begin
    if lost and from_ is None and tail is None:
        output.note(f"{lost} earlier bytes are no longer kept")
    feed = not read_only and not _is_nothing(STDIN)
    if os.isatty(STDIN) and followed.record.pty is None:
        interrupt = "Ctrl-C is sent on" if sig_proxy else "Ctrl-C detaches"
        output.note(f"attached to {process}; {interrupt}" + (", Ctrl-D ends its input" if feed else ""))
    return _follow(client, followed, process, sig_proxy=sig_proxy, keys=keys, feed=feed)


def _is_nothing(descriptor: int) -> bool:
    """Whether it is /dev/null: what a script has that runs something in the background, and not a word from anybody."""
    return os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev


def _follow(
    client: WaitingClient,
    process: RemoteProcess,
    label: str,
    *,
    sig_proxy: bool,
    keys: bytes,
    feed: bool = True,
    remove: bool = False,
) -> int:
    from netdaemon.cli.session import Session, finish

    raw = process.record.pty is not None and os.isatty(STDIN)
    if raw:
        output.note(f"attached to {label}; " + (f"to detach, type {_told(keys)}" if keys else "no keys detach"))
    if raw and feed:
        now = size(STDIN, STDOUT)
        pty = process.record.pty
        if now is not None and pty is not None and now != (pty.rows, pty.columns):
            from netdaemon.wire.commands import Resize

            client.submit(Resize(to=process.attachment, rows=now[0], columns=now[1]))
    session = Session(process, label=label, keys=keys, raw=raw, feed=feed, sig_proxy=sig_proxy)
    client.say = session.say
    if raw and keys:
        client.leave = f"{_told(keys)} detaches"
    elif raw and feed:
        client.leave = "no keys detach"
    elif not raw and sig_proxy:
        client.leave = "signals are sent on when it is back"
    elif not raw:
        client.leave = "Ctrl-C detaches"
    ending = session.run()
    if remove and ending.status is not None:
        _remove(client, process.id)
    client.close()
    return finish(ending, label)


def _remove(client: WaitingClient, id: str) -> None:
    """Remove a process. If the answer is lost it is asked again: no other process ever has this id."""
    from netdaemon.errors import ConnectionClosed, NoSuchProcess

    lost = False
    while True:
        try:
            client.remove(id)
        except ConnectionClosed:
            if client.lost is not None:
                raise
            lost = True
        except NoSuchProcess:
            if not lost:
                raise
            return
        else:
            return


def _told(keys: bytes) -> str:
    return " ".join(chr(key) if key >= 0x20 else "ctrl-" + chr(key | 0x40).lower() for key in keys)


def _environment(settings: tuple[str, ...], no_env: bool) -> dict[str, str]:
    env: dict[str, str] = {}
    if not no_env:
        env.update((wire_text(key), wire_text(value)) for key, value in os.environ.items() if key)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key:
            raise Failure(f"-e {setting}: there is no name before the =", "it is of the form NAME=value")
        if equals:
            env[wire_text(key)] = wire_text(value)
        elif key in os.environ:
            env[wire_text(key)] = wire_text(os.environ[key])
        else:
            raise Failure(f"-e {key}: it is not set here", f"give its value: -e {key}=VALUE")
    return env


def _assignments(option: str, settings: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise Failure(f"{option} {setting}: there is no =", "it is of the form key=value")
        if key in found:
            raise Failure(f"{option} {setting}: {key} stands twice", "give each key once")
        found[key] = value
    return found


def _directory(cwd: str | None) -> str:
    if cwd is not None and os.path.isabs(cwd):
        return wire_text(cwd)
    try:
        here = os.getcwd()
    except OSError as error:
        raise Failure(
            f"the working directory is not there any more: {error.strerror}", "name one: --cwd DIR", error=error
        ) from error
    return wire_text(os.path.join(here, cwd) if cwd else here)


def _terminal() -> Pty:
    from netdaemon.wire.records import Pty

    now = size(STDIN, STDOUT)
    term = os.environ.get("TERM") or None
    if now is None:
        return Pty(term=term)
    return Pty(rows=now[0], columns=now[1], term=term)
