"""Whatever goes wrong in deciding is a denial: each call that a decision makes fails once, and so does each lookup."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from netdaemon.policy import accounts, bounds
from netdaemon.policy.judging import FilePolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.reading import PolicyFaults, read
from netdaemon.policy.verbs import Verb
from netdaemon.wire.specs import Log, Step
from netdaemon.wire.whom import RunAs
from tests.policy.support import account, policy_of, process

POLICY = """
[roles.r]
verbs = ["*", "shutdown"]
signals = ["TERM"]
[roles.r.start]
users = ["self", "1-9"]
programs = ["PATH", "/srv/*/bin/*"]
directories = ["/srv/**"]
environment = { allow = ["*"], deny = ["S*"] }
capabilities = ["net_raw"]
limits = { nofile = 10 }
cgroup = { "cpu.max" = "50000" }
logs = ["/var/log/*"]
[[bind]]
role = "r"
to = ["gid:100"]
names = ["a*"]
labels = ["game=*"]
owner = "self"
[[bind]]
role = "r"
to = ["token:t"]
[[deny]]
to = ["gid:5"]
labels = ["protected=*"]
[[deny]]
start = { programs = ["/bin/sh"], groups = [7], environment = ["NO_*"], directories = ["/etc/**"] }
[tokens]
t = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
"""

WHO = Principal(uid=1000, gid=1000, groups=frozenset((5, 100)))
GOOD = process(
    name="a1",
    labels=("game=x",),
    argv=("tool",),
    cwd="/srv/a",
    env=("PATH=/bin:/srv/x/bin", "A=1"),
    stop=(Step(signal=15),),
    log=Log(path="/var/log/a"),
    run_as=RunAs(capabilities=("net_raw",)),
    limits=("nofile=10",),
    cgroup=("cpu.max=50000",),
    account=account(1000, 1000, (27,)),
)
PROTECTED = process(name="a1", labels=("protected=x", "game=x"), account=account(1000))
SHELL = process(name="a1", labels=("game=x",), argv=("/bin/sh",), account=account(1000))

# Each asks a policy that has never been asked, and tells whether anything was allowed.
ASKED: dict[str, tuple[Callable[[FilePolicy], bool], bool]] = {
    "admit": (lambda policy: policy.admit(WHO).allowed, True),
    "judge": (lambda policy: policy.judge(WHO, Verb.SIGNAL, GOOD, 15).allowed, True),
    "judge what is denied": (lambda policy: policy.judge(WHO, Verb.SIGNAL, PROTECTED, 15).allowed, False),
    "judge a shutdown": (lambda policy: policy.judge(Principal(token="t"), Verb.SHUTDOWN, None).allowed, True),
    "judge_start": (lambda policy: policy.judge_start(WHO, GOOD).allowed, True),
    "judge_start what is denied": (lambda policy: policy.judge_start(WHO, SHELL).allowed, False),
    "sees": (lambda policy: policy.sees(WHO, GOOD), True),
    "sees what is denied": (lambda policy: policy.sees(WHO, PROTECTED), False),
    "token": (lambda policy: policy.token(b"foo") is not None, True),
    "processes": (lambda policy: policy.processes(WHO) != 0, True),
}


class Injected(Exception):
    """What goes wrong here."""


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where every number is alice's; pytest itself asks for the user's name before."""
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("alice", "x", uid, uid, "", "/", "/bin/sh")))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 27])


@contextmanager
def failing_at(turn: int) -> Iterator[list[int]]:
    """The call of that turn within the policy's modules raises; gives the number of calls that there were."""
    calls = [0]
    home = os.path.dirname(bounds.__file__)
    # A generator that is gone on with, or closed, is no new call.
    seen: dict[int, FrameType] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        if id(frame) in seen or not frame.f_code.co_filename.startswith(home):
            return
        seen[id(frame)] = frame
        # By that one it is said that something failed.
        if frame.f_code.co_name != "_not_asked":
            calls[0] += 1
            if calls[0] == turn:
                raise Injected

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield calls
    finally:
        sys.settrace(before)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("asked", ASKED)
def test_each_call_fails_once(tmp_path: Path, asked: str) -> None:
    ask, expected = ASKED[asked]
    rules = policy_of(tmp_path, POLICY).rules
    own = accounts.Numbers(0, 0)
    assert ask(FilePolicy(rules, own)) is expected
    allowed = []
    turn = 0
    while True:
        turn += 1
        policy = FilePolicy(rules, own)
        with failing_at(turn) as calls:
            try:
                answer = ask(policy)
            except Injected:
                # The first call is the question itself: whoever asks is told that there is no answer.
                assert turn == 1
                continue
        if calls[0] < turn:
            break
        if answer:
            allowed.append(turn)
        # It is not remembered for the next time.
        assert ask(policy) is expected
    assert turn > 1
    assert allowed == []


LOOKUPS: list[tuple[Any, str]] = [
    (pwd, "getpwuid"),
    (os, "getgrouplist"),
    (bounds, "parse_limit"),
    (bounds, "parse_cgroup"),
]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("error", [OSError, KeyError, MemoryError, RecursionError, ValueError, TypeError])
@pytest.mark.parametrize(("module", "name"), LOOKUPS)
def test_each_lookup_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: type[Exception]
) -> None:
    policy = policy_of(tmp_path, POLICY)
    assert policy.judge_start(WHO, GOOD).allowed
    called = []

    def fails(*arguments: object) -> None:
        called.append(arguments)
        raise error("injected")

    monkeypatch.setattr(module, name, fails)
    assert not policy.judge_start(WHO, GOOD).allowed
    assert called
    monkeypatch.undo()


@pytest.mark.parametrize("error", [OSError, KeyError])
@pytest.mark.parametrize(("module", "name", "term"), [(pwd, "getpwnam", "user:root"), (grp, "getgrnam", "group:root")])
def test_a_name_that_cannot_be_looked_up_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, term: str, error: type[Exception]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f'[roles.r]\nverbs = ["list"]\n[[bind]]\nrole = "r"\nto = ["{term}"]\n')
    file.chmod(0o644)

    def fails(word: str) -> None:
        raise error("injected")

    monkeypatch.setattr(module, name, fails)
    with pytest.raises(PolicyFaults) as caught:
        read(file)
    assert [(one.place, one.line) for one in caught.value.faults] == [("bind[0].to[0]", 5)]


def test_what_is_no_process_is_denied(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, POLICY)
    for wrong in (object(), 7, "a1"):
        decision = policy.judge(WHO, Verb.STOP, wrong)  # type: ignore[arg-type]
        assert not decision.allowed
        assert decision.why.startswith("the policy could not be asked: AttributeError")
        assert not policy.judge_start(WHO, wrong).allowed  # type: ignore[arg-type]
        assert not policy.sees(WHO, wrong)  # type: ignore[arg-type]


def test_a_tenant_that_cannot_be_found_out_is_not_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(tmp_path, POLICY)

    def fails(principal: Principal) -> None:
        raise Injected

    monkeypatch.setattr(policy, "case", fails)
    with pytest.raises(Injected):
        policy.tenant(WHO)
    assert policy.processes(WHO) == 0
    assert not policy.admit(WHO).allowed
