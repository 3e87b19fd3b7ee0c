"""A WATCH begins with a snapshot: however much has to be looked at for it, others have their turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from netdaemon.daemon import feed
from netdaemon.daemon.responders import looks
from netdaemon.errors import InternalError, ShuttingDown
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


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Deferred[None]]:
    """What fires when the next turn comes: in memory there is no time between two."""
    coming: list[Deferred[None]] = []

    def later(reactor: object, delay: float) -> Deferred[None]:
        assert delay == 0
        coming.append(Deferred())
        return coming[-1]

    monkeypatch.setattr(looks, "deferLater", later)
    return coming


def looking(w: World, client: Bare, records: int) -> tuple[int, list[None]]:
    """A WATCH that looks at so many and finds none; its id, and what it has looked at."""
    looked: list[None] = []

    def matching(matches: object) -> Iterator[None]:
        for _ in range(records):
            looked.append(None)
            yield None

    w.daemon.service.records.matching = matching  # type: ignore[assignment]
    return w.post(client, Watch(select=("name=nobody",))), looked


def test_others_are_answered_meanwhile(turns: list[Deferred[None]]) -> None:
    """It looks at so many, and others have their turn, until all of them were looked at."""
    with world() as w:
        client, other = w.client(), w.client()
        id, looked = looking(w, client, 3 * feed.LOOK - 1)
        for number in (1, 2):
            assert len(looked) == number * feed.LOOK
            assert len(turns) == number
            w.ask(other, Info())
            assert not [one for one, _ in client.got if one == id]
            turns[-1].callback(None)
            w.daemon.settle()
        assert told(client, id)[1] == []


def test_a_client_that_leaves_meanwhile(turns: list[Deferred[None]]) -> None:
    """Nothing is left of its subscription."""
    with world() as w:
        client = w.client()
        looking(w, client, 3 * feed.LOOK)
        assert len(w.daemon.service.feed) == 1
        assert client.transport is not None
        client.transport.abortConnection()
        w.daemon.settle()
        assert len(w.daemon.service.feed) == 0


def test_a_daemon_that_ends_meanwhile(turns: list[Deferred[None]]) -> None:
    """It is refused, as all that waits is."""
    with world() as w:
        client = w.client()
        id, _ = looking(w, client, 3 * feed.LOOK)
        w.daemon.stop()
        (reply,) = (message for one, message in client.got if one == id)
        assert isinstance(reply, ShuttingDown)
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
