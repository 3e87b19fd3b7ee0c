"""What start says of as whom a program runs and within what bounds, and how that is told of it again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest

from netdaemon.cli import describing, whom
from netdaemon.cli.failure import Failure, explain
from netdaemon.declared import declared
from netdaemon.errors import LaunchFailed
from netdaemon.wire import whom as wire
from netdaemon.wire.answers import OfProcess
from netdaemon.wire.records import State
from netdaemon.wire.told import ProcessRecord
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.cli.support import Ndtool
from tests.cli.test_completion import complete, values

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")

# Its uid is in no database on this machine; whether it is, is nobody's business here.
SOMEBODY = "54321"


@click.command()
@whom.whom_options
@click.pass_context
def said(context: click.Context, /, **given: Any) -> None:
    context.obj.update(whom.whom_of(context, given))
    assert given == {}


def options(*arguments: str) -> dict[str, Any]:
    """What they come to."""
    found: dict[str, Any] = {}
    said.main(list(arguments), standalone_mode=False, obj=found)
    return {name: value for name, value in found.items() if value is not None}


def test_what_is_not_loaded_for_help_is_as_the_wire_has_it() -> None:
    assert whom.NICE == (wire.NICE_MIN, wire.NICE_MAX)
    assert whom.OOM == (wire.OOM_MIN, wire.OOM_MAX)
    assert tuple(one.value for one in Profile) == whom.PROFILES
    assert set(describing.IN_BYTES) <= wire.LIMITS.keys()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ([], {}),
        (["--user", "games"], {"run_as": RunAs(user="games")}),
        (["--user", "992", "--group", "0"], {"run_as": RunAs(user="992", group="0")}),
        (["--groups", "audio,29"], {"run_as": RunAs(groups=("audio", "29"))}),
        (["--groups", "none"], {"run_as": RunAs(groups=())}),
        (["--umask", "027"], {"run_as": RunAs(umask=0o27)}),
        (["--umask", "0"], {"run_as": RunAs(umask=0)}),
        (["--chroot", "/srv/../x/."], {"run_as": RunAs(chroot="/x")}),
        (["--nice", "-5", "--oom-score-adj=-1000"], {"run_as": RunAs(nice=-5, oom_score_adj=-1000)}),
        (["--no-new-privs"], {"run_as": RunAs(no_new_privs=True)}),
        (["--capability", "CAP_NET_RAW", "--capability=kill"], {"run_as": RunAs(capabilities=("net_raw", "kill"))}),
        (["--capability", "none"], {"run_as": RunAs(capabilities=())}),
        (
            ["--limit", "nofile=1024:4096", "--limit", "core=unlimited"],
            {"limits": ("nofile=1024:4096", "core=unlimited")},
        ),
        (["--limit", "as=2G", "--limit", "cpu=5:unlimited"], {"limits": (f"as={2 << 30}", "cpu=5:unlimited")}),
        (
            ["--cgroup", "memory.max=512M", "--cgroup", "cpu.max=50%", "--cgroup", "pids.max=max"],
            {"cgroup": ("memory.max=536870912", "cpu.max=50000", "pids.max=max")},
        ),
        (["--cgroup", "cpu.max=5000/10000"], {"cgroup": ("cpu.max=5000/10000",)}),
        (["--sandbox", "private"], {"sandbox": Sandbox(profile=Profile.PRIVATE)}),
        (
            ["--sandbox", "private", "--network", "--writable", "/a", "--writable", "/b/"],
            {"sandbox": Sandbox(profile=Profile.PRIVATE, network=True, writable=("/a", "/b"))},
        ),
    ],
)
def test_what_is_said(arguments: list[str], meant: dict[str, Any]) -> None:
    assert declared(options(*arguments)) == meant


def test_paths_are_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.path.realpath(tmp_path)
    assert options("--chroot", "x") == {"run_as": RunAs(chroot=f"{here}/x")}
    assert options("--sandbox", "private", "--writable", "../y")["sandbox"].writable == (f"{os.path.dirname(here)}/y",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "a b"], "'--user': it is a string, \"a b\"; wanted is a name, or a number from 0 to 4294967294"),
        (["--user", "4294967295"], "'--user': "),
        (["--group", ""], "'--group': "),
        (["--groups", "a,,b"], "'--groups': [1]: it is a string, \"\"; wanted is a name"),
        (["--umask", "9"], "'--umask': it is \"9\", and octal digits from 000 to 777 are allowed"),
        (["--nice", "20"], "'--nice': 20 is not in the range"),
        (["--capability", "net_bindservice"], 'is no capability; did you mean "net_bind_service"?'),
        (["--capability", "none", "--capability", "kill"], "--capability none is given, and another capability, too"),
        (["--limit", "nofile"], "'--limit': 'nofile' is not of the form NAME=SOFT[:HARD]"),
        (["--limit", "nofile="], "is not of the form NAME=SOFT[:HARD]"),
        (["--limit", "nofiles=1"], "'--limit': 'nofiles=1': did you mean \"nofile\"?"),
        (["--limit", "nofile=x:1"], "'--limit': 'nofile=x:1': it is \"x\"; wanted is a number"),
        (["--limit", "nofile=2:1"], "'--limit': 'nofile=2:1': the soft limit is above the hard one"),
        (["--limit", "nofile=1:2:3"], "it has 3 items; it is one limit, or two"),
        (["--limit", "nofile=1", "--limit", "nofile=2"], "--limit: nofile is given twice"),
        (["--cgroup", "memory.max"], "'--cgroup': 'memory.max' is not of the form NAME=VALUE"),
        (["--cgroup", "cpu.max=half"], "'--cgroup': 'cpu.max=half': "),
        (["--cgroup", "cpu.max=0.1%"], "cpu.max is microseconds of a period"),
        (["--cgroup", "pids.max=1", "--cgroup", "pids.max=1"], "--cgroup: pids.max is given twice"),
        (["--sandbox", "public"], "'--sandbox': 'public' is not 'private'"),
        (["--network"], "--network is for --sandbox"),
        (["--writable", "/x"], "--writable is for --sandbox"),
        (["--sandbox", "private", "--chroot", "/x"], "--sandbox makes a root of its own, and --chroot names another"),
    ],
)
def test_what_cannot_be(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        options(*arguments)
    assert message in caught.value.format_message()


@pytest.mark.parametrize(
    ("cwd", "writable", "there"),
    [
        ("/", (), True),
        ("/tmp", (), True),
        ("/tmp/", (), True),
        ("/tmpx/y", (), True),
        ("/tmp/x", (), False),
        ("/tmp/x", ("/tmp/y", "/var"), False),
        ("/tmp/xy", ("/tmp/x",), False),
        ("/tmp/x/y", ("/tmp/x",), True),
        ("/tmp/x/", ("/tmp/x",), True),
    ],
)
def test_a_directory_that_a_sandbox_has_not(cwd: str, writable: tuple[str, ...], there: bool) -> None:
    whom.check_directory(cwd, None)
    sandbox = Sandbox(profile=Profile.PRIVATE, writable=writable)
    if there:
        whom.check_directory(cwd, sandbox)
    else:
        with pytest.raises(Failure, match="is not there in a sandbox, which has a /tmp of its own"):
            whom.check_directory(cwd, sandbox)


# --- how it is told ---


def described(**values: Any) -> dict[str, str]:
    """The rows of inspect."""
    record = ProcessRecord(id="x", state=State.RUNNING, argv=("cat",), **values)
    lines = describing.about_process(OfProcess(process=record)).splitlines()
    return {word: more.strip() for word, _, more in (line.partition("  ") for line in lines)}


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ({"run_as": RunAs(user="games"), "uid": 5, "gid": 60}, "games (uid 5, gid 60)"),
        ({"run_as": RunAs(group="60"), "uid": 0, "gid": 60}, "the daemon's user (uid 0, gid 60)"),
        ({"run_as": RunAs(nice=-5, oom_score_adj=500)}, "the daemon's user, niceness -5, oom score +500"),
        ({"run_as": RunAs(groups=("a", "29")), "uid": 0, "gid": 0}, "the daemon's user (uid 0, gid 0), groups a 29"),
        ({"run_as": RunAs(umask=0o7, chroot="/srv/\x1b")}, "the daemon's user, umask 007, root /srv/\\x1b"),
        (
            {"run_as": RunAs(user="a", groups=(), capabilities=(), no_new_privs=True), "uid": 1, "gid": 2},
            "a (uid 1, gid 2), no other groups, no new privileges, no capabilities",
        ),
        ({"run_as": RunAs(capabilities=("kill", "bpf"))}, "the daemon's user, capabilities kill bpf"),
    ],
)
def test_as_whom(values: dict[str, Any], row: str) -> None:
    assert described(**values)["runs as"] == row


def test_limits_are_told_as_they_can_be_given() -> None:
    rows = described(
        limits=("nofile=1024:4096", "core=0", "as=2147483648:unlimited", "stack=1000"),
        cgroup=("memory.max=536870912", "cpu.max=50000", "cpu.weight=7", "memory.high=max"),
    )
    assert rows["limits"] == "nofile=1024:4096, core=0, as=2G:unlimited, stack=1000"
    assert rows["cgroup"] == "memory.max=512M, cpu.max=50%, cpu.weight=7, memory.high=max"
    again = options(*(f"--limit={one}" for one in rows["limits"].split(", ")))
    assert declared(again)["limits"] == ("nofile=1024:4096", "core=0", "as=2147483648:unlimited", "stack=1000")
    assert described(cgroup=("cpu.max=1250",))["cgroup"] == "cpu.max=1.25%"


def test_a_sandbox() -> None:
    assert described(sandbox=Sandbox(profile=Profile.PRIVATE))["sandbox"] == "private, no network"
    wide = Sandbox(profile=Profile.PRIVATE, network=True, writable=("/a", "/b"))
    assert described(sandbox=wide)["sandbox"] == "private, with the network, can write to /a /b"


def test_nothing_is_told_where_nothing_is_said() -> None:
    assert not {"runs as", "limits", "cgroup", "sandbox"} & described().keys()
    assert not {"limits", "cgroup"} & described(limits=(), cgroup=()).keys()


@pytest.mark.parametrize("stage", ["uid", "limits", "nice", "cwd"])
def test_a_start_that_comes_so_far_and_no_further(stage: str) -> None:
    failure = explain(LaunchFailed("x: Operation not permitted", stage=stage, number=1))
    assert failure.exit_code == 125
    assert ("--cwd" if stage == "cwd" else "a daemon that is root") in failure.line


# --- as a user has it ---


@as_root
def test_a_child_is_who_it_is_to_be_and_is_told_so(ndtool: Ndtool) -> None:
    arguments = ["--user", SOMEBODY, "--group", SOMEBODY, "--groups", "none", "--umask", "027", "--nice", "3"]
    arguments += ["--limit", "nofile=100:200", "--cwd", "/", "--no-env", "--name", "x"]
    out = ndtool.ok("start", *arguments, "--", "sh", "-c", "id -u; id -G; umask; nice; ulimit -Sn; ulimit -Hn")
    assert out.split() == [SOMEBODY, SOMEBODY, "0027", "3", "100", "200"]
    text = ndtool.ok("inspect", "x")
    assert f"{SOMEBODY} (uid {SOMEBODY}, gid {SOMEBODY}), no other groups, umask 027, niceness 3\n" in text
    assert "nofile=100:200\n" in text
    (record,) = ndtool.json("list")
    assert (record["uid"], record["gid"], record["run_as"]["umask"]) == (int(SOMEBODY), int(SOMEBODY), 0o27)
    assert record["limits"] == ["nofile=100:200"]
    line = ndtool.fails(125, "start", "--user", SOMEBODY, "true")
    assert line == f"run_as: uid {SOMEBODY} has no entry in the user database; say its group, by name or number"


@as_root
def test_a_root_of_its_own(ndtool: Ndtool, tmp_path: Path) -> None:
    """Where we are is not likely to be there; it runs in its root unless said."""
    assert ndtool.ok("start", "--chroot", "/", "--", "sh", "-c", "pwd", cwd=tmp_path) == "/\n"
    assert ndtool.ok("start", "--chroot", "/", "--cwd", "/usr", "--", "sh", "-c", "pwd") == "/usr\n"
    (tmp_path / "link").symlink_to("/")
    assert "no symbolic link" in ndtool.fails(125, "start", "--chroot", str(tmp_path / "link"), "--", "true")


def test_a_change_of_it_is_told(ndtool: Ndtool, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('process.x = { argv = ["/bin/sleep", "100"] }')
    ndtool.ok("apply", str(file))
    file.write_text('process.x = { argv = ["/bin/sleep", "100"], run_as = { nice = 3 }, limits = { core = 0 } }')
    assert ndtool.ok("apply", "-n", str(file)) == "! restart x: run_as, limits\n"
    ndtool.ok("apply", str(file))
    assert ndtool.ok("apply", "-n", str(file)) == "= unchanged 1\nnothing to do\n"
    events = [json.loads(line) for line in ndtool.ok("--json", "events", "x").splitlines()]
    (changed,) = (event for event in events if event["type"] == "changed")
    assert changed["detail"] == "run_as, limits"
    assert changed["process"]["run_as"] == {"nice": 3}


def test_completion(ndtool: Ndtool) -> None:
    assert "root" in values(ndtool, "start", "--user", "ro")
    assert "root" in values(ndtool, "start", "--group", "ro")
    assert "audio,root" in [line.partition(",")[2] for line in complete(ndtool, "start", "--groups", "audio,ro")]
    assert values(ndtool, "start", "--capability", "CAP_NET_B") == ["net_bind_service", "net_broadcast"]
    assert values(ndtool, "start", "--sandbox", "") == ["private"]
