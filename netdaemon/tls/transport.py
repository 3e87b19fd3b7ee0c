"""Connected TCP sockets under TLS as Twisted transports that encrypt straight into the socket; knows no certificates.

Twisted's own keeps encrypted bytes in memory on their way, joins them by copying, and tells nobody how much waits: what
a client costs that does not read cannot be bounded with it. Here it is as with a UNIX socket: what the kernel does not
take stays, unencrypted, in the one buffer that ``waiting`` counts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer_only

from netdaemon.errors import NetdaemonError
from netdaemon.interfaces import IDirectTransport, IMeteredTransport, IPeerCertificate
from netdaemon.sockets.transport import StreamTransport
from netdaemon.trust.sockets import prepare

# The most that one record carries; a read takes a whole one, so that nothing stays inside of OpenSSL unseen.
RECORD = 16 * 1024

# Records that are read before the protocol gets them, and others have their turn: what is decrypted in a fraction of a
# millisecond.
READ_SIZE = 16 * RECORD

# Bytes that are thrown away after the end of what we say, so that the other side gets to read that: closing with
# unread bytes would have the kernel cut the connection, and what we have said with it.
THROWN_AWAY = 1 << 20

# Every transport reads into this one in turn; a protocol copies what it keeps before it returns. There is room for a
# whole record at the end, too.
_plain = memoryview(bytearray(READ_SIZE + RECORD))

_WANTED = (SSL.WantReadError, SSL.WantWriteError)


def reason_of(error: SSL.Error) -> str:
    """What OpenSSL says of a failure."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1])
    told = [one[2] for one in (error.args[0] if error.args else ()) if one[2]]
    return told[-1] if told else ""


def _endpoint(address: Any) -> IPv4Address | IPv6Address:
    kind = IPv6Address if ":" in address[0] else IPv4Address
    return kind("TCP", address[0], address[1])


