"""What is declared of a process, from the values that programs have at hand to those of the wire; knows no client."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox, check_cgroup, check_limits

OsText = str | bytes

# A number, or "unlimited".
Limit = int | str


class Declared(TypedDict, total=False):
    """What may be said of a process besides its program and arguments, when it is started or changed.

    - ``path``: what is executed, if not ``argv[0]``.
    - ``env``: the whole environment, as a mapping or as items ``NAME=value``; left out at a start: empty.
    - ``cwd``: where it runs; ``/`` unless said.
    - ``name``: what it can be found by, besides its id; no two processes have the same.
    - ``labels``: what else is to be kept with it, and can be selected by.
    - ``pty``: a terminal instead of pipes; True for one of the usual size.
    - ``merge``: one pipe for both outputs, which keeps their order.
    - ``stop``: the steps by which it is stopped; SIGTERM, ten seconds and SIGKILL unless said.
    - ``restart``: when it is started again: ``never``, ``on-failure``, ``always``, ``unless-stopped``, or a `Restart`
      that says how, too.
    - ``ready``: how it is known to be ready; at once unless said.
    - ``watchdog``: milliseconds within which it has to say WATCHDOG=1 to its NOTIFY_SOCKET, again and again.
    - ``log``: the file that its output goes to, or a `Log` that says how it is rotated, too.
    - ``run_as``: the user that it runs as, or a `RunAs` that says more; the daemon's own unless said.
    - ``limits``: its resource limits, by name: a number, ``unlimited``, or a pair of the soft and the hard one.
    - ``cgroup``: limits of its control group, by the kernel's name for each, as in ``{"memory.max": 1 << 29}``.
    - ``sandbox``: the profile of a sandbox around it, or a `Sandbox` that says more.
    """

    path: OsText | None
    env: Mapping[OsText, OsText] | Mapping[str, str] | Sequence[OsText] | None
    cwd: OsText | None
    name: str | None
    labels: Mapping[str, str] | None
    pty: Pty | bool | None
    merge: bool | None
    stop: Sequence[Step] | None
    restart: Restart | Policy | str | None
    ready: Ready | None
    watchdog: int | None
    log: Log | OsText | None
    run_as: RunAs | str | int | None
    limits: Mapping[str, Limit | tuple[Limit, Limit]] | None
    cgroup: Mapping[str, int | str] | None
    sandbox: Sandbox | Profile | str | None


def os_text(value: OsText) -> str:
    """What the operating system names, as the protocol's declarations have it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        # What a locale other than UTF-8 made of some bytes is those bytes again.
        return value if value.isascii() else os.fsencode(value).decode("utf-8", "surrogateescape")
    raise TypeError(f"{value!r} is neither str nor bytes")


def argv_of(argv: Iterable[OsText]) -> tuple[str, ...]:
    """A program and its arguments.

    :raises TypeError: it is a string, or has what is none in it.
    """
    if isinstance(argv, str | bytes):
        raise TypeError(f"argv is a list of the program and its arguments, as [{argv!r}], and not {argv!r}")
    return tuple(map(os_text, argv))


def environment(env: Mapping[Any, Any] | Sequence[OsText]) -> tuple[str, ...]:
    """An environment as items ``NAME=value``."""
    if isinstance(env, Mapping):
        return tuple(f"{os_text(name)}={os_text(value)}" for name, value in env.items())
    return tuple(map(os_text, env))


def _labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(map("=".join, labels.items()))


def _pty(pty: Pty | bool) -> Pty | None:
    if pty is True:
        return Pty()
    if pty and not isinstance(pty, Pty):
        raise TypeError(f"pty is a netdaemon.Pty, or True, and not {pty!r}")
    return pty or None


def steps_of(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of a stop.

    :raises TypeError: something else is among them.
    """
    found = tuple(steps)
    for step in found:
        if not isinstance(step, Step):
            raise TypeError(f"stop is made of netdaemon.Step, and {step!r} is none")
    return found


def _restart(restart: Restart | Policy | str) -> Restart:
    if isinstance(restart, Restart):
        return restart
    if not isinstance(restart, Policy):
        words = [policy.value for policy in Policy]
        if not isinstance(restart, str):
            raise TypeError(f"restart is a netdaemon.Restart, a Policy or its word, and not {restart!r}")
        if restart not in words:
            raise ValueError(f"restart is {restart!r}, and {', '.join(words)} are allowed")
        restart = Policy(restart)
    return Restart(policy=restart)


def _ready(ready: Ready) -> Ready:
    if not isinstance(ready, Ready):
        raise TypeError(f"ready is a netdaemon.Ready, and not {ready!r}")
    return ready


def _log(log: Log | OsText) -> Log:
    return log if isinstance(log, Log) else Log(path=os_text(log))


def _run_as(run_as: RunAs | str | int) -> RunAs:
    if isinstance(run_as, RunAs):
        return run_as
    if isinstance(run_as, bool) or not isinstance(run_as, str | int):
        raise TypeError(f"run_as is a netdaemon.RunAs, or a user's name or number, and not {run_as!r}")
    return RunAs(user=str(run_as))


def _limits(limits: Mapping[str, Limit | tuple[Limit, Limit]]) -> tuple[str, ...]:
    terms = []
    for name, value in _named("limits", limits):
        both = value if isinstance(value, tuple | list) else (value,)
        if len(both) not in (1, 2):
            raise ValueError(f"limits: {name} is {value!r}; it is one limit, or two: the soft and the hard one")
        terms.append(f"{name}=" + ":".join(_amount("limits", name, one) for one in both))
    check_limits(tuple(terms))
    return tuple(terms)


def _cgroup(cgroup: Mapping[str, int | str]) -> tuple[str, ...]:
    terms = tuple(f"{name}={_amount('cgroup', name, value)}" for name, value in _named("cgroup", cgroup))
    check_cgroup(terms)
    return terms


def _named(field: str, values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        raise TypeError(f"{field} is a mapping of names to values, and not {values!r}")
    return values.items()


def _amount(field: str, name: str, value: int | str) -> str:
    """A number or a word; True is neither."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{field}: {name} is {value!r}, which is neither a number nor a word")
    return str(value)


def _sandbox(sandbox: Sandbox | Profile | str) -> Sandbox:
    if isinstance(sandbox, Sandbox):
        return sandbox
    if not isinstance(sandbox, Profile):
        words = [profile.value for profile in Profile]
        if not isinstance(sandbox, str):
            raise TypeError(f"sandbox is a netdaemon.Sandbox, a Profile or its word, and not {sandbox!r}")
        if sandbox not in words:
            raise ValueError(f"sandbox is {sandbox!r}, and {', '.join(words)} is allowed")
        sandbox = Profile(sandbox)
    return Sandbox(profile=sandbox)


# What is not as the wire has it.
_MADE = {
    "path": os_text,
    "env": environment,
    "cwd": os_text,
    "labels": _labels,
    "pty": _pty,
    "stop": steps_of,
    "restart": _restart,
    "ready": _ready,
    "log": _log,
    "run_as": _run_as,
    "limits": _limits,
    "cgroup": _cgroup,
    "sandbox": _sandbox,
}


def declared(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was *said*, see `Declared`, as the fields of a START or a CHANGE.

    :raises TypeError, ValueError: a value is none of those that its field can be made of.
    :raises BadRequest: it is none that a process could have.
    """
    return {
        name: _MADE[name](value) if value is not None and name in _MADE else value  # type: ignore[operator]
        for name, value in said.items()
    }
