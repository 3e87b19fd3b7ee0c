"""A process as people know it: its identity, its state, its streams and what has become of it; knows no clients."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger

from netdaemon.errors import (
    AlreadyExited,
    BadRequest,
    Denied,
    LimitReached,
    NoSuchProcess,
    NotRunning,
    StdinClosed,
    StdinFull,
    StdinHole,
    UnknownChannel,
    WrongGeneration,
)
from netdaemon.interfaces import ILauncher
from netdaemon.keeper.child import ExitStatus, Launched
from netdaemon.process.child import Child
from netdaemon.process.holding import Holding
from netdaemon.process.saved import REMOVED, Identity, Point, Saved
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Hole, Stdin
from netdaemon.process.transport import ProcessTransport
from netdaemon.process.waits import Waits
from netdaemon.wire.answers import Status
from netdaemon.wire.records import Channel, Scope, State, Until
from netdaemon.wire.told import ProcessRecord

_log = Logger()

# What may follow what. Everything else is a mistake of ours, and raises.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.RUNNING, State.FAILED}),
    State.RUNNING: frozenset({State.EXITED}),
    State.EXITED: frozenset(),
    State.FAILED: frozenset(),
}

# Seconds for which the ends of streams wait for an exit that has been seen and not yet been told by the keeper.
EXIT_WITHIN = 0.01

# What a terminal's line discipline takes for the end of input, unless the program has changed it.
END_OF_TRANSMISSION = b"\x04"


class Observer(Protocol):
    """Who is told when there is more to read: output, an EOF, a status."""

    @property
    def behind(self) -> bool:
        """Whether there is something that it has not been told."""

    def wake(self) -> None:
        """Look again."""


class Process:
    """One process, from its START until it is removed.

    :param reactor: `IReactorTime` and `IReactorFDSet`.
    :ivar points: what happened, in order; readers of the spool tell it at its offset.
    :ivar unsaved: why what was saved last is older than what is so, as errno; 0: it is not.
    :ivar passing: it is to be removed when it has exited and nobody is attached.
    """

    generation = 1

    def __init__(self, identity: Identity, spool: Spool, stdin: Stdin, reactor: Any) -> None:
        self.identity = identity
        self.spool = spool
        self.stdin = stdin
        self.state = State.STARTING
        self.points: list[Point] = []
        self.holding = Holding(spool, reactor)
        self.ended = False
        self.removed = False
        self.passing = False
        self.unsaved = 0
        self.started: int | None = None
        self.exited: int | None = None
        self.status: ExitStatus | None = None
        self.on_exited: Callable[[Process], None] = lambda process: None
        self.on_ended: Callable[[Process], None] = lambda process: None
        self._reactor = reactor
        # Replaced, never changed, as all that a record is made of.
        self._closed: frozenset[int] = frozenset()
        self._waking: Any = None
        self._lingered = False
        # Replaced, never changed: an observer that is woken may leave.
        self._observers: tuple[Observer, ...] = ()
        # The record that was made last; None: what it was made of has changed, other than by bytes that came.
        self._record: ProcessRecord | None = None
        self._waits = Waits()
        self._transport: ProcessTransport | None = None
        self._pid: int | None = None
        self._launched: Launched | None = None

    @classmethod
    def adopted(cls, saved: Saved, spool: Spool, stdin: Stdin, reactor: Any) -> Process:
        """A process of a daemon that is dead, as that saved it. If it has a child, or had one, `resume` comes next."""
        process = cls(saved.identity, spool, stdin, reactor)
        process.state = saved.state
        process.started, process.exited, process.status = saved.started, saved.exited, saved.status
        process.points = list(saved.points)
        process.passing = saved.passing
        process._closed = frozenset(point.closed for point in saved.points if point.closed is not None)
        stdin.closed = saved.stdin_closed
        stdin.end = max(stdin.end, saved.stdin_end)
        stdin.taken = max(stdin.taken, saved.stdin_end)
        process.holding.expect(*spool.held())
        return process

    @property
    def id(self) -> str:
        return self.identity.id

    # --- its life ----------------------------------------------------------------------------------------------------

    def become(self, state: State) -> None:
        """Change the state; raises RuntimeError if *state* cannot follow."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"process {self.id}: {state.value} cannot follow {self.state.value}")
        self.state = state
        self._record = None

    def run(self, launcher: ILauncher, launched: Launched) -> None:
        """The child runs: take over its descriptors."""
        self.become(State.RUNNING)
        self.started = time.time_ns() // 1000
        self._pid = launched.pid or None
        self._launched = launched
        self.save()
        self._begin(launcher, launched)
        self._waits.answer(Until.RUNNING, self.record)

    def resume(self, launcher: ILauncher, launched: Launched) -> None:
        """Go on where the daemon before this one stopped: with a child that runs, or with what one has left."""
        # One that has exited with nobody to keep its exit has no number any more.
        self._pid = (launched.pid or None) if self.status is None else None
        self._launched = launched
        self._record = None
        streams = {Channel.STDIN: launched.stdin, Channel.STDOUT: launched.stdout}
        if not self.identity.merge:
            streams[Channel.STDERR] = launched.stderr
        for channel, descriptor in streams.items():
            if descriptor < 0 and channel not in self._closed:
                # Its end was seen, and the daemon killed before it had said so.
                self.channel_closed(channel)
        self._begin(launcher, launched)

    def _begin(self, launcher: ILauncher, launched: Launched) -> None:
        self._transport = ProcessTransport(
            self._reactor, launcher, launched, self.spool, self.stdin, Child(self), self.status
        )
        self._transport.begin()

    def save(self) -> bool:
        """For the next daemon, if this one is killed; whether it could be."""
        saved = Saved(
            identity=self.identity,
            state=self.state,
            started=self.started,
            exited=self.exited,
            status=self.status,
            points=tuple(self.points),
            stdin_closed=self.stdin.closed,
            stdin_end=self.stdin.taken if self.stdin.closed and not self.stdin.waiting else 0,
            passing=self.passing,
        )
        try:
            self.spool.saved.write(saved.encode())
        except OSError as error:
            if not self.unsaved:
                _log.error(
                    "what has become of process {id} cannot be saved ({error}); it would be lost with this daemon",
                    id=self.id,
                    error=error.strerror,
                )
            self.unsaved = error.errno or errno.EIO
        else:
            self.unsaved = 0
        return not self.unsaved

    def disown(self) -> None:
        """It is being removed: the next daemon is not to find it again, should this one be killed in the middle."""
        try:
            self.spool.saved.write(REMOVED)
        except OSError as error:
            _log.error("the removal of process {id} cannot be saved: {error}", id=self.id, error=error.strerror)
            return
        self.spool.empty()

    def output_arrived(self) -> None:
        """There is more in the spool."""
        self._wake()

    def _wake_late(self) -> None:
        self._waking = None
        if self._transport is not None and self._transport.exiting and not self._lingered:
            # Its exit comes within a moment, and is told and saved together with the ends.
            self._lingered = True
            self._waking = self._reactor.callLater(EXIT_WITHIN, self._wake_late)
            return
        self.save()
        self._wake()

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        for observer in self._observers:
            try:
                observer.wake()
            except Exception:
                # One that fails costs the others nothing.
                _log.failure("a reader of process {id} failed", id=self.id)

    def output_blocked(self) -> None:
        """There is no room in the spool."""
        assert self._transport is not None
        self.holding.block(self._transport)

    def channel_closed(self, channel: int) -> None:
        """A stream is at its end; again, if the daemon before this one had said so and was killed before it let go."""
        if channel in self._closed:
            return
        self._closed |= {channel}
        self._record = None
        self.points.append(Point(self.spool.end, closed=channel, time=time.time_ns() // 1000))
        if channel == Channel.STDIN and self.stdin.end:
            self.save()
        if self._waking is None:
            # Ends mostly come together, and with the exit: they are told together.
            self._waking = self._reactor.callLater(0, self._wake_late)

    def child_exited(self, status: ExitStatus) -> None:
        """The child has exited, and all that it wrote is in the spool."""
        self.become(State.EXITED)
        self.status = status
        self.exited = time.time_ns() // 1000
        self._pid = None
        # Before anybody is told, and before the kernel forgets it.
        self._happened(Point(self.spool.end, status=self._status_event()))
        self._waits.answer(Until.EXITED, self.record)
        self.on_exited(self)

    def child_ended(self) -> None:
        """Its streams are closed, too."""
        self.ended = True
        self._record = None
        self._transport = None
        self._waits.answer(Until.ENDED, self.record)
        self.on_ended(self)

    def forget(self) -> None:
        """It is removed: free what it has. Observers have been told."""
        self.removed = True
        if self._transport is not None:
            self._transport.abandon()
            self._transport = None
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self.holding.close()
        self._waits.answer(Until.REMOVED, self.record)
        self._waits.refuse(lambda: NoSuchProcess(f"process {self.id} was removed", process=self.id))
        self.spool.close()
        self.stdin.close()

    def _status_event(self) -> Status:
        status = self.status or ExitStatus()
        return Status(
            state=self.state,
            generation=self.generation,
            code=status.code,
            signal=status.signal,
            core=status.core or None,
            end=self.spool.end,
        )

    def _happened(self, point: Point) -> None:
        self.points.append(point)
        self.save()
        self._wake()

    # --- who looks ---------------------------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> None:
        """Wake *observer* whenever there is more to read."""
        self._observers = (*self._observers, observer)
        self._record = None

    def ignore(self, observer: Observer) -> None:
        """Wake it no more."""
        self._observers = tuple(one for one in self._observers if one is not observer)
        self._record = None
        if not self._observers:
            self.spool.rest()

    @property
    def launched(self) -> Launched | None:
        """Its child as the launcher has it; None before it runs, and when it has exited."""
        return None if self.status is not None else self._launched

    @property
    def read_out(self) -> bool:
        """Whether everybody who is attached has been told everything."""
        return not any(one.behind for one in self._observers)

    @property
    def attached(self) -> int:
        """How many observers there are."""
        return len(self._observers)

    def when(self, until: Until) -> Deferred[ProcessRecord] | ProcessRecord:
        """The record when it is so, or at once if it is; cancel the Deferred to wait no more."""
        if (
            (until is Until.RUNNING and self.state is State.RUNNING)
            or (until is Until.EXITED and self.status is not None)
            or (until is Until.ENDED and self.ended)
        ):
            return self.record()
        if until is Until.RUNNING and self.status is not None:
            raise AlreadyExited(f"process {self.id} has exited and will not be running again", process=self.id)
        return self._waits.add(until)

    def record(self) -> ProcessRecord:
        """The process as it is now; the same object for as long as nothing of it has changed."""
        record = self._record
        if record is not None:
            if self.ended:
                # No bytes come any more.
                return record
            spool = self.spool
            if record.end == spool.end and record.begin == spool.begin and record.stdin_end == self.stdin.end:
                return record
        self._record = record = self._make_record()
        return record

    def _make_record(self) -> ProcessRecord:
        identity = self.identity
        status = self.status
        return ProcessRecord(
            id=identity.id,
            name=identity.name,
            labels=identity.labels,
            state=self.state,
            generation=self.generation,
            argv=identity.argv,
            cwd=identity.cwd,
            pty=identity.pty,
            merge=identity.merge,
            owner=identity.owner,
            pid=self._pid,
            created=identity.created,
            started=self.started,
            exited=self.exited,
            code=status.code if status else None,
            signal=status.signal if status else None,
            core=status.core or None if status else None,
            begin=self.spool.begin,
            end=self.spool.end,
            stdin_end=self.stdin.end,
            eof=tuple(sorted(self._closed)),
            attached=self.attached,
            keep=self.spool.size,
        )

    # --- what is done to it ------------------------------------------------------------------------------------------

    def check_generation(self, generation: int | None) -> None:
        """Refuse what was meant for another run."""
        if generation is not None and generation != self.generation:
            raise WrongGeneration(
                f"process {self.id} is in its generation {self.generation}, not {generation}", process=self.id
            )

    def write(self, data: bytes | memoryview, at: int | None, *, whole: bool = False) -> int:
        """Feed it. No data is EOF, and may be repeated.

        :param at: the offset of the first byte: what is below the end was taken before and is no error, whatever has
            become of the process since.
        :param whole: take all of it or nothing.
        :return: how many bytes are safe, at least one if there are any.
        :raises StdinFull, StdinClosed, StdinHole, AlreadyExited, NotRunning: what ``accepted`` counts was taken before.
        """
        if not data:
            self._write_eof(at)
            return 0
        repeated = 0 if at is None else max(0, min(self.stdin.end - at, len(data)))
        if repeated == len(data):
            return repeated
        told: dict[str, Any] = {"process": self.id, "accepted": repeated, "end": self.stdin.end}
        if self.status is not None:
            raise AlreadyExited(f"process {self.id} has exited", **told)
        if self._transport is None:
            raise NotRunning(f"process {self.id} is {self.state.value}", **told)
        if self.stdin.closed:
            raise StdinClosed(f"the standard input of process {self.id} is closed", **told)
        if whole and len(data) > self.stdin.room:
            raise self._full(told)
        try:
            accepted = self.stdin.accept(data, at)
        except Hole:
            raise self._hole(at) from None
        except OSError as error:
            raise StdinFull(
                f"input for process {self.id} cannot be kept: {os.strerror(error.errno or 0)}",
                number=error.errno,
                **told,
            ) from error
        if whole and accepted < len(data):
            # The disk was full in the middle of it.
            self.stdin.take_back(accepted)
            accepted = 0
        if not accepted:
            raise self._full(told)
        self._transport.feed()
        return accepted

    def _full(self, told: dict[str, Any]) -> StdinFull:
        return StdinFull(f"{self.stdin.waiting} bytes wait for process {self.id}, and {self.stdin.window} may", **told)

    def _hole(self, at: int | None) -> StdinHole:
        return StdinHole(
            f"at is {at}, and {self.stdin.end} is the end of what has been taken",
            process=self.id,
            field="at",
            accepted=0,
            end=self.stdin.end,
        )

    def _write_eof(self, at: int | None) -> None:
        if at is not None and at > self.stdin.end:
            raise self._hole(at)
        if self.state is State.STARTING:
            raise NotRunning(f"process {self.id} is {self.state.value}", process=self.id)
        if self._transport is None or self.stdin.closed:
            return
        if self.identity.pty is not None:
            # A byte like any other: it counts, and what comes again at its offset is a repeat.
            self.write(END_OF_TRANSMISSION, at)
        else:
            self._transport.closeStdin()
            self.save()

    def close_output(self, channel: int) -> None:
        """Close our end of an output: a child that writes to it is told by SIGPIPE.

        :raises UnknownChannel: it has no such output.
        """
        if channel not in self.channels:
            raise UnknownChannel(
                f"process {self.id} has no channel {channel}; all its output is on 1", process=self.id, field="channel"
            )
        if self._transport is not None:
            self._transport.closeChildFD(channel)

    def kill(self, number: int, scope: Scope) -> None:
        """Send one signal.

        :raises AlreadyExited: there is nobody to get it.
        :raises Denied: the kernel does not allow it.
        :raises LimitReached: there is no descriptor left to find the tree with.
        """
        if self._transport is None and self.status is None:
            raise NotRunning(f"process {self.id} is {self.state.value}", process=self.id)
        try:
            if self._transport is None:
                raise ProcessExitedAlready
            self._transport.signal(number, scope.value)
        except ProcessExitedAlready:
            raise AlreadyExited(f"process {self.id} has exited", process=self.id) from None
        except PermissionError as error:
            raise Denied(
                f"process {self.id} runs as somebody whom this daemon may not signal", process=self.id
            ) from error
        except OSError as error:
            raise LimitReached(
                f"whom the signal is for cannot be found out: {os.strerror(error.errno or 0)}; "
                "scope group and scope process need no looking",
                process=self.id,
                field="scope",
                number=error.errno,
            ) from error

    def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        if self.identity.pty is None:
            raise BadRequest(
                f"process {self.id} has no terminal; it was started with pipes", process=self.id, field="to"
            )
        if self.state is State.STARTING:
            raise NotRunning(f"process {self.id} is {self.state.value}", process=self.id)
        if self._transport is None:
            raise AlreadyExited(f"process {self.id} has exited", process=self.id)
        try:
            self._transport.resize(rows, columns)
        except OSError as error:
            raise BadRequest(
                f"the terminal of process {self.id} takes no size: {os.strerror(error.errno or 0)}",
                process=self.id,
                number=error.errno,
            ) from error

    @property
    def channels(self) -> tuple[int, ...]:
        """The outputs that it has."""
        return (Channel.STDOUT,) if self.identity.merge else (Channel.STDOUT, Channel.STDERR)
