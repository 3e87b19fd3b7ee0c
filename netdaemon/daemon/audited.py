"""What is told to the audit of a request and of what came of it; decides nothing.

Neither what an environment says nor what is typed is in it, whoever asks for it.
"""

from __future__ import annotations

from typing import Any

from netdaemon.policy.judged import Decision, Subject
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.signal_names import name_of
from netdaemon.wire.commands import Again, Attach, Change, Kill, Prune, Reload, Remove, Request, Shutdown, Start, Stop
from netdaemon.wire.specs import Step

# Those that change something: all that comes of them is in the audit. Of the others, only what is refused.
CHANGING = (Start, Attach, Change, Kill, Stop, Again, Remove, Prune, Reload, Shutdown)

# Of a program's arguments so many characters together are in the audit.
ARGV_TOLD = 1024


class Case:
    """A request that is being answered, and what was decided on it.

    :ivar wanted: the process that it names.
    :ivar changes: whether it is one of those that change something.
    """

    __slots__ = ("_asked", "_request", "changes", "decision", "principal", "subject", "verb", "wanted")

    def __init__(self, principal: Principal, request: Request) -> None:
        self.principal = principal
        self.wanted: str = getattr(request, "process", None) or ""
        self.changes = isinstance(request, CHANGING)
        self.subject: Subject | None = None
        self.verb: Verb | None = None
        self.decision: Decision | None = None
        self._request: Request | None = request
        self._asked: dict[str, Any] = {}

    def shrink(self) -> None:
        """Keep no more of the request than will be told of it: it may have to wait."""
        if self._request is not None:
            self._asked = {"request": _word(self._request), **_asked(self._request)}
            self._request = None

    def line(self, result: str, why: str, reply: Any = None) -> dict[str, Any]:
        """What is told of it, with its *result*."""
        self.shrink()
        asked = dict(self._asked)
        line: dict[str, Any] = {"principal": str(self.principal), "request": asked.pop("request")}
        if self.verb is not None:
            line["verb"] = self.verb.value
        line.update(_described(self.subject if reply is None else getattr(reply, "process", None) or self.subject))
        line.update(asked)
        line["result"] = result
        if why:
            line["why"] = why
        if self.decision is not None and self.decision.rule:
            line["rule"] = self.decision.rule
        return line


def _word(request: Request) -> str:
    return "restart" if isinstance(request, Again) else type(request).__name__.lower()


def _described(subject: Any) -> dict[str, Any]:
    """Which process it is about."""
    told = {"process": getattr(subject, "id", None), "name": getattr(subject, "name", None)}
    told["owner"] = getattr(subject, "owner", None)
    account = getattr(subject, "account", None)
    told["uid"] = account.uid if account is not None else getattr(subject, "uid", None)
    return {name: value for name, value in told.items() if value is not None and value != ""}


def _asked(request: Request) -> dict[str, Any]:
    """What was asked for, as far as an audit may tell it."""
    if isinstance(request, Start | Change):
        told: dict[str, Any] = {}
        if request.argv is not None:
            told["argv"] = _shown(request.argv)
            told["path"] = request.path
            told["cwd"] = request.cwd
        if request.run_as is not None:
            told["user"], told["chroot"] = request.run_as.user, request.run_as.chroot
        return {name: value for name, value in told.items() if value is not None}
    if isinstance(request, Kill):
        return {"signal": name_of(request.signal)}
    if isinstance(request, Attach):
        return {"write": not request.read_only, "hold": request.hold or 0}
    if isinstance(request, Stop) and request.steps:
        return {"steps": [_kind(step) for step in request.steps]}
    if isinstance(request, Prune):
        return {"select": list(request.select or ())}
    if isinstance(request, Shutdown):
        return {"processes": None if request.processes is None else request.processes.value}
    return {}


def _kind(step: Step) -> str:
    """A step without what it types."""
    return "stdin" if step.stdin is not None else str(step)


def _shown(argv: tuple[str, ...]) -> list[str]:
    shown, left = [], ARGV_TOLD
    for argument in argv:
        if len(argument) > left:
            shown.append(argument[:left] + "...")
            break
        shown.append(argument)
        left -= len(argument)
    return shown
