"""One process from its start until it is forgotten, whoever is killed meanwhile; and all that must be so of it then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from netdaemon.defaults import JOURNAL_SUFFIX
from netdaemon.errors import ConversationAborted, NoSuchProcess, Refusal
from netdaemon.process.trees import leftovers, mark_of
from netdaemon.wire.answers import Started, Stopped
from netdaemon.wire.commands import List, Remove, Request, Start, Stop
from netdaemon.wire.records import Pty, State
from netdaemon.wire.told import Happening, ProcessRecord
from tests.faults.wire import PATIENCE, Wire, eventually
from tests.support import LONG, keeper_pid
from tests.survive import keeper_points, life_points, living
from tests.survive.watcher import Watcher, in_order, numbers, recorded, told
from tests.survive.world import TWISTD, World, marked

RUNNER = life_points.__file__
ROOT = str(Path(__file__).parents[2])


class Worlds:
    """One world for each kind, and another one after a failure."""

    def __init__(self) -> None:
        self._worlds: dict[bool, tuple[World, Watcher]] = {}

    def now(self, *, state: bool) -> tuple[World, Watcher]:
        if state not in self._worlds:
            made = World(*(("--state=DIR/state",) if state else ()))
            (made.directory / "points").mkdir()
            # The runner has points in common with the keeper's.
            made.environment["PYTHONPATH"] = ROOT
            made.program = [sys.executable, RUNNER, str(made.directory / "points"), TWISTD]
            made.start()
            made.ready()
            self._worlds[state] = made, Watcher(made.path)
        return self._worlds[state]

    def close(self, *, sound: bool) -> None:
        while self._worlds:
            _, (world, watcher) = self._worlds.popitem()
            try:
                if sound:
                    watcher.leave()
            finally:
                world.close(sound=sound)


class Asking(threading.Thread):
    """Somebody who asks until there is an answer: after each loss on a new connection."""

    def __init__(self, path: str, request: Request) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._request = request
        self._answer: Any = None
        self.start()

    def run(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                wire = Wire(self._path)
                try:
                    self._answer = wire.ask(self._request)
                    return
                finally:
                    wire.close()
            except (OSError, EOFError, ConversationAborted):
                time.sleep(0.01)

    def answer(self) -> Any:
        """What it was told at last."""
        self.join()
        assert self._answer is not None, f"{self._request} was never answered"
        return self._answer


class Round:
    """One process, from its start until it is forgotten, and the points at which somebody is killed meanwhile."""

    def __init__(self, world: World, watcher: Watcher, points: tuple[str, ...], *, pty: bool) -> None:
        self.world = world
        self.watcher = watcher
        self.points = points
        self.pty = pty
        self.id = self.name = ""
        self._flags = world.directory / "points"
        state = world.directory / "state"
        self.database = str(state / "processes.db") if state.exists() else world.path + JOURNAL_SUFFIX

    # --- what is done ------------------------------------------------------------------------------------------------

    def start(self, *words: str, program: str | None = None, wait: bool = True, **declared: Any) -> None:
        """Start a process."""
        self.world._count += 1
        self.name = f"p{self.world._count}"
        where = (str(self.world.directory), self.name, self.world.marker, *words)
        start = Start(
            argv=(program or sys.executable, *(() if program else ("-I", "-S", living.__file__)), *where),
            env=(),
            name=self.name,
            key=self.name,
            pty=Pty(rows=24, columns=80) if self.pty else None,
            **declared,
        )
        self._starting = self.ask(start)
        if wait:
            self.found()
            eventually(lambda: self.acts()[1, "start"])

    def found(self) -> None:
        """Know what has come of the START."""
        started = self._starting.answer()
        assert isinstance(started, Started), started
        self.id = started.process.id

    def ask(self, request: Request) -> Asking:
        """Have somebody ask."""
        return Asking(self.world.path, request)

    def have_exit(self) -> None:
        """Have the process exit by itself."""
        (self.world.directory / f"{self.name}.exit").touch()

    def arm(self) -> None:
        """From here on whoever comes to the first of the points is killed."""
        self._keeper = keeper_pid(self.world.path)
        self._arm(0)

    def _arm(self, number: int) -> None:
        for point in self.points[number : number + 1]:
            (self._flags / point).touch()

    def survive(self) -> None:
        """Have it die at all the points, one after the other, and the next one start each time."""
        for number, point in enumerate(self.points, 1):
            if point in keeper_points.POINTS:
                eventually(lambda: not self._left())
                self.world.successor(self._keeper or -1)
                self._handed_over()
            else:
                try:
                    code = self.world.process.wait(PATIENCE / 2)
                except Exception:
                    raise AssertionError(f"not come to: {self._left()}; {told(self.watcher.of(self.id))}") from None
                assert code == -9, self.world.told()[-4000:]
                self._arm(number)
                self.world.start()
        self.world.ready()
        assert not self._left()
        if LONG:
            # What the one knows now is what the other knew.
            self.world.successor(self.world.kill_keeper())
            self._handed_over()
            self.world.kill()
            self.world.start()
            self.world.ready()

    def _handed_over(self) -> None:
        """Each keeper was handed everything at the first attempt."""
        assert "there is no other" not in self.world.told(), self.world.told()[-4000:]

    def _left(self) -> list[str]:
        return [file.name for file in self._flags.iterdir() if not file.name.endswith(".py")]

    def disarm(self) -> None:
        """After a failure."""
        for name in self._left():
            (self._flags / name).unlink(missing_ok=True)

    # --- what has come of it -----------------------------------------------------------------------------------------

    def acts(self) -> Counter[tuple[int, str]]:
        """What the process has written down, by generation."""
        file = self.world.directory / f"{self.name}.acts"
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter((int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines)

    def record(self) -> ProcessRecord | None:
        """Its record, as a LIST tells it."""
        listed = [one for one in self.world.ask(List()).processes if one.id == self.id]
        return listed[0] if listed else None

    def alive(self) -> list[int]:
        """All that live of it, as the kernel has them."""
        ours = f"\0{self.name}\0{self.world.marker}".encode()
        found = []
        for pid in marked(self.world.marker):
            with contextlib.suppress(OSError):
                if ours in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def runs(self, generation: int) -> None:
        """Wait until that generation runs, and compare: it is the only one, and was started once."""

        def there() -> bool:
            record = self.record()
            assert record is not None
            return record.state is State.RUNNING and bool(self.acts()[generation, "start"])

        eventually(there)
        record = self.record()
        assert record is not None
        assert self.alive() == [record.pid], told(self.watcher.of(self.id))
        self.is_true()

    def is_true(self) -> None:
        """The record in the journal is that of LIST."""

        def same() -> bool:
            listed, found = self.record(), recorded(self.database, self.id)
            return (listed and (listed.state, listed.generation, listed.pid, listed.code, listed.signal)) == (
                found and (found.state, found.generation, found.pid, found.code, found.signal)
            )

        try:
            eventually(same, 10)
        except AssertionError:
            raise AssertionError(
                f"LIST tells {self.record()}\nand the journal {recorded(self.database, self.id)}"
            ) from None

    def stopped(self, generation: int, works: str) -> None:
        """It was stopped in that generation: each step was taken once."""
        acts = self.acts()
        assert acts[generation, "line"] == 1, (acts, told(self.watcher.of(self.id)))
        # What was noted and not sent is not sent by the next daemon, which cannot know.
        noted_only = "after a step was noted: signal" in self.points and generation == 1
        sent = 0 if works == "stdin" or noted_only else 1
        assert acts[generation, "TERM"] == sent, (acts, told(self.watcher.of(self.id)))

    def finish(self, works: str = "stdin") -> None:
        """Stop it, if it runs, and forget it: nothing is left of it but its events, all of them, each once."""
        record = self.record()
        if record is not None:
            if record.state not in (State.EXITED, State.FAILED):
                answer = self.ask(Stop(process=self.id)).answer()
                assert isinstance(answer, Stopped), answer
                if not answer.already:
                    self.stopped(max(generation for generation, _ in self.acts()), works)
            self.is_true()
            answer = self.ask(Remove(process=self.id)).answer()
            assert isinstance(answer, NoSuchProcess) or not isinstance(answer, Refusal), answer
        self.forgotten()

    def forgotten(self) -> None:
        """Nothing is left of it but its events."""
        events = self.watcher.until(self.id, Happening.REMOVED)
        order = in_order(events)
        acts = self.acts()
        assert not any(act == "twice" for _, act in acts), acts
        starts = {generation: count for (generation, act), count in acts.items() if act == "start"}
        assert starts == dict.fromkeys(range(1, order.starts + 1), 1), (starts, told(events))
        assert sum(count for (_, act), count in acts.items() if act == "line") <= order.stops
        number, count = numbers(self.database, self.id)
        assert number == count == len(events), f"{number} was the last of {count}, told were {len(events)}"
        again = [event for event in self.watcher.all_again() if event.process.id == self.id]
        assert again == events
        assert not leftovers(mark_of(self.id))
        assert self.record() is None
        assert recorded(self.database, self.id) is None
