"""Who is at the other end, by the certificate that was shown in the handshake; knows no transport and no policy."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from netdaemon.errors import Denied, Untrusted
from netdaemon.keys.certificates import names_of
from netdaemon.trust.credentials import Credentials
from netdaemon.trust.pins import out_of_time, pin_of
from netdaemon.trust.places import Place
from netdaemon.trust.words import found_wrong, wrong_host, wrong_pin


def client_of(connection: SSL.Connection, *, signed: bool, pins: frozenset[str] | None) -> tuple[str, tuple[str, ...]]:
    """The pin and the names of a client that has proved in the handshake that it has its key.

    :param signed: whether an authority of ours has signed what it has shown. Where none has, the names in it are only
        what it says itself, and it has none.
    :param pins: the keys that may connect; None: all that are signed.
    :raises Denied: it has shown none, or one of another key, or one whose time is over.
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        raise Denied("no certificate was shown")
    octets = certificate.public_bytes(Encoding.DER)
    try:
        pin = pin_of(octets)
        wrong = out_of_time(octets)
    except ValueError as error:
        raise Denied(f"the certificate cannot be read: {error}") from error
    if wrong:
        raise Denied(found_wrong(wrong, "the client's", None))
    if pins is not None and pin not in pins:
        raise Denied(f"the key {pin} is not among those that may connect; ask for it to be added to the daemon's pins")
    return pin, names_of(certificate) if signed else ()


def check_daemon(connection: SSL.Connection, place: Place, credentials: Credentials) -> None:
    """Whether it is the daemon that was meant.

    :raises Untrusted: it is not.
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        raise Untrusted("the daemon has shown no certificate")
    octets = certificate.public_bytes(Encoding.DER)
    try:
        pin = pin_of(octets)
        wrong = out_of_time(octets)
    except ValueError as error:
        raise Untrusted(f"the daemon's certificate cannot be read: {error}") from error
    if wrong:
        raise Untrusted(found_wrong(wrong, "the daemon's", None))
    if credentials.pin is not None:
        if pin != credentials.pin:
            raise Untrusted(wrong_pin(pin, credentials.pin))
        return
    verify = verify_certificate_ip_address if place.is_address else verify_certificate_hostname
    try:
        verify(certificate, place.host)
    except (VerificationError, ValueError):
        raise Untrusted(wrong_host(place.host, names_of(certificate))) from None
