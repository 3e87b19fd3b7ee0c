"""Groups of commits: order, what is told, retries, damage, retention, the end; on a clock, and on a real thread."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from netdaemon.daemon import journal as journal_module
from netdaemon.daemon.database import Database, DatabaseFailed, Entry
from netdaemon.daemon.journal import BATCH_MOST, FLUSH, RENEW_EVERY, RETRY, Journal, Retention
from netdaemon.errors import LocalProtocolError
from netdaemon.wire.answers import Happened
from tests.daemon.entries import empty_disk, entry, fill_disk, own
from tests.support import LONG, Logged

EVER = 1 << 60
NOW = 1 << 50
NOTHING = Retention(events=0, events_age=EVER, finished=0, finished_age=EVER)


class Slow:
    """A thread on which a job is done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.names: list[str] = []

    def __call__(self, f: Any, *arguments: Any, **keywords: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, lambda: f(*arguments, **keywords)))
        self.names.append(f.__name__)
        return done

    def work(self) -> None:
        """Do the one job that there is."""
        [(done, job)] = self.jobs
        self.jobs.clear()
        maybeDeferred(job).chainDeferred(done)


class Desk:
    """A journal, its clock, and all that it has told."""

    def __init__(self, path: str | None = None, run: Any = maybeDeferred) -> None:
        self.clock = Clock()
        self.database = Database(path)
        self.journal = Journal(self.clock, self.database, run=run)
        self.committed: list[tuple[int, str, int]] = []
        self.processes: list[tuple[str, int]] = []
        self.trouble: list[str] = []
        self.renewed = 0
        self.journal.on_committed = lambda happened: self.committed.extend(own(list(happened)))
        self.journal.on_process_committed = lambda process, number: self.processes.append((process, number))
        self.journal.on_trouble = self.trouble.append
        self.journal.on_renewed = self._count

    def _count(self) -> None:
        self.renewed += 1

    def append(self, *numbers: int, process: str = "a", **rest: Any) -> None:
        for number in numbers:
            self.journal.append(entry(process, number, **rest))

    def settle(self, seconds: float = 0.1) -> None:
        """Let time pass, a little at a time."""
        for _ in range(int(seconds / FLUSH) + 1):
            self.clock.advance(FLUSH)


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk()
    yield one
    one.journal.close_now()
    assert one.clock.getDelayedCalls() == []


@pytest.fixture
def desk_on_disk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(str(tmp_path / "journal"))
    yield one
    one.journal.close_now()
    assert one.clock.getDelayedCalls() == []


# --- groups ----------------------------------------------------------------------------------------------------------


def test_committed_together(desk: Desk) -> None:
    """What comes within a moment goes in one transaction; each process is told of once."""
    desk.append(1, 2)
    desk.append(1, process="b")
    assert desk.journal.waiting == 3
    desk.clock.advance(FLUSH / 2)
    assert desk.committed == []
    desk.append(3)
    desk.clock.advance(FLUSH / 2)
    assert desk.committed == [(1, "a", 1), (2, "a", 2), (3, "b", 1), (4, "a", 3)]
    assert desk.processes == [("a", 3), ("b", 1)]
    assert desk.journal.waiting == 0
    assert desk.clock.getDelayedCalls() == []


def test_groups_grow_under_load() -> None:
    """What comes during a commit goes with the next one, which begins when the first is done."""
    slow = Slow()
    desk = Desk(run=slow)
    desk.append(1)
    desk.clock.advance(FLUSH)
    assert len(slow.jobs) == 1
    for number in range(2, 500):
        desk.append(number)
        desk.clock.advance(FLUSH)
    assert len(slow.jobs) == 1
    slow.work()
    assert len(desk.committed) == 1
    desk.clock.advance(0)
    slow.work()
    assert len(desk.committed) == 499
    assert slow.names == ["commit", "commit"]
    desk.journal.close_now()


def test_a_group_has_an_end(desk: Desk) -> None:
    """The first one is told of before the last of a multitude is in."""
    seen: list[int] = []
    desk.journal.on_committed = lambda happened: seen.append(len(happened))
    desk.append(*range(1, 2 * BATCH_MOST + 11))
    desk.settle()
    assert seen == [BATCH_MOST, BATCH_MOST, 10]


