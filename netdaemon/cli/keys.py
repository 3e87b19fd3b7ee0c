"""keys: a private authority, and certificates of daemons and clients; asks no daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netdaemon.cli import output
from netdaemon.cli.failure import Failure
from netdaemon.cli.options import json_option, reach_of

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from netdaemon.keys.certificates import Shown
    from netdaemon.keys.issuing import Issued

# Days: an authority is for as long as a set of machines; what it signs is renewed once a year, without a restart.
AUTHORITY_DAYS = 3650
DAYS = 365


def _issuing() -> Any:
    """The module that makes them.

    :raises Failure: the package for that is missing.
    """
    try:
        from netdaemon.keys import issuing
    except ModuleNotFoundError as error:
        raise Failure(
            f"keys need the package {error.name}, which is not installed", "pip install 'netdaemon[tls]'", error=error
        ) from error
    return issuing


@click.group(short_help="Make and show keys and certificates for TLS.", invoke_without_command=True)
@click.pass_context
def keys(context: click.Context) -> None:
    """Make and show keys and certificates, by which daemons and clients of other machines know each other."""
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")


def _days_option(default: int) -> Callable[[F], F]:
    return click.option("--days", type=click.IntRange(1, 36500), default=default, show_default=True, metavar="N")


force_option = click.option("--force", is_flag=True, help="Overwrite what there is.")


@keys.command(short_help="Make a private authority.")
@_days_option(AUTHORITY_DAYS)
@force_option
@json_option
@click.argument("directory", metavar="DIR")
@click.pass_context
def init(context: click.Context, directory: str, days: int, force: bool) -> None:
    """Make a private authority in DIR: whoever has its key decides who is a daemon and who is a client."""
    issuing = _issuing()
    made = _made(issuing, lambda: issuing.make_authority(directory, days, force=force))
    if reach_of(context).json:
        output.write(output.json_text(_plain(made)))
        return
    output.write(
        f"{_written(made)}\n"
        f"Keep {made.key} to yourself; every daemon and every client gets a copy of {made.certificate}.\n"
        f"Next, for a daemon and for a client of it:\n"
        f"  ndtool keys issue {directory} NAME --daemon --host HOST\n"
        f"  ndtool keys issue {directory} NAME --client\n"
    )


@keys.command(short_help="Make a key, and a certificate that the authority signs.")
@click.option("--daemon", is_flag=True, help="It is a daemon's.")
@click.option("--host", "hosts", multiple=True, metavar="H", help="Its host's name or address; many are possible.")
@click.option("--client", is_flag=True, help="It is a client's.")
@_days_option(DAYS)
@force_option
@json_option
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="NAME")
@click.pass_context
def issue(
    context: click.Context,
    directory: str,
    name: str,
    daemon: bool,
    hosts: tuple[str, ...],
    client: bool,
    days: int,
    force: bool,
) -> None:
    """Make a key, and a certificate for it that the authority in DIR signs.

    A daemon's is for the hosts by which clients call it, or for the host NAME; a client is called NAME, which a policy
    has as san:dns:NAME, or as san:email:NAME if there is an @ in it.
    """
    if daemon == client:
        raise click.UsageError("say --daemon or --client: a certificate is for one of them", context)
    if hosts and not daemon:
        raise click.UsageError("--host is for a daemon's", context)
    issuing = _issuing()
    made = _made(
        issuing, lambda: issuing.issue(directory, name, hosts=hosts if daemon else None, days=days, force=force)
    )
    if reach_of(context).json:
        output.write(output.json_text(_plain(made)))
        return
    authority = os.path.join(directory, issuing.AUTHORITY + ".pem")
    files = f"certificate={made.certificate}:key={made.key}:authority={authority}"
    if daemon:
        output.write(
            f"{_written(made)}\n"
            f"Start the daemon with a policy and\n"
            f"  --listen 'tls:7878:interface=0.0.0.0:{files}'\n"
            f"One that runs already reads new files upon: ndtool reload\n"
        )
        return
    output.write(
        f"{_written(made)}\n"
        f"Bring both files and {authority} to the client, and there into ~/.config/netdaemon/config.toml:\n"
        f"  [daemons.NAME]\n"
        f'  connect = "HOST:7878"\n'
        f'  certificate = "{made.certificate}"\n'
        f'  key = "{made.key}"\n'
        f'  authority = "{authority}"\n'
        f'Let it in by the policy of the daemon:\n  to = ["san:{made.names[0]}"]\n'
    )


@keys.command(short_help="Say what a certificate says.")
@json_option
@click.argument("file", metavar="FILE")
@click.pass_context
def show(context: click.Context, file: str) -> None:
    """Say whose the certificates in FILE are: pin, names, and until when they are valid."""
    _issuing()
    from netdaemon.keys.certificates import NoCertificate
    from netdaemon.keys.certificates import show as read

    with open(file, "rb") as opened:
        octets = opened.read()
    try:
        found = read(octets)
    except NoCertificate as error:
        raise Failure(f"{file}: {error}", word="bad-usage") from error
    if reach_of(context).json:
        output.write(output.json_text([_plain_shown(one) for one in found]))
        return
    output.write("\n".join(_told(one) for one in found))


def _made(issuing: Any, make: Any) -> Issued:
    try:
        made: Issued = make()
    except issuing.CannotIssue as error:
        raise Failure(str(error), error.hint, word="bad-usage") from error
    return made


def _written(made: Issued) -> str:
    return f"written: {made.certificate}, {made.key}\npin:     {made.pin}\nuntil:   {_date(made.until)}"


def _date(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _told(one: Shown) -> str:
    now = datetime.now(UTC)
    if now < one.begin:
        state = f"not valid yet: from {_date(one.begin)}"
    elif now > one.until:
        state = f"expired: {_date(one.until)}"
    else:
        days = (one.until - now).days
        state = f"{_date(one.until)}, in 1 day" if days == 1 else f"{_date(one.until)}, in {days} days"
    rows = (
        ("subject", one.subject),
        ("for", " and ".join(one.sides) or "nothing that is known here"),
        ("names", ", ".join(one.names) or "none"),
        ("pin", one.pin),
        ("issuer", "itself" if one.issuer == one.subject else one.issuer),
        ("until", state),
    )
    return "".join(f"{name + ':':<9}{output.visible(value)}\n" for name, value in rows)


def _plain(made: Issued) -> output.Plain:
    return {
        "certificate": made.certificate,
        "key": made.key,
        "pin": made.pin,
        "names": list(made.names),
        "until": made.until.isoformat(),
    }


def _plain_shown(one: Shown) -> output.Plain:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "pin": one.pin,
        "names": list(one.names),
        "for": list(one.sides),
        "from": one.begin.isoformat(),
        "until": one.until.isoformat(),
    }
