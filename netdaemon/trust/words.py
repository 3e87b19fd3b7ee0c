"""What TLS and TCP say when they fail, in words for whoever wanted to connect; opens no socket."""

from __future__ import annotations

import errno
import socket

# What the other side's alerts say of the certificate that we have shown. OpenSSL tells them in several spellings.
_OF_OURS = {
    "certificate required": "it wants to see one, and none was shown",
    "certificate expired": "it has expired",
    "unknown ca": "it is not signed by an authority that the daemon trusts",
    "bad certificate": "it is not valid",
    "certificate unknown": "it is not accepted",
    "certificate revoked": "it has been revoked",
    "unsupported certificate": "it is not one for a client",
    "access denied": "access is denied",
    "decrypt error": "its signature does not verify",
}

_OF_ALL = {
    "protocol version": "the daemon does not speak TLS 1.3, or this is no daemon",
    "handshake failure": "the daemon and this client find no common way of encryption",
    "internal error": "the daemon failed in the middle of the handshake; its log may have more",
}

# What one's own OpenSSL finds wrong with the other's certificate, by its number; and what it means.
EXPIRED = 10
NOT_YET_VALID = 9
INVALID_PURPOSE = 26
UNTRUSTED = (2, 18, 19, 20, 21, 24, 27)
WRONG_HOST = (62, 64)

# Saying no TLS at all comes out as one of these.
_NO_TLS = ("wrong version number", "http request", "packet length too long", "record layer failure", "unknown protocol")


def refused_by_daemon(reason: str) -> str | None:
    """What an alert of the daemon's comes to; None: *reason* is no alert.

    :param reason: as OpenSSL has it, ``tlsv1 alert unknown ca`` or ``TLSV1_ALERT_UNKNOWN_CA``.
    """
    words = reason.replace("_", " ").lower()
    _, alert, what = words.partition("alert ")
    if not alert:
        return None
    if what in _OF_OURS:
        return f"the daemon refused the certificate: {_OF_OURS[what]}"
    return _OF_ALL.get(what, f"the daemon ended the handshake: {what}")


def broken(reason: str) -> str:
    """What any other failure of TLS comes to."""
    words = reason.replace("_", " ").lower()
    if any(one in words for one in _NO_TLS):
        return "what answers there does not speak TLS"
    return f"the handshake failed: {words or 'without a reason'}"


def found_wrong(number: int, whose: str, authority: str | None) -> str:
    """What is wrong with *whose* certificate ("the daemon's"), by the number of OpenSSL's verification."""
    if number == EXPIRED:
        return f"{whose} certificate has expired"
    if number == NOT_YET_VALID:
        return f"{whose} certificate is not valid yet; is the clock right?"
    if number in UNTRUSTED:
        return f"{whose} certificate is not signed by {authority or 'anybody who is trusted'}"
    if number == INVALID_PURPOSE:
        return f"{whose} certificate was not issued for this side of a connection"
    return f"{whose} certificate does not verify (error {number} of OpenSSL)"


def wrong_pin(seen: str, expected: str) -> str:
    """The daemon has another key than the one that was expected."""
    return f"the daemon's pin is {seen}, expected {expected}"


def wrong_host(host: str, names: tuple[str, ...] | None) -> str:
    """The daemon's certificate is for others: *names*, where they are known."""
    told = f"the daemon's certificate is not for {host}"
    return told if names is None else f"{told}; it is for {', '.join(names) or 'nobody by name'}"


# What connecting fails with while one daemon has gone and the next does not listen yet, or the way to it is broken.
PASSING = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
)


def passes(error: OSError) -> bool:
    """Whether connecting by TCP may succeed later although it failed with *error*."""
    return isinstance(error, socket.gaierror | TimeoutError) or error.errno in PASSING


def meaning(error: OSError) -> str:
    """Why a place cannot be connected to by TCP."""
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens there; is the daemon running, with --listen?"
    if error.errno in (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN):
        return "there is no way to that host at the moment"
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "that host does not answer"
    return error.strerror or str(error)
