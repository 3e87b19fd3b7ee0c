"""What the tests of faults get: a daemon whose log must be clean, and lines in the table of faults."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.table import PROPERTY, Trial, as_property
from tests.support import RunningDaemon, running_daemon

# What the fixture of this name is called with: the daemon, and what is done to it.
Trials = Callable[[RunningDaemon, str], AbstractContextManager[Trial]]


@pytest.fixture
def trial(record_property: Callable[[str, Any], None]) -> Trials:
    """Enter what it gives to have a line of the table; nobody may be connected before and after that."""

    @contextlib.contextmanager
    def one(running: RunningDaemon, what: str) -> Iterator[Trial]:
        made = Trial(running, what)
        yield made
        row = made.row()
        record_property(PROPERTY, as_property(row))
        assert row.alive, "the daemon is gone"

    return one


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


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as this user may have: a thousand clients are in this one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
