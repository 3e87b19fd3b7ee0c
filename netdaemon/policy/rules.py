"""What a policy says, as values: roles, bindings, denials, tokens; knows no file and decides nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    _mark: str | None = field(init=False, repr=False)
    _labels: tuple[Callable[[str], object], ...] = field(init=False, repr=False, compare=False)
    _names: tuple[Callable[[str], object], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_mark", None if self.tenant is None else TENANT_LABEL + self.tenant)
        object.__setattr__(self, "_labels", tuple(one.found for one in self.labels))
        object.__setattr__(self, "_names", tuple(one.found for one in self.names))

    @property
    def everything(self) -> bool:
        """Whether it is about all processes, and about the daemon."""
        return self.tenant is None and not self.own and not self.labels and not self.names

    def fault(self, who: str, subject: Subject, labels: tuple[str, ...]) -> str | None:
        """By which key *subject* with these *labels* is not in it, for the principal that is called *who*.

        None: it is. This is asked at every request, and makes no words; `words` does.
        """
        if self._mark is not None and self._mark not in labels:
            return "tenant"
        if self.own and subject.owner != who:
            return "owner"
        for found in self._labels:
            if not any(map(found, labels)):
                return "labels"
        if self._names:
            name = subject.name
            if name is None:
                return "names"
            for found in self._names:
                if found(name) is not None:
                    return None
            return "names"
        return None

    def words(self, key: str, subject: Subject) -> str:
        """What `fault` has found, with what it is and what is wanted."""
        if key == "tenant":
            return f"tenant: it is not one of {self.tenant}"
        if key == "owner":
            return f"owner: it belongs to {subject.owner or 'nobody'}"
        if key == "labels":
            return f"labels: it has not all of {_patterns(self.labels)}"
        what = "it has no name" if subject.name is None else f"its name is {subject.name}"
        return f"names: {what}, and they are {_patterns(self.names)}"


def _patterns(globs: tuple[Glob, ...]) -> str:
    return ", ".join(glob.pattern for glob in globs)


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
