"""Judging by the rules of a file: default deny, any deny wins, and whatever goes wrong is a denial; reads no file.

What concerns one principal is sorted out once; a request then costs a few comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from netdaemon.policy.accounts import Account
from netdaemon.policy.judged import TENANT_LABEL, Decision, Spec, Subject, tenant_of
from netdaemon.policy.principals import Principal
from netdaemon.policy.rules import Binding, Denial, Role, Rules
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb
from netdaemon.signal_names import name_of

# Principals of whom it is remembered what concerns them: more than are connected at a time, as a rule. A case is some
# kilobytes.
CASES_MAX = 1024

# What can be judged where there is no process: the daemon's own, and what is about all processes that one may do it to.
WITHOUT_PROCESS = OF_THE_DAEMON | {Verb.LIST, Verb.EVENTS, Verb.START, Verb.REMOVE}

# Of what a binding has against a start, so much is told.
FAULTS_TOLD = 3

_SIGKILL = 9


class FilePolicy:
    """Who may do what by *rules*, at a daemon that runs as *own*.

    It has the methods of `netdaemon.policy.owner.OwnerPolicy`. None of them raises but `tenant`; what cannot be found
    out is denied.
    """

    def __init__(self, rules: Rules, own: Account) -> None:
        self.rules = rules
        self.own = own
        self._cases: dict[Principal, Case] = {}

    @property
    def takes_tokens(self) -> bool:
        """Whether there are tokens by which somebody can become known."""
        return bool(self.rules.tokens)

    def admit(self, principal: Principal) -> Decision:
        """Whether somebody may be connected at all: a binding is about them."""
        try:
            return self.case(principal).admit()
        except Exception as error:
            return _not_asked(error)

    def token(self, shown: bytes) -> str | None:
        """The name of a token; None: there is no such token."""
        try:
            found = None
            digest = sha256(shown).digest()
            for name, known in self.rules.tokens.items():
                # All are compared, so that the time does not tell which it was.
                if compare_digest(known, digest):
                    found = name
            return found
        except Exception:
            return None

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        """Whether *principal* may do *verb* to *subject*; with *signal*, send it that one.

        Without a *subject*: whether it may shut down the daemon, or reload; list, follow, start or remove anything at
        all. All else is done to a process.
        """
        try:
            return self.case(principal).judge(verb, subject, signal)
        except Exception as error:
            return _not_asked(error)

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        """Whether *principal* may have *spec* executed.

        One that is marked as nobody's is judged as marked for the principal's `tenant`.
        """
        try:
            return self.case(principal).judge_start(spec)
        except Exception as error:
            return _not_asked(error)

    def sees(self, principal: Principal, subject: Subject) -> bool:
        """Whether that process exists for *principal*: it may do anything at all to it."""
        try:
            return self.case(principal).sees(subject)
        except Exception:
            return False

    def tenant(self, principal: Principal) -> str | None:
        """Whose processes those are that it starts; None: nobody's in particular.

        It raises what went wrong: nobody's is not the closed side.
        """
        return self.case(principal).tenant

    def processes(self, principal: Principal) -> int | None:
        """How many it, or its tenant, may have at a time; None: as many as the daemon."""
        try:
            return self.case(principal).processes
        except Exception:
            return 0

    def case(self, principal: Principal) -> Case:
        """What of the rules concerns *principal*."""
        found = self._cases.get(principal)
        if found is None:
            if len(self._cases) >= CASES_MAX:
                self._cases.clear()
            found = self._cases[principal] = Case(self.rules, self.own, principal)
        return found


def _not_asked(error: Exception) -> Decision:
    return Decision(False, f"the policy could not be asked: {type(error).__name__}: {error}")


class _Asked:
    """What of the rules concerns one principal and one verb."""

    __slots__ = ("bindings", "denials", "of_daemon", "signals", "verb", "without_process")

    def __init__(self, verb: Verb, bindings: tuple[Binding, ...], denials: tuple[Denial, ...]) -> None:
        self.verb = verb
        self.bindings = tuple(one for one in bindings if verb in one.role.verbs)
        self.denials = tuple(one for one in denials if one.start is None and verb in one.verbs)
        self.of_daemon = verb in OF_THE_DAEMON
        self.without_process = verb in WITHOUT_PROCESS
        self.signals = verb is Verb.SIGNAL

    def fault(
        self, binding: Binding, who: str, subject: Subject | None, labels: tuple[str, ...], signal: int | None
    ) -> str | None:
        """The key by which a binding that has the verb does not give it here; None: it does."""
        if subject is None or self.of_daemon:
            given = binding.scope.everything if self.of_daemon else self.without_process
            return None if given else "scope"
        fault = binding.scope.fault(who, subject, labels)
        if fault is None and (signal is not None or self.signals) and binding.role.lacks_signal(signal):
            return "signals"
        return fault

    def denies(self, denial: Denial, who: str, subject: Subject | None, labels: tuple[str, ...]) -> bool:
        """Whether a denial of the verb is about that."""
        if subject is None or self.of_daemon:
            return denial.scope.everything
        return denial.scope.fault(who, subject, labels) is None


class Case:
    """What of the rules concerns one principal.

    :ivar who: what the principal is called.
    :ivar asked: the same by verb.
    """

    def __init__(self, rules: Rules, own: Account, principal: Principal) -> None:
        self.principal = principal
        self.own = own
        self.who = str(principal)
        self.bindings = tuple(one for one in rules.bindings if one.to.has(principal))
        self.denials = tuple(one for one in rules.denials if concerns(one, principal))
        self.asked = {verb: _Asked(verb, self.bindings, self.denials) for verb in Verb}
        self._forbidden = tuple(one for one in self.denials if one.start is not None)
        self._hiding = tuple(one for one in self.denials if one.start is None)
        self._showing = tuple((one, one.role.verbs - OF_THE_DAEMON) for one in self.bindings)
        self._allowed = {
            one.index: Decision(True, f"{one} gives it to {self.who}", str(one.role)) for one in self.bindings
        }
        starting = self.asked[Verb.START].bindings
        self.tenant = next((one.scope.tenant for one in starting if one.scope.tenant is not None), None)
        self.processes = _most([one.role for one in starting])

    def admit(self) -> Decision:
        if not self.principal.known:
            return Decision(False, "it is not known who you are; connect from the daemon's own namespaces")
        for denial in self.denials:
            if denial.total:
                return Decision(False, f"{self.who} may not use this daemon", str(denial))
        if not self.bindings:
            return Decision(False, f"{self.who} may not use this daemon; its policy says nothing of it")
        return Decision(True, f"{self.bindings[0]} is about {self.who}", str(self.bindings[0].role))

    def judge(self, verb: Verb, subject: Subject | None, signal: int | None) -> Decision:
        asked = self.asked[verb]
        labels = () if subject is None else subject.labels
        who = self.who
        for denial in asked.denials:
            if asked.denies(denial, who, subject, labels):
                return Decision(False, f"{who} is denied {verb.value}", str(denial))
        for binding in asked.bindings:
            if asked.fault(binding, who, subject, labels, signal) is None:
                return self._allowed[binding.index]
        return Decision(False, f"{who} may not do that: nothing in the policy gives it {verb.value} here")

    def judge_start(self, spec: Spec) -> Decision:
        asked = self.asked[Verb.START]
        labels = self.marked(spec)
        for denial in asked.denials:
            if asked.denies(denial, self.who, spec, labels):
                return Decision(False, f"{self.who} is denied start", str(denial))
        for denial in self._forbidden:
            found = next(self.forbidden(denial, spec, labels), None)
            if found is not None:
                return Decision(False, f"it is forbidden to start this: {found}", f"{denial}.start")
        against: list[str] = []
        for binding in asked.bindings:
            faults = self.start_faults(binding, spec, labels)
            first = next(faults, None)
            if first is None:
                return self._allowed[binding.index]
            against = against or [first, *faults]
        if not against:
            return Decision(False, f"{self.who} may not start anything")
        more = len(against) - FAULTS_TOLD
        told = "; ".join(against[:FAULTS_TOLD]) + (f"; and {more} more" if more > 0 else "")
        return Decision(False, f"{self.who} may not start this: {told}")

    def forbidden(self, denial: Denial, spec: Spec, labels: tuple[str, ...]) -> Iterator[str]:
        """What of *spec* a denial forbids."""
        if denial.start is not None and denial.scope.fault(self.who, spec, labels) is None:
            yield from denial.start.found(self.principal, spec, self.own)

    def start_faults(self, binding: Binding, spec: Spec, labels: tuple[str, ...]) -> Iterator[str]:
        """All that a binding which has START has against *spec*."""
        fault = binding.scope.fault(self.who, spec, labels)
        if fault is not None:
            yield binding.scope.words(fault, spec)
        for number in _signals_of(spec):
            if binding.role.lacks_signal(number):
                yield f"signals: its stop sends {name_of(number)}, which is not among them"
        if binding.role.start is None:
            yield "start: it says no bounds"
        else:
            yield from binding.role.start.faults(self.principal, spec, self.own)

    def marked(self, spec: Spec) -> tuple[str, ...]:
        """The labels of what is started: with whose it is."""
        if self.tenant is None or tenant_of(spec.labels) is not None:
            return spec.labels
        return (*spec.labels, TENANT_LABEL + self.tenant)

    def sees(self, subject: Subject) -> bool:
        labels = subject.labels
        left: set[Verb] = set()
        for binding, verbs in self._showing:
            if verbs and binding.scope.fault(self.who, subject, labels) is None:
                if not self._hiding:
                    return True
                left |= verbs
        for denial in self._hiding:
            if not left:
                break
            if denial.scope.fault(self.who, subject, labels) is None:
                left -= denial.verbs
        return bool(left)


def concerns(denial: Denial, principal: Principal) -> bool:
    """Whether a denial is about somebody."""
    if denial.to is not None and not denial.to.has(principal):
        return False
    return denial.but is None or not denial.but.has(principal)


def _most(roles: list[Role]) -> int | None:
    most = [None if role.start is None else role.start.processes for role in roles]
    counted = [one for one in most if one is not None]
    return max(counted, default=0) if len(counted) == len(most) else None


def _signals_of(spec: Spec) -> Iterator[int]:
    """Those that the steps of its stop send; what it does not say is the daemon's own affair."""
    steps: Any = spec.stop or ()
    for step in steps:
        if step.kill:
            yield _SIGKILL
        elif step.signal is not None:
            yield step.signal
