"""Who may do what: a table of every verb, by whom, to what; signals, tenants, tokens; and how long it takes."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

import pytest

from netdaemon.policy.judging import CASES_MAX, WITHOUT_PROCESS, FilePolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.process.identity import Identity
from tests.policy.support import account, policy_of, process

PIN = "sha256:" + "cd" * 32
TOKEN = b"a token that is long enough"

POLICY = f"""
[roles.admin]
verbs = ["*", "policy.reload", "shutdown"]
start = {{ users = ["*", 0], programs = ["/**"] }}
[roles.operator]
verbs = ["list", "inspect", "events", "attach.*", "signal", "stop"]
signals = ["TERM", "HUP"]
[roles.reloader]
verbs = ["policy.reload"]
[roles.watcher]
verbs = ["list", "inspect", "events", "attach.read"]
[roles.owner]
verbs = ["*"]
start = {{ users = ["self"], programs = ["/bin/*"], groups = ["*"] }}
[roles.tenant]
verbs = ["*"]
start = {{ users = ["20000-20009"], groups = ["*"], programs = ["/bin/*"], processes = 3 }}

[[bind]]
role = "admin"
to = ["uid:0"]
[[bind]]
role = "owner"
to = ["uid:1000-1999"]
owner = "self"
[[bind]]
role = "operator"
to = ["gid:100"]
labels = ["game=*"]
[[bind]]
role = "watcher"
to = ["san:dns:monitor.example.org", "tls:{PIN}"]
[[bind]]
role = "tenant"
to = ["token:acme"]
tenant = "acme"
names = ["acme-*"]

[[bind]]
role = "reloader"
to = ["uid:3000"]

[[deny]]
not_to = ["uid:0"]
labels = ["protected=yes"]
verbs = ["signal", "stop", "remove", "start"]
[[deny]]
to = ["uid:1666"]

