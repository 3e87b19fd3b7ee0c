"""The policy where there is no file: the daemon's own user and root may do everything, nobody else anything."""

from __future__ import annotations

import os
from dataclasses import dataclass

from netdaemon.policy.judged import Decision, Spec, Subject
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb


@dataclass(frozen=True)
class OwnerPolicy:
    """For a daemon that runs as *uid*."""

    uid: int

    @classmethod
    def of_this_process(cls) -> OwnerPolicy:
        """For the user that this program runs as."""
        return cls(os.geteuid())

    # No token is known.
    takes_tokens = False

    def admit(self, principal: Principal) -> Decision:
        """Whether somebody may be connected at all."""
        if not principal.known:
            return Decision(
                False, "the kernel does not know who you are here; connect from the daemon's own namespaces"
            )
        if principal.uid is None:
            return Decision(False, f"{principal} may not use this daemon; it serves uid {self.uid} and root")
        if principal.uid not in (self.uid, 0):
            return Decision(False, f"uid {principal.uid} may not use this daemon; it serves uid {self.uid} and root")
        return Decision(True, "the daemon's own user, or root", "owner")

    def token(self, shown: bytes) -> str | None:
        """The name of a token; None: there is no such token."""
        return None

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        """Whether *principal* may do *verb* to *subject*; with *signal*, send it that one. Without a *subject*: to
        anything at all."""
        return self.admit(principal)

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        """Whether *principal* may have *spec* executed."""
        return self.admit(principal)

    def sees(self, principal: Principal, subject: Subject) -> bool:
        """Whether that process exists for *principal*: it may do anything at all to it."""
        return self.admit(principal).allowed

    def tenant(self, principal: Principal) -> str | None:
        """Whose processes those are that it starts; None: nobody's in particular."""
        return None

    def processes(self, principal: Principal) -> int | None:
        """How many it may have at a time; None: as many as the daemon."""
        return None
