"""Specs that mean the same have one digest, and others have others."""

from __future__ import annotations

import random
import subprocess
import sys
import timeit
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.wire.commands import KEEP, Start
from netdaemon.wire.digest import digest, digest_of, meaning
from netdaemon.wire.records import Pty, Scope, State
from netdaemon.wire.specs import USUAL_STOP, Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import ProcessRecord
from netdaemon.wire.whom import Profile, RunAs, Sandbox

PLAIN = Start(argv=("cat",))

# A value of each field that describes the process, and another.
OTHERS: dict[str, tuple[Any, Any]] = {
    "argv": (("cat", "-u"), ("cat", "-n")),
    "path": ("/bin/cat", "/bin/dog"),
    "env": (("A=b",), ("A=c",)),
    "cwd": ("/srv", "/tmp"),
    "name": ("a", "b"),
    "labels": (("a=b",), ("a=c",)),
    "pty": (Pty(), Pty(rows=25)),
    "merge": (True, False),
    "keep": (KEEP, 2 * KEEP),
    "stop": ((Step(signal=2),), (Step(stdin=b"\xff"), Step(wait=1))),
    "restart": (Restart(policy=Policy.ALWAYS), Restart(policy=Policy.ALWAYS, burst=3)),
    "ready": (Ready(output="up"), Ready(pattern="up")),
    "watchdog": (1000, 2000),
    "log": (Log(path="/var/log/x"), Log(path="/var/log/x", compress=False)),
    "run_as": (RunAs(user="games"), RunAs(user="games", groups=(), nice=5)),
    "limits": (("nofile=1024:4096",), ("nofile=1024",)),
    "cgroup": (("memory.max=536870912",), ("memory.max=max",)),
    "sandbox": (Sandbox(profile=Profile.PRIVATE), Sandbox(profile=Profile.PRIVATE, writable=("/srv",))),
}
# Those that the first of digests were made of.
FIRST = ("argv", "path", "env", "cwd", "name", "labels", "pty", "merge", "keep", "stop", "restart", "ready")
FIRST += ("watchdog", "log")
OF_THE_ATTACHMENT = {"key", "attach", "from_", "channels", "hold", "read_only"}

SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"path": "cat"}),
    ({}, {"env": ()}),
    ({}, {"cwd": "/"}),
    ({}, {"labels": ()}),
    ({}, {"merge": False}),
    ({}, {"stop": USUAL_STOP}),
    ({}, {"stop": (Step(signal=15, scope=Scope.GROUP, kill=False), *USUAL_STOP[1:])}),
    ({}, {"restart": Restart(policy=Policy.NEVER)}),
    ({}, {"restart": Restart(policy=Policy.NEVER, delay=7)}),
    ({"env": ("A=1", "B=2")}, {"env": ("B=2", "A=1")}),
    ({"labels": ("a=1", "b=2")}, {"labels": ("b=2", "a=1")}),
    ({"pty": Pty()}, {"pty": Pty(), "merge": True}),
    ({"ready": Ready(notify=True)}, {"ready": Ready(notify=True)}),
    ({"ready": Ready(output="x")}, {"ready": Ready(output="x", notify=False)}),
    (
        {"restart": Restart(policy=Policy.ON_FAILURE, codes=(0, 2))},
        {"restart": Restart(policy=Policy.ON_FAILURE, codes=(2, 0, 2))},
    ),
    ({"log": Log(path="/x")}, {"log": Log(path="/x", size=10 << 20, files=5, compress=True)}),
    ({}, {"run_as": RunAs()}),
    ({}, {"run_as": RunAs(no_new_privs=False)}),
    ({"run_as": RunAs(groups=("a", "b"))}, {"run_as": RunAs(groups=("b", "a", "b"))}),
    ({"run_as": RunAs(capabilities=("kill", "bpf"))}, {"run_as": RunAs(capabilities=("bpf", "kill"))}),
    ({}, {"limits": (), "cgroup": ()}),
    ({"limits": ("cpu=1", "core=0")}, {"limits": ("core=00:0", "cpu=1:1")}),
    ({"limits": ("core=unlimited",)}, {"limits": ("core=unlimited:unlimited",)}),
    ({"cgroup": ("pids.max=7", "cpu.max=5000")}, {"cgroup": ("cpu.max=05000/100000", "pids.max=7")}),
    (
        {"sandbox": Sandbox(profile=Profile.PRIVATE, writable=("/a", "/b"))},
        {"sandbox": Sandbox(profile=Profile.PRIVATE, writable=("/b", "/a"), network=False)},
    ),
]

# Little that differs, and it is not the same.
NOT_THE_SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"run_as": RunAs(user="a")}, {"run_as": RunAs(group="a")}),
    ({"run_as": RunAs(user="a")}, {"run_as": RunAs(user="a", groups=())}),
    ({"run_as": RunAs(user="a")}, {"run_as": RunAs(user="a", capabilities=())}),
    ({"run_as": RunAs(umask=0)}, {}),
    ({"run_as": RunAs(nice=0)}, {}),
    ({"limits": ("nofile=1:2",)}, {"limits": ("nofile=2",)}),
    ({"limits": ("core=0",)}, {"limits": ("core=0:unlimited",)}),
    ({"cgroup": ("cpu.max=max",)}, {"cgroup": ("cpu.max=max/50000",)}),
    ({"sandbox": Sandbox(profile=Profile.PRIVATE)}, {}),
    ({"sandbox": Sandbox(profile=Profile.PRIVATE)}, {"sandbox": Sandbox(profile=Profile.PRIVATE, network=True)}),
]


