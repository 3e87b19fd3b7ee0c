"""Within the bounds of a start or not: one key at a time, from a file to the decision."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from netdaemon.keeper import becoming
from netdaemon.policy.accounts import Numbers
from netdaemon.policy.bounds import DEFAULT_PATH
from netdaemon.policy.judging import FilePolicy
from netdaemon.policy.principals import Principal
from netdaemon.wire.specs import USUAL_STOP, Log, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.policy.support import DAEMON, account, policy_of, process

ALICE = Principal(uid=1000, gid=1000)

ROLE = """
[[bind]]
role = "r"
to = ["uid:1000"]
[roles.r]
verbs = ["start"]
"""

# What every other test has besides.
USUAL = {
    "users": '["self", 0]',
    "groups": '["*", 0]',
    "programs": '["/bin/cat"]',
    "directories": '["/"]',
    "environment": '{allow = ["PATH"]}',
}


def starting(place: Path, own: Numbers = DAEMON, role: str = "", **keys: str) -> FilePolicy:
    table = "".join(f"{key} = {value}\n" for key, value in {**USUAL, **keys}.items() if value)
    return policy_of(place, f"{ROLE}{role}\n[roles.r.start]\n{table}", own)


def box(**said: Any) -> Sandbox:
    return Sandbox(profile=Profile.PRIVATE, **said)


def run_as(**said: Any) -> dict[str, Any]:
    return {"run_as": RunAs(**said)}


CASES: list[tuple[str, str, dict[str, Any], bool]] = [
    ("users", '["self"]', {}, True),
    ("users", '["self"]', {"account": account(1001)}, False),
    ("users", "[]", {}, False),
    ("users", "[1001]", {"account": account(1001)}, True),
    ("users", '["1001-1002"]', {"account": account(1002)}, True),
    ("users", '["1001-1002"]', {"account": account(1003)}, False),
    ("users", '["*"]', {"account": account(4_000_000_000)}, True),
    ("users", '["*", "self", "1-4294967294"]', {"account": account(0)}, False),
    ("users", '["*"]', {"account": None}, False),
    ("users", "[0]", {"account": None}, True),
    ("users", '["root"]', {"account": account(0)}, True),
    ("users", "[0]", {}, False),
    ("groups", "[1000]", {}, True),
    ("groups", "[1001]", {}, False),
    ("groups", '["*"]', {"account": account(1000, 0)}, False),
    ("groups", '["*", 0]', {"account": account(1000, 0)}, True),
    ("groups", '["1000-1005"]', {"account": account(1000, 1000, (1001, 1005))}, True),
    ("groups", '["1000-1005"]', {"account": account(1000, 1000, (1001, 1006))}, False),
    ("groups", '["1000-1005"]', {"account": account(1000, 1000, (0,))}, False),
    ("programs", '["/bin/*"]', {"argv": ("/bin/sh",)}, True),
    ("programs", '["/bin/*"]', {"argv": ("/usr/bin/sh",)}, False),
    ("programs", '["/bin/*"]', {"argv": ("cat",)}, False),
    ("programs", '["/**"]', {"argv": ("/bin/../bin/cat",)}, False),
    ("programs", '["/**"]', {"argv": ("bin/cat",)}, False),
    ("programs", '["/**"]', {"argv": ("./cat",)}, False),
    # What is executed counts, and not what it is told that it is called.
    ("programs", '["/bin/cat"]', {"argv": ("/bin/cat",), "path": "/bin/sh"}, False),
    ("programs", '["/bin/cat"]', {"argv": ("anything",), "path": "/bin/cat"}, True),
    ("programs", '["PATH"]', {"argv": ("cat",)}, True),
    ("programs", '["PATH"]', {"argv": ("/bin/cat",)}, False),
    ("programs", '["PATH"]', {"argv": ("cat",), "env": ("PATH=/usr/bin:/bin",)}, True),
    ("programs", '["PATH"]', {"argv": ("cat",), "env": ("PATH=/usr/bin:/home/alice/bin",)}, False),
    ("programs", '["PATH", "/home/alice/bin/*"]', {"argv": ("cat",), "env": ("PATH=/home/alice/bin:/bin",)}, True),
    ("programs", '["PATH", "/home/alice/bin/*"]', {"argv": ("cat",), "env": ("PATH=/home/alice/bin/../x",)}, False),
    ("programs", '["PATH", "/**"]', {"argv": ("cat",), "env": ("PATH=",)}, False),
    ("programs", '["PATH", "/**"]', {"argv": ("cat",), "env": ("PATH=/bin:",)}, False),
    ("programs", '["PATH", "/**"]', {"argv": ("cat",), "env": ("PATH=bin",)}, False),
    ("directories", '["/srv/**"]', {"cwd": "/srv/a"}, True),
    ("directories", '["/srv/**"]', {"cwd": "/srv"}, False),
    ("directories", '["/srv/**"]', {"cwd": "/"}, False),
    ("directories", '["/**"]', {"cwd": "/srv/../etc"}, False),
    ("directories", "", {"cwd": "/"}, True),
    ("directories", "", {"cwd": "/srv"}, False),
    ("chroots", '["/srv/roots/*"]', run_as(chroot="/srv/roots/a"), True),
    ("chroots", '["/srv/roots/*"]', run_as(chroot="/srv/roots"), False),
    ("chroots", '["/srv/roots/*"]', {}, True),
    ("chroots", "", run_as(chroot="/srv/roots/a"), False),
    ("environment", "", {"env": ("A=1",)}, False),
    ("environment", "", {"env": ()}, True),
    ("environment", '{allow = ["*"], deny = ["S*"]}', {"env": ("A=1", "B=2")}, True),
    ("environment", '{allow = ["*"], deny = ["S*"]}', {"env": ("A=1", "S=2")}, False),
    ("environment", '{allow = ["*"]}', {"env": ("LD_PRELOAD=/x",)}, False),
    ("environment", '{allow = ["LD_*"]}', {"env": ("LD_PRELOAD=/x",)}, True),
    ("capabilities", '["net_bind_service"]', run_as(capabilities=("net_bind_service",)), True),
    ("capabilities", '["net_bind_service"]', run_as(capabilities=("net_bind_service", "net_raw")), False),
    ("capabilities", "", run_as(capabilities=("net_raw",)), False),
    ("capabilities", "", run_as(capabilities=()), True),
    ("no_new_privs", "true", {}, False),
    ("no_new_privs", "true", run_as(umask=0), False),
    ("no_new_privs", "true", run_as(no_new_privs=False), False),
    ("no_new_privs", "true", run_as(no_new_privs=True), True),
    ("no_new_privs", "false", {}, True),
    ("umask", "0o027", run_as(umask=0o077), True),
    ("umask", "0o027", run_as(umask=0o022), False),
    ("umask", "", run_as(umask=0), True),
    ("nice", "", run_as(nice=0), True),
    ("nice", "", run_as(nice=-1), False),
    ("nice", "-5", run_as(nice=-5), True),
    ("nice", "-5", run_as(nice=-6), False),
    ("oom_score_adj", "", run_as(oom_score_adj=0), True),
    ("oom_score_adj", "", run_as(oom_score_adj=-1), False),
    ("oom_score_adj", "-1000", run_as(oom_score_adj=-1000), True),
    ("limits", "{nofile = 4096}", {}, True),
    ("limits", "{nofile = 4096}", {"limits": ("nofile=4096",)}, True),
    ("limits", "{nofile = 4096}", {"limits": ("nofile=10:4096",)}, True),
    ("limits", "{nofile = 4096}", {"limits": ("nofile=10:4097",)}, False),
    ("limits", "{nofile = 4096}", {"limits": ("nofile=unlimited",)}, False),
    ("limits", "{nofile = 4096}", {"limits": ("nofile=10", "core=0")}, False),
    ("limits", '{core = "unlimited"}', {"limits": ("core=unlimited",)}, True),
    ("limits", '{as = "2G"}', {"limits": (f"as={2 << 30}",)}, True),
    ("limits", '{as = "2G"}', {"limits": (f"as={(2 << 30) + 1}",)}, False),
    ("limits", "{as = 9223372036854775807}", {"limits": ("as=9223372036854775807",)}, False),
    ("limits", "{nofile = 9, required = true}", {}, False),
    ("limits", "{nofile = 9, required = true}", {"limits": ("nofile=9",)}, True),
    ("limits", "", {"limits": ("nofile=1",)}, False),
    ("cgroup", '{"memory.max" = "2G"}', {"cgroup": (f"memory.max={2 << 30}",)}, True),
    ("cgroup", '{"memory.max" = "2G"}', {"cgroup": (f"memory.max={(2 << 30) + 1}",)}, False),
    ("cgroup", '{"memory.max" = "2G"}', {"cgroup": ("memory.max=max",)}, False),
    ("cgroup", '{"memory.max" = "max"}', {"cgroup": ("memory.max=max",)}, True),
    ("cgroup", '{"memory.max" = "2G"}', {"cgroup": ("pids.max=1",)}, False),
    ("cgroup", '{"memory.max" = "2G"}', {}, True),
    ("cgroup", '{"pids.max" = 9, required = true}', {}, False),
    ("cgroup", '{"pids.max" = 9, required = true}', {"cgroup": ("pids.max=9",)}, True),
    ("cgroup", '{"cpu.max" = "50000"}', {"cgroup": ("cpu.max=50000",)}, True),
    ("cgroup", '{"cpu.max" = "50000"}', {"cgroup": ("cpu.max=500000/1000000",)}, True),
    ("cgroup", '{"cpu.max" = "50000"}', {"cgroup": ("cpu.max=50000/99999",)}, False),
    ("cgroup", '{"cpu.max" = "50000/50000"}', {"cgroup": ("cpu.max=max",)}, False),
    ("cgroup", '{"cpu.weight" = 100}', {"cgroup": ("cpu.weight=101",)}, False),
    ("sandbox", "", {}, True),
    ("sandbox", "", {"sandbox": box()}, False),
    ("sandbox", '{profiles = ["private"]}', {"sandbox": box()}, True),
    ("sandbox", '{profiles = ["private"]}', {}, True),
    ("sandbox", '{profiles = ["private"], required = true}', {}, False),
    ("sandbox", '{profiles = ["private"], required = true}', {"sandbox": box()}, True),
    ("sandbox", '{profiles = ["private"]}', {"sandbox": box(network=True)}, False),
    ("sandbox", '{profiles = ["private"], network = true}', {"sandbox": box(network=True)}, True),
    ("sandbox", '{profiles = ["private"]}', {"sandbox": box(writable=("/srv/a",))}, False),
    ("sandbox", '{profiles = ["private"], writable = ["/srv/*"]}', {"sandbox": box(writable=("/srv/a",))}, True),
    ("sandbox", '{profiles = ["private"], writable = ["/srv/*"]}', {"sandbox": box(writable=("/srv/a", "/b"))}, False),
    ("logs", "", {"log": Log(path="/var/log/a")}, False),
    ("logs", '["/var/log/games/*.log"]', {"log": Log(path="/var/log/games/a.log")}, True),
    ("logs", '["/var/log/games/*.log"]', {"log": Log(path="/var/log/games/x/a.log")}, False),
    ("logs", '["/var/log/games/*.log"]', {}, True),
]


@pytest.mark.parametrize(("key", "value", "spec", "expected"), CASES)
def test_one_key(tmp_path: Path, key: str, value: str, spec: dict[str, Any], expected: bool) -> None:
    decision = starting(tmp_path, **{key: value}).judge_start(ALICE, process(**spec))
    assert decision.allowed is expected, decision
    if not expected:
        # The key that says no is named.
        assert f" {key}: " in decision.why, decision


def test_every_key_is_tried() -> None:
    from netdaemon.policy.keys import START_KEYS

    assert {key for key, *_ in CASES} | {"chroot_required", "processes"} == START_KEYS.keys()


def test_a_chroot_can_be_required(tmp_path: Path) -> None:
    policy = starting(tmp_path, chroots='["/srv/*"]', chroot_required="true")
    assert policy.judge_start(ALICE, process(run_as=RunAs(chroot="/srv/a"))).allowed
    for spec in (process(), process(run_as=RunAs()), process(run_as=RunAs(chroot="/a"))):
        assert not policy.judge_start(ALICE, spec).allowed


def test_without_an_account_it_is_the_daemons(tmp_path: Path) -> None:
    for own, expected in (
        (Numbers(1000, 1000), True),
        (Numbers(1001, 1000), False),
        (Numbers(1000, 1001), False),
        (Numbers(1000, 1000, (27,)), False),
    ):
        policy = starting(tmp_path, own, users='["self"]', groups="[1000]")
        assert policy.judge_start(ALICE, process(account=None)).allowed is expected


@pytest.mark.parametrize("said", [{"user": "games"}, {"group": "games"}, {"groups": ()}])
def test_whoever_was_not_looked_up_does_not_run(tmp_path: Path, said: dict[str, Any]) -> None:
    policy = starting(tmp_path, users='["*", 0]')
    assert policy.judge_start(ALICE, process(account=None)).allowed
    decision = policy.judge_start(ALICE, process(account=None, run_as=RunAs(**said)))
    assert not decision.allowed
    assert "not looked up" in decision.why


def test_oneself_is_nobody_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    text = ROLE.replace('"uid:1000"', '"anyone"') + '[roles.r.start]\nusers = ["self"]\nprograms = ["/bin/cat"]\n'
    policy = policy_of(tmp_path, text + 'groups = ["*"]\n')
    assert policy.judge_start(ALICE, process()).allowed
    assert not policy.judge_start(Principal(pin="sha256:" + "0" * 64), process()).allowed


def test_the_groups_of_ones_own_are_those_of_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("alice", "x", 1000, 1000, "", "/", "/bin/sh"))

    def by_number(uid: int) -> pwd.struct_passwd:
        if uid != 1000:
            raise KeyError(uid)
        return entry

    monkeypatch.setattr(pwd, "getpwuid", by_number)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 27, 0])
    policy = starting(tmp_path, users='["*"]', groups="")
    for who, expected in (
        (account(1000), True),
        (account(1000, 27, (1000,)), True),
        (account(1000, 1000, (27,)), True),
        (account(1000, 1000, (28,)), False),
        # The database says so, and it was not written here.
        (account(1000, 0), False),
        # Nobody knows this one.
        (account(1001, 1000), False),
    ):
        assert policy.judge_start(ALICE, process(account=who)).allowed is expected, who


# --- signals of the stop ---

STEPS = (Step(stdin=b"stop\n"), Step(wait=1000), Step(signal=15))


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (None, True),
        (STEPS, True),
        ((*STEPS, Step(kill=True)), False),
        ((Step(signal=9),), False),
        ((Step(signal=10),), False),
        (USUAL_STOP, False),
    ],
)
def test_the_signals_of_its_stop(tmp_path: Path, stop: tuple[Step, ...] | None, expected: bool) -> None:
    policy = starting(tmp_path, role='signals = ["TERM", "INT"]')
    assert policy.judge_start(ALICE, process(stop=stop)).allowed is expected
    assert starting(tmp_path).judge_start(ALICE, process(stop=stop)).allowed


# --- what is forbidden ---

FORBIDDEN: list[tuple[str, dict[str, Any], bool]] = [
    ('programs = ["/bin/sh"]', {}, False),
    ('programs = ["/bin/sh"]', {"argv": ("/bin/sh",)}, True),
    ('programs = ["/bin/sh"]', {"path": "/bin/sh"}, True),
    ('programs = ["/bin/sh"]', {"argv": ("sh",)}, True),
    ('programs = ["/bin/sh"]', {"argv": ("cat",)}, False),
    ('programs = ["/bin/**"]', {"argv": ("cat",)}, True),
    ('programs = ["PATH"]', {"argv": ("cat",)}, True),
    ('programs = ["PATH"]', {}, False),
    ('users = ["*"]', {"account": account(0)}, True),
    ('users = ["0-9"]', {"account": account(0)}, True),
    ('users = ["self"]', {}, True),
    ("users = [1001]", {}, False),
    ("groups = [27]", {"account": account(1000, 1000, (27,))}, True),
    ("groups = [27]", {"account": account(1000, 27)}, True),
    ('groups = ["*"]', {}, True),
    ("groups = [27]", {}, False),
    ('directories = ["/etc/**"]', {"cwd": "/etc/x"}, True),
    ('directories = ["/etc/**"]', {"cwd": "/srv/../etc/x"}, True),
    ('directories = ["/etc/**"]', {"cwd": "/srv"}, False),
    ('chroots = ["/srv/**"]', run_as(chroot="/srv/a"), True),
    ('chroots = ["/srv/**"]', run_as(chroot="/a"), False),
    ('chroots = ["/srv/**"]', {}, False),
    ('environment = ["*_KEY"]', {"env": ("A=1", "X_KEY=2")}, True),
    ('environment = ["*_KEY"]', {"env": ("A=1",)}, False),
    ('environment = ["*"]', {"env": ("LD_PRELOAD=1",)}, True),
    ('capabilities = ["net_raw"]', run_as(capabilities=("net_raw",)), True),
    ('capabilities = ["net_raw"]', run_as(capabilities=("net_bind_service",)), False),
    # root has all of them.
    ('capabilities = ["net_raw"]', {"account": account(0)}, True),
    ('capabilities = ["net_raw"]', {"account": account(0), **run_as(capabilities=())}, False),
    ('capabilities = ["net_raw"]', {}, False),
    ('logs = ["/var/log/*"]', {"log": Log(path="/var/log/a")}, True),
    ('logs = ["/var/log/*"]', {"log": Log(path="/srv/a")}, False),
    ('logs = ["/var/log/*"]', {}, False),
]

WIDE = {
    "users": '["*", 0]',
    "groups": '["*", 0]',
    "programs": '["/**", "PATH"]',
    "directories": '["/", "/**"]',
    "chroots": '["/**"]',
    "environment": '{allow = ["*", "LD_PRELOAD"]}',
    "capabilities": '["net_raw", "net_bind_service"]',
    "logs": '["/**"]',
}


@pytest.mark.parametrize(("said", "spec", "expected"), FORBIDDEN)
def test_forbidden(tmp_path: Path, said: str, spec: dict[str, Any], expected: bool) -> None:
    table = "".join(f"{key} = {value}\n" for key, value in WIDE.items())
    policy = policy_of(tmp_path, f"{ROLE}\n[roles.r.start]\n{table}\n[[deny]]\n[deny.start]\n{said}\n")
    decision = policy.judge_start(ALICE, process(**spec))
    odd = spec.get("cwd", "/").count("..")
    assert decision.allowed is (not expected and not odd), decision
    assert (decision.rule == "deny[0].start") is expected


def test_every_key_that_forbids_is_tried() -> None:
    from netdaemon.policy.keys import FORBIDDEN_KEYS

    assert {said.partition(" ")[0] for said, *_ in FORBIDDEN} == FORBIDDEN_KEYS.keys()


def test_the_usual_path_is_the_keepers() -> None:
    assert becoming.DEFAULT_PATH.decode() == DEFAULT_PATH


def test_names_are_those_of_the_machine(tmp_path: Path) -> None:
    assert (pwd.getpwnam("root").pw_uid, grp.getgrgid(0).gr_gid) == (0, 0)
    policy = starting(tmp_path, users='["root"]', groups=f'["{grp.getgrgid(0).gr_name}"]')
    assert policy.judge_start(ALICE, process(account=account(0))).allowed
