"""Makes a private authority, keys, and certificates that it signs, in files; knows no daemon and no command line."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netdaemon.keys.certificates import names_of
from netdaemon.trust.pins import pin_of

# What the authority's own files are called in its directory.
AUTHORITY = "authority"

# A certificate is valid a little before it was made: clocks differ.
EARLIER = timedelta(minutes=10)

# What names of files, of hosts and of clients are made of.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class CannotIssue(Exception):
    """It was not made; the message says why, and *hint* what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Issued:
    """Two files that have been written."""

    certificate: str
    key: str
    pin: str
    names: tuple[str, ...]
    until: datetime


def make_authority(directory: str, days: int, *, force: bool) -> Issued:
    """Make a key and a certificate for it that signs others, in *directory*.

    :raises CannotIssue: there is one, or the directory is open to others.
    """
    _make_directory(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"netdaemon authority {x509.random_serial_number():x}")]
    )
    builder = _builder(subject, subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return _write(directory, AUTHORITY, key, certificate, force=force)


def issue(directory: str, name: str, *, hosts: Sequence[str] | None, days: int, force: bool) -> Issued:
    """Make a key and a certificate for it that the authority in *directory* has signed.

    :param name: of the files, and what a client is called.
    :param hosts: the names and addresses of a daemon's host; None: it is a client's.
    :raises CannotIssue: there is no such authority, or they exist.
    """
    if not _NAME.fullmatch(name) or name == AUTHORITY:
        raise CannotIssue(f"{name!r} cannot be such a name: letters, digits, and . _ @ - between them, 64 at most")
    signer, signing = _authority(directory)
    until = signer.not_valid_after_utc
    if until < datetime.now(UTC):
        raise CannotIssue(f"the authority in {directory} has expired", "make another: ndtool keys init")
    names = [_client_name(name)] if hosts is None else [_host(one) for one in hosts or (name,)]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    side = ExtendedKeyUsageOID.CLIENT_AUTH if hosts is None else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        _builder(subject, signer.subject, key.public_key(), days, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([side]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    return _write(directory, name, key, builder.sign(signing, hashes.SHA256()), force=force)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int, most: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    until = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        # Nothing is valid for longer than who vouches for it.
        .not_valid_after(until if most is None else min(until, most))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _client_name(name: str) -> x509.GeneralName:
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name.lower())


def _host(said: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(said.strip("[]")))
    except ValueError:
        pass
    if not _HOST.fullmatch(said):
        raise CannotIssue(f"--host {said!r} is neither an address nor the name of a host")
    return x509.DNSName(said.lower())


def _authority(directory: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, key = (os.path.join(directory, f"{AUTHORITY}.{kind}") for kind in ("pem", "key"))
    try:
        with open(certificate, "rb") as file:
            signer = x509.load_pem_x509_certificate(file.read())
        with open(key, "rb") as file:
            signing = serialization.load_pem_private_key(file.read(), None)
    except FileNotFoundError as error:
        raise CannotIssue(f"there is no authority in {directory}", f"make one: ndtool keys init {directory}") from error
    except (ValueError, TypeError) as error:
        raise CannotIssue(f"the authority in {directory} cannot be read: {error}") from error
    if not isinstance(signing, ec.EllipticCurvePrivateKey) or signing.public_key() != signer.public_key():
        raise CannotIssue(f"{key} is not the key of {certificate} that ndtool keys init has made")
    return signer, signing


def _make_directory(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o700)
    except FileExistsError:
        pass
    status = os.stat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise CannotIssue(f"{directory} is no directory")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise CannotIssue(f"{directory} has mode {mode:04o}, and keys are for nobody else", f"chmod 700 {directory}")


def _write(
    directory: str, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, force: bool
) -> Issued:
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = [os.path.join(directory, f"{name}.{kind}") for kind in ("pem", "key")]
    if not force:
        for path in paths:
            if os.path.lexists(path):
                raise CannotIssue(f"{path} exists, and was left alone", "take another name, or say --force")
    _write_file(paths[1], octets, 0o600, force=force)
    _write_file(paths[0], certificate.public_bytes(serialization.Encoding.PEM), 0o644, force=force)
    pin = pin_of(certificate.public_bytes(serialization.Encoding.DER))
    return Issued(paths[0], paths[1], pin, names_of(certificate), certificate.not_valid_after_utc)


def _write_file(path: str, octets: bytes, mode: int, *, force: bool) -> None:
    """Write a whole file, or none; never for an instant with a wider mode."""
    there = f"{path}.new" if force else path
    if force and os.path.lexists(there):
        os.unlink(there)
    try:
        descriptor = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise CannotIssue(f"{path} exists, and was left alone", "take another name, or say --force") from error
        raise
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    if force:
        os.replace(there, path)
