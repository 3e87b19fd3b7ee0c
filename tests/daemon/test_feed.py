"""Subscriptions: a snapshot and then all that happens, with no hole; each at its own pace; none costs another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.daemon import feed as module
from netdaemon.daemon.database import Database, DatabaseFailed, Entry
from netdaemon.daemon.feed import Feed, Subscription
from netdaemon.errors import InternalError
from netdaemon.wire.answers import End, Event, Happened
from netdaemon.wire.records import Reason, State
from netdaemon.wire.told import Happening, ProcessRecord, Stats
from tests.support import Logged


def record(id: str, state: State = State.RUNNING) -> ProcessRecord:
    return ProcessRecord(id=id, state=state, argv=("x",), created=int(id[1:]))


class Journal:
    """A database, the feed of it, and processes that things happen to."""

    def __init__(self) -> None:
        self.database = Database(None)
        self.feed = Feed(self.database)
        self.numbers: dict[str, int] = {}
        self.all: list[tuple[int, Happened]] = []

    def happen(self, *ids: str) -> None:
        """Something to each of these, in one commit."""
        entries = []
        for id in ids:
            self.numbers[id] = self.numbers.get(id, 0) + 1
            event = Happened(type=Happening.CHANGED, time=len(self.all), process=record(id), detail=f"{id}")
            entries.append(Entry(process=id, number=self.numbers[id], event=event, saved=b""))
        happened = self.database.commit(entries)
        self.all += happened
        self.feed.happened(happened)


class Client:
    """Takes what it is told, when it likes."""

    def __init__(self, journal: Journal, *, reads: bool = True) -> None:
        self.journal = journal
        self.reads = reads
        self.got: list[Event] = []
        self.waiting: dict[Subscription, None] = {}
        self.over = False
        self.costs: list[int] = []

    def watch(
        self,
        after: int | None = None,
        matches: Callable[[ProcessRecord], bool] | None = None,
        snapshot: Iterator[ProcessRecord] | None = None,
    ) -> Subscription:
        place = self.journal.feed.last if after is None else after
        made = Subscription(self, 1, self.journal.feed, matches, place, snapshot or iter(()))
        made.begin()
        return made

    # The outlet.

    def ready(self, subscription: Subscription) -> None:
        self.waiting[subscription] = None
        if self.reads:
            self.read()

    def send_event(self, id: int, event: Event) -> None:
        self.got.append(event)

    def closed(self, subscription: Subscription) -> None:
        self.over = True
        self.waiting.pop(subscription, None)

    def read(self, count: int = 1 << 30) -> None:
        """Take at most so many things."""
        while self.waiting and count:
            one = next(iter(self.waiting))
            del self.waiting[one]
            cost = one.send(1)
            if cost:
                self.costs.append(cost)
                self.waiting[one] = None
                count -= 1

    @property
    def events(self) -> list[tuple[int, str]]:
        """Numbers and processes of the events that came."""
        found = []
        for event in self.got:
            if isinstance(event, Happened) and not event.snapshot:
                instance, _, number = event.cursor.rpartition("-")
                assert instance == self.journal.database.instance
                found.append((int(number), event.process.id))
        return found

    @property
    def end(self) -> Reason | None:
        last = self.got[-1] if self.got else None
        return last.reason if isinstance(last, End) else None


def everything(journal: Journal, after: int = 0) -> list[tuple[int, str]]:
    return [(number, event.process.id) for number, event in journal.all if number > after]


def test_what_happens_is_told_at_once() -> None:
    """In order, with cursors that rise by one; the same to everybody."""
    journal = Journal()
    clients = [Client(journal) for _ in range(20)]
    for client in clients:
        client.watch()
    journal.happen("p1", "p2")
    journal.happen("p1")
    for client in clients:
        assert client.events == everything(journal) == [(1, "p1"), (2, "p2"), (3, "p1")]


@pytest.mark.parametrize("recent", [1, 3, 1000])
@pytest.mark.parametrize("page", [1, 2, 256])
def test_since_any_cursor(monkeypatch: pytest.MonkeyPatch, recent: int, page: int) -> None:
    """Exactly what follows it, out of memory or out of the database, and then what happens."""
    monkeypatch.setattr(module, "RECENT", recent)
    monkeypatch.setattr(module, "PAGE", page)
    journal = Journal()
    for number in range(10):
        journal.happen(f"p{number % 3}")
    for after in range(11):
        assert journal.feed.place(journal.feed.cursor(after)) == after
        client = Client(journal)
        client.watch(after)
        assert client.events == everything(journal, after)
        journal.happen("p9")
        assert client.events == everything(journal, after)


@pytest.mark.parametrize(
    "cursor", ["", "-", "x-1", "{instance}", "{instance}-", "{instance}--1", "{instance}-1.0", "{instance}-" + 20 * "9"]
)
def test_what_is_no_cursor(cursor: str) -> None:
    """It stands for nothing, and is no error."""
    journal = Journal()
    journal.happen("p1")
    assert journal.feed.place(cursor.replace("{instance}", journal.database.instance)) is None


def test_a_cursor_that_is_not_kept_any_more_or_not_yet() -> None:
    """Neither is one of the future: no event is told twice as another."""
    journal = Journal()
    for _ in range(10):
        journal.happen("p1")
    journal.database.trim(
        events=4, events_age_us=1 << 60, finished=10, finished_age_us=1 << 60, now_us=1 << 60, most=99
    )
    feed = Feed(journal.database)
    assert [feed.place(feed.cursor(number)) for number in (5, 6, 10, 11)] == [None, 6, 10, None]


def test_selection() -> None:
    """Only what matches, and the cursor goes on over what does not."""
    journal = Journal()
    client = Client(journal)
    client.watch(matches=lambda one: one.id == "p2")
    journal.happen("p1", "p2", "p1", "p2", "p3")
    assert client.events == [(2, "p2"), (4, "p2")]


def test_a_selection_of_nothing_has_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page at a time, which counts as much as it costs: the others need not wait for all that it passes over."""
    monkeypatch.setattr(module, "RECENT", 10)
    monkeypatch.setattr(module, "PAGE", 10)
    journal = Journal()
    for _ in range(10):
        journal.happen(*["p1"] * 10)
    client = Client(journal, reads=False)
    client.watch(0, matches=lambda one: one.id == "p2")
    client.read(1)
    assert client.costs == [10 * module.EVENT_LOOKED_AT]
    client.read()
    assert len(client.costs) == 10
    assert client.got == []
    client.reads = True
    journal.happen("p2")
    assert client.events == [(101, "p2")]