[tokens]
acme = "sha256:{sha256(TOKEN).hexdigest()}"
other = "sha256:{sha256(b"other").hexdigest()}"
"""

WHO = {
    "root": Principal(uid=0, gid=0),
    "alice": Principal(uid=1000, gid=1000),
    "bob": Principal(uid=1001, gid=1001, groups=frozenset((100,))),
    "player": Principal(uid=2000, gid=100),
    "banned": Principal(uid=1666, gid=100),
    "monitor": Principal(pin="sha256:" + "00" * 32, names=("dns:monitor.example.org",)),
    "pinned": Principal(pin=PIN),
    "acme": Principal(token="acme"),
    "alice as acme": Principal(uid=1000, gid=1000, token="acme"),
    "other token": Principal(token="other"),
    "other key": Principal(pin="sha256:" + "11" * 32, names=("dns:panel.example.org",)),
    "reloader": Principal(uid=3000, gid=3000),
    "stranger": Principal(uid=5000, gid=5000),
    "unknown": Principal(),
    "nobody": Principal(uid=65534, gid=65534),
}

WHAT: dict[str, Identity | None] = {
    "alice's": process(owner="uid:1000"),
    "bob's game": process(owner="uid:1001", labels=("game=nethack",), name="n"),
    "protected": process(owner="uid:1000", labels=("protected=yes", "game=x"), name="acme-p"),
    "acme's": process(owner="token:acme", labels=("nd.tenant=acme",), name="acme-1"),
    "acme's unnamed": process(owner="token:acme", labels=("nd.tenant=acme",)),
    "evil's": process(owner="token:evil", labels=("nd.tenant=evil", "tenant=acme"), name="acme-2"),
    "nothing": None,
}

LETTERS = {
    Verb.LIST: "l",
    Verb.INSPECT: "i",
    Verb.EVENTS: "e",
    Verb.ATTACH_READ: "r",
    Verb.ATTACH_WRITE: "w",
    Verb.ATTACH_HOLD: "h",
    Verb.START: "s",
    Verb.SIGNAL: "k",
    Verb.STOP: "t",
    Verb.REMOVE: "d",
    Verb.RELOAD: "p",
    Verb.SHUTDOWN: "x",
}

ALL = "lierwhsktdpx"
OWN = "lierwhsktd"
OPERATES = "lierwhkt"
WATCHES = "lier"

# Of whom nothing is said here, everything is denied.
TABLE: dict[str, dict[str, str]] = {
    "root": dict.fromkeys(WHAT, ALL) | {"nothing": "lesdpx"},
    "alice": {"alice's": OWN, "protected": "lierwh", "nothing": "lesd"},
    "bob": {"bob's game": OWN, "protected": "lierwh", "nothing": "lesd"},
    "player": {"bob's game": OPERATES, "protected": "lierwh", "nothing": "le"},
    "monitor": dict.fromkeys(WHAT, WATCHES) | {"nothing": "le"},
    "pinned": dict.fromkeys(WHAT, WATCHES) | {"nothing": "le"},
    "acme": {"acme's": OWN, "nothing": "lesd"},
    # What is done to the daemon does not hang on a process, and shows none.
    "reloader": dict.fromkeys(WHAT, "p"),
    # It is called token:acme, and so owns what that owns.
    "alice as acme": {"acme's": OWN, "acme's unnamed": OWN, "nothing": "lesd"},
}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> FilePolicy:
    return policy_of(tmp_path_factory.mktemp("policy"), POLICY)


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("who", WHO)
def test_every_cell(policy: FilePolicy, who: str, what: str) -> None:
    """By signal TERM, which the operators may send."""
    allowed = {verb for verb in Verb if policy.judge(WHO[who], verb, WHAT[what], 15).allowed}
    assert "".join(LETTERS[verb] for verb in Verb if verb in allowed) == TABLE.get(who, {}).get(what, "")


@pytest.mark.parametrize("what", [what for what in WHAT if what != "nothing"])
@pytest.mark.parametrize("who", WHO)
def test_who_sees_what(policy: FilePolicy, who: str, what: str) -> None:
    subject = WHAT[what]
    assert subject is not None
    assert policy.sees(WHO[who], subject) is bool(TABLE.get(who, {}).get(what, "").strip("px"))


@pytest.mark.parametrize("who", WHO)
def test_who_is_admitted(policy: FilePolicy, who: str) -> None:
    decision = policy.admit(WHO[who])
    assert decision.allowed is (who in TABLE)
    assert bool(decision.rule) is (who in TABLE or who == "banned")


def test_every_decision_says_why(policy: FilePolicy) -> None:
    for principal in WHO.values():
        for verb in Verb:
            for subject in WHAT.values():
                decision = policy.judge(principal, verb, subject)
                assert decision.why
                assert decision.rule or not decision.allowed


def test_without_a_process_there_are_few_verbs(policy: FilePolicy) -> None:
    allowed = {verb for verb in Verb if policy.judge(WHO["root"], verb, None).allowed}
    assert allowed == WITHOUT_PROCESS


# --- signals ---


@pytest.mark.parametrize(("signal", "expected"), [(15, True), (1, True), (9, False), (0, False), (None, False)])
def test_signals(policy: FilePolicy, signal: int | None, expected: bool) -> None:
    game = WHAT["bob's game"]
    assert policy.judge(WHO["player"], Verb.SIGNAL, game, signal).allowed is expected
    assert policy.judge(WHO["bob"], Verb.SIGNAL, game, signal).allowed
    # A stop is judged with each signal of its own steps; with none said, it is the process's.
    assert policy.judge(WHO["player"], Verb.STOP, game, signal).allowed is (expected or signal is None)


# --- starts, tenants, limits ---


def test_a_start_has_to_be_within_one_binding(policy: FilePolicy) -> None:
    mine = process(account=account(20000), owner="token:acme", name="acme-1")
    assert policy.judge_start(WHO["acme"], mine).allowed
    assert not policy.judge_start(WHO["alice"], mine).allowed
    assert policy.judge_start(WHO["alice"], process()).allowed
    # The user is within the one, and the name within the other.
    both = WHO["alice as acme"]
    assert policy.judge_start(both, mine).allowed
    assert not policy.judge_start(both, process(owner="token:acme", account=account(20000), name="x")).allowed
    assert policy.judge_start(both, process(owner="token:acme", name="x")).allowed
    assert not policy.judge_start(both, process(owner="uid:1000", name="x")).allowed


def test_whose_a_start_is(policy: FilePolicy) -> None:
    mine = process(account=account(20000), owner="token:acme", name="acme-1")
    for labels, expected in (
        ((), True),
        (("a=b",), True),
        (("nd.tenant=acme",), True),
        (("nd.tenant=evil",), False),
        (("nd.tenant=",), False),
        (("protected=yes",), False),
    ):
        assert policy.judge_start(WHO["acme"], process(**{**vars(mine), "labels": labels})).allowed is expected, labels


def test_tenants_and_limits(policy: FilePolicy) -> None:
    assert {who for who in WHO if policy.tenant(WHO[who]) == "acme"} == {"acme", "alice as acme"}
    assert {policy.tenant(WHO[who]) for who in WHO} == {None, "acme"}
    assert [policy.processes(WHO[who]) for who in ("acme", "alice", "alice as acme", "root")] == [3, None, None, None]
    # Whoever may start nothing may have nothing.
    assert [policy.processes(WHO[who]) for who in ("monitor", "stranger", "unknown")] == [0, 0, 0]


def test_what_is_denied_a_start_is_told_with_a_key(policy: FilePolicy) -> None:
    spec = process(account=account(0), argv=("/sbin/x",), cwd="/x", env=("A=secret",), owner="token:acme")
    why = policy.judge_start(WHO["acme"], spec).why
    assert why == (
        "token:acme may not start this: names: it has no name, and they are acme-*; "
        "users: uid 0 is not among 20000-20009; groups: gid 0 is not among *; and 3 more"
    )
    assert policy.judge_start(WHO["stranger"], spec).why == "uid:5000 may not start anything"
    assert policy.judge_start(WHO["banned"], process(owner="uid:1666")).rule == "deny[1]"


# --- tokens ---


def test_tokens(policy: FilePolicy, tmp_path: Path) -> None:
    assert policy.takes_tokens
    assert policy.token(TOKEN) == "acme"
    assert policy.token(b"other") == "other"
    for shown in (b"", TOKEN[:-1], TOKEN + b"\n", sha256(TOKEN).digest(), sha256(TOKEN).hexdigest().encode()):
        assert policy.token(shown) is None
    assert not policy_of(tmp_path, "").takes_tokens


def test_an_empty_file_allows_nothing(tmp_path: Path) -> None:
    empty = policy_of(tmp_path, "")
    for principal in WHO.values():
        assert not empty.admit(principal).allowed
        for subject in WHAT.values():
            assert not any(empty.judge(principal, verb, subject).allowed for verb in Verb)


def test_what_is_remembered_has_an_end(policy: FilePolicy) -> None:
    for uid in range(3 * CASES_MAX):
        policy.judge(Principal(uid=100_000 + uid), Verb.LIST, None)
    assert len(policy._cases) <= CASES_MAX
    assert policy.judge(WHO["root"], Verb.LIST, None).allowed


def test_ten_thousand_judgements(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    """By twenty bindings of one principal; how long that takes is told, and nothing hangs on it."""
    text = '[roles.r]\nverbs = ["*"]\nstart = { users = ["self"], programs = ["/**"] }\n'
    for index in range(20):
        text += f'[[bind]]\nrole = "r"\nto = ["gid:100"]\ntenant = "t{index}"\nnames = ["t{index}-*"]\n'
    policy = policy_of(tmp_path, text)
    who = Principal(uid=1000, gid=100)
    subjects = [process(name=f"t{index}-a", labels=(f"nd.tenant=t{index}", "a=b")) for index in range(25)]
    requests = [(verb, subjects[index % 25]) for index, verb in enumerate([*Verb] * 834)][:10_000]
    began = time.process_time()
    allowed = sum(policy.judge(who, verb, subject).allowed for verb, subject in requests)
    record_property("microseconds", (time.process_time() - began) * 1e6 / len(requests))
    of_processes = [subject for verb, subject in requests if verb not in (Verb.RELOAD, Verb.SHUTDOWN)]
    assert allowed == sum(subject in subjects[:20] for subject in of_processes)
