"""What OpenSSL is told before a connection: certificate, key, whom to believe, TLS 1.3; knows no socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from netdaemon.errors import NetdaemonError
from netdaemon.trust.credentials import Credentials, check_private
from netdaemon.trust.words import UNTRUSTED

T = TypeVar("T")

_PEM_FILES = "a file in PEM, which begins with -----BEGIN"


class CannotUse(NetdaemonError):
    """A certificate, key or file of pins is of no use; the message says which, and why."""


def daemon_context(certificate: str, key: str, authority: str | None) -> SSL.Context:
    """For connections that are accepted: the client has to show a certificate, and to have its key.

    :param authority: who has to have signed it; None: anybody may, and whose key it is has to be looked at afterwards.
    :raises CannotUse: a file is of no use.
    """
    context = _context(certificate, key)
    if authority is not None:
        _believe(context, authority)
        # Told to clients, so that one that has several certificates shows the right one.
        context.load_client_ca(os.fsencode(authority))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _judge(trusting=authority is None))
    # A resumed session would tell of a certificate that was believed once.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    return context


def client_context(credentials: Credentials) -> SSL.Context:
    """For connections that are made.

    :raises CannotUse: a file is of no use.
    """
    context = _context(credentials.certificate_file, credentials.key_file)
    authority = credentials.authority_file
    if authority is not None:
        _believe(context, authority)
    context.set_verify(SSL.VERIFY_PEER, _judge(trusting=authority is None))
    return context


def found(connection: SSL.Connection) -> int:
    """What OpenSSL has found wrong with the other's certificate, by its number; 0: nothing, or it has not looked."""
    number: int = (connection.get_app_data() or [0])[0]
    return number


def _context(certificate: str, key: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # Of a connection on which nothing moves, OpenSSL keeps no buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _using("certificate", certificate, lambda: context.use_certificate_chain_file(os.fsencode(certificate)))
    try:
        check_private(key)
    except OSError as error:
        raise CannotUse(f"key {key}: {error.strerror}") from error
    try:
        context.use_privatekey(_private_key(key))  # type: ignore[arg-type]  # OpenSSL says itself what it cannot use
        context.check_privatekey()
    except SSL.Error:
        raise CannotUse(f"key {key} is not the key of certificate {certificate}") from None
    return context


def _private_key(path: str) -> PrivateKeyTypes:
    with open(path, "rb") as file:
        octets = file.read()
    try:
        return load_pem_private_key(octets, None)
    except TypeError:
        raise CannotUse(f"key {path} is encrypted, and nobody is there to be asked for the password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CannotUse(f"key {path} has no private key; it has to be {_PEM_FILES}") from None


def _believe(context: SSL.Context, authority: str) -> None:
    _using("authority", authority, lambda: context.load_verify_locations(os.fsencode(authority)))


def _using(what: str, path: str, use: Callable[[], T]) -> T:
    try:
        with open(path, "rb"):
            pass
        return use()
    except OSError as error:
        raise CannotUse(f"{what} {path}: {error.strerror}") from error
    except SSL.Error as error:
        reasons = error.args[0] if error.args else ()
        why = "; ".join(one[2] for one in reasons if one[2]) or "OpenSSL does not say why"
        raise CannotUse(f"{what} {path}: {why}; it has to be {_PEM_FILES}") from None


def _judge(*, trusting: bool) -> Callable[[SSL.Connection, Any, int, int, int], bool]:
    """What OpenSSL asks of every certificate in a chain.

    :param trusting: let those pass that nobody known has signed; they are known by their keys, later. Times and
        purposes count all the same.
    """

    def judged(connection: SSL.Connection, _certificate: Any, number: int, _depth: int, fine: int) -> bool:
        if fine or (trusting and number in UNTRUSTED):
            return True
        connection.set_app_data([number])
        return False

    return judged
