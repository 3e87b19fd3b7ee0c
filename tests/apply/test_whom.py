"""What a file says of users, limits and sandboxes comes to what the wire declares; all that is wrong is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netdaemon.apply.keys import PROCESS_KEYS
from netdaemon.apply.whom import CGROUP_KEYS, LIMIT_KEYS, RUN_AS_KEYS, SANDBOX_KEYS
from netdaemon.wire import whom
from netdaemon.wire.layout import layout
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.apply.support import faults_in, specs_in


def test_every_key_of_the_wire_is_there() -> None:
    for keys, declaration in ((RUN_AS_KEYS, RunAs), (SANDBOX_KEYS, Sandbox)):
        assert [slot.key.decode() for slot in layout(declaration).slots] == list(keys)
    assert list(LIMIT_KEYS) == list(whom.LIMITS)
    assert list(CGROUP_KEYS) == list(whom.CGROUP)
    assert {"run_as", "limits", "cgroup", "sandbox"} <= PROCESS_KEYS.keys()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('run_as = "games"', {"run_as": RunAs(user="games")}),
        ("run_as = 992", {"run_as": RunAs(user="992")}),
        ("run_as = {}", {"run_as": RunAs()}),
        (
            """
            [process.x.run_as]
            user = "games"
            group = 60
            groups = ["audio", 29]
            umask = "027"
            chroot = "/srv/./customers/../7"
            nice = -5
            oom_score_adj = 500
            no_new_privs = true
            capabilities = ["net_bind_service", "CAP_KILL"]
            """,
            {
                "run_as": RunAs(
                    user="games",
                    group="60",
                    groups=("audio", "29"),
                    umask=0o27,
                    chroot="/srv/7",
                    nice=-5,
                    oom_score_adj=500,
                    no_new_privs=True,
                    capabilities=("net_bind_service", "kill"),
                )
            },
        ),
        ("run_as = { groups = [], capabilities = [] }", {"run_as": RunAs(groups=(), capabilities=())}),
        ('run_as.umask = "0o077"', {"run_as": RunAs(umask=0o77)}),
        (
            'limits = { nofile = 1024, core = "unlimited", nproc = [100, 200], cpu = [5, "unlimited"] }',
            {"limits": ("nofile=1024", "core=unlimited", "nproc=100:200", "cpu=5:unlimited")},
        ),
        ('limits = { as = "2G", stack = ["8M", "16M"] }', {"limits": (f"as={2 << 30}", f"stack={8 << 20}:{16 << 20}")}),
        ("limits = {}", {"limits": ()}),
        ('cgroup = {"memory.max" = "512M", "cpu.max" = "50%"}', {"cgroup": ("memory.max=536870912", "cpu.max=50000")}),
        ('cgroup."cpu.max" = "150%"', {"cgroup": ("cpu.max=150000",)}),
        ('cgroup."cpu.max" = "2.5%"', {"cgroup": ("cpu.max=2500",)}),
        ('cgroup."cpu.max" = 20000', {"cgroup": ("cpu.max=20000",)}),
        ('cgroup."cpu.max" = "20000/50000"', {"cgroup": ("cpu.max=20000/50000",)}),
        ('cgroup."cpu.max" = "max"', {"cgroup": ("cpu.max=max",)}),
        ('cgroup = { "pids.max" = 100, "memory.high" = "max" }', {"cgroup": ("pids.max=100", "memory.high=max")}),
        ('cgroup = { "cpu.weight" = 50, "memory.max" = 1000 }', {"cgroup": ("cpu.weight=50", "memory.max=1000")}),
        ('sandbox = "private"', {"sandbox": Sandbox(profile=Profile.PRIVATE)}),
        (
            'sandbox = { profile = "private", network = true, writable = ["/srv/data"] }',
            {"sandbox": Sandbox(profile=Profile.PRIVATE, network=True, writable=("/srv/data",))},
        ),
    ],
)
def test_ways_to_say_it(tmp_path: Path, said: str, meant: dict[str, Any]) -> None:
    (spec,) = specs_in(tmp_path, f'[process.x]\ncommand = "cat"\n{said}\n').specs
    assert {name: getattr(spec, name) for name in meant} == meant


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (one,) = specs_in(tmp_path, 'process.x = {command = "cat", run_as.chroot = "root"}').specs
    assert one.run_as == RunAs(chroot=f"{tmp_path}/root")
    text = 'process.x = {command = "cat", sandbox = {profile = "private", writable = ["data", "../x"]}}'
    (other,) = specs_in(tmp_path, text).specs
    assert other.sandbox == Sandbox(profile=Profile.PRIVATE, writable=(f"{tmp_path}/data", f"{tmp_path.parent}/x"))


@pytest.mark.parametrize(
    ("said", "place", "message"),
    [
        ("run_as = true", "run_as", "it is a boolean, true; wanted is a user, or a table"),
        ('run_as = ""', "run_as", 'it is a string, ""; wanted is a name, or a number from 0 to 4294967294'),
        ("run_as = -1", "run_as", "it is an integer, -1; wanted is a name, or a number"),
        ('run_as.user = "a b"', "run_as.user", 'it is a string, "a b"; wanted is a name, or a number'),
        ("run_as.group = 4294967295", "run_as.group", "it is an integer, 4294967295; wanted is"),
        ('run_as.groups = "audio"', "run_as.groups", 'it is a string, "audio"; wanted is an array'),
        ('run_as.groups = ["a", "b:c"]', "run_as.groups[1]", 'it is a string, "b:c"; wanted is a name'),
        (
            "run_as.umask = 22",
            "run_as.umask",
            "it is an integer, 22; wanted is octal digits in a string, such as",
        ),
        ('run_as.umask = "028"', "run_as.umask", 'it is "028", and octal digits from 000 to 777 are allowed'),
        ('run_as.umask = "1000"', "run_as.umask", "octal digits from 000 to 777 are allowed"),
        ("run_as.nice = 20", "run_as.nice", "it is 20, and -20 to 19 are allowed"),
        ("run_as.oom_score_adj = -1001", "run_as.oom_score_adj", "it is -1001, and -1000 to 1000 are allowed"),
        ("run_as.no_new_privs = 1", "run_as.no_new_privs", "it is an integer, 1; wanted is true or false"),
        (
            'run_as.capabilities = ["kill", "net_bindservice"]',
            "run_as.capabilities[1]",
            '"net_bindservice" is no capability; did you mean "net_bind_service"?',
        ),
        ('run_as.usr = "games"', "run_as.usr", 'there is no such key; did you mean "user"?'),
        ("limits = 5", "limits", "it is an integer, 5; wanted is a table"),
        ("limits.nofiles = 5", "limits.nofiles", 'there is no such key; did you mean "nofile"?'),
        ("limits.nofile = -1", "limits.nofile", "it is -1, and 0 to "),
        ("limits.nofile = true", "limits.nofile", "it is a boolean, true; wanted is a size"),
        (
            'limits.core = "infinity"',
            "limits.core",
            'it is "infinity"; wanted is a number, a size such as "512M", or "unlimited"',
        ),
        ("limits.nofile = [1]", "limits.nofile", "it has 1 items; it is one limit, or two"),
        ("limits.nofile = [2, 1]", "limits.nofile", "the soft limit is above the hard one"),
        ('limits.nofile = ["unlimited", 1]', "limits.nofile", "the soft limit is above the hard one"),
        ("limits.nofile = [1, 2.5]", "limits.nofile[1]", "it is a float, 2.5; wanted is a size"),
        ('cgroup."memory.min" = 1', 'cgroup."memory.min"', 'there is no such key; did you mean "memory.max"?'),
        ('cgroup."memory.max" = "half"', 'cgroup."memory.max"', 'it is "half"; a size is a whole number'),
        ('cgroup."memory.max" = true', 'cgroup."memory.max"', "it is a boolean, true; memory.max is a number of bytes"),
        ('cgroup."cpu.max" = "x%"', 'cgroup."cpu.max"', "a share of one processor is a number and %"),
        ('cgroup."cpu.max" = "0.5%"', 'cgroup."cpu.max"', "cpu.max is microseconds of a period"),
        ('cgroup."cpu.max" = 0.5', 'cgroup."cpu.max"', "it is a float, 0.5; cpu.max is microseconds"),
        ('cgroup."cpu.weight" = 0', 'cgroup."cpu.weight"', "cpu.weight is a number from 1 to 10000"),
        ('cgroup."pids.max" = "many"', 'cgroup."pids.max"', "pids.max is a number, or max"),
        ('cgroup.memory.max = "1G"', "cgroup.memory", "there is no such key"),
        ('sandbox = "privat"', "sandbox", 'it is "privat"; did you mean "private"?'),
        ("sandbox = true", "sandbox", "it is a boolean, true; wanted is one of private"),
        ("sandbox.network = true", "sandbox", "it says no profile"),
        ('sandbox = {profile = "private", writable = "/srv"}', "sandbox.writable", "wanted is an array"),
        ('sandbox = {profile = "private", readable = []}', "sandbox.readable", "there is no such key"),
        (
            'sandbox = "private"\nrun_as.chroot = "/srv"',
            "sandbox",
            "sandbox and a chroot are given; a sandbox makes a root of its own",
        ),
    ],
)
def test_a_fault_is_told_where_it_is(tmp_path: Path, said: str, place: str, message: str) -> None:
    ((found, told),) = faults_in(tmp_path, f'[process.x]\ncommand = "cat"\n{said}\n')
    assert found == f"process.x.{place}"
    assert message in told


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = """
        [process.x]
        command = "cat"
        run_as = { user = "a b", umask = 22, capabilities = ["all"] }
        limits = { nofile = [3, 2, 1], files = 7 }
        cgroup = { "cpu.max" = "50 %" }
        sandbox = { profile = "public", network = "no" }
        """
    assert [place for place, _ in faults_in(tmp_path, text)] == [
        "process.x.run_as.user",
        "process.x.run_as.umask",
        "process.x.run_as.capabilities[0]",
        "process.x.limits.nofile",
        "process.x.limits.files",
        'process.x.cgroup."cpu.max"',
        "process.x.sandbox.profile",
        "process.x.sandbox.network",
    ]
