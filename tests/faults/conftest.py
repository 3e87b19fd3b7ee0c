"""What the tests of faults get: a daemon whose log must be clean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RunningDaemon, running_daemon


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon for one test, whose log must tell of no failure."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path) as running:
        yield running
        assert running.process.poll() is None, "the daemon died"
    text = running.log.read_text(errors="replace")
    assert "Traceback" not in text, text
    assert "Unhandled" not in text, text
