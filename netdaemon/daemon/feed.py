"""The latest events, and who is told of them: each from where it is, at its own pace; knows no sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from twisted.logger import Logger

from netdaemon.daemon.database import Database, DatabaseFailed
from netdaemon.errors import InternalError
from netdaemon.wire.answers import End, Event, Happened
from netdaemon.wire.records import Reason
from netdaemon.wire.told import Happening, ProcessRecord, Stats

# Events that are at hand for whoever watches: a burst, in about a megabyte. Who is further behind reads the database.
RECENT = 1024

# Events that are read from the database at a time for whoever is further behind: a few milliseconds.
PAGE = 64

# What an event counts for in the turn of its client: so many bytes of output as are sent in the same time, not its own,
# which are few; and one that is looked at only. A turn is some milliseconds, whatever is sent in it.
EVENT_SIZE = 16384
EVENT_LOOKED_AT = 4096

# A record of a snapshot that is looked at only: it has to be decoded for that. So many are looked at in one turn.
RECORD_LOOKED_AT = 16384
LOOK = 64

# Between the journal's instance and an event's number in a cursor.
BETWEEN = "-"

# A number has no more digits in 64 bits.
DIGITS = 19

_log = Logger()


class Outlet(Protocol):
    """The peer, as a subscription sees it."""

    def ready(self, subscription: Subscription) -> None:
        """There is something to send for *subscription*."""

    def send_event(self, id: int, event: Event) -> None:
        """Send an event."""

    def closed(self, subscription: Subscription) -> None:
        """The subscription is over."""


class Feed:
    """The events of one journal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: deque[tuple[int, Happened]] = deque(maxlen=RECENT)
        self.last = database.span()[1]
        self._subscriptions: dict[Subscription, None] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def happened(self, events: Sequence[tuple[int, Happened]]) -> None:
        """These are in the journal now."""
        self.last = events[-1][0]
        if not self._subscriptions:
            # Whoever comes later begins with what is in the database.
            self._recent.clear()
            return
        self._recent.extend(events)
        for one in list(self._subscriptions):
            try:
                one.wake()
            except Exception:
                # One that fails costs the others nothing.
                _log.failure("a subscription failed")

    def renewed(self) -> None:
        """There is another journal: nobody can go on from where they are."""
        self._recent.clear()
        self.last = self._database.span()[1]
        for one in list(self._subscriptions):
            one.end(Reason.RESUBSCRIBE)

    def cursor(self, number: int) -> str:
        """Where somebody is who has been told all up to *number*."""
        return f"{self._database.instance}{BETWEEN}{number}"

    def place(self, cursor: str) -> int | None:
        """The number in a cursor; None: what follows it is not known here, or not any more."""
        instance, _, number = cursor.rpartition(BETWEEN)
        if instance != self._database.instance or not number.isdecimal() or len(number) > DIGITS:
            return None
        after = int(number)
        return after if self._known(after) else None

    def _known(self, after: int) -> bool:
        """Whether all that follows is kept."""
        if self._recent and self._recent[0][0] <= after + 1:
            return after <= self.last
        try:
            first, last = self._database.span()
        except DatabaseFailed:
            return False
        return first - 1 <= after <= last

    def following(self, after: int) -> Sequence[tuple[int, Happened]] | None:
        """The next events after that number, some of them; empty: there are none yet. None: they are not kept."""
        if after >= self.last:
            return ()
        recent = self._recent
        if recent and recent[0][0] <= after + 1:
            # Numbers have no holes but where an event was spoiled; so this is near.
            index = min(after + 1 - recent[0][0], len(recent) - 1)
            while index and recent[index - 1][0] > after:
                index -= 1
            return [recent[place] for place in range(index, min(index + PAGE, len(recent)))]
        if not self._known(after):
            return None
        return self._database.events(after, PAGE)

    def add(self, subscription: Subscription) -> None:
        """Wake *subscription* whenever something has happened."""
        self._subscriptions[subscription] = None

    def discard(self, subscription: Subscription) -> None:
        """Wake it no more."""
        self._subscriptions.pop(subscription, None)


