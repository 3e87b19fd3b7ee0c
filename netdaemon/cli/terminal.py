"""The terminal that ndtool runs in: its size, raw mode and back, and the keys that detach; knows no daemon."""

from __future__ import annotations

import os
import termios
import tty
from typing import Any

from netdaemon.cli.failure import Failure

DETACH_KEYS = "ctrl-p,ctrl-q"


def size(*descriptors: int) -> tuple[int, int] | None:
    """Rows and columns of the first of *descriptors* that is a terminal with a size."""
    for descriptor in descriptors:
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return None


def in_foreground(descriptor: int) -> bool:
    """Whether reading the terminal is ours to do now; a background job that reads is stopped."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        # It is not our controlling terminal: nobody stops us.
        return True


class RawMode:
    """A terminal in raw mode for as long as the context lasts, and whatever it was afterwards."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None

    def __enter__(self) -> RawMode:
        self.enter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Every key is passed on, nothing is echoed, output is left as it is."""
        if self._before is None:
            self._before = termios.tcgetattr(self._descriptor)
        # Again after a stop: a shell may have set it as it likes it.
        tty.setraw(self._descriptor, termios.TCSANOW)

    def leave(self) -> None:
        """As it was before. At once: output that the terminal holds back must not keep us from it."""
        before, self._before = self._before, None
        if before is not None:
            try:
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)
            except termios.error:
                # The terminal is gone.
                pass


def parse_keys(text: str) -> bytes:
    """The bytes of a sequence of keys as docker has it: characters and ctrl-X, with commas between.

    :raises Failure: it is none.
    """
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii() and key.isprintable():
            keys += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys.append(ord(key[5].upper()) & 0x1F)
        else:
            raise Failure(
                f"--detach-keys: {key!r} is no key",
                "keys are single characters or ctrl-a to ctrl-z, ctrl-@ [ \\ ] ^ _, with commas between",
            )
    return bytes(keys)


class DetachKeys:
    """Looks for a sequence of keys in what is typed; what may be its beginning is held back until that is clear.

    :param keys: the bytes of the sequence; none, and it is never found.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What of *typed* is for the process, and whether the sequence is complete. What follows it is dropped."""
        keys = self._keys
        if not keys:
            return typed, False
        passed = bytearray()
        for byte in typed:
            while self._matched and byte != keys[self._matched]:
                # Not the sequence: let go of its first byte, and see whether it begins within the rest.
                held = keys[: self._matched]
                passed.append(held[0])
                self._matched = _overlap(keys, held[1:])
                passed += held[1 : len(held) - self._matched]
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    self._matched = 0
                    return bytes(passed), True
            else:
                passed.append(byte)
        return bytes(passed), False


def _overlap(keys: bytes, held: bytes) -> int:
    """How many bytes at the end of *held* are a beginning of *keys*."""
    for length in range(len(held), 0, -1):
        if keys.startswith(held[len(held) - length :]):
            return length
    return 0
