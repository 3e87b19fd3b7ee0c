"""Runs a daemon that kills itself at chosen points of stops, restarts, and of what is recorded of them; each once.

As `tests.survive.points`, whose points it has, too. What is done for any of several things has its word in the name of
its points: those of a step what kind of step it is, those of an event the event's type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netdaemon.daemon import database
from netdaemon.daemon.chronicle import Chronicle
from netdaemon.daemon.database import Database
from netdaemon.daemon.feed import Feed
from netdaemon.daemon.journal import Journal
from netdaemon.daemon.table import ProcessTable
from netdaemon.logs import files
from netdaemon.logs.writer import LogFile
from netdaemon.process.kept import KeptLauncher
from netdaemon.process.lifecycle import Lifecycle
from netdaemon.process.record import Process
from netdaemon.process.stopping import Stopping
from netdaemon.wire.records import State
from netdaemon.wire.specs import Step
from tests.survive import points
from tests.survive.keeper_points import around, die, later

# By the method around which they are.
AROUND: tuple[tuple[Any, str, str, str], ...] = (
    (Process, "type", "", "after a step was taken: stdin"),
    (Process, "signal", "", "after a step was taken: signal"),
    (Process, "kill_all", "before all is killed", "after all was killed"),
    (Stopping, "_waited", "after a step was taken: wait", ""),
    (Stopping, "_over", "before a stop is given up", ""),
    (Lifecycle, "settled", "before an exit is settled", "after an exit was settled"),
    (KeptLauncher, "kill_leftovers", "before leftovers are killed", "after leftovers were killed"),
    (KeptLauncher, "_share_first", "before its socket is shared", "after its socket was shared"),
    (Lifecycle, "_start", "when a backoff is over", ""),
    (Lifecycle, "_is_ready", "before it is seen to be ready", ""),
    (Process, "disown", "before a removal is saved", "after a removal was told"),
    (ProcessTable, "_let_go", "before one is forgotten", "after one was forgotten"),
    (Feed, "happened", "", "after events were told"),
    (LogFile, "_wrote", "after a log was written, not saved", "after a log was written and saved"),
    (files, "set_aside", "before a log is set aside", "after a log was set aside"),
    (Lifecycle, "resume", "adoption: before it is gone on with", "adoption: after it was gone on with"),
    (Process, "tell_again", "adoption: before it is told again", "adoption: after it was told again"),
    (ProcessTable, "launch_adopted", "adoption: before a launch is begun", "adoption: after a launch was begun"),
    (Chronicle, "_gone", "adoption: before a removal is told", "adoption: after a removal was told"),
    (ProcessTable, "revive", "adoption: before a lost one is revived", "adoption: after a lost one was revived"),
)


def step_points(kind: str) -> tuple[str, ...]:
    """All those of a step of that kind."""
    noted = f"before a step is noted: {kind}", f"after a step was noted: {kind}"
    return (*noted, "after all was killed" if kind == "kill" else f"after a step was taken: {kind}")


def event_points(type: str) -> tuple[str, ...]:
    """All those of an event of that type."""
    return (
        f"before it is saved: {type}",
        f"after it was saved, not appended: {type}",
        f"after it was appended, not committed: {type}",
        f"in the middle of its commit: {type}",
        f"after it was committed, not told: {type}",
        f"after it was committed and told: {type}",
        f"after its process was told: {type}",
    )


# Those of what comes between two generations. Of these, some are not come to by both ways of a start.
BETWEEN = (
    "when a backoff is over",
    "before the next generation is saved",
    "after the next generation was saved",
    "before the next generation is asked for",
    "after the next generation was asked for",
    "before the next generation is known",
    "before the last generation is forgotten",
    "after the last generation was forgotten",
)


def arm(directory: str) -> None:
    """Have all points in this program."""
    points.arm(directory)
    for owner, name, before, after in AROUND:
        setattr(owner, name, around(directory, getattr(owner, name), before, after))
    _arm_steps(directory)
    _arm_events(directory)
    _arm_generations(directory)


def _arm_steps(directory: str) -> None:
    tell = Stopping._tell

    def noted(self: Stopping, step: Step, **options: Any) -> None:
        kind = next(name for name in ("stdin", "wait", "signal", "kill") if getattr(step, name))
        die(directory, f"before a step is noted: {kind}")
        tell(self, step, **options)
        die(directory, f"after a step was noted: {kind}")

    Stopping._tell = noted  # type: ignore[method-assign]


def _arm_events(directory: str) -> None:
    save, append, commit, put = Process.save, Chronicle._told, Database.commit, database._row
    committed, journalled = Journal._has_committed, ProcessTable.journalled
    committing: set[str] = set()

    def saved(self: Process) -> bool:
        for told in self.events._fresh:
            die(directory, f"before it is saved: {told.type.value}")
        return save(self)

    def appended(self: Chronicle, process: Process, told: Any) -> None:
        die(directory, f"after it was saved, not appended: {told.type.value}")
        append(self, process, told)
        die(directory, f"after it was appended, not committed: {told.type.value}")

    def committed_in_thread(self: Database, entries: Any) -> Any:
        committing.update(entry.event.type.value for entry in entries)
        happened = commit(self, entries)
        for type in committing:
            die(directory, f"after it was committed, not told: {type}")
        return happened

    def row(*arguments: Any) -> Any:
        for type in committing:
            die(directory, f"in the middle of its commit: {type}")
        return put(*arguments)

    def has_committed(self: Journal, batch: Any, happened: Any) -> None:
        committed(self, batch, happened)
        for type in committing:
            die(directory, f"after its process was told: {type}")
        committing.clear()

    def process_told(self: ProcessTable, id: str, number: int) -> None:
        for type in committing:
            die(directory, f"after it was committed and told: {type}")
        journalled(self, id, number)

    Process.save = saved  # type: ignore[method-assign]
    Chronicle._told = appended  # type: ignore[method-assign]
    Database.commit = committed_in_thread  # type: ignore[method-assign]
    database._row = row
    Journal._has_committed = has_committed  # type: ignore[method-assign]
    ProcessTable.journalled = process_told  # type: ignore[method-assign]


def _arm_generations(directory: str) -> None:
    save, post, known, failed = Process.save, KeptLauncher._post, ProcessTable._launched, ProcessTable._launch_failed
    forget = KeptLauncher.forget
    launching = False

    def between(call: Callable[..., Any], what: Callable[..., bool], before: str, after: str) -> Callable[..., Any]:
        """*call*, with points where *what* says so."""

        def called(*arguments: Any, **options: Any) -> Any:
            wanted = what(*arguments)
            if wanted:
                die(directory, before)
            outcome = call(*arguments, **options)
            if wanted:
                die(directory, after)
            return outcome

        return called

    def is_next(process: Process) -> bool:
        return process.generation > 1 and process.state is State.STARTING and process.current.started is None

    def is_asked(launcher: KeptLauncher, word: bytes, *fields: bytes) -> bool:
        return word in (b"launch", b"spawn") and b"-" in fields[0]

    def launched(self: ProcessTable, *arguments: Any) -> Any:
        nonlocal launching
        if arguments[1].generation > 1:
            launching = True
            die(directory, "before the next generation is known")
        outcome = known(self, *arguments)
        launching = False
        return outcome

    def launch_failed(self: ProcessTable, failure: Any, process: Process) -> Any:
        die(directory, "before a failed launch is known")
        return failed(self, failure, process)

    Process.save = between(  # type: ignore[method-assign]
        save, is_next, "before the next generation is saved", "after the next generation was saved"
    )
    KeptLauncher._post = between(  # type: ignore[method-assign]
        post, is_asked, "before the next generation is asked for", "after the next generation was asked for"
    )
    KeptLauncher.forget = between(  # type: ignore[method-assign]
        forget,
        lambda *_: launching,
        "before the last generation is forgotten",
        "after the last generation was forgotten",
    )
    ProcessTable._launched = launched  # type: ignore[method-assign]
    ProcessTable._launch_failed = launch_failed  # type: ignore[method-assign]
    ProcessTable.remove = later(directory, ProcessTable.remove, "in the middle of a prune")  # type: ignore[method-assign]


if __name__ == "__main__":
    points.run(arm)
