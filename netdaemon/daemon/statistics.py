"""What processes and all that descends from them use, looked at only while somebody wants to know; knows no peers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from netdaemon.process.trees import Known, Root, scanning
from netdaemon.wire.told import Stats

if TYPE_CHECKING:
    import psutil

    from netdaemon.daemon.usage import Use

# How many processes are measured in one turn of the reactor: each takes a tenth of a millisecond.
SLICE = 48

# Seconds: the kernel counts processor time in hundredths, so that over less than this a percentage says nothing, and
# the one before is told again.
LEAST = 0.1

_TICKS = os.sysconf("SC_CLK_TCK")

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Point:
    """Up to when (in the reactor's seconds) a tree has used how much processor time, in milliseconds."""

    at: float
    used: float


@dataclass(slots=True)
class _Tree:
    """One process and all that descends from it, as it was last looked at.

    :ivar used: the processor time that was seen to be used; unlike the sum of what there is it never falls, as that
        does when somebody exits whom nobody in the tree has waited for.
    """

    stats: Stats
    point: _Point
    total: float


class Watcher:
    """Somebody who wants to know, until `cancel`."""

    def __init__(
        self,
        told: Callable[[dict[str, Stats]], None],
        ids: Callable[[], Collection[str]] | None,
        interval: float,
        over: Callable[[], None],
    ) -> None:
        self.told = told
        self.ids = ids
        self.interval = interval
        self.due = 0.0
        # By process: up to where it has been told.
        self.points: dict[str, _Point] = {}
        self.active = True
        self._over = over

    def cancel(self) -> None:
        """Want to know no more; again, it does nothing."""
        if self.active:
            self.active = False
            self._over()


class Statistics:
    """Looks at processes.

    :param reactor: `IReactorTime`.
    :param roots: the processes that there are by their ids, with the child of each.
    :param spared: the pids of whoever is never to be counted: the keeper's.
    """

    def __init__(
        self,
        reactor: Any,
        roots: Callable[[], Mapping[str, Root]],
        spared: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._reactor = reactor
        self._roots = roots
        self._spared = spared
        self._watchers: list[Watcher] = []
        self._trees: dict[str, _Tree] = {}
        self._known: Known = {}
        # What the last look has found, to be asked again: by pid, with the time of the start.
        self._processes: dict[int, tuple[int, psutil.Process]] = {}
        self._next: Any = None
        self._pass: Iterator[None] | None = None
        self._failing = False
        self._not_before = 0.0

    def look(self, ids: Collection[str]) -> dict[str, Stats]:
        """What these use now; who is not there is left out.

        The percentage is since anybody has looked at them, or since their starts.

        It takes as long as it takes: a hundredth of a second for 1,000 processes on the machine, and a tenth of a
        millisecond for each that belongs to one of these.

        :raises OSError: there is no descriptor left to look with.
        """
        for _ in self._looking(ids):
            pass
        if not self._watchers:
            self._forget()
        return {id: self._trees[id].stats for id in ids if id in self._trees}

    def watch(
        self,
        interval: int,
        told: Callable[[dict[str, Stats]], None],
        ids: Callable[[], Collection[str]] | None = None,
    ) -> Watcher:
        """Call *told* with what processes use, as soon as that is known and then every so many milliseconds.

        All watchers share the looks. The percentage is since this one was told before; the first time, since anybody
        has looked, or since the start.

        :param ids: which are wanted, asked each time; None: all.
        """
        watcher = Watcher(told, ids, interval / 1000, self._schedule)
        watcher.due = self._reactor.seconds()
        self._watchers.append(watcher)
        self._schedule()
        return watcher

    def close(self) -> None:
        """Look no more."""
        self._watchers.clear()
        self._pass = None
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _forget(self) -> None:
        """What is remembered to make the next look cheaper: nobody wants to know when that will be."""
        self._known.clear()
        self._processes.clear()

    # --- the tick ----------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Look when the first of them is to be told."""
        self._watchers = [one for one in self._watchers if one.active]
        if self._pass is not None:
            return
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        if not self._watchers:
            self._forget()
            return
        due = max(self._not_before, min(one.due for one in self._watchers))
        self._next = self._reactor.callLater(max(0, due - self._reactor.seconds()), self._begin)

    def _begin(self) -> None:
        began = self._reactor.seconds()
        # Whoever is to be told soon after is told now, too: one look for both.
        least = min(one.interval for one in self._watchers)
        due = [one for one in self._watchers if one.due <= began + least / 2]
        self._pass = self._ticking(due, began)
        self._go_on()

    def _go_on(self) -> None:
        """The next slice."""
        if self._pass is None:
            return
        try:
            next(self._pass)
        except StopIteration:
            return
        self._next = self._reactor.callLater(0, self._go_on)

    def _ticking(self, due: list[Watcher], began: float) -> Iterator[None]:
        asked = [None if one.ids is None else one.ids() for one in due]
        wanted = None if None in asked else {id for ids in asked if ids is not None for id in ids}
        before = {id: tree.point for id, tree in self._trees.items()}
        try:
            yield from self._looking(wanted)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.error("what processes use cannot be seen at the moment: {error}", error=error)
            self._failing = True
            due, rest = [], due
            for one in rest:
                one.due = began + one.interval
        for one in due:
            one.due = began + one.interval
            if one.active:
                self._tell(one, before)
        self._pass = None
        # Looking is not all that there is to do: at least half of the time is for the rest.
        now = self._reactor.seconds()
        self._not_before = now + (now - began)
        self._schedule()

    def _tell(self, one: Watcher, before: Mapping[str, _Point]) -> None:
        trees = self._trees if one.ids is None else {id: self._trees[id] for id in one.ids() if id in self._trees}
        told: dict[str, Stats] = {}
        points: dict[str, _Point] = {}
        for id, tree in trees.items():
            since = one.points.get(id) or before.get(id)
            points[id] = tree.point
            told[id] = _with_percent(tree.stats, since or tree.point, tree.point)
        one.points = points
        try:
            one.told(told)
        except Exception:
            _log.failure("what processes use could not be told")

    # --- the look ----------------------------------------------------------------------------------------------------

    def _looking(self, wanted: Collection[str] | None) -> Generator[None, None, None]:
        """Look at these processes, or at all, in slices."""
        roots = dict(self._roots())
        for gone in self._trees.keys() - roots.keys():
            del self._trees[gone]
        found = yield from scanning(roots, self._spared(), self._known)
        here = {pid: since for tree in found.values() for pid, since in tree.items()}
        for pid in self._processes.keys() - here.keys():
            self._processes.pop(pid, None)
        count = 0
        for id, tree in found.items():
            if wanted is not None and id not in wanted:
                continue
            uses: list[Use] = []
            for pid, since in tree.items():
                use = self._use(pid, since)
                if use is not None:
                    uses.append(use)
                count += 1
                if not count % SLICE:
                    yield
            self._note(id, uses, min(tree.values(), default=None))

    def _use(self, pid: int, since: int) -> Use | None:
        """What one process uses; None if it has exited."""
        # Loaded when somebody wants to know, and not at each start of a daemon.
        from netdaemon.daemon import usage

        started, process = self._processes.get(pid, (-1, None))
        if process is None or started != since:
            process = usage.process_of(pid)
        use = None if process is None else usage.use_of(process)
        if process is None or use is None:
            self._processes.pop(pid, None)
        else:
            self._processes[pid] = since, process
        return use

    def _note(self, id: str, uses: list[Use], since: int | None) -> None:
        now = self._reactor.seconds()
        total = sum(one.cpu for one in uses)
        last = self._trees.get(id)
        if last is None:
            age = 0.0 if since is None else time.clock_gettime(time.CLOCK_BOOTTIME) - since / _TICKS
            before, used = _Point(now - max(age, 0), 0.0), total
        else:
            before, used = last.point, last.point.used + max(0.0, total - last.total)
        stats = Stats(
            time=time.time_ns() // 1000,
            processes=len(uses),
            cpu=round(total),
            percent=0 if last is None else last.stats.percent,
            memory=sum(one.memory for one in uses),
            threads=sum(one.threads for one in uses),
            descriptors=sum(one.descriptors for one in uses),
            read=sum(one.read for one in uses),
            written=sum(one.written for one in uses),
        )
        if last is not None and now - before.at < LEAST:
            self._trees[id] = _Tree(stats, before, last.total)
        else:
            point = _Point(now, used)
            self._trees[id] = _Tree(_with_percent(stats, before, point), point, total)


def _with_percent(stats: Stats, since: _Point, until: _Point) -> Stats:
    """With the percentage between the two; where they are as good as one, with that which is there."""
    if until.at - since.at < LEAST:
        return stats
    # A millisecond in a second is ten hundredths of a percent.
    return replace(stats, percent=round(10 * (until.used - since.used) / (until.at - since.at)))
