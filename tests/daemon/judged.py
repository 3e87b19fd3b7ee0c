"""A daemon whose policy a test has in its hands, and each request with the verbs that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdaemon.policy.judged import Decision, Spec, Subject, tenant_of
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import (
    End,
    Started,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import Fate, Reason
from netdaemon.wire.specs import Step
from tests.daemon.support import Bare, World

OPERATOR, PLAYER, STRANGER = 0, 1000, 2000
YES, NO = Decision(True, "", "yes"), Decision(False, "it may not")
ALL = frozenset(Verb)


@dataclass
class Rights:
    """A policy of a test's own: root may do everything; everybody else what is in *verbs*, to what is his tenant's."""

    verbs: frozenset[Verb] = ALL
    tenants: dict[int, str] = field(default_factory=lambda: {PLAYER: "acme", STRANGER: "other"})
    most: int | None = None
    tokens: dict[bytes, str] = field(default_factory=dict)
    out: set[int] = field(default_factory=set)
    # The question, counted from 0, that fails; and what was asked so far.
    fails_at: int = -1
    asked: int = 0
    started: list[Spec] = field(default_factory=list)

    def _count(self) -> None:
        self.asked += 1
        if self.asked - 1 == self.fails_at:
            raise RuntimeError("injected")

    @property
    def takes_tokens(self) -> bool:
        return bool(self.tokens)

    def admit(self, principal: Principal) -> Decision:
        self._count()
        known = principal.token is not None or principal.uid == OPERATOR or principal.uid in self.tenants
        return YES if known and principal.uid not in self.out else NO

    def token(self, shown: bytes) -> str | None:
        self._count()
        return self.tokens.get(shown)

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        self._count()
        if principal.uid == OPERATOR:
            return YES
        mine = subject is None or self._is_mine(principal, subject)
        return YES if verb in self.verbs and mine else NO

    def _is_mine(self, principal: Principal, subject: Subject) -> bool:
        return tenant_of(subject.labels) == self.tenants.get(principal.uid or 0)

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        self.started.append(spec)
        return self.judge(principal, Verb.START, spec)

    def sees(self, principal: Principal, subject: Subject) -> bool:
        self._count()
        return principal.uid == OPERATOR or (bool(self.verbs) and self._is_mine(principal, subject))

    def tenant(self, principal: Principal) -> str | None:
        self._count()
        return self.tenants.get(-1 if principal.uid is None else principal.uid)

    def processes(self, principal: Principal) -> int | None:
        self._count()
        return self.most


@dataclass
class Stage:
    """A daemon with a policy, its audit, and a process of each tenant."""

    w: World
    rights: Rights
    path: Path

    def client(self, uid: int, **options: Any) -> Bare:
        return self.w.client(uid=uid, **options)

    def ask(self, client: Bare, request: Request) -> Any:
        return self.w.ask(client, request)[1]

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


R, W, H = Verb.ATTACH_READ, Verb.ATTACH_WRITE, Verb.ATTACH_HOLD

# Each request, on the running process "web" or the exited one "gone", and all the verbs that it takes.
NEEDED: list[tuple[Callable[[], Request], set[Verb]]] = [
    (lambda: Start(argv=("new",)), {Verb.START}),
    (lambda: Start(argv=("new",), attach=True, read_only=True), {Verb.START, R}),
    (lambda: Start(argv=("new",), attach=True), {Verb.START, R, W}),
    (lambda: Start(argv=("new",), attach=True, hold=5), {Verb.START, R, W, H}),
    (lambda: Attach(process="web", read_only=True), {R}),
    (lambda: Attach(process="web"), {R, W}),
    (lambda: Attach(process="web", hold=-1, read_only=True), {R, H}),
    (lambda: List(), {Verb.LIST}),
    (lambda: Inspect(process="web"), {Verb.INSPECT}),
    (lambda: Wait(process="gone"), {Verb.INSPECT}),
    (lambda: Watch(), {Verb.EVENTS}),
    (lambda: Kill(process="web", signal=1), {Verb.SIGNAL}),
    (lambda: Stop(process="gone"), {Verb.STOP}),
    (lambda: Stop(process="gone", steps=(Step(signal=1),)), {Verb.STOP, Verb.SIGNAL}),
    (lambda: Stop(process="gone", steps=(Step(kill=True),)), {Verb.STOP, Verb.SIGNAL}),
    (lambda: Stop(process="gone", steps=(Step(stdin=b"quit\n"),)), {Verb.STOP, W}),
    (lambda: Again(process="gone"), {Verb.START}),
    (lambda: Change(process="web", labels=("a=b",)), {Verb.START}),
    (lambda: Remove(process="gone"), {Verb.REMOVE}),
    (lambda: Prune(), {Verb.REMOVE}),
    (lambda: Reload(), {Verb.RELOAD}),
    (lambda: Shutdown(processes=Fate.STOP), {Verb.SHUTDOWN}),
    (lambda: Info(), set()),
]

# About an attachment that one has, which was judged when it was made; or, to an id that there is none of, nothing.
OF_ATTACHMENTS = {Data, Resize, Flow, Detach}


def furnished(stage: Stage) -> Bare:
    """A player's client, and his processes."""
    player = stage.client(PLAYER)
    assert isinstance(stage.ask(player, Start(argv=("web",), name="web")), Started)
    assert isinstance(stage.ask(player, Start(argv=("gone",), name="gone")), Started)
    stage.w.children[-1].exit(0)
    stage.w.daemon.settle()
    return player


def ends(client: Bare) -> list[tuple[int, Reason]]:
    return [(id, message.reason) for id, message in client.got if isinstance(message, End)]
