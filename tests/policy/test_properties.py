"""What holds of any rules: more denials and fewer bindings never allow, and a plain model decides the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.policy.bounds import Bounds, Forbidden, Programs
from netdaemon.policy.explaining import explain
from netdaemon.policy.judging import WITHOUT_PROCESS, FilePolicy
from netdaemon.policy.matching import Glob, Ids, PathGlob, Paths, Whom
from netdaemon.policy.principals import Principal
from netdaemon.policy.rules import Binding, Denial, Role, Rules, Scope
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb
from netdaemon.process.identity import Identity
from tests.policy.support import DAEMON, account, process
from tests.support import LONG

# Some thousand judgements each; in the long form, ten times as many.
thorough = settings(deadline=None, max_examples=600 if LONG else 60)

verbs = st.frozensets(st.sampled_from(Verb), min_size=1)
signals = st.sampled_from((None, 9, 15))

principals = st.builds(
    Principal,
    uid=st.sampled_from((None, 0, 1000, 1001, 65534)),
    groups=st.frozensets(st.sampled_from((100, 101)), max_size=2),
    token=st.sampled_from((None, "acme")),
)

whom = st.builds(
    Whom,
    uids=st.builds(Ids, numbers=st.frozensets(st.sampled_from((0, 1000, 1001)), max_size=2)),
    gids=st.builds(Ids, numbers=st.frozensets(st.sampled_from((100, 101)), max_size=1)),
    tokens=st.frozensets(st.just("acme"), max_size=1),
    anyone=st.booleans(),
)

scopes = st.builds(
    Scope,
    tenant=st.sampled_from((None, None, "acme", "evil")),
    own=st.booleans(),
    labels=st.sampled_from(((), (), (Glob("game=*"),), (Glob("game=x"), Glob("a=b")))),
    names=st.sampled_from(((), (), (Glob("acme-*"),), (Glob("x"), Glob("y*")))),
)

users = st.builds(Ids, numbers=st.frozensets(st.sampled_from((0, 1000)), max_size=2), own=st.booleans())
programs = st.builds(
    Programs, paths=st.sampled_from((Paths(), Paths((PathGlob("/bin/*"),)), Paths((PathGlob("/**"),))))
)
bounds = st.builds(Bounds, users=users, groups=st.just(Ids(everything=True)), programs=programs)
roles = st.builds(
    Role,
    name=st.just("r"),
    verbs=verbs,
    signals=st.sampled_from((None, None, frozenset((15,)))),
    start=bounds,
)
bindings = st.builds(Binding, index=st.just(0), role=roles, to=whom, scope=scopes)
denials = st.builds(
    Denial,
    index=st.just(0),
    to=st.none() | whom,
    but=st.none() | whom,
    verbs=verbs,
    scope=scopes,
) | st.builds(
    Denial,
    index=st.just(0),
    to=st.none() | whom,
    scope=scopes,
    start=st.builds(Forbidden, users=users, programs=programs),
)

subjects = st.builds(
    process,
    name=st.sampled_from((None, "acme-1", "x", "z")),
    labels=st.sampled_from(((), ("game=x",), ("game=y", "a=b"), ("nd.tenant=acme",), ("nd.tenant=evil", "game=x"))),
    owner=st.sampled_from(("uid:1000", "uid:0", "token:acme", "")),
    account=st.sampled_from((account(0), account(1000), account(1001), None)),
    argv=st.sampled_from((("/bin/cat",), ("/usr/bin/cat",), ("cat",))),
)


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    return numbered(draw(st.lists(bindings, max_size=4)), draw(st.lists(denials, max_size=3)))


def numbered(bound: list[Binding], denied: list[Denial]) -> Rules:
    return Rules(
        bindings=tuple(replace(one, index=index) for index, one in enumerate(bound)),
        denials=tuple(replace(one, index=index) for index, one in enumerate(denied)),
    )


def answers(rules: Rules, who: Principal, subject: Identity) -> list[bool]:
    """All that can be asked about somebody and something."""
    policy = FilePolicy(rules, DAEMON)
    found = [policy.admit(who).allowed, policy.judge_start(who, subject).allowed, policy.sees(who, subject)]
    for verb in Verb:
        found += [policy.judge(who, verb, subject, signal).allowed for signal in (None, 9, 15)]
        found.append(policy.judge(who, verb, None).allowed)
    return found


def no_more(after: list[bool], before: list[bool]) -> bool:
    return all(was or not now for now, was in zip(after, before, strict=True))


@thorough
@given(rule_sets(), denials, principals, subjects)
def test_one_more_denial_never_allows(rules: Rules, more: Denial, who: Principal, subject: Identity) -> None:
    denied = numbered(list(rules.bindings), [*rules.denials, more])
    assert no_more(answers(denied, who, subject), answers(rules, who, subject))


@thorough
@given(rule_sets(), bindings, principals, subjects)
def test_one_binding_less_never_allows(rules: Rules, one: Binding, who: Principal, subject: Identity) -> None:
    """Nor does one more deny, but for this: it can mark what is started as a tenant's that was nobody's before."""
    more = numbered([*rules.bindings, replace(one, scope=replace(one.scope, tenant=None))], list(rules.denials))
    assert no_more(answers(rules, who, subject), answers(more, who, subject))


@thorough
@given(rule_sets(), principals, subjects, st.randoms())
def test_the_order_does_not_matter(rules: Rules, who: Principal, subject: Identity, random: object) -> None:
    """Where all are of one tenant; of several, the first one marks what is started."""
    assert hasattr(random, "shuffle")
    bound = [replace(one, scope=replace(one.scope, tenant=one.scope.tenant and "acme")) for one in rules.bindings]
    denied = list(rules.denials)
    before = answers(numbered(bound, denied), who, subject)
    random.shuffle(bound)
    random.shuffle(denied)
    assert answers(numbered(bound, denied), who, subject) == before


@thorough
@given(rule_sets(), principals, subjects)
def test_one_sees_what_one_may_do_something_to(rules: Rules, who: Principal, subject: Identity) -> None:
    policy = FilePolicy(rules, DAEMON)
    anything = any(
        policy.judge(who, verb, subject, signal).allowed
        for verb in set(Verb) - OF_THE_DAEMON
        for signal in (None, 9, 15)
    )
    assert policy.sees(who, subject) == anything


@thorough
@given(rule_sets(), subjects)
def test_nothing_is_for_somebody_unknown(rules: Rules, subject: Identity) -> None:
    for who in (Principal(), Principal(uid=65534, gid=65534, groups=frozenset((100, 65534)))):
        assert not any(answers(rules, who, subject))


# --- the model: as docs/policy.rst says it ---


def is_in(scope: Scope, who: Principal, subject: Identity) -> bool:
    return (
        (scope.tenant is None or f"nd.tenant={scope.tenant}" in subject.labels)
        and (not scope.own or subject.owner == str(who))
        and all(any(glob.matches(label) for label in subject.labels) for glob in scope.labels)
        and (not scope.names or any(glob.matches(subject.name or "\0") for glob in scope.names))
    )


def model(rules: Rules, who: Principal, verb: Verb, subject: Identity | None, signal: int | None) -> bool:
    for denial in rules.denials:
        about = (denial.to is None or denial.to.has(who)) and not (denial.but is not None and denial.but.has(who))
        if about and denial.start is None and verb in denial.verbs:
            if denial.scope == Scope() or (
                verb not in OF_THE_DAEMON and subject is not None and is_in(denial.scope, who, subject)
            ):
                return False
    for binding in rules.bindings:
        if not binding.to.has(who) or verb not in binding.role.verbs:
            continue
        if verb in OF_THE_DAEMON:
            if binding.scope == Scope():
                return True
        elif subject is None:
            if verb in WITHOUT_PROCESS:
                return True
        elif is_in(binding.scope, who, subject):
            known = binding.role.signals
            if known is None or signal in known or (signal is None and verb is not Verb.SIGNAL):
                return True
    return False


@thorough
@given(rule_sets(), principals, st.sampled_from(Verb), st.none() | subjects, signals)
def test_the_model_decides_the_same(
    rules: Rules, who: Principal, verb: Verb, subject: Identity | None, signal: int | None
) -> None:
    assert FilePolicy(rules, DAEMON).judge(who, verb, subject, signal).allowed == model(
        rules, who, verb, subject, signal
    )


@thorough
@given(rule_sets(), principals, st.sampled_from(Verb), st.none() | subjects, signals, st.booleans())
def test_what_is_explained_is_what_is_decided(
    rules: Rules, who: Principal, verb: Verb, subject: Identity | None, signal: int | None, new: bool
) -> None:
    """It is allowed exactly where a binding held and no denial did, and every rule has something to say."""
    spec = subject if new and verb is Verb.START else None
    found = explain(FilePolicy(rules, DAEMON), who, verb, subject, signal, spec)
    assert len(found.steps) == len(rules.bindings) + len(rules.denials)
    assert all(step.words and all(step.words) for step in found.steps)
    denied = [step for step in found.steps if step.held and step.rule.startswith("deny")]
    given_by = [step for step in found.steps if step.held and step.rule.startswith("bind")]
    assert found.decision.allowed == (bool(given_by) and not denied)
    if denied:
        assert found.decision.rule.removesuffix(".start") in [step.rule for step in denied]
