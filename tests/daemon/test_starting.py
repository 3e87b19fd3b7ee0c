"""What a process is after a CHANGE, and by which digest that is known."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from netdaemon.daemon.starting import Starter, changed, identity_for
from netdaemon.wire.commands import Change, Start
from netdaemon.wire.digest import digest
from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Restart, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox

SPEC: dict[str, Any] = {
    "argv": ("cat", "-u"),
    "path": "/bin/cat",
    "env": ("A=1", "B=2"),
    "cwd": "/srv",
    "name": "web",
    "labels": ("a=b",),
    "pty": Pty(),
    "stop": (Step(signal=2), Step(kill=True)),
    "restart": Restart(policy=Policy.ALWAYS),
    "watchdog": 1000,
    "log": Log(path="/var/log/web"),
    "run_as": RunAs(umask=0o027),
    "limits": ("nofile=64",),
    "cgroup": ("pids.max=10",),
    "sandbox": Sandbox(profile=Profile.PRIVATE),
}
BEFORE = identity_for(Start(argv=("cat",), name="web", labels=("x=y",), keep=8192), "id", Starter("me"), 1)


def test_a_whole_change_has_the_digest_of_the_start_that_says_the_same() -> None:
    after, restart = changed(BEFORE, Change(process="id", whole=True, **SPEC))
    assert after.digest == digest(Start(**SPEC))
    assert restart


@pytest.mark.parametrize("name", [name for name in SPEC if name not in ("argv", "name")])
def test_changes_one_by_one_have_it_as_well(name: str) -> None:
    after, _ = changed(BEFORE, Change(process="id", **{name: SPEC[name]}))
    said = {"argv": ("cat",), "name": "web", "labels": ("x=y",), name: SPEC[name]}
    assert after.digest == digest(Start(**said))
    assert after.digest != BEFORE.digest


def test_all_of_them_in_turn_come_to_the_whole() -> None:
    after = BEFORE
    for name, value in SPEC.items():
        after, _ = changed(after, Change(process="id", **{name: value}))
    assert after.digest == digest(Start(**SPEC))


def test_a_change_that_changes_nothing_leaves_the_digest() -> None:
    """The START that it comes from still finds it, with its ``keep``."""
    same = Change(process="id", whole=True, argv=("cat",), name="web", labels=("x=y",))
    assert changed(BEFORE, same) == (BEFORE, False)


def test_what_is_back_as_it_was_is_known_again() -> None:
    before = identity_for(Start(**SPEC), "id", Starter("me"), 1)
    away, _ = changed(before, Change(process="id", labels=("other=1",)))
    back, _ = changed(away, Change(process="id", labels=SPEC["labels"]))
    assert back == before


def test_every_field_of_a_change_is_looked_at() -> None:
    assert {field.name for field in fields(Change)} == SPEC.keys() | {
        "process",
        "generation",
        "whole",
        "merge",
        "ready",
    }
