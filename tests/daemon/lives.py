"""A process whose life a test plays, and what everybody is told of it meanwhile."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from netdaemon.daemon.database import Entry
from netdaemon.daemon.journal import Journal
from netdaemon.errors import Refusal
from netdaemon.keeper.child import Launched, LaunchError, Spec
from netdaemon.process.record import Process
from netdaemon.testing import FakeChild
from netdaemon.wire.answers import Attached, Event, Happened, Message, OfProcess, Started, Status
from netdaemon.wire.commands import Inspect, Request, Start, Watch
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord
from tests.daemon.support import Bare, World, world
from tests.walltime import wall_time

# Until what has happened is in the journal, and told.
COMMITTED = 0.01


class Launches:
    """Starts of children that wait for the test, in place of those that are done at once."""

    def __init__(self, w: World) -> None:
        self._w = w
        self._launch = w.launcher.launch
        self._waiting: list[tuple[Deferred[Launched], tuple[str, Spec, int, Mapping[str, int] | None]]] = []
        w.launcher.launch = self._wait  # type: ignore[method-assign]

    def _wait(self, id: str, spec: Spec, spool: int, shared: Mapping[str, int] | None = None) -> Deferred[Launched]:
        done: Deferred[Launched] = Deferred()
        self._waiting.append((done, (id, spec, spool, shared)))
        return done

    def go(self, error: LaunchError | None = None) -> None:
        """The oldest that waits works, or fails with *error*."""
        done, what = self._waiting.pop(0)
        if error is None:
            self._launch(*what).chainDeferred(done)
        else:
            done.errback(error)
        self._w.daemon.settle()

    def at_once(self) -> None:
        """None waits from here on."""
        self._w.launcher.launch = self._launch  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self._waiting)


class Journalled:
    """What the processes of a world have told, as it goes into the journal."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look at it, from now on."""
        append = Journal.append

        def both(journal: Journal, entry: Entry) -> None:
            self.entries.append(entry)
            append(journal, entry)

        with mock.patch.object(Journal, "append", both):
            yield

    def check(self) -> None:
        """Of each process all numbers from the first on, and its events in an order that is documented."""
        processes: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if not entry.event.snapshot:
                processes.setdefault(entry.process, []).append(entry)
        for entries in processes.values():
            first = entries[0].number
            assert [entry.number for entry in entries] == list(range(first, first + len(entries)))
            check_order([entry.event.type for entry in entries], whole=first == 1)
            assert all(entry.gone == (entry.event.type is Happening.REMOVED) for entry in entries)


# What may come, by where a process is; and where it is then. None: as before.
_ANYWHERE: dict[Happening, str | None] = {Happening.CHANGED: None, Happening.LEFTOVER: None}
_ORDER: dict[str, dict[Happening, str | None]] = {
    "nowhere": {Happening.CREATED: "launched"},
    "launched": {Happening.STARTED: "runs", Happening.NOT_STARTED: "gone"},
    "runs": {
        Happening.READY: None,
        Happening.SIGNALLED: None,
        Happening.NOT_READY: None,
        Happening.WATCHDOG: None,
        Happening.LOG_FAILED: None,
        Happening.LOG_RECOVERED: None,
        Happening.STOPPING: "stops",
        Happening.EXITED: "gone",
    },
    "stops": {
        Happening.READY: None,
        Happening.SIGNALLED: None,
        Happening.NOT_READY: None,
        Happening.WATCHDOG: None,
        Happening.STEP: None,
        Happening.NOT_STOPPED: "runs",
        Happening.EXITED: "gone",
    },
    "gone": {
        Happening.BACKOFF: "waits",
        Happening.FAILED: "gone",
        Happening.STARTED: "runs",
        Happening.NOT_STARTED: "gone",
        Happening.REMOVED: "removed",
    },
    "waits": {
        Happening.STOPPING: "gone",
        Happening.STARTED: "runs",
        Happening.NOT_STARTED: "gone",
        # One that waited when all was lost; and one that could not be started again after that.
        Happening.BACKOFF: None,
        Happening.FAILED: "gone",
    },
    "removed": {},
}


def check_order(types: Sequence[Happening], *, whole: bool = True) -> None:
    """Whether one process's events may come in this order; *whole*: from its first on."""
    places = {"nowhere"} if whole else set(_ORDER) - {"nowhere"}
    for number, one in enumerate(types):
        following = set()
        for place in places:
            allowed = _ORDER[place] if place in ("nowhere", "removed") else {**_ANYWHERE, **_ORDER[place]}
            if one in allowed:
                following.add(allowed[one] or place)
        assert following, f"{one.value} where it {places}: {[each.value for each in types[: number + 1]]}"
        places = following


