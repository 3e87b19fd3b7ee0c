"""What is in the table and what is in the database only, as one: listed, inspected, removed, pruned, started again."""

from __future__ import annotations

from typing import Any

import pytest

from netdaemon.daemon import records as module
from netdaemon.daemon.database import DatabaseFailed
from netdaemon.errors import AlreadyExited, InternalError, NameTaken, NoSuchProcess, WrongGeneration
from netdaemon.wire.answers import Changed, Happened, Listing, OfProcess, Ok, Pruned, Started, Stopped
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Inspect,
    Kill,
    List,
    Prune,
    Remove,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import State, Until
from netdaemon.wire.specs import Policy, Restart
from netdaemon.wire.told import ProcessRecord
from tests.daemon.lives import Life, advance, managed, replies
from tests.daemon.support import Bare, World


def several(w: World, count: int, **options: Any) -> list[str]:
    """So many processes that have exited one after the other, with the codes 0, 1, 2...; their ids."""
    client = w.client()
    ids = []
    for number in range(count):
        reply = w.ask(client, Start(argv=("x",), name=f"n{number}", labels=(f"n={number}",), **options))[1]
        assert isinstance(reply, Started)
        ids.append(reply.process.id)
        w.children[-1].exit(number)
        advance(w, 0.02)
    return ids


def listed(w: World, client: Bare, **options: Any) -> list[ProcessRecord]:
    """All pages of a LIST."""
    found: list[ProcessRecord] = []
    after = None
    while True:
        reply = w.ask(client, List(after=after, **options))[1]
        assert isinstance(reply, Listing)
        found += reply.processes
        after = reply.after
        if after is None:
            return found


def in_table(w: World) -> list[str]:
    return [one.id for one in w.daemon.service.table]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, None])
def test_one_list_in_the_order_of_creation(limit: int | None) -> None:
    """Those that run between those that are only recorded, in pages of any length; nobody twice."""
    with managed(exited=2) as (w, _):
        client = w.client()
        ids = []
        for number in range(12):
            ids.append(Life(w).id)
            if number % 3:
                w.children[-1].exit(0)
                advance(w, 0.02)
        assert len(in_table(w)) == 6
        found = listed(w, client, limit=limit)
        assert [one.id for one in found] == ids
        assert [one.state for one in found] == [State.EXITED if n % 3 else State.RUNNING for n in range(12)]
        assert [one.id for one in listed(w, client, limit=limit, select=("state=running",))] == ids[::3]


def test_what_is_only_recorded_is_told_as_it_was() -> None:
    """By id and by name; what needs more than a record is refused with a word that says so."""
    with managed(exited=1) as (w, _):
        client = w.client()
        first, second = several(w, 2)
        assert in_table(w) == [second]
        for name in (first, "n0"):
            reply = w.ask(client, Inspect(process=name))[1]
            assert isinstance(reply, OfProcess)
            record = reply.process
            assert (record.id, record.name, record.state, record.code) == (first, "n0", State.EXITED, 0)
            for until in (Until.EXITED, Until.ENDED):
                assert isinstance(w.ask(client, Wait(process=name, for_=until))[1], OfProcess)
            stopped = w.ask(client, Stop(process=name))[1]
            assert isinstance(stopped, Stopped)
            assert stopped.already
            for request in (Attach(process=name), Change(process=name), Wait(process=name, for_=Until.RUNNING)):
                assert isinstance(w.ask(client, request)[1], AlreadyExited), request
        assert isinstance(w.ask(client, Kill(process=first, signal=9))[1], NoSuchProcess | AlreadyExited)
        for name in ("nobody", "", "../etc", "n" * 1000, "\0"):
            assert isinstance(w.ask(client, Inspect(process=name))[1], NoSuchProcess)


def test_a_name_is_that_of_what_is_there() -> None:
    """Of the newest, and before those that are only recorded of the one that is listed."""
    with managed(exited=1) as (w, _):
        client = w.client()
        old = Life(w, name="web")
        old.exit(1)
        Life(w).exit(0)
        advance(w, 0.02)
        assert old.id not in in_table(w)
        new = Life(w, name="web")
        for request in (Inspect(process="web"), Again(process="web")):
            id = w.post(client, request)
            if isinstance(request, Again):
                new.exit(0)
            (reply,) = replies(client, id)
            assert isinstance(reply, OfProcess)
            assert reply.process.id == new.id
        # The old one is not to take its name away.
        assert isinstance(w.ask(client, Again(process=old.id))[1], NameTaken)
        assert old.id not in in_table(w)
        assert isinstance(w.ask(client, Change(process="web", name="other"))[1], Changed)
        assert isinstance(w.ask(client, Again(process=old.id))[1], OfProcess)
        assert w.daemon.service.table.find("web").id == old.id


