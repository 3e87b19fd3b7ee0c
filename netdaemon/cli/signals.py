"""Signals as something that a poll loop reads, for as long as a context lasts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any

# What asks a program to end or to do something; each is passed on by --sig-proxy, and detaches without.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What concerns the terminal.
OF_TERMINAL = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)


def _noted(number: int, frame: FrameType | None) -> None:
    """The number is in the pipe already."""


class Signals:
    """Catches *numbers*, except those that are ignored: whoever started us wants that (nohup, a job in a script)."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._before: dict[int, Any] = {}
        self._reading = self._writing = -1
        self._wakeup = -1

    def __enter__(self) -> Signals:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in self._numbers:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, _noted)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reading)
        os.close(self._writing)

    def fileno(self) -> int:
        """What to poll for POLLIN."""
        return self._reading

    def take(self) -> list[int]:
        """The signals that have come."""
        try:
            return list(os.read(self._reading, 4096))
        except BlockingIOError:
            return []

    def suspend(self) -> None:
        """Stop, as SIGTSTP does to a program that does not catch it, until somebody says to go on."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        try:
            os.kill(os.getpid(), signal.SIGTSTP)
        finally:
            signal.signal(signal.SIGTSTP, _noted)
