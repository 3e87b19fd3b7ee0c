"""The processes of one daemon: start, find, select, remove, retain, stop; knows no clients."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netdaemon.daemon.ending import Ending
from netdaemon.daemon.files import Files
from netdaemon.daemon.leftovers import Leftovers
from netdaemon.daemon.notifying import NotifyFolder
from netdaemon.daemon.settings import Settings
from netdaemon.daemon.starting import Starter, allow, changed, identity_for, new_id, spec_of
from netdaemon.errors import (
    LaunchFailed,
    LimitReached,
    NameTaken,
    NoSuchProcess,
    ShuttingDown,
    SpecDiffers,
)
from netdaemon.interfaces import ILauncher
from netdaemon.keeper.child import INPUT, Launched, LaunchError
from netdaemon.policy.judged import tenant_of
from netdaemon.process import sandbox
from netdaemon.process.coming_back import lost
from netdaemon.process.identity import Identity
from netdaemon.process.launches import launch_id
from netdaemon.process.notify import ROLE, NotifySocket
from netdaemon.process.record import Process
from netdaemon.process.saved import Saved, Told
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.wire.answers import WINDOW
from netdaemon.wire.commands import Change, Start
from netdaemon.wire.digest import digest
from netdaemon.wire.told import Happening

# What a process is taken to have written that nobody has seen: where it ran when the machine was restarted, its output
# was known up to its last event. As much as could have been kept.
SKIPPED = 1 << 32

_log = Logger()


class ProcessTable:
    """All processes, in the order in which they were created.

    :param reactor: `IReactorTime` and `IReactorFDSet`.
    """

    def __init__(self, reactor: Any, launcher: ILauncher, settings: Settings, files: Files) -> None:
        self._reactor = reactor
        self._launcher = launcher
        self._settings = settings
        self._files = files
        self._processes: dict[str, Process] = {}
        # The same in a row, replaced when one comes or goes; None: not yet made.
        self._row: list[Process] | None = None
        self._names: dict[str, Process] = {}
        self._keys: dict[tuple[str | None, str], Process] = {}
        # Those whose program is not yet being executed, and who waits for that.
        self._starting: dict[str, list[Deferred[Process]]] = {}
        self._exited: OrderedDict[str, Process] = OrderedDict()
        self._closing = False
        self._ending = Ending(reactor, launcher, settings.grace)
        self._created = 0
        self._retaining: Any = None
        # Those whose exit has not been told on.
        self._fresh: list[Process] = []
        # Those that are to be let go when the journal has what they have told; and the ids of those removed.
        self._leaving: dict[str, Process] = {}
        self.gone: set[str] = set()
        # Those that another daemon was removing: the number that the journal has to have, and what lets them go then.
        self._removals: dict[str, tuple[int, Callable[[], None]]] = {}
        # Whether there may be some in the database only.
        self.archives = False
        self.leftovers = Leftovers(reactor, launcher)
        self._notify = NotifyFolder(settings.runtime)
        # By which generation's name the launcher has what is kept of a process.
        self._kept: dict[str, str] = {}
        self.on_event: Callable[[Process, Told], None] = lambda process, told: None
        self.on_logged: Callable[[Process], None] = lambda process: None
        self.on_gone: Callable[[Saved], None] = lambda saved: None
        self.on_removed: Callable[[Process], None] = lambda process: None
        self.on_exited: Callable[[Process], None] = lambda process: None

    def __len__(self) -> int:
        return len(self._processes)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    @property
    def running(self) -> int:
        """How many have not exited."""
        return len(self._processes) - len(self._exited)

    @property
    def exited(self) -> int:
        """How many finished ones are listed."""
        return len(self._exited)

    # --- start -------------------------------------------------------------------------------------------------------

    def start(self, request: Start, starter: Starter, *, passing: bool = False) -> Deferred[Process]:
        """Run what *request* asks for.

        :param starter: is asked about what will be executed before there is anything of it.
        :param passing: it is to be removed when it has exited and nobody is attached.
        :return: fires with the process once its program is being executed; cancelling it stops the waiting only.
        :raises Refusal: (also as errback) there is no process.
        """
        identity = self._identity(request, starter)
        starter.check(identity)
        known = self.by_key(request.key, starter.tenant)
        if known is not None:
            return self._started_before(known, request)
        if self._closing:
            raise ShuttingDown("the daemon is stopping and starts nothing")
        if request.name is not None:
            self._check_name(request.name)
        self.check_room()
        sandbox.check(identity)
        process = self._create(identity, request.keep, passing)
        try:
            launching = self._launch(process)
        except BaseException:
            self._drop(process)
            raise
        # Another Deferred for the caller: one who does not wait any more must not keep the child from its process.
        started: Deferred[Process] = Deferred()
        self._starting[process.id] = [started]
        self._see_to(launching, process)
        return started

    def check_room(self) -> None:
        """Refuse one more that runs than there may be.

        :raises LimitReached: there are so many.
        """
        if self.running >= self._settings.max_processes:
            raise LimitReached(
                f"{self.running} processes run, and that is the daemon's limit; "
                "end one, or raise --processes and the daemon's descriptor limit"
            )

    def _launch(self, process: Process) -> Deferred[Any]:
        """Have its present generation launched."""
        identity, run = process.identity, process.current
        self._kept.setdefault(process.id, run.launch_id)
        said: list[str] = []
        if identity.notifies:
            try:
                said = self._listen_to(process)
            except OSError as error:
                return fail(LaunchError("notify", error.errno or 0))
        shared = None if process.notify is None else {ROLE: process.notify.fileno()}
        return self._launcher.launch(run.launch_id, spec_of(identity, said), process.spool.descriptor, shared)

    def _listen_to(self, process: Process) -> list[str]:
        """Give it a socket to say something on; what its environment says of that."""
        account = process.identity.account
        path, descriptor = self._notify.bind(process.id, None if account is None else account.uid)
        process.notify = NotifySocket(self._reactor, descriptor, process.life.heard)
        said = [f"NOTIFY_SOCKET={path}"]
        if process.identity.watchdog is not None:
            said.append(f"WATCHDOG_USEC={process.identity.watchdog * 1000}")
        return said

    def _see_to(self, launching: Deferred[Any], process: Process) -> None:
        launching.addCallbacks(self._launched, self._launch_failed, callbackArgs=(process,), errbackArgs=(process,))
        launching.addBoth(self._tell_started, process)

    def _check_name(self, name: str, owner: Process | None = None) -> None:
        taken = self._names.get(name) or self._processes.get(name)
        if taken is not None and taken is not owner:
            raise NameTaken(f"the name {name!r} belongs to process {taken.id}", process=taken.id, field="name")

    def _started_before(self, known: Process, request: Start) -> Deferred[Process]:
        """A key that was used before: its process, once its START is known to have worked or not."""
        if known.identity.digest != digest(request):
            raise SpecDiffers(
                f"the key {request.key!r} is that of process {known.id}, and that was started from something else",
                process=known.id,
                field="key",
            )
        waiting = self._starting.get(known.id)
        if waiting is None or known.generation > 1:
            return succeed(known)
        started: Deferred[Process] = Deferred()
        waiting.append(started)
        return started

    def _tell_started(self, outcome: Process | Failure, process: Process) -> None:
        for started in self._starting.pop(process.id):
            if isinstance(outcome, Failure):
                started.errback(outcome)
            else:
                started.callback(outcome)

    def _identity(self, request: Start, starter: Starter) -> Identity:
        """What is asked for, with an id of its own; there is nothing of it yet."""
        # The order of a LIST and of its pages: a clock that is set back does not change it.
        self._created = max(self._created + 1, time.time_ns() // 1000)
        id = new_id()
        while id in self._processes or id in self._names:
            id = new_id()
        return identity_for(request, id, starter, self._created)

    def _create(self, identity: Identity, keep: int | None, passing: bool) -> Process:
        id = identity.id
        descriptor = -1
        try:
            descriptor = self._files.create(f"{id}.out")
            spool = Spool(descriptor, keep or self._settings.keep)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
                self._files.remove(f"{id}.out")
            raise LaunchFailed(
                f"no file for the output: {os.strerror(error.errno or 0)}", stage="spool", number=error.errno
            ) from error
        process = Process(identity, spool, self._stdin_of(id), self._reactor)
        process.passing = passing
        if not process.save():
            number = process.unsaved
            process.forget()
            process.let_go()
            self._files.remove(f"{id}.out")
            raise LaunchFailed(
                f"what the process is cannot be saved: {os.strerror(number)}", stage="spool", number=number
            )
        self._enter(process)
        return process

    def _stdin_of(self, id: str, base: int = 0) -> Stdin:
        """The input of the generation *id*, which begins at *base*; still without a file."""
        return Stdin(lambda: self._create_input(id), WINDOW, base)

    def stdin_of(self, saved: Saved) -> Stdin:
        """The input of a process that another daemon started."""
        return self._stdin_of(launch_id(saved.identity.id, saved.generation), saved.stdin_base)

    def _create_input(self, id: str) -> int:
        # A daemon that was killed before it had shared it may have left one; nothing was accepted into that.
        self._files.remove(f"{id}.in")
        descriptor = self._files.create(f"{id}.in")
        try:
            self._launcher.share(id, INPUT, descriptor)
        except BaseException:
            os.close(descriptor)
            self._files.remove(f"{id}.in")
            raise
        return descriptor

    def _enter(self, process: Process) -> None:
        process.on_exited = self._has_exited
        process.on_event = self._tell
        process.life.on_start = self._start_again
        process.life.on_room = self.check_room
        process.life.on_leftovers = self.leftovers.end
        identity = process.identity
        self._processes[process.id] = process
        self._row = None
        if identity.name is not None:
            self._names[identity.name] = process
        if identity.key is not None:
            # One that comes back out of the database may find that another was started with its key meanwhile.
            self._keys.setdefault((tenant_of(identity.labels), identity.key), process)
        if identity.log is not None:
            self.on_logged(process)

    def _tell(self, process: Process, told: Told) -> None:
        self.on_event(process, told)

    def adopt(self, process: Process, kept: str, launching: Deferred[Any] | None = None) -> None:
        """Have a process that another daemon started.

        :param kept: by which name the launcher has it.
        :param launching: its child, where that was only just being started.
        """
        self._created = max(self._created, process.identity.created)
        self._kept[process.id] = kept
        self._enter(process)
        # What it has told of and is not in the journal. What is, that knows.
        process.tell_again()
        if process.finished:
            self._exited[process.id] = process
            # Whether it is to stay is seen to as of one that has only just exited.
            self._fresh.append(process)
            self.retain()
        if launching is not None:
            self._starting[process.id] = []
            self._see_to(launching, process)

    def revive(self, saved: Saved, end: int, keep: int, number: int) -> Process:
        """Have a process that there is nothing left of but what is recorded, and start it again in a moment.

        :param end: its output has come at least so far.
        :param keep: how much of its output is kept.
        :param number: that of its last event.
        :raises NameTaken: another one has its name by now.
        :raises LaunchFailed: there is no room for its output.
        """
        identity = saved.identity
        if identity.name is not None:
            self._check_name(identity.name)
        descriptor = -1
        try:
            self._files.remove(f"{identity.id}.out")
            descriptor = self._files.create(f"{identity.id}.out")
            # Where it had come to is not known: an offset is never used again.
            spool = Spool(descriptor, keep, end + SKIPPED)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise LaunchFailed(
                f"no file for the output: {os.strerror(error.errno or 0)}", stage="spool", number=error.errno
            ) from error
        process = lost(saved, spool, self.stdin_of(saved), number, self._reactor)
        self._created = max(self._created, identity.created)
        self._enter(process)
        process.was_lost()
        return process

    def launch_adopted(self, process: Process, kept: str) -> None:
        """Have a process whose next generation another daemon was about to launch, and had not: launch it."""
        process.declared_anew()
        self.adopt(process, kept)
        self._starting[process.id] = []
        self._see_to(self._launch(process), process)

    def listen_anew(self, process: Process, kept: str) -> None:
        """Hear what a process will say whose program is not yet being executed, and whose socket went with a daemon.

        :param kept: by which name the launcher has it.
        """
        self._listen_to(process)
        assert process.notify is not None
        self._launcher.share(kept, ROLE, process.notify.fileno())

    def listen_again(self, process: Process, descriptor: int) -> None:
        """Hear what a process says that another daemon started."""
        process.notify = NotifySocket(self._reactor, descriptor, process.life.heard)

    def _launched(self, launched: Launched, process: Process) -> Process:
        before, self._kept[process.id] = self._kept[process.id], process.current.launch_id
        if before != process.current.launch_id:
            # What it had is the present generation's by now.
            self._launcher.forget(before)
            self._files.remove(f"{before}.in")
        process.run(self._launcher, launched)
        _log.info(
            "started {id} as pid {pid}: {program!r}", id=process.id, pid=launched.pid, program=process.identity.argv[0]
        )
        if self._closing:
            # It was asked for before the end was.
            self._ending.end(process)
        return process

    def _launch_failed(self, failure: Failure, process: Process) -> Process:
        if not failure.check(LaunchError):
            self._drop(process)
            failure.raiseException()
        error = failure.value
        assert isinstance(error, LaunchError)
        refusal = LaunchFailed(
            f"{process.identity.argv[0]}: {error.why} (stage {error.stage})",
            stage=error.stage,
            number=error.errno,
        )
        if process.generation == 1:
            self._drop(process)
        else:
            _log.warn("process {id} cannot be started again: {message}", id=process.id, message=refusal.message)
            process.launch_failed(refusal)
        raise refusal

    def _start_again(self, process: Process) -> None:
        """Launch its next generation."""
        if self._closing or process.removed:
            return
        self._exited.pop(process.id, None)
        self.leftovers.end(process)
        next_one = launch_id(process.id, process.generation + 1)
        process.begin_again(self._stdin_of(next_one, process.stdin.end))
        self._starting[process.id] = []
        self._see_to(self._launch(process), process)

    # --- change ------------------------------------------------------------------------------------------------------

    def change(
        self, process: Process, request: Change, principal: str, check: Callable[[Identity], None] = allow
    ) -> bool:
        """Change what it was started with; whether some of that counts from its next start on only.

        :param check: is told what it comes to before anything is done, and raises what stands against it.
        :raises NameTaken: another one has that name.
        """
        identity, restart = changed(process.identity, request)
        check(identity)
        if request.name is not None and request.name != process.identity.name:
            self._check_name(request.name, process)
        if identity == process.identity:
            return False
        sandbox.check(identity)
        before = process.identity.name
        if identity.name != before:
            if before is not None:
                del self._names[before]
            if identity.name is not None:
                self._names[identity.name] = process
        process.change(identity, principal)
        self.on_logged(process)
        return restart and not process.finished

    # --- find --------------------------------------------------------------------------------------------------------

    def by_key(self, key: str | None, tenant: str | None = None) -> Process | None:
        """The process that was started with this key; tenants know nothing of each other's."""
        return None if key is None else self._keys.get((tenant, key))

    def has(self, process: str) -> bool:
        """Whether there is one with this id or name."""
        return process in self._processes or process in self._names

    def find(self, process: str) -> Process:
        """The process with this id or name.

        :raises NoSuchProcess: there is none.
        """
        found = self._processes.get(process) or self._names.get(process)
        if found is None:
            raise NoSuchProcess(f"there is no process {process!r}", process=process)
        return found

    def last_told(self, id: str) -> int:
        """The number of the last event of one that has been let go and is not in the journal with all of them; or 0."""
        leaving = self._leaving.get(id)
        return 0 if leaving is None else leaving.events.number

    def knows(self, id: str) -> bool:
        """Whether it has a process of this id, or is about to forget it."""
        return id in self._processes or id in self.gone

    def following(self, after: tuple[int, str] | None) -> Iterator[Process]:
        """All, or those that were created after *after*, which may have been removed meanwhile."""
        if self._row is None:
            self._row = sorted(self._processes.values(), key=_created)
        row = self._row
        if after is None:
            return iter(row)
        return map(row.__getitem__, range(bisect_right(row, after, key=_created), len(row)))

    # --- remove ------------------------------------------------------------------------------------------------------

    def remove(self, process: Process, principal: str) -> None:
        """Forget a process that has exited.

        :raises NotRunning: it has not; a refusal that names the way.
        """
        process.check_finished()
        if process.leaves or not process.ended:
            # Nobody would know of it any more.
            self.leftovers.end(process)
        self._drop(process, principal)

    def _drop(self, process: Process, principal: str | None = None) -> None:
        """Have it no more.

        :param principal: who wants it removed; None: what is recorded of it stays.
        """
        if self._processes.pop(process.id, None) is None:
            return
        self._row = None
        self._exited.pop(process.id, None)
        if process.identity.name is not None:
            self._names.pop(process.identity.name, None)
        key, tenant = process.identity.key, tenant_of(process.identity.labels)
        if key is not None and self.by_key(key, tenant) is process:
            del self._keys[tenant, key]
        self.on_removed(process)
        process.removed = True
        self.on_logged(process)
        process.disown(principal)
        process.forget()
        for name in self._names_of(process):
            self._files.remove(f"{name}.in")
        self._files.remove(f"{process.id}.out")
        self._notify.remove(process.id)
        if principal is None and process.events.number:
            self.archives = True
        if principal is not None:
            self.gone.add(process.id)
        if process.events.pending:
            # As long as the journal does not have it, there is no other record of what it has told.
            self._leaving[process.id] = process
        else:
            self._let_go(process)

    def _names_of(self, process: Process) -> set[str]:
        return {self._kept.get(process.id, process.id), process.current.launch_id}

    def _let_go(self, process: Process) -> None:
        for name in self._names_of(process):
            self._launcher.forget(name)
        self._kept.pop(process.id, None)
        process.let_go()

    def finish_removal(self, saved: Saved | None, let_go: Callable[[], None]) -> None:
        """See to the end of a removal that another daemon was in the middle of.

        :param saved: what it was; None: that is not known.
        :param let_go: called when there is no need any more to have it kept.
        """
        if saved is None or not saved.pending:
            let_go()
            return
        id = saved.identity.id
        self.gone.add(id)
        last = saved.pending[-1]
        self.archives = self.archives or last.type is not Happening.REMOVED
        self._removals[id] = last.number, let_go
        self.on_gone(saved)

    def journalled(self, id: str, number: int) -> None:
        """The journal has what this process has told, up to that number."""
        if id in self._removals and number >= self._removals[id][0]:
            self._removals.pop(id)[1]()
        process = self._processes.get(id) or self._leaving.get(id)
        if process is not None:
            process.events.journalled(number)
            if id in self._leaving and not process.events.pending:
                self._let_go(self._leaving.pop(id))
        if id not in self._leaving and id not in self._removals:
            self.gone.discard(id)

    def _has_exited(self, process: Process) -> None:
        self._exited[process.id] = process
        if not process.life.by_hand and not self._closing:
            self.leftovers.look_later(process)
        self._fresh.append(process)
        # Not now: whoever is attached is told of the exit first.
        self.retain()

    def retain(self) -> None:
        """See, at the next turn, whether something can be forgotten: a process has exited, or somebody has left one."""
        if self._retaining is None and (self._fresh or len(self._exited) > self._settings.max_exited):
            self._retaining = self._reactor.callLater(0, self._retain)

    def _retain(self) -> None:
        """Tell of those that have exited, and forget the oldest that are too many; those that are being read last."""
        self._retaining = None
        fresh, self._fresh = self._fresh, []
        for process in fresh:
            self.on_exited(process)
        excess = len(self._exited) - self._settings.max_exited
        if excess <= 0:
            return
        # What is started again after a reboot goes last: it is no record of the past.
        for process in sorted(self._exited.values(), key=_comes_back):
            if excess <= 0:
                return
            # That, and whoever is slow, keeps as many more as could be running; beyond that less is better than none.
            if (process.read_out and not process.life.comes_back) or excess > self._settings.max_processes:
                if process.life.comes_back:
                    process.life.stay_away()
                self._drop(process)
                excess -= 1

    # --- the end -----------------------------------------------------------------------------------------------------

    def refuse_new(self) -> None:
        """Start nothing from here on."""
        self._closing = True

    def stop_all(self) -> Deferred[None]:
        """End every process; fires when all have exited."""
        self.refuse_new()
        return self._ending.end_all([process for process in self if not process.finished])

    def close(self) -> None:
        """Forget all processes."""
        self._retain_no_more()
        for process in list(self):
            self._drop(process)
        for process in self._leaving.values():
            self._let_go(process)
        self._leaving.clear()
        for _, let_go in self._removals.values():
            let_go()
        self._removals.clear()
        self._notify.close()

    def leave(self) -> None:
        """Let go of all processes; the next daemon goes on with them."""
        self._retain_no_more()
        for process in self:
            process.forget()
            process.let_go()
        for process in self._leaving.values():
            process.let_go()

    def _retain_no_more(self) -> None:
        self.leftovers.close()
        if self._retaining is not None:
            self._retaining.cancel()
            self._retaining = None


def _comes_back(process: Process) -> bool:
    return process.life.comes_back


def _created(process: Process) -> tuple[int, str]:
    return process.identity.created, process.id
