"""Decisions in words, and people in words."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from netdaemon.policy.explaining import Step, explain, principal_of
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from tests.policy.support import account, policy_of, process

POLICY = """
[roles.r]
verbs = ["signal", "stop", "start"]
signals = ["TERM"]
start = { users = ["self"], groups = ["*"], programs = ["/bin/cat"] }
[roles.w]
verbs = ["list", "shutdown"]
[[bind]]
role = "r"
to = ["uid:1000"]
tenant = "acme"
names = ["acme-*"]
[[bind]]
role = "r"
to = ["uid:1001"]
owner = "self"
labels = ["game=*"]
[[bind]]
role = "w"
to = ["anyone"]
names = ["x"]
[[deny]]
to = ["uid:1001"]
verbs = ["stop"]
labels = ["protected=*"]
[[deny]]
not_to = ["uid:0"]
start = { users = [0] }
"""

ALICE, BOB = Principal(uid=1000, gid=1000), Principal(uid=1001, gid=1001)
START = "start: it is about what is started, and nothing else"


def words_of(steps: tuple[Step, ...]) -> list[tuple[str, bool, str]]:
    return [(step.rule, step.held, "; ".join(step.words)) for step in steps]


def test_a_verb(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, POLICY)
    subject = process(name="b", owner="uid:1001", labels=("game=x", "protected=1"))
    found = explain(policy, BOB, Verb.STOP, subject)
    assert (found.who, found.decision.allowed, found.decision.rule) == ("uid:1001", False, "deny[0]")
    assert words_of(found.steps) == [
        ("deny[0]", True, "it denies stop"),
        ("deny[1]", False, START),
        ("bind[0] (roles.r)", False, "to: uid:1001 is not among uid:1000"),
        ("bind[1] (roles.r)", True, "it gives stop"),
        ("bind[2] (roles.w)", False, "verbs: the role has no stop"),
    ]
    assert words_of(explain(policy, BOB, Verb.SIGNAL, process(owner="uid:1001"), 15).steps) == [
        ("deny[0]", False, "verbs: signal is not among them"),
        ("deny[1]", False, START),
        ("bind[0] (roles.r)", False, "to: uid:1001 is not among uid:1000"),
        ("bind[1] (roles.r)", False, "labels: it has not all of game=*"),
        ("bind[2] (roles.w)", False, "verbs: the role has no signal"),
    ]


@pytest.mark.parametrize(
    ("who", "verb", "subject", "signal", "rule", "words"),
    [
        (ALICE, Verb.STOP, process(name="acme-1"), None, 2, "tenant: it is not one of acme"),
        (ALICE, Verb.STOP, process(labels=("nd.tenant=acme",)), None, 2, "names: it has no name, and they are acme-*"),
        (
            ALICE,
            Verb.STOP,
            process(labels=("nd.tenant=acme",), name="b"),
            None,
            2,
            "names: its name is b, and they are",
        ),
        (BOB, Verb.SIGNAL, process(owner="uid:7", labels=("game=x",)), 15, 3, "owner: it belongs to uid:7"),
        (BOB, Verb.SIGNAL, process(owner="uid:1001", labels=("game=x",)), 9, 3, "signals: it is not among them"),
        (BOB, Verb.SIGNAL, process(owner="uid:1001", labels=("game=x",)), None, 3, "signals: it is not said which"),
        (BOB, Verb.STOP, None, None, 3, "there is no process that it could be about"),
        (BOB, Verb.STOP, None, None, 0, "it is about some processes only"),
        (BOB, Verb.STOP, process(), None, 0, "labels: it has not all of protected=*"),
        (ALICE, Verb.STOP, process(), None, 0, "it is not about uid:1000"),
        (BOB, Verb.SHUTDOWN, process(name="x"), None, 4, "it is about some processes, and this is done to the daemon"),
    ],
)
def test_why_not(
    tmp_path: Path, who: Principal, verb: Verb, subject: object, signal: int | None, rule: int, words: str
) -> None:
    found = explain(policy_of(tmp_path, POLICY), who, verb, subject, signal)  # type: ignore[arg-type]
    assert not found.steps[rule].held
    assert words in found.steps[rule].words[0]


def test_a_start(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, POLICY)
    good = process(name="acme-1")
    assert explain(policy, ALICE, Verb.START, good, spec=good).decision.allowed
    bad = process(account=account(0), argv=("/bin/sh",))
    found = explain(policy, ALICE, Verb.START, bad, spec=bad)
    assert words_of(found.steps)[1:3] == [
        ("deny[1]", True, "users: uid 0"),
        (
            "bind[0] (roles.r)",
            False,
            "names: it has no name, and they are acme-*; users: uid 0 is not among self; "
            "groups: gid 0 is not among *; programs: /bin/sh is not among /bin/cat",
        ),
    ]
    assert found.decision.rule == "deny[1].start"


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("uid:1000,gid:100", Principal(uid=1000, gid=100)),
        ("uid:1000,gid:100,gid:7", Principal(uid=1000, gid=100, groups=frozenset((7,)))),
        ("token:acme", Principal(token="acme")),
        ("tls:sha256:AB,san:dns:a,san:uri:b", Principal(pin="sha256:ab", names=("dns:a", "uri:b"))),
    ],
)
def test_somebody_in_words(terms: str, expected: Principal) -> None:
    assert principal_of(terms) == expected


def test_groups_that_are_not_said_are_the_users() -> None:
    root = pwd.getpwnam("root")
    others = frozenset(os.getgrouplist("root", root.pw_gid)) - {root.pw_gid}
    assert principal_of("user:root") == Principal(uid=0, gid=root.pw_gid, groups=others)
    assert principal_of("uid:4000000000") == Principal(uid=4_000_000_000)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("", "'' is not of the form KIND:VALUE"),
        ("alice", "'alice' is not of the form KIND:VALUE"),
        ("uid:", "is not of the form"),
        ("uid:alice", "'alice' is no number"),
        ("anyone:x", "KIND one of uid, user, gid, group, tls, san, token"),
        ("uid:1,user:root", "2 times uid or user"),
        ("token:a,token:b", "2 times token"),
        ("gid:1", "a group is said, and no user"),
        ("user:no-such-user", "there is no user"),
    ],
)
def test_nobody_in_words(terms: str, message: str) -> None:
    with pytest.raises((ValueError, LookupError), match=message):
        principal_of(terms)
