"""Asks the policy before anything is done, and tells the audit what came of it; does nothing itself.

Whatever goes wrong in asking is a denial. What nobody may see is told as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.daemon.audit import Audit
from netdaemon.daemon.audited import Case
from netdaemon.daemon.database import Stored
from netdaemon.errors import Denied, NoSuchProcess, Refusal
from netdaemon.policy.judged import Decision, Spec, Subject
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.process.identity import Identity
from netdaemon.process.record import Process
from netdaemon.wire.answers import Reply
from netdaemon.wire.commands import Request
from netdaemon.wire.told import ProcessRecord

_log = Logger()


class Policy(Protocol):
    """Who may do what; see `netdaemon.policy`."""

    @property
    def takes_tokens(self) -> bool:
        """Whether there are tokens at all."""

    def admit(self, principal: Principal) -> Decision:
        """Whether somebody may be connected at all."""

    def token(self, shown: bytes) -> str | None:
        """The name of a token; None: there is no such token."""

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        """Whether *principal* may do *verb* to *subject*; with *signal*, send it that one. Without a *subject*: to
        anything at all."""

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        """Whether *principal* may have *spec* executed."""

    def sees(self, principal: Principal, subject: Subject) -> bool:
        """Whether that process exists for *principal*: it may do anything at all to it."""

    def tenant(self, principal: Principal) -> str | None:
        """Whose processes those are that it starts; None: nobody's in particular."""

    def processes(self, principal: Principal) -> int | None:
        """How many it may have at a time; None: as many as the daemon."""


class _Hidden(NoSuchProcess):
    """There is one, and the other end is not to know of it."""


