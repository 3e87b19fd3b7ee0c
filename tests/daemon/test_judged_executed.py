"""What the policy has judged is what is executed, field for field: any START there could be, read off both ends."""

from __future__ import annotations

import grp
import os
import pwd
import resource
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netdaemon.errors import Refusal
from netdaemon.keeper.child import Spec as ChildSpec
from netdaemon.policy.judged import Spec
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.policy.principals import Principal
from netdaemon.process.identity import Identity
from netdaemon.wire.answers import Attached, Started
from netdaemon.wire.commands import Start
from netdaemon.wire.whom import CAPABILITIES, LIMITS, RunAs
from tests.daemon.support import Bare, World, world
from tests.support import LONG, Figure
from tests.wire.strategies import messages_of

EXAMPLES = 10_000 if LONG else 100


@dataclass(frozen=True)
class Recording(OwnerPolicy):
    """Allows everything, and remembers the very objects that it was asked about."""

    judged: list[Spec]

    def judge_start(self, principal: Principal, spec: Spec) -> Any:
        self.judged.append(spec)
        return super().judge_start(principal, spec)


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def kernel(value: str) -> int:
    return resource.RLIM_INFINITY if value == "unlimited" else int(value)


def limits_of(terms: tuple[str, ...] | None) -> set[tuple[int, int, int]]:
    found = set()
    for term in terms or ():
        name, _, values = term.partition("=")
        soft, _, hard = values.partition(":")
        found.add((LIMITS[name], kernel(soft), kernel(hard or soft)))
    return found


def check(judged: Identity, child: ChildSpec, request: Start) -> None:
    """The three say the same; what is said of *request* is said anew here, and not by the daemon's own code."""
    assert judged.argv == request.argv
    assert judged.env == (request.env or ())
    assert child.argv == tuple(map(octets, request.argv))
    assert child.path == octets(request.path or request.argv[0]) == octets(judged.path or judged.argv[0])
    assert child.cwd == octets(request.cwd or "/") == octets(judged.cwd)
    pty = request.pty
    env = list(map(octets, judged.env))
    if pty is not None and pty.term is not None:
        # The one thing that is added: it was judged as the terminal's.
        env = [*(one for one in env if not one.startswith(b"TERM=")), octets(f"TERM={pty.term}")]
    assert list(child.env) == env
    assert child.pty == (None if pty is None else (pty.rows, pty.columns))
    assert child.cgroup == tuple(
        (name, value if name != "cpu.max" else " ".join((*value.split("/"), "100000")[:2]))
        for name, _, value in (term.partition("=") for term in judged.cgroup or ())
    )
    assert (judged.run_as, judged.limits, judged.cgroup, judged.stop) == (
        request.run_as,
        request.limits,
        request.cgroup,
        request.stop,
    )
    run_as, whom = request.run_as or RunAs(), child.whom
    if run_as == RunAs() and not request.limits:
        assert whom is None
        assert judged.account is None
        return
    assert whom is not None
    if judged.account is None:
        assert whom.uid is None
        assert run_as.user is run_as.group is run_as.groups is None
    else:
        assert (whom.uid, whom.gid, whom.groups) == (judged.account.uid, judged.account.gid, judged.account.groups)
        if run_as.user is not None:
            assert whom.uid == uid_of(run_as.user)
        if run_as.group is not None:
            assert whom.gid == gid_of(run_as.group)
        if run_as.groups is not None:
            assert set(whom.groups) == set(map(gid_of, run_as.groups))
    assert whom.umask == run_as.umask
    assert whom.root == (None if run_as.chroot is None else octets(run_as.chroot))
    assert (whom.nice, whom.oom_score_adj) == (run_as.nice, run_as.oom_score_adj)
    assert whom.no_new_privs is bool(run_as.no_new_privs)
    assert set(whom.rlimits) == limits_of(request.limits)
    if run_as.capabilities is None:
        assert whom.capabilities is None
    else:
        had = {name for number, name in enumerate(CAPABILITIES) if (whom.capabilities or 0) >> number & 1}
        assert had == set(run_as.capabilities)


def uid_of(user: str) -> int:
    return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid


def gid_of(group: str) -> int:
    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid


# Users that this machine has, and numbers that it has none for, with a group.
KNOWN = ["root", "daemon", "nobody", "0", "1", "65534"]
ACCOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(KNOWN),
        "group": st.sampled_from(["root", "daemon", "0", "4294967294", "12345"]),
        "groups": st.lists(st.sampled_from(["root", "daemon", "7", "12345"]), max_size=3, unique=True).map(tuple),
    },
)


@st.composite
def starts(draw: st.DrawFn) -> Start:
    request: Start = draw(messages_of(Start))
    run_as = request.run_as
    if run_as is not None:
        run_as = replace(run_as, user=None, group=None, groups=None)
        run_as = replace(run_as, **draw(ACCOUNTS))
    # A sandbox executes another program around this one: see the tests of that. What is not executed is left out.
    later = {"key": None, "name": None, "from_": None, "log": None, "restart": None, "ready": None, "watchdog": None}
    return replace(request, run_as=run_as, sandbox=None, **later)


# Hypothesis itself compares bytes with numbers, when it has many examples to compare.
@pytest.mark.filterwarnings("ignore:Comparison between bytes and int:BytesWarning")
def test_field_for_field(figure: Figure) -> None:
    counts = {"executed": 0, "refused": 0}
    judged: list[Spec] = []
    with world(policy=lambda: Recording(os.geteuid(), judged), processes=10, exited=0) as w:
        client = w.client()

        @settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], database=None)
        @given(starts())
        def every_start(request: Start) -> None:
            judged.clear()
            counts[start(w, client, judged, request)] += 1

        every_start()
    assert counts["executed"] > counts["refused"]
    figure(
        f"{sum(counts.values()):,} STARTs judged, executed as judged",
        f"all of {counts['executed']:,}",
        "all; the rest refused, and not executed",
    )


def start(w: World, client: Bare, judged: list[Spec], request_: Start) -> str:
    """Have it started, and look at both ends; what became of it."""
    before = len(w.children)
    _, reply = w.ask(client, request_)
    if isinstance(reply, Refusal):
        # Of what was refused nothing is executed.
        assert len(w.children) == before
        return "refused"
    assert isinstance(reply, Started | Attached)
    process = w.daemon.service.table.find(reply.process.id)
    (one,) = judged
    assert process.identity is one
    child = w.children[-1]
    assert isinstance(one, Identity)
    check(one, child.spec, request_)
    child.exit(0)
    w.daemon.settle()
    child.clean()
    w.children.clear()
    if w.daemon.service.table.has(reply.process.id):
        w.daemon.service.table.remove(process, "test")
    w.daemon.settle()
    return "executed"
