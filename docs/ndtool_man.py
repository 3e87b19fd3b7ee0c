"""Writes the manual page from what ndtool knows of its commands: ``python docs/ndtool_man.py > docs/ndtool.1``."""

from __future__ import annotations

import inspect
import re
import sys

import click

import netdaemon
from netdaemon.cli.group import ndtool

SEE_ALSO = "twistd(1), signal(7), pty(7)"

EXIT_CODES = (
    ("0", "Done; also where there was nothing to do."),
    ("1", "policy explain: it is denied."),
    ("124", "It was given up (--timeout)."),
    (
        "125",
        "ndtool failed, or the daemon refused: wrong usage, no daemon, no such process, not stopped, not answered, "
        "connection lost, output not writable; of several processes, with one of them at least.",
    ),
    ("126", "start: the program is there and cannot be executed."),
    ("127", "start: the program, or the interpreter that its first line names, is not there."),
    ("128+N", "wait: the process was ended by signal N. start, attach: detached because of signal N (130: Ctrl-C)."),
    ("else", "start, attach, wait: the process's own. start and attach end by the signal that the process ended by."),
)

ENVIRONMENT = (
    ("NETDAEMON_SOCKET", "The daemon's socket. No daemon is started where it is set."),
    ("NETDAEMON_CONNECT", "The daemon, by its name or as host:port; counts before NETDAEMON_SOCKET."),
    ("XDG_RUNTIME_DIR", "If it is the user's own, the socket is netdaemon/netdaemon.sock in it by default."),
    ("TERM", "The kind of terminal that start -t gives."),
    ("NO_COLOR", "If it is set, list has no colours."),
)

FILES = (
    ("~/.config/netdaemon/config.toml", "The daemons that have names; see docs/tls.rst."),
    ("$XDG_RUNTIME_DIR/netdaemon/netdaemon.sock", "The socket of a user's own daemon; netdaemon.log is beside it."),
    ("/run/netdaemon/netdaemon.sock", "The same for root."),
    ("/tmp/netdaemon-UID/netdaemon.sock", "The same for users without a runtime directory."),
)


def roff(text: str) -> str:
    """Text that troff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(help: str) -> list[str]:
    """A docstring or epilog as roff; what follows \\b stays as it is."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(help).split("\n\n"):
        if paragraph.startswith("\b\n"):
            lines += [".PP", ".nf", roff(paragraph[2:]), ".fi"]
        else:
            lines += [".PP", roff(" ".join(paragraph.split()))]
    return lines


def items(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    lines: list[str] = []
    for term, text in pairs:
        lines += [".TP", f".B {roff(term)}", roff(text)]
    return lines


def options(command: click.Command, context: click.Context) -> list[str]:
    lines: list[str] = []
    for parameter in command.get_params(context):
        found = parameter.get_help_record(context)
        if found is not None and isinstance(parameter, click.Option):
            term, text = found
            lines += [".TP", f".B {roff(term)}", roff(re.sub(r"\s+", " ", text))]
    return lines


def usage(command: click.Command, context: click.Context) -> str:
    words = " ".join(command.collect_usage_pieces(context))
    return f"\\fB{roff(context.command_path)}\\fR {roff(words)}"


def page() -> str:
    """The manual page."""
    context = click.Context(ndtool, info_name="ndtool", **ndtool.context_settings)
    lines = [
        f'.TH NDTOOL 1 "" "netdaemon {netdaemon.__version__}" "netdaemon"',
        ".SH NAME",
        "ndtool \\- start, watch, feed and signal long\\-lived programs",
        ".SH SYNOPSIS",
        usage(ndtool, context),
        ".SH DESCRIPTION",
        *paragraphs(ndtool.help or ""),
        *paragraphs((ndtool.epilog or "").split("\n\n")[0]),
        ".SH OPTIONS",
        *options(ndtool, context),
        ".SH COMMANDS",
    ]
    for name, command in ndtool.commands.items():
        own = click.Context(command, info_name=name, parent=context)
        lines += [".SS " + roff(name), usage(command, own), *paragraphs(command.help or ""), *options(command, own)]
        for word, below in command.commands.items() if isinstance(command, click.Group) else ():
            within = click.Context(below, info_name=word, parent=own)
            lines += [".PP", usage(below, within), *paragraphs(below.help or ""), *options(below, within)]
    lines += [".SH EXIT STATUS", *items(EXIT_CODES)]
    lines += [".SH ENVIRONMENT", *items(ENVIRONMENT)]
    lines += [".SH FILES", *items(FILES)]
    lines += [".SH SEE ALSO", roff(SEE_ALSO)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
