"""Our units under systemd itself: each test of `inside` in a place of its own.

A client has to be where the daemon is: the kernel tells nothing of who connects from outside.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import Figure
from tests.systemd.place import Place, why_not

INSIDE = Path(__file__).with_name("inside.py")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.mark.parametrize("name", re.findall(r"^def test_(\w+)", INSIDE.read_text(), re.MULTILINE))
def test_under_systemd(name: str, figure: Figure) -> None:
    place = Place()
    figures = place.directory / "figures"
    figures.touch()
    try:
        done = place.run(
            *(sys.executable, "-b", "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={ROOT}"),
            f"{INSIDE}::test_{name}",
            PYTHONPATH=str(ROOT),
            FIGURES=str(figures),
            NETDAEMON_LONG=os.environ.get("NETDAEMON_LONG", ""),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for line in figures.read_text().splitlines():
            figure(*json.loads(line))
    finally:
        place.close()
