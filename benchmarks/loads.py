"""Clients that keep a daemon busy, or see how it answers meanwhile; each task runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.journalling import EVER, entry
from benchmarks.line import IN_FLIGHT, Line
from benchmarks.place import carry_out
from benchmarks.processes import processor
from netdaemon.daemon.database import Database
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import Settings
from netdaemon.daemon.starting import Starter
from netdaemon.process.launcher import LocalLauncher
from netdaemon.wire.answers import Gap, Output, Status
from netdaemon.wire.commands import Attach, Info, Kill, List, Prune, Start
from netdaemon.wire.frame import LENGTH
from netdaemon.wire.records import Scope, State
from netdaemon.wire.told import Happening

# Seconds between two requests of a ticker: more often would be a load of its own.
EVERY = 0.005

# Records in one transaction when a database is filled.
AT_ONCE = 1000

# Seconds between two handfuls of requests or events at a rate; and of events the most in one, some milliseconds' worth:
# where they are more than it can do, that is to be seen by their rate.
HANDFUL = 0.002
TICK = 0.001
HANDFUL_MOST = 50

LABELS = ("team=web", "tier=one")
PRINCIPAL = "uid:1000"

# Options of a daemon that throws nothing of a benchmark's away by itself, however old it is made.
KEEPS = (f"--days={EVER // 86_400_000_000}", "--records=1000000", "--events=1000000")


def share(values: Sequence[float], of: float) -> float:
    """The value below which this share of them are."""
    return sorted(values)[min(len(values) - 1, int(len(values) * of))] if values else 0.0


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, the 99th of 100 and the longest of them, in milliseconds."""
    return {
        "median": share(seconds, 0.5) * 1000,
        "p99": share(seconds, 0.99) * 1000,
        "most": max(seconds, default=0.0) * 1000,
        "count": len(seconds),
    }


# --- how it answers --------------------------------------------------------------------------------------------------


def ticker(path: str, until: str, pid: int, every: float = EVERY) -> dict[str, float]:
    """INFO every so many seconds, whether or not the one before was answered, until there is a file *until*.

    What is told is how long after it was due each answer was here: also of those that wait for a pause to be over. And
    how much processor time the daemon, *pid*, has used meanwhile: on a machine that others use, too, that is what it
    would have been without them.
    """
    line = Line(path)
    line.socket.setblocking(False)
    due: list[tuple[float, float]] = []
    took: list[float] = []
    used: list[float] = []
    following = time.perf_counter()
    ended = False
    while not ended or len(took) < len(due):
        now = time.perf_counter()
        if not ended and now >= following:
            due.append((following, processor(pid)))
            line.send(Info())
            following += every
            ended = os.path.exists(until)
        if select.select([line.socket], [], [], 1.0 if ended else max(0.0, following - now))[0]:
            line.connection.receive(line.socket.recv(65536))
            while line.connection.next_message() is not None:
                begun, before = due[len(took)]
                took.append(time.perf_counter() - begun)
                used.append(processor(pid) - before)
    return {**spread(took), **{f"own_{name}": value for name, value in spread(used).items()}}


# A child that writes as many bytes as each line of its input says: numbered pieces of a hundred bytes, ended by its
# argument. Nothing can be left out of it, come twice or be moved, and not be seen.
WRITER = """
import sys
end, out, at = sys.argv[1].encode().decode("unicode_escape").encode(), sys.stdout.buffer, 0
fill = b"x" * (88 - len(end))
for line in sys.stdin:
    last = at + int(line) // 100
    while at < last:
        most = min(last, at + 1000)
        out.write(b"".join(b"%011d " % one + fill + end for one in range(at, most)))
        at = most
    out.flush()
"""


# --- what keeps it busy ----------------------------------------------------------------------------------------------


def flood(path: str, until: str) -> dict[str, float]:
    """INFO and LIST, as many as will go, until there is a file *until*: answers a second."""
    line = Line(path)
    begun, count = time.perf_counter(), 0
    while not os.path.exists(until):
        count += len(line.call_all([Info(), List(limit=10)] * (2 * IN_FLIGHT)))
    return {"rate": count / (time.perf_counter() - begun)}


def follow(path: str, process: str, hold: int | None = None) -> dict[str, Any]:
    """All of a process's output up to its exit: its length, its SHA-256, and what of it is in gaps."""
    line = Line(path)
    line.call(Attach(process=process, from_=0, hold=hold, read_only=True))
    told = _messages(line)
    digest, received, gaps = hashlib.sha256(), 0, 0
    begun = time.perf_counter()
    while True:
        message = next(told)
        if isinstance(message, Output):
            digest.update(message.payload)
            received += len(message.payload)
        elif isinstance(message, Gap):
            gaps += message.to - message.from_
        elif isinstance(message, Status) and message.state is State.EXITED:
            seconds = time.perf_counter() - begun
            return {"received": received, "gaps": gaps, "digest": digest.hexdigest(), "seconds": seconds}