@implementer_only(IDirectTransport, IMeteredTransport, ITCPTransport)
class TlsTransport(StreamTransport):
    """A connected TCP socket under TLS. ``dataReceived`` gets a memoryview that is valid during the call only.

    :param connection: of OpenSSL, on the same socket, told which side it is.
    :param completed: called when the handshake is. May raise a NetdaemonError, which ends the connection.
    :param explain: what an error of OpenSSL's comes to, for the reason with which the connection is lost.
    """

    readMost = READ_SIZE

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        reactor: Any,
        address: str,
        connection: SSL.Connection,
        completed: Callable[[TlsTransport], None],
        explain: Callable[[SSL.Error], NetdaemonError],
    ) -> None:
        super().__init__(sock, protocol, reactor, address)
        self._tls = connection
        self._completed = completed
        self._explain = explain
        self.shaken = False
        self._said_all = False
        self._thrown_away = 0

    def _prepare(self, sock: socket.socket) -> None:
        prepare(sock)

    @property
    def tls(self) -> SSL.Connection:
        """OpenSSL's side of it."""
        return self._tls

    def getHost(self) -> Any:
        return _endpoint(self.socket.getsockname())

    def getPeer(self) -> Any:
        return _endpoint(self.socket.getpeername())

    # --- the handshake -----------------------------------------------------------------------------------------------

    def shake(self) -> Any:
        """Go on with the handshake; what is to be the end of the connection, or None."""
        try:
            self._tls.do_handshake()
        except SSL.WantWriteError:
            self.startWriting()
            return None
        except SSL.WantReadError:
            self.stopWriting()
            return None
        except SSL.SysCallError:
            # The other side has gone.
            return main.CONNECTION_LOST
        except SSL.Error as error:
            return self.refuse(self._explain(error))
        self.shaken = True
        self.stopWriting()
        try:
            self._completed(self)
        except NetdaemonError as error:
            return self.refuse(error)
        if self.connected and self.waiting:
            self.startWriting()
        return None

    def refuse(self, error: NetdaemonError) -> Any:
        """The handshake has failed; what is to be the end of the connection at once, or None."""
        return error

    # --- reading -----------------------------------------------------------------------------------------------------

    def doRead(self) -> Any:
        if self._said_all:
            return self._throw_away()
        if not self.shaken:
            return self.shake()
        length = 0
        end: Any = None
        try:
            # A record is read whole, or the rest of it would be where nobody sees that there is something to read.
            while length < min(self.readMost, READ_SIZE):
                length += self._tls.recv_into(_plain[length : length + RECORD])
        except _WANTED:
            # Where it wants to write, that is an answer to an update of keys, and goes out with what is sent next.
            pass
        except SSL.ZeroReturnError:
            end = main.CONNECTION_DONE
        except SSL.SysCallError:
            end = main.CONNECTION_LOST
        except SSL.Error as error:
            end = self._explain(error)
        if length:
            self.protocol.dataReceived(_plain[:length])  # type: ignore[arg-type]
        return end

    def _throw_away(self) -> Any:
        """Read what nobody wants any more, until the other side has read what we have said."""
        try:
            length = self.socket.recv_into(_plain)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_DONE
        self._thrown_away += length
        return None if length and self._thrown_away <= THROWN_AWAY else main.CONNECTION_DONE

    # --- writing -----------------------------------------------------------------------------------------------------

    def doWrite(self) -> Any:
        return super().doWrite() if self.shaken else self.shake()

    def write(self, data: bytes) -> None:
        # Who has not been recognised is told nothing.
        if self.shaken:
            super().write(data)

    def writeSomeData(self, data: Any) -> Any:
        view = memoryview(data)[: self.SEND_LIMIT]
        sent, broken = self._encrypt(view)
        return main.CONNECTION_LOST if broken and not sent else sent

    def _send_now(self, parts: Sequence[bytes | memoryview]) -> int:
        if not self.shaken:
            return 0
        return self._encrypt(memoryview(parts[0] if len(parts) == 1 else b"".join(parts)))[0]

    def _encrypt(self, view: memoryview) -> tuple[int, bool]:
        """Send what the kernel takes; how many bytes, and whether the connection is broken.

        A record that it has taken half of is not counted: OpenSSL wants the same bytes again for the rest of it, and
        they are the first that will be sent.
        """
        sent = 0
        try:
            while sent < len(view):
                sent += self._tls.send(view[sent:])
        except _WANTED:
            pass
        except SSL.Error:
            return sent, True
        return sent, False

    # --- the end -----------------------------------------------------------------------------------------------------

    def loseConnection(self, _connDone: Any = None) -> None:
        if self.shaken:
            super().loseConnection()
        else:
            self.abortConnection()

    def _postLoseConnection(self) -> Any:
        """All has been sent: say that this is the end, and wait for the other side to have read it."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass
        return self.say_no_more()

    def say_no_more(self) -> Any:
        """Close our half, and wait for the other to close its own; what is to be the end at once, or None."""
        self._said_all = True
        self.stopWriting()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return main.CONNECTION_DONE
        self.startReading()
        return None


@implementer_only(IDirectTransport, IMeteredTransport, ITCPTransport, IPeerCertificate)
class DaemonTransport(TlsTransport):
    """The daemon's end: its protocol is connected at once, and told by ``handshakeCompleted`` when the client is known.

    :param identify: the client's pin and names; raises Denied.
    """

    def __init__(
        self,
        *arguments: Any,
        identify: Callable[[SSL.Connection], tuple[str, tuple[str, ...]]],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._identify = identify

    def peerCertificate(self) -> tuple[str, tuple[str, ...]]:
        return self._identify(self._tls)

    def refuse(self, error: NetdaemonError) -> Any:
        # OpenSSL has told the client why; it is to be able to read that.
        return self.say_no_more()


class ClientTransport(TlsTransport):
    """The client's end: its protocol is connected when the handshake is completed and the daemon is the one meant."""

    def begin(self) -> None:
        self.startReading()
        end = self.shake()
        if end is not None:
            # Not before the caller has it.
            self.reactor.callLater(0, self._lose, end)

    def _lose(self, end: Any) -> None:
        self.connectionLost(Failure(end))
