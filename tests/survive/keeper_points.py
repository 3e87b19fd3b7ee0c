"""A keeper that kills itself at chosen points, each once: where a file of the point's name is in a directory.

Standard library and keeper only, as a keeper is; see `tests.survive.points`, which has daemons start this one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from netdaemon.keeper import ledger, words
from netdaemon.keeper.messages import Channel

# How many of several things are done before it dies in the middle of them.
SOME = 3

POINTS = (
    "keeper: before the fork",
    "keeper: after the fork, not told",
    "keeper: after launched was told",
    "keeper: before the spawn",
    "keeper: after the spawn, not told",
    "keeper: after spawned was told",
    "keeper: in the middle of several",
    "keeper: before collect is answered",
    "keeper: after collect was answered",
    "keeper: before release",
    "keeper: after release",
    "keeper: before forget",
    "keeper: after forget",
    "keeper: after share",
    "keeper: after withdraw",
    "keeper: in the middle of being handed everything",
    "keeper: in the middle of handing over",
)


def die(directory: str, point: str) -> None:
    """Die here, if that is wanted and has not been done."""
    try:
        os.unlink(f"{directory}/{point}")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def around(directory: str, call: Callable[..., Any], before: str = "", after: str = "") -> Callable[..., Any]:
    """*call*, with one of these points on either side."""

    def called(*arguments: Any, **options: Any) -> Any:
        if before:
            die(directory, before)
        outcome = call(*arguments, **options)
        if after:
            die(directory, after)
        return outcome

    return called


def later(directory: str, call: Callable[..., Any], point: str) -> Callable[..., Any]:
    """*call*, with a point after it has been called some times."""
    count = 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        outcome = call(*arguments, **options)
        count += 1
        if count >= SOME:
            die(directory, point)
        return outcome

    return called


def arm(directory: str) -> None:
    """Have all points in this program."""
    ledger.begin = around(directory, ledger.begin, "keeper: before the fork", "keeper: after the fork, not told")
    ledger.spawn = around(directory, ledger.spawn, "keeper: before the spawn", "keeper: after the spawn, not told")
    words.carry_out = later(directory, words.carry_out, "keeper: in the middle of several")
    for word, before, after in (
        ("spawn", "", "keeper: after spawned was told"),
        ("launch", "", "keeper: after launched was told"),
        ("collect", "keeper: before collect is answered", "keeper: after collect was answered"),
        ("release", "keeper: before release", "keeper: after release"),
        ("forget", "keeper: before forget", "keeper: after forget"),
        ("share", "", "keeper: after share"),
        ("withdraw", "", "keeper: after withdraw"),
    ):
        words.WORDS[word] = around(directory, words.WORDS[word], before, after)
    words.WORDS["adopt"] = later(directory, words.WORDS["adopt"], "keeper: in the middle of being handed everything")
    send, dies = Channel.send, later(directory, lambda: None, "keeper: in the middle of handing over")

    def sent(self: Channel, *fields: bytes, **options: Any) -> None:
        send(self, *fields, **options)
        if fields[0] == b"entry":
            dies()

    Channel.send = sent  # type: ignore[method-assign, assignment]
