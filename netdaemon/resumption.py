"""What a client has been told, so that over another connection it is told the rest and no more; knows no connection."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from netdaemon.errors import AlreadyExited, NotRunning, StdinClosed
from netdaemon.wire.answers import Happened, Output, Status, Watching
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord

# The states that a generation begins with.
BEGINNINGS = (State.STARTING, State.RUNNING)

# The states in which a generation takes input.
RUNS = (*BEGINNINGS, State.STOPPING)

# The states in which a process is over, until somebody starts it again.
OVER = (State.EXITED, State.FAILED)

# Input that was refused so is refused until the next generation begins.
UNTIL_NEXT_GENERATION = (AlreadyExited, NotRunning, StdinClosed)

# The states that a generation does not come back from.
_AFTER: dict[State, int] = {State.BACKOFF: 1, State.EXITED: 2, State.FAILED: 2}

# Events that wait to be taken before the subscription is left, and what is left of them when it is taken up again; in
# about as many bytes as their records have. Those of a snapshot are as many as there are processes, and come on top.
EVENTS_MOST = 1 << 20
EVENTS_LEAST = 1 << 18

# What an event costs besides the words in its record.
_EVENT_COST = 1024


class Told:
    """The ends and statuses that an attachment has told, by generation.

    A daemon tells whoever attaches all those that it keeps, from the oldest on, each in its place. A generation begins
    with a STATUS, so that an end belongs to that of the STATUS before it. What is of an earlier generation than the
    latest that was told of comes again, too.

    :ivar generation: the latest that something was told of.
    :ivar closed: the channels whose ends have been told in it.
    """

    def __init__(self) -> None:
        self.generation = 1
        self.closed: set[int] = set()
        self._at = 1
        # How often it came to a state, all in all, and since the connection was made: it may come to one again.
        self._states: Counter[State] = Counter()
        self._heard: Counter[State] = Counter()

    def again(self) -> None:
        """It is attached anew: what was told is told again."""
        self._at = 1
        self._heard.clear()

    def end(self, event: Output) -> bool:
        """Whether the end of a channel is told for the first time."""
        if self._at < self.generation or event.channel in self.closed:
            return False
        self.closed.add(event.channel)
        return True

    def status(self, event: Status) -> bool:
        """Whether a status is told for the first time."""
        self._at = event.generation
        if event.generation < self.generation:
            return False
        if self.begins(event):
            self.closed.clear()
        if event.generation > self.generation:
            self.generation = event.generation
            self._states.clear()
            self._heard.clear()
        self._heard[event.state] += 1
        if self._heard[event.state] <= self._states[event.state]:
            return False
        self._states[event.state] += 1
        return True

    def begins(self, event: Status) -> bool:
        """Whether another generation begins with it; its channels are open."""
        return event.generation > self.generation and event.state in BEGINNINGS


def is_news(status: Status, record: ProcessRecord) -> bool:
    """Whether *status* is later than what *record* has, or the same: what came before is told, too."""
    if status.generation != record.generation:
        return status.generation > record.generation
    return _AFTER.get(status.state, 0) >= _AFTER.get(record.state, 0)


class Events:
    """The events of a subscription that have not been taken, and where it is to go on.

    An event without a cursor says nothing of where to go on. The last of a snapshot has one: until that has come, only
    another snapshot is sure to miss nothing.

    :param on_fresh: called where a snapshot begins, before its first event.
    :ivar cursor: where to go on after what has been taken; in a snapshot, after that.
    :ivar fresh: whether the present subscription began with a snapshot.
    :ivar complete: whether no more of a snapshot is to be taken.
    :ivar fresh_count: how many snapshots have begun, as far as events have been taken.
    :ivar full: whether more waits than may: the subscription is to be left, and taken up again when `drained`.
    """

    def __init__(self, since: str | None, on_fresh: Callable[[], object]) -> None:
        self.cursor = since
        self.fresh = False
        self.complete = since is not None
        self.fresh_count = 0
        self.full = False
        self._on_fresh = on_fresh
        self._since = since
        self._in_snapshot = False
        # A tuple: a snapshot begins; the cursor after it, and whether there is nothing in it.
        self._items: deque[Happened | tuple[str, bool]] = deque()
        self._size = 0

    @property
    def since(self) -> str | None:
        """Where to subscribe from."""
        return None if self._in_snapshot else self._since

    @property
    def drained(self) -> bool:
        """Whether so little is left that it can go on."""
        return self._size <= EVENTS_LEAST

    def began(self, reply: Watching) -> None:
        """It is subscribed, once again."""
        self.full = False
        self._since = reply.cursor
        self._in_snapshot = self.fresh = reply.fresh
        begin = reply.cursor, not self._in_snapshot
        if reply.fresh and self._items:
            self._items.append(begin)
        elif reply.fresh:
            self._begin(*begin)
        elif self.cursor is None:
            self.cursor = reply.cursor

    def _begin(self, cursor: str, complete: bool) -> None:
        self.fresh_count += 1
        self.cursor = cursor
        self.complete = complete
        self._on_fresh()

    def put(self, event: Happened) -> None:
        """Something happened."""
        if event.cursor:
            self._since = event.cursor
            self._in_snapshot = False
        self._items.append(event)
        if not event.snapshot:
            self._size += _size(event)
            self.full |= self._size > EVENTS_MOST

    def take(self) -> Happened | None:
        """The next event; None: there is none at present."""
        while self._items:
            item = self._items.popleft()
            if isinstance(item, tuple):
                self._begin(*item)
                continue
            if item.cursor:
                self.cursor = item.cursor
                self.complete = True
            if not item.snapshot:
                self._size -= _size(item)
            return item
        return None

    def clear(self) -> None:
        """Nobody takes what waits."""
        self._items.clear()
        self._size = 0


class Follows:
    """What a subscription tells of where it is: the same in both clients."""

    _events: Events

    @property
    def cursor(self) -> str | None:
        """Where to go on after the last event that was taken, with ``since``; in a snapshot, after that."""
        return self._events.cursor

    @property
    def fresh(self) -> bool:
        """Whether the present subscription began with a snapshot."""
        return self._events.fresh

    @property
    def complete(self) -> bool:
        """Whether all of the snapshot has been told, if there is one: there are no other processes that match."""
        return self._events.complete

    @property
    def fresh_count(self) -> int:
        """How many snapshots have begun so far."""
        return self._events.fresh_count


def _size(event: Happened) -> int:
    record = event.process
    return _EVENT_COST + sum(map(len, record.argv)) + sum(map(len, record.labels))
