"""The figures that these tests find, shown at the end of the run beside what the promise allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import RunningDaemon, running_daemon

# `make faults` runs the full counts; the ordinary run a part of them.
LONG = bool(os.environ.get("NETDAEMON_LONG"))

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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "figure"
    ]
    if not rows:
        return
    terminalreporter.section(
        "figures" + (" (long form)" if LONG else " (short form; `make faults` has the full counts)")
    )
    for what, value, promised in sorted(rows):
        terminalreporter.write_line(f"{what:<66} {value:>22}   {promised}")
