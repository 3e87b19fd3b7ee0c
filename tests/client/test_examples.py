"""The examples of docs/api.rst and docs/blocking.rst print what these say they print."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import RunningDaemon

ROOT = Path(__file__).parents[2]
PAGES = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.rst", "blocking.rst")]


def examples() -> list[tuple[str, str, str]]:
    """Each example's file, its text on the page, and what the page says that it prints."""
    found = []
    page = "\n".join(PAGES)
    blocks = r"code-block:: python\n   :name: (\S+)\n\n((?:   [^\n]*\n|\n)+)(.*?)(?=code-block|\Z)"
    for match in re.finditer(blocks, page, re.DOTALL):
        printed = re.search(r"It prints::\n\n((?:    .*\n)+)", match[3])
        assert printed is not None, f"the page does not say what {match[1]} prints"
        found.append((match[1], textwrap.dedent(match[2]).strip() + "\n", textwrap.dedent(printed[1])))
    return found


def test_there_are_examples() -> None:
    assert len(examples()) == 4


@pytest.mark.parametrize(("path", "text", "output"), examples(), ids=[path for path, _, _ in examples()])
def test_example(path: str, text: str, output: str, daemon: RunningDaemon) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == text
    done = subprocess.run(
        [sys.executable, ROOT / path, daemon.path if "blocking" in text else f"unix:{daemon.path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output
