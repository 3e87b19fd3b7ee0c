"""ndtool policy, as a user has it: what it prints and exits with."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from netdaemon.cli.group import carry_out

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o644)
    return str(path)


def test_help(capsys: Printed) -> None:
    assert carry_out(["policy"]) == 0
    printed = capsys.readouterr().out
    assert [word for word in ("check", "explain", "token") if word not in printed] == []


def test_check(file: str, capsys: Printed) -> None:
    assert carry_out(["policy", "check", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "good: 4 roles, 4 bindings, 2 denials, 1 token"
    assert [line for line in lines[:-1] if not line.startswith(f"doubtful: {file}:")] == []
    assert len(lines) == 3


def test_check_says_all_that_is_wrong(tmp_path: Path, capsys: Printed) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[roles.r]\nverbs = ["lst"]\nsignal = []\n')
    assert carry_out(["policy", "check", str(bad)]) == 125
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "ndtool: 2 faults found; no daemon would take it:",
        f'  {bad}:2:1: roles.r.verbs[0]: it is "lst"; did you mean "list"?',
        f'  {bad}:3:1: roles.r.signal: there is no such key; did you mean "signals"?',
    ]


def test_check_for_programs(file: str, tmp_path: Path, capsys: Printed) -> None:
    assert carry_out(["policy", "check", "--json", file]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["faults"]) == (file, [])
    assert {one["place"]: one["line"] for one in told["doubts"]}.keys() == {
        "roles.admin.start.users",
        "roles.admin.start.groups",
    }
    assert carry_out(["--json", "policy", "check", str(tmp_path / "none")]) == 125
    assert "it cannot be read" in json.loads(capsys.readouterr().err)["error"]["detail"][0]


def test_a_token_and_its_line(tmp_path: Path, capsys: Printed) -> None:
    assert carry_out(["policy", "token", "a.b:c"]) == 0
    token, line = capsys.readouterr().out.splitlines()
    assert len(token) >= 43
    assert line == f'"a.b:c" = "sha256:{sha256(token.encode()).hexdigest()}"'
    policy = tmp_path / "policy.toml"
    policy.write_text(f"[tokens]\n{line}\n")
    assert carry_out(["policy", "check", str(policy)]) == 0
    assert carry_out(["policy", "token", "--json", "a"]) == 0
    printed = capsys.readouterr().out
    told = json.loads(printed[printed.index("{") :])
    assert told["digest"] == f"sha256:{sha256(told['token'].encode()).hexdigest()}"
    assert told["token"] != token
    assert carry_out(["policy", "token", "a b"]) == 125


ALLOWED = [
    ["--as", "uid:1000", "list"],
    ["--as", "uid:1000", "signal", "--name", "x"],
    ["--as", "uid:0,gid:0", "shutdown"],
    ["--as", "token:acme", "stop", "--name", "acme-1", "--tenant", "acme", "--owner", "token:other"],
    ["--as", "token:acme", "signal", "--name", "acme-1", "--tenant", "acme", "--signal", "TERM"],
    ["--as", "tls:sha256:00,san:dns:monitor.example.org", "inspect", "--name", "x"],
    ["--as", "uid:1000,gid:1000", "start", "--user", "1000", "--group", "1000", "--groups", "none", "--", "/bin/ls"],
    [
        *(
            "--as",
            "token:acme",
            "start",
            "--name",
            "acme-1",
            "--user",
            "20000",
            "--group",
            "20000",
            "--groups",
            "20001",
        ),
        *("--no-new-privs", "--limit", "nofile=100:4096", "--cgroup", "memory.max=1G", "--cgroup", "pids.max=200"),
        *("--sandbox", "private", "--network", "--writable", "/srv/games/a", "--cwd", "/srv/games/a", "-e", "PORT=1"),
        *("--log", "/var/log/games/a.log", "--stop", "signal:TERM", "--umask", "022", "--capability", "none"),
        *("--nice", "5", "--oom-score-adj", "100", "--", "/srv/games/a/server", "--port", "1"),
    ],
    ["--as", "uid:0", "start", "--", "ls"],
    ["--as", "uid:0", "start", "--chroot", "/srv/roots/a", "--", "/bin/ls"],
]

DENIED = [
    (["--as", "uid:1000", "shutdown"], "denied: uid:1000 may not do that"),
    (["--as", "uid:1000", "signal", "--label", "protected=1"], "+ deny[0]: it denies signal"),
    (["--as", "uid:1000", "signal", "--owner", "uid:1001"], "- bind[2] (roles.user): owner: it belongs to uid:1001"),
    (["--as", "uid:1000", "signal"], "there is no process that it could be about"),
    (["--as", "token:acme", "stop", "--name", "acme-1"], "- bind[3] (roles.player): tenant: it is not one of acme"),
    (
        ["--as", "token:acme", "signal", "--name", "acme-1", "--tenant", "acme", "--signal", "KILL"],
        "- bind[3] (roles.player): signals: it is not among them",
    ),
    (["--as", "uid:1000", "start", "--", "/bin/ls"], "users: uid 0 is not among self"),
    (["--as", "uid:1000", "start", "--", "/usr/bin/sudo", "ls"], "+ deny[1]: programs: /usr/bin/sudo"),
    (["--as", "token:acme", "start", "--", "/bin/ls"], "    no_new_privs: it has to be asked for"),
    (["--as", "uid:0", "start", "-e", "BASH_ENV=/x", "--", "/bin/ls"], "environment: BASH_ENV is not allowed"),
    (["--as", "uid:1000", "--daemon", "1001", "start", "--", "/bin/ls"], "users: uid 1001 is not among self"),
]


@pytest.mark.parametrize("arguments", ALLOWED, ids=" ".join)
def test_allowed(file: str, arguments: list[str], capsys: Printed) -> None:
    assert carry_out(["policy", "explain", "--policy", file, *arguments]) == 0, capsys.readouterr()
    assert re.search(r"^\+ bind\[\d\] .*\nallowed: bind", printed := capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    assert printed.count("\n") == 7


@pytest.mark.parametrize(("arguments", "line"), DENIED, ids=[" ".join(one) for one, _ in DENIED])
def test_denied(file: str, arguments: list[str], line: str, capsys: Printed) -> None:
    assert carry_out(["policy", "explain", "--policy", file, *arguments]) == 1
    printed = capsys.readouterr().out
    assert line in printed
    assert printed.splitlines()[-1].startswith("denied: ")


WRONG = [
    (["--as", "uid:1000", "lst"], "'lst' is no verb"),
    (["--as", "alice", "list"], "'alice' is not of the form KIND:VALUE"),
    (["--as", "user:no-such-user", "list"], "there is no user 'no-such-user'"),
    (["--as", "uid:1", "stop", "--", "x"], "a program is given, and only start has one"),
    (["--as", "uid:1", "start", "--user", "no-such-user", "--", "x"], "there is no user"),
    (["--as", "uid:1", "start", "--user", "4000000000", "--", "x"], "say its group, by name or number"),
    (["--as", "uid:1", "start", "--limit", "x=1", "--", "x"], "'--limit': 'x=1': there are cpu, fsize"),
    (["--as", "uid:1", "start", "--cgroup", "memory.max=1T", "--", "x"], "a size is a whole number"),
    (["--as", "uid:1", "start", "--cgroup", "pids=1", "--", "x"], "'--cgroup': 'pids=1': did you mean \"pids.max\"?"),
    (["--as", "uid:1", "start", "--umask", "9", "--", "x"], "'--umask': it is \"9\", and octal digits"),
    (["--as", "uid:1", "start", "--sandbox", "x", "--", "x"], "'--sandbox': 'x' is not 'private'"),
    (["--as", "uid:1", "start", "--network", "--", "x"], "--network is for --sandbox"),
    (["--as", "uid:1", "start", "--capability", "root", "--", "x"], "'--capability': \"root\" is no capability"),
    (["--as", "uid:1", "signal", "--signal", "X"], "'X' is no signal"),
    (["list"], "Missing option '--as'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(one) for one, _ in WRONG])
def test_what_cannot_be_found_out(file: str, arguments: list[str], message: str, capsys: Printed) -> None:
    assert carry_out(["policy", "explain", "--policy", file, *arguments]) == 125
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_explained_for_programs(file: str, capsys: Printed) -> None:
    assert carry_out(["policy", "explain", "--json", "--policy", file, "--as", "uid:1000", "list"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {key: told[key] for key in ("who", "verb", "allowed", "rule")} == {
        "who": "uid:1000",
        "verb": "list",
        "allowed": True,
        "rule": "roles.user",
    }
    assert [one["rule"] for one in told["steps"] if one["held"]] == ["bind[2] (roles.user)"]


def test_a_bad_policy_explains_nothing(tmp_path: Path, capsys: Printed) -> None:
    assert carry_out(["policy", "explain", "--policy", str(tmp_path / "x"), "--as", "uid:1", "list"]) == 125
    assert "it cannot be read" in capsys.readouterr().err
