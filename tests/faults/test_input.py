"""Input on its way to a child that takes its time: bounded, and whole when it is read at last."""

from __future__ import annotations

import os

from netdaemon.process.stdin import Stdin


def test_giving_back_memory_changes_no_byte_that_is_not_read_yet() -> None:
    """A pipe refers to the file's pages: what is freed of one while the child has not read it would read as zeros."""
    reading, writing = os.pipe()
    stdin = Stdin(lambda: os.memfd_create("stdin"), 1 << 16)
    sent = bytes(1 + number % 255 for number in range(20 * 40_001))
    got = b""
    try:
        os.set_blocking(writing, False)
        while stdin.end < len(sent):
            stdin.accept(sent[stdin.end : stdin.end + 40_001], None)
            while stdin.waiting:
                stdin.feed(writing)
            got += os.read(reading, 39_500)
        got += os.read(reading, 1 << 20)
    finally:
        stdin.close()
        os.close(reading)
        os.close(writing)
    assert got == sent
