"""Files of specs for the tests, and records such as a daemon has of what was started from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netdaemon.apply import SpecFaults, SpecSet, read
from netdaemon.wire.commands import KEEP, Start
from netdaemon.wire.digest import digest
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord

ENVIRON = {"PATH": "/bin:/usr/bin", "LANG": "C"}


def specs_in(place: Path, text: str, name: str = "games.toml") -> SpecSet:
    """The set in a file that says *text*."""
    file = place / name
    file.write_text(text, encoding="utf-8")
    (found,) = read(file, environ=ENVIRON)
    return found


def faults_in(place: Path, text: str) -> list[tuple[str, str]]:
    """What is wrong with *text*: places and messages."""
    with pytest.raises(SpecFaults) as caught:
        specs_in(place, text)
    assert {fault.file for fault in caught.value.faults} == {str(place / "games.toml")}
    return [(fault.place, fault.message) for fault in caught.value.faults]


def record_of(spec: Start, id: str = "", **changes: Any) -> ProcessRecord:
    """What a daemon tells of a process that was started by *spec* and runs."""
    told: dict[str, Any] = {
        "id": id or f"id-{spec.name}",
        "state": State.RUNNING,
        "argv": spec.argv,
        "name": spec.name,
        "labels": spec.labels or (),
        "cwd": spec.cwd or "/",
        "pty": spec.pty,
        "merge": bool(spec.merge) or spec.pty is not None,
        "keep": spec.keep or KEEP,
        "key": spec.key,
        "digest": digest(spec),
        "stop": spec.stop,
        "restart": spec.restart,
        "ready": spec.ready,
        "watchdog": spec.watchdog,
        "log": spec.log,
        "run_as": spec.run_as,
        "limits": spec.limits,
        "cgroup": spec.cgroup,
        "sandbox": spec.sandbox,
    }
    return ProcessRecord(**(told | changes))
