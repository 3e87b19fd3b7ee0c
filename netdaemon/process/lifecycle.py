"""What becomes of a process when nobody is looking: it gets ready, is stopped in steps, is started again after an exit.

Decides, and waits; what is done is the process's, and a launch that of whoever has the launcher. All that it waits for
is saved, and gone on with by the next daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netdaemon.errors import NetdaemonError, NotRunning, NotStopped, Refusal
from netdaemon.keeper.child import Launched, has_exited
from netdaemon.process.readiness import Readiness
from netdaemon.process.restarting import GivenUp, Restarting
from netdaemon.process.stopping import Stopping, steps_of
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy, Step, milliseconds
from netdaemon.wire.told import Happening

if TYPE_CHECKING:
    from netdaemon.process.record import Process

# Who is named for what nobody has asked for.
BY_ITSELF = "netdaemon"

_log = Logger()


class Lifecycle:
    """The life of one process.

    :ivar by_hand: whether it was stopped by somebody, and is to stay so.
    :ivar interrupted: whether it is ended because the daemon ends: not started again by this one, but by the next.
    :ivar due: when it is started again, in microseconds since the epoch; None: that does not stand to come.
    :ivar on_start: starts its next generation.
    :ivar on_room: raises LimitReached where there is no room for one that has finished to run again.
    :ivar on_leftovers: ends what the last one has left behind.
    """

    def __init__(self, process: Process, reactor: Any) -> None:
        self.by_hand = False
        self.interrupted = False
        self.due: int | None = None
        self.on_start: Callable[[Process], None] = lambda process: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_leftovers: Callable[[Process], None] = lambda process: None
        self._process = process
        self._reactor = reactor
        self._restarting = Restarting()
        self._stopping: Stopping | None = None
        # What a stop ended with that has just worked.
        self._worked: str | None = None
        # It is to be started again once it has stopped.
        self._again = False
        # A stop that was asked for before it ran: how, and by whom.
        self._wanted: tuple[Sequence[Step], str] | None = None
        self._stoppers: list[Deferred[str]] = []
        self._starters: list[Deferred[None]] = []
        self._starting = BY_ITSELF
        self._readiness: Readiness | None = None
        # The end of what was typed, for as long as it may be the text of its stop.
        self._typed = b""
        self._typed_end = 0
        self._typed_stop = False
        self._backoff: Any = None
        self._too_late: Any = None
        self._watchdog: Any = None
        self._looking: Any = None

    # --- saved -------------------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """For the next daemon; empty where there is nothing to know."""
        told: dict[str, Any] = {
            "by_hand": self.by_hand,
            "interrupted": self.interrupted,
            "again": self._again,
            "typed": self._typed_stop,
        }
        told = {name: value for name, value in told.items() if value}
        if self.due is not None:
            told["due"] = self.due
        if self._stopping is not None:
            told["stop"] = self._stopping.saved()
        if self._worked is not None:
            told["worked"] = self._worked
        restarting = self._restarting.saved()
        if any(restarting.values()):
            told["restarting"] = restarting
        return told

    def restore(self, saved: Any) -> None:
        """As the daemon before had it; `resume` goes on."""
        self.by_hand = saved.get("by_hand", False)
        self.interrupted = saved.get("interrupted", False)
        self._again = saved.get("again", False)
        self._typed_stop = saved.get("typed", False)
        self.due = saved.get("due")
        self._worked = saved.get("worked")
        if "restarting" in saved:
            self._restarting.restore(saved["restarting"])
        stop = saved.get("stop")
        if stop is not None:
            self._stopping = self._make_stopping(steps_of(stop["steps"]), stop["principal"])
            self._stopping.restore(stop)

    def resume(self) -> None:
        """Go on."""
        process = self._process
        run = process.current
        if self._worked is not None:
            self.settled()
        elif process.state is State.BACKOFF and self._backoff is None:
            self._arm()
        elif run.launched is not None and run.status is None and not _has_exited(run.launched):
            if run.fault:
                # That was told, and the daemon killed before it had acted on it, perhaps.
                process.kill_all()
            else:
                self._watch()
            if self._stopping is not None:
                self._stopping.go()

    @property
    def failures(self) -> int:
        """How often in a row it was started again."""
        return self._restarting.failures

    @property
    def step(self) -> str | None:
        """What its stop is at."""
        return None if self._stopping is None else self._stopping.step

    # --- it runs -----------------------------------------------------------------------------------------------------

    def starting(self, principal: str | None = None) -> None:
        """A generation is about to be launched, or is the first: that *principal* wants."""
        self._restarting.started(self._process.identity.restart, _now())
        self.due = None
        self._typed, self._typed_stop = b"", False
        self._starting = principal or self._starting

    @property
    def wanted_by(self) -> str:
        """Who wants the generation that is being launched."""
        return self._starting

    def launched(self) -> None:
        """Its child runs, and that was told."""
        self._starting = BY_ITSELF
        self._watch()
        if not self._again:
            starters, self._starters = self._starters, []
            for one in starters:
                one.callback(None)
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._begin_stop(*wanted)

    def launch_failed(self, error: NetdaemonError) -> tuple[State, str]:
        """It could not be launched: what becomes of it, and why."""
        self._starting = BY_ITSELF
        self._refuse_start(error)
        again, self._again = self._again, False
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            # What was to be stopped does not run.
            self._worked = ""
        if self.interrupted:
            return State.FAILED, str(error)
        if wanted is not None and not again:
            self.by_hand = True
            return State.FAILED, str(error)
        return self._next(None, str(error), up=0, otherwise=State.FAILED)

    def _watch(self) -> None:
        """Wait for it to be ready, and for signs of life."""
        process = self._process
        run = process.current
        ready = run.signs.ready
        if run.ready:
            self._feed_watchdog()
        elif ready is not None:
            if ready.timeout is not None:
                late = (run.started or 0) / 1e6 + ready.timeout / 1000 - time.time()
                self._too_late = self._reactor.callLater(max(0.0, late), self._not_ready, ready.timeout)
            if not ready.notify:
                self._readiness = Readiness(ready, process.spool, run.begin)
                self._looking = self._reactor.callLater(0, self._look)

    def output(self) -> None:
        """Something was written."""
        if self._readiness is not None and self._looking is None:
            self._looking = self._reactor.callLater(0, self._look)

    def _look(self) -> None:
        self._looking = None
        assert self._readiness is not None
        found = self._readiness.look()
        if found:
            self._is_ready()
        elif found is None:
            self._looking = self._reactor.callLater(0, self._look)

    def heard(self, word: str) -> None:
        """It has said something on its NOTIFY_SOCKET."""
        process = self._process
        if process.current.status is not None:
            return
        if word == "READY=1":
            ready = process.current.signs.ready
            if not process.current.ready and ready is not None and ready.notify:
                self._is_ready()
        elif word == "WATCHDOG=1":
            self._feed_watchdog()

    def _is_ready(self) -> None:
        self._unwatch()
        self._process.is_ready()
        self._feed_watchdog()

    def _not_ready(self, timeout: int) -> None:
        self._too_late = None
        self._fail(Happening.NOT_READY, f"not ready within {milliseconds(timeout)}")

    def _feed_watchdog(self) -> None:
        interval = self._process.current.signs.watchdog
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if interval is not None and self._process.current.ready:
            self._watchdog = self._reactor.callLater(interval / 1000, self._silent, interval)

    def _silent(self, interval: int) -> None:
        self._watchdog = None
        self._fail(Happening.WATCHDOG, f"no WATCHDOG=1 within {milliseconds(interval)}")

    def _fail(self, happening: Happening, why: str) -> None:
        """It is not as it should be: it is killed, and what follows is as after any failure."""
        process = self._process
        process.current.fault = why
        process.tell(happening, why)
        process.save()
        try:
            process.kill_all()
        except Refusal as refusal:
            _log.error("{why}, and it cannot be killed: {message}", why=why, message=refusal.message)

    def _unwatch(self) -> None:
        self._readiness = None
        for call in (self._too_late, self._watchdog, self._looking):
            if call is not None:
                call.cancel()
        self._too_late = self._watchdog = self._looking = None

    # --- it exits ----------------------------------------------------------------------------------------------------

    def exited(self) -> tuple[State, str]:
        """Its child has exited: what becomes of it, and why or when."""
        run = self._process.current
        self._unwatch()
        stopping, self._stopping = self._stopping, None
        if stopping is not None:
            stopping.close()
            self._worked = stopping.worked
        if self.interrupted:
            # Somebody's stop that was under way has come about all the same.
            if stopping is not None and stopping.principal != BY_ITSELF and not self._again:
                self.by_hand = True
            return State.EXITED, ""
        if self._again:
            self._restarting.forget()
            self.due = _now()
            return State.BACKOFF, ""
        if stopping is not None or self._typed_stop:
            self.by_hand = True
            return State.EXITED, ""
        up = (run.exited or 0) - (run.started or 0)
        return self._next(run.fault, run.fault, up=up, otherwise=State.FAILED if run.fault else State.EXITED)

    def _next(self, fault: str | None, why: str, *, up: int, otherwise: State) -> tuple[State, str]:
        run, restart = self._process.current, self._process.identity.restart
        status = None if fault is None else run.status
        try:
            delay = self._restarting.delay(restart, status, fault=fault or "", up=up, now=_now())
        except GivenUp as given_up:
            return State.FAILED, str(given_up)
        if delay is None:
            return otherwise, why
        self.due = _now() + delay * 1000
        return State.BACKOFF, f"again in {milliseconds(delay)}"

    def settled(self) -> None:
        """What `exited` said was told and saved."""
        process = self._process
        worked, self._worked = self._worked, None
        if worked is not None:
            self.on_leftovers(process)
            # That it was done; and whom it has met is told.
            process.save()
            self._answer_stop(worked)
        if process.state is State.BACKOFF and not process.removed:
            self._arm()

    def _arm(self) -> None:
        if self._backoff is not None:
            # Its exit was seen while it was taken over, and is being seen to.
            return
        self._backoff = self._reactor.callLater(max(0.0, ((self.due or 0) - _now()) / 1e6), self._start)

    def _start(self) -> None:
        self._backoff = None
        self._again = False
        self.on_start(self._process)

    # --- what people want --------------------------------------------------------------------------------------------

    def stop(self, steps: Sequence[Step] | None, principal: str) -> Deferred[str] | None:
        """Stop it, and do not start it again.

        :return: fires with the step that worked, or fails with NotStopped; None: it was not running.
        """
        process = self._process
        if process.finished or process.state is State.BACKOFF:
            self._stay_stopped(principal)
            return None
        done: Deferred[str] = Deferred(self._leave)
        self._stoppers.append(done)
        if self._again:
            self._again = False
            self._refuse_start(NotRunning(f"process {process.id} was stopped instead", process=process.id))
            process.save()
        if self._stopping is None:
            self._want_stop(steps or process.identity.steps, principal)
        return done

    def interrupt(self) -> None:
        """The daemon ends, and it with it: by its own stop if it has one, or as it is told."""
        process = self._process
        self.interrupted = True
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        if process.state is State.BACKOFF:
            self.due = None
            process.stop_waiting(BY_ITSELF)
        elif process.identity.stop is not None and self._stopping is None and not process.finished:
            self._want_stop(process.identity.stop, BY_ITSELF)

    def _leave(self, gone: Deferred[Any]) -> None:
        self._stoppers = [one for one in self._stoppers if one is not gone]
        self._starters = [one for one in self._starters if one is not gone]

    def _stay_stopped(self, principal: str) -> None:
        process = self._process
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        first = not self.by_hand
        self.by_hand = True
        self._again = False
        if process.state is State.BACKOFF:
            self.due = None
            self._refuse_start(NotRunning(f"process {process.id} was stopped instead", process=process.id))
            process.stop_waiting(principal)
            first = True
        # What it has left behind is stopped with it.
        self.on_leftovers(process)
        if first or process.events.fresh:
            process.save()

    def _want_stop(self, steps: Sequence[Step], principal: str) -> None:
        if self._process.current.launched is None:
            self._wanted = steps, principal
        else:
            self._begin_stop(steps, principal)

    def _begin_stop(self, steps: Sequence[Step], principal: str) -> None:
        self._stopping = self._make_stopping(steps, principal)
        self._process.stopping(principal)
        self._stopping.go()

    def _make_stopping(self, steps: Sequence[Step], principal: str) -> Stopping:
        process = self._process

        def on_step(step: str) -> None:
            process.changed()
            if step:
                process.tell(Happening.STEP, step, principal)
            process.save()

        return Stopping(process, self._reactor, steps, principal, on_step, self._not_stopped)

    def _not_stopped(self) -> None:
        process = self._process
        self._stopping = None
        self._again = False
        process.not_stopped()
        error = f"process {process.id} has not stopped: all steps were taken, and it runs"
        stoppers, self._stoppers = self._stoppers, []
        for one in stoppers:
            one.errback(NotStopped(error, process=process.id))
        self._refuse_start(NotStopped(error, process=process.id))

    def _answer_stop(self, worked: str) -> None:
        stoppers, self._stoppers = self._stoppers, []
        for one in stoppers:
            one.callback(worked)

    def _refuse_start(self, error: NetdaemonError) -> None:
        starters, self._starters = self._starters, []
        for one in starters:
            one.errback(error)

    def restart(self, principal: str) -> Deferred[None]:
        """Stop it if it runs, and start it again.

        :return: fires when its next generation runs.
        :raises LimitReached: it does not run, and there is no room for it.
        """
        process = self._process
        if process.finished:
            self.on_room()
        done: Deferred[None] = Deferred(self._leave)
        self._starters.append(done)
        self._starting = principal
        if process.finished or process.state is State.BACKOFF:
            if self._backoff is not None:
                self._backoff.cancel()
            self.by_hand = False
            self._restarting.forget()
            self._start()
        elif process.current.launched is None:
            # It is being launched, which is as good; unless it is to be stopped at once.
            self._again = self._wanted is not None
        else:
            self._again = True
            self.by_hand = False
            if self._stopping is None:
                self._begin_stop(process.identity.steps, principal)
            else:
                process.save()
        return done

    def typed(self, data: bytes | memoryview, end: int) -> None:
        """Somebody has typed, up to that offset, perhaps not for the first time: the text of its stop, perhaps, which
        is as good as a stop."""
        identity = self._process.identity
        if identity.restart is None:
            return
        text = next((step.stdin for step in reversed(identity.steps) if step.stdin is not None), None)
        if text is None:
            return
        if end < self._process.stdin_end:
            # A repeat, and others have come after it.
            return
        begin = end - len(data)
        before = self._typed[: max(0, len(self._typed) - max(0, self._typed_end - begin))]
        if begin > self._typed_end:
            # What came before was typed by way of another daemon.
            before = b""
        self._typed = (before + bytes(data[-len(text) :]))[-len(text) :]
        self._typed_end = end
        typed = self._typed.replace(b"\r", b"\n") == text.replace(b"\r", b"\n")
        if typed != self._typed_stop:
            self._typed_stop = typed
            self._process.save()

    @property
    def comes_back(self) -> bool:
        """Whether it has finished and is started again by the next daemon that finds nothing of it: a daemon's end has
        ended it; or it was stopped by hand, and is to stay so for this daemon's time only."""
        restart = self._process.identity.restart
        if restart is None or restart.policy is Policy.NEVER:
            return False
        return restart.policy is Policy.ALWAYS if self.by_hand else self.interrupted

    def stay_away(self) -> None:
        """It has finished, and is not started again by the next daemon: there are too many such to be kept."""
        self.by_hand = self.interrupted = False
        self._process.tell(Happening.CHANGED, "too many have exited: it is not started again after a reboot")
        self._process.save()

    @property
    def is_stopping(self) -> bool:
        """Whether a stop is under way."""
        return self._stopping is not None

    def close(self) -> None:
        """The process is forgotten, or left to the next daemon."""
        self._unwatch()
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        if self._stopping is not None:
            self._stopping.close()
        process = self._process
        gone = f"process {process.id} was removed"
        stoppers, self._stoppers = self._stoppers, []
        for one in stoppers:
            one.errback(NotRunning(gone, process=process.id))
        self._refuse_start(NotRunning(gone, process=process.id))

    def part(self) -> None:
        """Nothing becomes of it any more: let go, the two are freed at once."""
        del self._process


def _has_exited(launched: Launched) -> bool:
    """Whether that is so by now, though nobody has told it."""
    return launched.pidfd < 0 or has_exited(launched.pidfd)


def _now() -> int:
    return time.time_ns() // 1000
