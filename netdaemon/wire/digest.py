"""What a spec comes to, by which two that mean the same are known to be the same; knows no daemon and no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any

from netdaemon.errors import BadRequest
from netdaemon.wire.records import RESERVED_LABEL, Pty, Scope
from netdaemon.wire.specs import USUAL_STOP, Policy, Step
from netdaemon.wire.whom import UNLIMITED, RunAs, parse_cgroup, parse_limit

Meaning = dict[str, Any]


def digest(spec: Any) -> str:
    """By which a START that comes again is known: all that it says of the process, and nothing of the attachment.

    Of what a process has become by a CHANGE it tells the same as that START would that says so and leaves out ``keep``.
    """
    return digest_of(meaning(spec))


def digest_of(meant: Mapping[str, Any]) -> str:
    """The digest of whatever comes to *meant*."""
    # In ASCII and in order: the same from every version of Python.
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()


def meaning(spec: Any) -> Meaning:
    """All that *spec* says of the process, equal where it means the same; by field, as JSON has it.

    A spec is a Start, a Change that is whole, a process's record, or whatever else has their fields; a record tells
    neither ``path`` nor ``env``. What is the default is left out, however it is said: so a field that is added to the
    vocabulary one day changes no digest that has been saved. ``keep`` has no default here: that is the daemon's own.
    """
    meant: Meaning = {"argv": list(spec.argv)}
    path = getattr(spec, "path", None)
    if path is not None and path != spec.argv[0]:
        meant["path"] = path
    env = getattr(spec, "env", None)
    if env:
        meant["env"] = sorted(env)
    if spec.cwd not in (None, "/"):
        meant["cwd"] = spec.cwd
    if spec.labels:
        labels = sorted(label for label in spec.labels if not label.startswith(RESERVED_LABEL))
        if labels:
            meant["labels"] = labels
    if spec.pty is not None:
        meant["pty"] = _plain(spec.pty, Pty())
    elif spec.merge:
        # A terminal has one output anyway.
        meant["merge"] = True
    for name in ("name", "watchdog", "keep"):
        value = getattr(spec, name, None)
        if value is not None:
            meant[name] = value
    if spec.stop is not None:
        stop = [_step(step) for step in spec.stop]
        if stop != _USUAL:
            meant["stop"] = stop
    if spec.restart is not None and spec.restart.policy is not Policy.NEVER:
        # Without restarts, the rest of it is of no account.
        meant["restart"] = _plain(replace(spec.restart, codes=tuple(sorted(set(spec.restart.codes)))))
    if spec.ready is not None:
        meant["ready"] = _said(spec.ready)
    if spec.log is not None:
        meant["log"] = _plain(spec.log)
    if spec.run_as is not None and (run_as := _run_as(spec.run_as)):
        meant["run_as"] = run_as
    for name, plainly in (("limits", _limit), ("cgroup", _setting)):
        if terms := getattr(spec, name):
            meant[name] = sorted(map(plainly, terms))
    if spec.sandbox is not None:
        writable = tuple(sorted(set(spec.sandbox.writable)))
        meant["sandbox"] = _plain(replace(spec.sandbox, writable=writable))
    return meant


def _plain(value: Any, default: Any = None) -> Meaning:
    """A record's fields, without those that are as in *default*; without one, those that are as declared."""
    told: Meaning = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if one != (field.default if default is None else getattr(default, field.name)):
            told[field.name] = _item(one)
    return told


def _item(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _said(value: Any) -> Meaning:
    """The same of a record in which False says as much as nothing."""
    return {name: one for name, one in _plain(value).items() if one is not False}


def _step(step: Step) -> Meaning:
    told = _said(step)
    if step.scope is Scope.GROUP:
        del told["scope"]
    return told


def _run_as(run_as: RunAs) -> Meaning:
    """Whose own groups a user has is not known here: none of them is not the same as none said."""
    meant = _said(run_as)
    for name in ("groups", "capabilities"):
        if name in meant:
            meant[name] = sorted(set(meant[name]))
    return meant


def _limit(term: str) -> str:
    try:
        name, *both = parse_limit(term)
    except BadRequest:
        # What a later daemon tells.
        return term
    soft, hard = (UNLIMITED if one is None else str(one) for one in both)
    return f"{name}={soft}" if soft == hard else f"{name}={soft}:{hard}"


def _setting(term: str) -> str:
    try:
        name, content = parse_cgroup(term)
    except BadRequest:
        # Likewise.
        return term
    return name + "=" + " ".join(str(int(one)) if one.isdecimal() else one for one in content.split())


_USUAL = [_step(step) for step in USUAL_STOP]
