"""Policies, principals and processes for the tests of judging."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from netdaemon.apply.faults import Fault
from netdaemon.policy.accounts import Numbers
from netdaemon.policy.judging import FilePolicy
from netdaemon.policy.reading import PolicyFaults, Reading, read
from netdaemon.process.identity import Account, Identity

# As whom the daemon runs here.
DAEMON = Numbers(0, 0)


def reading(place: Path, text: str) -> Reading:
    """What a file that says *text* comes to."""
    file = place / "policy.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    return read(file)


def policy_of(place: Path, text: str, own: Numbers = DAEMON) -> FilePolicy:
    return FilePolicy(reading(place, text).rules, own)


def faults_of(place: Path, text: str) -> list[Fault]:
    """All that is wrong with *text*."""
    with pytest.raises(PolicyFaults) as caught:
        reading(place, text)
    return list(caught.value.faults)


def account(uid: int, gid: int | None = None, groups: tuple[int, ...] = ()) -> Account:
    return Account(uid=uid, gid=uid if gid is None else gid, groups=groups)


PLAIN = Identity(id="b1", argv=("/bin/cat",), owner="uid:1000", account=account(1000))


def process(**changes: Any) -> Identity:
    """A process of uid 1000, and started as that, unless something else is said."""
    return dataclasses.replace(PLAIN, **changes)
