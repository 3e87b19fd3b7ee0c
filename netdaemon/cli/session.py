"""Being the process: its output on ours, our input to it, its end as our end; in one loop that waits in poll only."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from dataclasses import dataclass

from netdaemon.blocking import RemoteProcess
from netdaemon.cli import output
from netdaemon.cli.failure import SIGNALLED, Failure, die_by
from netdaemon.cli.outlet import Outlet, is_broken, outlets
from netdaemon.cli.signals import ASKING, OF_TERMINAL, Signals
from netdaemon.cli.terminal import DetachKeys, RawMode, in_foreground, size
from netdaemon.errors import ConnectionClosed, NetdaemonError, Refusal
from netdaemon.wire.answers import End, Event, Gap, Message, Output, Status
from netdaemon.wire.commands import Kill, Resize
from netdaemon.wire.records import State
from netdaemon.wire.specs import Policy

STDIN, STDOUT, STDERR = 0, 1, 2

# One read of our input, and how much room there is to be for it.
READ = 64 * 1024

# Seconds until a background job looks again whether it has the terminal.
LOOK_AGAIN = 0.25

# What ctrl-c types in raw mode.
INTERRUPT = 0x03


@dataclass(frozen=True)
class Ending:
    """How a session came to its end: one of these.

    :ivar status: the process exited.
    :ivar signal: we were asked to end by this signal, and detached.
    :ivar keys: the keys that detach were typed.
    :ivar broken: nobody reads our output any more.
    """

    status: Status | None = None
    signal: int = 0
    keys: bool = False
    broken: bool = False


class Session:
    """Follows *process* until it exits or is left.

    :param label: what the process is called in what is told.
    :param keys: what is typed to detach, on a terminal in raw mode.
    :param raw: whether our input is a terminal to be put in raw mode.
    :param feed: whether our input goes to the process; without, nothing is read but the keys of a raw terminal.
    :param sig_proxy: whether signals are sent on, rather than making us detach.
    """

    def __init__(
        self,
        process: RemoteProcess,
        *,
        label: str,
        keys: bytes = b"",
        raw: bool = False,
        feed: bool = True,
        sig_proxy: bool = False,
    ) -> None:
        self._process = process
        self._client = process.client
        self._label = label
        self._keys = DetachKeys(keys)
        self._raw = RawMode(STDIN) if raw else None
        self._feed = feed
        self._sig_proxy = sig_proxy
        self._reads = feed or raw
        self._stdin_is_terminal = os.isatty(STDIN)
        self._look_again: float | None = None
        self._outlets: dict[int, Outlet] = {}
        self._ending: Ending | None = None
        self._lost: Failure | None = None
        self._poll = select.poll()
        self._polled: dict[int, int] = {}

    def run(self) -> Ending:
        """Follow it; all its output is written when this comes back with its status.

        :raises Failure: the connection was lost, or our output cannot be written.
        """
        self._outlets = outlets()
        try:
            with Signals((*ASKING, *OF_TERMINAL)) as signals:
                try:
                    if self._raw is not None:
                        self._raw.enter()
                    return self._loop(signals)
                finally:
                    if self._raw is not None:
                        self._raw.leave()
        finally:
            for outlet in self._outlets.values():
                outlet.close()

    def _loop(self, signals: Signals) -> Ending:
        while True:
            try:
                self._pass_on()
                self._look_for_errors()
                if not any(outlet.waits for outlet in self._outlets.values()):
                    if self._ending is not None:
                        return self._ending
                    if self._lost is not None:
                        raise self._lost
                ready = self._wait(signals)
                if signals.fileno() in ready:
                    for number in signals.take():
                        self._signalled(number, signals)
                if self._lost is None and (self._client.fileno() in ready or self._client.due == 0):
                    self._talk(ready.get(self._client.fileno(), 0))
                for outlet in self._outlets.values():
                    if outlet.waits and outlet.fileno() in ready:
                        outlet.work()
                if STDIN in ready and self._reads:
                    self._read()
            except OSError as error:
                if is_broken(error):
                    return Ending(broken=True)
                raise Failure(
                    f"the output cannot be written: {error.strerror}",
                    f"the process goes on as {self._label}",
                    error=error,
                ) from error
            except _Leave as leave:
                return leave.ending

    # --- what to wait for --------------------------------------------------------------------------------------------

    def _wait(self, signals: Signals) -> dict[int, int]:
        wanted = {signals.fileno(): select.POLLIN}
        timeout: float | None = None
        if self._lost is None:
            if self._client.fileno() >= 0:
                wanted[self._client.fileno()] = self._client.wanted
            timeout = self._client.due
        for outlet in self._outlets.values():
            if outlet.waits:
                wanted[outlet.fileno()] = select.POLLOUT
        if self._wants_input():
            if not self._stdin_is_terminal or in_foreground(STDIN):
                wanted[STDIN] = select.POLLIN
            else:
                timeout = LOOK_AGAIN if timeout is None else min(timeout, LOOK_AGAIN)
        for descriptor in self._polled.keys() - wanted.keys():
            self._poll.unregister(descriptor)
        for descriptor, events in wanted.items():
            if self._polled.get(descriptor) != events:
                self._poll.register(descriptor, events)
        self._polled = wanted
        return dict(self._poll.poll(None if timeout is None else int(timeout * 1000 + 0.999)))

    def _wants_input(self) -> bool:
        if not self._reads or self._ending is not None or self._lost is not None:
            return False
        if self._process.stdin.error is not None:
            # The process reads no more; on a raw terminal the keys that detach still count.
            return self._raw is not None
        return not self._feed or self._process.stdin.room >= READ

    def _talk(self, ready: int) -> None:
        try:
            self._client.work(ready)
        except NetdaemonError as error:
            told = str(error)
            self._lost = Failure(
                told if told.startswith("the daemon is gone") else f"the daemon is gone: {told}",
                "what has become of the process is unknown here",
                error=error,
            )

    def _look_for_errors(self) -> None:
        """What no event tells: the attachment was not to be had again, or nobody knows what of the input arrived."""
        if self._lost is not None or self._ending is not None or self._process.end is not None:
            return
        error = self._process.error
        if error is not None:
            self._lost = Failure(
                f"the attachment to {self._label} is over: {error}", "see how it is: ndtool list", error=error
            )
            return
        error = self._process.stdin.error
        if error is not None and not isinstance(error, Refusal):
            self._lost = Failure(
                f"the input of {self._label} is in disorder: {error}", f"it goes on as {self._label}", error=error
            )

    # --- output ------------------------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        while self._ending is None and not any(outlet.full for outlet in self._outlets.values()):
            event = self._process.take()
            if event is None:
                return
            self._happened(event)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Output):
            if event.payload:
                self._outlets[event.channel].write(event.payload)
            else:
                self._closed(event.channel)
        elif isinstance(event, Gap):
            self.say(f"{event.to - event.from_} bytes are no longer kept")
        elif isinstance(event, Status):
            if self._process.exited and event is self._process.status:
                self._ending = Ending(status=event)
        elif isinstance(event, End):
            self._lost = Failure(
                f"the attachment to {self._label} is over: {event.reason.value}",
                "see what has become of it: ndtool list",
                word="attachment-ended",
            )

    def _closed(self, channel: int) -> None:
        # Standard error stays: it is where we have to say what we have to say. So does the other, if more may come.
        if self._goes_on():
            return
        if channel == STDOUT and self._outlets[STDOUT] is not self._outlets[STDERR]:
            self._outlets[STDOUT].finish()

    def _goes_on(self) -> bool:
        """Whether a next generation may be about to write where this one has closed its output."""
        policy = self._process.record.restart
        status = self._process.status
        stopping = status is not None and status.state is State.STOPPING
        return stopping or (policy is not None and policy.policy is not Policy.NEVER)

    def say(self, text: str) -> None:
        """A line of our own; a raw terminal needs to be told to begin at its left."""
        if self._raw is None:
            output.note(text)
        else:
            output.complain(f"\r\nndtool: {text}\r\n")

    # --- input -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            typed = os.read(STDIN, READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno == errno.EIO and self._stdin_is_terminal:
                # The terminal is gone, or is not ours to read; that is no word from whoever sat there.
                self._reads = False
                return
            typed = b""
        if not typed:
            self._reads = False
            if self._raw is not None:
                # A terminal that was hung up: nobody is there any more.
                raise _Leave(Ending(signal=signal.SIGHUP))
            self._process.stdin.close()
            return
        if self._raw is not None:
            passed, complete = self._keys.feed(typed)
            if self._feed and passed:
                self._process.stdin.put(passed)
            if complete:
                raise _Leave(Ending(keys=True))
            if not self._feed and INTERRUPT in passed:
                raise _Leave(Ending(signal=signal.SIGINT))
        elif self._feed:
            self._process.stdin.put(typed)

    # --- signals -----------------------------------------------------------------------------------------------------

    def _signalled(self, number: int, signals: Signals) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGTSTP:
            if self._raw is not None:
                self._raw.leave()
            signals.suspend()
            self._resume()
        elif number == signal.SIGCONT:
            self._resume()
        elif self._sig_proxy and self._ending is None and self._lost is None:
            # That it has exited meanwhile is told by its status.
            request = Kill(to=self._process.attachment, signal=number)
            self._client.submit(request, lambda answer: self._sent_on(number, answer))
        else:
            raise _Leave(Ending(signal=number))

    def _sent_on(self, number: int, answer: Message | NetdaemonError) -> None:
        if isinstance(answer, ConnectionClosed) and self._client.lost is None:
            self.say(f"the daemon went while signal {number} was sent on: whether it arrived is unknown")

    def _resume(self) -> None:
        if self._raw is not None:
            self._raw.enter()
        self._resize()

    def _resize(self) -> None:
        now = size(STDIN, STDOUT)
        if self._process.record.pty is not None and self._feed and now is not None and self._lost is None:
            self._client.submit(Resize(to=self._process.attachment, rows=now[0], columns=now[1]))


class _Leave(Exception):
    """The loop is to be left."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


def finish(ending: Ending, label: str) -> int:
    """End as *ending* says: the exit code, unless it is by a signal."""
    if ending.broken:
        die_by(signal.SIGPIPE)
    if ending.keys or ending.signal:
        output.note(f"detached; the process goes on as {label} (ndtool attach {label}, ndtool kill {label})")
        return SIGNALLED + ending.signal if ending.signal else 0
    status = ending.status
    assert status is not None
    if status.signal is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        die_by(status.signal)
    if status.code is None:
        raise Failure(f"{label} has exited, and nobody knows how", word="status-unknown")
    return status.code
