"""Runs a program whose output is copied by read and write, as if splice did not work here: what loses bytes.

python copying.py PROGRAM ARGUMENT...
"""

from __future__ import annotations

import errno
import os
import runpy
import sys
from typing import Any

from netdaemon.process import spool


class Os:
    """The module, without splice."""

    def splice(self, *arguments: Any, **options: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


spool.os = Os()  # type: ignore[assignment]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