class Subscription:
    """One WATCH of one client.

    :param after: the number of the last event that it knows.
    :param snapshot: the records to tell before anything else, with a None for each that was looked at and is not to be
        told. `look` says whether there is any.
    """

    def __init__(
        self,
        outlet: Outlet,
        id: int,
        feed: Feed,
        matches: Callable[[ProcessRecord], bool] | None,
        after: int,
        snapshot: Iterator[ProcessRecord | None],
    ) -> None:
        self.id = id
        self._outlet = outlet
        self._feed = feed
        self._matches = matches
        self._after = after
        # None: all of it has been looked at.
        self._snapshot: Iterator[ProcessRecord | None] | None = snapshot
        # The next of it to be told, once there is another or none: so that the last is known for that.
        self._held: ProcessRecord | None = None
        self._page: deque[tuple[int, Happened]] = deque()
        # What was measured last and not told yet, by process.
        self._measured: dict[str, tuple[ProcessRecord, Stats]] = {}
        self._begun = False
        # What it has cost to look at what it does not want, since it last sent anything.
        self._cost = 0
        self.on_close: Callable[[], object] = lambda: None
        feed.add(self)

    def begin(self) -> None:
        """The reply is out: events may follow."""
        self._begun = True
        self.wake()

    def wake(self) -> None:
        """There may be more to tell."""
        if self._begun:
            self._outlet.ready(self)

    @property
    def has_snapshot(self) -> bool:
        """Whether some of the snapshot is still to be told."""
        return self._held is not None

    def look(self) -> bool:
        """Look at some of the snapshot, for the first to be told; whether it is known, or that there is none.

        :raises netdaemon.errors.InternalError: it cannot be read.
        """
        for _ in range(LOOK):
            if self._held is not None or self._snapshot is None:
                break
            self._held = self._look_at_one()
        return self._held is not None or self._snapshot is None

    def _look_at_one(self) -> ProcessRecord | None:
        """The next of the snapshot, if it is to be told."""
        assert self._snapshot is not None
        for one in self._snapshot:
            return one
        self._snapshot = None
        return None

    def wants(self, record: ProcessRecord) -> bool:
        """Whether that process is one of those it is about."""
        return self._matches is None or self._matches(record)

    def measured(self, stats: Mapping[str, tuple[ProcessRecord, Stats]]) -> None:
        """What processes use now; what was not told yet is out of date."""
        self._measured.update(stats)
        self.wake()

    def send(self, limit: int) -> int:
        """Send one event, or pass over some; 0 if there is nothing to send, else about what that costs."""
        self._cost = 0
        try:
            event = self._next()
        except (DatabaseFailed, InternalError) as error:
            _log.warn("a subscription cannot go on: {error}", error=error)
            self.end(Reason.RESUBSCRIBE)
            return 0
        if event is not None:
            self._outlet.send_event(self.id, event)
            return EVENT_SIZE
        return self._cost

    def _next(self) -> Event | None:
        while self._held is not None or self._snapshot is not None:
            one = self._held
            following = None if self._snapshot is None else self._look_at_one()
            if one is None:
                self._held = following
            elif following is not None or self._snapshot is None:
                self._held = following
                # The last tells that it is the last: from there on one can go on.
                cursor = self._feed.cursor(self._after) if following is None else ""
                return Happened(type=Happening.SNAPSHOT, cursor=cursor, process=one, snapshot=True)
            if following is None and self._snapshot is not None:
                self._cost += RECORD_LOOKED_AT
                if self._cost >= LOOK * RECORD_LOOKED_AT:
                    # The others have their turn.
                    return None
        if not self._page:
            found = self._feed.following(self._after)
            if found is None:
                self.end(Reason.RESUBSCRIBE)
                return None
            self._page.extend(found)
        while self._page:
            number, event = self._page.popleft()
            self._after = number
            if self.wants(event.process):
                return _with_cursor(event, self._feed.cursor(number))
            self._cost += EVENT_LOOKED_AT
        if self._cost:
            # The others have their turn before the next page.
            return None
        if self._measured:
            record, stats = self._measured.pop(next(iter(self._measured)))
            return Happened(type=Happening.STATS, time=stats.time, process=record, stats=stats)
        return None

    def end(self, reason: Reason) -> None:
        """Tell the client that it is over, and be over."""
        self._outlet.send_event(self.id, End(reason=reason))
        self.close()

    def close(self) -> None:
        """Tell nothing any more."""
        self._feed.discard(self)
        self.on_close()
        self._outlet.closed(self)


def _with_cursor(event: Happened, cursor: str) -> Happened:
    return Happened(
        cursor=cursor,
        type=event.type,
        time=event.time,
        principal=event.principal,
        detail=event.detail,
        process=event.process,
    )
