"""One socket and the conversation on it: bytes out when it takes them, messages as they come; knows not who asked."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from netdaemon.errors import ConnectionClosed, NetdaemonError, ProtocolError, Refusal, Untrusted
from netdaemon.wire.answers import Message
from netdaemon.wire.client import ClientConnection, Parts

if TYPE_CHECKING:
    # Few need it, and the standard library's ssl takes longer to load than all the rest.
    from netdaemon.blocking.secured import SecuredSocket

# One read of the socket takes about what the kernel keeps for it; the buffer stays, for a fresh one costs page faults.
RECEIVE = 512 * 1024

# Parts of messages joined into one send.
JOINED = 16


class Transport:
    """A socket until it breaks; then it is closed, and *lost* is told why, once.

    :param connection: what is spoken on it.
    :param deliver: takes each message, with the id that it belongs to.
    """

    def __init__(
        self,
        sock: socket.socket | SecuredSocket,
        connection: ClientConnection,
        deliver: Callable[[int, Message | Refusal], None],
        lost: Callable[[NetdaemonError], None],
    ) -> None:
        sock.setblocking(False)
        self.connection = connection
        self._socket = sock
        self._deliver = deliver
        self._lost = lost
        self._broken = False
        self._unsent: deque[bytes | memoryview] = deque()
        self._buffer = bytearray(RECEIVE)

    def fileno(self) -> int:
        """The socket; -1 once it is closed."""
        return self._socket.fileno()

    @property
    def wanted(self) -> int:
        """What to poll it for."""
        if not isinstance(self._socket, socket.socket):
            return self._socket.wanted(bool(self._unsent))
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def send(self, *messages: Parts) -> None:
        """Send *messages*, each in its parts, as soon as the socket takes them."""
        if self._broken:
            return
        idle = not self._unsent
        for parts in messages:
            self._unsent.extend((b"".join(parts),) if self.connection.packets else parts)
        if idle:
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        unsent = self._unsent
        try:
            while unsent:
                if self.connection.packets:
                    self._socket.sendmsg((unsent[0],), (), socket.MSG_NOSIGNAL)
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
        except Untrusted as error:
            self._break(error)
        except OSError as error:
            # The daemon may have said why before it went: read on, the end of that is what counts.
            unsent.clear()
            while not self._broken and self.receive():
                pass
            self._break(ConnectionClosed(f"the daemon does not take what is sent: {os.strerror(error.errno or 0)}"))

    def receive(self) -> bool:
        """One read, and all the messages that it completes; False if there was nothing to read."""
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except Untrusted as error:
            self._break(error)
            return False
        except OSError as error:
            self._break(ConnectionClosed(f"the connection to the daemon broke: {os.strerror(error.errno or 0)}"))
            return False
        if not count:
            self._break(ConnectionClosed("the daemon closed the connection"))
            return False
        connection = self.connection
        with memoryview(self._buffer) as view:
            connection.receive(view[:count])
        try:
            while not self._broken:
                received = connection.next_message()
                if received is None:
                    return True
                self._deliver(*received)
            return False
        except (ConnectionClosed, ProtocolError) as error:
            self._break(error)
            return False

    def _break(self, error: NetdaemonError) -> None:
        if not self._broken:
            self.close()
            self._lost(error)

    def close(self) -> None:
        """Close the socket; what was not sent is lost, and nobody is told."""
        self._broken = True
        self._unsent.clear()
        self._socket.close()
