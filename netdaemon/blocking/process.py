"""One attachment: a process's events in order, and what may be done to it; knows no socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from netdaemon.blocking.stdin import CHUNK, Stdin
from netdaemon.blocking.timeouts import DEFAULT, Deadline, Timeout
from netdaemon.errors import ConnectionClosed, NetdaemonError, StdinClosed, TimedOut
from netdaemon.resumption import OVER, RUNS, Told
from netdaemon.signal_names import number_of
from netdaemon.wire.answers import Attached, End, Event, Gap, Message, Output, Status
from netdaemon.wire.commands import Attach, Detach, Flow, Kill, Request, Resize, Start
from netdaemon.wire.records import Channel, Scope, State, Until
from netdaemon.wire.told import ProcessRecord
from netdaemon.wire.v1 import MAX_OUTPUT

if TYPE_CHECKING:
    from netdaemon.blocking.link import Link

# Bytes received and not taken: past the most the daemon is asked to pause, below the least to go on.
QUEUE_MOST = 1 << 20
QUEUE_LEAST = 1 << 18

# What a queued event costs besides its bytes, so that a flood of tiny ones is bounded as well.
EVENT_COST = 128

# Room in a message for all of DATA but its payload.
DATA_HEAD = 4096


class RemoteProcess:
    """A process that this client is attached to.

    Iterating gives its events: `Output`, `Gap`, `Status`, and `End` if the daemon ends the attachment. It is over
    when the process has exited for good and all its output is closed, which a grandchild may delay (see `events`).

    Between two generations of the process nothing is over: the status `backoff` says that it has exited and will be
    started again. With the next one (`starting`, `running`) its channels are open once more, and so is its input, at
    the offsets where they ended. So they are when somebody starts one again that had exited for good.

    It outlives the connection: on the next one it is attached anew where it was, under another id (see `Link`).

    :ivar attachment: its id on the wire; a new connection gives it another.
    :ivar record: the process as it was when the attachment began.
    :ivar attached: where the output begins, and what is kept.
    :ivar stdin: the queue of its input, for poll loops.
    :ivar status: the latest status that was received, or None.
    :ivar closed: the channels whose EOF was received in this generation; 0: it reads no more input.
    :ivar end: why the attachment is over, or None.
    :ivar error: why it is over without that word: the connection is lost for good, or attaching anew was refused.
    """

    def __init__(self, client: Link, id: int, attached: Attached, request: Request) -> None:
        self.client = client
        self.attachment = id
        self.attached = attached
        self.record: ProcessRecord = attached.process
        self.status: Status | None = None
        self._told = Told()
        self.closed = self._told.closed
        self.end: End | None = None
        self.error: NetdaemonError | None = None
        self._events: deque[Event] = deque()
        self._queued = 0
        self._paused = False
        self._asked_to_pause = False
        self._request = request
        # The offset after the last byte that has come.
        self._next = attached.offset
        channels = getattr(request, "channels", None) or (Channel.STDOUT, Channel.STDERR)
        single = self.record.pty is not None or self.record.merge
        self._channels = {channel for channel in channels if channel == Channel.STDOUT or not single}
        # The generation that input goes to.
        self._fed = self.record.generation
        self.stdin = Stdin(
            client.submit,
            id,
            # Whoever started it is the only one to write, until somebody else attaches as well.
            sole=isinstance(request, Start) and client.version > 1,
            end=attached.stdin_end,
            terminal=self.record.pty is not None,
            window=min(client.welcome.window, client.max_message - DATA_HEAD),
            chunk=CHUNK if client.version > 1 else MAX_OUTPUT,
        )

    def __repr__(self) -> str:
        state = State.EXITED if self.exited else self.record.state
        return f"<RemoteProcess {self.id} {state.value} {self.record.argv!r}>"

    @property
    def id(self) -> str:
        """The process's id."""
        return self.record.id

    @property
    def exited(self) -> bool:
        """Whether the status that it exited for good has been received; all the output before it has been, too."""
        return self.status is not None and self._is_exit(self.status)

    def _is_exit(self, status: Status) -> bool:
        """Whether it exited for good, and not before the attachment began, to be started again."""
        return status.state in OVER and status.generation >= self.record.generation

    @property
    def due(self) -> float | None:
        """When `work` is to be called although nothing has arrived, as `time.monotonic` has it."""
        return self.stdin.due

    def work(self) -> None:
        """Send what may be sent now."""
        self.stdin.work()

    # --- events ------------------------------------------------------------------------------------------------------

    def arrived(self, event: Event) -> bool:
        """Queue an event, unless it was told before a loss of the connection; True if it was the last."""
        if isinstance(event, Output):
            if not event.payload and not self._told.end(event):
                return False
            self._next = max(self._next, event.offset + len(event.payload))
            if not event.payload:
                if event.channel == Channel.STDIN and self._told.generation >= self._fed:
                    self.stdin.fail(StdinClosed(f"the standard input of process {self.id} is closed", process=self.id))
            else:
                self.stdin.nudge()
        elif isinstance(event, Status):
            begins = self._told.begins(event)
            if not self._told.status(event):
                return False
            self.status = event
            if begins:
                self.runs(event.generation)
        elif isinstance(event, Gap):
            self._next = max(self._next, event.to)
        elif isinstance(event, End):
            self.end = event
            if self.stdin.disconnected:
                self.stdin.fail(ConnectionClosed(f"the attachment is over: {event.reason.value}"))
        self._events.append(event)
        self._queued += _size(event)
        if self._queued > QUEUE_MOST and not self._paused and self.client.version > 1:
            self._paused = True
            self._tell_flow()
        return self.end is not None

    def runs(self, generation: int) -> None:
        """It is known that *generation* runs, perhaps before that has come here, in its place after all output."""
        if generation > self._fed:
            self._fed = generation
            self.stdin.reopen()

    def lost(self, error: NetdaemonError) -> None:
        """The attachment is over; what has been received can still be taken."""
        self.error = error
        self.stdin.fail(error)

    # --- when the connection is lost, and there is a new one ---------------------------------------------------------

    def disconnected(self) -> None:
        """There is no connection. What comes next is `resumed`, `lost` or an END."""
        self.stdin.disconnect()

    def resumption(self) -> Attach:
        """What attaches it anew, where it was."""
        asked = self._request
        assert isinstance(asked, Start | Attach)
        return Attach(
            process=self.id, from_=self._next, channels=asked.channels, hold=asked.hold, read_only=asked.read_only
        )

    def resumed(self, attached: Attached) -> None:
        """It is attached again."""
        later = attached.process.generation > self._fed
        self._told.again()
        # First: what is sent here may be lost with the connection again, and then this reply counts no more.
        self.stdin.resume(self.attachment, attached.stdin_end, later=later)
        if attached.process.state in RUNS:
            self.runs(attached.process.generation)
        if self._paused or self._asked_to_pause:
            self._tell_flow()

    def take(self) -> Event | None:
        """The next event that has been received, or None; does not wait."""
        if not self._events:
            return None
        event = self._events.popleft()
        self._queued -= _size(event)
        if self._paused and self._queued < QUEUE_LEAST:
            self._paused = False
            self._tell_flow()
        return event

    def _tell_flow(self) -> None:
        if self.end is None:
            self.client.submit(Flow(to=self.attachment, paused=self._paused or self._asked_to_pause))

    @property
    def finished(self) -> bool:
        """Whether no more output can come: it has exited and closed its outputs, or the attachment is over.

        What has been received may not have been taken yet.
        """
        return self.end is not None or (self.exited and self._channels <= self.closed)

    def next_event(self, timeout: Timeout = None) -> Event | None:
        """The next event; None if there will be no more.

        :raises TimedOut: none came within *timeout* seconds.
        :raises ConnectionClosed: the connection ended, and all events that had been received have been taken.
        """
        deadline = Deadline(timeout, self.client.timeout)
        while True:
            event = self.take()
            if event is not None:
                return event
            if self.finished:
                return None
            if self.error is not None:
                raise self.error
            left = deadline.left(f"process {self.id} did nothing")
            try:
                self.client.pump(left)
            except NetdaemonError:
                if self.error is None:
                    raise

    def events(self, until: Until | str = Until.ENDED, timeout: Timeout = None) -> Iterator[Event]:
        """Its events, in order.

        :param until: with `Until.EXITED` the last event is the status that it exited for good; with `Until.ENDED` the
            last of its outputs must be closed as well.
        :param timeout: seconds that each may take.
        """
        until = Until(until)
        while True:
            event = self.next_event(timeout)
            if event is None:
                return
            yield event
            if until is Until.EXITED and isinstance(event, Status) and self._is_exit(event):
                return

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def read(self, until: Until | str = Until.ENDED, timeout: Timeout = None) -> tuple[bytes, bytes]:
        """All that it writes from here on, as (stdout, stderr); in memory, so for small outputs.

        :param timeout: seconds that each event may take.
        """
        until = Until(until)
        outputs: dict[int, list[bytes]] = {Channel.STDOUT: [], Channel.STDERR: []}
        for event in self.events(until, timeout):
            if isinstance(event, Output) and event.payload:
                outputs[event.channel].append(event.payload)
        return b"".join(outputs[Channel.STDOUT]), b"".join(outputs[Channel.STDERR])

    # --- what is done to it ------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview, timeout: Timeout = None) -> int:
        """Feed all of *data*; come back when the daemon has it safe. For ever, unless *timeout* says otherwise.

        Output that arrives meanwhile is kept, up to a bound; past it the process is held back (see `Link`), and if
        it must be read from before it reads on, a program has to take events and write by turns: see `stdin`.

        :return: the stdin offset after it.
        :raises StdinClosed, AlreadyExited, NotRunning, Denied: no more is taken, with the first three until the next
            generation begins; ``accepted`` counts from the attachment on.
        :raises TimedOut: ``stdin.accepted`` says how much was taken; the rest is not sent any more.
        """
        if self.stdin.closing:
            raise StdinClosed("EOF was sent already", process=self.id)
        rest = memoryview(data)
        deadline = Deadline(timeout, self.client.timeout)
        while True:
            rest = rest[self.stdin.put(rest) :]
            if self.stdin.error is not None and (rest or self.stdin.dropped):
                raise self.stdin.error
            if not rest and self.stdin.idle:
                # Even if it has closed its input since: it was accepted.
                return self.stdin.end
            try:
                self.client.pump(deadline.left("the input was not accepted"))
            except TimedOut as error:
                self.stdin.fail(error)
                raise

    def close_stdin(self, timeout: Timeout = None) -> None:
        """Send EOF, and wait until it is accepted. If the process reads no more anyway, that is as good."""
        deadline = Deadline(timeout, self.client.timeout)
        self.stdin.close()
        while not self.stdin.idle:
            self.client.pump(deadline.left("EOF was not accepted"))

    def kill(self, signal: int | str = "TERM", *, scope: Scope | None = None, timeout: Timeout = DEFAULT) -> None:
        """Send one signal, by number or name, to the process's group unless *scope* says otherwise.

        :raises AlreadyExited: there is nobody to get it.
        """
        self._call(Kill(to=self.attachment, signal=number_of(signal), scope=scope), timeout)

    def resize(self, rows: int, columns: int, *, timeout: Timeout = DEFAULT) -> None:
        """Set the size of its terminal."""
        self._call(Resize(to=self.attachment, rows=rows, columns=columns), timeout)

    def flow(self, paused: bool, *, timeout: Timeout = DEFAULT) -> None:
        """Have the daemon send nothing for this attachment, or go on."""
        self._asked_to_pause = paused
        self._call(Flow(to=self.attachment, paused=paused or self._paused), timeout)

    def detach(self, *, timeout: Timeout = DEFAULT) -> None:
        """End the attachment; the process goes on, its stdin stays open."""
        if self.end is None and self.error is None:
            self._call(Detach(to=self.attachment), timeout)

    def wait(self, timeout: Timeout = None) -> Status:
        """How it ended for good; its output is read meanwhile and thrown away.

        :raises TimedOut: it has not, in *timeout* seconds.
        """
        deadline = Deadline(timeout, self.client.timeout)
        while self.status is None or not self.exited:
            if self.next_event(deadline.left(f"process {self.id} did not exit")) is None and self.end is not None:
                raise ConnectionClosed(f"the attachment is over: {self.end.reason.value}")
        return self.status

    def _call(self, request: Request, timeout: Timeout) -> None:
        self.client.call(request, Message, timeout)

    def __enter__(self) -> RemoteProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.client.lost is None:
            try:
                self.detach()
            except NetdaemonError:
                if kind is None:
                    raise


def _size(event: Event) -> int:
    return EVENT_COST + (len(event.payload) if isinstance(event, Output) else 0)
