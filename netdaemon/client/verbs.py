"""What a daemon can be asked about its processes and itself, a method each; knows no attachments and no encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from twisted.internet.defer import Deferred, fail

from netdaemon.client.reconnecting import Line
from netdaemon.client.watch import Watch
from netdaemon.declared import Declared, OsText, argv_of, declared, steps_of
from netdaemon.errors import NetdaemonError
from netdaemon.signal_names import number_of
from netdaemon.wire import commands
from netdaemon.wire.answers import Changed, DaemonInfo, Happened, Listing, OfProcess, Pruned, Stopped
from netdaemon.wire.commands import (
    Again,
    Change,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Shutdown,
    Stop,
    Wait,
)
from netdaemon.wire.records import Fate, Scope, Until
from netdaemon.wire.specs import Step
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.client.remote import RemoteProcess

# `Verbs` has a method of that name.
Records = list[ProcessRecord]


class Verbs:
    """The part of `netdaemon.Client` that needs no attachment.

    :param line: the conversation, over one connection after another.
    """

    def __init__(self, line: Line) -> None:
        self.line = line

    # --- processes ---------------------------------------------------------------------------------------------------

    def list(self, *select: str) -> Deferred[Records]:
        """The records of the processes that match every term, oldest first.

        :param select: terms such as ``name=web*``, ``state=running``, ``label.db_id=42``; none: all processes.
        """
        return Deferred.fromCoroutine(self._list(select))

    async def _list(self, select: tuple[str, ...]) -> Records:
        records: Records = []
        after: str | None = None
        while True:
            page: Listing = await self.line.request(List(select=select or None, after=after))
            records.extend(page.processes)
            if page.after is None:
                return records
            after = page.after

    def inspect(self, process: str | RemoteProcess) -> Deferred[ProcessRecord]:
        """The record of one process."""
        return self._ask(lambda: Inspect(process=_id_of(process))).addCallback(self._record_of)

    def look(self, process: str | RemoteProcess, *, stats: bool = False) -> Deferred[OfProcess]:
        """The record of one process, how its log stands (``logged``), and with *stats* what it uses (``stats``)."""
        return self._ask(lambda: Inspect(process=_id_of(process), stats=stats or None))

    def watch(
        self,
        *select: str,
        since: str | None = None,
        stats: int | None = None,
        on_event: Callable[[Happened], object] | None = None,
        on_fresh: Callable[[], object] | None = None,
    ) -> Deferred[Watch]:
        """Be told what happens to the processes that match every term, now and from now on.

        :param select: as for `list`.
        :param since: the `Watch.cursor` of an earlier watch: what has happened since comes first. None, or one that
            the daemon does not know any more: a snapshot comes first, an event for each process as it is.
        :param stats: tell what they use, too, every so many milliseconds.
        :param on_event: is called with each event; None: they wait to be iterated over.
        :param on_fresh: is called whenever a snapshot begins, also the first time, and then before this fires.
        :return: fires when the daemon has agreed. Cancelling it ends the watch.
        :raises BadRequest: (errback) a term cannot be, or *stats*.
        """
        try:
            asked = commands.Watch(select=select or None, since=since, stats=stats)
        except NetdaemonError as error:
            return fail(error)
        return self.line.attach(
            asked, lambda session, id, reply: Watch(self.line, asked, on_event, on_fresh).adopt(session, id, reply)
        )

    def stop(
        self, process: str | RemoteProcess, *, steps: Sequence[Step] | None = None, generation: int | None = None
    ) -> Deferred[Stopped]:
        """Stop a process by the steps that it was declared with, or by *steps*; it is not started again by itself.

        Whoever asks while it is being stopped joins that.

        :return: fires when it has exited: with the step that worked, or ``already`` if it was not running.
        :raises NotStopped: (errback) all steps were taken, and it still runs.
        :raises WrongGeneration: (errback) it has been started anew since *generation*.
        """
        return self._ask(
            lambda: Stop(
                process=_id_of(process), steps=None if steps is None else steps_of(steps), generation=generation
            )
        )

    def restart(self, process: str | RemoteProcess, *, generation: int | None = None) -> Deferred[ProcessRecord]:
        """Stop a process if it runs, and start it again.

        :return: fires with its record when the next generation runs.
        :raises NotStopped: (errback) all steps of its stop were taken, and it still runs.
        :raises LaunchFailed: (errback) it could not be started again; ``stage`` and ``errno`` say why.
        :raises WrongGeneration: (errback) it has been started anew since *generation*: perhaps by this, if the
            connection was lost before the reply.
        """
        return self._ask(lambda: Again(process=_id_of(process), generation=generation)).addCallback(self._record_of)

    def change(
        self,
        process: str | RemoteProcess,
        argv: Sequence[OsText] | None = None,
        *,
        whole: bool = False,
        generation: int | None = None,
        **said: Unpack[Declared],
    ) -> Deferred[Changed]:
        """Change what a process was started with.

        Name, labels, ``stop``, ``restart`` and ``log`` count from now on; the rest from its next start on, which the
        reply tells with ``restart``.

        :param said: as for `start`; what is left out stays as it is.
        :param whole: what is left out becomes what it is where nothing is said; *argv* is needed then.
        :raises NameTaken, BadRequest, WrongGeneration: (errback) nothing was changed.
        """
        return self._ask(
            lambda: Change(
                process=_id_of(process),
                argv=None if argv is None else argv_of(argv),
                whole=whole or None,
                generation=generation,
                **declared(said),
            )
        )

    def prune(self, *select: str, age: int | None = None) -> Deferred[int]:
        """Forget all processes that have exited and match every term; how many they were.

        :param age: only those that exited at least so many milliseconds ago.
        """
        return self._ask(lambda: Prune(select=select or None, age=age)).addCallback(_count_of)

    def kill(
        self,
        process: str | RemoteProcess,
        signal: int | str = "TERM",
        *,
        scope: Scope | str | None = None,
        generation: int | None = None,
    ) -> Deferred[None]:
        """Send one signal, by number or name; to the process's group unless *scope* is ``process`` or ``tree``.

        :raises AlreadyExited: (errback) there is nobody to get it.
        :raises WrongGeneration: (errback) it has been started anew since *generation*.
        """
        # This one is asked for by the thousand: there is little between it and the session.
        number = signal if signal.__class__ is int else number_of(signal)
        try:
            request = Kill(
                process=process if process.__class__ is str else _id_of(process),
                signal=number,
                scope=None if scope is None else Scope(scope),
                generation=generation,
            )
        except NetdaemonError as error:
            return fail(error)
        return self.line.request(request).addCallback(_nothing)

    def wait(self, process: str | RemoteProcess, for_: Until | str | None = None) -> Deferred[ProcessRecord]:
        """The record of a process when it has exited; or when it has ``ended`` (its output is closed, too), is
        ``running``, or was ``removed``."""
        return self._ask(lambda: Wait(process=_id_of(process), for_=None if for_ is None else Until(for_))).addCallback(
            self._record_of
        )

    def remove(self, process: str | RemoteProcess, *, generation: int | None = None) -> Deferred[None]:
        """Forget a process that has exited, and its output.

        :raises NotRunning: (errback) it has not exited.
        """
        return self._ask(lambda: Remove(process=_id_of(process), generation=generation)).addCallback(_nothing)

    # --- the daemon --------------------------------------------------------------------------------------------------

    def info(self) -> Deferred[DaemonInfo]:
        """What the daemon is, allows and has."""
        return self.line.request(Info())

    def reload(self) -> Deferred[None]:
        """Have the daemon open its log files again."""
        return self.line.request(Reload()).addCallback(_nothing)

    def shutdown(self, processes: Fate | str | None = None) -> Deferred[None]:
        """End the daemon in order. Once it has answered, the end of the connection is not taken for a loss, unless the
        processes are kept."""
        return self._ask(lambda: Shutdown(processes=None if processes is None else Fate(processes))).addCallback(
            _nothing
        )

    def request(self, message: Request) -> Deferred[Any]:
        """Send a request of `netdaemon.wire.commands`; fires with its reply."""
        return self.line.request(message)

    def _record_of(self, reply: OfProcess) -> ProcessRecord:
        self._seen(reply.process)
        return reply.process

    def _seen(self, record: ProcessRecord) -> None:
        """This is how a process is: whoever is attached to it may not have been told yet."""

    def _ask(self, message: Any) -> Deferred[Any]:
        try:
            request = message()
        except NetdaemonError as error:
            return fail(error)
        return self.line.request(request)


def _id_of(process: str | RemoteProcess) -> str:
    return process if isinstance(process, str) else process.id


def _count_of(reply: Pruned) -> int:
    return reply.count


def _nothing(_: object) -> None:
    return None
