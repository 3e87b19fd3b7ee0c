"""A program in a sandbox: what it sees and can do, its signals and exit code, and when there is none."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.daemon.starting import spec_of
from netdaemon.errors import BadRequest, LaunchFailed
from netdaemon.keeper.child import Launched
from netdaemon.process import sandbox
from netdaemon.process.identity import Account, Identity
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.process.launchers import WAYS, Launching, launching
from tests.support import PATIENCE, readable

PRIVATE = Sandbox(profile=Profile.PRIVATE)
WHO = Account(uid=1234, gid=1235, groups=())


def identity(*argv: str, **rest: object) -> Identity:
    fields = {"id": "p", "argv": argv, "env": ("PATH=/usr/bin:/bin",), "sandbox": PRIVATE, "merge": True, **rest}
    return Identity(**fields)  # type: ignore[arg-type]


def possible() -> bool:
    """Whether this machine lets anybody have one."""
    try:
        sandbox.check(identity("true"))
    except (BadRequest, LaunchFailed):
        return False
    command = sandbox.command_line(identity("true"))
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0


real = pytest.mark.skipif(not possible(), reason="no sandbox can be had here: bubblewrap, and user namespaces")
as_others = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run children as others")


@pytest.fixture(scope="module", params=WAYS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    with launching(request.param, tmp_path_factory.mktemp("keeper")) as made:
        yield made


def launch(started: Launching, one: Identity) -> Launched:
    spec = spec_of(one)
    words = [os.fsdecode(word) for word in spec.argv]
    rest = {"env": spec.env, "whom": spec.whom, "merge": spec.merge, "pty": spec.pty, "mark": spec.mark}
    return started.launch(*words, cwd=spec.cwd, **rest)


def code(started: Launching, launched: Launched) -> int | None:
    """How it exits, to its parent."""
    assert readable(launched.pidfd, PATIENCE)
    outcome: list[object] = []
    started.launcher.collect(launched).addBoth(outcome.append)
    while not outcome:
        started.reactor.turn()
    assert outcome[0].signal is None  # type: ignore[attr-defined]
    return outcome[0].code  # type: ignore[attr-defined, no-any-return]


def said(started: Launching, *argv: str, **rest: object) -> tuple[list[str], int | None]:
    """What it writes until it ends, and how it ends."""
    launched = launch(started, identity(*argv, **rest))
    text = started.output(launched).decode()
    ended = code(started, launched)
    started.let_go(launched)
    return text.splitlines(), ended


LOOK = """
id -u; id -g; grep -c 'Cap...:.0*$' /proc/self/status; grep NoNewPrivs /proc/self/status
grep -c 'SigIgn:.0000000[01][08]0000000$' /proc/self/status
ls -d /proc/[0-9]* | wc -l; ls -A /tmp | wc -l; ls /sys/class/net
touch /usr/netdaemon /root/netdaemon /etc/netdaemon /run/netdaemon 2>&1 | grep -c 'Read-only\\|denied'
touch /tmp/mine && echo written; pwd; exit 7
"""


@real
@pytest.mark.parametrize("account", [None, pytest.param(WHO, marks=as_others)], ids=["ours", "another's"])
def test_what_it_sees(account: Account | None, started: Launching) -> None:
    """It is who it was to be, without capabilities, alone with bubblewrap, and writes nowhere but in its own /tmp."""
    lines, ended = said(started, "sh", "-c", LOOK, account=account, cwd="/usr")
    ids = ["1234", "1235"] if account else [str(os.geteuid()), str(os.getegid())]
    assert lines[:5] == [*ids, "5", "NoNewPrivs:\t1", "1"]
    assert int(lines[5]) <= 5
    assert lines[6] == "0"
    assert lines[-3:] == ["4", "written", "/usr"]
    assert ended == 7
    assert not os.path.exists("/tmp/mine")


@real
def test_the_network(started: Launching) -> None:
    """Only its own, unless it is to have the machine's."""
    look = ("sh", "-c", "readlink /proc/self/ns/net")
    ours = os.readlink("/proc/self/ns/net")
    alone, _ = said(started, *look)
    assert alone != [ours]
    assert said(started, *look, sandbox=dataclasses.replace(PRIVATE, network=True)) == ([ours], 0)


