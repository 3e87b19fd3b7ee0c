"""What is to be done for a daemon to match a set: as little as will do, and nothing the second time."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.apply import Kind, SpecFaults, SpecSet, plan
from netdaemon.apply.planning import FIELDS, LATER, PHASES, differing
from netdaemon.wire.commands import KEEP, Change, Start
from netdaemon.wire.records import Pty, State
from netdaemon.wire.specs import USUAL_STOP, Log, Policy, Ready, Restart, Step
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.apply.support import record_of

SPEC = Start(
    argv=("cat", "-u"),
    name="web",
    key="apply/s/web",
    path="/bin/cat",
    env=("A=1", "B=2"),
    labels=("x=1", "y=2"),
    restart=Restart(policy=Policy.ON_FAILURE),
)
OTHERS: dict[str, Any] = {
    "argv": ("cat", "-n"),
    "path": "/usr/bin/cat",
    "env": ("A=1",),
    "cwd": "/srv",
    "labels": (),
    "pty": Pty(),
    "merge": True,
    "keep": 2 * KEEP,
    "stop": (Step(signal=2),),
    "restart": None,
    "ready": Ready(notify=True),
    "watchdog": 1000,
    "log": Log(path="/var/log/web"),
    "run_as": RunAs(user="games"),
    "limits": ("nofile=1024",),
    "cgroup": ("pids.max=100",),
    "sandbox": Sandbox(profile=Profile.PRIVATE),
}


def a_set(*specs: Start, name: str = "s") -> SpecSet:
    return SpecSet(file=f"{name}.toml", name=name, specs=specs)


def planned(spec: Start, **of_record: Any) -> tuple[Kind, tuple[str, ...]]:
    """What is to be done with a process that was started by SPEC, for it to be *spec*."""
    (action,) = plan([a_set(spec)], [record_of(SPEC, **of_record)]).actions
    return action.kind, action.fields


def test_the_fields_are_those_of_start_and_change() -> None:
    of_a_start = {field.name for field in fields(Start)}
    assert set(FIELDS) == of_a_start - {"key", "attach", "from_", "channels", "hold", "read_only"}
    assert set(FIELDS) - {"keep"} == {field.name for field in fields(Change)} - {"process", "generation", "whole"}
    assert OTHERS.keys() == set(FIELDS) - {"name"}


def test_what_is_not_there_is_started() -> None:
    made = plan([a_set(SPEC)], [])
    assert str(made) == "+ start web"
    assert made.phases == (made.actions,)


@pytest.mark.parametrize("name", OTHERS)
def test_a_difference_costs_what_it_has_to(name: str) -> None:
    told = "env" if name == "path" else name
    kind = Kind.REPLACE if name == "keep" else Kind.CHANGE_AND_RESTART if name in LATER else Kind.CHANGE
    assert planned(replace(SPEC, **{name: OTHERS[name]})) == (kind, (told,))


def test_the_daemon_takes_the_same_for_what_waits_for_the_next_start() -> None:
    from netdaemon.daemon import starting

    assert set(starting._LATER) == LATER


def test_one_that_was_renamed_gets_its_name_back() -> None:
    renamed = record_of(replace(SPEC, name="other"))
    assert plan([a_set(SPEC)], [renamed]).lines == ("~ change web: name",)


def test_a_path_and_an_environment_are_told_apart_where_that_can_be_known() -> None:
    """No record tells them: it is known that there is another digest, and what it would be without a path."""
    assert planned(replace(SPEC, path=None)) == (Kind.CHANGE_AND_RESTART, ("env",))
    without = replace(SPEC, path=None)
    assert differing(SPEC, record_of(without)) == ("path",)
    assert differing(replace(SPEC, env=()), record_of(without)) == ("env",)


def test_several_differences_are_all_told() -> None:
    spec = replace(SPEC, labels=(), argv=("dog",), log=Log(path="/x"), sandbox=OTHERS["sandbox"], limits=("core=0",))
    (action,) = plan([a_set(spec)], [record_of(SPEC)]).actions
    assert str(action) == "! restart web: argv, labels, log, limits, sandbox"


@pytest.mark.parametrize(
    "changes",
    [
        {"env": ("B=2", "A=1"), "labels": ("y=2", "x=1")},
        {"cwd": "/"},
        {"merge": False},
        {"stop": USUAL_STOP},
        {"restart": Restart(policy=Policy.ON_FAILURE, codes=(0, 0))},
        {"run_as": RunAs(no_new_privs=False), "limits": (), "cgroup": ()},
    ],
)
def test_what_means_the_same_is_no_difference(changes: dict[str, Any]) -> None:
    assert planned(replace(SPEC, **changes)) == (Kind.UNCHANGED, ())


def test_keep_that_is_not_said_is_left_to_the_daemon() -> None:
    assert planned(SPEC, keep=5 * KEEP) == (Kind.UNCHANGED, ())
    told = record_of(replace(SPEC, keep=8192))
    assert differing(SPEC, told) == ()
    assert differing(replace(SPEC, keep=8192), told) == ()
    assert differing(replace(SPEC, keep=8192), record_of(SPEC, keep=8192)) == ()
    assert differing(replace(SPEC, env=(), keep=8192), told) == ("env",)


def test_a_daemon_that_tells_no_digest_is_believed_in_what_it_tells() -> None:
    assert planned(replace(SPEC, env=()), digest=None) == (Kind.UNCHANGED, ())


@pytest.mark.parametrize(
    ("told", "differs", "kind", "line"),
    [
        ({"state": State.STARTING}, False, Kind.UNCHANGED, "= unchanged web"),
        ({"state": State.STARTING}, True, Kind.CHANGE_AND_RESTART, "! restart web: argv"),
        ({"state": State.BACKOFF, "code": 1}, False, Kind.START_AGAIN, "waits to be started again (with 1)"),
        ({"state": State.BACKOFF, "code": 1}, True, Kind.CHANGE_AND_RESTART, "argv; it waits to be started again"),
        (
            {"state": State.FAILED, "signal": 11},
            False,
            Kind.START_AGAIN,
            "+ start again web: it has failed (by SIGSEGV)",
        ),
        ({"state": State.FAILED}, True, Kind.CHANGE_AND_RESTART, "! restart web: argv; it has failed"),
        ({"state": State.EXITED, "code": 0}, False, Kind.LEAVE, "= leave web: it has exited (with 0)"),
        ({"state": State.EXITED}, True, Kind.CHANGE, "~ change web: argv; it has exited, and is left so"),
        ({"state": State.STOPPING}, False, Kind.LEAVE, "= leave web: it is being stopped"),
        ({"state": State.STOPPING}, True, Kind.CHANGE, "is left so"),
    ],
)
def test_what_does_not_run(told: dict[str, Any], differs: bool, kind: Kind, line: str) -> None:
    spec = replace(SPEC, argv=("dog",)) if differs else SPEC
    (action,) = plan([a_set(spec)], [record_of(SPEC, **told)]).actions
    assert action.kind is kind
    assert line in str(action)


def test_labels_of_what_has_failed_are_reason_enough_to_start_it_again() -> None:
    assert planned(replace(SPEC, labels=()), state=State.FAILED) == (Kind.CHANGE_AND_RESTART, ("labels",))


def test_what_is_at_rest_is_not_replaced() -> None:
    """To replace it would be to start it."""
    assert planned(replace(SPEC, keep=8192), state=State.EXITED) == (Kind.LEAVE, ("keep",))
    assert planned(replace(SPEC, keep=8192, labels=()), state=State.EXITED) == (Kind.CHANGE, ("labels",))


def test_what_is_not_in_the_file_any_more_is_removed_and_nothing_else() -> None:
    gone = replace(SPEC, name="gone", key="apply/s/gone")
    others = [
        replace(SPEC, name="other-set", key="apply/s2/gone"),
        replace(SPEC, name="by-hand", key=None),
        replace(SPEC, name="by-key", key="apply/"),
    ]
    made = plan([a_set(SPEC)], [record_of(one) for one in (gone, SPEC, *others)])
    assert made.lines == ("- remove gone", "= unchanged 1")


def test_order_and_words() -> None:
    specs = [replace(SPEC, name=name, key=f"apply/s/{name}") for name in "abcdefgh"]
    there = {spec.name: record_of(spec) for spec in specs}
    there["d"] = record_of(specs[3], state=State.FAILED)
    there["e"] = record_of(specs[4], state=State.EXITED)
    del there["f"]
    wanted = [
        replace(specs[0], labels=()),
        replace(specs[1], argv=("x",)),
        replace(specs[2], keep=8192),
        *specs[3:7],
    ]
    made = plan([a_set(*wanted)], there.values())
    assert made.lines == (
        "- remove h",
        "! replace c: keep",
        "~ change a: labels",
        "! restart b: argv",
        "+ start f",
        "+ start again d: it has failed",
        "= leave e: it has exited",
        "= unchanged 1",
    )
    assert str(made) == "\n".join(made.lines)
    assert [[action.name for action in phase] for phase in made.phases] == [["h"], ["c", "a", "b"], ["f", "d"]]
    assert [action.name for action in made.left.actions] == ["e", "g"]
    assert not made.idle
    assert made.left.idle
    plain = made.plain()
    assert json.loads(json.dumps(plain)) == plain
    assert plain[1] == {"action": "replace", "set": "s", "name": "c", "process": "id-c", "fields": ["keep"]}
    assert plain[5] == {"action": "start-again", "set": "s", "name": "d", "process": "id-d", "why": "it has failed"}


def test_every_kind_is_done_or_left() -> None:
    done = [kind for kinds in PHASES for kind in kinds]
    assert sorted([*done, Kind.LEAVE, Kind.UNCHANGED], key=list(Kind).index) == list(Kind)


def test_a_name_that_is_not_the_sets_is_a_fault_and_all_are_told() -> None:
    specs = [replace(SPEC, name=name, key=f"apply/s/{name}") for name in ("one", "two", "three", "four")]
    records = [
        record_of(replace(SPEC, name="one", key=None), "i1"),
        record_of(replace(SPEC, name="two", key="apply/other/two"), "i2"),
        record_of(replace(SPEC, name="x", key=None), "three"),
        record_of(replace(specs[3], name="one"), "i4"),
    ]
    with pytest.raises(SpecFaults) as caught:
        plan([a_set(*specs)], records[:3])
    assert [str(fault) for fault in caught.value.faults] == [
        "s.toml: process.one: the name belongs to process i1, which is not of the set 's'",
        "s.toml: process.two: the name belongs to process i2, which is not of the set 's'",
        "s.toml: process.three: the name belongs to process three, which is not of the set 's'",
    ]
    with pytest.raises(SpecFaults, match="which is 'four' of this set under another name"):
        plan([a_set(*specs)], records[3:])


def test_a_name_that_is_being_given_back_can_be_taken() -> None:
    """The process that has it is removed first."""
    held = record_of(replace(SPEC, name="web", key="apply/s/gone"))
    assert plan([a_set(SPEC)], [held]).lines == ("- remove web", "+ start web")


SPECS = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in OTHERS.items()}).map(
    lambda values: replace(SPEC, **values)
)


@given(SPECS, SPECS, st.booleans())
def test_applied_is_unchanged(one: Start, other: Start, was_changed: bool) -> None:
    """From whatever it was started with: a daemon that tells what it is, by CHANGE or by START, has nothing to do."""
    before = record_of(one)
    found = differing(other, before)
    assert ("keep" in found) == (other.keep is not None and other.keep != before.keep)
    if was_changed:
        # A CHANGE says nothing of what is kept.
        after = replace(record_of(replace(other, keep=None)), keep=other.keep or before.keep)
    else:
        after = record_of(other)
    assert differing(other, after) == ()