class Life:
    """One process of a world, with somebody attached to it and somebody who watches."""

    def __init__(self, w: World, *, attach: bool = True, launches: Launches | None = None, **options: Any) -> None:
        self.w = w
        self.client = w.client()
        self.watcher = w.client()
        self.watching = w.ask(self.watcher, Watch())[0]
        options.setdefault("argv", ("program",))
        self.attached = w.post(self.client, Start(attach=attach or None, **options))
        if launches is not None:
            launches.go()
        (reply,) = replies(self.client, self.attached)
        assert isinstance(reply, Attached | Started), reply
        self.id = reply.process.id
        self.settle()

    @property
    def process(self) -> Process:
        return self.w.daemon.service.table.find(self.id)

    @property
    def child(self) -> FakeChild:
        """Its present child, or its last."""
        return next(one for one in reversed(self.w.children) if one.launched.id.partition("-")[0] == self.id)

    def settle(self) -> None:
        """Let everything be told."""
        self.w.daemon.settle()
        self.advance(COMMITTED)

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps as small as what is waited for."""
        advance(self.w, seconds)

    @property
    def record(self) -> ProcessRecord:
        """As INSPECT tells it."""
        reply = self.w.ask(self.client, Inspect(process=self.id))[1]
        assert isinstance(reply, OfProcess), reply
        return reply.process

    @property
    def events(self) -> list[Happened]:
        """What was told to who watches, but for snapshots."""
        return [
            message
            for id, message in self.watcher.got
            if id == self.watching and isinstance(message, Happened) and not message.snapshot
            if message.process.id == self.id
        ]

    @property
    def types(self) -> list[str]:
        return [event.type.value for event in self.events]

    @property
    def told(self) -> list[str]:
        """The details of all steps."""
        return [event.detail or "" for event in self.events if event.type is Happening.STEP]

    @property
    def statuses(self) -> list[tuple[State, int]]:
        """What was told to who is attached: states and generations."""
        return [
            (message.state, message.generation)
            for id, message in self.client.got
            if id == self.attached and isinstance(message, Status)
        ]

    def exit(self, code: int | None = 0, **options: Any) -> None:
        """Its child exits."""
        self.child.exit(code, **options)
        self.settle()

    def say(self, word: str) -> None:
        """Its child says something on its NOTIFY_SOCKET."""
        path = next(one for one in self.child.spec.env if one.startswith(b"NOTIFY_SOCKET=")).partition(b"=")[2]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(word.encode(), path)
        self.settle()

    def post(self, request: Request) -> int:
        """Ask something; its id."""
        id = self.w.post(self.client, request)
        self.settle()
        return id

    def reply(self, id: int) -> Message | Refusal | None:
        """The answer, if there is one; never two."""
        found = replies(self.client, id)
        assert len(found) <= 1, found
        return found[0] if found else None


def replies(client: Bare, id: int) -> list[Message | Refusal]:
    """What came with that id and is no event."""
    return [message for other, message in client.got if other == id and not isinstance(message, Event)]


def advance(w: World, seconds: float) -> None:
    """Let time pass, from one thing that is waited for to the next."""
    until = w.reactor.seconds() + seconds
    while True:
        w.daemon.settle()
        due = [call.getTime() for call in w.reactor.getDelayedCalls()]
        following = min(due, default=until)
        if following >= until:
            break
        w.reactor.advance(max(0.0, following - w.reactor.seconds()))
    w.reactor.advance(max(0.0, until - w.reactor.seconds()))
    w.daemon.settle()


class Day:
    """The time of day of a world that is still to be made.

    :param began: seconds after the beginning of all days.
    """

    def __init__(self, began: float) -> None:
        self.w: World | None = None
        self._began = began

    def seconds(self) -> float:
        return self._began + (0 if self.w is None else self.w.reactor.seconds())


@contextlib.contextmanager
def managed(began: float = 0, **settings: Any) -> Iterator[tuple[World, Journalled]]:
    """A world whose time of day is its reactor's, whose journal is looked at; clean afterwards, as `world` is."""
    day, journalled = Day(began), Journalled()
    with wall_time(day), journalled.looking(), world(**settings) as w:
        day.w = w
        yield w, journalled
        journalled.check()
