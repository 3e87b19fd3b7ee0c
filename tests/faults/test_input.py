"""Input on its way to a child that takes its time: bounded, and whole when it is read at last."""

from __future__ import annotations

import os

from netdaemon.process.stdin import Stdin


def test_giving_back_memory_changes_no_byte_that_is_not_read_yet() -> None:
    """A pipe refers to the file's pages: what is freed of one while the child has not read it would read as zeros."""
    reading, writing = os.pipe()
    stdin = Stdin(lambda: os.memfd_create("stdin"), 1 << 16)
    sent = bytes(1 + number % 255 for number in range(1 << 19))
    got = b""
    try:
        os.set_blocking(writing, False)
        while len(got) < len(sent):
            stdin.accept(sent[stdin.end : stdin.end + 10_001], None)
            while stdin.waiting:
                try:
                    stdin.feed(writing)
                except BlockingIOError:
                    break
            if not stdin.room or stdin.end == len(sent):
                got += os.read(reading, 30_011)
    finally:
        stdin.close()
        os.close(reading)
        os.close(writing)
    assert got == sent
