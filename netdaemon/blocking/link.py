"""A conversation on a plain socket: requests, their answers, and events by attachment; knows no verbs, no stdio."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TypeVar

import netdaemon
from netdaemon.blocking.process import RemoteProcess
from netdaemon.blocking.timeouts import DEFAULT, Deadline, Timeout
from netdaemon.errors import ConnectionClosed, NetdaemonError, ProtocolError, Refusal, TimedOut
from netdaemon.wire.answers import Attached, Event, Message, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Detach, Hello, Request

T = TypeVar("T", bound=Message)
L = TypeVar("L", bound="Link")

# One read of the socket takes about what the kernel keeps for it; the buffer stays, for a fresh one costs page faults.
RECEIVE = 256 * 1024

# Messages joined into one send.
JOINED = 16


class Pending:
    """A request that was sent: whether its answer has come, and what it is.

    :ivar answer: a reply, or the error to raise; None until it has come.
    :ivar process: the attachment, if the answer is one.
    """

    __slots__ = ("_on_answer", "abandoned", "answer", "id", "process", "request")

    def __init__(self, id: int, request: Request, on_answer: Callable[[Message | NetdaemonError], None] | None) -> None:
        self.id = id
        self.request = request
        self.answer: Message | NetdaemonError | None = None
        self.abandoned = False
        self.process: RemoteProcess | None = None
        self._on_answer = on_answer

    def settle(self, answer: Message | NetdaemonError) -> None:
        """The answer has come."""
        self.answer = answer
        if self._on_answer is not None:
            self._on_answer(answer)


class Link:
    """A connection to a daemon. Not for several threads at once.

    Every call waits for its answer, and meanwhile takes what arrives for attachments. A program with a poll loop of
    its own uses `submit`, `fileno`, `wanted`, `due` and `work` instead, none of which waits.

    What attachments have received and nobody has taken is bounded: past `process.QUEUE_MOST` the daemon is asked to
    pause that one (FLOW), and to go on once most of it has been taken.

    :ivar welcome: what the daemon said of itself.
    :ivar lost: why the connection cannot be used any more, or None.
    :ivar timeout: seconds that an answer may take, unless a call says otherwise; None is for ever.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        timeout: float | None,
        version: int = 2,
        packets: bool = False,
        program: str | None = None,
    ) -> None:
        sock.setblocking(False)
        self.timeout = timeout
        self.lost: NetdaemonError | None = None
        self.welcome = Welcome()
        self._socket = sock
        self._connection = ClientConnection(version=version, packets=packets)
        self._packets = packets
        self._unsent: deque[bytes | memoryview] = deque()
        self._pending: dict[int, Pending] = {}
        self._attachments: dict[int, RemoteProcess] = {}
        self._buffer = bytearray(RECEIVE)
        self._poll = select.poll()
        self._polled = 0
        self._poll.register(sock.fileno(), 0)
        self._unsent.append(self._connection.hello(Hello(client=program or f"netdaemon/{netdaemon.__version__}")))
        deadline = Deadline(timeout)
        while self._connection.version is None:
            self.pump(deadline.left("HELLO was not answered"))

    # --- for poll loops ----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket, for poll and select; -1 once it is closed."""
        return self._socket.fileno()

    @property
    def version(self) -> int:
        """The version of the protocol that is spoken."""
        return self._connection.version or 0

    @property
    def max_message(self) -> int:
        """The most bytes that one message may have."""
        return self._connection.max_message

    @property
    def wanted(self) -> int:
        """What to poll the socket for: always POLLIN, and POLLOUT while something waits to be sent."""
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    @property
    def due(self) -> float | None:
        """Seconds until `work` is to be called although the socket is not ready; None: no need."""
        due = [process.stdin.due for process in self._attachments.values() if process.stdin.due is not None]
        return max(0.0, min(due) - monotonic()) if due else None

    def work(self, ready: int = select.POLLIN | select.POLLOUT) -> None:
        """Send and receive what is possible without waiting, once.

        :param ready: what poll said of the socket.
        :raises ConnectionClosed, ProtocolError: the connection is over; events that came before stay to be taken.
        """
        if ready & ~select.POLLOUT:
            self._receive()
        for process in list(self._attachments.values()):
            if process.stdin.due is not None:
                process.stdin.work()
        if self._unsent:
            self._flush()
        if self.lost is not None:
            raise self.lost

    def submit(self, request: Request, on_answer: Callable[[Message | NetdaemonError], None] | None = None) -> Pending:
        """Send *request* as soon as the socket takes it; does not wait.

        :param on_answer: called with the reply, or with the error that stands for it: also when the connection ends.
        :raises LocalProtocolError, TooLarge: it cannot be sent.
        """
        if self.lost is not None:
            pending = Pending(0, request, on_answer)
            pending.settle(self.lost)
            return pending
        id, octets = self._connection.request(request)
        pending = self._pending[id] = Pending(id, request, on_answer)
        self._unsent.append(octets)
        if len(self._unsent) == 1:
            self._flush()
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

    def pump(self, timeout: float | None = 0.0) -> bool:
        """Wait until something can be sent or received, at most *timeout* seconds, and do it.

        :return: False if nothing happened in the time.
        """
        if self.lost is not None:
            raise self.lost
        due = self.due
        if due is not None and (timeout is None or due < timeout):
            timeout = due
        wanted = self.wanted
        if wanted != self._polled:
            self._polled = wanted
            self._poll.modify(self.fileno(), wanted)
        # Rounded up: a wait that ends a little early would be repeated, busily.
        ready = self._poll.poll(None if timeout is None else int(timeout * 1000 + 0.999))
        self.work(ready[0][1] if ready else 0)
        return bool(ready) or due is not None

    # --- the socket --------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                if self._packets:
                    self._socket.send(unsent[0], socket.MSG_NOSIGNAL)
                    unsent.popleft()
                    continue
                joined = [unsent[index] for index in range(min(len(unsent), JOINED))]
                sent = self._socket.sendmsg(joined, (), socket.MSG_NOSIGNAL)
                while sent:
                    size = len(unsent[0])
                    if sent < size:
                        unsent[0] = memoryview(unsent[0])[sent:]
                        return
                    sent -= size
                    unsent.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            # The daemon may have said why before it went: read on, the end of that is what counts.
            unsent.clear()
            if not self._drain():
                self._lose(ConnectionClosed(f"the daemon does not take what is sent: {os.strerror(error.errno or 0)}"))

    def _drain(self) -> bool:
        """Read what is still there; True if it told why the connection is over."""
        while self.lost is None and self._receive():
            pass
        return self.lost is not None

    def _receive(self) -> bool:
        """One read, and all the messages that it completes; False if there was nothing to read."""
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(ConnectionClosed(f"the connection to the daemon broke: {os.strerror(error.errno or 0)}"))
            return False
        if not count:
            self._lose(ConnectionClosed("the daemon closed the connection"))
            return False
        connection = self._connection
        with memoryview(self._buffer) as view:
            connection.receive(view[:count])
        try:
            while True:
                received = connection.next_message()
                if received is None:
                    return True
                self._dispatch(*received)
        except (ConnectionClosed, ProtocolError) as error:
            self._lose(error)
            return False

    def _dispatch(self, id: int, message: Message | Refusal) -> None:
        if isinstance(message, Welcome):
            self.welcome = message
            return
        pending = self._pending.pop(id, None)
        if pending is None:
            process = self._attachments.get(id)
            if process is not None and isinstance(message, Event):
                if process.arrived(message):
                    del self._attachments[id]
            return
        if isinstance(message, Attached):
            if pending.abandoned:
                # Nobody waits for it any more, and nobody would read it.
                self.submit(Detach(to=id))
            else:
                pending.process = self._attachments[id] = RemoteProcess(self, id, message, pending.request)
        pending.settle(message)

    def _lose(self, error: NetdaemonError) -> None:
        if self.lost is not None:
            return
        self.lost = error
        self._unsent.clear()
        self._socket.close()
        pending, self._pending = self._pending, {}
        attachments, self._attachments = self._attachments, {}
        for one in pending.values():
            one.settle(error)
        for process in attachments.values():
            process.lost(error)

    def close(self) -> None:
        """Close the connection; attachments end, processes go on. What was submitted and not sent is lost."""
        self._lose(ConnectionClosed("the connection was closed here"))

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
