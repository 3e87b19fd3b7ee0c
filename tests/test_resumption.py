"""What has been told, by generation and by cursor: whatever is told again comes out once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.resumption import EVENTS_MOST, Events, Told, is_news
from netdaemon.wire.answers import Happened, Output, Status, Watching
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord

# What one generation tells: how it begins, what happens meanwhile, how it ends.
GENERATION = st.tuples(
    st.sampled_from([("starting", "running"), ("starting",), ("running",)]),
    st.lists(st.sampled_from([1, 2, "stopping", "running"]), max_size=4, unique_by=lambda one: (one, 0)),
    st.sampled_from(["backoff", "exited"]),
    st.lists(st.sampled_from([0, 1, 2]), max_size=3, unique=True),
)


def history(generations: list[Any], first_begins: bool) -> list[Output | Status]:
    """All that a daemon tells of these generations, in order."""
    told: list[Output | Status] = []
    for number, (beginning, meanwhile, ending, ends) in enumerate(generations, 1):
        if number > 1 or first_begins:
            told += [Status(state=State(word), generation=number) for word in beginning]
        closed = set()
        for one in meanwhile:
            if isinstance(one, str):
                told.append(Status(state=State(one), generation=number))
            else:
                closed.add(one)
                told.append(Output(channel=one))
        told.append(Status(state=State(ending), generation=number))
        told += [Output(channel=channel) for channel in ends if channel not in closed]
    return told


@given(st.lists(GENERATION, min_size=1, max_size=5), st.booleans(), st.lists(st.integers(0, 40), max_size=4))
def test_all_is_told_once_however_often_it_is_told(generations: list[Any], begins: bool, cuts: list[int]) -> None:
    """Each connection tells all from the beginning, as far as it has come when it is cut."""
    whole = history(generations, begins)
    told, found = Told(), []
    for until in [*sorted(cuts), len(whole)]:
        told.again()
        for event in whole[:until]:
            new = told.status(event) if isinstance(event, Status) else told.end(event)
            if new:
                found.append(event)
    assert found == whole


def test_what_is_told_again_only_from_the_middle_on_is_told_once() -> None:
    """A daemon keeps the latest only."""
    whole = history([(("running",), [1, 2], "backoff", [0])] * 9, False)
    told, found = Told(), []
    for begin, until in ((0, 20), (7, 30), (12, len(whole))):
        told.again()
        for event in whole[begin:until]:
            if told.status(event) if isinstance(event, Status) else told.end(event):
                found.append(event)
    assert found == whole


def test_a_generation_opens_what_the_one_before_it_closed() -> None:
    told = Told()
    assert told.end(Output(channel=1))
    assert not told.end(Output(channel=1))
    assert told.status(Status(state=State.BACKOFF))
    assert told.closed == {1}
    beginning = Status(state=State.STARTING, generation=2)
    assert told.begins(beginning)
    assert told.status(beginning)
    assert not told.begins(Status(state=State.RUNNING, generation=2))
    assert told.closed == set()
    assert told.end(Output(channel=1))


@pytest.mark.parametrize(
    ("known", "told", "news"),
    [
        ((State.RUNNING, 2), (State.EXITED, 1), False),
        ((State.RUNNING, 2), (State.RUNNING, 2), True),
        ((State.RUNNING, 2), (State.STOPPING, 2), True),
        ((State.STOPPING, 2), (State.RUNNING, 2), True),
        ((State.EXITED, 2), (State.RUNNING, 2), False),
        ((State.BACKOFF, 2), (State.RUNNING, 2), False),
        ((State.BACKOFF, 2), (State.EXITED, 2), True),
        ((State.EXITED, 2), (State.BACKOFF, 2), False),
        ((State.EXITED, 2), (State.STARTING, 3), True),
    ],
)
def test_what_is_news(known: tuple[State, int], told: tuple[State, int], news: bool) -> None:
    record = ProcessRecord(id="p", argv=("x",), state=known[0], generation=known[1])
    assert is_news(Status(state=told[0], generation=told[1]), record) is news


# --- subscriptions ---


def event(cursor: str, *, size: int = 0, snapshot: bool | None = None) -> Happened:
    record = ProcessRecord(id="p", argv=("x" * size,), state=State.RUNNING)
    return Happened(cursor=cursor, type=Happening.STARTED, process=record, snapshot=snapshot)


def nothing() -> None:
    pass


def test_what_is_too_much_and_when_it_is_little_enough() -> None:
    events = Events("c0", nothing)
    events.began(Watching(cursor="c0", fresh=False))
    events.put(event("c1", size=EVENTS_MOST // 2))
    assert (events.full, events.drained) == (False, False)
    events.put(event("c2", size=EVENTS_MOST // 2))
    assert events.full
    events.take()
    assert not events.drained
    events.take()
    assert events.drained
    assert (events.since, events.cursor) == ("c2", "c2")
    events.began(Watching(cursor="c2", fresh=False))
    assert not events.full


def test_a_snapshot_counts_nothing_and_is_complete_when_something_has_happened() -> None:
    begun: list[str | None] = []
    events = Events(None, lambda: begun.append(events.cursor))
    events.began(Watching(cursor="c7"))
    assert begun == ["c7"]
    events.put(event("", size=2 * EVENTS_MOST, snapshot=True))
    assert (events.full, events.since) == (False, None)
    events.put(event("c8"))
    assert events.since == "c8"
    events.began(Watching(cursor="d1"))
    # In its place: there are two before it.
    assert begun == ["c7"]
    assert [events.take(), events.take(), events.take()][2] is None
    assert begun == ["c7", "d1"]
    events.put(event("d2"))
    events.clear()
    assert events.take() is None
