"""A subscription on a plain socket: order, leaving and coming back, lost connections, snapshots, the end."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from netdaemon.blocking import Watch
from netdaemon.errors import BadRequest, ConnectionClosed, Denied, LocalProtocolError, Refusal, ShuttingDown, TimedOut
from netdaemon.resumption import EVENTS_LEAST, EVENTS_MOST
from netdaemon.wire import commands
from netdaemon.wire.answers import End, Event, Happened, Ok, Watching
from netdaemon.wire.commands import Detach, Request
from netdaemon.wire.records import Reason
from netdaemon.wire.told import Happening, Stats
from tests.blocking.support import CUT, RECORD, Answer, fake, server, until

LARGE = replace(RECORD, argv=("x" * 100_000,))


def happened(number: int, **fields: Any) -> Happened:
    return Happened(cursor=f"c{number}", type=Happening.STARTED, **{"process": RECORD, **fields})


def snapshot(id: str) -> Happened:
    return Happened(type=Happening.SNAPSHOT, snapshot=True, process=replace(RECORD, id=id))


class Script:
    """Agrees to each WATCH, and tells what the test has for it.

    :param told: for each WATCH, one after the other, the events; after the last, none.
    :ivar answers: what to answer the next ones instead.
    """

    def __init__(self, *told: list[Event]) -> None:
        self.told = deque(told)
        self.answers: deque[Answer] = deque()

    def answer(self, request: Request) -> Answer:
        if not isinstance(request, commands.Watch):
            return Ok()
        if self.answers:
            return self.answers.popleft()
        return Watching(cursor=request.since or "fresh", fresh=request.since is None)

    def after(self, request: Request) -> list[Event]:
        if isinstance(request, Detach):
            return [End(reason=Reason.DETACHED)]
        if isinstance(request, commands.Watch) and self.told:
            return self.told.popleft()
        return []


def cursors(watch: Watch, count: int) -> list[str]:
    """Where the next events stand."""
    found = []
    for _ in range(count):
        event = watch.next_event(10)
        assert event is not None
        found.append(event.cursor or event.process.id)
    return found


def test_what_is_asked_and_what_is_told() -> None:
    stats = Happened(type=Happening.STATS, process=replace(RECORD, id="p2"), stats=Stats(cpu=1))
    script = Script([happened(8), happened(9), stats])
    with fake(script.answer, script.after) as (client, daemon):
        watch = client.watch("name=web*", since="c7", stats=500)
        assert (watch.cursor, watch.fresh, watch.fresh_count) == ("c7", False, 0)
        assert cursors(watch, 3) == ["c8", "c9", "p2"]
        # What is not kept does not move the cursor.
        assert watch.cursor == "c9"
        with pytest.raises(TimedOut, match="nothing happened"):
            watch.next_event(0.01)
        daemon.tell(happened(10))
        assert cursors(watch, 1) == ["c10"]
    assert daemon.requests == [commands.Watch(select=("name=web*",), since="c7", stats=500)]


def test_a_snapshot_comes_first_and_iterating_ends_with_the_watch() -> None:
    script = Script([snapshot("a"), snapshot("b"), happened(6), End(reason=Reason.REVOKED)])
    with fake(script.answer, script.after) as (client, _):
        watch = client.watch()
        assert (watch.cursor, watch.fresh, watch.fresh_count) == ("fresh", True, 1)
        assert [event.cursor or event.process.id for event in watch] == ["a", "b", "c6"]
        assert watch.end == End(reason=Reason.REVOKED)
        watch.close()


def test_leaving_the_context_detaches() -> None:
    script = Script([happened(1)])
    with fake(script.answer, script.after) as (client, daemon):
        with client.watch(since="c0") as watch:
            id = watch.attachment
        assert daemon.asked(Detach) == [Detach(to=id)]
        assert watch.next_event() is None
        watch.close()
        # The conversation goes on.
        client.reload()
    assert len(daemon.asked(Detach)) == 1


@pytest.mark.parametrize("refusal", [Denied("no"), BadRequest("what?", field="select")], ids=repr)
def test_a_refusal_is_raised(refusal: Refusal) -> None:
    with fake(lambda request: refusal) as (client, _), pytest.raises(type(refusal)):
        client.watch("bad")


def test_what_cannot_be_asked() -> None:
    with fake(lambda request: Ok()) as (client, daemon), pytest.raises(BadRequest, match="stats"):
        client.watch(stats=1)
    assert daemon.requests == []
    with fake(lambda request: Ok(), version=1) as (client, _), pytest.raises(LocalProtocolError):
        client.watch()


def test_nobody_waits_any_more_for_what_was_not_answered_in_time() -> None:
    with fake(lambda request: None) as (client, daemon):
        with pytest.raises(TimedOut):
            client.watch(timeout=0.01)
        daemon.attachment = 2
        daemon.send(daemon.connection.reply(2, Watching(cursor="c1")))
        until(client, lambda: daemon.asked(Detach) == [Detach(to=2)])


def test_with_a_poll_loop_of_ones_own() -> None:
    script = Script([happened(1), happened(2)])
    with fake(script.answer, script.after) as (client, _):
        pending = client.submit(commands.Watch(since="c0"))
        found: list[str] = []
        while len(found) < 2:
            client.pump(10)
            while pending.watch is not None and (event := pending.watch.take()) is not None:
                found.append(event.cursor)
        assert found == ["c1", "c2"]
        assert pending.watch is not None
        assert pending.watch.take() is None


def test_a_client_that_was_too_slow_subscribes_again_where_it_was() -> None:
    script = Script([happened(1), happened(2), End(reason=Reason.RESUBSCRIBE)], [happened(3)])
    with fake(script.answer, script.after) as (client, daemon):
        watch = client.watch("a=b", since="c0", stats=1000)
        assert cursors(watch, 3) == ["c1", "c2", "c3"]
    assert daemon.requests == [
        commands.Watch(select=("a=b",), since="c0", stats=1000),
        commands.Watch(select=("a=b",), since="c2", stats=1000),
    ]


def test_too_much_waits_so_it_is_left_and_taken_up_when_there_is_room() -> None:
    whole = [happened(number, process=LARGE) for number in range(1, 31)]

    def after(request: Request) -> list[Event]:
        if isinstance(request, commands.Watch):
            return list[Event](whole[int((request.since or "c0")[1:]) :])
        return [End(reason=Reason.DETACHED)] if isinstance(request, Detach) else []

    with fake(Script().answer, after) as (client, daemon):
        watch = client.watch(since="c0")
        until(client, lambda: daemon.asked(Detach))
        # All that is on its way comes to nothing.
        client.reload()
        taken = 0
        while len(asked := daemon.asked(commands.Watch)) == 1:
            taken += 1
            assert cursors(watch, 1) == [f"c{taken}"]
            client.reload()
        assert isinstance(asked[1], commands.Watch)
        since = int((asked[1].since or "")[1:])
        assert 0 <= since * 100_000 - EVENTS_MOST <= 100_000
        assert (since - taken) * 100_000 <= EVENTS_LEAST
        assert cursors(watch, 30 - taken) == [f"c{number}" for number in range(taken + 1, 31)]


# --- a lost connection ---


def test_it_goes_on_over_the_next_connection() -> None:
    script = Script([happened(1), happened(2)], [happened(3)], [happened(4)])
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch("a=b", since="c0")
        assert cursors(watch, 2) == ["c1", "c2"]
        for number in (3, 4):
            fakes.die()
            fakes.listen()
            assert cursors(watch, 1) == [f"c{number}"]
        assert (watch.fresh, watch.fresh_count) == (False, 0)
    assert [request.since for request in fakes.asked(commands.Watch)] == ["c0", "c2", "c3"]
    assert {request.select for request in fakes.asked(commands.Watch)} == {("a=b",)}


def test_where_it_goes_on_is_what_has_come_not_what_was_taken() -> None:
    script = Script([happened(1), happened(2)], [happened(3)])
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch(since="c0")
        client.reload()
        fakes.die()
        fakes.listen()
        client.reload()
        assert watch.cursor == "c0"
        assert cursors(watch, 3) == ["c1", "c2", "c3"]
    assert fakes.asked(commands.Watch)[1] == commands.Watch(since="c2")


def test_it_is_asked_again_when_the_answer_was_lost() -> None:
    script = Script([happened(1)])
    script.answers.append(CUT)
    with server(script.answer, script.after) as (client, fakes):
        assert cursors(client.watch(since="c0"), 1) == ["c1"]
    assert fakes.asked(commands.Watch) == [commands.Watch(since="c0")] * 2


def test_a_daemon_that_has_forgotten_tells_all_afresh_and_that_is_told_in_its_place() -> None:
    begun: list[str | None] = []
    script = Script([happened(1)], [snapshot("a"), happened(8)])
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch(since="c0")
        watch.on_fresh = lambda: begun.append(watch.cursor)
        client.reload()
        script.answers.append(Watching(cursor="d7"))
        fakes.die()
        fakes.listen()
        client.reload()
        counts = [(cursors(watch, 1), watch.fresh_count) for _ in range(3)]
        assert counts == [(["c1"], 0), (["a"], 1), (["c8"], 1)]
        assert watch.fresh
        assert begun == ["d7"]


def test_a_snapshot_that_may_not_be_complete_is_asked_for_anew() -> None:
    script = Script([snapshot("a")], [snapshot("a"), happened(6)], [])
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch()
        assert cursors(watch, 1) == ["a"]
        for told in (["a", "c6"], []):
            fakes.die()
            fakes.listen()
            client.reload()
            assert cursors(watch, len(told)) == told
        assert watch.fresh_count == 2
    assert [request.since for request in fakes.asked(commands.Watch)] == [None, None, "c6"]


def test_it_is_over_when_there_is_no_other_connection() -> None:
    script = Script([happened(1)])
    with server(script.answer, script.after, patience=0.1) as (client, fakes):
        watch = client.watch(since="c0")
        client.reload()
        fakes.die()
        assert cursors(watch, 1) == ["c1"]
        with pytest.raises(ConnectionClosed, match="gone"):
            watch.next_event(10)
        with pytest.raises(ConnectionClosed):
            next(iter(watch))
        fakes.listen()


@pytest.mark.parametrize("how", ["a loss", "resubscribe"])
def test_a_daemon_that_does_not_let_it_go_on(how: str) -> None:
    script = Script([happened(1)])
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch(since="c0")
        assert cursors(watch, 1) == ["c1"]
        script.answers.append(Denied("not any more"))
        if how == "a loss":
            fakes.die()
            fakes.listen()
        else:
            fakes.daemons[0].tell(End(reason=Reason.RESUBSCRIBE))
        with pytest.raises(Denied):
            watch.next_event(10)
        # It alone is over.
        client.reload()


def test_a_daemon_that_is_about_to_end_is_not_the_last() -> None:
    script = Script([happened(1)])
    with server(script.answer, script.after) as (client, fakes):
        script.answers.append(Watching(cursor="c0", fresh=False))
        script.told.appendleft([])
        watch = client.watch(since="c0")
        script.answers.append(ShuttingDown("bye"))
        script.told.appendleft([])
        for _ in range(2):
            fakes.die()
            fakes.listen()
            client.reload()
        assert cursors(watch, 1) == ["c1"]


def test_close_while_there_is_no_connection() -> None:
    script = Script()
    with server(script.answer, script.after) as (client, fakes):
        watch = client.watch(since="c0")
        fakes.die()
        until(client, lambda: not client.connected)
        watch.close()
        assert watch.next_event() is None
        fakes.listen()
        client.reload()
    assert len(fakes.asked(commands.Watch)) == 1
