"""A subscription: order, leaving and coming back, lost connections, snapshots, the end; the test is the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from netdaemon.client.watch import Watch
from netdaemon.errors import BadRequest, ConnectionClosed, Denied, Refusal, ShuttingDown
from netdaemon.resumption import EVENTS_LEAST, EVENTS_MOST
from netdaemon.wire import commands
from netdaemon.wire.answers import End, Failure, Happened, Ok, Watching
from netdaemon.wire.commands import Detach
from netdaemon.wire.records import Reason
from netdaemon.wire.told import Happening, Stats
from tests.client.support import Stage, lasting, pending, record, result, stage
from tests.support import Logged

LARGE = "x" * 100_000


def happened(number: int, **fields: Any) -> Happened:
    return Happened(cursor=f"c{number}", type=Happening.STARTED, process=record(**fields))


def snapshot(id: str) -> Happened:
    return Happened(type=Happening.SNAPSHOT, snapshot=True, process=record(id=id))


def watching(s: Stage, *select: str, reply: Watching | None = None, **options: Any) -> tuple[int, Watch]:
    """A watch that the daemon has agreed to, and its id."""
    asking = s.client.watch(*select, **options)
    id, _ = s.request()
    s.reply(id, reply or Watching(cursor="c0", fresh=False))
    return id, result(asking)


async def _take(watch: Watch, count: int | None, into: list[Any]) -> None:
    async for event in watch:
        into.append(event.cursor or event.process.id)
        if len(into) == count:
            return


def take(watch: Watch, count: int | None = None) -> tuple[list[Any], Deferred[None]]:
    """Take so many events, or all of them: where each stands, and a Deferred of the end of that."""
    into: list[Any] = []
    return into, Deferred.fromCoroutine(_take(watch, count, into))


def resumed(s: Stage, since: str | None, *, fresh: bool = False, **asked: Any) -> int:
    """The watch has asked anew, from there, and is answered."""
    id, request = s.request()
    assert request == commands.Watch(since=since, **asked)
    s.reply(id, Watching(cursor=since or "fresh", fresh=fresh))
    return id


def flood(s: Stage, id: int) -> int:
    """As many large events as it takes for the subscription to be left; their number."""
    number = 0
    while not s.transport.value():
        number += 1
        assert number < 50
        s.event(id, happened(number, argv=("x", LARGE)))
    return number


def test_what_is_asked_and_what_is_told() -> None:
    s = stage()
    asking = s.client.watch("name=web*", since="c7", stats=500)
    id, request = s.request()
    assert request == commands.Watch(select=("name=web*",), since="c7", stats=500)
    assert pending(asking)
    s.reply(id, Watching(cursor="c7", fresh=False))
    watch = result(asking)
    assert (watch.cursor, watch.fresh, watch.fresh_count) == ("c7", False, 0)
    told, taking = take(watch, 3)
    s.event(id, happened(8), happened(9))
    assert told == ["c8", "c9"]
    assert watch.cursor == "c9"
    s.event(id, Happened(type=Happening.STATS, process=record(id="p2"), stats=Stats(cpu=1)))
    result(taking)
    assert told == ["c8", "c9", "p2"]
    # What is not kept does not move the cursor.
    assert watch.cursor == "c9"


def test_a_snapshot_comes_first() -> None:
    freshly: list[int] = []
    s = stage()
    asking = s.client.watch(on_fresh=lambda: freshly.append(1))
    id, request = s.request()
    assert request == commands.Watch()
    s.reply(id, Watching(cursor="c5"))
    watch = result(asking)
    assert (watch.cursor, watch.fresh, watch.fresh_count, freshly) == ("c5", True, 1, [1])
    s.event(id, snapshot("a"), snapshot("b"), happened(6))
    told, taking = take(watch, 3)
    result(taking)
    assert told == ["a", "b", "c6"]


def test_events_are_called_back_in_order_and_what_raises_stops_nothing(logged: Logged) -> None:
    told: list[str] = []

    def on_event(event: Happened) -> None:
        told.append(event.cursor)
        if event.cursor == "c2":
            raise ValueError("mine")

    s = stage()
    id, watch = watching(s, on_event=on_event)
    s.event(id, happened(1), happened(2), happened(3))
    assert told == ["c1", "c2", "c3"]
    assert watch.cursor == "c3"
    assert len(logged.flush(ValueError)) == 1
    # Nothing waits, however much comes.
    for number in range(4, 30):
        s.event(id, happened(number, argv=("x", LARGE)))
    assert s.requests() == []
    with pytest.raises(RuntimeError, match="on_event"):
        result(take(watch)[1])


def test_there_is_one_reader() -> None:
    s = stage()
    id, watch = watching(s)
    told, first = take(watch, 1)
    with pytest.raises(RuntimeError, match="one reader"):
        result(take(watch)[1])
    first.cancel()
    with pytest.raises(CancelledError):
        result(first)
    # The next one finds what has come meanwhile.
    s.event(id, happened(1))
    told, second = take(watch, 1)
    result(second)
    assert told == ["c1"]


def test_close_detaches_and_ends_the_loop() -> None:
    s = stage()
    id, watch = watching(s)
    told, taking = take(watch)
    over = watch.when_over()
    closing = watch.close()
    detaching, request = s.request()
    assert request == Detach(to=id)
    s.event(id, happened(1), End(reason=Reason.DETACHED))
    s.reply(detaching, Ok())
    assert result(closing) is None
    result(taking)
    assert told == []
    assert result(over) is Reason.DETACHED
    assert result(watch.when_over()) is Reason.DETACHED
    assert result(watch.close()) is None
    assert s.requests() == []


@pytest.mark.parametrize("refusal", [Denied("no"), BadRequest("what?", field="select")], ids=repr)
def test_a_refusal_is_raised(refusal: Refusal) -> None:
    s = stage()
    asking = s.client.watch("bad")
    id, _ = s.request()
    s.reply(id, Failure.of(refusal))
    with pytest.raises(type(refusal)):
        result(asking)


def test_what_cannot_be_asked() -> None:
    s = stage()
    with pytest.raises(BadRequest, match="stats"):
        result(s.client.watch(stats=1))
    assert s.requests() == []


def test_cancelling_ends_the_subscription_when_it_is_told() -> None:
    s = stage()
    asking = s.client.watch()
    id, _ = s.request()
    asking.cancel()
    with pytest.raises(CancelledError):
        result(asking)
    s.reply(id, Watching(cursor="c1"))
    assert s.request()[1] == Detach(to=id)


@pytest.mark.parametrize("reason", [Reason.SHUTDOWN, Reason.REVOKED])
def test_the_daemon_ends_it(reason: Reason) -> None:
    s = lasting()
    id, watch = watching(s)
    told, taking = take(watch)
    s.event(id, happened(1), End(reason=reason))
    result(taking)
    assert told == ["c1"]
    assert result(watch.when_over()) is reason
    s.lose_and_wait()
    assert s.requests() == []


def test_a_client_that_was_too_slow_subscribes_again_where_it_was() -> None:
    s = stage()
    id, watch = watching(s, "name=a", stats=1000)
    s.event(id, happened(1), happened(2), End(reason=Reason.RESUBSCRIBE))
    again = resumed(s, "c2", select=("name=a",), stats=1000)
    s.event(again, happened(3))
    told, taking = take(watch, 3)
    result(taking)
    assert told == ["c1", "c2", "c3"]


def test_too_much_waits_so_it_is_left_and_taken_up_when_there_is_room() -> None:
    s = stage()
    id, watch = watching(s)
    number = flood(s, id)
    assert number <= EVENTS_MOST // len(LARGE) + 1
    detaching, request = s.request()
    assert request == Detach(to=id)
    # What was on its way comes again later.
    s.event(id, happened(number + 1), End(reason=Reason.DETACHED))
    s.reply(detaching, Ok())
    for taken in range(1, number + 1):
        told, taking = take(watch, 1)
        result(taking)
        assert told == [f"c{taken}"]
        if s.transport.value():
            break
    assert (number - taken) * len(LARGE) <= EVENTS_LEAST
    again = resumed(s, f"c{number}")
    s.event(again, happened(number + 1), happened(number + 2))
    told, taking = take(watch, number - taken + 2)
    result(taking)
    assert told == [f"c{one}" for one in range(taken + 1, number + 3)]


def test_a_snapshot_is_never_too_much() -> None:
    """It would begin anew each time."""
    s = stage()
    id, _ = watching(s, reply=Watching(cursor="c0"))
    for _ in range(30):
        s.event(id, Happened(type=Happening.SNAPSHOT, snapshot=True, process=record(argv=("x", LARGE))))
    assert s.requests() == []


# --- a lost connection ---


def test_it_goes_on_over_the_next_connection() -> None:
    s = lasting()
    id, watch = watching(s, "name=a")
    s.event(id, happened(1), happened(2))
    told, taking = take(watch, 4)
    for _ in range(2):
        # It is lost again before that is answered, too.
        s.lose_and_wait()
        s.requests()
    s.lose_and_wait()
    again = resumed(s, "c2", select=("name=a",))
    assert (watch.fresh, watch.fresh_count) == (False, 0)
    s.event(again, happened(3), happened(4))
    result(taking)
    assert told == ["c1", "c2", "c3", "c4"]


def test_where_it_goes_on_is_what_has_come_not_what_was_taken() -> None:
    s = lasting()
    id, watch = watching(s)
    s.event(id, happened(1), happened(2))
    assert watch.cursor == "c0"
    s.lose_and_wait()
    again = resumed(s, "c2")
    s.event(again, happened(3))
    told, taking = take(watch, 3)
    result(taking)
    assert told == ["c1", "c2", "c3"]
    assert watch.cursor == "c3"


def test_a_daemon_that_has_forgotten_tells_all_afresh_and_that_is_told_in_its_place() -> None:
    counts: list[tuple[str, int]] = []
    s = lasting()
    id, watch = watching(s)
    s.event(id, happened(1))
    s.lose_and_wait()
    again, request = s.request()
    assert request == commands.Watch(since="c1")
    s.reply(again, Watching(cursor="d7"))
    s.event(again, snapshot("a"), happened(8))
    for _ in range(3):
        told, taking = take(watch, 1)
        result(taking)
        counts.append((told[0], watch.fresh_count))
    assert counts == [("c1", 0), ("a", 1), ("c8", 1)]
    assert watch.fresh


def test_a_snapshot_that_may_not_be_complete_is_asked_for_anew() -> None:
    s = lasting()
    id, watch = watching(s, reply=Watching(cursor="c5"))
    s.event(id, snapshot("a"))
    s.lose_and_wait()
    again = resumed(s, None, fresh=True)
    s.event(again, snapshot("a"), snapshot("b"), happened(6))
    told, taking = take(watch, 4)
    result(taking)
    assert told == ["a", "a", "b", "c6"]
    assert watch.fresh_count == 2
    s.lose_and_wait()
    # After something has happened it was complete.
    resumed(s, "c6")


def test_a_watch_that_was_left_is_not_taken_up_by_a_new_connection_but_by_room() -> None:
    s = lasting()
    id, watch = watching(s)
    number = flood(s, id)
    assert s.request()[1] == Detach(to=id)
    s.lose_and_wait()
    assert s.requests() == []
    result(take(watch, number)[1])
    resumed(s, f"c{number}")


def test_a_watch_that_was_left_when_the_connection_went_for_good() -> None:
    s = stage()
    id, watch = watching(s)
    number = flood(s, id)
    s.lose()
    told, taking = take(watch)
    with pytest.raises(ConnectionClosed):
        result(taking)
    assert told == [f"c{one + 1}" for one in range(number)]


def test_it_is_over_when_there_is_no_other_connection() -> None:
    s = lasting(patience=1.0)
    id, watch = watching(s)
    s.event(id, happened(1))
    s.refusals.extend([None])
    over = watch.when_over()
    s.lose()
    s.clock.advance(0.5)
    assert pending(over)
    s.clock.advance(1.0)
    for one in (over, watch.when_over()):
        with pytest.raises(ConnectionClosed, match="for 1 seconds"):
            result(one)
    told, taking = take(watch)
    with pytest.raises(ConnectionClosed):
        result(taking)
    assert told == ["c1"]


def test_without_reconnecting_a_loss_is_the_end() -> None:
    s = stage()
    _, watch = watching(s)
    taking = take(watch)[1]
    s.lose()
    with pytest.raises(ConnectionClosed):
        result(taking)
    assert result(watch.close()) is None


def test_a_daemon_that_does_not_let_it_go_on() -> None:
    s = lasting()
    _, watch = watching(s)
    taking = take(watch)[1]
    s.lose_and_wait()
    id, _ = s.request()
    s.reply(id, Failure.of(Denied("not any more")))
    with pytest.raises(Denied):
        result(taking)
    with pytest.raises(Denied):
        result(watch.when_over())


def test_a_daemon_that_is_about_to_end_is_not_the_last() -> None:
    s = lasting()
    _, watch = watching(s)
    taking = take(watch, 1)[1]
    s.lose_and_wait()
    id, _ = s.request()
    s.reply(id, Failure.of(ShuttingDown("bye")))
    s.lose_and_wait()
    again = resumed(s, "c0")
    s.event(again, happened(1))
    result(taking)


def test_close_while_there_is_no_connection() -> None:
    s = lasting()
    _, watch = watching(s)
    s.lose()
    assert result(watch.close()) is None
    s.wait()
    assert s.requests() == []


def test_close_while_it_is_being_taken_up() -> None:
    s = lasting()
    _, watch = watching(s)
    s.lose_and_wait()
    id, _ = s.request()
    assert result(watch.close()) is None
    s.reply(id, Watching(cursor="c0", fresh=False))
    assert s.request()[1] == Detach(to=id)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.sampled_from([0, 300_000, 900_000])),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("resubscribe"), st.just(0)),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_all_is_told_once_and_in_order_or_a_snapshot_says_that_it_is_not(steps: list[Any]) -> None:
    """The daemon numbers what happens; a snapshot stands for all up to its cursor."""
    s = lasting()
    last = 0
    # The subscription, if there is one: its id, and what it has been told.
    at: dict[str, int] = {}
    forgotten = 0

    def answer() -> None:
        for id, request in s.requests():
            if isinstance(request, Detach):
                at.clear()
                s.event(request.to, End(reason=Reason.DETACHED))
                s.reply(id, Ok())
            elif isinstance(request, commands.Watch):
                since = -1 if request.since is None else int(request.since[1:])
                fresh = since < forgotten
                s.reply(
                    id, Watching(cursor=f"c{last}", fresh=True) if fresh else Watching(cursor=f"c{since}", fresh=False)
                )
                at.update(id=id, told=last if fresh else since)
                if fresh:
                    s.event(id, snapshot(f"s{last}"))
        tell()

    def tell() -> None:
        while at and at["told"] < last and not s.transport.value():
            at["told"] += 1
            s.event(at["id"], happened(at["told"], argv=("x", sizes[at["told"]])))
        if s.transport.value():
            answer()

    sizes: dict[int, str] = {}
    asking = s.client.watch(since="c0")
    answer()
    watch = result(asking)
    told: list[str] = []

    def take_some(count: int) -> None:
        taking = Deferred.fromCoroutine(_take_into(watch, count, told))
        answer()
        if not taking.called:
            taking.cancel()
            taking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    for step, argument in steps:
        if step == "happen":
            last += 1
            sizes[last] = "x" * argument
        elif step == "take":
            take_some(argument)
        elif step == "lose":
            at.clear()
            s.lose_and_wait()
        elif step == "resubscribe" and at:
            id = at["id"]
            at.clear()
            s.event(id, End(reason=Reason.RESUBSCRIBE))
        elif step == "forget":
            forgotten = last
        answer()
    take_some(1000)
    position = 0
    for one in told:
        number = int(one[1:])
        if one.startswith("s"):
            assert number >= position
            position = number
        else:
            assert number == position + 1
            position = number
    assert position == last


async def _take_into(watch: Watch, count: int, into: list[str]) -> None:
    for _ in range(count):
        event = await watch.__anext__()
        into.append(event.cursor or event.process.id)