@real
def test_what_is_writable(started: Launching, tmp_path: Path) -> None:
    """That, and not what is beside it; in /tmp, too."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    where = dataclasses.replace(PRIVATE, writable=(str(mine),))
    script = f"echo it > {mine}/file; ls -d {other} 2>/dev/null; touch {other}/file 2>/dev/null; true"
    assert said(started, "sh", "-c", script, sandbox=where)[1] == 0
    assert (mine / "file").read_text() == "it\n"
    assert not (other / "file").exists()


@real
@pytest.mark.parametrize(
    ("script", "ended"),
    [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 128 + 9), ("kill -TERM $$", 128 + 15), ("exec nowhere", 127)],
)
def test_exit_codes(script: str, ended: int, started: Launching) -> None:
    assert said(started, "sh", "-c", script)[1] == ended


@real
def test_no_such_program(started: Launching) -> None:
    lines, ended = said(started, "nowhere-at-all")
    assert ended == 127
    assert "nowhere-at-all" in lines[-1]


@real
@pytest.mark.parametrize("scope", ["group", "tree"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_the_programs(number: int, scope: str, started: Launching) -> None:
    """It answers it, and how it ends then is told: bubblewrap does not die of it."""
    script = f"trap 'echo heard; exit 9' {number}; echo ready; while :; do sleep 0.01; done"
    launched = launch(started, identity("sh", "-c", script))
    assert readable(launched.stdout, PATIENCE)
    assert os.read(launched.stdout, 100) == b"ready\n"
    started.launcher.signal(launched, number, scope)
    # The shell may say before how its sleep has ended.
    assert started.output(launched).splitlines()[-1] == b"heard"
    assert code(started, launched) == 9
    started.let_go(launched)


@real
def test_one_that_answers_nothing(started: Launching) -> None:
    """SIGTERM ends it as it does outside."""
    launched = launch(started, identity("sh", "-c", "echo ready; exec sleep 1000"))
    assert readable(launched.stdout, PATIENCE)
    started.launcher.signal(launched, signal.SIGTERM, "group")
    assert code(started, launched) == 128 + 15
    started.let_go(launched)


@real
@pytest.mark.parametrize("account", [None, pytest.param(WHO, marks=as_others)], ids=["ours", "another's"])
def test_the_whole_tree_is_killed(account: Account | None, started: Launching) -> None:
    """And what has gone far away in it, as with everybody."""
    script = "setsid sleep 1000 & setsid sh -c 'setsid sleep 1000' & sleep 0.2; echo ready; sleep 1000"
    launched = launch(started, identity("sh", "-c", script, account=account, id=f"p{os.getpid()}x"))
    # Whose mark it has.
    launched.id = f"p{os.getpid()}x"
    assert readable(launched.stdout, PATIENCE)
    assert os.read(launched.stdout, 100) == b"ready\n"
    found = started.launcher.leftovers(launched.id)
    assert len(found) >= 5
    started.launcher.signal(launched, signal.SIGKILL, "tree")
    assert readable(launched.pidfd, PATIENCE)
    # The pipe's other ends are closed once they are all gone.
    assert started.output(launched) == b""
    started.let_go(launched)


@real
def test_a_terminal(started: Launching) -> None:
    one = dataclasses.replace(identity("sh", "-c", "tty -s && echo terminal; : > /dev/tty && echo own"), merge=False)
    spec = spec_of(one)
    launched = started.launch(*map(os.fsdecode, spec.argv), env=spec.env, pty=(24, 80))
    assert started.output(launched).replace(b"\r", b"") == b"terminal\nown\n"
    assert code(started, launched) == 0
    started.let_go(launched)


@real
def test_a_socket_to_say_that_it_is_ready(tmp_path: Path) -> None:
    """It has it, in its private /tmp, too."""
    file = tmp_path / "socket"
    file.write_text("there\n")
    command = sandbox.command_line(identity("cat", str(file)), [str(file)])
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
    assert done.stdout == b"there\n"


# --- when there is none ----------------------------------------------------------------------------------------------


def refusal(one: Identity) -> BadRequest | LaunchFailed:
    with pytest.raises((BadRequest, LaunchFailed)) as caught:
        sandbox.check(one)
    assert isinstance(caught.value, BadRequest | LaunchFailed)
    return caught.value


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ({"run_as": RunAs(chroot="/srv")}, "chroot"),
        ({"run_as": RunAs(capabilities=("kill",))}, "capabilities"),
        ({"path": "/opt/a=b"}, "with = in its path"),
    ],
)
def test_what_it_cannot_be_had_with(rest: dict[str, object], what: str) -> None:
    refused = refusal(identity("x", **rest))
    assert isinstance(refused, BadRequest)
    assert refused.field == "sandbox"
    assert what in refused.message


def test_no_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "PLACES", str(tmp_path))
    refused = refusal(identity("x"))
    assert isinstance(refused, BadRequest)
    assert "install bubblewrap" in refused.message
    sandbox.check(identity("x", sandbox=None))


@pytest.fixture
def anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all programs were there."""
    monkeypatch.setattr(sandbox, "_found", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(sandbox, "SETTINGS", ())


@pytest.mark.usefixtures("anything")
def test_a_path_that_is_not_there() -> None:
    refused = refusal(identity("x", sandbox=dataclasses.replace(PRIVATE, writable=("/nowhere",))))
    assert (type(refused), refused.stage, refused.errno) == (LaunchFailed, "sandbox", errno.ENOENT)


@pytest.mark.usefixtures("anything")
@pytest.mark.parametrize("uid", [0, 1234])
@pytest.mark.parametrize("root_too", [False, True])
def test_a_setting_that_stands_against_it(
    uid: int, root_too: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "setting"
    monkeypatch.setattr(sandbox, "SETTINGS", ((str(setting), "0", root_too),))
    one = identity("x", account=Account(uid=uid, gid=1))
    sandbox.check(one)
    setting.write_text("1\n")
    sandbox.check(one)
    setting.write_text("0\n")
    if uid == 0 and not root_too:
        sandbox.check(one)
        return
    refused = refusal(one)
    assert (type(refused), refused.stage, refused.errno) == (LaunchFailed, "sandbox", errno.EPERM)
    assert str(setting) in refused.message


FORBIDDEN = """
import subprocess
from netdaemon.process import sandbox
from netdaemon.errors import LaunchFailed
from tests.process.test_sandbox import identity
open("/proc/sys/user/max_user_namespaces", "w").write("0")
print(subprocess.run(sandbox.command_line(identity("true"))).returncode)
try:
    sandbox.check(identity("true"))
except LaunchFailed as error:
    print(error.message)
"""


@real
def test_where_there_are_no_user_namespaces() -> None:
    """The kernel refuses it, and we do before."""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", FORBIDDEN]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=root)
    assert done.stdout.split("\n")[-2:] == [
        "no sandbox: uid 0 may have no user namespace here, as /proc/sys/user/max_user_namespaces is 0",
        "",
    ], done.stderr
    assert not done.stdout.startswith("0\n")


@pytest.mark.usefixtures("anything")
def test_the_page_has_the_command_line() -> None:
    """All of it, in its order."""
    page = (Path(__file__).parents[2] / "docs" / "users.rst").read_text(encoding="utf-8")
    (block,) = re.findall(r"so that the program answers it::\n\n((?:    .*\n)+)", page)
    one = identity("PROGRAM", "ARGUMENT", cwd="CWD", sandbox=dataclasses.replace(PRIVATE, writable=("/WRITABLE",)))
    words = [word.replace("/usr/bin/", "").replace("/WRITABLE", "WRITABLE") for word in sandbox.command_line(one)]
    assert block.split() == [re.sub(r"(-signal=)[\d,]+", r"\1...", word) for word in words]


@pytest.mark.usefixtures("anything")
def test_the_command_line() -> None:
    """All of it, in this order."""
    one = identity(
        "game", "-x", path="/opt/game", cwd="/srv", sandbox=dataclasses.replace(PRIVATE, writable=("/srv", "/tmp/x"))
    )
    words = list(sandbox.command_line(one, ["/run/socket"]))
    numbers = words[1].partition("=")[2]
    assert set(map(int, numbers.split(","))) == signal.valid_signals() - {9, 17, 19}
    assert words == [
        *("/usr/bin/env", f"--ignore-signal={numbers}", "/usr/bin/bwrap"),
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"),
        *("--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *("--unshare-net", "--ro-bind", "/run/socket", "/run/socket"),
        *("--bind", "/srv", "/srv", "--bind", "/tmp/x", "/tmp/x", "--chdir", "/srv", "--"),
        *("/usr/bin/env", f"--default-signal={numbers}", "/opt/game", "-x"),
    ]
    assert "--unshare-net" not in sandbox.command_line(
        dataclasses.replace(one, sandbox=dataclasses.replace(PRIVATE, network=True))
    )
