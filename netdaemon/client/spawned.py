"""The transport of a process at the other end, as its IProcessProtocol has it; knows no encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IConsumer, IProcessProtocol, IProcessTransport, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netdaemon.client.output import Listener
from netdaemon.client.reasons import ProcessLost, lost, not_started, reason_of
from netdaemon.client.remote import RemoteProcess
from netdaemon.errors import ConnectionClosed, NetdaemonError
from netdaemon.signal_names import number_of
from netdaemon.wire.records import Channel, Reason, Scope
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.client.client import Client

# Bytes written and not safe at the daemon at which a producer is paused; it goes on at none, as Twisted has it.
PRODUCER_HIGH_WATER = 64 * 1024

_log = Logger()


class _Told(Listener):
    """Passes what a remote process tells on to its transport."""

    def __init__(self, transport: SpawnedProcess) -> None:
        self.on_output = transport.output_came  # type: ignore[method-assign]
        self.on_eof = transport.channel_lost  # type: ignore[method-assign]
        self.on_end = transport.attachment_ended  # type: ignore[method-assign]
        self.on_lost = transport.connection_lost  # type: ignore[method-assign]


@implementer(IProcessTransport, IConsumer, IPushProducer)
class SpawnedProcess:
    """The transport of a process at the other end.

    :ivar process: the `RemoteProcess`; None until the daemon has answered, and where it refused.
    :ivar pid: the kernel's number for it on the daemon's host; None until the daemon has answered, and from
        ``processEnded`` on.
    :ivar status: the wait status; -1 until it has exited.
    """

    def __init__(self, client: Client, protocol: IProcessProtocol, wanted: frozenset[int], terminal: bool) -> None:
        self.process: RemoteProcess | None = None
        self.pid: int | None = None
        self.status: int | None = -1
        self.proto: IProcessProtocol = protocol
        self._client = client
        self._reactor = client.session.reactor
        self._terminal = terminal
        self._wanted = frozenset({Channel.STDOUT}) if terminal else wanted
        # The descriptors whose end has not been told.
        self._open = set(self._wanted)
        # Those that are being closed here; stdin once its producer is done.
        self._closing: set[int] = set()
        self._stdin_closed = False
        self._reason: Failure | None = None
        self._ended = False
        # What was asked for before the daemon answered.
        self._early: list[Callable[[RemoteProcess], object]] | None = []
        self._early_size = 0
        self._paused = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    def begin(self, starting: Deferred[RemoteProcess]) -> None:
        """Tell the protocol that it is connected, and wait for the daemon's answer to START."""
        self._tell("makeConnection", self)
        starting.addCallbacks(self._started, self._not_started)
        starting.addErrback(lambda failure: _log.failure("a process could not be followed", failure))

    def _tell(self, name: str, *arguments: object) -> None:
        """Call into somebody else's code: what it raises is logged and stops nothing."""
        try:
            getattr(self.proto, name)(*arguments)
        except Exception:
            _log.failure("{name} of the protocol of a process failed", name=name)

    # --- what the daemon tells ---------------------------------------------------------------------------------------

    def _started(self, process: RemoteProcess) -> None:
        self.process = process
        self.pid = process.pid
        early, self._early = self._early or (), None
        if not self._terminal and Channel.STDIN not in self._wanted:
            self._end_quietly(process.close_stdin())
        for action in early:
            action(process)
        self._early_size = 0
        if self._paused:
            process.pause()
        process.on_input_moved(self._input_moved)
        self._input_moved()
        process.when_exited().addCallbacks(self._exit_told, self._exit_lost).addErrback(
            lambda failure: _log.failure("the exit of a process could not be told", failure)
        )
        process.listen(_Told(self))

    def _not_started(self, failure: Failure) -> None:
        error = failure.value
        self._early = None
        if isinstance(error, ConnectionClosed):
            self._over(lost(error))
        elif isinstance(error, NetdaemonError):
            self._over(not_started(error))
        else:
            _log.failure("START failed", failure)
            self._over(not_started(error))

    def output_came(self, channel: int, data: bytes, offset: int, time: int) -> None:
        """The process has written something."""
        if channel in self._open and channel not in self._closing:
            self._tell("childDataReceived", channel, data)

    def channel_lost(self, channel: int) -> None:
        """A stream is at its end, or was closed here."""
        if channel not in self._open:
            return
        self._open.discard(channel)
        if channel == Channel.STDIN:
            self._stop_producer()
        if not self._terminal:
            # Twisted does not tell it of a terminal.
            self._tell("childConnectionLost", channel)
        self._maybe_ended()

    def attachment_ended(self, reason: Reason) -> None:
        """Nothing more is told: somebody removed the process, or the daemon stops."""
        if self._reason is None and reason is not Reason.DETACHED:
            self._over(lost(ConnectionClosed(f"the attachment is over: {reason.value}")))
        else:
            for channel in sorted(self._open):
                self.channel_lost(channel)

    def connection_lost(self, error: ConnectionClosed) -> None:
        """Nothing more is told, and there is no hope of it; the process goes on."""
        self._over(lost(error))

    def _exit_told(self, record: ProcessRecord) -> None:
        self._exited(reason_of(record))

    def _exit_lost(self, failure: Failure) -> None:
        self._over(lost(failure.value))

    def _over(self, error: ProcessTerminated) -> None:
        """All of it at once, because nothing more will be told."""
        if self._reason is None:
            self._exited(error)
        for channel in sorted(self._open):
            self.channel_lost(channel)

    def _exited(self, error: ProcessDone | ProcessTerminated) -> None:
        if self._reason is not None:
            return
        self.status = error.status
        self._reason = Failure(error)
        self._tell("processExited", self._reason)
        # Nobody reads it any more, or the daemon would not tell.
        if not self._terminal:
            self.channel_lost(Channel.STDIN)
        self._maybe_ended()

    def _maybe_ended(self) -> None:
        if self._reason is None or self._open or self._ended:
            return
        self._ended = True
        self.pid = None
        self._stop_producer()
        if self.process is not None and not self._reason.check(ProcessLost):
            # Before the protocol is told, so that whoever asks then finds nothing of it left. END comes by this, too.
            self._end_quietly(Deferred.fromCoroutine(self._remove(self.process)))
        self._tell("processEnded", self._reason)

    async def _remove(self, process: RemoteProcess) -> None:
        """Have the daemon forget it; again if the connection was lost before it said so: an id is never used again."""
        while True:
            try:
                await self._client.remove(process)
            except ConnectionClosed:
                if self._client.session.ended is not None and self._client.line.resumes:
                    continue
                raise
            return

    def _end_quietly(self, deferred: Deferred[Any]) -> None:
        """It makes no difference any more whether this succeeds."""
        deferred.addErrback(lambda failure: failure.trap(NetdaemonError) and None)
        deferred.addErrback(lambda failure: _log.failure("a request about a process failed", failure))

    def _do(self, action: Callable[[RemoteProcess], Deferred[Any]]) -> None:
        """Now, or when the daemon has answered START."""
        if self._early is not None:
            self._early.append(lambda process: self._end_quietly(action(process)))
        elif self.process is not None:
            self._end_quietly(action(self.process))

    # --- input -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write to the child's standard input; silently not, where there is none any more."""
        if not data or self._stdin_gone():
            return
        if self._early is not None:
            self._early_size += len(data)
        self._do(lambda process: process.write(data))
        if self._producer is not None and not self._producer_paused and self._unsafe() >= PRODUCER_HIGH_WATER:
            self._producer_paused = True
            if self._streaming:
                self._producer.pauseProducing()

    def writeSequence(self, seq: Iterable[bytes]) -> None:
        """Write several pieces."""
        self.write(b"".join(seq))

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Write to one of the child's descriptors, of which only 0 can be written to."""
        if childFD != Channel.STDIN or (not self._terminal and Channel.STDIN not in self._wanted):
            raise KeyError(childFD)
        self.write(data)

    def _stdin_gone(self) -> bool:
        if self._ended or self._stdin_closed:
            return True
        return self._reason is not None if self._terminal else Channel.STDIN not in self._open

    def _unsafe(self) -> int:
        return self._early_size + (0 if self.process is None else self.process.unsafe)

    def _input_moved(self) -> None:
        """Some of what was written is safe."""
        if self._producer is None or self._unsafe():
            return
        if self._producer_paused or not self._streaming:
            self._producer_paused = False
            self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """*producer* writes to the child's standard input, at its pace.

        :raises RuntimeError: another one does already.
        """
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was not unregistered")
        if self._stdin_gone():
            producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._producer = None
        if Channel.STDIN in self._closing:
            self._close_stdin()

    def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                _log.failure("a producer of input failed")

    # --- closing -----------------------------------------------------------------------------------------------------

    def closeStdin(self) -> None:
        """EOF after all that was written."""
        self.closeChildFD(Channel.STDIN)

    def closeStdout(self) -> None:
        """Take no more of the child's output; it gets SIGPIPE when it goes on writing."""
        self.closeChildFD(Channel.STDOUT)

    def closeStderr(self) -> None:
        """The same for its stderr."""
        self.closeChildFD(Channel.STDERR)

    def closeChildFD(self, descriptor: int) -> None:
        """Close our end of one descriptor. Of a terminal, nothing can be closed by itself."""
        if self._terminal or descriptor not in self._open or descriptor in self._closing:
            return
        self._closing.add(descriptor)
        if descriptor == Channel.STDIN:
            if self._producer is None:
                self._close_stdin()
            return
        self._do(lambda process: process.close_output(descriptor))
        # As a pipe's end does, which is told of its closing at the next turn.
        self._reactor.callLater(0, self.channel_lost, descriptor)

    def _close_stdin(self) -> None:
        self._stdin_closed = True
        self._do(lambda process: process.close_stdin().addCallback(lambda _: self.channel_lost(Channel.STDIN)))

    def loseConnection(self) -> None:
        """Close all three; hang up a terminal."""
        if self._terminal:
            if self._open:
                self._do(lambda process: process.close_output(Channel.STDOUT))
            return
        self.closeStdin()
        self.closeStderr()
        self.closeStdout()

    # --- the rest of the interfaces ----------------------------------------------------------------------------------

    def signalProcess(self, signalID: str | int) -> None:
        """Send a signal, by number or name, to the child alone.

        :raises ProcessExitedAlready: it has exited.
        :raises ValueError: there is no such signal.
        """
        number = number_of(signalID)
        if self._reason is not None:
            raise ProcessExitedAlready
        self._do(lambda process: process.kill(number, scope=_alone(process)))

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the child's terminal."""
        self._do(lambda process: process.resize(rows, columns))

    def pauseProducing(self) -> None:
        """Tell no more output until `resumeProducing`. The exit is told nevertheless."""
        self._paused = True
        if self.process is not None:
            self.process.pause()

    def resumeProducing(self) -> None:
        """Tell output again."""
        self._paused = False
        if self.process is not None:
            self.process.resume()

    def stopProducing(self) -> None:
        """Close all three."""
        self.loseConnection()

    def getHost(self) -> Any:
        """Our end of the connection to the daemon."""
        return self._client.session.transport.getHost()  # type: ignore[union-attr]

    def getPeer(self) -> Any:
        """The daemon's end of it."""
        return self._client.session.transport.getPeer()  # type: ignore[union-attr]


def _alone(process: RemoteProcess) -> Scope | None:
    """To the child and not its group, as Twisted does; version 1 has the group only."""
    return None if process.client.version == 1 else Scope.PROCESS
