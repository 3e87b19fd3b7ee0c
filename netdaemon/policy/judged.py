"""What is judged: a process as a policy sees it, and what comes of judging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

# By which the daemon marks whose process one is, where its starter belongs to a tenant.
TENANT_LABEL = "nd.tenant="


class Subject(Protocol):
    """A process, or what is to become one: what a verb is judged on. `netdaemon.process.identity.Identity` is one."""

    @property
    def name(self) -> str | None: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def owner(self) -> str: ...


class Spec(Subject, Protocol):
    """What a start is judged on: all that is executed, with users and groups by number."""

    @property
    def argv(self) -> tuple[str, ...]: ...

    @property
    def path(self) -> str | None: ...

    @property
    def env(self) -> tuple[str, ...]: ...

    @property
    def cwd(self) -> str: ...

    @property
    def stop(self) -> Any: ...

    @property
    def log(self) -> Any: ...

    @property
    def run_as(self) -> Any: ...

    @property
    def limits(self) -> tuple[str, ...] | None: ...

    @property
    def cgroup(self) -> tuple[str, ...] | None: ...

    @property
    def sandbox(self) -> Any: ...

    @property
    def account(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and why: *rule* names what in the policy said so, as ``roles.player``, ``deny[2]``;
    empty where nothing did."""

    allowed: bool
    why: str
    rule: str = ""


def tenant_of(labels: tuple[str, ...]) -> str | None:
    """Whose process it is, of those that the policy calls tenants."""
    for label in labels:
        if label.startswith(TENANT_LABEL):
            return label[len(TENANT_LABEL) :]
    return None
