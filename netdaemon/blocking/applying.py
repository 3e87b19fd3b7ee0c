"""A plan carried out over a blocking client, several actions at a time; knows no files and prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netdaemon.apply.carrying import AT_ONCE, AT_ONCE_MAX, Deed, Doing, Outcome, carry_out
from netdaemon.apply.planning import Action, Plan
from netdaemon.blocking.link import Link
from netdaemon.blocking.pending import Pending
from netdaemon.blocking.timeouts import Deadline
from netdaemon.errors import NetdaemonError, TimedOut
from netdaemon.wire.answers import Message

OnDoing = Callable[[Action, str], None]
OnDone = Callable[[Outcome], None]


class _Work:
    """One action under way."""

    def __init__(self, client: Link, action: Action, on_doing: OnDoing | None) -> None:
        self.outcome: Outcome | None = None
        self._client = client
        self._action = action
        self._on_doing = on_doing
        self._doing: Doing = carry_out(action)
        self._pending: Pending | None = None
        self._deadline = Deadline(None)
        self._go(None)

    def look(self) -> None:
        """Go on if there is an answer, or none is to be waited for any more."""
        while self.outcome is None and self._pending is not None and self._pending.answer is not None:
            self._go(self._pending.answer)
        if self.outcome is None and self.left == 0.0:
            assert self._pending is not None
            self._pending.abandoned = True
            command = type(self._pending.request).__name__.upper()
            self._go(TimedOut(f"{command} was not answered in the time allowed"))

    @property
    def left(self) -> float | None:
        """Seconds that its answer may take yet."""
        try:
            return self._deadline.left("it was not answered")
        except TimedOut:
            return 0.0

    def _go(self, answer: Message | NetdaemonError | None) -> None:
        try:
            if isinstance(answer, NetdaemonError):
                deed = self._doing.throw(answer)
            else:
                deed = next(self._doing) if answer is None else self._doing.send(answer)
            self._ask(deed)
        except StopIteration as end:
            self.outcome = Outcome(action=self._action, record=end.value)
        except NetdaemonError as error:
            self.outcome = Outcome(action=self._action, record=self._action.record, error=error)

    def _ask(self, deed: Deed) -> None:
        if self._on_doing is not None:
            self._on_doing(self._action, deed.doing)
        timeout = self._client.timeout
        self._deadline = Deadline(None if timeout is None else timeout + deed.wait / 1000)
        self._pending = self._client.submit(deed.request)


def carry_out_plan(
    client: Link,
    plan: Plan,
    *,
    at_once: int = AT_ONCE,
    on_doing: OnDoing | None = None,
    on_done: OnDone | None = None,
) -> tuple[Outcome, ...]:
    """Do all that *plan* has; what fails keeps nothing else from being tried.

    :param at_once: how many actions are under way at the same time.
    :param on_doing: called with an action and what is about to be done for it: ``stopping``.
    :param on_done: called with each outcome, as it comes.
    """
    if not 1 <= at_once <= AT_ONCE_MAX:
        raise ValueError(f"at_once is {at_once}, and 1 to {AT_ONCE_MAX} are allowed")
    outcomes: list[Outcome] = []
    for phase in plan.phases:
        outcomes += _carry_out_phase(client, phase, at_once, on_doing, on_done)
    return tuple(outcomes)


def _carry_out_phase(
    client: Link, actions: Sequence[Action], at_once: int, on_doing: OnDoing | None, on_done: OnDone | None
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    waiting = list(reversed(actions))
    under_way: list[_Work] = []
    while waiting or under_way:
        while waiting and len(under_way) < at_once:
            under_way.append(_Work(client, waiting.pop(), on_doing))
        for one in under_way:
            one.look()
        over = [one.outcome for one in under_way if one.outcome is not None]
        under_way = [one for one in under_way if one.outcome is None]
        for outcome in over:
            outcomes.append(outcome)
            if on_done is not None:
                on_done(outcome)
        if under_way and not over:
            limits = [left for left in (one.left for one in under_way) if left is not None]
            try:
                client.pump(min(limits, default=None))
            except NetdaemonError:
                # It is over for good, and each of them has been told.
                continue
    return outcomes
