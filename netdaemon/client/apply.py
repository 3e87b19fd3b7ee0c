"""Making a daemon match files of specs, with the Deferred client; knows neither the format nor what is to be done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypedDict, Unpack

from twisted.internet.defer import Deferred, FirstError, gatherResults

from netdaemon.apply.carrying import AT_ONCE, AT_ONCE_MAX, Applied, Outcome, carry_out
from netdaemon.apply.planning import Action, Plan, plan
from netdaemon.apply.reading import read
from netdaemon.errors import NetdaemonError

if TYPE_CHECKING:
    from netdaemon.client.client import Client


class ApplyOptions(TypedDict, total=False):
    """What may be said besides the files; see `apply`."""

    dry_run: bool
    at_once: int
    environ: Mapping[str, str] | None
    on_doing: Callable[[Action, str], object] | None
    on_done: Callable[[Outcome], object] | None


def apply(client: Client, *files: str | os.PathLike[str], **options: Unpack[ApplyOptions]) -> Deferred[Applied]:
    """Make the daemon match *files* of specs: start, change, replace, stop and remove.

    :param files: each a set of processes; those of the set that are not in the file any more are stopped and removed.
    :param dry_run: only make the plan.
    :param at_once: how many processes are seen to at the same time.
    :param environ: where what the specs inherit comes from; None: our own environment.
    :param on_doing: called with an action and what is about to be done for it: ``stopping``.
    :param on_done: called with each outcome, as it comes.
    :return: fires with the plan and what became of it, when all has been tried: see `Applied.failed`. Cancelling it
        takes back nothing that was asked for, and asks for no more.
    :raises SpecFaults: (errback) something is wrong with the files; all of it is told, and nothing was done.
    """
    return Deferred.fromCoroutine(_apply(client, files, **options))


async def _apply(
    client: Client,
    files: tuple[str | os.PathLike[str], ...],
    *,
    dry_run: bool = False,
    at_once: int = AT_ONCE,
    environ: Mapping[str, str] | None = None,
    on_doing: Callable[[Action, str], object] | None = None,
    on_done: Callable[[Outcome], object] | None = None,
) -> Applied:
    if not 1 <= at_once <= AT_ONCE_MAX:
        raise ValueError(f"at_once is {at_once}, and 1 to {AT_ONCE_MAX} are allowed")
    made = plan(read(*files, environ=environ), await client.list())
    if dry_run:
        return Applied(plan=made)
    return await _carry_out(client, made, at_once, on_doing, on_done)


async def _carry_out(
    client: Client,
    made: Plan,
    at_once: int,
    on_doing: Callable[[Action, str], object] | None,
    on_done: Callable[[Outcome], object] | None,
) -> Applied:
    outcomes: list[Outcome] = []

    async def work(actions: Iterator[Action]) -> None:
        for action in actions:
            outcome = await _do(client, action, on_doing)
            outcomes.append(outcome)
            if on_done is not None:
                on_done(outcome)

    for phase in made.phases:
        # All of them take from the same.
        actions = iter(phase)
        try:
            await gatherResults([Deferred.fromCoroutine(work(actions)) for _ in range(at_once)], consumeErrors=True)
        except FirstError as error:
            # It was cancelled, or a callback has failed.
            error.subFailure.raiseException()
    return Applied(plan=made, outcomes=tuple(outcomes))


async def _do(client: Client, action: Action, on_doing: Callable[[Action, str], object] | None) -> Outcome:
    """Carry out one action; what it fails with is its outcome."""
    doing = carry_out(action)
    try:
        deed = next(doing)
        while True:
            if on_doing is not None:
                on_doing(action, deed.doing)
            try:
                reply = await client.request(deed.request)
            except NetdaemonError as error:
                deed = doing.throw(error)
            else:
                deed = doing.send(reply)
    except StopIteration as end:
        return Outcome(action=action, record=end.value)
    except NetdaemonError as error:
        return Outcome(action=action, record=action.record, error=error)
