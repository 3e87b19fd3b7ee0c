"""The blocking client by TLS: who is told what, and that it comes back; against a daemon in a process of its own."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netdaemon import Credentials, blocking
from netdaemon.errors import ConnectFailed, ConversationAborted, TimedOut, Untrusted
from tests.blocking.proxy import limits
from tests.blocking.test_resuming_for_real import check, echo
from tests.cli.support import PATIENCE
from tests.tls.support import Cutting, Keys, TlsDaemon, pin, tls_daemon


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("tls") / "keys")


@pytest.fixture(scope="module")
def daemon(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDaemon]:
    directory = tmp_path_factory.mktemp("daemon")
    directory.chmod(0o700)
    with tls_daemon(directory, keys) as one:
        yield one


def refused(endpoint: str, credentials: Credentials) -> str:
    with pytest.raises(Untrusted) as told:
        blocking.connect(endpoint, credentials=credentials)
    return str(told.value)


def test_who_is_signed_is_let_in(daemon: TlsDaemon, keys: Keys) -> None:
    mine = keys.credentials("panel", "panel.example.org")
    with blocking.connect(daemon.endpoint, credentials=mine) as client:
        assert client.welcome.principal == "tls:dns:panel.example.org"
        process = client.start(["/bin/sh", "-c", "cat; exit 3"])
        data = random.Random(1).randbytes(1 << 20)
        process.stdin.put(data[:1000])
        process.stdin.close()
        assert client.wait(process.id).code == 3
        assert client.inspect(process.id).owner == "tls:dns:panel.example.org"
        client.remove(process.id)


def test_all_that_cat_is_told_comes_back(daemon: TlsDaemon, keys: Keys) -> None:
    """Far more than fits into a record, a buffer of the kernel's, or a turn, both ways at once."""
    data = random.Random(2).randbytes(8 << 20)
    mine = keys.credentials("panel", "panel.example.org")
    with blocking.connect(daemon.endpoint, credentials=mine, timeout=PATIENCE) as client:
        process = client.start(["/bin/cat"], hold=-1, keep=16 << 20)
        check(echo(process, data, 300_000), data)
        client.remove(process.id)


def test_who_is_not_is_told_why(daemon: TlsDaemon, keys: Keys, tmp_path: Path) -> None:
    stranger = Keys(tmp_path / "other")
    mine = keys.issue("panel", "panel.example.org")
    where = f"localhost:{daemon.port}"
    for said, why in (
        (
            {"certificate": stranger.issue("panel", "p.example.org")},
            "the daemon refused the certificate: it is not signed by an authority that the daemon trusts",
        ),
        (
            {"certificate": keys.issue("late", "p.example.org", expired=True)},
            "the daemon refused the certificate: it has expired",
        ),
        ({"authority": stranger.authority}, f"the daemon's certificate is not signed by {stranger.authority}"),
        ({"authority": None, "pin": pin(mine)}, f"the daemon's pin is {pin(daemon.certificate)}, expected {pin(mine)}"),
    ):
        credentials = Credentials(**{"certificate": mine, "authority": keys.authority, **said})
        assert refused(daemon.endpoint, credentials) == f"{where}: {why}"
    credentials = Credentials(certificate=mine, authority=keys.authority)
    assert refused(f"tls:127.0.0.2:{daemon.port}", credentials) == (
        f"127.0.0.2:{daemon.port}: the daemon's certificate is not for 127.0.0.2"
    )
    # By its pin it is known there, too.
    pinned = Credentials(certificate=mine, pin=pin(daemon.certificate))
    with blocking.connect(f"tls:127.0.0.2:{daemon.port}", credentials=pinned) as client:
        assert client.list() == []


def test_files_that_are_of_no_use(keys: Keys, tmp_path: Path) -> None:
    mine = keys.issue("panel", "panel.example.org")
    other = keys.issue("other", "other.example.org")
    loose = tmp_path / "loose.pem"
    loose.write_bytes(Path(mine).read_bytes())
    loose.chmod(0o604)
    empty = tmp_path / "empty.pem"
    empty.touch(mode=0o600)
    missing = str(tmp_path / "missing.pem")
    for said, why in (
        ({"certificate": missing, "key": mine}, f"certificate {missing}: No such file or directory"),
        ({"key": missing}, f"key {missing}: No such file or directory"),
        ({"key": other}, f"key {other} is not the key of certificate {mine}"),
        ({"key": str(loose)}, f"key {loose}: its mode is 0604, and others must not be able to read it"),
        ({"key": str(empty)}, f"certificate {mine}, key {empty}: one of them is no file in PEM"),
        ({"authority": str(empty)}, f"authority {empty} has no certificate in PEM"),
    ):
        credentials = Credentials(**{"certificate": mine, "authority": keys.authority, **said})
        with pytest.raises(Untrusted) as told:
            blocking.connect("tls:localhost:1", credentials=credentials)
        assert str(told.value).startswith(why)


def test_what_is_no_daemon(keys: Keys) -> None:
    """Nobody, somebody who speaks something else, and somebody who says nothing."""
    mine = keys.credentials("panel", "panel.example.org")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        where = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TimedOut, match="HELLO was not answered"):
            blocking.connect(f"tls:{where}", credentials=mine, timeout=0.2)
        listening.accept()[0].close()

        def answer() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
                with suppress(ConnectionResetError):
                    sock.recv(4096)

        answering = threading.Thread(target=answer)
        answering.start()
        assert refused(f"tls:{where}", mine) == f"{where}: what answers there does not speak TLS"
        answering.join()
    with pytest.raises(ConnectFailed) as told:
        blocking.connect(f"tls:{where}", credentials=mine)
    assert str(told.value) == f"{where}: nobody listens there; is the daemon running, with --listen?"
    with pytest.raises(ValueError, match="needs credentials"):
        blocking.connect(f"tls:{where}")
    with pytest.raises(ValueError, match="takes no credentials"):
        blocking.connect("/tmp/nowhere", credentials=mine)


def test_a_wrong_token(daemon: TlsDaemon, keys: Keys) -> None:
    with pytest.raises(ConversationAborted, match="token"):
        blocking.connect(daemon.endpoint, credentials=keys.credentials("panel", "p.example.org"), token="guess")


def test_it_comes_back_over_many_cuts(daemon: TlsDaemon, keys: Keys, cutting: Cutting) -> None:
    """The first cuts fall into the handshake, HELLO and START, the others anywhere; nothing is missing or twice."""
    data = random.Random(3).randbytes(4 << 20)
    mine = keys.credentials("panel", "panel.example.org")
    between = cutting(daemon.port, limits(24, 3, least=3000, most=60_000))
    with blocking.connect(f"tls:localhost:{between.port}", credentials=mine, timeout=PATIENCE) as client:
        process = client.start(["/bin/cat"], hold=-1, keep=16 << 20)
        check(echo(process, data, 60_000), data)
        assert between.cuts >= 20
        client.remove(process.id)
