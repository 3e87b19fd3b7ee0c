"""A conversation that outlives its sockets: requests, answers, events by attachment; knows no verbs, no stdio."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import netdaemon
from netdaemon.blocking.pending import OnAnswer, Pending
from netdaemon.blocking.process import RemoteProcess
from netdaemon.blocking.reconnecting import PATIENCE, Retrying, passes, repeatable, unanswered
from netdaemon.blocking.timeouts import DEFAULT, Deadline, Timeout
from netdaemon.blocking.transport import Transport
from netdaemon.blocking.watch import Watch
from netdaemon.errors import (
    ConnectionClosed,
    ConversationAborted,
    NetdaemonError,
    NoSuchProcess,
    ProtocolError,
    Refusal,
    ShuttingDown,
    TimedOut,
    Untrusted,
)
from netdaemon.resumption import RUNS
from netdaemon.wire.answers import Attached, End, Event, Message, Ok, Watching, Welcome
from netdaemon.wire.client import ClientConnection, Parts
from netdaemon.wire.commands import Detach, Hello, Request, Shutdown
from netdaemon.wire.records import Reason
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.blocking.secured import SecuredSocket

T = TypeVar("T", bound=Message)
L = TypeVar("L", bound="Link")


class Link:
    """A connection to a daemon, and the next one when that is lost. Not for several threads at once.

    Every call waits for its answer, and meanwhile takes what arrives for attachments. A program with a poll loop of
    its own uses `submit`, `fileno`, `wanted`, `due` and `work` instead, none of which waits.

    What attachments have received and nobody has taken is bounded: past `process.QUEUE_MOST` the daemon is asked to
    pause that one (FLOW), and to go on once most of it has been taken. A subscription is left, and taken up again.

    When the connection is lost and there is *dial*, a new one is made, attachments are attached anew where they were,
    and what was not answered is asked again if that changes nothing (`reconnecting.repeatable`). What is submitted
    meanwhile waits for it. It is over for good when *patience* is, when the daemon refuses to talk, breaks the rules or
    speaks another version than before, and after a SHUTDOWN that it agreed to. Version 1 tells no offsets: there the
    first loss is for good.

    :param token: what to show the daemon besides.
    :param dial: gives a fresh socket that is connected or will be, without waiting, or OSError or Untrusted; None: any
        loss is for good.
    :param patience: seconds that a loss may last; None is for ever.
    :param on_disconnected: called with the reason when the connection is lost and a new one will be tried for.
    :param on_reconnected: called when there is a new one.
    :ivar welcome: what the daemon said of itself.
    :ivar lost: why it is over for good, or None.
    :ivar timeout: seconds that an answer may take, unless a call says otherwise; None is for ever.
    """

    def __init__(
        self,
        sock: socket.socket | SecuredSocket,
        *,
        timeout: float | None,
        version: int = 2,
        packets: bool = False,
        program: str | None = None,
        token: bytes | None = None,
        dial: Callable[[], socket.socket | SecuredSocket] | None = None,
        patience: float | None = PATIENCE,
        on_disconnected: Callable[[NetdaemonError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        self.timeout = timeout
        self.lost: NetdaemonError | None = None
        self.welcome = Welcome()
        self._offered = version
        self._packets = packets
        self._hello = Hello(client=program or f"netdaemon/{netdaemon.__version__}", token=token)
        self._dial = dial
        self._retrying = Retrying(patience)
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._version = 0
        self._established = False
        self._agreed_to_end = False
        self._pending: dict[int, Pending] = {}
        # In the order in which they are to be sent: for want of a connection, or of their attachment on it.
        self._waiting: list[Pending] = []
        # By their ids on this connection; between two, on the one before.
        self._attachments: dict[int, RemoteProcess | Watch] = {}
        self._resuming: set[RemoteProcess | Watch] = set()
        self._poll = select.poll()
        self._polled = (-1, 0)
        self._transport = self._open(sock, 0)
        deadline = Deadline(timeout)
        while not self._version:
            self.pump(deadline.left("HELLO was not answered"))

    def _open(self, sock: socket.socket | SecuredSocket, last_id: int) -> Transport:
        connection = ClientConnection(version=self._offered, packets=self._packets, last_id=last_id)
        self._transport = Transport(sock, connection, self._dispatch, self._broken)
        self._transport.send((connection.hello(self._hello),))
        return self._transport

    # --- for poll loops ----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket, for poll and select; -1 while there is none, and once it is over. It changes with a new one."""
        return self._transport.fileno()

    @property
    def version(self) -> int:
        """The version of the protocol that is spoken."""
        return self._version

    @property
    def max_message(self) -> int:
        """The most bytes that one message may have."""
        return self._transport.connection.max_message

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which HELLO has been answered."""
        return self._established and self.lost is None

    @property
    def resumes(self) -> bool:
        """Whether a loss of the connection is made good."""
        return self._dial is not None and self._version > 1 and not self._agreed_to_end

    @property
    def wanted(self) -> int:
        """What to poll the socket for: always POLLIN, and POLLOUT while something waits to be sent."""
        return self._transport.wanted

    @property
    def due(self) -> float | None:
        """Seconds until `work` is to be called although the socket is not ready, or there is none; None: no need."""
        if self.lost is not None:
            return None
        if self._version and not self._established:
            return self._retrying.left(trying=self._transport.fileno() >= 0)
        waits = [due for process in self._attachments.values() if (due := process.due) is not None]
        return max(0.0, min(waits) - monotonic()) if waits else None

    def work(self, ready: int = select.POLLIN | select.POLLOUT) -> None:
        """Send and receive what is possible without waiting, once; without a connection, try for one if it is time.

        :param ready: what poll said of the socket.
        :raises ConnectionClosed, ProtocolError: it is over for good; events that came before stay to be taken.
        """
        if self.lost is None:
            if self._transport.fileno() < 0:
                self._try_again()
            else:
                if ready & ~select.POLLOUT:
                    self._transport.receive()
                for process in list(self._attachments.values()):
                    if process.due is not None:
                        process.work()
                self._transport.flush()
            if self._version and not self._established and self._retrying.over:
                self._finish(self._retrying.verdict())
        if self.lost is not None:
            raise self.lost

    def submit(self, request: Request, on_answer: OnAnswer | None = None, *, watch: Watch | None = None) -> Pending:
        """Send *request* as soon as there is a connection that takes it; does not wait.

        :param on_answer: called with the reply, or with the error that stands for it: also when it is over.
        :param watch: what the request, a WATCH, is for; there is a new one unless said.
        :raises LocalProtocolError, TooLarge: it cannot be sent.
        """
        pending = Pending(request, on_answer)
        pending.watch = watch
        if self.lost is not None:
            pending.settle(self.lost)
            return pending
        to = getattr(request, "to", None)
        if to is not None:
            pending.target = self._attachments.get(to)
        if self._established and pending.target not in self._resuming:
            self._transport.send(self._encode(pending))
        elif not self._established and isinstance(request, Detach):
            self._detached(pending)
        else:
            self._waiting.append(pending)
        return pending

    def wait_for(self, pending: Pending, timeout: Timeout = DEFAULT) -> Message:
        """The reply to what was submitted.

        :raises Refusal: the daemon did not do it.
        :raises TimedOut: it did not come in time; whether the request was carried out is unknown.
        :raises ConnectionClosed: the connection ended before; likewise.
        """
        deadline = Deadline(timeout, self.timeout)
        try:
            while pending.answer is None:
                self.pump(deadline.left(f"{type(pending.request).__name__.upper()} was not answered"))
        except TimedOut:
            pending.abandoned = True
            raise
        except (ConnectionClosed, ProtocolError):
            if pending.answer is None:
                raise
        if isinstance(pending.answer, NetdaemonError):
            raise pending.answer
        return pending.answer

    def call(self, request: Request, reply: type[T], timeout: Timeout = DEFAULT) -> T:
        """Send *request* and wait for its *reply*; raises as `wait_for`."""
        answer = self.wait_for(self.submit(request), timeout)
        if not isinstance(answer, reply):
            raise ProtocolError(f"{type(request).__name__} was answered with {type(answer).__name__}")
        return answer

    def seen(self, record: ProcessRecord) -> ProcessRecord:
        """This is how a process is: what is attached to it may not have been told yet."""
        if record.state in RUNS:
            for process in self._attachments.values():
                if isinstance(process, RemoteProcess) and process.id == record.id:
                    process.runs(record.generation)
        return record

    def pump(self, timeout: float | None = 0.0) -> bool:
        """Wait until something can be sent, received or tried, at most *timeout* seconds, and do it.

        :return: False if nothing happened in the time.
        """
        if self.lost is not None:
            raise self.lost
        due = self.due
        if due is not None and (timeout is None or due < timeout):
            timeout = due
        polled = (self.fileno(), self.wanted)
        if polled != self._polled:
            if polled[0] == self._polled[0] >= 0:
                self._poll.modify(*polled)
            else:
                self._poll = select.poll()
                if polled[0] >= 0:
                    self._poll.register(*polled)
            self._polled = polled
        # Rounded up: a wait that ends a little early would be repeated, busily.
        ready = self._poll.poll(None if timeout is None else int(timeout * 1000 + 0.999))
        self.work(ready[0][1] if ready else 0)
        return bool(ready) or due is not None

    # --- messages ----------------------------------------------------------------------------------------------------

    def _encode(self, pending: Pending) -> Parts:
        """Give *pending* its id on this connection; what to send, in its parts."""
        request: Any = pending.request
        if pending.target is not None and request.to != pending.target.attachment:
            request = replace(request, to=pending.target.attachment)
        pending.id, parts = self._transport.connection.request_parts(request)
        self._pending[pending.id] = pending
        return parts

    def _dispatch(self, id: int, message: Message | Refusal) -> None:
        if isinstance(message, Welcome):
            self._welcomed(message)
            return
        pending = self._pending.pop(id, None)
        if pending is None:
            process = self._attachments.get(id)
            if process is not None and isinstance(message, Event):
                if process.arrived(message):
                    del self._attachments[id]
            return
        self._retrying.proved()
        if pending.resumes is not None:
            self._resumed(pending.resumes, message)
        elif isinstance(message, Attached | Watching):
            if pending.abandoned:
                # Nobody waits for it any more, and nobody would read it.
                self.submit(Detach(to=id))
            elif isinstance(message, Attached):
                pending.process = self._attachments[id] = RemoteProcess(self, id, message, pending.request)
            else:
                pending.watch = self._attachments[id] = pending.watch or Watch(self, pending.request)
                pending.watch.attachment = id
                pending.watch.resumed(message)
        elif isinstance(pending.request, Shutdown) and not isinstance(message, Refusal):
            self._agreed_to_end = True
        pending.settle(message)

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for pending in waiting:
            if not self._established or pending.target in self._resuming:
                self._waiting.append(pending)
            elif not pending.abandoned:
                try:
                    self._transport.send(self._encode(pending))
                except NetdaemonError as error:
                    pending.settle(error)

    def _welcomed(self, message: Welcome) -> None:
        version = self._transport.connection.version or 0
        if self._version and version != self._version:
            told = f"the daemon speaks version {version} of the protocol now, and spoke {self._version} before"
            self._finish(ConnectionClosed(told))
            return
        self.welcome = message
        self._established = True
        if not self._version:
            self._version = version
            return
        self._retrying.back()
        processes = [process for process in self._attachments.values() if process.end is None]
        self._attachments = {}
        messages = []
        for process in processes:
            pending = Pending(process.resumption())
            pending.resumes = process
            messages.append(self._encode(pending))
            process.attachment = pending.id
            self._attachments[pending.id] = process
        self._transport.send(*messages)
        self._send_waiting()
        if self._established and self._on_reconnected is not None:
            self._on_reconnected()

    def _resumed(self, process: RemoteProcess | Watch, message: Message | Refusal) -> None:
        """ATTACH or WATCH on a new connection was answered."""
        if isinstance(message, ShuttingDown):
            # It goes, too; the next one may have the process still.
            return
        self._resuming.discard(process)
        if isinstance(message, Attached | Watching):
            process.resumed(message)  # type: ignore[arg-type]  # the answer to what it asked
        elif isinstance(message, Refusal):
            del self._attachments[process.attachment]
            if isinstance(message, NoSuchProcess):
                process.arrived(End(reason=Reason.REMOVED))
            else:
                process.lost(message)
            for one in self._waiting:
                if one.target is process:
                    one.abandoned = True
                    one.settle(Ok() if isinstance(one.request, Detach) else message)
        self._send_waiting()

    # --- loss --------------------------------------------------------------------------------------------------------

    def _broken(self, error: NetdaemonError) -> None:
        """The socket is closed: is it over, or what is to be done on the next one?"""
        if self.lost is not None:
            return
        if not self.resumes or isinstance(error, ConversationAborted | ProtocolError | Untrusted):
            self._finish(error)
            return
        if not self._established:
            self._retrying.failed()
            return
        self._established = False
        self._retrying.lost(error)
        processes = list(self._attachments.values())
        # Before they hear of their requests: what is not answered is not refused.
        for process in processes:
            process.disconnected()
        self._resuming = set(processes)
        pending, self._pending = self._pending, {}
        waiting, self._waiting = self._waiting, []
        over: list[Pending] = []
        for one in [*pending.values(), *waiting]:
            if isinstance(one.request, Detach):
                over.append(one)
            elif one.resumes is None and not one.abandoned:
                (self._waiting if not one.id or repeatable(one.request) else over).append(one)
        for one in over:
            if isinstance(one.request, Detach):
                self._detached(one)
            else:
                one.settle(unanswered(one.request, error))
        if self._on_disconnected is not None:
            self._on_disconnected(error)

    def _detached(self, pending: Pending) -> None:
        """There is no connection, and so no attachment: what was asked for is the case, and is to stay so."""
        process = pending.target
        if process is not None and self._attachments.pop(process.attachment, None) is not None:
            self._resuming.discard(process)
            process.arrived(End(reason=Reason.DETACHED))
        pending.settle(Ok())

    def _try_again(self) -> None:
        if self._dial is None or self._retrying.over or not self._retrying.ripe:
            return
        try:
            sock = self._dial()
        except Untrusted as error:
            self._finish(error)
        except OSError as error:
            if passes(error):
                self._retrying.failed()
            else:
                self._finish(ConnectionClosed(f"the daemon cannot be reached again: {error.strerror}"))
        else:
            self._open(sock, self._transport.connection.last_id)

    def _finish(self, error: NetdaemonError) -> None:
        if self.lost is not None:
            return
        self.lost = error
        self._established = False
        self._transport.close()
        pending, self._pending = self._pending, {}
        waiting, self._waiting = self._waiting, []
        attachments, self._attachments = self._attachments, {}
        for one in [*pending.values(), *waiting]:
            one.settle(error)
        for process in attachments.values():
            process.lost(error)

    def close(self) -> None:
        """Close the connection; attachments end, processes go on. What was submitted and not sent is lost."""
        self._finish(ConnectionClosed("the connection was closed here"))

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
