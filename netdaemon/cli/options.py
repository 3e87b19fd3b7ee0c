"""Options and arguments that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from netdaemon import defaults
from netdaemon.cli.failure import Failure
from netdaemon.cli.named import known, target
from netdaemon.cli.reach import Reach

F = TypeVar("F", bound=Callable[..., Any])


def reach_of(context: click.Context) -> Reach:
    """What the options before the command say."""
    found: Reach = context.ensure_object(Reach)
    return found


def _set_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        reach_of(context).json = True


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set_json,
    help="Print for programs; the same as before the command.",
)


def complete_process(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The processes whose name or id begins like that. Never starts a daemon."""
    from netdaemon.cli import quick

    said = context.find_root().params
    try:
        meant = target(said.get("socket"), said.get("connect"))
    except Failure:
        return []
    if meant.place is not None:
        # Over a network it may take longer than a key may.
        return []
    socket = meant.socket
    if socket is None:
        socket = defaults.default_socket()
        try:
            defaults.check_directory(os.path.dirname(socket))
        except OSError:
            return []
    return [CompletionItem(name, help=what) for name, what in quick.names(socket) if name.startswith(incomplete)]


def complete_daemon(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The daemons that have names."""
    return [CompletionItem(name) for name in known() if name.startswith(incomplete)]


def seconds_option(what: str) -> Callable[[F], F]:
    """The option --timeout; *what* says what it is for."""
    return click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help=what)


def process_argument(function: F) -> F:
    """The argument PROCESS."""
    return click.argument("process", shell_complete=complete_process)(function)


class SignalNumber(click.ParamType[int]):
    """A signal by name, with or without SIG, or by number."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from netdaemon.signal_names import number_of

        try:
            return number_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from signal import Signals

        names = (one.name.removeprefix("SIG") for one in Signals)
        return [CompletionItem(name) for name in names if name.startswith(incomplete.upper().removeprefix("SIG"))]


def complete_kill(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Processes, and after the first, signals, too."""
    found = complete_process(context, parameter, incomplete)
    if context.params.get("words"):
        found += SignalNumber().shell_complete(context, parameter, incomplete)
    return found
