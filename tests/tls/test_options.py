"""What the daemon says of --listen at its start, before anybody could connect."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.python import usage

from netdaemon import tap
from netdaemon.sockets.binding import CannotBind
from netdaemon.tap import Options
from netdaemon.tls.contexts import CannotUse
from netdaemon.tls.endpoint import Listen
from netdaemon.tls.listening import TlsPort
from tests.tls.support import Keys, free_port, pin

core: Any = reactor


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def options(*arguments: str) -> Options:
    made = Options()
    made.parseOptions(["--socket=/tmp/s", *arguments])
    return made


def test_what_it_takes(keys: Keys) -> None:
    one = f"tls:7878:interface=127.0.0.1:certificate=/c:authority={keys.authority}"
    two = "tls:7879:interface=127.0.0.1:certificate=/c:pins=/p"
    made = options(f"--listen={one}", "--listen", two, "--policy=/p")
    assert [listen.port for listen in made.listen] == [7878, 7879]
    assert options().listen == []
    for said, why in (
        ([f"--listen={one}"], "--listen needs --policy"),
        (
            ["--listen=tcp:7878:interface=127.0.0.1", "--policy=/p"],
            "--listen: tcp would carry everything in plain text",
        ),
    ):
        with pytest.raises(usage.UsageError, match=why):
            options(*said)


def listen(keys: Keys, port: int = 0, **said: Any) -> Listen:
    certificate = keys.issue("daemon", "localhost")
    files = {"certificate": certificate, "key": certificate, "authority": keys.authority}
    return Listen(**{"interface": "127.0.0.1", "port": port, **files, **said})


def test_files_that_are_of_no_use(keys: Keys, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    missing = str(tmp_path / "missing")
    pins = tmp_path / "pins"
    pins.write_text("sha256:12\n")
    for said, why in (
        ({"certificate": missing}, f"certificate {missing}: No such file"),
        ({"key": str(empty)}, f"key {empty} has no private key"),
        ({"key": keys.issue("other", "other")}, "is not the key of certificate"),
        ({"authority": str(empty)}, f"authority {empty}: "),
        ({"pins": missing}, f"pins {missing}: No such file"),
        ({"pins": str(pins)}, f"pins {pins}, line 1: 'sha256:12' is no pin"),
    ):
        with pytest.raises(CannotUse, match=why):
            TlsPort(listen(keys, **said))


def test_a_bad_file_keeps_what_there_was(keys: Keys, tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    said = listen(keys, pins=str(pins))
    pins.write_text(pin(said.certificate))
    port = TlsPort(said)
    try:
        before = port._context, port._pins
        pins.write_text("")
        with pytest.raises(CannotUse, match="has no pin"):
            port.reload()
        assert (port._context, port._pins) == before
        pins.write_text(pin(keys.issue("other", "other")))
        port.reload()
        assert port._pins != before[1]
    finally:
        port.remove()


def test_a_port_that_is_taken(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(CannotBind, match=f"tls:{number} on 127.0.0.1: Address already in use"):
            TlsPort(listen(keys, number))
    with pytest.raises(CannotBind, match="Cannot assign requested address"):
        TlsPort(listen(keys, free_port(), interface="192.0.2.99"))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = options("--listen=tls:1:interface=127.0.0.1:certificate=/c:authority=/a", "--policy=/p")
    monkeypatch.delitem(sys.modules, "netdaemon.tls.listening")
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    with pytest.raises(
        CannotBind, match=r"--listen needs OpenSSL, which is not installed: pip install 'netdaemon\[tls\]'"
    ):
        tap._ports(made)