def test_started_again_out_of_the_database() -> None:
    """Its next generation, as it was declared; offsets go on, and are never those of other bytes; numbers go on."""
    with managed(exited=1) as (w, _):
        life = Life(w, name="web", env=("A=b",), keep=8192, labels=("a=b",))
        life.child.write(b"x" * 5000)
        life.settle()
        life.exit(3)
        several(w, 1)
        assert life.id not in in_table(w)
        assert isinstance(life.reply(life.post(Again(process="web", generation=7))), WrongGeneration)
        reply = life.reply(life.post(Again(process="web", generation=1)))
        assert isinstance(reply, OfProcess)
        record = reply.process
        assert (record.id, record.generation, record.state, record.labels) == (life.id, 2, State.RUNNING, ("a=b",))
        assert record.begin == record.end > 5000
        assert (record.keep, record.code) == (8192, None)
        assert life.child.spec.env == (b"A=b",)
        assert life.types == ["created", "started", "exited", "backoff", "started"]
        assert life.events[-1].principal.startswith("uid:")
        assert [one.id for one in listed(w, life.client)].count(life.id) == 1


def test_what_is_stopped_and_comes_back_is_not_lost_sight_of() -> None:
    """It is listed longer than what is only a record; where there are too many of them, it is told what that costs."""
    with managed(exited=1, processes=3) as (w, journalled):
        stopped = []
        for _ in range(6):
            life = Life(w, restart=Restart(policy=Policy.ALWAYS))
            life.post(Stop(process=life.id))
            life.exit(0)
            advance(w, 0.02)
            stopped.append(life)
        several(w, 2)
        found = {one.id: one.state for one in listed(w, w.client())}
        assert [found.get(life.id) for life in stopped] == [State.EXITED] * 6
        assert set(in_table(w)) <= {life.id for life in stopped}
        away = [life for life in stopped if life.id not in in_table(w)]
        assert len(in_table(w)) == 1 + 3
        assert [life.types[-1] for life in away] == ["changed"] * len(away)
        for life in stopped:
            reply = life.reply(life.post(Again(process=life.id)))
            assert isinstance(reply, OfProcess)
            life.exit(0)
            life.post(Stop(process=life.id))
            life.advance(1)
        journalled.check()


def test_its_key_is_its_own() -> None:
    """One that comes back finds that another was started with its key, and leaves it that."""
    with managed(exited=1) as (w, _):
        client = w.client()
        start = Start(argv=("x",), key="k")
        old = w.ask(client, start)[1]
        assert isinstance(old, Started)
        w.children[-1].exit(0)
        several(w, 1)
        new = w.ask(client, start)[1]
        assert isinstance(new, Started)
        assert new.created
        assert isinstance(w.ask(client, Again(process=old.process.id))[1], OfProcess)
        again = w.ask(client, start)[1]
        assert isinstance(again, Started)
        assert again.process.id == new.process.id
        w.children[-1].exit(0)
        w.daemon.settle()
        assert isinstance(w.ask(client, Remove(process=old.process.id))[1], Ok)
        again = w.ask(client, start)[1]
        assert isinstance(again, Started)
        assert again.process.id == new.process.id


def test_remove() -> None:
    """Told once, at once gone from everything, and refused the second time; its events stay."""
    with managed(exited=1) as (w, journalled):
        watcher = w.client()
        watching = w.ask(watcher, Watch())[0]
        client = w.client()
        first, _, last = several(w, 3)
        for id in (first, last):
            assert isinstance(w.ask(client, Remove(process=id, generation=2))[1], WrongGeneration)
            assert isinstance(w.ask(client, Remove(process=id))[1], Ok)
            for request in (Remove(process=id), Inspect(process=id), Again(process=id), Stop(process=id)):
                assert isinstance(w.ask(client, request)[1], NoSuchProcess)
            assert id not in [one.id for one in listed(w, client)]
        advance(w, 0.02)
        for id in (first, last):
            assert isinstance(w.ask(client, Inspect(process=id))[1], NoSuchProcess)
            types = [
                message.type.value
                for other, message in watcher.got
                if other == watching and isinstance(message, Happened) and message.process.id == id
            ]
            assert types == ["created", "started", "exited", "removed"]
        journalled.check()


