"""Entries of a journal, as short as can be; and a full disk that can be emptied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from netdaemon.daemon.database import Database, Entry
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord


def entry(
    process: str = "p",
    number: int = 1,
    *,
    time: int = 0,
    name: str | None = None,
    created: int = 0,
    exited: int | None = None,
    snapshot: bool | None = None,
    saved: bytes = b"",
    argv: tuple[str, ...] = ("true",),
    **kind: bool,
) -> Entry:
    """The *number*th event of *process*; *kind* is ``finished`` or ``gone``."""
    record = ProcessRecord(
        id=process,
        name=name,
        state=State.EXITED if kind.get("finished") else State.RUNNING,
        argv=argv,
        created=created,
        exited=exited,
    )
    event = Happened(type=Happening.STARTED, time=time, process=record, detail=str(number), snapshot=snapshot)
    return Entry(process=process, number=number, event=event, saved=saved or f"{process}{number}".encode(), **kind)


def own(happened: list[tuple[int, Happened]]) -> list[tuple[int, str, int]]:
    """Of events their number, their process, and its own number."""
    return [(n, event.process.id, int(event.detail or "")) for n, event in happened]


def trim(database: Database, **limits: Any) -> int:
    """Trim until there is nothing left to do; only what is said counts."""
    no_limit = 1 << 60
    keep = {
        "events": no_limit,
        "events_age_us": no_limit,
        "finished": no_limit,
        "finished_age_us": no_limit,
        "now_us": 1 << 50,
        "most": 1000,
        **limits,
    }
    total = 0
    while True:
        count = database.trim(**keep)
        assert count <= keep["most"]
        if count == 0:
            return total
        total += count


def fill_disk(database: Database) -> None:
    """Have its file grow no more."""
    pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
    database._writer.execute(f"PRAGMA max_page_count = {pages}")


def empty_disk(database: Database) -> None:
    """Let it grow again."""
    database._writer.execute("PRAGMA max_page_count = 1000000")


@contextlib.contextmanager
def opened(path: object) -> Iterator[Database]:
    """The database at *path*, or one in memory, closed in the end."""
    database = Database(None if path is None else str(path))
    try:
        yield database
    finally:
        database.close()
