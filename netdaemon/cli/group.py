"""ndtool's command line as a whole: what stands before the command, and one place where all errors end."""

from __future__ import annotations

import signal
from typing import Any

import click

import netdaemon
from netdaemon.cli import (
    acting,
    applying,
    completion,
    happening,
    keys,
    looking,
    managing,
    output,
    policy,
    reading,
    running,
    stopping,
    top,
)
from netdaemon.cli.failure import Failure, explain
from netdaemon.cli.options import complete_daemon, reach_of
from netdaemon.cli.reach import Reach
from netdaemon.errors import NetdaemonError

EPILOG = """\
PROCESS is an id, a name, or the beginning of an id that no other begins with; where there may be several, a pattern,
too, or in its place -l KEY=VALUE or --all. The daemon's socket is the one that --socket or NETDAEMON_SOCKET names, else
the user's own; if nothing answers there, a daemon is started. A daemon of another machine is named by --connect or
NETDAEMON_CONNECT, or as the default in ~/.config/netdaemon/config.toml.

Exit codes: 0 done; 1 denied (policy explain); 124 given up (--timeout); 125 ndtool failed or the daemon refused (usage,
no daemon, connection lost); 126 program not executable; 127 program not found; 128+N ended or detached by signal N.
start, attach and wait give the process's own.
"""


# Options of ndtool itself.
BEFORE = ("--socket", "--connect", "--token-file", "--no-autostart", "--no-reconnect")

# What the commands of our peers are called here.
ELSEWHERE = {
    "ps": "list",
    "ls": "list",
    "status": "list",
    "run": "start",
    "exec": "send",
    "log": "logs",
    "tail": "logs",
    "follow": "logs -f",
    "remove": "rm",
    "delete": "rm",
    "cleanup": "prune",
    "up": "apply",
    "help": "--help",
}


class Ndtool(click.Group):
    """The group; commands in the order of use."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in ELSEWHERE:
            raise click.UsageError(f"there is no command {args[0]!r}; it is ndtool {ELSEWHERE[args[0]]}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Ndtool,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option("--socket", metavar="PATH", help="The daemon's socket. Default: $NETDAEMON_SOCKET, or the user's own.")
@click.option(
    "--connect",
    metavar="NAME|HOST:PORT",
    shell_complete=complete_daemon,
    help="A daemon by its name in the file of daemons, or where it listens by TLS. Default: $NETDAEMON_CONNECT.",
)
@click.option("--token-file", metavar="FILE", help="Show the daemon the token in FILE, besides.")
@click.option("--json", "as_json", is_flag=True, help="Print records, and errors on stderr, as JSON.")
@click.option("--no-autostart", is_flag=True, help="Do not start a daemon if none answers.")
@click.option("--no-reconnect", is_flag=True, help="Fail if the daemon goes, rather than wait for the next one.")
@click.version_option(netdaemon.__version__, message="ndtool %(version)s")
@click.pass_context
def ndtool(
    context: click.Context,
    socket: str | None,
    connect: str | None,
    token_file: str | None,
    as_json: bool,
    no_autostart: bool,
    no_reconnect: bool,
) -> None:
    """Start, watch, feed and signal long-lived programs.

    They run under a daemon, and go on when ndtool and the terminal are gone.
    """
    reach = reach_of(context)
    if socket is not None and connect is not None:
        raise click.UsageError("--socket and --connect name two daemons; say one of them", context)
    reach.socket = socket
    reach.place = connect
    reach.token_file = token_file
    reach.json = reach.json or as_json
    reach.autostart = not no_autostart
    reach.reconnect = not no_reconnect
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")


for command in (
    running.start,
    running.attach,
    reading.logs,
    happening.events,
    acting.send,
    looking.list_,
    looking.inspect,
    top.top,
    stopping.stop,
    stopping.restart,
    acting.kill,
    looking.wait,
    acting.rm,
    managing.prune,
    managing.label,
    applying.apply,
    looking.info,
    managing.reload,
    policy.policy,
    acting.shutdown,
    keys.keys,
    completion.completion,
):
    ndtool.add_command(command)


def carry_out(arguments: list[str]) -> int:
    """Carry out a command line; the exit code.

    :raises NobodyReads: of what is printed.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # An interrupt ends us as it ends any program; whoever has something to put right catches it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    reach = Reach()
    # An error in the options comes before what they say is known.
    reach.json = "--json" in _own(arguments)
    as_json = reach.json
    try:
        result: Any = ndtool.main(args=arguments, prog_name="ndtool", standalone_mode=False, obj=reach)
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        return _usage(error).tell(as_json=as_json)
    except click.ClickException as error:
        return Failure(error.format_message(), word="bad-usage").tell(as_json=as_json)
    except (Failure, NetdaemonError, OSError) as error:
        return explain(error).tell(as_json=reach.json)


def _own(arguments: list[str]) -> list[str]:
    """The arguments before ``--``."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _usage(error: click.UsageError) -> Failure:
    path = error.ctx.command_path if error.ctx is not None else "ndtool"
    # What click lays out in lines is one line here.
    message = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.NoSuchOption) and error.option_name in BEFORE:
        message += f": it stands before the command, as in ndtool {error.option_name} ..."
    word = path.partition(" ")[2]
    return Failure(f"{word}: {message}" if word else message, f"see {path} --help", word="bad-usage")
