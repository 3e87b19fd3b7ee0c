"""A client that follows one process over any number of connections, and feeds it; it compares every byte.

It has nothing of the library's own clients but the wire: what is promised here must not depend on them.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from netdaemon.errors import ConversationAborted, Refusal, StdinFull
from netdaemon.wire.answers import Attached, End, Gap, Message, Output, Status, Taken
from netdaemon.wire.commands import FOR_EVER, Attach, Data, Start
from netdaemon.wire.records import Reason
from tests.faults.wire import Wire
from tests.survive.programs import PERIOD, pattern, piece

# Seconds without any news from a process from which some are to be had.
PATIENCE = 90.0

# Longer than what may wait: it is taken in part.
PIECE = 300_000

# Seconds until it is tried again to connect, and to feed where nothing was taken.
AGAIN = 0.01

# Seconds after which somebody who waits looks whether there is something else to do.
LOOK = 0.05


class Follower:
    """One process and all that is told of it.

    :param start: has its key; it is sent until it is answered.
    :param patterns: what the channels must say; one that is None is counted only.
    :param feed: the name of the pattern that is fed, if one is.
    :param ready: how many bytes come before it takes any input; they end the pattern that follows.
    :param on_fed: called with how much has been fed, when `finish` was; None: EOF is sent then.
    :ivar pid: its child's, as it was told first.
    :ivar received: bytes, by channel.
    :ivar acknowledged: how much of the input is safe, as the daemon says.
    :ivar connections: how many there have been.
    """

    def __init__(
        self,
        path: str,
        start: Start,
        *,
        patterns: dict[int, str | None],
        feed: str | None = None,
        on_fed: Callable[[int], None] | None = None,
        ready: int = 0,
        seed: int = 0,
    ) -> None:
        self.start = start
        self.process = ""
        self.pid: int | None = None
        self.end = 0
        self.received = dict.fromkeys(patterns, 0)
        self.closed: set[int] = set()
        self.status: Status | None = None
        self.acknowledged = 0
        self.fed_out = False
        self.connections = 0
        self.longest_gap = 0.0
        self.news_at = time.monotonic()
        # When the first new byte came on the latest connection.
        self.first_byte_at: float | None = None
        self._path = path
        self._patterns = {channel: pattern(name) if name else None for channel, name in patterns.items()}
        self._feed = pattern(feed) if feed else None
        self._on_fed = on_fed
        self._ready = ready
        self._finishing = False
        self._leaving = False
        self._sent = 0
        self._chance = random.Random(seed)
        self._error: str | None = None
        self._known = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # --- for whoever started it --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Fail if anything was wrong."""
        assert self._error is None, f"{self.start.argv}: {self._error}"

    def known(self) -> None:
        """Wait until the process is known to run."""
        self._wait(self._known, "it was not started")

    def finish(self) -> None:
        """Feed no more."""
        self._finishing = True

    def leave(self) -> None:
        """Follow it no more."""
        self._leaving = True
        self._thread.join(PATIENCE)

    def done(self) -> None:
        """Wait until it has exited and all has been read."""
        self._wait(self._done, f"it does not end: {self.received}, closed {self.closed}, {self.status}")
        self._thread.join(PATIENCE)
        self.check()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    @property
    def total(self) -> int:
        return sum(self.received.values())

    def _wait(self, event: threading.Event, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not event.wait(LOOK):
            self.check()
            assert time.monotonic() < deadline, f"{self.start.argv}: {what}"

    # --- its thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not (self._done.is_set() or self._leaving):
                wire = None
                try:
                    wire = Wire(self._path)
                    self.connections += 1
                    self._converse(wire)
                except (EOFError, ConnectionError, FileNotFoundError, ConversationAborted):
                    # There is no daemon at the moment.
                    time.sleep(AGAIN)
                finally:
                    if wire is not None:
                        wire.close()
        except BaseException:
            self._error = traceback.format_exc()

    def _converse(self, wire: Wire) -> None:
        """One connection, to its end or that of the process."""
        id = self._attach(wire)
        self.first_byte_at = None
        closed: set[int] = set()
        waiting: tuple[int, int, int] | None = None
        told, again, since = False, 0.0, time.monotonic()
        while not (self._done.is_set() or self._leaving):
            now = time.monotonic()
            if waiting is None and now >= again and not self.fed_out:
                wire.sock.settimeout(PATIENCE)
                waiting = self._feed_some(wire, id)
            wire.sock.settimeout(LOOK if now >= again else AGAIN)
            try:
                other, message = wire.later.pop(0) if wire.later else wire.receive()
            except TimeoutError:
                assert now - since < PATIENCE or self._finished_talking, f"nothing has come for {PATIENCE} s"
                continue
            since = self.news_at = time.monotonic()
            if waiting is not None and other == waiting[0]:
                again = 0.0 if self._fed(message, *waiting[1:]) else now + AGAIN
                waiting = None
            elif other == id:
                if isinstance(message, Status):
                    assert not told, "the exit was told twice"
                    told = True
                elif isinstance(message, Output) and not message.payload:
                    assert message.channel not in closed, "an EOF was told twice"
                    closed.add(message.channel)
                self._take(message)
            else:
                raise AssertionError(f"an answer to nothing: {message}")
            if self.status is not None and self.closed >= set(self._patterns):
                self._done.set()

    @property
    def _finished_talking(self) -> bool:
        """Whether there may be no news for long: it is not fed, and may be somebody who sleeps."""
        return self._feed is None

    def _attach(self, wire: Wire) -> int:
        if not self.process:
            id = wire.post(self.start)
        else:
            id = wire.post(Attach(process=self.process, from_=self.end, hold=FOR_EVER))
        reply = wire.answer(id)
        assert isinstance(reply, Attached), f"{reply!r}"
        record = reply.process
        if not self.process:
            self.process, self.pid = record.id, record.pid
            self._known.set()
        assert record.id == self.process
        assert record.pid in (self.pid, None), f"it was {self.pid} and is {record.pid}"
        if self.pid is None:
            self.pid = record.pid
        assert reply.offset == self.end
        assert reply.begin <= self.end, f"{reply.begin - self.end} bytes are gone"
        if self._feed is not None:
            assert self.acknowledged <= reply.stdin_end, "input is gone that was safe"
            assert reply.stdin_end <= self._sent, "there is more input than was sent"
            if self._chance.random() < 0.5:
                # Otherwise it is repeated, and the repeat has to be dropped.
                self.acknowledged = reply.stdin_end
        return id

    # --- output ------------------------------------------------------------------------------------------------------

    def _take(self, message: Message | Refusal) -> None:
        if isinstance(message, Output):
            if message.payload:
                self._compare(message)
            elif message.channel:
                self.closed.add(message.channel)
        elif isinstance(message, Status):
            assert message.end == self.end, f"the exit was told at {self.end}, and is at {message.end}"
            assert self.status in (None, message), f"{self.status} and {message}"
            self.status = message
        elif isinstance(message, End):
            assert message.reason is Reason.SHUTDOWN, message
        else:
            assert not isinstance(message, Gap), f"lost: {message}"
            raise AssertionError(f"{message!r}")

    def _compare(self, message: Output) -> None:
        channel, length = message.channel, len(message.payload)
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
        assert message.offset == self.end, f"at {self.end} comes what is at {message.offset}"
        assert self.status is None, "output after the exit"
        assert channel not in self.closed, "output after EOF"
        expected = self._patterns[channel]
        if expected is not None:
            place = self.received[channel] + (PERIOD - self._ready)
            right = message.payload == piece(expected, place, length)
            assert right, f"other bytes than were written, in {length} at {place} of channel {channel}"
        self.received[channel] += length
        self.end += length

    # --- input -------------------------------------------------------------------------------------------------------

    def _feed_some(self, wire: Wire, id: int) -> tuple[int, int, int] | None:
        if self._feed is None or self.received[1] < self._ready:
            return None
        at = self.acknowledged
        if self._finishing and at >= self._sent:
            if self._on_fed is not None:
                self._on_fed(at)
                self.fed_out = True
                return None
            return wire.post(Data(to=id, at=at)), at, 0
        length = min(PIECE, int(self._chance.paretovariate(0.3)))
        if self._finishing:
            # Nothing new: what was sent is all that there will be.
            length = min(length, self._sent - at)
        self._sent = max(self._sent, at + length)
        return wire.post(Data(to=id, at=at, payload=piece(self._feed, at, length))), at, length

    def _fed(self, message: Any, at: int, length: int) -> bool:
        """Whether any of it was taken."""
        if isinstance(message, StdinFull):
            assert message.accepted is not None
            self.acknowledged = max(self.acknowledged, at + message.accepted)
            return False
        assert isinstance(message, Taken), f"{message!r}"
        if not length:
            self.fed_out = True
            return True
        assert 0 < message.accepted <= length
        self.acknowledged = at + message.accepted
        assert message.end >= self.acknowledged
        return True
