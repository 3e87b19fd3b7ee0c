"""What was decided and what came of it, a line of JSON for each; knows no policy.

Neither what an environment says nor what is typed is in it, whoever asks for it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from datetime import UTC, datetime
from typing import Any

from twisted.logger import Logger

from netdaemon.ways import UnsafeWay, check_way

# Only the daemon's own user reads it: it tells who does what.
MODE = 0o600

# Seconds until a file that cannot be written to is told of in the log again.
TELL_AGAIN = 60.0

_log = Logger()

# All that is not ASCII is escaped, and so is every control character: a line is a line, whatever stands in it.
_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def _encode(line: dict[str, Any]) -> str:
    # DEL is ASCII, and the one control character that JSON lets pass.
    return _json(line).replace("\x7f", "\\u007f")


class Audit:
    """The lines, in the file *path*, or without one in the daemon's own log.

    :raises OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._descriptor = -1 if path is None else _opened(path)
        self._told = 0.0
        # Lines that could not be written.
        self.lost = 0

    def reopen(self) -> None:
        """Somebody has renamed the file: go on in a new one."""
        if self._path is None:
            return
        try:
            descriptor = _opened(self._path)
        except OSError as error:
            self._fail(error)
            return
        self.close()
        self._descriptor = descriptor

    def write(self, line: dict[str, Any]) -> None:
        """Write a line; `time` is added. What cannot be written is counted, and told in the daemon's log."""
        text = _encode({"time": _now(), **line})
        if self._path is None:
            _log.info("audit: {line}", line=text)
            return
        octets = text.encode() + b"\n"
        try:
            if self._descriptor < 0:
                self._descriptor = _opened(self._path)
            # One line, one write: with O_APPEND nobody else's comes in between.
            if os.write(self._descriptor, octets) < len(octets):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.lost += 1
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_AGAIN or not self._told:
            self._told = now
            _log.error(
                "the audit {path} cannot be written ({lost} lines so far): {why}",
                path=self._path,
                lost=self.lost,
                why=error.strerror,
            )

    @property
    def trouble(self) -> str | None:
        """What is wrong with it, if anything is."""
        return f"{self.lost} lines of the audit could not be written to {self._path}" if self.lost else None

    def close(self) -> None:
        """Write nothing any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _opened(path: str) -> int:
    try:
        check_way(os.path.dirname(path))
    except UnsafeWay as error:
        raise PermissionError(errno.EPERM, str(error)) from error
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, MODE)
    status = os.fstat(descriptor)
    if status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file of one name")
    return descriptor


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
