"""ndtool keys, and what is made with it: a daemon, and ndtool at another place that reaches it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netdaemon.cli import keys as module
from netdaemon.cli.failure import Failure
from tests.cli.support import Ndtool
from tests.support import running_daemon
from tests.tls.support import POLICY, free_port, pin


def run(ndtool: Ndtool, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What it prints."""
    done = ndtool(*arguments)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def elsewhere(directory: Path, **env: str) -> Ndtool:
    """As at another place: with a file of daemons, and no variables that a policy has doubts about."""
    ndtool = Ndtool(None, XDG_CONFIG_HOME=str(directory / "config"), **env)
    ndtool.env = {name: ndtool.env[name] for name in ("PATH", "TERM", "XDG_CONFIG_HOME", *env)}
    return ndtool


@contextmanager
def secured(directory: Path, listen: str) -> Iterator[Path]:
    """A daemon with what ``--listen`` says; its log."""
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    with running_daemon(directory, f"--listen={listen}", f"--policy={policy}") as daemon:
        yield daemon.log


def test_from_nothing_to_a_process_over_there(tmp_path: Path) -> None:
    """Word for word by what each step prints to do next."""
    tmp_path.chmod(0o700)
    ndtool = elsewhere(tmp_path)
    directory = str(tmp_path / "keys")
    out, _ = run(ndtool, "keys", "init", directory)
    assert f"written: {directory}/authority.pem, {directory}/authority.key" in out
    assert f"  ndtool keys issue {directory} NAME --client" in out
    out, _ = run(ndtool, "keys", "issue", directory, "prod", "--daemon", "--host", "localhost")
    (listen,) = (shlex.split(line)[1] for line in out.splitlines() if line.startswith("  --listen"))
    port = free_port()
    listen = listen.replace("tls:7878:interface=0.0.0.0", f"tls:{port}:interface=127.0.0.1")
    out, _ = run(ndtool, "keys", "issue", directory, "alice@example.org", "--client")
    assert 'to = ["san:email:alice@example.org"]' in out
    lines = [line.strip() for line in out.splitlines() if line.startswith("  ")][:-1]
    config = tmp_path / "config" / "netdaemon" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("\n".join(lines).replace("NAME", "prod").replace("HOST:7878", f"localhost:{port}"))
    with secured(tmp_path, listen) as log:
        out, _ = run(ndtool, "--connect", "prod", "start", "--", "/bin/sh", "-c", "echo over there; exit 3", code=3)
        assert out == "over there\n"
        (record,) = json.loads(run(ndtool, "--connect", f"localhost:{port}", "list", "--json")[0])
        assert record["owner"] == "tls:email:alice@example.org"
        far = elsewhere(tmp_path, NETDAEMON_CONNECT="prod")
        assert record["id"] in run(far, "list")[0]
        run(far, "reload")
        _, err = run(ndtool, "--connect", "test", "list", code=125)
        assert f"{config} has no daemon 'test'; it has prod" in err
        _, err = run(ndtool, "--connect", "prod", "--socket", "/s", "list", code=125)
        assert "--socket and --connect name two daemons" in err
        os.chmod(f"{directory}/alice@example.org.key", 0o644)
        _, err = run(far, "list", code=125)
        assert "its mode is 0644, and others must not be able to read it: chmod 600" in err
        assert "listening on 127.0.0.1" in log.read_text()
    _, err = run(far, "list", code=125)
    os.chmod(f"{directory}/alice@example.org.key", 0o600)
    _, err = run(far, "list", code=125)
    assert err == f"ndtool: no daemon answers at localhost:{port}; does one run there, with --listen?\n"


def test_show(tmp_path: Path) -> None:
    ndtool = Ndtool(None)
    directory = str(tmp_path / "keys")
    run(ndtool, "keys", "init", directory, "--days", "10")
    made = json.loads(run(ndtool, "keys", "issue", directory, "prod", "--daemon", "--host", "192.0.2.7", "--json")[0])
    assert made["names"] == ["ip:192.0.2.7"]
    assert made["pin"] == pin(made["certificate"])
    out, _ = run(ndtool, "keys", "show", made["certificate"])
    assert out.splitlines()[:4] == [
        "subject: CN=prod",
        "for:     daemon",
        "names:   ip:192.0.2.7",
        f"pin:     {made['pin']}",
    ]
    assert out.splitlines()[5].endswith("in 9 days")
    (shown,) = json.loads(run(ndtool, "keys", "show", "--json", f"{directory}/authority.pem")[0])
    assert (shown["for"], shown["issuer"]) == (["authority"], shown["subject"])
    _, err = run(ndtool, "keys", "show", made["key"], code=125)
    assert "it has no certificate" in err
    _, err = run(ndtool, "keys", "show", str(tmp_path / "none"), code=125)
    assert "No such file" in err
    _, err = run(ndtool, "keys", "issue", directory, "prod", "--client", code=125)
    assert "prod.pem exists, and was left alone; take another name, or say --force" in err
    run(ndtool, "keys", "issue", directory, "prod", "--client", "--force")
    _, err = run(ndtool, "keys", "issue", directory, "x", code=125)
    assert "say --daemon or --client" in err
    _, err = run(ndtool, "keys", "issue", directory, "x", "--client", "--host", "h", code=125)
    assert "--host is for a daemon's" in err


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("cryptography", "netdaemon.keys"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("netdaemon.keys.issuing", raising=False)
    monkeypatch.delattr("netdaemon.keys.certificates", raising=False)
    import netdaemon.keys

    monkeypatch.delattr(netdaemon.keys, "issuing", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(Failure, match="keys need the package cryptography, which is not installed") as told:
        module._issuing()
    assert told.value.hint == "pip install 'netdaemon[tls]'"
