"""A WATCH begins with a snapshot: however much has to be looked at for it, others have their turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netdaemon.daemon import feed
from netdaemon.errors import InternalError
from netdaemon.wire.answers import Happened, Watching
from netdaemon.wire.commands import Info, Watch
from tests.daemon.support import Bare, World, world

PROCESSES = 7


def told(client: Bare, id: int) -> tuple[Watching, list[str | None]]:
    """The reply, and whose records the snapshot has; only the last of them has the cursor."""
    reply, *events = (message for other, message in client.got if other == id)
    assert isinstance(reply, Watching)
    names = []
    for number, event in enumerate(events, 1):
        assert isinstance(event, Happened)
        assert event.snapshot
        assert event.cursor == (reply.cursor if number == len(events) else "")
        names.append(event.process.name)
    assert bool(reply.snapshot) == bool(names)
    return reply, names


def started(w: World) -> Bare:
    client = w.client()
    for number in range(PROCESSES):
        w.start(client, name=f"p{number}")
    return w.client()


@pytest.mark.parametrize("look", [1, 2, 64])
@pytest.mark.parametrize(
    ("select", "names"),
    [
        ((), [f"p{number}" for number in range(PROCESSES)]),
        (("name=p[036]",), ["p0", "p3", "p6"]),
        (("name=p[45]",), ["p4", "p5"]),
        (("name=p6",), ["p6"]),
        (("name=nobody",), []),
    ],
)
def test_what_matches_is_told(
    monkeypatch: pytest.MonkeyPatch, look: int, select: tuple[str, ...], names: list[str]
) -> None:
    """Wherever it stands among what does not."""
    monkeypatch.setattr(feed, "LOOK", look)
    with world() as w:
        client = started(w)
        id = w.post(client, Watch(select=select or None))
        reply, found = told(client, id)
        assert reply.fresh
        assert found == names


def test_others_are_answered_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it looks for the first that matches."""
    monkeypatch.setattr(feed, "LOOK", 1)
    with world() as w:
        client, other = w.client(), w.client()
        monkeypatch.setattr(w.daemon.service.records, "matching", lambda matches: iter([None] * 1000))
        id, octets = client.connection.request(Watch(select=("name=nobody",)))
        client.send(octets)
        w.reactor.turn()
        asked, octets = other.connection.request(Info())
        other.send(octets)
        while not [one for one, _ in other.got if one == asked]:
            assert w.reactor.turn()
        assert not [one for one, _ in client.got if one == id]
        w.daemon.settle()
        assert told(client, id)[1] == []


def test_a_client_that_leaves_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of its subscription."""
    monkeypatch.setattr(feed, "LOOK", 1)
    with world() as w:
        client = started(w)
        client.send(client.connection.request(Watch(select=("name=nobody",)))[1])
        while not len(w.daemon.service.feed):
            assert w.reactor.turn()
        assert client.transport is not None
        client.transport.abortConnection()
        w.daemon.settle()
        assert len(w.daemon.service.feed) == 0


def test_what_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle, too; and nothing is left of it."""
    monkeypatch.setattr(feed, "LOOK", 1)
    with world() as w:
        client = started(w)

        def broken(matches: object) -> Iterator[None]:
            yield None
            yield None
            raise InternalError("the records cannot be read")

        monkeypatch.setattr(w.daemon.service.records, "matching", broken)
        _, reply = w.ask(client, Watch())
        assert isinstance(reply, InternalError)
        assert len(w.daemon.service.feed) == 0
