"""What a policy says, as values: roles, bindings, denials, tokens; knows no file and decides nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netdaemon.policy.bounds import Bounds, Forbidden
from netdaemon.policy.judged import TENANT_LABEL, Subject
from netdaemon.policy.matching import Glob, Whom
from netdaemon.policy.verbs import Verb


@dataclass(frozen=True, kw_only=True)
class Role:
    """What somebody may do who has it.

    :ivar signals: those that may be sent, by number; None: all.
    :ivar start: within what bounds something may be started; there are some if START is among ``verbs``.
    """

    name: str
    verbs: frozenset[Verb]
    signals: frozenset[int] | None = None
    start: Bounds | None = None

    def lacks_signal(self, signal: int | None) -> bool:
        """Whether that one may not be sent; None: it is not known which."""
        return self.signals is not None and (signal is None or signal not in self.signals)

    def __str__(self) -> str:
        return f"roles.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which processes something is about; all of it has to hold.

    :ivar own: those whose owner is the principal itself.
    :ivar labels: each has to match one of the process's.
    :ivar names: one of them has to match its name.
    """

    tenant: str | None = None
    own: bool = False
    labels: tuple[Glob, ...] = ()
    names: tuple[Glob, ...] = ()
    mark: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", None if self.tenant is None else TENANT_LABEL + self.tenant)

    @property
    def everything(self) -> bool:
        """Whether it is about all processes, and about the daemon."""
        return self.tenant is None and not self.own and not self.labels and not self.names

    def fault(self, who: str, subject: Subject, labels: tuple[str, ...]) -> str | None:
        """Why *subject* with these *labels* is not in it, for the principal that is called *who*; None: it is."""
        if self.mark is not None and self.mark not in labels:
            return f"tenant: it is not one of {self.tenant}"
        if self.own and subject.owner != who:
            return f"owner: it belongs to {subject.owner or 'nobody'}"
        for glob in self.labels:
            if not any(map(glob.matches, labels)):
                return f"labels: no label of it is {glob.pattern}"
        if self.names:
            name = subject.name
            if name is None or not any(glob.matches(name) for glob in self.names):
                what = "it has no name" if name is None else f"its name is {name}"
                return f"names: {what}, and they are {', '.join(glob.pattern for glob in self.names)}"
        return None


EVERYTHING = Scope()


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A role for somebody, with the processes of a scope."""

    index: int
    role: Role
    to: Whom
    scope: Scope = EVERYTHING

    def __str__(self) -> str:
        return f"bind[{self.index}]"


@dataclass(frozen=True, kw_only=True)
class Denial:
    """What somebody may not do, whatever else is said.

    :ivar to: whom it is about; None: everybody, except for those in *but*.
    :ivar start: it is about starts that have something of this, and about nothing else.
    """

    index: int
    to: Whom | None = None
    but: Whom | None = None
    verbs: frozenset[Verb] = frozenset(Verb)
    scope: Scope = EVERYTHING
    start: Forbidden | None = None

    @property
    def total(self) -> bool:
        """Whether it leaves nothing to those whom it is about."""
        return self.start is None and self.scope.everything and self.verbs == frozenset(Verb)

    def __str__(self) -> str:
        return f"deny[{self.index}]"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A whole policy; *tokens* are SHA-256 digests by name."""

    roles: Mapping[str, Role] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    denials: tuple[Denial, ...] = ()
    tokens: Mapping[str, bytes] = field(default_factory=dict)