@pytest.mark.parametrize("request_of", [lambda id: Remove(process=id), lambda id: Again(process=id)])
def test_while_the_journal_does_not_have_its_last_events(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows them has the numbers that follow: nothing is told in the place of another."""
    with managed() as (w, journalled):
        life = Life(w)
        life.exit(0)

        def failing(*_: object) -> None:
            raise DatabaseFailed("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(w.daemon.service.journal.database, "commit", failing)
            life.post(Change(process=life.id, labels=("a=b",)))
            w.daemon.service.table._drop(life.process)
            request = request_of(life.id)
            assert isinstance(life.reply(life.post(request)), Ok | OfProcess)
        life.advance(2)
        following = ["removed"] if isinstance(request, Remove) else ["backoff", "started"]
        assert life.types == ["created", "started", "exited", "changed", *following]
        journalled.check()


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [5]),
        ({"age": 0}, [5]),
        ({"age": 40}, [4, 5]),
        ({"age": 3_600_000}, [0, 1, 2, 3, 4, 5]),
        ({"select": ("n1",)}, [0, 2, 3, 4, 5]),
        ({"select": ("label.n=4",)}, [0, 1, 2, 3, 5]),
        ({"select": ("label.n=4", "n1")}, [0, 1, 2, 3, 4, 5]),
        ({"select": ("state=running",)}, [0, 1, 2, 3, 4, 5]),
        ({"select": ("n*",), "age": 40}, [4, 5]),
    ],
)
def test_prune(options: dict[str, Any], left: list[int]) -> None:
    """Those that have finished, match, and did so long enough ago, wherever they are; told each."""
    with managed(exited=2) as (w, journalled):
        client = w.client()
        ids = several(w, 5)
        ids.append(Life(w, restart=Restart(policy=Policy.ALWAYS, delay=60_000)).id)
        w.children[-1].exit(1)
        w.daemon.settle()
        # The last exited 30 ms ago, and each of the others 20 ms before the next.
        pruning = w.post(client, Prune(**options))
        advance(w, 0.1)
        (reply,) = replies(client, pruning)
        assert isinstance(reply, Pruned)
        assert reply.count == 6 - len(left)
        assert [one.id for one in listed(w, client)] == [ids[number] for number in left]
        journalled.check()


def test_prune_of_many_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some in each turn, while others come and go; nobody is forgotten that is started again meanwhile."""
    monkeypatch.setattr(module, "LOOK", 4)
    monkeypatch.setattr(module, "PRUNE", 2)
    monkeypatch.setattr(module, "PAGE", 3)
    with managed(exited=3) as (w, _):
        client = w.client()
        ids = several(w, 20)
        pruning, octets = client.connection.request(Prune())
        again, more = client.connection.request(Again(process=ids[-1]))
        client.send(octets + more)
        advance(w, 1)
        assert isinstance(replies(client, again)[0], OfProcess)
        (reply,) = replies(client, pruning)
        assert isinstance(reply, Pruned)
        assert reply.count == 19
        assert [one.id for one in listed(w, client)] == [ids[-1]]


def test_a_snapshot_has_each_once_while_they_are_let_go() -> None:
    """One that goes from the table into the database while it is being told is told once."""
    with managed(exited=10) as (w, _):
        ids = several(w, 8)
        table = w.daemon.service.table
        found = w.daemon.service.records.matching(None)
        table.archives = True
        told = [next(found).id]
        for process in list(table):
            table._drop(process)
        advance(w, 0.1)
        told += [one.id for one in found]
        assert told == ids


def test_a_database_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said so; what is in the table is found all the same, and the connection goes on."""
    with managed(exited=1) as (w, _):
        client = w.client()
        ids = several(w, 2)

        def failing(*_: object) -> None:
            raise DatabaseFailed("no such disk")

        with monkeypatch.context() as patch:
            for name in ("find", "page"):
                patch.setattr(w.daemon.service.journal.database, name, failing)
            for request in (List(), Inspect(process=ids[0]), Remove(process=ids[0]), Again(process=ids[0]), Prune()):
                assert isinstance(w.ask(client, request)[1], InternalError), request
            assert isinstance(w.ask(client, Inspect(process=ids[1]))[1], OfProcess)
        assert len(listed(w, client)) == 2