def test_a_snapshot_comes_first_and_its_last_has_the_cursor() -> None:
    """What happens while it is being told is told after it."""
    journal = Journal()
    journal.happen("p1", "p2", "p3")
    client = Client(journal, reads=False)
    client.watch(snapshot=iter([record("p1"), record("p2"), record("p3")]))
    client.read(2)
    journal.happen("p2", "p4")
    client.read()
    kinds = [(one.type, one.process.id, one.cursor) for one in client.got if isinstance(one, Happened)]
    assert kinds == [
        (Happening.SNAPSHOT, "p1", ""),
        (Happening.SNAPSHOT, "p2", ""),
        (Happening.SNAPSHOT, "p3", journal.feed.cursor(3)),
        (Happening.CHANGED, "p2", journal.feed.cursor(4)),
        (Happening.CHANGED, "p4", journal.feed.cursor(5)),
    ]


def test_who_is_slow_costs_nothing_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is queued for it: beyond a page, what it has not read is in the database."""
    monkeypatch.setattr(module, "RECENT", 5)
    monkeypatch.setattr(module, "PAGE", 4)
    journal = Journal()
    slow, quick = Client(journal, reads=False), Client(journal)
    subscription = slow.watch()
    quick.watch()
    for number in range(100):
        journal.happen(f"p{number}")
        assert len(subscription._page) <= 4
        assert len(journal.feed._recent) <= 5
        if number % 10 == 5:
            slow.read(1)
    slow.read()
    assert slow.events == quick.events == everything(journal)


def test_who_stays_away_too_long_is_told_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it missed is not kept any more; it is over then, and the others go on."""
    monkeypatch.setattr(module, "RECENT", 2)
    journal = Journal()
    slow, quick = Client(journal, reads=False), Client(journal)
    slow.watch()
    quick.watch()
    for _ in range(10):
        journal.happen("p1")
    journal.database.trim(
        events=3, events_age_us=1 << 60, finished=10, finished_age_us=1 << 60, now_us=1 << 60, most=99
    )
    slow.read()
    assert (slow.events, slow.end, slow.over) == ([], Reason.RESUBSCRIBE, True)
    assert len(journal.feed) == 1
    journal.happen("p1")
    assert quick.events == everything(journal)