def _messages(line: Line) -> Iterator[Any]:
    """What comes, with the events."""
    while True:
        message = line.connection.next_message()
        if message is not None:
            yield message[1]
            continue
        got = line.socket.recv_into(line.buffer)
        if not got:
            raise ConnectionError("the daemon has closed the connection")
        line.connection.receive(line.buffer[:got])


def signals(path: str, processes: list[str], rate: int, seconds: float) -> dict[str, float]:
    """So many SIGCONT a second to these in turn, an event each: how many were answered a second, and how late."""
    line = Line(path)
    line.socket.setblocking(False)
    total = int(rate * seconds)
    due: list[float] = []
    took: list[float] = []
    waiting = bytearray()
    begun = time.perf_counter()
    while len(took) < total:
        now = time.perf_counter()
        while len(due) < min(total, (now - begun) * rate):
            process = processes[len(due) % len(processes)]
            request = Kill(process=process, signal=signal.SIGCONT, scope=Scope.PROCESS)
            waiting += line.connection.request(request)[1]
            due.append(begun + len(due) / rate)
        if waiting:
            try:
                del waiting[: line.socket.send(waiting)]
            except BlockingIOError:
                pass
        if select.select([line.socket], [], [], HANDFUL)[0]:
            line.connection.receive(line.socket.recv(1 << 18))
            while line.connection.next_message() is not None:
                took.append(time.perf_counter() - due[len(took)])
    return {**spread(took), "rate": total / (time.perf_counter() - begun)}


# --- finished records ------------------------------------------------------------------------------------------------


def fill(path: str, count: int) -> None:
    """A database with so many finished processes."""
    database = Database(path)
    for first in range(0, count, AT_ONCE):
        database.commit([entry(1, one, finished=True) for one in range(first, min(count, first + AT_ONCE))])
    database.close()


def pages(path: str, pid: int) -> dict[str, float]:
    """LIST page by page: how long until the octets of one are here, and of it the daemon's processor time."""
    line = Line(path)
    took: list[float] = []
    used: list[float] = []
    count, after = 0, None
    while True:
        before = processor(pid)
        begun = time.perf_counter()
        line.send(List(after=after))
        octets = _frame(line)
        took.append(time.perf_counter() - begun)
        used.append(processor(pid) - before)
        line.connection.receive(octets)
        page = line.reply()
        count += len(page.processes)
        after = page.after
        if after is None:
            break
    return {**spread(took), **{f"own_{name}": value for name, value in spread(used).items()}, "records": count}


def _frame(line: Line) -> bytearray:
    """The octets of the next message, with its length before it."""
    octets = bytearray()
    while len(octets) < LENGTH.size or len(octets) < LENGTH.size + LENGTH.unpack_from(octets)[0]:
        got = line.socket.recv_into(line.buffer)
        if not got:
            raise ConnectionError("the daemon has closed the connection")
        octets += line.buffer[:got]
    return octets


def prune(path: str) -> dict[str, float]:
    """All that have finished: how many a second."""
    line = Line(path)
    begun = time.perf_counter()
    count = line.call(Prune()).count
    return {"count": count, "rate": count / (time.perf_counter() - begun)}


# --- events ----------------------------------------------------------------------------------------------------------


def events(path: str, argv: list[str], rate: int, seconds: float, processes: int = 100) -> dict[str, float]:
    """So many events a second of a daemon's processes, as if by themselves: nobody has to ask for them.

    Each is told and saved as every event is, and journalled. What comes of it is how many were in the journal a second,
    how late the loop was, and how many microseconds of its processor time each took.
    """
    late: list[float] = []
    figures: dict[str, float] = {}

    async def main(reactor: Any) -> None:
        service = DaemonService(reactor, LocalLauncher(reactor), Settings(state=path, processes=processes))
        service.startService()
        for number in range(processes):
            request = Start(argv=tuple(argv), name=f"job-{number}", labels=LABELS, cwd="/")
            await service.table.start(request, Starter(PRINCIPAL))
        told = list(service.table)
        await service.journal.flush()
        first = service.feed.last
        done: Deferred[None] = Deferred()
        total, count = int(rate * seconds), 0
        due = begun = time.perf_counter()
        busy = time.thread_time()

        def tick() -> None:
            nonlocal count, due
            now = time.perf_counter()
            late.append(now - due)
            wanted = min(total, int((now - begun) * rate), count + HANDFUL_MOST)
            while count < wanted:
                process = told[count % processes]
                process.tell(Happening.SIGNALLED, "CONT to the process", PRINCIPAL)
                process.save()
                count += 1
            if count == total:
                done.callback(None)
                return
            due = time.perf_counter() + TICK
            reactor.callLater(TICK, tick)

        tick()
        await done
        await service.journal.flush()
        took = time.perf_counter() - begun
        figures.update(spread(late))
        figures["cost"] = (time.thread_time() - busy) / total * 1e6
        figures["journalled"] = service.feed.last - first
        figures["rate"] = figures["journalled"] / took
        await service.stopService()

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    return figures


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "ticker": ticker,
    "flood": flood,
    "follow": follow,
    "signals": signals,
    "events": events,
    "pages": pages,
    "prune": prune,
}

if __name__ == "__main__":
    carry_out(TASKS)