def test_what_is_there_already(desk: Desk) -> None:
    """It is not told of again, and its process may forget it all the same."""
    desk.append(1, 2)
    desk.settle()
    desk.committed.clear()
    desk.processes.clear()
    desk.append(1, 2)
    desk.settle()
    assert desk.committed == []
    assert desk.processes == [("a", 2)]
    desk.append(2, snapshot=True)
    desk.settle()
    assert desk.committed == []


def test_flush(desk: Desk) -> None:
    """Fires when what was appended before is in, at once if nothing was."""
    assert desk.journal.flush().called
    desk.append(1)
    first = desk.journal.flush()
    assert first.called
    assert desk.committed == [(1, "a", 1)]
    assert desk.clock.getDelayedCalls() == []


def test_flush_waits_for_its_own() -> None:
    """Not for what is appended later."""
    slow = Slow()
    desk = Desk(run=slow)
    desk.append(1)
    first = desk.journal.flush()
    desk.append(2)
    second, cancelled = desk.journal.flush(), desk.journal.flush()
    cancelled.addErrback(lambda failure: None)
    cancelled.cancel()
    slow.work()
    assert (first.called, second.called) == (True, False)
    desk.clock.advance(0)
    slow.work()
    assert second.called
    desk.journal.close_now()


def test_what_cannot_be_encoded(desk: Desk) -> None:
    """Its caller is told, and nobody waits for it."""
    with pytest.raises(LocalProtocolError):
        desk.append(1, argv=(1,))
    desk.append(1)
    desk.settle()
    assert desk.committed == [(1, "a", 1)]


def test_whoever_is_told_may_fail(desk: Desk, logged: Logged) -> None:
    """And may append; the journal goes on."""

    def fail_once(happened: Sequence[tuple[int, Happened]]) -> None:
        desk.journal.on_committed = lambda happened: desk.committed.extend(own(list(happened)))
        desk.append(2)
        raise ZeroDivisionError

    desk.journal.on_committed = fail_once
    desk.append(1)
    desk.settle()
    assert desk.committed == [(2, "a", 2)]
    assert desk.processes == [("a", 1), ("a", 2)]
    assert len(logged.flush(ZeroDivisionError)) == 1


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_full_disk(desk_on_disk: Desk) -> None:
    """Told once; tried again every second, in order, until it works, which is told, too."""
    desk = desk_on_disk
    desk.append(1)
    desk.settle()
    fill_disk(desk.database)
    desk.append(*range(2, 30), saved=b"s" * 5000)
    desk.settle()
    assert len(desk.trouble) == 1
    assert "full" in desk.trouble[0]
    assert desk.journal.trouble is not None
    waiting = desk.journal.flush()
    for number in range(30, 40):
        desk.append(number)
        desk.clock.advance(RETRY)
    assert len(desk.trouble) == 1
    assert desk.committed == [(1, "a", 1)]
    assert desk.journal.waiting == 38
    assert not waiting.called
    empty_disk(desk.database)
    desk.clock.advance(RETRY)
    desk.settle()
    assert desk.committed == [(number, "a", number) for number in range(1, 40)]
    assert waiting.called
    assert len(desk.trouble) == 2
    assert "works again" in desk.trouble[1]
    assert desk.journal.trouble is None
    desk.append(40)
    desk.settle()
    assert desk.committed[-1] == (40, "a", 40)
    fill_disk(desk.database)
    desk.append(41, saved=b"s" * 50_000)
    desk.settle()
    assert len(desk.trouble) == 3
    empty_disk(desk.database)


