"""What a daemon makes is for its own user alone, whatever umask it was started with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from netdaemon.wire.commands import Start
from netdaemon.wire.specs import Ready
from tests.faults.wire import PATH, Wire
from tests.support import running_daemon

# As the worst of service scripts has it.
NO_UMASK = ("sh", "-c", 'umask 0; exec "$@"', "sh")


def modes(directory: Path) -> Iterator[tuple[str, int]]:
    """What group and others may do with each thing below *directory*, and its path there."""
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(folder, name)
            yield str(path.relative_to(directory)), stat.S_IMODE(path.lstat().st_mode) & 0o077


def test_nothing_is_for_others(tmp_path: Path) -> None:
    """Sockets, locks, spools, records and the folders that they are in, those on the way there included."""
    tmp_path.chmod(0o700)
    place = tmp_path / "run"
    place.mkdir(mode=0o700)
    with running_daemon(place, f"--state={tmp_path / 'new' / 'state'}", inside=NO_UMASK) as running:
        wire = Wire(running.path)
        wire.ask(Start(argv=("sh", "-c", "echo; exec sleep 100"), env=(PATH,), ready=Ready(notify=True)))
        wire.close()
        # What its output was directed to is this test's.
        found = {path: mode for path, mode in modes(tmp_path) if path != "run/log"}
    assert {"run/stream", "run/stream.keeper", "run/stream.lock", "new/state/lock"} <= found.keys()
    assert any(path.startswith("new/state/spool/") for path in found)
    assert {path: oct(mode) for path, mode in found.items() if mode} == {}
