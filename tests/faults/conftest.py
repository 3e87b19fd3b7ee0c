"""What the tests of promises get: a daemon whose log must be clean, and a table for the figures that they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import RunningDaemon, running_daemon

Figure = Callable[[str, object, str], None]


@pytest.fixture
def figure(record_property: Callable[[str, Any], None]) -> Figure:
    """Call with (what, the figure, what is promised) to have it shown in the table."""

    def show(what: str, value: object, promised: str) -> None:
        record_property("figure", (what, str(value), promised))

    return show


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
