"""What a process is called and what was declared of it: all that it needs to be started again; as JSON, too."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from netdaemon.process.stopping import plain_steps, steps_of
from netdaemon.wire.records import Pty
from netdaemon.wire.specs import USUAL_STOP, Log, Policy, Ready, Restart, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class Signs:
    """By which a generation is known to be ready, and alive: as it was launched, whatever is declared since."""

    ready: Ready | None = None
    watchdog: int | None = None

    @property
    def plain(self) -> list[Any]:
        """As JSON has it; `signs_of` is the other way round."""
        return [None if self.ready is None else _plain(self.ready), self.watchdog]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user, a group and supplementary groups by their numbers: what the kernel knows of whom a child runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A process's id, and what it was started with or changed to; replaced, never changed.

    :param key: the key of the START that it comes from.
    :param digest: stands for all that it was started with: the same for the same.
    :param env: the whole environment, ``NAME=value`` each.
    :param account: what *run_as* came to when it was started; None: the daemon's own user.
    """

    id: str
    argv: tuple[str, ...]
    path: str | None = None
    env: tuple[str, ...] = ()
    created: int = 0
    name: str | None = None
    labels: tuple[str, ...] = ()
    cwd: str = "/"
    pty: Pty | None = None
    merge: bool = False
    owner: str = ""
    key: str | None = None
    digest: str = ""
    stop: tuple[Step, ...] | None = None
    restart: Restart | None = None
    ready: Ready | None = None
    watchdog: int | None = None
    log: Log | None = None
    run_as: RunAs | None = None
    limits: tuple[str, ...] | None = None
    cgroup: tuple[str, ...] | None = None
    sandbox: Sandbox | None = None
    account: Account | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """How it is stopped."""
        return self.stop or USUAL_STOP

    @property
    def notifies(self) -> bool:
        """Whether it is given a socket to say something on."""
        return self.watchdog is not None or (self.ready is not None and bool(self.ready.notify))

    @property
    def signs(self) -> Signs:
        """By which its next generation is known to be ready, and alive."""
        return Signs(self.ready, self.watchdog)

    @cached_property
    def encoded(self) -> str:
        """As JSON: it does not change, and is saved whenever something else does."""
        told = {name: getattr(self, name) for name in _NAMES}
        told["pty"] = None if self.pty is None else (self.pty.rows, self.pty.columns, self.pty.term)
        told["stop"] = None if self.stop is None else plain_steps(self.stop)
        for name in _DECLARED:
            value = told[name]
            told[name] = None if value is None else _plain(value)
        # Of these an empty one was said, too.
        said = [name for name in ("limits", "cgroup") if told[name] is not None]
        return _encode({name: value for name, value in told.items() if value or name in said})


_NAMES = tuple(field.name for field in dataclasses.fields(Identity))

# Those that are records themselves.
_DECLARED: dict[str, type[Any]] = {
    "restart": Restart,
    "ready": Ready,
    "log": Log,
    "run_as": RunAs,
    "sandbox": Sandbox,
    "account": Account,
}


def _plain(value: Any) -> dict[str, Any]:
    told = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: one.value if isinstance(one, Enum) else one for name, one in told.items()}


def identity_of(told: Mapping[str, Any]) -> Identity:
    """The other way round: what `Identity.encoded` gave.

    :raises TypeError, KeyError, ValueError: it is not that.
    """
    values = dict(told)
    for name in ("argv", "labels", "env"):
        values[name] = tuple(values.get(name, ()))
    for name in ("limits", "cgroup"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    pty = values.get("pty")
    values["pty"] = None if pty is None else Pty(rows=pty[0], columns=pty[1], term=pty[2])
    if values.get("stop") is not None:
        values["stop"] = steps_of(values["stop"])
    for name, declaration in _DECLARED.items():
        one = values.get(name)
        if one is not None:
            if name == "restart":
                one = {**one, "policy": Policy(one["policy"]), "codes": tuple(one["codes"])}
            elif name == "sandbox":
                one = {**one, "profile": Profile(one["profile"]), "writable": tuple(one["writable"])}
            elif name in ("run_as", "account"):
                one = {key: tuple(value) if isinstance(value, list) else value for key, value in one.items()}
            values[name] = declaration(**one)
    return Identity(**values)


def signs_of(told: Sequence[Any]) -> Signs:
    """What `Signs.plain` gave.

    :raises TypeError, ValueError: it is not that.
    """
    ready, watchdog = told
    return Signs(None if ready is None else Ready(**ready), watchdog)
