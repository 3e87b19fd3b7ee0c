"""What a client has: whose files they are, and what cannot be meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netdaemon import Credentials
from netdaemon.trust.credentials import TOKEN_MOST, check_private, read_token
from netdaemon.trust.words import broken, found_wrong, refused_by_daemon

PIN = "sha256:" + "ab" * 32


def test_what_is_given() -> None:
    whole = Credentials(certificate="~/c.pem", authority=Path("/a.pem"))
    assert whole.certificate_file == whole.key_file == os.path.expanduser("~/c.pem")
    assert whole.authority_file == "/a.pem"
    apart = Credentials(certificate="/c.pem", key="/k.pem", pin=PIN.upper().replace("SHA", "sha"))
    assert (apart.key_file, apart.authority_file, apart.pin) == ("/k.pem", None, PIN)
    with pytest.raises(ValueError, match="neither authority nor pin is given"):
        Credentials(certificate="/c.pem")
    with pytest.raises(ValueError, match="'ab' is no pin"):
        Credentials(certificate="/c.pem", pin="ab")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_what_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    file.chmod(0o600)
    check_private(str(file))
    assert read_token(str(file)) == b"secret"
    file.chmod(mode)
    for check in (check_private, read_token):
        with pytest.raises(PermissionError, match=f"its mode is {mode:04o}.*chmod 600 {file}"):
            check(str(file))


def test_what_is_another_users_is_as_that_one_wants_it(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    file = tmp_path / "key"
    file.touch()
    file.chmod(0o640)
    os.chown(file, 12345, -1)
    check_private(str(file))


def test_tokens(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    for good in (b"x", b"x" * TOKEN_MOST, b"x y\n", b"x\r\n"):
        file.write_bytes(good)
        assert read_token(str(file)) == good.rstrip(b"\r\n")
    for bad in (b"", b"\n", b"a\nb", b"x" * (TOKEN_MOST + 1)):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match="has no token in it"):
            read_token(str(file))


def test_words() -> None:
    """OpenSSL has two spellings for all of it, and more things to say than are known here."""
    for reason in ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "tlsv13 alert certificate required"):
        assert refused_by_daemon(reason) == (
            "the daemon refused the certificate: it wants to see one, and none was shown"
        )
    assert refused_by_daemon("SSLV3_ALERT_SOMETHING_NEW") == "the daemon ended the handshake: something new"
    assert (
        refused_by_daemon("tlsv1 alert protocol version") == "the daemon does not speak TLS 1.3, or this is no daemon"
    )
    assert refused_by_daemon("wrong version number") is None
    assert broken("WRONG_VERSION_NUMBER") == "what answers there does not speak TLS"
    assert broken("") == "the handshake failed: without a reason"
    assert found_wrong(9, "the daemon's", None) == "the daemon's certificate is not valid yet; is the clock right?"
    assert found_wrong(23, "the client's", None) == "the client's certificate does not verify (error 23 of OpenSSL)"
