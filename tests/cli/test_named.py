"""Which daemon is meant, and what is wrong with the file that names them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from netdaemon.cli import quick
from netdaemon.cli.failure import Failure
from netdaemon.cli.named import CONNECT_VARIABLE, Target, config_path, known, target
from netdaemon.cli.reach import Reach
from netdaemon.trust.credentials import Credentials

PIN = "sha256:" + "ab" * 32

GOOD = f"""\
default = "here"
certificate = "me.pem"
key = "/keys/me.key"
authority = "~/authority.pem"

[daemons.prod]
connect = "Prod.example.org:7878"

[daemons.other]
connect = "tls:[::1]:7878"
certificate = "/other.pem"
pin = "{PIN}"
token = "secret"

[daemons.here]
socket = "run/socket"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file is to be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NETDAEMON_SOCKET", raising=False)
    monkeypatch.delenv(CONNECT_VARIABLE, raising=False)
    path = tmp_path / "netdaemon" / "config.toml"
    path.parent.mkdir()
    return path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_where_it_is() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == "/x/netdaemon/config.toml"
    here = os.path.expanduser("~/.config/netdaemon/config.toml")
    assert config_path({}) == config_path({"XDG_CONFIG_HOME": "relative"}) == here


def test_without_a_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target(None, None) == Target()
    monkeypatch.setenv("NETDAEMON_SOCKET", "/s")
    assert target(None, None) == Target(socket="/s")
    assert target("/t", None) == Target(socket="/t")
    with pytest.raises(Failure, match="has no daemon 'prod'; it has none"):
        target(None, "prod")


def test_who_is_meant(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By option, by NETDAEMON_CONNECT, by NETDAEMON_SOCKET, by default; paths begin where the file is."""
    write(config, GOOD)
    here = Target(socket=str(config.parent / "run/socket"))
    mine = Credentials(
        certificate=str(config.parent / "me.pem"), key="/keys/me.key", authority="/home/me/authority.pem"
    )
    prod = Target(place="Prod.example.org:7878", credentials=mine)
    other = Target(place="[::1]:7878", credentials=Credentials(certificate="/other.pem", pin=PIN), token=b"secret")
    assert target(None, None) == here
    assert target(None, "prod") == target(None, "Prod.example.org:7878") == prod
    assert target(None, "other") == target(None, "[::1]:7878") == other
    assert target(None, "192.0.2.7:1") == Target(place="192.0.2.7:1", credentials=mine)
    monkeypatch.setenv("NETDAEMON_SOCKET", "/s")
    assert target(None, None) == Target(socket="/s")
    monkeypatch.setenv(CONNECT_VARIABLE, "prod")
    assert target(None, None) == prod
    assert target(None, "other") == other
    assert target("/t", None) == Target(socket="/t")
    assert known() == ["here", "other", "prod"]
    with pytest.raises(Failure, match="has no daemon 'nowhere'; it has here, other, prod"):
        target(None, "nowhere")
    with pytest.raises(Failure, match="'nowhere:http' has no port"):
        target(None, "nowhere:http")


def test_tokens(config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("much\n")
    secret.chmod(0o600)
    write(config, f'token_file = "{secret}"\n' + GOOD)
    assert target(None, "prod").token == b"much"
    assert target(None, "other").token == b"secret"
    other = tmp_path / "other"
    other.write_text("more")
    other.chmod(0o600)
    assert target(None, "other", str(other)).token == target("/s", None, str(other)).token == b"more"
    secret.chmod(0o644)
    with pytest.raises(Failure, match=r"daemons.prod.token_file: .*its mode is 0644"):
        target(None, "prod")
    with pytest.raises(Failure, match="--token-file /none: No such file"):
        target("/s", None, "/none")


def test_all_faults_are_told_at_once(config: Path) -> None:
    text = """\
defualt = "prod"
default = "gone"
key = 7

[daemons.one]

[daemons.two]
connect = "x"
pin = "sha256:12"
colour = "red"

[daemons.three]
socket = "/s"
certificate = "/c"

[daemons."a:b"]
connect = "x:1"
token = "t"
token_file = "/t"
"""
    write(config, text, 0o640)
    with pytest.raises(Failure) as told:
        target(None, None)
    assert told.value.message == "11 faults found in the file of named daemons:"
    assert [line.removeprefix(f"{config}: ").partition(": ")[0].partition(",")[0] for line in told.value.detail] == [
        "key",
        "defualt",
        "daemons.one",
        "daemons.two.colour",
        "daemons.two.connect",
        "daemons.two.pin",
        "daemons.three.certificate",
        "daemons.a:b",
        "daemons.a:b",
        "default",
        "it has a token in it",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("default = \n", "Invalid value"),
        ("daemons = 1\n", "daemons: it has to be tables"),
        ("[daemons]\nx = 1\n", "daemons.x: it has to be a table"),
        ('[daemons.x]\nconnect = "h:1"\nsocket = "/s"\n', "daemons.x: exactly one of connect and socket"),
        ('[daemons.x]\nconnect = ["h:1"]\n', "daemons.x.connect: it is \\['h:1'\\], and it has to be a text"),
        ('[daemons.x]\nsocket = ""\n', "daemons.x.socket: it is ''"),
    ],
)
def test_one_fault(config: Path, text: str, why: str) -> None:
    write(config, text)
    with pytest.raises(Failure) as told:
        target(None, None)
    assert told.value.message == "1 fault found in the file of named daemons:"
    (line,) = told.value.detail
    assert re.search(why, line)


def test_what_is_missing_is_told_when_it_is_needed(config: Path) -> None:
    write(config, '[daemons.x]\nconnect = "h:1"\n')
    for said, where in (("x", "daemons.x"), ("y:1", "its beginning")):
        with pytest.raises(Failure, match=f"needs certificate, and authority or pin; .* does not say them in {where}"):
            target(None, said)


def test_the_quick_listing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quick where the daemon is here, and leaves all else to the long way."""
    asked: list[str] = []

    def processes(path: str, select: object = ()) -> list[object]:
        asked.append(path)
        return []

    monkeypatch.setattr(quick, "processes", processes)
    monkeypatch.setattr(quick.output, "write", lambda text: None)
    monkeypatch.setattr(quick.defaults, "check_directory", lambda path: None)
    assert quick.run(["list"])
    write(config, GOOD)
    assert quick.run(["list"])
    assert quick.run(["--socket", "/s", "list"])
    assert asked == [quick.defaults.default_socket(), str(config.parent / "run/socket"), "/s"]
    assert not quick.run(["--connect", "prod", "list"])
    assert not quick.run(["--connect=prod", "list"])
    write(config, GOOD.replace('"here"', '"prod"', 1))
    assert not quick.run(["list"])
    write(config, "nonsense")
    assert not quick.run(["list"])
    assert quick.run(["--socket=/s", "list"])
    write(config, GOOD)
    monkeypatch.setenv(CONNECT_VARIABLE, "prod")
    assert not quick.run(["list"])
    assert len(asked) == 4


def test_nothing_is_started_for_a_daemon_that_has_a_name(config: Path) -> None:
    write(config, GOOD)
    reach = Reach()
    assert reach.named == reach.path == str(config.parent / "run/socket")
    with pytest.raises(Failure, match="no daemon answers at"):
        reach.connect()