class Judge:
    """The policy that counts now, and the audit."""

    def __init__(self, policy: Policy, audit: Audit | None) -> None:
        self.policy = policy
        self._audit = audit
        self._case: Case | None = None

    # --- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        """Whether *principal* may; nobody is told."""
        try:
            return self.policy.judge(principal, verb, subject, signal)
        except Exception as error:
            return _failed(error)

    def allows(self, principal: Principal, verb: Verb, subject: Subject) -> bool:
        """The same in a word."""
        return self.decide(principal, verb, subject).allowed

    def admit(self, principal: Principal) -> Decision:
        """Whether *principal* may be connected."""
        try:
            return self.policy.admit(principal)
        except Exception as error:
            return _failed(error)

    def token(self, shown: bytes) -> str:
        """The name of a token.

        :raises Denied: it is none.
        """
        try:
            name = self.policy.token(shown)
        except Exception as error:
            raise Denied(_failed(error).why) from error
        if name is None:
            raise Denied("this token is not known here")
        return name

    def turned_away(self, principal: Principal, why: str) -> None:
        """Somebody was not let in."""
        if self._audit is not None:
            self._audit.write({"principal": str(principal), "request": "hello", "result": "denied", "why": why})

    def may_ever(self, principal: Principal, verb: Verb) -> bool:
        """Whether there could be anything to which *principal* may do *verb*."""
        return self.decide(principal, verb, None).allowed

    def everything(self, principal: Principal) -> bool:
        """Whether there is nothing that is hidden from *principal*."""
        return isinstance(self.policy, OwnerPolicy) and self.admit(principal).allowed

    def within(
        self, principal: Principal, verb: Verb, matches: Callable[[ProcessRecord], bool] | None
    ) -> Callable[[ProcessRecord], bool] | None:
        """*matches*, of what *principal* may do *verb* to: as the policy is when it is asked.

        :raises Denied: that is nothing, whatever there is.
        """
        self.require_ever(principal, verb)

        def both(record: ProcessRecord) -> bool:
            return (matches is None or matches(record)) and self.allows(principal, verb, record)

        return matches if self.everything(principal) else both

    # --- requests ----------------------------------------------------------------------------------------------------

    def require(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> None:
        """Go on only if *principal* may do *verb* to *subject*.

        :raises Denied: it may not.
        :raises NoSuchProcess: it may not even know of it.
        """
        self._settle(verb, subject, self.decide(principal, verb, subject, signal))

    def require_ever(self, principal: Principal, verb: Verb) -> None:
        """Go on only if there could be something to which *principal* may do *verb*.

        :raises Denied: there cannot.
        """
        self._settle(verb, None, self.decide(principal, verb, None))

    def require_start(self, principal: Principal, identity: Identity) -> None:
        """Go on only if *principal* may have *identity* executed: that very object, and no other.

        :raises Denied: it may not.
        """
        try:
            decision = self.policy.judge_start(principal, identity)
        except Exception as error:
            decision = _failed(error)
        self._settle(Verb.START, identity, decision, seen=True)

    def _settle(self, verb: Verb, subject: Subject | None, decision: Decision, *, seen: bool = False) -> None:
        case = self._case
        if case is not None:
            case.verb, case.subject, case.decision = verb, subject, decision
        if decision.allowed:
            return
        if subject is not None and not seen and case is not None and not self.sees(case.principal, subject):
            raise _Hidden(f"there is no process {case.wanted!r}", process=case.wanted)
        raise Denied(decision.why, process=getattr(subject, "id", None) if not seen else None)

    def sees(self, principal: Principal, subject: Subject) -> bool:
        """Whether that process exists for *principal*."""
        try:
            return self.policy.sees(principal, subject)
        except Exception as error:
            _failed(error)
            return False

    def tenant(self, principal: Principal) -> str | None:
        """Whose processes those are that *principal* starts.

        :raises Denied: the policy could not be asked.
        """
        try:
            return self.policy.tenant(principal)
        except Exception as error:
            raise Denied(_failed(error).why) from error

    def most_processes(self, principal: Principal) -> int | None:
        """How many processes *principal* may have.

        :raises Denied: the policy could not be asked.
        """
        try:
            return self.policy.processes(principal)
        except Exception as error:
            raise Denied(_failed(error).why) from error

    # --- the audit ---------------------------------------------------------------------------------------------------

    def answer(self, principal: Principal, request: Request, respond: Any) -> Reply | Deferred[Any]:
        """What *respond* answers to *request*; decisions that are asked for meanwhile are on that."""
        with self._on(Case(principal, request)) as case:
            try:
                outcome: Reply | Deferred[Any] = respond()
            except Refusal as refusal:
                self._tell(case, refusal)
                raise
            except Exception:
                self._write(case, "internal-error", "")
                raise
        if not isinstance(outcome, Deferred):
            self._tell(case, None, outcome)
        elif self._audit is not None:
            # What is kept of the request while it waits is no more than what will be told of it.
            case.shrink()
            outcome.addBoth(self._late, case)
        return outcome

    @contextmanager
    def _on(self, case: Case) -> Iterator[Case]:
        before, self._case = self._case, case
        try:
            yield case
        finally:
            self._case = before

    def _late(self, outcome: Any, case: Case) -> Any:
        if not isinstance(outcome, Failure):
            self._tell(case, None, outcome)
        elif isinstance(outcome.value, Refusal):
            self._tell(case, outcome.value)
        elif not outcome.check(CancelledError):
            self._write(case, "internal-error", "")
        elif case.changes:
            self._write(case, "unknown", "who asked did not wait for the answer")
        return outcome

    def _tell(self, case: Case, refusal: Refusal | None, reply: Any = None) -> None:
        if refusal is None:
            if case.changes:
                self._write(case, "done", "", reply)
        elif isinstance(refusal, _Hidden):
            self._write(case, "denied", "it is not to know of this process")
        elif isinstance(refusal, Denied) or case.changes:
            self._write(case, refusal.code, refusal.message)

    def _write(self, case: Case, result: str, why: str, reply: Any = None) -> None:
        if self._audit is not None:
            self._audit.write(case.line(result, why, reply))


def subject_of(one: Process | Stored) -> Subject:
    """What of a process is judged."""
    return one.identity if isinstance(one, Process) else one.record


def _failed(error: Exception) -> Decision:
    _log.failure("the policy could not be asked", Failure(error))
    return Decision(False, "the policy could not be asked; the daemon's log has more")
