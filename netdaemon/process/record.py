"""A process as people know it: its identity, its state, its streams and what has become of it; knows no clients."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netdaemon.errors import AlreadyExited, NoSuchProcess, NotRunning, Refusal, WrongGeneration
from netdaemon.interfaces import ILauncher
from netdaemon.keeper.child import ExitStatus, Launched
from netdaemon.logs.writer import Position
from netdaemon.process.child import Child
from netdaemon.process.describing import described, saved_of
from netdaemon.process.holding import Holding
from netdaemon.process.identity import Identity
from netdaemon.process.lifecycle import BY_ITSELF, Lifecycle
from netdaemon.process.notify import ROLE, NotifySocket
from netdaemon.process.own_events import OwnEvents
from netdaemon.process.points import Point, Points
from netdaemon.process.run import Run, channel_roles
from netdaemon.process.saved import REMOVED, Told
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.process.transport import ProcessTransport
from netdaemon.process.waits import Waits
from netdaemon.signal_names import name_of
from netdaemon.wire.answers import Status
from netdaemon.wire.records import Channel, Scope, State, Until
from netdaemon.wire.told import Happening, ProcessRecord

_log = Logger()

# What may follow what. Everything else is a mistake of ours, and raises.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.RUNNING, State.STOPPING, State.BACKOFF, State.EXITED, State.FAILED}),
    State.RUNNING: frozenset({State.STOPPING, State.BACKOFF, State.EXITED, State.FAILED}),
    State.STOPPING: frozenset({State.STARTING, State.RUNNING, State.BACKOFF, State.EXITED}),
    State.BACKOFF: frozenset({State.STARTING, State.EXITED}),
    State.EXITED: frozenset({State.STARTING}),
    State.FAILED: frozenset({State.STARTING}),
}

# Those in which nothing comes any more, unless somebody wants it.
FINISHED = frozenset({State.EXITED, State.FAILED})

# Seconds for which the ends of streams wait for an exit that has been seen and not yet been told by the keeper.
EXIT_WITHIN = 0.01


class Observer(Protocol):
    """Who is told when there is more to read: output, an EOF, a status.

    :ivar counts: whether it is somebody who is attached.
    """

    counts: bool

    @property
    def behind(self) -> bool:
        """Whether there is something that it has not been told."""

    def wake(self) -> None:
        """Look again."""


class Process:
    """One process, from its START until it is removed.

    :param reactor: `IReactorTime` and `IReactorFDSet`.
    :ivar current: its present generation, or its last.
    :ivar life: what becomes of it.
    :ivar events: what it has told of.
    :ivar points: what happened, in order; readers of the spool tell it at its offset.
    :ivar unsaved: why what was saved last is older than what is so, as errno; 0: it is not.
    :ivar passing: it is to be removed when it has exited and nobody is attached.
    :ivar leaves: whether it has exited and something was seen that it has left behind.
    :ivar logged: how far its log has come.
    :ivar on_event: called with what has happened, once that is saved.
    """

    def __init__(self, identity: Identity, spool: Spool, stdin: Stdin, reactor: Any) -> None:
        self.identity = identity
        self.spool = spool
        self.state = State.STARTING
        self.current = Run(
            identity.id, 1, stdin, terminal=identity.pty is not None, merge=identity.merge, signs=identity.signs
        )
        self.points = Points()
        self.holding = Holding(spool, reactor)
        self.life = Lifecycle(self, reactor)
        self.events = OwnEvents()
        self.removed = False
        self.passing = False
        self.leaves = False
        self.unsaved = 0
        # What was saved last.
        self.octets = b""
        self.logged: Position | None = None
        self.notify: NotifySocket | None = None
        self._launcher: ILauncher | None = None
        self.on_exited: Callable[[Process], None] = lambda process: None
        self.on_ended: Callable[[Process], None] = lambda process: None
        self.on_event: Callable[[Process, Told], None] = lambda process, told: None
        self._reactor = reactor
        self._waking: Any = None
        self._lingered = False
        # Its present generation has one output, and that before had two.
        self._lost_stderr = False
        # Replaced, never changed: an observer that is woken may leave.
        self._observers: tuple[Observer, ...] = ()
        # The record that was made last; None: what it was made of has changed, other than by bytes that came.
        self._record: ProcessRecord | None = None
        self._waits = Waits()

    def was_lost(self) -> None:
        """Tell what that has come to, and go on."""
        self.save()
        self.life.resume()

    @property
    def id(self) -> str:
        return self.identity.id

    @property
    def generation(self) -> int:
        return self.current.generation

    @property
    def stdin(self) -> Stdin:
        return self.current.stdin

    @property
    def status(self) -> ExitStatus | None:
        """How its generation has exited; None: it has not."""
        return self.current.status

    @property
    def finished(self) -> bool:
        """Whether it has exited, or failed, and nothing comes of itself any more."""
        return self.state in FINISHED

    @property
    def ended(self) -> bool:
        """Whether it has finished and its streams are closed."""
        return self.current.ended and self.finished

    # --- its life ----------------------------------------------------------------------------------------------------

    def become(self, state: State) -> None:
        """Change the state; raises RuntimeError if *state* cannot follow."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"process {self.id}: {state.value} cannot follow {self.state.value}")
        self.state = state
        self._record = None

    def begin_again(self, stdin: Stdin) -> None:
        """Another generation is about to be launched: what is left of the last is let go."""
        last = self.current
        last.abandon(finish=True)
        self._silence()
        self.become(State.STARTING)
        identity = self.identity
        self.current = Run(
            self.id,
            last.generation + 1,
            stdin,
            self.spool.end,
            terminal=identity.pty is not None,
            merge=identity.merge,
            signs=identity.signs,
        )
        # Whoever is attached waits for an end of what there is no more.
        self._lost_stderr = identity.merge and not last.merge
        self._lingered = False
        self.life.starting()
        self.save()
        self._wake()

    def declared_anew(self) -> None:
        """Its generation is launched as it is declared by now: the daemon that began that one had not come so far."""
        run, identity = self.current, self.identity
        run.terminal, run.merge, run.signs = identity.pty is not None, identity.merge, identity.signs

    def run(self, launcher: ILauncher, launched: Launched) -> None:
        """The child runs: take over its descriptors."""
        run = self.current
        if run.generation == 1:
            self.life.starting(self.identity.owner)
        principal = self.life.wanted_by
        run.started = _now()
        run.pid = launched.pid or None
        run.launched = launched
        run.ready = run.signs.ready is None
        if run.ready:
            self.become(State.RUNNING)
        self._record = None
        if run.generation == 1:
            self.tell(Happening.CREATED, None, principal)
        else:
            self.points.append(Point(self.spool.end, status=self._status_event()))
            if self._lost_stderr:
                self._lost_stderr = False
                self.points.append(Point(self.spool.end, closed=Channel.STDERR, time=_now()))
        self.tell(Happening.STARTED, f"pid {launched.pid}", principal)
        self.save()
        self._begin(launcher, launched)
        self.life.launched()
        if run.ready:
            self._waits.answer(Until.RUNNING, self.record)
        if run.generation > 1:
            self._wake()

    def is_ready(self) -> None:
        """It is known to be ready."""
        self.current.ready = True
        if self.state is State.STARTING:
            self.become(State.RUNNING)
            self.points.append(Point(self.spool.end, status=self._status_event()))
        self.tell(Happening.READY)
        self.save()
        self._wake()
        if self.state is State.RUNNING:
            self._waits.answer(Until.RUNNING, self.record)

    def resume(self, launcher: ILauncher, launched: Launched) -> None:
        """Go on where the daemon before this one stopped: with a child that runs, or with what one has left."""
        run = self.current
        # One that has exited with nobody to keep its exit has no number any more.
        run.pid = (launched.pid or None) if run.status is None else None
        run.launched = launched
        self._record = None
        for channel, descriptor in channel_roles(launched, merge=run.merge).items():
            if descriptor < 0 and channel not in run.closed:
                # Its end was seen, and the daemon killed before it had said so.
                self.channel_closed(channel)
        self._begin(launcher, launched)
        self.life.resume()

    def _begin(self, launcher: ILauncher, launched: Launched) -> None:
        run = self.current
        self._launcher = launcher
        run.transport = ProcessTransport(
            self._reactor, launcher, launched, self.spool, run.stdin, Child(self), run.status
        )
        if self.notify is not None and run.status is None:
            # Not before: a word of one that is not known to run would be nobody's.
            self.notify.begin()
        run.transport.begin()

    def launch_failed(self, error: Refusal) -> None:
        """A generation after the first could not be launched."""
        run = self.current
        run.status, run.exited, run.ended = ExitStatus(), _now(), True
        self._close_notify()
        state, why = self.life.launch_failed(error)
        self.become(state)
        self.tell(Happening.NOT_STARTED, error.message)
        self._tell_exit(state, why)
        self.points.append(Point(self.spool.end, status=self._status_event()))
        self._settle()

    def _tell_exit(self, state: State, why: str) -> None:
        if state is State.BACKOFF and why:
            self.tell(Happening.BACKOFF, why)
        elif state is State.FAILED:
            self.tell(Happening.FAILED, why)

    # --- what is told and saved --------------------------------------------------------------------------------------

    def tell(self, happening: Happening, detail: str | None = None, principal: str = BY_ITSELF) -> None:
        """Something has happened; it is told once it is saved, which the caller sees to."""
        self.events.tell(happening, detail, principal)

    def tell_again(self) -> None:
        """Tell what the last daemon may not have told: it was not known to be in the journal."""
        for told in self.events.pending:
            self.on_event(self, told)

    def save(self) -> bool:
        """For the next daemon, if this one is killed; whether it could be. What has happened is told after it."""
        fresh = self.events.take()
        if fresh:
            self._record = None
        try:
            self.octets = saved_of(self).encode()
            self.spool.saved.write(self.octets)
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
        for told in fresh:
            self.on_event(self, told)
        return not self.unsaved

    def disown(self, principal: str | None = None) -> None:
        """It is being removed: the next daemon is not to find it again, should this one be killed in the middle.

        :param principal: who wants it, where it ran once; then that is told.
        """
        if principal is not None:
            self.tell(Happening.REMOVED, None, principal)
        fresh = self.events.take()
        self._record = None
        try:
            self.octets = saved_of(self).encode()
            self.spool.saved.write(REMOVED + self.octets)
        except OSError as error:
            _log.error("the removal of process {id} cannot be saved: {error}", id=self.id, error=error.strerror)
        else:
            self.spool.empty()
        for told in fresh:
            self.on_event(self, told)

    def _status_event(self) -> Status:
        run = self.current
        status = run.status or ExitStatus()
        return Status(
            state=self.state,
            generation=run.generation,
            pid=run.pid,
            code=status.code,
            signal=status.signal,
            core=status.core or None,
            end=self.spool.end,
        )

    # --- what its child tells ----------------------------------------------------------------------------------------

    def output_arrived(self) -> None:
        """There is more in the spool."""
        self.life.output()
        self._wake()

    def _wake_late(self) -> None:
        self._waking = None
        transport = self.current.transport
        if transport is not None and transport.exiting and not self._lingered:
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
        transport = self.current.transport
        if transport is not None:
            self.holding.block(transport)

    def channel_closed(self, channel: int) -> None:
        """A stream is at its end; again, if the daemon before this one had said so and was killed before it let go."""
        run = self.current
        if channel in run.closed:
            return
        run.closed |= {channel}
        self._record = None
        self.points.append(Point(self.spool.end, closed=channel, time=_now()))
        if channel == Channel.STDIN and run.stdin.end > run.stdin.base:
            self.save()
        if self._waking is None:
            # Ends mostly come together, and with the exit: they are told together.
            self._waking = self._reactor.callLater(0, self._wake_late)

    def child_exited(self, status: ExitStatus) -> None:
        """The child has exited, and all that it wrote is in the spool."""
        run = self.current
        run.status = status
        run.exited = _now()
        run.pid = None
        self._silence()
        state, why = self.life.exited()
        self.become(state)
        self.tell(Happening.EXITED, _words(status))
        self._tell_exit(state, why)
        # Before anybody is told, and before the kernel forgets it.
        self.points.append(Point(self.spool.end, status=self._status_event()))
        self._settle()

    def _settle(self) -> None:
        self.save()
        self._wake()
        # First: where a daemon ends, nothing becomes of it any more once its exit is told.
        self.life.settled()
        if self.finished:
            self._waits.answer(Until.EXITED, self.record)
            if self.current.ended:
                self._waits.answer(Until.ENDED, self.record)
            self._waits.refuse(self._not_again, Until.RUNNING)
            self.on_exited(self)

    def child_ended(self) -> None:
        """Its streams are closed, too."""
        self.current.ended = True
        self._record = None
        self.current.transport = None
        if self.finished:
            self._waits.answer(Until.ENDED, self.record)
            self.on_ended(self)

    def _silence(self) -> None:
        """Its generation has exited, and says nothing any more: what it could be heard by is not kept for it."""
        launched = self.current.launched
        if self.notify is not None and launched is not None and self._launcher is not None:
            self._launcher.withdraw(launched, ROLE)
        self._close_notify()

    def _close_notify(self) -> None:
        if self.notify is not None:
            self.notify.close()
            self.notify = None

    def forget(self) -> None:
        """It is removed: free what it has. Observers have been told."""
        self.removed = True
        self.life.close()
        self._close_notify()
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self.current.abandon()
        self.holding.close()
        self._waits.answer(Until.REMOVED, self.record)
        self._waits.refuse(lambda: NoSuchProcess(f"process {self.id} was removed", process=self.id))

    def let_go(self) -> None:
        """Free what is kept of it; nothing that it has told is only there."""
        self.spool.close()
        self.life.part()

    def change(self, identity: Identity, principal: str) -> None:
        """It is something else from now on, or from its next start on."""
        # Those that people know; what run_as came to is told with that.
        told = [name for name in vars(identity) if name not in ("digest", "account")]
        names = [name for name in told if _differ(identity, self.identity, name)]
        self.identity = identity
        self.tell(Happening.CHANGED, ", ".join(names) or None, principal)
        self.save()

    # --- stopping ----------------------------------------------------------------------------------------------------

    def stopping(self, principal: str) -> None:
        """A stop begins."""
        self.become(State.STOPPING)
        self.points.append(Point(self.spool.end, status=self._status_event()))
        self.tell(Happening.STOPPING, None, principal)
        self.save()
        self._wake()

    def not_stopped(self) -> None:
        """A stop was of no avail: it goes on."""
        self.become(State.RUNNING if self.current.ready else State.STARTING)
        self.points.append(Point(self.spool.end, status=self._status_event()))
        self.tell(Happening.NOT_STOPPED)
        self.save()
        self._wake()
        if self.state is State.RUNNING:
            self._waits.answer(Until.RUNNING, self.record)

    def stop_waiting(self, principal: str) -> None:
        """It was waiting to be started again, and is to do so no more."""
        self.become(State.EXITED)
        self.points.append(Point(self.spool.end, status=self._status_event()))
        self.tell(Happening.STOPPING, "it was waiting to be started again", principal)
        self._settle()

    @property
    def stdin_end(self) -> int:
        """The offset of what is typed next."""
        return self.current.stdin.end

    def type(self, text: bytes, at: int) -> None:
        """Type a line of a stop; what is below the end of the input was typed before."""
        self.write(text, at, whole=True)

    def signal(self, number: int, scope: Scope) -> None:
        """Send a signal."""
        self.kill(number, scope)

    def kill_all(self) -> None:
        """Kill it and all that descends from it; from here on nobody who reads its output is waited for."""
        try:
            self.kill(9, Scope.TREE)
        except AlreadyExited:
            pass
        except Refusal as refusal:
            _log.warn("{message}; killing its group", message=refusal.message)
            self.kill(9, Scope.GROUP)
        self.holding.let_go()

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
        return None if self.current.status is not None else self.current.launched

    @property
    def read_out(self) -> bool:
        """Whether everybody who is attached has been told everything."""
        return not any(one.behind for one in self._observers)

    @property
    def attached(self) -> int:
        """How many are attached."""
        return sum(one.counts for one in self._observers)

    def when(self, until: Until) -> Deferred[ProcessRecord] | ProcessRecord:
        """The record when it is so, or at once if it is; cancel the Deferred to wait no more."""
        if (
            (until is Until.RUNNING and self.state is State.RUNNING)
            or (until is Until.EXITED and self.finished)
            or (until is Until.ENDED and self.ended)
        ):
            return self.record()
        if until is Until.RUNNING and self.finished:
            raise self._not_again()
        return self._waits.add(until)

    def _not_again(self) -> AlreadyExited:
        return AlreadyExited(f"process {self.id} has exited and will not be running again", process=self.id)

    def changed(self) -> None:
        """What its record is made of has changed."""
        self._record = None

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
        self._record = record = described(self)
        return record

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
            if self.current.write_eof(at):
                self.save()
            return 0
        accepted = self.current.write(data, at, whole=whole)
        end = self.stdin.end if at is None else at + accepted
        self.life.typed(data[:accepted], end)
        return accepted

    def close_output(self, channel: int) -> None:
        """Close our end of an output: a child that writes to it is told by SIGPIPE.

        :raises UnknownChannel: it has no such output.
        """
        self.current.close_output(channel)

    def kill(self, number: int, scope: Scope, principal: str | None = None) -> None:
        """Send one signal.

        :param principal: who wants it, if that is to be told.
        :raises AlreadyExited: there is nobody to get it.
        :raises Denied: the kernel does not allow it.
        :raises LimitReached: there is no descriptor left to find the tree with.
        """
        self.current.kill(number, scope)
        if principal is not None and number:
            self.tell(Happening.SIGNALLED, f"{name_of(number)} to the {scope.value}", principal)
            self.save()

    def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        self.current.resize(rows, columns)

    @property
    def channels(self) -> tuple[int, ...]:
        """The outputs that it has."""
        return self.current.channels

    def check_finished(self) -> None:
        """Refuse what can be done only to what has exited for good."""
        if not self.finished:
            raise NotRunning(
                f"process {self.id} is {self.state.value}; only what has exited can be removed: stop it first",
                process=self.id,
            )


def _differ(one: Identity, other: Identity, name: str) -> bool:
    return name in Identity.__dataclass_fields__ and getattr(one, name) != getattr(other, name)


def _words(status: ExitStatus) -> str:
    """How it has exited."""
    if status.signal is not None:
        return f"signal {name_of(status.signal)}" + (", core dumped" if status.core else "")
    return "nobody knows how" if status.code is None else f"code {status.code}"


def _now() -> int:
    return time.time_ns() // 1000
