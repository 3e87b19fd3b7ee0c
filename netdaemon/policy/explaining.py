"""A decision in words: what each rule had to say, in the order of the file; decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netdaemon.policy.accounts import Account, gid_of, own_groups, uid_of
from netdaemon.policy.judged import Decision, Spec, Subject
from netdaemon.policy.judging import Case, FilePolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.rules import Binding, Denial
from netdaemon.policy.verbs import Verb


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A process, or what is to become one, as far as it matters to a policy: an example to be judged."""

    name: str | None = None
    labels: tuple[str, ...] = ()
    owner: str = ""
    argv: tuple[str, ...] = ()
    path: str | None = None
    env: tuple[str, ...] = ()
    cwd: str = "/"
    stop: Any = None
    log: Any = None
    run_as: Any = None
    limits: tuple[str, ...] | None = None
    cgroup: tuple[str, ...] | None = None
    sandbox: Any = None
    account: Account | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What came of one rule.

    :ivar rule: which it is, as ``bind[0]`` or ``deny[2]``.
    :ivar held: whether it is about this: that it gives, or denies, it.
    :ivar words: why, or why not.
    """

    rule: str
    held: bool
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A decision and what led to it; the first denial that held counts, and else the first binding."""

    who: str
    decision: Decision
    steps: tuple[Step, ...]


def explain(
    policy: FilePolicy,
    principal: Principal,
    verb: Verb,
    subject: Subject | None,
    signal: int | None = None,
    spec: Spec | None = None,
) -> Explanation:
    """Why *principal* may do *verb* to *subject*, or may not; with *spec*, why it may have that executed."""
    case = policy.case(principal)
    if spec is not None:
        decision = policy.judge_start(principal, spec)
    else:
        decision = policy.judge(principal, verb, subject, signal)
    denials = (_of_denial(case, one, verb, subject, spec) for one in policy.rules.denials)
    bindings = (_of_binding(case, one, verb, subject, signal, spec) for one in policy.rules.bindings)
    return Explanation(who=case.who, decision=decision, steps=(*denials, *bindings))


def _of_denial(case: Case, denial: Denial, verb: Verb, subject: Subject | None, spec: Spec | None) -> Step:
    rule = str(denial)
    if denial not in case.denials:
        return Step(rule=rule, held=False, words=("it is not about " + case.who,))
    target = subject if spec is None else spec
    labels = _labels(case, subject, spec)
    if denial.start is not None:
        if spec is None:
            return Step(rule=rule, held=False, words=("start: it is about what is started, and nothing else",))
        found = tuple(case.forbidden(denial, spec, labels))
        held = bool(found)
        words = found or (_elsewhere(case, denial, spec, labels) or "start: this has nothing of it",)
    elif denial not in case.asked[verb].denials:
        held, words = False, (f"verbs: {verb.value} is not among them",)
    elif case.asked[verb].denies(denial, case.who, target, labels):
        held, words = True, (f"it denies {verb.value}",)
    else:
        held, words = False, (_elsewhere(case, denial, target, labels) or "it is about some processes only",)
    return Step(rule=rule, held=held, words=words)


def _elsewhere(case: Case, denial: Denial, subject: Subject | None, labels: tuple[str, ...]) -> str | None:
    """By what *subject* is none of those that it is about."""
    if subject is None:
        return None
    fault = denial.scope.fault(case.who, subject, labels)
    return None if fault is None else denial.scope.words(fault, subject)


def _labels(case: Case, subject: Subject | None, spec: Spec | None) -> tuple[str, ...]:
    if spec is not None:
        return case.marked(spec)
    return () if subject is None else subject.labels


def _of_binding(
    case: Case, binding: Binding, verb: Verb, subject: Subject | None, signal: int | None, spec: Spec | None
) -> Step:
    rule = f"{binding} ({binding.role})"
    if binding not in case.bindings:
        return Step(rule=rule, held=False, words=(f"to: {case.who} is not among {binding.to}",))
    if verb not in binding.role.verbs:
        return Step(rule=rule, held=False, words=(f"verbs: the role has no {verb.value}",))
    faults = tuple(_faults(case, binding, verb, subject, signal, spec))
    return Step(rule=rule, held=not faults, words=faults or (f"it gives {verb.value}",))


def _faults(
    case: Case, binding: Binding, verb: Verb, subject: Subject | None, signal: int | None, spec: Spec | None
) -> Iterator[str]:
    if spec is not None:
        yield from case.start_faults(binding, spec, case.marked(spec))
        return
    fault = case.asked[verb].fault(binding, case.who, subject, _labels(case, subject, spec), signal)
    if fault == "signals":
        yield "signals: it is not among them" if signal is not None else "signals: it is not said which"
    elif fault is not None and subject is None:
        yield "there is no process that it could be about"
    elif fault == "scope":
        yield "it is about some processes, and this is done to the daemon"
    elif fault is not None and subject is not None:
        yield binding.scope.words(fault, subject)


def principal_of(terms: str) -> Principal:
    """Somebody in words: ``uid:1000,gid:100``, ``user:alice``, ``token:acme``, ``tls:sha256:HEX,san:dns:NAME``.

    A user for whom no group is said is in those that the machine's database has.

    :raises ValueError, LookupError: a term is none, or names nobody.
    """
    said: dict[str, list[str]] = {}
    for term in terms.split(","):
        kind, colon, rest = term.partition(":")
        if kind not in _KINDS or not colon or not rest:
            raise ValueError(f"{term!r} is not of the form KIND:VALUE, KIND one of {', '.join(_KINDS)}")
        said.setdefault(kind, []).append(rest)
    users = [_number(one) for one in said.get("uid", ())] + [uid_of(one) for one in said.get("user", ())]
    gids = [_number(one) for one in said.get("gid", ())] + [gid_of(one) for one in said.get("group", ())]
    for kind, count in (("uid or user", len(users)), *((one, len(said.get(one, ()))) for one in ("tls", "token"))):
        if count > 1:
            raise ValueError(f"{count} times {kind}; somebody has one")
    if gids and not users:
        raise ValueError("a group is said, and no user: say uid: or user:, too")
    if users and not gids:
        gids = list(own_groups(users[0]))
    return Principal(
        uid=users[0] if users else None,
        gid=gids[0] if gids else None,
        groups=frozenset(gids[1:]),
        pin=said["tls"][0].lower() if "tls" in said else None,
        names=tuple(said.get("san", ())),
        token=said["token"][0] if "token" in said else None,
    )


_KINDS = ("uid", "user", "gid", "group", "tls", "san", "token")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is no number; names are said by user: and group:")
    return int(text)
