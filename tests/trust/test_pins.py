"""Pins, times and files of pins; what is no certificate is told, whatever it is."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.trust.pins import checked_pin, out_of_time, pin_of, read_pins, validity_of
from netdaemon.trust.words import EXPIRED, NOT_YET_VALID

PIN = "sha256:" + "0123456789abcdef" * 4


def certificate(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, end: datetime
) -> bytes:
    """In DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "n" * 60)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC))
        .not_valid_after(end)
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", ["ec", "ed25519", "rsa"])
@pytest.mark.parametrize("year", [2049, 2050, 9999])
def test_pin_and_times(kind: str, year: int) -> None:
    """The pin is what everybody else calls so; times of either form."""
    key = {
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    end = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    octets = certificate(key, end)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert pin_of(octets) == "sha256:" + hashlib.sha256(spki).hexdigest()
    begin = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
    assert validity_of(octets) == (begin, end)
    assert out_of_time(octets, begin - timedelta(seconds=1)) == NOT_YET_VALID
    assert out_of_time(octets, begin) == out_of_time(octets, end) == 0
    if year < 9999:
        assert out_of_time(octets, end + timedelta(seconds=1)) == EXPIRED


CUT = certificate(ec.generate_private_key(ec.SECP256R1()), datetime(2049, 1, 1, tzinfo=UTC))


@given(st.integers(0, len(CUT) - 1))
def test_what_is_cut_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="the certificate"):
        pin_of(CUT[:length])


@given(
    st.binary(max_size=200)
    | st.builds(lambda at, by: CUT[:at] + by + CUT[at + 1 :], st.integers(0, 150), st.binary(min_size=1, max_size=1))
)
def test_whatever_it_is_it_is_read_or_refused(octets: bytes) -> None:
    for read in (pin_of, validity_of):
        try:
            read(octets)
        except ValueError:
            pass


def test_checked() -> None:
    assert checked_pin(f" {PIN.upper().replace('SHA', 'sha')} ") == PIN
    for bad in ("", "sha256:", PIN[:-1], PIN + "0", PIN.replace("sha256", "sha1"), PIN[7:], PIN[:-1] + "g"):
        with pytest.raises(ValueError, match="is no pin"):
            checked_pin(bad)


def test_a_file(tmp_path: Path) -> None:
    other = PIN[:-1] + "0"
    file = tmp_path / "pins"
    file.write_text(f"# of the panel\n\n{PIN}\n  {other}  # and another\n{PIN}\n")
    assert read_pins(str(file)) == {PIN, other}
    file.write_text(f"{PIN}\nsha256:12\n")
    with pytest.raises(ValueError, match=f"^{file}, line 2: 'sha256:12' is no pin"):
        read_pins(str(file))
    file.write_text("# nobody\n")
    with pytest.raises(ValueError, match="has no pin, and nobody would be let in"):
        read_pins(str(file))
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ValueError, match="the most that is read"):
        read_pins(str(file))
    with pytest.raises(FileNotFoundError):
        read_pins(str(tmp_path / "none"))


def test_one_of_another_make() -> None:
    octets = x509.load_pem_x509_certificate(trustme.CA().issue_cert("a.example.org").cert_chain_pems[0].bytes())
    der = octets.public_bytes(serialization.Encoding.DER)
    assert validity_of(der) == (octets.not_valid_before_utc, octets.not_valid_after_utc)