def test_another_journal_ends_all() -> None:
    """Nobody can go on in it."""
    journal = Journal()
    clients = [Client(journal), Client(journal)]
    for client in clients:
        client.watch()
    journal.happen("p1")
    old = journal.feed.cursor(1)
    journal.database.renew()
    journal.feed.renewed()
    assert [client.end for client in clients] == [Reason.RESUBSCRIBE] * 2
    assert journal.feed.place(old) is None
    assert len(journal.feed) == 0


def test_a_database_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs it is told to ask again; who does not goes on."""
    monkeypatch.setattr(module, "RECENT", 2)
    journal = Journal()
    for _ in range(10):
        journal.happen("p1")
    behind, fresh, quick = Client(journal, reads=False), Client(journal, reads=False), Client(journal)
    behind.watch(0)

    def broken() -> Iterator[ProcessRecord]:
        yield record("p1")
        yield record("p2")
        raise InternalError("the records cannot be read")

    def failing(*_: object) -> None:
        raise DatabaseFailed("no such disk")

    fresh.watch(snapshot=broken())
    quick.watch()
    monkeypatch.setattr(journal.database, "events", failing)
    behind.read()
    fresh.read()
    assert behind.end is fresh.end is Reason.RESUBSCRIBE
    journal.happen("p1")
    assert quick.events == [(11, "p1")]


def test_one_that_fails_costs_the_others_nothing(logged: Logged) -> None:
    """Though it is a mistake of ours, and logged as one."""
    journal = Journal()
    broken, quick = Client(journal), Client(journal)
    broken.watch()
    quick.watch()

    def fail(id: int, event: Event) -> None:
        raise ZeroDivisionError

    broken.send_event = fail  # type: ignore[method-assign]
    journal.happen("p1")
    assert quick.events == [(1, "p1")]
    assert len(logged.flush(ZeroDivisionError)) == 1


def test_statistics_come_between_and_only_the_latest() -> None:
    """One a process for who is slow; they have no cursor."""
    journal = Journal()
    client = Client(journal, reads=False)
    subscription = client.watch()
    for memory in (1, 2, 3):
        subscription.measured({"p1": (record("p1"), Stats(memory=memory)), "p2": (record("p2"), Stats(memory=memory))})
    journal.happen("p1")
    client.read()
    assert [(one.type, one.cursor != "") for one in client.got if isinstance(one, Happened)] == [
        (Happening.CHANGED, True),
        (Happening.STATS, False),
        (Happening.STATS, False),
    ]
    assert [one.stats.memory for one in client.got if isinstance(one, Happened) and one.stats] == [3, 3]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.integers(1, 5)),
        st.tuples(st.just("read"), st.integers(1, 7)),
        st.tuples(st.just("again"), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(STEPS, st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_no_hole_and_nothing_twice(steps: list[tuple[str, int]], recent: int, page: int, odd: bool) -> None:
    """Whatever happens, however slowly it is read, and cut and gone on with wherever: each event once, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECENT", recent)
        patch.setattr(module, "PAGE", page)
        journal = Journal()
        client = Client(journal, reads=False)
        wanted = (lambda one: int(one.id[1:]) % 2 == 1) if odd else None
        subscription = client.watch(matches=wanted)
        for what, count in steps:
            if what == "happen":
                journal.happen(*(f"p{len(journal.all) + number}" for number in range(count)))
            elif what == "read":
                client.read(count)
            else:
                subscription.close()
                client.waiting.clear()
                last = client.events[-1][0] if client.events else 0
                subscription = client.watch(journal.feed.place(journal.feed.cursor(last)), matches=wanted)
        client.read()
        assert client.events == [one for one in everything(journal) if not odd or int(one[1][1:]) % 2 == 1]
