"""A program that logs what two others write, killed again and again by the one that starts it; prints what was written.

``python -m tests.daemon.killed_logger LOG KILLS``
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from netdaemon.daemon.process_log import ProcessLog
from netdaemon.logs.writer import Position
from netdaemon.process.record import Identity, Process
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.wire.specs import Log

KEEP = 64 * 1024

# Small, so that many files are set aside, and all of them kept.
SIZE = 64 * 1024
FILES = 1000

# A logger lives at most so many seconds.
LIFE = 0.03


def output(channel: int) -> Iterator[bytes]:
    """What the writer to a channel writes: lines short and long, some without an end for a while."""
    chance = random.Random(channel)
    number = 0
    while True:
        number += 1
        length = chance.choice((0, 10, 100, 100, 1000, 40_000 if number % 40 == 0 else 50))
        yield f"{channel} {number} ".encode() + b"." * length + chance.choice((b"\n", b"\n", b"\r\n", b"\0"))


def write(pipe: int, channel: int, report: int) -> None:
    """Write until SIGTERM, and tell how much it was."""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    total = 0
    for piece in output(channel):
        left = memoryview(piece)
        while left:
            left = left[os.write(pipe, left) :]
        total += len(piece)
        if stopping:
            break
        time.sleep(0.0002)
    os.write(report, json.dumps([channel, total]).encode() + b"\n")


def at_once(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return succeed(call(*args))


def follow(path: str, descriptor: int, pipes: dict[int, int]) -> None:
    """Go on with the spool and the log of whoever was killed, to the end of the pipes."""
    spool = Spool.adopt(descriptor)
    saved = spool.saved.read()
    clock = Clock()
    process = Process(Identity(id="p", argv=("p",)), spool, Stdin(lambda: os.memfd_create("in"), KEEP), clock)
    process.holding.expect(*spool.held())
    log = ProcessLog(
        process,
        Log(path=path, size=SIZE, files=FILES),
        clock,
        position=Position(*json.loads(saved)) if saved else None,
        start=0,
        save=lambda at: spool.saved.write(json.dumps([at.offset, at.inode, at.size, at.lost]).encode()),
        tell=lambda happening, text: print(happening, text, file=sys.stderr),
        in_thread=at_once,
    )
    while pipes:
        for pipe in select.select(list(pipes), [], [], 0.001)[0]:
            room = spool.room()
            try:
                if room and not spool.append_from(pipe, pipes[pipe], room, time.time_ns() // 1000):
                    del pipes[pipe]
            except BlockingIOError:
                pass
            process.output_arrived()
        clock.advance(0.01)
    if not log.finish():
        raise SystemExit("it could not be finished")


def fork(run: Callable[..., None], *args: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        run(*args)
        status = 0
    finally:
        os._exit(status)


def main(path: str, kills: int) -> None:
    report, reporting = os.pipe()
    descriptor = os.memfd_create("spool")
    Spool(descriptor, KEEP)
    pipes = {}
    writers = []
    for channel in (1, 2):
        reading, writing = os.pipe()
        pipes[reading] = channel
        writers.append(fork(write, writing, channel, reporting))
        os.close(writing)
    chance = random.Random(1)
    for _ in range(kills):
        pid = fork(follow, path, descriptor, pipes)
        time.sleep(chance.uniform(0.002, LIFE))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"it ended by itself: {status}")
    for pid in writers:
        os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(fork(follow, path, descriptor, pipes), 0)
    for pid in writers:
        os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"the last failed: {status}")
    os.close(reporting)
    while told := os.read(report, 4096):
        sys.stdout.write(told.decode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
