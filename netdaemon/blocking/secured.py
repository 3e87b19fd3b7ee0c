"""A TCP socket under TLS that can be used as a plain one where that does not wait; knows no messages."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from netdaemon.errors import ConnectFailed, Untrusted
from netdaemon.trust import words
from netdaemon.trust.credentials import Credentials, check_private
from netdaemon.trust.pins import out_of_time, pin_of
from netdaemon.trust.places import Place
from netdaemon.trust.sockets import prepare

# The most that one record carries: with room for it nothing stays inside of OpenSSL, where poll does not see it.
RECORD = 16 * 1024


def context_of(credentials: Credentials) -> ssl.SSLContext:
    """What the standard library is told: TLS 1.3, what we show, and by what the daemon is known.

    :raises Untrusted: a file is of no use; the message says which, and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority = credentials.authority_file
    # By its pin a daemon is known whatever it is called.
    context.check_hostname = credentials.pin is None
    context.verify_mode = ssl.CERT_NONE if authority is None else ssl.CERT_REQUIRED
    certificate, key = credentials.certificate_file, credentials.key_file
    for what, path in (("certificate", certificate), ("key", key), ("authority", authority)):
        if path is not None:
            _readable(what, path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Untrusted(f"key {key} is not the key of certificate {certificate}") from None
        raise Untrusted(f"certificate {certificate}, key {key}: one of them is no file in PEM") from None
    except _Encrypted:
        raise Untrusted(f"key {key} is encrypted, and nobody is there to be asked for the password") from None
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise Untrusted(f"authority {authority} has no certificate in PEM") from None
    return context


class _Encrypted(Exception):
    """A password is asked for."""


def _no_password() -> str:
    raise _Encrypted


def _readable(what: str, path: str) -> None:
    try:
        if what == "key":
            check_private(path)
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Untrusted(f"{what} {path}: {error.strerror}") from error


class SecuredSocket:
    """A socket that is connected, or is being connected, to *place*; nothing of it waits.

    As long as that and the handshake take, sending and receiving raise BlockingIOError; poll for what `wanted` says.

    :raises OSError: it cannot be connected.
    """

    def __init__(
        self, family: int, address: Any, place: Place, context: ssl.SSLContext, credentials: Credentials
    ) -> None:
        self._place = place
        self._context = context
        self._credentials = credentials
        self._secured: ssl.SSLSocket | None = None
        self._shaken = False
        self._wants = select.POLLOUT
        self._broken: Exception | None = None
        self._plain = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._plain.setblocking(False)
            prepare(self._plain)
            number = self._plain.connect_ex(address)
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
        except BaseException:
            self._plain.close()
            raise

    # --- what a plain one has ----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._plain.fileno() if self._secured is None else self._secured.fileno()

    def setblocking(self, flag: bool) -> None:
        """It never waits."""

    def close(self) -> None:
        if self._secured is not None:
            self._secured.close()
        self._plain.close()

    def sendmsg(self, parts: Sequence[bytes | memoryview], _ancillary: object = (), _flags: int = 0) -> int:
        """Send what the socket takes now; how many bytes.

        :raises BlockingIOError: none.
        """
        secured = self._ready()
        view = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        sent = 0
        try:
            while sent < len(view):
                sent += secured.send(view[sent:])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not sent:
                raise BlockingIOError from None
        except ssl.SSLError:
            # The daemon has gone; what it said before is found by reading.
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        return sent

    def recv_into(self, buffer: bytearray) -> int:
        """Receive what has come; 0 at the end.

        :raises BlockingIOError: nothing has.
        :raises Untrusted: the daemon has refused us, or is not the one that was meant.
        """
        if self._broken is not None:
            raise self._broken
        secured = self._ready()
        count = 0
        with memoryview(buffer) as view:
            try:
                while count + RECORD <= len(view):
                    more = secured.recv_into(view[count : count + RECORD])
                    if not more:
                        return count
                    count += more
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not count:
                    raise BlockingIOError from None
            except OSError as error:
                failure = self._explained(error)
                if not count:
                    raise failure from None
                # What came before that counts first.
                self._broken = failure
        return count

    # --- connecting --------------------------------------------------------------------------------------------------

    def wanted(self, sending: bool) -> int:
        """What to poll for; *sending*: something waits to be sent."""
        if not self._shaken:
            return self._wants
        return select.POLLIN | (select.POLLOUT if sending else 0)

    def wait_connected(self, timeout: float | None) -> None:
        """Wait for the kernel to have connected it.

        :raises OSError: it has not, or not in time.
        """
        poll = select.poll()
        poll.register(self._plain, select.POLLOUT)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        self._secured = self._connected()

    def _ready(self) -> ssl.SSLSocket:
        """The socket once the handshake is completed; goes on with that."""
        if self._secured is None:
            self._secured = self._connected()
        if not self._shaken:
            try:
                self._secured.do_handshake()
            except ssl.SSLWantReadError:
                self._wants = select.POLLIN
                raise BlockingIOError from None
            except ssl.SSLWantWriteError:
                self._wants = select.POLLOUT
                raise BlockingIOError from None
            except OSError as error:
                raise self._explained(error) from None
            self._check(self._secured.getpeercert(True) or b"")
            self._shaken = True
        return self._secured

    def _connected(self) -> ssl.SSLSocket:
        poll = select.poll()
        poll.register(self._plain, select.POLLOUT)
        if not poll.poll(0):
            raise BlockingIOError
        number = self._plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return self._context.wrap_socket(self._plain, server_hostname=self._place.host, do_handshake_on_connect=False)

    def _check(self, certificate: bytes) -> None:
        pin = self._credentials.pin
        if pin is None:
            # The authority and the name have been checked in the handshake.
            return
        try:
            seen, wrong = pin_of(certificate), out_of_time(certificate)
        except ValueError as error:
            raise self._untrusted(f"the daemon's certificate cannot be read: {error}") from error
        if wrong:
            raise self._untrusted(words.found_wrong(wrong, "the daemon's", None))
        if seen != pin:
            raise self._untrusted(words.wrong_pin(seen, pin))

    def _explained(self, error: OSError) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in words.WRONG_HOST:
                return self._untrusted(words.wrong_host(self._place.host, None))
            authority = self._credentials.authority_file
            return self._untrusted(words.found_wrong(error.verify_code, "the daemon's", authority))
        if isinstance(error, ssl.SSLEOFError):
            return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if isinstance(error, ssl.SSLError):
            reason = error.reason or ""
            return self._untrusted(words.refused_by_daemon(reason) or words.broken(reason))
        return error

    def _untrusted(self, why: str) -> Untrusted:
        return Untrusted(f"{self._place}: {why}")


class Dialler:
    """Connects to the daemon at *place* once, and again; each time by the files as they are then."""

    def __init__(self, place: Place, credentials: Credentials) -> None:
        self._place = place
        self._credentials = credentials
        self._turn = 0

    def connect(self, timeout: float | None) -> SecuredSocket:
        """A socket that is connected; each of the place's addresses is tried for so many seconds.

        :raises ConnectFailed: none of them is listened on, or takes it in time.
        :raises Untrusted: a file is of no use.
        """
        context = context_of(self._credentials)
        last: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
        try:
            addresses = self._addresses()
        except OSError as error:
            raise ConnectFailed(f"{self._place}: {words.meaning(error)}") from error
        for family, address in addresses:
            sock: SecuredSocket | None = None
            try:
                sock = SecuredSocket(family, address, self._place, context, self._credentials)
                sock.wait_connected(timeout)
                return sock
            except OSError as error:
                last = error
                if sock is not None:
                    sock.close()
        raise ConnectFailed(f"{self._place}: {words.meaning(last)}") from last

    def dial(self) -> SecuredSocket:
        """A socket that will be connected, to the next of the place's addresses; waits for nothing but their names.

        :raises OSError: not now.
        :raises Untrusted: a file is of no use.
        """
        addresses = self._addresses()
        family, address = addresses[self._turn % len(addresses)]
        self._turn += 1
        return SecuredSocket(family, address, self._place, context_of(self._credentials), self._credentials)

    def _addresses(self) -> list[tuple[int, Any]]:
        found = socket.getaddrinfo(self._place.host, self._place.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]