def test_not_tried_more_often(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is appended and flushed."""
    tried: list[float] = []

    def commit(entries: Sequence[Entry]) -> list[tuple[int, Happened]]:
        tried.append(desk.clock.seconds())
        raise DatabaseFailed("the disk has gone")

    monkeypatch.setattr(desk.database, "commit", commit)
    for number in range(1, 1001):
        desk.append(number)
        desk.journal.flush().addErrback(lambda failure: None)
        desk.journal.retain(NOTHING, NOW)
        desk.clock.advance(0.01)
    assert len(tried) <= 11
    monkeypatch.undo()
    desk.clock.advance(RETRY)
    desk.settle()
    assert len(desk.committed) == 1000


def test_an_error_that_nobody_has_thought_of(desk: Desk, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """Is told with its traceback, and nothing is lost either."""

    def commit(entries: Sequence[Entry]) -> list[tuple[int, Happened]]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(desk.database, "commit", commit)
    desk.append(1)
    desk.settle()
    assert "ZeroDivisionError: oh" in desk.trouble[0]
    assert len(logged.flush(ZeroDivisionError)) == 1
    monkeypatch.undo()
    desk.clock.advance(RETRY)
    assert desk.committed == [(1, "a", 1)]


# --- damage ----------------------------------------------------------------------------------------------------------


def overwrite(path: str | None) -> None:
    """All pages but the first one."""
    assert path is not None
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(4096)
        file.write(os.urandom(size - 4096))


def worn(path: Path) -> Desk:
    """A journal on a file whose pages are not in memory, about to be damaged."""
    desk = Desk(str(path))
    for number in range(200):
        desk.append(1, process=f"{number:03}", saved=b"s" * 2000, finished=True)
    desk.settle()
    desk.journal.close_now()
    desk = Desk(str(path))
    desk.database._writer.execute("PRAGMA shrink_memory")
    overwrite(desk.database.path)
    return desk


def test_damaged_while_it_runs(tmp_path: Path) -> None:
    """The file is set aside, and what was not committed goes into a new one; those who must know are told."""
    desk = worn(tmp_path / "journal")
    before = desk.database.instance
    desk.append(7, 8)
    waiting = desk.journal.flush()
    desk.settle()
    assert waiting.called
    assert desk.database.instance != before
    assert desk.committed == [(1, "a", 7), (2, "a", 8)]
    assert desk.renewed == 1
    assert len(desk.trouble) == 1
    assert f"set aside as {desk.database.set_aside}" in desk.trouble[0]
    assert desk.journal.trouble is None
    assert os.path.exists(desk.database.set_aside or "")
    desk.journal.close_now()


def test_damage_that_somebody_comes_upon(tmp_path: Path) -> None:
    """A question is enough."""
    desk = worn(tmp_path / "journal")
    with pytest.raises(DatabaseFailed):
        desk.database.page(None, 1000)
    desk.settle()
    assert desk.renewed == 1
    assert desk.database.page(None, 1000) == []
    desk.append(1)
    desk.settle()
    assert desk.committed == [(1, "a", 1)]
    desk.journal.close_now()


def test_damage_that_retention_comes_upon(tmp_path: Path) -> None:
    desk = worn(tmp_path / "journal")
    done = desk.journal.retain(NOTHING, NOW)
    desk.settle()
    assert done.called
    assert desk.renewed == 1
    desk.journal.close_now()


def test_damaged_at_the_end(tmp_path: Path) -> None:
    """What was not committed is kept even then."""
    for name, now in (("one", True), ("two", False)):
        desk = worn(tmp_path / name)
        desk.append(1)
        if now:
            desk.journal.close_now()
        else:
            closed = desk.journal.close()
            desk.settle()
            assert closed.called
        assert desk.database.set_aside is not None
        again = Database(desk.database.path)
        assert own(again.events(0, 9)) == [(1, "a", 1)]
        again.close()


def test_whoever_must_know_appends_snapshots(tmp_path: Path) -> None:
    """After what was pending, so that the record that stays is the present one."""
    desk = worn(tmp_path / "journal")
    desk.journal.on_renewed = lambda: desk.append(3, snapshot=True, saved=b"present")
    desk.append(2, 3)
    desk.settle()
    assert desk.committed == [(1, "a", 2), (2, "a", 3)]
    assert [one.saved for one in desk.database.unfinished()] == [b"present"]
    desk.journal.close_now()


def test_not_renewed_again_and_again(tmp_path: Path) -> None:
    """Where each is damaged at once, the disk is not filled with them."""
    desk = Desk(str(tmp_path / "journal"))
    for _ in range(3):
        desk.database._writer.execute("DROP TABLE IF EXISTS meta")
        desk.database._writer.execute("DROP TABLE IF EXISTS processes")
        desk.append(1)
        for _ in range(5):
            desk.clock.advance(RETRY)
        desk.append(2)
        desk.clock.advance(RETRY)
    assert desk.renewed == 1
    assert len(os.listdir(tmp_path)) <= 6
    assert desk.journal.trouble is not None
    desk.clock.advance(RENEW_EVERY)
    desk.settle()
    assert desk.renewed == 2
    assert desk.journal.waiting == 0
    desk.journal.close_now()


def test_a_new_one_cannot_be_begun(tmp_path: Path) -> None:
    """It is tried every second."""
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    desk = worn(folder / "journal")
    folder.rename(moved)
    desk.append(1)
    desk.settle(RETRY * 5)
    assert len(desk.trouble) == 1
    assert "No such file" in desk.trouble[0]
    moved.rename(folder)
    desk.settle(RETRY)
    assert desk.committed == [(1, "a", 1)]
    assert "set aside" in desk.trouble[1]
    desk.journal.close_now()


# --- retention -------------------------------------------------------------------------------------------------------


def test_deleted_in_slices(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never two in a row while there is something to commit."""
    monkeypatch.setattr(journal_module, "TRIM_MOST", 10)
    desk.append(*range(1, 101))
    desk.settle()
    slow = Slow()
    desk.journal._run = slow
    done = desk.journal.retain(Retention(events=20, events_age=EVER, finished=9, finished_age=EVER), NOW)
    number = 100
    while not done.called:
        # The load never ends.
        number += 1
        desk.append(number)
        desk.clock.advance(FLUSH)
        slow.work()
    first, last = desk.database.span()
    assert last - first < 25
    # How many there were, and those that came meanwhile.
    assert done.result == first - 1
    pairs = list(zip(slow.names, slow.names[1:], strict=False))
    assert ("trim", "trim") not in pairs
    assert slow.names.count("trim") >= 8


def test_deleting_gives_way_to_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to commit, too, there is time between two slices."""
    monkeypatch.setattr(journal_module, "TRIM_MOST", 10)
    desk.append(*range(1, 101))
    desk.settle()
    done = desk.journal.retain(NOTHING, NOW)
    desk.clock.advance(0)
    assert desk.database.span() == (11, 100)
    desk.clock.advance(0)
    assert desk.database.span() == (11, 100)
    other = desk.journal.retain(Retention(events=50, events_age=EVER, finished=0, finished_age=EVER), NOW)
    desk.settle()
    assert desk.database.span() == (51, 100)
    assert (done.called, other.called) == (True, True)
    assert desk.clock.getDelayedCalls() == []


def test_deleting_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and ends; what is appended is committed all the same, and then it works again."""

    def trim(**limits: Any) -> int:
        raise DatabaseFailed("the disk has gone")

    monkeypatch.setattr(desk.database, "trim", trim)
    done = desk.journal.retain(NOTHING, NOW)
    desk.settle()
    assert done.result == 0
    assert len(desk.trouble) == 1
    desk.settle(3 * RETRY)
    desk.append(1)
    desk.settle()
    assert desk.committed == [(1, "a", 1)]
    assert len(desk.trouble) == 2
    monkeypatch.undo()
    done = desk.journal.retain(NOTHING, NOW)
    desk.settle()
    assert done.result == 1


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [True, False])
def test_closed_with_all_that_was_appended(tmp_path: Path, now: bool) -> None:
    """At once or in order, during a commit or not."""
    for name, busy in (("busy", True), ("idle", False)):
        path = str(tmp_path / name)
        slow = Slow()
        desk = Desk(path, run=slow)
        desk.append(1)
        waiting = desk.journal.flush() if busy else None
        desk.append(2, 3)
        if now:
            desk.journal.close_now()
            if busy:
                # The thread has done it already, and comes to tell.
                slow.jobs.pop()[0].callback([])
        else:
            closed, other = desk.journal.close(), desk.journal.close()
            while not closed.called:
                slow.work()
                desk.clock.advance(0)
            assert other.called
        assert waiting is None or waiting.called
        assert desk.clock.getDelayedCalls() == []
        desk.append(4)
        desk.journal.close_now()
        assert desk.journal.close().called
        assert desk.journal.flush().called
        assert desk.journal.retain(NOTHING, NOW).called
        assert desk.trouble == []
        again = Database(path)
        assert own(again.events(0, 9)) == [(1, "a", 1), (2, "a", 2), (3, "a", 3)]
        again.close()


