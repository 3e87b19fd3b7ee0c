"""Our unit files, as systemd reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from netdaemon.systemd import ROOM
from tests.systemd.place import SERVICE, SOCKET, adapted


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("whose", ["--user", "--system"])
def test_verify(whose: str, tmp_path: Path) -> None:
    """Not a word of complaint."""
    for unit in (SERVICE, SOCKET):
        (tmp_path / unit).write_text(adapted(unit))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", whose, "verify", "--man=no", str(tmp_path / SERVICE), str(tmp_path / SOCKET)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_store_is_no_larger_than_its_names_may_be() -> None:
    """All names come in one variable, of at most 128 KiB with its own."""
    assert f"\nFileDescriptorStoreMax={ROOM}\n" in adapted(SERVICE)
    longest = f"{'x' * 10}.stdout-relay-out:"
    assert ROOM * len(longest) < 128 << 10
