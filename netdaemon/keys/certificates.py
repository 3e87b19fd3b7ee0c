"""What a certificate says; knows neither who shows it nor who believes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from netdaemon.trust.pins import pin_of

# Names of one certificate that are looked at, and the characters of one: who is called more, or longer, is called that
# for no good reason, and each is told in records and logs.
NAMES_MOST = 64
NAME_MOST = 255


class NoCertificate(ValueError):
    """There is none in it."""


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """What a certificate says that its owner is, in its order: ``dns:...``, ``uri:...``, ``email:...``, ``ip:...``.

    Names that are not plain characters are left out: nobody is known by them.
    """
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = []
    for one in list(said)[:NAMES_MOST]:
        if isinstance(one, x509.DNSName):
            name = f"dns:{one.value.lower()}"
        elif isinstance(one, x509.UniformResourceIdentifier):
            name = f"uri:{one.value}"
        elif isinstance(one, x509.RFC822Name):
            name = f"email:{one.value}"
        elif isinstance(one, x509.IPAddress):
            name = f"ip:{one.value}"
        else:
            continue
        if len(name) <= NAME_MOST and all("!" <= character <= "~" for character in name):
            names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class Shown:
    """What a file has of one certificate."""

    subject: str
    issuer: str
    pin: str
    names: tuple[str, ...]
    sides: tuple[str, ...]
    begin: datetime
    until: datetime


def show(octets: bytes) -> list[Shown]:
    """The certificates in a file of PEM.

    :raises NoCertificate: there is none.
    """
    try:
        certificates = x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise NoCertificate("it has no certificate; in PEM that begins with -----BEGIN CERTIFICATE-----") from None
    return [
        Shown(
            subject=one.subject.rfc4514_string(),
            issuer=one.issuer.rfc4514_string(),
            pin=pin_of(one.public_bytes(Encoding.DER)),
            names=names_of(one),
            sides=_sides(one),
            begin=one.not_valid_before_utc,
            until=one.not_valid_after_utc,
        )
        for one in certificates
    ]


def _sides(certificate: x509.Certificate) -> tuple[str, ...]:
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return ("authority",)
    except x509.ExtensionNotFound:
        pass
    try:
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return ("daemon", "client")
    sides = (("daemon", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH))
    return tuple(side for side, usage in sides if usage in usages)