@pytest.mark.parametrize("now", [True, False])
def test_closed_on_a_full_disk(desk_on_disk: Desk, now: bool) -> None:
    """It ends; what could not be committed is told of."""
    desk = desk_on_disk
    fill_disk(desk.database)
    desk.append(*range(1, 30), saved=b"s" * 5000)
    waiting = desk.journal.flush()
    if now:
        desk.journal.close_now()
    else:
        assert desk.journal.close().called
    failed: list[Any] = []
    waiting.addErrback(failed.append)
    assert failed[0].check(DatabaseFailed)
    assert "29 entries could not be journalled" in desk.trouble[-1]
    desk.journal.close_now()
    assert len(desk.trouble) == 2


def test_closed_while_deleting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is left for another time."""
    monkeypatch.setattr(journal_module, "TRIM_MOST", 10)
    desk.append(*range(1, 101))
    desk.settle()
    done = desk.journal.retain(NOTHING, NOW)
    desk.clock.advance(0)
    assert desk.journal.close().called
    assert done.result == 10


async def test_on_a_thread(tmp_path: Path) -> None:
    """All of it on the real reactor: in order, asked meanwhile, closed in the end."""
    from twisted.internet import reactor

    core: Any = reactor
    path = str(tmp_path / "journal")
    journal = Journal(core, Database(path), run=deferToThread)
    threads: set[int] = set()
    committed: list[tuple[int, str, int]] = []

    def told(happened: Sequence[tuple[int, Happened]]) -> None:
        threads.add(threading.get_ident())
        committed.extend(own(list(happened)))
        assert journal.database.span()[1] >= committed[-1][0]

    journal.on_committed = told
    for number in range(1, 3001):
        journal.append(entry("a", number))
        if number % 500 == 0:
            await journal.flush()
    done = journal.retain(Retention(events=1000, events_age=EVER, finished=0, finished_age=EVER), NOW)
    journal.append(entry("a", 3001))
    assert await done == 2001
    journal.append(entry("a", 3002))
    await journal.close()
    assert committed == [(number, "a", number) for number in range(1, 3003)]
    assert threads == {threading.get_ident()}
    again = Database(path)
    assert again.span() == (2002, 3002)
    again.close()


# --- anything, in any order ------------------------------------------------------------------------------------------

IDS = st.sampled_from("abcde")
SMALL = st.integers(0, 6)


class Anything(RuleBasedStateMachine):
    """A journal and what it must have: a list of events, a dictionary of processes, and what is not in yet."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path: str | None = None
        self.pending: list[Entry] = []
        # Of all there ever was: what is kept; of each process its last number, that of its last event, its last entry.
        self.last = 0
        self.kept: list[tuple[int, str, int]] = []
        self.times: dict[int, int] = {}
        self.numbers: dict[str, int] = {}
        self.events: dict[str, int] = {}
        self.rows: dict[str, Entry | None] = {}
        self.told: list[tuple[int, str, int]] = []

    @initialize(on_disk=st.booleans())
    def begin(self, on_disk: bool) -> None:
        self.path = os.path.join(self.folder, "journal") if on_disk else None
        self._open()
        self.instance = self.desk.database.instance

    def _open(self) -> None:
        self.desk = Desk(self.path)
        self.desk.committed = self.told

    @rule(
        id=IDS,
        ahead=st.integers(-2, 2),
        time=SMALL,
        created=SMALL,
        exited=SMALL,
        name=st.sampled_from(["x", "y", None]),
        kind=st.sampled_from([{}, {"finished": True}, {"gone": True}]),
        snapshot=st.sampled_from([None, None, True]),
    )
    def append(self, id: str, ahead: int, kind: dict[str, bool], **rest: Any) -> None:
        number = max([self.numbers.get(id, 0), *(one.number for one in self.pending if one.process == id)]) + ahead
        if number >= 1:
            one = entry(id, number, **rest, **kind)
            self.desk.journal.append(one)
            self.pending.append(one)

    @rule()
    def commit(self) -> None:
        self.desk.settle()
        self._take()

    @rule()
    def flush(self) -> None:
        assert self.desk.journal.flush().called
        self._take()

    def _take(self) -> None:
        for one in self.pending:
            before = self.numbers.get(one.process, -1)
            if one.number < before or (one.number == before and not one.event.snapshot):
                continue
            if not one.event.snapshot:
                self.last += 1
                self.kept.append((self.last, one.process, one.number))
                self.times[self.last] = one.event.time
                self.events[one.process] = self.last
            self.numbers[one.process] = one.number
            self.rows[one.process] = None if one.gone else one
        self.pending.clear()

    @rule(id=IDS)
    def remove(self, id: str) -> None:
        there = self.rows.get(id) is not None
        assert self.desk.database.remove(id) == there
        if there:
            self.rows[id] = None

    @rule(events=SMALL, age=SMALL, finished=SMALL, finished_age=SMALL, now=SMALL)
    def retain(self, events: int, age: int, finished: int, finished_age: int, now: int) -> None:
        keep = Retention(events=events, events_age=age, finished=finished, finished_age=finished_age)
        done = self.desk.journal.retain(keep, now)
        self.desk.settle()
        assert done.called
        # Entries that waited may have been deleted at once; which, depends on the turns.
        if self.pending:
            self._take()
            self.desk.journal.retain(keep, now)
            self.desk.settle()
        while self.kept and (len(self.kept) > events or self.times[self.kept[0][0]] < now - age):
            del self.kept[0]
        first = self.kept[0][0] if self.kept else self.last + 1
        ended = sorted(self._finished(), key=lambda one: (self._ended(one), one.process))
        while ended and (len(ended) > finished or self._ended(ended[0]) < now - finished_age):
            self.rows[ended.pop(0).process] = None
        # Nothing here happens a minute ago: what is known of those that are gone stays known.
        assert all(self.events.get(id, 0) < first or self.numbers[id] for id in self.rows)

    @staticmethod
    def _ended(one: Entry) -> int:
        exited = one.event.process.exited
        return one.event.time if exited is None else exited

    def _finished(self) -> list[Entry]:
        return [one for one in self.rows.values() if one is not None and one.finished]

    @rule(killed=st.booleans())
    def reopen(self, killed: bool) -> None:
        if self.path is None:
            return
        if killed:
            # What is not committed is lost to this one.
            self.pending.clear()
            self.desk.database.close()
        else:
            self.desk.journal.close_now()
            self._take()
            # Nobody is told any more at the end.
            told = self.told[-1][0] if self.told else 0
            self.told += [one for one in self.kept if one[0] > told]
        self._open()
        assert self.desk.database.instance == self.instance
        assert self.desk.database.set_aside is None

    @invariant()
    def as_it_must_be(self) -> None:
        if not hasattr(self, "desk") or self.pending:
            return
        database = self.desk.database
        assert own(database.events(0, 10_000)) == self.kept
        assert database.span() == (self.kept[0][0] if self.kept else self.last + 1, self.last)
        assert database.numbers("abcdef") == self.numbers
        assert [n for n, _, _ in self.told] == list(range(1, self.last + 1))
        assert len({(process, number) for _, process, number in self.told}) == len(self.told)

        def order(one: Entry) -> tuple[int, str]:
            return one.event.process.created, one.process

        finished = sorted(self._finished(), key=order)
        running = sorted((one for one in self.rows.values() if one is not None and not one.finished), key=order)
        assert [one.saved for one in database.unfinished()] == [one.saved for one in running]
        assert database.finished_count() == len(finished)
        pages: list[Any] = []
        while page := database.page((pages[-1].record.created, pages[-1].id) if pages else None, 2):
            pages += page
        assert [(one.id, one.saved, one.record) for one in pages] == [
            (one.process, one.saved, one.event.process) for one in finished
        ]
        for wanted in ("x", "y", "a", "b"):
            named = [one for one in finished if one.process == wanted] or [
                one for one in finished if one.event.process.name == wanted
            ]
            found = database.find(wanted)
            assert (found and found.id) == (named[-1].process if named else None)

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.journal.close_now()
            assert self.desk.trouble == []
        shutil.rmtree(self.folder)


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=300 if LONG else 60, stateful_step_count=30, deadline=None)
