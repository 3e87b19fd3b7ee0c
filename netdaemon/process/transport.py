"""IProcessTransport over descriptors and a pidfd, whoever launched the child: output by splice, exit after its bytes.

The exit is told (``processExited``) when all has been read that was written before it, even if a grandchild keeps the
pipes open; ``processEnded`` follows when they are closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.interfaces import ILauncher, IOutputProtocol
from netdaemon.keeper import child
from netdaemon.keeper.child import ExitStatus, Launched
from netdaemon.keeper.launch import resize
from netdaemon.process.feeding import Feeding
from netdaemon.process.pipes import PIPE_SIZE
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.process.streams import (
    STDERR,
    STDIN,
    STDOUT,
    Exit,
    Output,
    TerminalOutput,
)
from netdaemon.reasons import ended_by
from netdaemon.signal_names import number_of
from netdaemon.watching import RETRY

# How often it is tried again for a child that has exited; then nobody may hold any more, so that its exit is told.
RETRIES_AFTER_EXIT = 3

# Seconds until the status of a child that somebody traces is asked for again: the tracer is told first.
TRACED = 0.05

# Seconds until it is told again that output makes room for newer output on a full disk.
TELL_AGAIN = 60.0

# What of a child's descriptors is closed with a channel.
ROLES = {
    STDIN: (child.STDIN, *child.RELAYS[:2], child.INPUT),
    STDOUT: (child.STDOUT, *child.RELAYS[2:]),
    STDERR: (child.STDERR,),
}

_log = Logger()


@implementer(IProcessTransport)
class ProcessTransport:
    """One running child.

    :param spool: where its output goes.
    :param stdin: what is fed to it; append to it and call `feed`.
    :param status: how it has ended, if that was told before; then only its streams are left, or some of them.
    """

    def __init__(
        self,
        reactor: Any,
        launcher: ILauncher,
        launched: Launched,
        spool: Spool,
        stdin: Stdin,
        protocol: IProcessProtocol,
        status: ExitStatus | None = None,
    ) -> None:
        self.reactor = reactor
        self.pid: int | None = launched.pid if status is None else None
        self.status: ExitStatus | None = status
        self._launcher = launcher
        self._launched = launched
        self._spool = spool
        self._protocol = protocol
        self._watcher: Any = protocol if IOutputProtocol.providedBy(protocol) else None
        self.reading = False
        self._settled = status is not None
        # Whether the child has exited, and its status was asked for.
        self.exiting = False
        # What is to be done at the next turn, and again because the status was not there.
        self._catching_up: Any = None
        self._keeping: Any = None
        self._asking: Any = None
        self._ended = False
        self._retry: Any = None
        # How often in a row output could not be kept.
        self._failures = 0
        self._given_up = spool.given_up
        self._given_up_told: float | None = None
        self._exit = Exit(launched.pidfd, self)
        self._stdin = stdin
        self._feeding = Feeding(reactor, launched, stdin, self._stdin_closed)
        self.terminal = launched.stdout_relay[0] >= 0
        self._outputs: dict[int, Output] = {}
        if self.terminal:
            self._outputs[STDOUT] = TerminalOutput(launched.stdout, launched.stdout_relay, self)
        else:
            for channel, descriptor in ((STDOUT, launched.stdout), (STDERR, launched.stderr)):
                if descriptor >= 0:
                    self._outputs[channel] = Output(descriptor, channel, self)

    def begin(self) -> None:
        """Tell the protocol, and start to watch."""
        self._tell(lambda: self._protocol.makeConnection(self))
        if self._settled:
            # It may have been told, and the kernel not.
            self._let_go()
        elif self._exit.descriptor >= 0:
            self._exit.watch()
        self.resumeProducing()
        self._feeding.begin()
        if self._settled:
            self._feeding.lost()
            self._maybe_ended()
        elif self._exit.descriptor < 0:
            # It came and went, and nobody could see how; or the kernel was let to forget it and that was not saved.
            self._exited(ExitStatus())

    def _tell(self, call: Callable[[], object]) -> None:
        """Call into somebody else's code: what it raises is logged and stops nothing."""
        try:
            call()
        except Exception:
            _log.failure("the protocol of process {pid} failed", pid=self._launched.pid)

    # --- output ------------------------------------------------------------------------------------------------------

    def readable(self, output: Output) -> None:
        if self._read_once(output) and self.status is not None:
            self._settle()

    def ended(self, output: Output) -> None:
        if self._spool.unwritten:
            # What was read last has to be written first.
            self.readable(output)
            return
        output.owed = 0
        self._close_output(output)
        if self.status is not None:
            self._settle()

    def _read_once(self, output: Output) -> bool:
        """One read. False: nothing came of it, or the child must wait."""
        room = self._spool.room()
        if room <= 0:
            self.pauseProducing()
            if self._watcher is not None:
                self._tell(self._watcher.outputBlocked)
            return False
        start = self._spool.end
        try:
            more = self._move(output, room)
        except BlockingIOError:
            output.owed = None if output.owed is None else 0
            return True
        except OSError as error:
            self._keep_failed(error)
            return False
        finally:
            # Of a terminal's output some may have been kept before a failure.
            self._arrived(output, start, self._spool.end - start)
        if not more:
            self._close_output(output)
        return True

    def _move(self, output: Output, room: int) -> bool:
        """One read; False at the end. What an exited child left is kept whoever holds, or at the very least counted."""
        try:
            more = output.move(self._spool, room) > 0
        except BlockingIOError:
            raise
        except OSError:
            if self.status is None or self._failures < RETRIES_AFTER_EXIT:
                raise
        else:
            self._failures = 0
            return more
        if self._watcher is not None:
            self._tell(self._watcher.outputStuck)
        try:
            return output.move(self._spool, PIPE_SIZE) > 0
        except BlockingIOError:
            raise
        except OSError:
            return output.drop(self._spool, PIPE_SIZE) > 0

    def _arrived(self, output: Output, start: int, count: int) -> None:
        """*count* bytes from *start* on are new in the spool, or were dropped."""
        if not count:
            return
        if output.owed:
            output.owed = max(0, output.owed - count)
        if self._spool.given_up != self._given_up:
            self._gave_up()
        if self._watcher is not None:
            self._tell(lambda: self._watcher.outputArrived(output.channel, count))
            return
        end = start + count
        start = max(start, self._spool.begin)
        while start < end:
            data = bytes(self._spool.segment(start, end - start).data)
            start += len(data)
            self._tell(lambda data=data: self._protocol.childDataReceived(output.channel, data))  # type: ignore[misc]

    def _gave_up(self) -> None:
        """Tell of a full disk that makes less be kept; rarely, though it may happen at every read."""
        given_up, self._given_up = self._spool.given_up - self._given_up, self._spool.given_up
        now = self.reactor.seconds()
        if self._given_up_told is None or now - self._given_up_told >= TELL_AGAIN:
            self._given_up_told = now
            if self._watcher is not None:
                self._tell(lambda: self._watcher.outputGivenUp(given_up))

    def _keep_failed(self, error: OSError) -> None:
        self.pauseProducing()
        if self._retry is None:
            self._retry = self.reactor.callLater(RETRY, self._try_again)
        self._failures += 1
        if self._failures == 1:
            # Told once, until it has worked again.
            if self._watcher is not None:
                self._tell(lambda: self._watcher.outputFailed(error))
            else:
                _log.error("output of process {pid} cannot be kept: {error}", pid=self._launched.pid, error=error)

    def _try_again(self) -> None:
        self._retry = None
        self.resumeProducing()
        for output in list(self._outputs.values()):
            self.readable(output)

    def _close_output(self, output: Output) -> None:
        if self._outputs.pop(output.channel, None) is None:
            return
        output.close()
        self._launcher.withdraw(self._launched, *ROLES[output.channel])
        self._tell(lambda: self._protocol.childConnectionLost(output.channel))
        self._maybe_ended()

    def pauseProducing(self) -> None:
        """Read no more output: the child will have to wait once its pipe is full."""
        self.reading = False
        for output in self._outputs.values():
            output.unwatch()

    def resumeProducing(self) -> None:
        """Read again."""
        if self._retry is not None:
            return
        self.reading = True
        for output in self._outputs.values():
            output.watch()
        waits = self.status is not None and not self._settled
        if self._catching_up is None and (waits or any(output.residue for output in self._outputs.values())):
            # Of neither will the reactor say anything. Not now: whoever made room is in the middle of something.
            self._catching_up = self.reactor.callLater(0, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = None
        for output in list(self._outputs.values()):
            if output.residue:
                self.readable(output)
        if self.status is not None:
            self._settle()

    # --- exit --------------------------------------------------------------------------------------------------------

    def exit_seen(self) -> None:
        self._asking = None
        self.exiting = True
        collected: Deferred[ExitStatus | None] = self._launcher.collect(self._launched)
        collected.addCallback(self._collected)
        collected.addErrback(lambda failure: _log.failure("the exit of a process cannot be told", failure))

    def _collected(self, status: ExitStatus | None) -> None:
        if status is not None:
            self._exited(status)
        elif not self._ended:
            self.exiting = False
            self._asking = self.reactor.callLater(TRACED, self.exit_seen)

    def _exited(self, status: ExitStatus) -> None:
        self.status = status
        for output in self._outputs.values():
            output.count_owed()
        self._settle()

    def _settle(self) -> None:
        """Read what was written before the exit, and tell it then. Stops where there is no room, and goes on later."""
        if self._settled:
            return
        for output in list(self._outputs.values()):
            while output.owed and output.descriptor >= 0:
                if not self._read_once(output):
                    return
        self._settled = True
        self.pid = None
        self._tell(lambda: self._protocol.processExited(self._reason()))
        # After it, as Twisted has it: an EOF of stdin that is told before the exit means that the child closed it.
        self._feeding.lost()
        self._let_go()
        self._maybe_ended()

    def _let_go(self) -> None:
        self._keeping = None
        # Whoever was told may have had it removed meanwhile.
        if self._exit.descriptor >= 0:
            if self._watcher is not None and not self._watcher.exitSaved():
                # The zombie is the only record of it.
                self._keeping = self.reactor.callLater(RETRY, self._let_go)
                return
            self._launcher.release(self._launched)
            self._exit.close()

    def _maybe_ended(self) -> None:
        if not self._settled or self._outputs or self._ended:
            return
        self._ended = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._tell(lambda: self._protocol.processEnded(self._reason()))

    def _reason(self) -> Failure:
        assert self.status is not None
        return Failure(ended_by(self.status.code, self.status.signal, self.status.core))

    def finish(self) -> None:
        """Keep what is in its pipes now, as far as there is room."""
        for output in list(self._outputs.values()):
            output.count_owed()
            while output.owed and output.descriptor >= 0:
                if not self._read_once(output):
                    break

    def abandon(self) -> None:
        """Close everything and tell nobody: what becomes of the child is of no interest any more."""
        told = self._settled
        self._settled = self._ended = True
        for call in (self._retry, self._catching_up, self._asking, self._keeping):
            if call is not None:
                call.cancel()
        self._retry = self._catching_up = self._asking = self._keeping = None
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()
        self._feeding.abandon()
        if self._exit.descriptor >= 0:
            if told and (self._watcher is None or self._watcher.exitSaved()):
                self._launcher.release(self._launched)
            self._exit.close()
        # Whoever was told has this: let go, the two are freed at once.
        self._watcher = None
        del self._protocol

    # --- input -------------------------------------------------------------------------------------------------------

    def feed(self) -> None:
        """Something waits in ``stdin``: move it to the child, as much as it takes; the rest follows by itself."""
        self._feeding.feed()

    def _stdin_closed(self) -> None:
        # In this order: the file that is given up here tells how much was accepted, until that has been saved.
        self._tell(lambda: self._protocol.childConnectionLost(STDIN))
        # The child waits for the end that was asked for. One that reads no more waits for nothing.
        self._launcher.withdraw(self._launched, *ROLES[STDIN], at_once=self._stdin.closed)

    # --- IProcessTransport -------------------------------------------------------------------------------------------

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Append to the child's input; what the window has no room for is refused by `Stdin.accept`, not here."""
        if childFD != STDIN:
            raise KeyError(childFD)
        self._stdin.accept(data, None)
        self.feed()

    def getHost(self) -> Any:
        """No address."""
        raise NotImplementedError("a process has no address")

    getPeer = getHost

    def write(self, data: bytes) -> None:
        self.writeToChild(STDIN, data)

    def writeSequence(self, seq: Any) -> None:
        self.write(b"".join(seq))

    def closeStdin(self) -> None:
        """EOF, after what waits."""
        self._stdin.closed = True
        self.feed()

    def closeStdout(self) -> None:
        self.closeChildFD(STDOUT)

    def closeStderr(self) -> None:
        self.closeChildFD(STDERR)

    def closeChildFD(self, descriptor: int) -> None:
        """Close our end of one stream: a child that goes on writing gets SIGPIPE."""
        if descriptor == STDIN:
            self.closeStdin()
        elif descriptor in self._outputs:
            if self.terminal:
                # The master side is held twice, and closing the one without the other hangs nobody up.
                self._feeding.lost()
            self._close_output(self._outputs[descriptor])
            if self.status is not None:
                # It may have been this one that the exit waited for.
                self._settle()

    def loseConnection(self) -> None:
        """Close all three."""
        for channel in (STDIN, STDOUT, STDERR):
            self.closeChildFD(channel)

    def signalProcess(self, signalID: str | int) -> None:
        """Signal the child alone."""
        self.signal(number_of(signalID), "process")

    def signal(self, number: int, scope: str) -> None:
        """Send a signal: to the child (``process``), its ``group``, or all that descends from it (``tree``).

        :raises ProcessExitedAlready: it has exited.
        """
        if self.status is not None:
            raise ProcessExitedAlready
        try:
            self._launcher.signal(self._launched, number, scope)
        except ProcessLookupError:
            raise ProcessExitedAlready from None

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; there must be one."""
        output = self._outputs.get(STDOUT)
        if output is not None:
            resize(output.descriptor, rows, columns)
