"""Options that say as whom a program runs, and within what bounds; starts nothing and asks no daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from netdaemon.cli.declaring import read
from netdaemon.cli.failure import Failure
from netdaemon.cli.reach import wire_text

if TYPE_CHECKING:
    from netdaemon.wire.whom import RunAs, Sandbox

F = TypeVar("F", bound=Callable[..., Any])

# As in `netdaemon.wire.whom`, which is not loaded for a look at the help; a test holds them together.
NICE = (-20, 19)
OOM = (-1000, 1000)
PROFILES = ("private",)

# Where there are to be no groups, or no capabilities.
NONE = "none"

# Local databases only: those of directory services may have a hundred thousand names, and take their time.
USERS, GROUPS = "/etc/passwd", "/etc/group"

# What is in there on the machine is not in there in a sandbox.
OWN = "/tmp/"

# What the options are called by the functions that have them.
_NAMES = (
    *("user", "group", "groups", "umask", "chroot", "nice", "oom_score_adj", "no_new_privs", "capabilities"),
    *("limits", "cgroup", "sandbox", "network", "writable"),
)


def _names_in(path: str, incomplete: str) -> list[CompletionItem[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[0] for line in file]
    except OSError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name[:1] not in "+-#\n"]


class _Read(click.ParamType[Any]):
    """What a reader of files of specs makes of a text; what it has made is taken as it is."""

    def _read(self, value: Any) -> Any:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Account(_Read):
    """A user or group, by name or number."""

    name = "account"

    def __init__(self, database: str) -> None:
        self._database = database

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import account

        return read(account, value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        return _names_in(self._database, incomplete)


class Groups(_Read):
    """Groups with commas between, or none."""

    name = "groups"

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import RUN_AS_KEYS

        return () if value == NONE else read(RUN_AS_KEYS["groups"], value.split(","))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + item.value) for item in _names_in(GROUPS, last)]


class Umask(_Read):
    """Octal digits."""

    name = "umask"

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import umask

        return read(umask, value)


class Capability(_Read):
    """A capability, or none."""

    name = "capability"

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import capability

        return value if value == NONE else read(capability, value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from netdaemon.wire.whom import CAPABILITIES

        known = (*CAPABILITIES, NONE)
        return [CompletionItem(one) for one in known if one.startswith(incomplete.lower().removeprefix("cap_"))]


class LimitTerm(_Read):
    """``NAME=VALUE`` or ``NAME=SOFT:HARD``, as the wire has it then."""

    name = "limit"

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import LIMIT_KEYS

        name, text = _term(value, LIMIT_KEYS, "SOFT[:HARD]")
        both = text.split(":")
        # Each by itself, so that no place in an array is told.
        alone = [_told(value, LIMIT_KEYS[name], one) for one in both]
        return alone[0] if len(both) == 1 else _told(value, LIMIT_KEYS[name], both)


class Setting(_Read):
    """``NAME=VALUE`` of a control group, as the wire has it then."""

    name = "setting"

    def _read(self, value: str) -> Any:
        from netdaemon.apply.whom import CGROUP_KEYS

        name, text = _term(value, CGROUP_KEYS, "VALUE")
        return _told(value, CGROUP_KEYS[name], text)


def _term(text: str, known: Any, form: str) -> tuple[str, str]:
    from netdaemon.apply.values import near

    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ValueError(f"'{text}' is not of the form NAME={form}")
    if name not in known:
        raise ValueError(f"'{text}': {near(name, known)}")
    return name, value


def _told(text: str, reader: Any, value: Any) -> Any:
    try:
        return read(reader, value)
    except ValueError as error:
        # Some of what is said of it begins with it.
        raise ValueError(f"'{text}': " + str(error).removeprefix(f"{text!r}: ")) from None


_OPTIONS = (
    click.option("--user", type=Account(USERS), metavar="USER", help="As whom it runs, by name or number."),
    click.option("--group", type=Account(GROUPS), metavar="GROUP", help="Its group. Default: the user's own."),
    click.option("--groups", type=Groups(), metavar="GROUP,...", help="Its other groups, or none; else the user's."),
    click.option("--umask", type=Umask(), metavar="OCTAL", help="Its umask. Default: 022."),
    click.option("--chroot", type=click.Path(), metavar="DIR", help="What is / to it; --cwd and PROGRAM are within."),
    click.option("--nice", type=click.IntRange(*NICE), metavar="N", help="Its niceness."),
    click.option(
        "--oom-score-adj", type=click.IntRange(*OOM), metavar="N", help="How soon it is killed where memory runs out."
    ),
    click.option("--no-new-privs", is_flag=True, help="Nothing that it executes can gain privileges."),
    click.option(
        "--capability",
        "capabilities",
        multiple=True,
        type=Capability(),
        metavar="NAME",
        help="A capability that it keeps; many are possible. none: it has none.",
    ),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        type=LimitTerm(),
        metavar="NAME=SOFT[:HARD]",
        help="A resource limit, as nofile=1024:4096, as=2G, core=unlimited; many are possible.",
    ),
    click.option(
        "--cgroup",
        multiple=True,
        type=Setting(),
        metavar="NAME=VALUE",
        help="A limit of its control group, as memory.max=512M, cpu.max=50%, pids.max=100; many are possible.",
    ),
    click.option("--sandbox", type=click.Choice(PROFILES), help="A sandbox around it."),
    click.option("--network", is_flag=True, help="With --sandbox: it has the network."),
    click.option(
        "--writable",
        multiple=True,
        type=click.Path(),
        metavar="PATH",
        help="With --sandbox: what it can write to; many are possible.",
    ),
)


def whom_options(function: F) -> F:
    """All of them; the function gets them by name, and hands them on to `whom_of`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def whom_of(context: click.Context, said: dict[str, Any]) -> dict[str, Any]:
    """What the options come to, as `netdaemon.declared.Declared` has it; takes them out of *said*.

    :raises click.UsageError: one of them stands against another.
    """
    given = {name: said.pop(name) for name in _NAMES}
    if given["sandbox"] is not None and given["chroot"] is not None:
        raise click.UsageError("--sandbox makes a root of its own, and --chroot names another", context)
    return {
        "run_as": _run_as(context, given),
        "limits": _by_name(context, "--limit", given["limits"]),
        "cgroup": _by_name(context, "--cgroup", given["cgroup"]),
        "sandbox": _sandbox(context, given),
    }


