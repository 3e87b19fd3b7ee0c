"""Keys by their pins: the digest of the SubjectPublicKeyInfo in a certificate, whatever else that says; and its times.

Reads just as much of DER as is needed to find it, so that scripts need nothing but the standard library, and both sides
of a connection come to the same pin by the same way.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from netdaemon.trust.words import EXPIRED, NOT_YET_VALID

PREFIX = "sha256:"

# A file of pins is read whole: as many clients as anybody has, with a comment on each.
FILE_MOST = 1 << 20

_PIN = re.compile(r"sha256:[0-9a-f]{64}")

_SEQUENCE = 0x30
_EXPLICIT_0 = 0xA0

_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18

# Fields of TBSCertificate: serial number, signature algorithm, issuer, validity, subject, key.
_VALIDITY = 3
_KEY = 5

# Octets of a length in DER; a certificate with more of them than that is none that TLS carries.
_LENGTH_MOST = 4


def checked_pin(text: str) -> str:
    """*text* as a pin, in lower case.

    :raises ValueError: it is none.
    """
    pin = text.strip().lower()
    if not _PIN.fullmatch(pin):
        raise ValueError(
            f"{text!r} is no pin; that is sha256: and 64 hexadecimal digits, as ndtool keys show prints it"
        )
    return pin


def pin_of(certificate: bytes) -> str:
    """The pin of the key in a *certificate* in DER.

    :raises ValueError: it is no certificate.
    """
    start, end = _field(certificate, _KEY)
    return PREFIX + hashlib.sha256(certificate[start:end]).hexdigest()


def validity_of(certificate: bytes) -> tuple[datetime, datetime]:
    """From when and until when a *certificate* in DER is valid.

    :raises ValueError: it is no certificate.
    """
    start, _ = _field(certificate, _VALIDITY)
    try:
        position, _ = _inside(certificate, start)
        return _time(certificate, position), _time(certificate, _end(certificate, position))
    except IndexError:
        raise ValueError("the certificate ends in the middle") from None


def out_of_time(certificate: bytes, now: datetime | None = None) -> int:
    """OpenSSL's number for a *certificate* that is not valid yet or any more; 0: it is valid."""
    begin, end = validity_of(certificate)
    now = datetime.now(UTC) if now is None else now
    return NOT_YET_VALID if now < begin else EXPIRED if now > end else 0


def _field(octets: bytes, number: int) -> tuple[int, int]:
    """Where a field of TBSCertificate, a sequence, begins and ends."""
    try:
        start, _ = _inside(octets, 0)
        position, _ = _inside(octets, start)
        if octets[position] == _EXPLICIT_0:
            # The version, which the first certificates did not tell.
            position = _end(octets, position)
        for _ in range(number):
            position = _end(octets, position)
        _inside(octets, position)
        return position, _end(octets, position)
    except IndexError:
        raise ValueError("the certificate ends in the middle") from None


def _time(octets: bytes, position: int) -> datetime:
    kind = octets[position]
    start, end = _span(octets, position)
    text = octets[start:end].decode("ascii", "replace")
    if kind == _UTC_TIME:
        # Of the years from 1950 to 2049.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError(f"the certificate has {kind:#04x} where a time has to be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _inside(octets: bytes, position: int) -> tuple[int, int]:
    """Where the contents of the sequence at *position* begin and end."""
    if octets[position] != _SEQUENCE:
        raise ValueError(f"the certificate has {octets[position]:#04x} where a sequence has to be")
    return _span(octets, position)


def _end(octets: bytes, position: int) -> int:
    return _span(octets, position)[1]


def _span(octets: bytes, position: int) -> tuple[int, int]:
    length = octets[position + 1]
    start = position + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= _LENGTH_MOST:
            raise ValueError("the certificate has a length that is none")
        length = int.from_bytes(octets[start : start + count], "big")
        start += count
    if start + length > len(octets):
        raise IndexError
    return start, start + length


def read_pins(path: str) -> frozenset[str]:
    """The pins in a file: one a line, ``#`` begins a comment.

    :raises OSError: it cannot be read.
    :raises ValueError: a line is no pin, or there is none; the message has file and line.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read(FILE_MOST + 1)
    if len(text) > FILE_MOST:
        raise ValueError(f"{path} has more than {FILE_MOST} characters, which is the most that is read")
    pins = set()
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if said:
            try:
                pins.add(checked_pin(said))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    if not pins:
        raise ValueError(f"{path} has no pin, and nobody would be let in")
    return frozenset(pins)