def test_every_field_is_of_the_process_or_of_the_attachment() -> None:
    assert {field.name for field in fields(Start)} == OTHERS.keys() | OF_THE_ATTACHMENT


@pytest.mark.parametrize("name", OTHERS)
def test_every_field_of_the_process_counts(name: str) -> None:
    one, other = (digest(replace(PLAIN, **{name: value})) for value in OTHERS[name])
    assert one != other
    assert digest(PLAIN) != one


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_meaning_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest(replace(PLAIN, **one)) == digest(replace(PLAIN, **other))


@pytest.mark.parametrize(("one", "other"), NOT_THE_SAME)
def test_another_meaning_is_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest(replace(PLAIN, **one)) != digest(replace(PLAIN, **other))


def test_what_only_a_later_daemon_knows() -> None:
    """It is told as it is, and differs from what is said."""
    record = ProcessRecord(id="x", state=State.RUNNING, argv=("cat",), limits=("rttime=5",), cgroup=("io.max=1",))
    assert meaning(record) == {**meaning(PLAIN), "limits": ["rttime=5"], "cgroup": ["io.max=1"], "keep": 0}


def test_the_attachment_does_not_count() -> None:
    attached = replace(PLAIN, key="k", attach=True, from_=3, channels=(1,), hold=5, read_only=True)
    assert digest(attached) == digest(PLAIN)


def test_the_order_of_steps_and_arguments_counts() -> None:
    steps = (Step(signal=2), Step(signal=15))
    assert digest(replace(PLAIN, stop=steps)) != digest(replace(PLAIN, stop=steps[::-1]))
    assert digest(replace(PLAIN, argv=("a", "b"))) != digest(replace(PLAIN, argv=("b", "a")))


def test_a_record_means_what_it_was_started_with_but_for_what_it_does_not_tell() -> None:
    values = {name: one for name, (one, _) in OTHERS.items()}
    start = Start(**values)
    told = {name: value for name, value in values.items() if name not in ("path", "env")}
    record = ProcessRecord(id="x", state=State.RUNNING, **{**told, "labels": (*told["labels"], "nd.own=1")})
    meant = meaning(start)
    assert meaning(record) == {name: value for name, value in meant.items() if name not in ("path", "env")}
    assert digest_of({**meaning(record), "path": meant["path"], "env": meant["env"]}) == digest(start)


SPECS = st.fixed_dictionaries({}, optional={name: st.sampled_from(pair) for name, pair in OTHERS.items()}).filter(
    lambda values: not ("pty" in values and values.get("merge") is False)
)


@given(SPECS, SPECS)
def test_digests_are_the_same_exactly_where_meanings_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (Start(**{"argv": ("cat",), **values}) for values in (one, other))
    assert (digest(first) == digest(second)) == (meaning(first) == meaning(second))


@given(st.lists(st.binary(max_size=8).filter(lambda octets: b"\0" not in octets), min_size=1, max_size=4), st.randoms())
def test_bytes_that_are_no_text(values: list[bytes], random: random.Random) -> None:
    env = [f"N{number}={octets.decode('utf-8', 'surrogateescape')}" for number, octets in enumerate(values)]
    shuffled = random.sample(env, len(env))
    assert digest(replace(PLAIN, env=tuple(env))) == digest(replace(PLAIN, env=tuple(shuffled)))


def test_what_was_saved_is_known_again() -> None:
    """Daemons of later versions find the digests of earlier ones: these never change."""
    assert digest(PLAIN) == "022eeada7f08e0275d1e71dd728d9c4085c55473e95ed9cb027e6097417d65bb"
    first = Start(**{name: OTHERS[name][0] for name in FIRST})
    assert digest(first) == "91aec9b53a5e0af8b5f28296ffd804f10a8a377d8ce84c918441873f9bfa8afa"
    whole = Start(**{name: one for name, (one, _) in OTHERS.items()})
    assert digest(whole) == "4a0327b13bb5df381d5f77d3fa1f82ee2de206160e0e91f5efc78855b8ed9de5"


def test_another_interpreter_says_the_same() -> None:
    """Whatever its hashes are seeded with."""
    program = (
        "from netdaemon.wire.commands import Start; from netdaemon.wire.digest import digest;"
        "print(digest(Start(argv=('a', 'ü'), env=('B=1', 'A=2'), labels=('b=1', 'a=2'))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_start_does_not_wait_for_it() -> None:
    """A launch takes a millisecond; half of it is what this may have, however busy the machine."""
    spec = replace(PLAIN, env=tuple(f"VARIABLE_{number}={number}" for number in range(30)))
    assert min(timeit.repeat(lambda: digest(spec), number=100, repeat=5)) / 100 < 500e-6
