"""An authority and what it signs: who can use it for what, whose files they are, and what is left alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from netdaemon.keys.certificates import NAMES_MOST, NoCertificate, names_of, show
from netdaemon.keys.issuing import CannotIssue, issue, make_authority


def mode(path: str | Path) -> int:
    return os.stat(path).st_mode & 0o777


@pytest.fixture
def directory(tmp_path: Path) -> str:
    made = make_authority(str(tmp_path / "deep" / "keys"), 30, force=False)
    assert made.names == ()
    return str(tmp_path / "deep" / "keys")


def one(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def test_whose_files(directory: str) -> None:
    old = os.umask(0)
    try:
        made = issue(directory, "panel", hosts=None, days=1, force=False)
    finally:
        os.umask(old)
    assert mode(directory) == 0o700
    assert mode(made.key) == mode(os.path.join(directory, "authority.key")) == 0o600
    assert mode(made.certificate) == 0o644
    os.chmod(directory, 0o750)
    with pytest.raises(CannotIssue, match="has mode 0750") as told:
        make_authority(directory, 1, force=True)
    assert told.value.hint == f"chmod 700 {directory}"


def test_what_they_say(directory: str) -> None:
    daemon = issue(
        directory, "prod", hosts=["Prod.Example.org", "192.0.2.7", "[::1]", "*.example.org"], days=9, force=False
    )
    assert daemon.names == ("dns:prod.example.org", "ip:192.0.2.7", "ip:::1", "dns:*.example.org")
    assert issue(directory, "bare.example.org", hosts=[], days=9, force=False).names == ("dns:bare.example.org",)
    client = issue(directory, "panel", hosts=None, days=9, force=False)
    person = issue(directory, "alice@example.org", hosts=None, days=9, force=False)
    assert (client.names, person.names) == (("dns:panel",), ("email:alice@example.org",))
    authority = one(os.path.join(directory, "authority.pem"))
    for made, sides in ((daemon, ("daemon",)), (client, ("client",)), (person, ("client",))):
        certificate = one(made.certificate)
        certificate.verify_directly_issued_by(authority)
        (shown,) = show(Path(made.certificate).read_bytes())
        assert (shown.sides, shown.pin, shown.names) == (sides, made.pin, made.names)
        left = made.until - datetime.now(UTC)
        assert timedelta(days=8, hours=23) < left <= timedelta(days=9)
    assert show(Path(directory, "authority.pem").read_bytes())[0].sides == ("authority",)


def test_nothing_is_valid_for_longer_than_the_authority(directory: str) -> None:
    made = issue(directory, "panel", hosts=None, days=365, force=False)
    assert made.until == one(os.path.join(directory, "authority.pem")).not_valid_after_utc


def test_nothing_is_overwritten(directory: str) -> None:
    made = issue(directory, "panel", hosts=None, days=1, force=False)
    before = Path(made.key).read_bytes(), Path(directory, "authority.key").read_bytes()
    with pytest.raises(CannotIssue, match=r"panel.pem exists, and was left alone"):
        issue(directory, "panel", hosts=None, days=1, force=False)
    os.unlink(made.certificate)
    with pytest.raises(CannotIssue, match=r"panel.key exists, and was left alone"):
        issue(directory, "panel", hosts=None, days=1, force=False)
    with pytest.raises(CannotIssue, match=r"authority.pem exists"):
        make_authority(directory, 1, force=False)
    assert (Path(made.key).read_bytes(), Path(directory, "authority.key").read_bytes()) == before
    again = issue(directory, "panel", hosts=None, days=1, force=True)
    assert again.pin != made.pin
    assert mode(again.key) == 0o600
    assert sorted(os.listdir(directory)) == ["authority.key", "authority.pem", "panel.key", "panel.pem"]


def test_what_cannot_be_made(directory: str, tmp_path: Path) -> None:
    for name in ("", "../x", "a/b", ".x", "authority", "a b", "x" * 65, "a\n"):
        with pytest.raises(CannotIssue, match="cannot be such a name"):
            issue(directory, name, hosts=None, days=1, force=False)
    with pytest.raises(CannotIssue, match="neither an address nor the name"):
        issue(directory, "prod", hosts=["a b"], days=1, force=False)
    with pytest.raises(CannotIssue, match="there is no authority in") as told:
        issue(str(tmp_path / "none"), "prod", hosts=None, days=1, force=False)
    assert told.value.hint.startswith("make one: ndtool keys init")
    made = issue(directory, "panel", hosts=None, days=1, force=False)
    os.replace(made.key, os.path.join(directory, "authority.key"))
    with pytest.raises(CannotIssue, match="is not the key of"):
        issue(directory, "other", hosts=None, days=1, force=False)
    with pytest.raises(NoCertificate, match="it has no certificate"):
        show(b"")


def test_names_that_are_left_out() -> None:
    """More of them, or longer ones, than anybody is called, and those that are not plain."""

    class Certificate:
        def __init__(self, *names: x509.GeneralName) -> None:
            extension = x509.Extension(x509.SubjectAlternativeName.oid, False, x509.SubjectAlternativeName(names))
            self.extensions = x509.Extensions([extension])

    many = [x509.DNSName(f"{number}.example.org") for number in range(NAMES_MOST + 1)]
    assert len(names_of(Certificate(*many))) == NAMES_MOST  # type: ignore[arg-type]
    odd = (
        x509.UniformResourceIdentifier("spiffe://example.org/panel"),
        x509.DNSName("x" * 300),
        x509.UniformResourceIdentifier("a b"),
        x509.UniformResourceIdentifier("a\x1b[31m"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    assert names_of(Certificate(*odd)) == ("uri:spiffe://example.org/panel",)  # type: ignore[arg-type]
