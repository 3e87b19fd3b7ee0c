"""A journal at work in a process of its own: events at a steady rate, pages of records, deleting; no daemon."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from benchmarks.place import carry_out
from netdaemon.daemon.database import Database, Entry
from netdaemon.daemon.journal import TRIM_MOST, Journal, Retention
from netdaemon.wire.answers import Happened, Listing
from netdaemon.wire.layout import encode
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord

reactor: Any = installed

# What a daemon saves of a process, about.
SAVED = b"s" * 1200

# Seconds between two looks at how late the loop is, and between two handfuls of events.
TICK = 0.001

# Microseconds since the epoch at which all this happens, and longer than that.
NOW = 1_700_000_000_000_000
EVER = NOW * 2

LIST_LIMIT = 1000


def entry(number: int, process: int, *, finished: bool = False) -> Entry:
    """The *number*th event of a process, whose record is as long as most are."""
    record = ProcessRecord(
        id=f"{process:032x}",
        name=f"job-{process}",
        labels=("team=web", "tier=one"),
        state=State.EXITED if finished else State.RUNNING,
        argv=("/usr/bin/python3", "-m", "service", f"--shard={process}"),
        cwd="/srv/service",
        owner="uid:1000",
        created=NOW + process,
        started=NOW + process,
        exited=NOW + process if finished else None,
        code=0 if finished else None,
        digest="d" * 64,
    )
    happened = Happened(type=Happening.EXITED if finished else Happening.STARTED, time=NOW + process, process=record)
    return Entry(process=record.id, number=number, event=happened, saved=SAVED, finished=finished)


def at(share: float, values: Sequence[float]) -> float:
    """The value below which *share* of them are."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def append(path: str, rate: int, seconds: float, journalled: bool) -> dict[str, float]:
    """So many events a second on a real reactor and a thread: how many were committed a second, how late the loop was.

    :param journalled: without it, the events are made and thrown away: what the loop's lateness is without a journal.
    """
    late: list[float] = []
    waited: list[float] = []
    appended: list[float] = []
    figures: dict[str, float] = {}

    async def main() -> None:
        journal = Journal(reactor, Database(path), run=deferToThread)
        done: Deferred[None] = Deferred()
        count, total = 0, int(rate * seconds)
        due = begun = time.perf_counter()

        def committed(happened: Sequence[tuple[int, Happened]]) -> None:
            now = time.perf_counter()
            waited.extend(now - appended[n - 1] for n, _ in happened)

        def tick() -> None:
            nonlocal count, due
            now = time.perf_counter()
            late.append(now - due)
            while count < min(total, (now - begun) * rate):
                one = entry(count // 1000 + 1, count % 1000)
                if journalled:
                    journal.append(one)
                appended.append(now)
                count += 1
            if count == total:
                done.callback(None)
                return
            due = time.perf_counter() + TICK
            reactor.callLater(TICK, tick)

        journal.on_committed = committed
        tick()
        await done
        await journal.flush()
        took = time.perf_counter() - begun
        await journal.close()
        figures["rate"] = (len(waited) if journalled else count) / took
        figures["late"] = at(0.99, late) * 1000
        figures["waited"] = at(0.99, waited or [0.0]) * 1000

    _run(main)
    return figures


def pages(path: str, count: int) -> dict[str, float]:
    """LIST of so many finished records: milliseconds for one page, until it is encoded."""
    database = _filled(path, count)
    took = []
    decoded = []
    seen = 0
    after = None
    while True:
        begun = time.perf_counter()
        page = database.page(after, LIST_LIMIT)
        # A record is told as it is stored.
        told: Any = tuple(page)
        encode(Listing(processes=told))
        took.append(time.perf_counter() - begun)
        if not page:
            break
        records = tuple(one.record for one in page)
        decoded.append(time.perf_counter() - begun)
        seen += len(page)
        after = records[-1].created, records[-1].id
    database.close()
    if seen != count:
        raise ValueError(f"{seen} records were listed of {count}")
    return {
        "median": at(0.5, took) * 1000,
        "p99": at(0.99, took) * 1000,
        "most": max(took) * 1000,
        "decoded": at(0.99, decoded) * 1000,
    }


def trim(path: str, count: int) -> dict[str, float]:
    """Delete so many events and as many records: the longest turn, and how late the loop was meanwhile."""
    late: list[float] = []
    turns: list[float] = []
    figures: dict[str, float] = {}

    def timed(f: Any, arguments: Any, keywords: Any) -> Any:
        begun = time.perf_counter()
        try:
            return f(*arguments, **keywords)
        finally:
            turns.append(time.perf_counter() - begun)

    def on_thread(f: Any, *arguments: Any, **keywords: Any) -> Deferred[Any]:
        return deferToThread(timed, f, arguments, keywords)

    async def main() -> None:
        journal = Journal(reactor, _filled(path, count), run=on_thread)
        due, over = 0.0, False

        def tick() -> None:
            nonlocal due
            if due:
                late.append(time.perf_counter() - due)
            if not over:
                due = time.perf_counter() + TICK
                reactor.callLater(TICK, tick)

        begun = time.perf_counter()
        tick()
        deleted = await journal.retain(Retention(events=0, events_age=EVER, finished=0, finished_age=EVER), EVER)
        over = True
        figures["rate"] = deleted / (time.perf_counter() - begun)
        await journal.close()
        if deleted < 2 * count:
            raise ValueError(f"{deleted} rows were deleted of {2 * count}, {TRIM_MOST} at a time")

    _run(main)
    figures["longest"] = max(turns) * 1000
    figures["late"] = at(0.99, late) * 1000
    return figures


def _filled(path: str, count: int) -> Database:
    database = Database(path)
    for first in range(0, count, 1000):
        database.commit([entry(1, one, finished=True) for one in range(first, min(count, first + 1000))])
    return database


def _run(main: Any) -> None:
    try:
        react(lambda reactor: Deferred.fromCoroutine(main()))
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    carry_out({"append": append, "pages": pages, "trim": trim})
