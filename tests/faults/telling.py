"""Runs a program that tells of its reactor each second: time, delayed calls, by how much the second was too long.

python telling.py FILE PROGRAM ARG...

Nothing outside of a process can see these.
"""

from __future__ import annotations

import runpy
import sys
import time
from typing import Any

from twisted.internet import reactor

EVERY = 1.0


def tell(core: Any, file: Any, expected: float) -> None:
    """A line, and again in a second."""
    now = core.seconds()
    # This call is not among them any more, and the next not yet.
    file.write(f"{time.time():.3f} {len(core.getDelayedCalls())} {max(0.0, now - expected):.6f}\n")
    core.callLater(EVERY, tell, core, file, now + EVERY)


def main() -> None:
    core: Any = reactor
    with open(sys.argv[1], "a", buffering=1, encoding="ascii") as file:
        core.callWhenRunning(tell, core, file, core.seconds())
        sys.argv = sys.argv[2:]
        runpy.run_path(sys.argv[0], run_name="__main__")


main()
