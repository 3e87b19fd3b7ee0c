"""Gives memory or disk space of a file back, where its bytes are not needed any more; its size stays."""

from __future__ import annotations

import ctypes
import os

PAGE = 4096

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2

# The standard library has posix_fallocate only, which cannot give back.
_libc = ctypes.CDLL(None, use_errno=True)


def punch(descriptor: int, start: int, end: int) -> None:
    """Free the pages from *start* up to *end*, both whole pages; what is there reads as zeros from now on.

    :raises OSError: the file system cannot.
    """
    if start == end:
        return
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    if _libc.fallocate64(descriptor, mode, ctypes.c_int64(start), ctypes.c_int64(end - start)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