def _run_as(context: click.Context, given: dict[str, Any]) -> RunAs | None:
    from netdaemon.wire.whom import RunAs

    capabilities = given["capabilities"] or None
    if capabilities is not None and NONE in capabilities:
        if set(capabilities) != {NONE}:
            raise click.UsageError("--capability none is given, and another capability, too", context)
        capabilities = ()
    made = RunAs(
        user=given["user"],
        group=given["group"],
        groups=given["groups"],
        umask=given["umask"],
        chroot=None if given["chroot"] is None else _place(given["chroot"]),
        nice=given["nice"],
        oom_score_adj=given["oom_score_adj"],
        no_new_privs=given["no_new_privs"] or None,
        capabilities=capabilities,
    )
    return None if made == RunAs() else made


def _by_name(context: click.Context, option: str, terms: tuple[str, ...]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for term in terms:
        name, _, value = term.partition("=")
        if name in found:
            raise click.UsageError(f"{option}: {name} is given twice", context)
        found[name] = value
    return found or None


def _sandbox(context: click.Context, given: dict[str, Any]) -> Sandbox | None:
    from netdaemon.wire.whom import Profile, Sandbox

    if given["sandbox"] is None:
        for option in ("network", "writable"):
            if given[option]:
                raise click.UsageError(f"--{option} is for --sandbox", context)
        return None
    writable = tuple(map(_place, given["writable"]))
    return Sandbox(profile=Profile(given["sandbox"]), network=given["network"], writable=writable)


def check_directory(cwd: str, sandbox: Sandbox | None) -> None:
    """Say that a program is to run where its sandbox has nothing, before the sandbox fails at it in its own words.

    :raises Failure: it is.
    """
    within = f"{cwd.rstrip('/')}/"
    if sandbox is None or within == OWN or not within.startswith(OWN):
        return
    if not any(within.startswith(f"{path.rstrip('/')}/") for path in sandbox.writable):
        raise Failure(
            f"the working directory {cwd} is not there in a sandbox, which has a {OWN.rstrip('/')} of its own",
            "name another: --cwd DIR; or say --writable with it",
        )


def _place(path: str) -> str:
    """From where we are, and through no . or .."""
    return wire_text(os.path.abspath(path))
