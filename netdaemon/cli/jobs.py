"""Several things asked of a daemon at the same time, each a request or a few in a row; knows no command."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from netdaemon.cli.choosing import Chosen
from netdaemon.cli.failure import FAILED, GAVE_UP, Failure, explain
from netdaemon.cli.progress import Progress
from netdaemon.errors import ConnectionClosed, NetdaemonError, TimedOut
from netdaemon.wire.answers import Happened
from netdaemon.wire.commands import Request, Watch

if TYPE_CHECKING:
    from netdaemon.blocking import Client
    from netdaemon.blocking.pending import Pending
    from netdaemon.cli.waiting import WaitingClient

# Seconds for which what happened may still come when the answer is there: it is told once it is in the journal.
SETTLES = 0.05

# Yields requests, gets their answers, or their refusals raised; returns the last answer.
Asking = Generator[Request, Any, Any]


class Job:
    """What is asked about one process.

    :ivar answer: what *asking* has returned, or the error that ended it; None until then.
    :ivar seconds: how long it took.
    """

    def __init__(self, client: Client, chosen: Chosen, asking: Asking) -> None:
        self.chosen = chosen
        self.answer: Any = None
        self.seconds = 0.0
        self._client = client
        self._asking = asking
        self._pending: Pending | None = None
        self._began = monotonic()
        self._go(None)

    def look(self) -> None:
        """Go on, if there is an answer."""
        while self.answer is None and self._pending is not None and self._pending.answer is not None:
            self._go(self._pending.answer)

    def _go(self, answer: Any) -> None:
        try:
            if isinstance(answer, NetdaemonError):
                request = self._asking.throw(answer)
            else:
                request = next(self._asking) if answer is None else self._asking.send(answer)
            self._pending = self._client.submit(request)
        except StopIteration as end:
            self._over(end.value)
        except NetdaemonError as error:
            self._over(error)

    def _over(self, answer: Any) -> None:
        self.answer = answer
        self.seconds = monotonic() - self._began

    def settled(self, progress: Progress) -> bool:
        """Whether all that is told line by line has come, once there is an answer."""
        return not progress.verbose or monotonic() - self._began >= self.seconds + SETTLES


class Events:
    """What happens to some processes meanwhile, in words.

    :param doing: the words for an event; None: nobody is told, and nothing is asked.
    """

    def __init__(
        self, client: Client, targets: Sequence[Chosen], doing: Callable[[Happened], str | None] | None
    ) -> None:
        self._called = {one.id: one.called for one in targets}
        self._doing = doing
        self._pending: Pending | None = None
        if doing is not None:
            select = (f"id={targets[0].id}",) if len(targets) == 1 else None
            self._pending = client.submit(Watch(select=select))

    def take(self) -> Iterator[str]:
        """What has happened, and to whom. If the daemon does not tell, nothing has."""
        watch = None if self._pending is None else self._pending.watch
        while watch is not None and self._doing is not None and (event := watch.take()) is not None:
            called = self._called.get(event.process.id)
            words = None if event.snapshot or called is None else self._doing(event)
            if words is not None:
                yield f"{called}: {words}"


def carry_out(
    client: WaitingClient,
    targets: Sequence[Chosen],
    asking: Callable[[Chosen], Asking],
    *,
    progress: Progress,
    doing: Callable[[Happened], str | None] | None,
    done: Callable[[Job], None],
    timeout: float | None,
    not_yet: str,
    as_json: bool,
) -> int:
    """Ask about all of *targets* at the same time, and come back when all is answered or *timeout* is over.

    :param doing: what an event says of what is going on, in words; None: events are of no interest.
    :param done: called with each job that came to a good end, in the order in which they did.
    :param not_yet: what is told of those that have not when it is given up, as ``has not stopped``.
    :return: the exit code; failures have been told.
    """
    client.say = progress.note
    events = Events(client, targets, doing if progress.told else None)
    open_ = [Job(client, one, asking(one)) for one in targets]
    deadline = None if timeout is None else monotonic() + timeout
    code = 0
    while True:
        for text in events.take():
            progress.say(text)
        for job in open_:
            job.look()
        over = [job for job in open_ if job.answer is not None and job.settled(progress)]
        open_ = [job for job in open_ if job not in over]
        for job in over:
            progress.clear()
            if isinstance(job.answer, NetdaemonError):
                explain(_lost(client, job.answer)).tell(as_json=as_json)
                code = code or FAILED
            else:
                done(job)
        if not open_:
            return code
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            break
        _pump(client, left, progress)
    progress.clear()
    for job in open_:
        late = TimedOut(f"{job.chosen.called} {not_yet} after {timeout:g} s")
        Failure(str(late), code=GAVE_UP, error=late).tell(as_json=as_json)
    return GAVE_UP


def _pump(client: Client, left: float | None, progress: Progress) -> None:
    waits = [one for one in (left, progress.tick, SETTLES if progress.verbose else None) if one is not None]
    try:
        if not client.pump(min(waits, default=None)):
            progress.again()
    except NetdaemonError:
        # It is over for good: each of the jobs has been told.
        progress.clear()


def _lost(client: Client, error: NetdaemonError) -> NetdaemonError:
    """The loss of the daemon is everybody's, and told once."""
    if isinstance(error, ConnectionClosed) and client.lost is not None:
        raise client.lost
    return error
