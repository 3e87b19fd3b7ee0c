"""Twisted's own process tests pass on `Client.spawnProcess`, each that does not apply being skipped by name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import RunningDaemon

SUITE = Path(__file__).with_name("suite.py")

# The reactors, and Twisted's tests for pipes and for terminals, at Twisted 26.10.
REACTORS = 5
TESTS = 27 + 14

# All of them together take some ten seconds on an idle machine.
TIME_LIMIT = 300


def skipped_names() -> set[str]:
    """The names in the table SKIPPED of the suite, which is not imported here: it needs trial."""
    for node in ast.parse(SUITE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "SKIPPED":
            assert isinstance(node.value, ast.Dict)
            return {str(ast.literal_eval(key)) for key in node.value.keys if key is not None}
    raise AssertionError("the suite has no table of skipped tests")


def test_twisted_own_process_tests(daemon: RunningDaemon, tmp_path: Path) -> None:
    """By trial, in a process of their own, on every reactor that there is."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "twisted.trial",
            f"--temp-directory={tmp_path / 'trial'}",
            "tests.twisted_process.suite",
        ],
        cwd=SUITE.parents[2],
        env={**os.environ, "NETDAEMON_TEST_SOCKET": daemon.path},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    ran = re.search(r"^Ran (\d+) tests in ", done.stdout, re.MULTILINE)
    result = re.search(r"^PASSED \(skips=(\d+), successes=(\d+)\)$", done.stdout, re.MULTILINE)
    assert ran is not None, done.stdout[-2000:]
    assert result is not None, done.stdout[-2000:]
    skips, successes = map(int, result.groups())
    assert int(ran[1]) == skips + successes == TESTS * REACTORS
    lines = [line for line in done.stdout.splitlines() if line.endswith("[SKIPPED]") and "..." in line]
    assert {line.split()[0] for line in lines} == skipped_names()
    # Each is skipped with pipes and with a terminal, on every reactor.
    assert skips == len(lines) == len(skipped_names()) * 2 * REACTORS


def test_the_daemon_had_no_trouble(daemon: RunningDaemon) -> None:
    """What the tests did to it has left no traceback in its log."""
    assert "Traceback" not in daemon.log.read_text(encoding="utf-8", errors="replace")
