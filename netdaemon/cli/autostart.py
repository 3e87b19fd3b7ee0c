"""Starting a daemon for the user where none answers; any number of ndtools may do it at once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from netdaemon import defaults
from netdaemon.cli import output
from netdaemon.cli.failure import Failure

T = TypeVar("T")

# Seconds within which it must have answered HELLO; and, when ours has ended, for another's that came first.
READY_WITHIN = 10.0
AFTER_ITS_END = 2.0
PROBE_EVERY = 0.02

# What a service manager told us of our own service, and is not meant for a daemon that we start.
SERVICE_VARIABLES = (
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "SYSTEMD_EXEC_PID",
    "FDSTORE",
)

# How much of its log is quoted when it does not come up.
QUOTED_LINES = 5
QUOTED_BYTES = 4096


def twistd() -> list[str]:
    """The command that runs twistd with this interpreter's packages."""
    beside = os.path.join(os.path.dirname(sys.executable), "twistd")
    if os.access(beside, os.X_OK):
        return [beside]
    return [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def start(path: str, probe: Callable[[], T | None]) -> T:
    """Start a daemon that listens at *path*, in a session of its own, and wait until it answers.

    Several at once are harmless: one of them starts it, and all find that one.

    :param probe: gives something when a daemon answers.
    :return: what *probe* gave.
    :raises Failure: none came up; the end of its log is quoted.
    """
    directory = os.path.dirname(path)
    log = os.path.join(directory, "netdaemon.log")
    try:
        defaults.make_directory(directory)
        lock = os.open(path + ".start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Failure(
            f"no daemon can be started: {error.filename or directory}: {error.strerror}",
            f"name a place for its socket: --socket or {defaults.SOCKET_VARIABLE}",
            error=error,
        ) from error
    try:
        answer = _wait_for_turn(lock, probe)
        return _start(path, log, probe) if answer is None else answer
    finally:
        # The lock goes with it; the file stays, because unlinking it races.
        os.close(lock)


def _wait_for_turn(lock: int, probe: Callable[[], T | None]) -> T | None:
    """Until it is ours to start a daemon, or one answers. Whoever is at it now lets go within its own time."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return probe()
        answer = probe()
        if answer is not None:
            return answer
        time.sleep(PROBE_EVERY)


def _start(path: str, log: str, probe: Callable[[], T | None]) -> T:
    arguments = [*twistd(), "--nodaemon", "--pidfile=", f"--logfile={log}", "netdaemon", f"--socket={path}"]
    try:
        with open(log, "ab", opener=_private) as file:
            began = file.seek(0, os.SEEK_END)
            child = subprocess.Popen(
                arguments,
                cwd="/",
                env={key: value for key, value in os.environ.items() if key not in SERVICE_VARIABLES},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", "no daemon was started", error=error) from error
    answer = _wait_for(child, probe)
    if answer is None:
        code = child.poll()
        how = f"did not answer within {READY_WITHIN:g} s" if code is None else f"ended with {code}"
        # If it is slow only, it is still welcome: the next ndtool will find it.
        child.returncode = child.returncode or 0
        raise Failure(
            f"a daemon was started and {how}; its log is {log}", word="connect-failed", detail=_tail(log, began)
        )
    if child.poll() is None:
        output.note(f"no daemon answered at {path}: started one (pid {child.pid}, log {log})")
        # It outlives us, and that is no mistake.
        child.returncode = 0
    return answer


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _wait_for(child: subprocess.Popen[bytes], probe: Callable[[], T | None]) -> T | None:
    deadline = time.monotonic() + READY_WITHIN
    ended = False
    while time.monotonic() < deadline:
        answer = probe()
        if answer is not None:
            return answer
        if not ended and child.poll() is not None:
            # Either it cannot run, or another one has the socket and is about to answer.
            ended = True
            deadline = min(deadline, time.monotonic() + AFTER_ITS_END)
        time.sleep(PROBE_EVERY)
    return probe()


def _tail(log: str, began: int) -> tuple[str, ...]:
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(began, size), size - QUOTED_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-QUOTED_LINES:]
    except OSError:
        lines = []
    return tuple(lines)
