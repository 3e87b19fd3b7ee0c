"""Events and records in SQLite: numbers, order, what is found, what is deleted; on a file and in memory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon.daemon.database import PAGE_OCTETS, Database, DatabaseDamaged, DatabaseFailed
from netdaemon.errors import LocalProtocolError
from netdaemon.wire.answers import Listing
from netdaemon.wire.layout import decode, encode
from tests.daemon.entries import empty_disk, entry, fill_disk, opened, own, trim


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path / "journal" if request.param == "file" else None) as one:
        yield one


# --- committing ------------------------------------------------------------------------------------------------------


def test_numbered_in_order(database: Database) -> None:
    """What is committed is given numbers from 1 on, and can be had again as it was."""
    entries = [entry("a", 1), entry("b", 1), entry("a", 2)]
    happened = database.commit(entries)
    assert happened == [(1, entries[0].event), (2, entries[1].event), (3, entries[2].event)]
    assert own(database.commit([entry("b", 2)])) == [(4, "b", 2)]
    assert database.events(0, 3) == happened
    assert own(database.events(3, 10)) == [(4, "b", 2)]
    assert database.events(4, 10) == []
    assert database.span() == (1, 4)
    assert database.numbers(["a", "b", "c"]) == {"a": 2, "b": 2}


def test_nothing_yet(database: Database) -> None:
    """An empty one tells that the next number is 1."""
    assert database.span() == (1, 0)
    assert database.commit([]) == []
    assert database.numbers([]) == {}
    assert (database.events(0, 9), database.unfinished(), database.page(None, 9), database.find("p")) == (
        [],
        [],
        [],
        None,
    )
    assert database.finished_count() == 0


def test_not_twice(database: Database) -> None:
    """What is there is left out, whatever comes with it; in one commit, too."""
    database.commit([entry("a", 1), entry("a", 2, saved=b"second")])
    assert own(database.commit([entry("a", 1, saved=b"again"), entry("a", 2), entry("b", 1)])) == [(3, "b", 1)]
    assert [one.saved for one in database.unfinished()] == [b"second", b"b1"]
    assert own(database.commit([entry("a", 3), entry("a", 3)])) == [(4, "a", 3)]
    assert database.span() == (1, 4)


def test_many_processes_at_once(database: Database) -> None:
    """More than are asked for in one question."""
    ids = [f"{number:04}" for number in range(1200)]
    database.commit([entry(id) for id in ids])
    assert database.commit([entry(id) for id in ids]) == []
    assert database.numbers(ids) == dict.fromkeys(ids, 1)


def test_a_snapshot_is_no_event(database: Database) -> None:
    """It brings the record and the number to go on from."""
    assert database.commit([entry("a", 5, snapshot=True, saved=b"five")]) == []
    assert database.numbers(["a"]) == {"a": 5}
    assert [(one.id, one.saved) for one in database.unfinished()] == [("a", b"five")]
    assert own(database.commit([entry("a", 5), entry("a", 6), entry("a", 6, snapshot=True, saved=b"six")])) == [
        (1, "a", 6)
    ]
    assert database.commit([entry("a", 5, snapshot=True, saved=b"old")]) == []
    assert [one.saved for one in database.unfinished()] == [b"six"]
    # Its event still is one of its own: it goes before it does.
    database.commit([entry("a", 6, snapshot=True, gone=True)])
    trim(database, events=1)
    assert database.numbers(["a"]) == {"a": 6}


def test_all_or_nothing(tmp_path: Path) -> None:
    """A commit for which the disk has no room leaves nothing, and can be repeated when there is."""
    with opened(tmp_path / "journal") as database:
        database.commit([entry("a", 1)])
        fill_disk(database)
        many = [entry("a", number, saved=b"s" * 5000) for number in range(2, 50)]
        with pytest.raises(DatabaseFailed, match="full") as failed:
            database.commit(many)
        assert not isinstance(failed.value, DatabaseDamaged)
        assert database.span() == (1, 1)
        assert database.numbers(["a"]) == {"a": 1}
        empty_disk(database)
        assert [n for n, _ in database.commit(many)] == list(range(2, 50))


def test_what_cannot_be_encoded(database: Database) -> None:
    """Said before anything is written."""
    bad = entry("b", 1, argv=(1,))  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        database.commit([entry("a", 1), bad])
    assert database.span() == (1, 0)
    assert own(database.commit([entry("a", 1)])) == [(1, "a", 1)]


def test_the_numbers_go_on(tmp_path: Path) -> None:
    """In the next daemon, too, and after all of them have been deleted; with the same instance."""
    path = tmp_path / "journal"
    with opened(path) as database:
        database.commit([entry("a", 1), entry("a", 2)])
        instance = database.instance
    with opened(path) as database:
        assert database.instance == instance
        assert database.set_aside is None
        assert database.span() == (1, 2)
        trim(database, events=0)
        assert database.span() == (3, 2)
    with opened(path) as database:
        assert database.span() == (3, 2)
        assert own(database.commit([entry("a", 2), entry("a", 3)])) == [(3, "a", 3)]
    with opened(tmp_path / "other") as other:
        assert other.instance != instance


def test_private(tmp_path: Path) -> None:
    """Nobody else reads what was started."""
    with opened(tmp_path / "journal") as database:
        database.commit([entry("a", 1)])
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_closed(tmp_path: Path) -> None:
    """It says so, and may be closed again."""
    database = Database(str(tmp_path / "journal"))
    database.close()
    database.close()
    with pytest.raises(DatabaseFailed, match="closed"):
        database.commit([entry("a", 1)])
    with pytest.raises(DatabaseFailed, match="closed"):
        database.span()


def test_questions_beside_a_commit(database: Database) -> None:
    """Whoever asks while another thread commits sees all of a commit or nothing of it."""
    wrong: list[Any] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            last = database.span()[1]
            after = len(database.events(max(0, last - 10), 500))
            if last % 10 or after % 10 or after < min(10, last):
                wrong.append((last, after))

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(1, 101):
        database.commit([entry("a", one) for one in range(number * 10 - 9, number * 10 + 1)])
    over.set()
    asking.join()
    assert wrong == []
    assert database.span() == (1, 1000)


def test_questions_write_nothing(tmp_path: Path) -> None:
    """They have a connection that cannot."""
    with opened(tmp_path / "journal") as database, pytest.raises(sqlite3.OperationalError, match="readonly"):
        database._reader.execute("DELETE FROM meta")


# --- processes -------------------------------------------------------------------------------------------------------


def test_unfinished(database: Database) -> None:
    """The oldest first, as they were when they were last heard of; no longer when they have finished or are gone."""
    database.commit([entry("c", created=3), entry("a", created=2), entry("b", created=2), entry("z", created=1)])
    assert [one.id for one in database.unfinished()] == ["z", "a", "b", "c"]
    last = entry("c", 2, created=3, name="x", saved=b"anything \0 at all")
    database.commit([last, entry("a", 2, finished=True), entry("b", 2, gone=True)])
    assert [one.id for one in database.unfinished()] == ["z", "c"]
    assert database.unfinished()[1].record == last.event.process
    assert database.unfinished()[1].saved == b"anything \0 at all"


def test_pages(database: Database) -> None:
    """All that have finished by (created, id), however the pages are cut."""
    database.commit([entry(f"{one:03}", created=one // 3, finished=one % 2 == 0) for one in reversed(range(50))])
    wanted = [f"{one:03}" for one in range(0, 50, 2)]
    for limit in (1, 7, 25, 1000):
        seen: list[str] = []
        after = None
        while page := database.page(after, limit):
            assert len(page) == min(limit, 25 - len(seen))
            seen += [one.id for one in page]
            after = page[-1].record.created, page[-1].id
        assert seen == wanted
    assert database.finished_count() == 25


def test_a_page_has_not_many_octets(database: Database) -> None:
    """Records and events that are long are told a few at a time, the longest alone."""
    size = PAGE_OCTETS // 4
    database.commit([entry(f"{one}", finished=True, argv=("x" * size,)) for one in range(8)])
    assert len(database.page(None, 1000)) == 4
    assert len(database.events(0, 1000)) == 4
    database.commit([entry("8", finished=True, argv=("x" * (2 * PAGE_OCTETS),))])
    assert [one.id for one in database.page((0, "7"), 1000)] == ["8"]
    assert own(database.events(8, 1000)) == [(9, "8", 1)]


def test_told_as_it_is_stored(database: Database) -> None:
    """A LIST need not decode what it only passes on."""
    database.commit([entry("a", finished=True, name="n"), entry("b", finished=True)])
    stored: Any = tuple(database.page(None, 10))
    told = decode(Listing, encode(Listing(processes=stored)), strict=False)
    assert told.processes == tuple(one.record for one in stored)
    assert [one.name for one in told.processes] == ["n", None]


def test_find(database: Database) -> None:
    """By id, or the newest of that name; those that have finished only."""
    database.commit(
        [
            entry("a", name="n", created=2, finished=True),
            entry("b", name="n", created=5, finished=True),
            entry("c", name="n", created=3, finished=True),
            entry("d", name="n", created=9),
            entry("e", name="a", created=9, finished=True),
        ]
    )

    def found(process: str) -> str | None:
        one = database.find(process)
        return None if one is None else one.id

    assert [found(one) for one in ("n", "a", "b", "d", "e", "x")] == ["b", "a", "b", None, "e", None]
    database.commit([entry("b", 2, gone=True)])
    assert [found(one) for one in ("n", "b")] == ["c", None]
    assert database.remove("c")
    assert found("n") == "a"
    database.commit([entry("a", 2, name="m", finished=True)])
    assert [found(one) for one in ("n", "m")] == [None, "a"]


def test_remove(database: Database) -> None:
    """The process is forgotten, its events and its numbers are not."""
    database.commit([entry("a", 1), entry("a", 2, finished=True)])
    assert database.remove("a")
    assert not database.remove("a")
    assert not database.remove("never")
    assert (database.page(None, 9), database.finished_count()) == ([], 0)
    assert len(database.events(0, 9)) == 2
    assert database.commit([entry("a", 2)]) == []


# --- retention -------------------------------------------------------------------------------------------------------


def test_too_many_events(database: Database) -> None:
    """The oldest go, so many at a time."""
    database.commit([entry("a", number) for number in range(1, 101)])
    assert database.trim(events=10, events_age_us=1 << 60, finished=9, finished_age_us=1 << 60, now_us=0, most=30) == 30
    assert database.span() == (31, 100)
    assert trim(database, events=10, most=30) == 60
    assert database.span() == (91, 100)
    assert database.numbers(["a"]) == {"a": 100}


def test_too_old_events(database: Database) -> None:
    """What happened longer ago goes; what comes after one that stays, stays."""
    database.commit([entry("a", number, time=at) for number, at in enumerate((10, 20, 30, 5, 40), 1)])
    assert trim(database, events_age_us=100, now_us=130) == 2
    assert database.span() == (3, 5)
    assert trim(database, events_age_us=100, now_us=131) == 2
    assert database.span() == (5, 5)
    assert trim(database, events_age_us=100, now_us=1000) == 1
    assert database.span() == (6, 5)


def test_too_many_finished(database: Database) -> None:
    """Those go that exited first, whenever they were created; those that have not finished are not counted."""
    for one, (created, exited) in {"a": (1, 9), "b": (2, 7), "c": (3, 8), "d": (4, None)}.items():
        database.commit([entry(one, created=created, exited=exited, time=5, finished=exited is not None)])
    assert trim(database, finished=2) == 1
    assert [one.id for one in database.page(None, 9)] == ["a", "c"]
    assert trim(database, finished=1) == 1
    assert [one.id for one in database.page(None, 9)] == ["a"]
    assert [one.id for one in database.unfinished()] == ["d"]
    assert len(database.events(0, 9)) == 4
    assert database.numbers("abcd") == dict.fromkeys("abcd", 1)


def test_too_old_finished(database: Database) -> None:
    """By when they exited, or what is known instead."""
    database.commit([entry("a", exited=10, time=99, finished=True), entry("b", time=20, finished=True)])
    assert trim(database, finished_age_us=100, now_us=110) == 0
    assert trim(database, finished_age_us=100, now_us=111) == 1
    assert [one.id for one in database.page(None, 9)] == ["b"]
    assert trim(database, finished_age_us=100, now_us=121) == 1


def test_so_many_rows_of_all_kinds(database: Database) -> None:
    """One slice has no more, whatever they are."""
    database.commit([entry(f"{one}", finished=True) for one in range(20)])
    limits = {"events": 0, "events_age_us": 0, "finished": 0, "finished_age_us": 0, "now_us": 1 << 50, "most": 7}
    counts = []
    while count := database.trim(**limits):
        counts.append(count)
    # Events, then processes, then what was known of them.
    assert sum(counts) == 60
    assert max(counts) == 7


def test_numbers_of_what_is_gone(database: Database) -> None:
    """They are known until its events are deleted, and a little longer: its daemon may have been killed just then."""
    minute = 60_000_000
    database.commit([entry("a", 1), entry("b", 1, time=1000, gone=True), entry("c", 1)])
    assert trim(database, events=2, now_us=10 * minute) == 1
    assert database.numbers("abc") == {"a": 1, "b": 1, "c": 1}
    assert trim(database, events=1, now_us=minute) == 1
    assert database.numbers("abc") == {"a": 1, "b": 1, "c": 1}
    assert database.commit([entry("b", 1)]) == []
    assert trim(database, events=1, now_us=minute + 1001) == 1
    assert database.numbers("abc") == {"a": 1, "c": 1}


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_spoiled_row_is_left_out(database: Database) -> None:
    """The rest is told; how many are asked for does not matter."""
    database.commit([entry(f"{one}", finished=True, name="n") for one in range(6)])
    database._writer.execute("UPDATE events SET event = zeroblob(50) WHERE n IN (1, 2)")
    # One that could be decoded, and is another's.
    database._writer.execute("UPDATE events SET event = (SELECT event FROM events WHERE n = 6) WHERE n = 4")
    database._writer.execute("UPDATE processes SET saved = x'00' WHERE id IN ('1', '2', '5')")
    assert own(database.events(0, 1)) == [(3, "2", 1)]
    assert own(database.events(0, 9)) == [(3, "2", 1), (5, "4", 1), (6, "5", 1)]
    assert [one.id for one in database.page(None, 9)] == ["0", "3", "4"]
    assert [one.id for one in database.page((0, "0"), 1)] == ["3"]
    found = database.find("n")
    assert found is not None
    assert found.id == "4"
    assert database.find("5") is None


def test_damage_is_told_when_it_is_asked(database: Database) -> None:
    """To whoever asks, and to who has to do something about it."""
    told: list[bool] = []
    database.on_damaged = lambda: told.append(True)
    database.commit([entry("a", 1)])
    database._writer.execute("DROP TABLE processes")
    with pytest.raises(DatabaseDamaged):
        database.unfinished()
    assert told == [True]
    with pytest.raises(DatabaseDamaged):
        database.commit([entry("a", 2)])
    before = database.instance
    database.renew()
    assert database.instance != before
    assert database.span() == (1, 0)
    assert own(database.commit([entry("a", 2)])) == [(1, "a", 2)]
