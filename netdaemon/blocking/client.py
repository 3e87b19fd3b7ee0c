"""The daemon's verbs on a plain socket, and how to get at one; knows no Twisted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from netdaemon import defaults
from netdaemon.blocking.link import Link
from netdaemon.blocking.process import RemoteProcess
from netdaemon.blocking.reconnecting import PATIENCE
from netdaemon.blocking.timeouts import DEFAULT, DEFAULT_TIMEOUT, Timeout
from netdaemon.blocking.watch import Watch
from netdaemon.declared import Declared, OsText, argv_of, declared, steps_of
from netdaemon.defaults import meaning
from netdaemon.errors import ConnectFailed, NetdaemonError, TimedOut
from netdaemon.signal_names import number_of
from netdaemon.trust.credentials import Credentials
from netdaemon.trust.places import SCHEME, place_of
from netdaemon.wire import commands
from netdaemon.wire.answers import Changed, DaemonInfo, Listing, Message, OfProcess, Pruned, Started, Stopped
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Shutdown,
    Start,
    Stop,
    Wait,
)
from netdaemon.wire.records import Fate, Scope, Until
from netdaemon.wire.specs import Step
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.blocking.secured import SecuredSocket

C = TypeVar("C", bound="Client")

# Random bytes in a key: two of them are the same as seldom as anything.
KEY_BYTES = 8


class StartOptions(Declared, total=False):
    """What a start may say besides ``argv``."""

    keep: int | None
    key: str | None


class Client(Link):
    """A connection to a daemon, with a method for each thing that it can be asked. Not for several threads at once.

    Every call waits for its answer, at most *timeout* seconds (`TimedOut`), and raises what the daemon refuses
    (`netdaemon.errors`). See `Link` for what a program with a poll loop of its own uses.
    """

    def start(
        self,
        argv: Iterable[OsText],
        *,
        hold: int | None = None,
        read_only: bool | None = None,
        timeout: Timeout = DEFAULT,
        **options: Unpack[StartOptions],
    ) -> RemoteProcess:
        """Run a program and attach to it, so that nothing of its output is missed.

        :param argv: the program and its arguments. Without a slash it is looked for in PATH of *env*.
        :param options: ``keep``, the bytes of output that the daemon keeps; ``key``, below; and what
            `netdaemon.declared.Declared` has: ``path``, ``env``, ``cwd``, ``name``, ``labels``, ``pty``, ``merge``,
            ``stop``, ``restart``, ``ready``, ``watchdog``, ``log``, ``run_as``, ``limits``, ``cgroup``, ``sandbox``.
            ``env`` is the whole environment of the program.
        :param hold: milliseconds for which a slow reader may hold the program back; -1 for ever, 0 drops.
        :param key: the same start with the same key finds the process that the first one started. A client that
            reconnects takes a random one where none is given, so that it can ask again and start one process only.
        :raises LaunchFailed: it does not run; ``stage`` and ``errno`` say why.
        """
        request = replace(self._start(argv, options), attach=True, hold=hold, read_only=read_only)
        return self._attached(request, timeout)

    def start_detached(
        self, argv: Iterable[OsText], *, timeout: Timeout = DEFAULT, **options: Unpack[StartOptions]
    ) -> ProcessRecord:
        """Run a program and leave it alone; its record. Parameters as for `start`."""
        return self.call(self._start(argv, options), Started, timeout).process

    def _start(self, argv: Iterable[OsText], options: StartOptions) -> Start:
        # An option that there is not is a TypeError.
        request = Start(argv=argv_of(argv), **declared(options))
        if request.key is None and self.resumes:
            return replace(request, key=os.urandom(KEY_BYTES).hex())
        return request

    def attach(
        self,
        process: str,
        *,
        from_: int | None = None,
        channels: Iterable[int] | None = None,
        hold: int | None = None,
        read_only: bool | None = None,
        timeout: Timeout = DEFAULT,
    ) -> RemoteProcess:
        """Follow a process (its id or name) and feed it.

        :param from_: the offset to begin at; below 0, that many bytes before the end; None, everything that is kept.
        """
        request = Attach(
            process=process,
            from_=from_,
            channels=None if channels is None else tuple(channels),
            hold=hold,
            read_only=read_only,
        )
        return self._attached(request, timeout)

    def _attached(self, request: Start | Attach, timeout: Timeout) -> RemoteProcess:
        pending = self.submit(request)
        self.wait_for(pending, timeout)
        assert pending.process is not None
        return pending.process

    def list(self, *select: str, timeout: Timeout = DEFAULT) -> list[ProcessRecord]:
        """The records of all processes that match every term of *select*; page by page, so a snapshot of each page."""
        terms = select or None
        records: list[ProcessRecord] = []
        after: str | None = None
        while True:
            page = self.call(List(select=terms, after=after), Listing, timeout)
            records += page.processes
            if page.after is None:
                return records
            after = page.after

    def inspect(self, process: str, *, timeout: Timeout = DEFAULT) -> ProcessRecord:
        """The record of one process."""
        return self.seen(self.call(Inspect(process=process), OfProcess, timeout).process)

    def look(self, process: str, *, stats: bool = False, timeout: Timeout = DEFAULT) -> OfProcess:
        """The record of one process, how its log stands (``logged``), and with *stats* what it uses (``stats``)."""
        return self.call(Inspect(process=process, stats=stats or None), OfProcess, timeout)

    def watch(
        self, *select: str, since: str | None = None, stats: int | None = None, timeout: Timeout = DEFAULT
    ) -> Watch:
        """Be told what happens to the processes that match every term, now and from now on.

        :param since: the `Watch.cursor` of an earlier watch: what has happened since comes first. None, or one that
            the daemon does not know any more: a snapshot comes first, an event for each process as it is.
        :param stats: tell what they use, too, every so many milliseconds.
        :param timeout: seconds until the daemon has agreed; the events take as long as they take.
        """
        pending = self.submit(commands.Watch(select=select or None, since=since, stats=stats))
        self.wait_for(pending, timeout)
        assert pending.watch is not None
        return pending.watch

    def stop(
        self,
        process: str,
        *,
        steps: Sequence[Step] | None = None,
        generation: int | None = None,
        timeout: Timeout = None,
    ) -> Stopped:
        """Stop a process by the steps that it was declared with, or by *steps*; it is not started again by itself.

        Whoever asks while it is being stopped joins that. As long as that takes, unless *timeout* says otherwise.

        :return: with the step that worked, or ``already`` if it was not running.
        :raises NotStopped: all steps were taken, and it still runs.
        :raises WrongGeneration: it has been started anew since *generation*.
        """
        taken = None if steps is None else steps_of(steps)
        return self.call(Stop(process=process, steps=taken, generation=generation), Stopped, timeout)

    def restart(self, process: str, *, generation: int | None = None, timeout: Timeout = None) -> ProcessRecord:
        """Stop a process if it runs, and start it again; its record when the next generation runs.

        :raises NotStopped: all steps of its stop were taken, and it still runs.
        :raises LaunchFailed: it could not be started again; ``stage`` and ``errno`` say why.
        :raises WrongGeneration: it has been started anew since *generation*: perhaps by this, if the connection was
            lost before the reply.
        """
        return self.seen(self.call(Again(process=process, generation=generation), OfProcess, timeout).process)

    def change(
        self,
        process: str,
        argv: Iterable[OsText] | None = None,
        *,
        whole: bool = False,
        generation: int | None = None,
        timeout: Timeout = DEFAULT,
        **said: Unpack[Declared],
    ) -> Changed:
        """Change what a process was started with.

        Name, labels, ``stop``, ``restart`` and ``log`` count from now on; the rest from its next start on, which the
        reply tells with ``restart``.

        :param said: as for `start`; what is left out stays as it is.
        :param whole: what is left out becomes what it is where nothing is said; *argv* is needed then.
        """
        request = Change(
            process=process,
            argv=None if argv is None else argv_of(argv),
            whole=whole or None,
            generation=generation,
            **declared(said),
        )
        return self.call(request, Changed, timeout)

    def prune(self, *select: str, age: int | None = None, timeout: Timeout = DEFAULT) -> int:
        """Forget all processes that have exited and match every term; how many they were.

        :param age: only those that exited at least so many milliseconds ago.
        """
        return self.call(Prune(select=select or None, age=age), Pruned, timeout).count

    def kill(
        self,
        process: str,
        signal: int | str = "TERM",
        *,
        scope: Scope | None = None,
        generation: int | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Send one signal, by number or name, to the process's group unless *scope* says otherwise.

        :raises ValueError: there is no such signal.
        :raises AlreadyExited: there is nobody to get it.
        """
        request = Kill(process=process, signal=number_of(signal), scope=scope, generation=generation)
        self.call(request, Message, timeout)

    def wait(self, process: str, for_: Until | str = Until.EXITED, *, timeout: Timeout = None) -> ProcessRecord:
        """The record of *process* once it is so; for ever unless *timeout* says otherwise."""
        return self.seen(self.call(Wait(process=process, for_=Until(for_)), OfProcess, timeout).process)

    def remove(self, process: str, *, generation: int | None = None, timeout: Timeout = DEFAULT) -> None:
        """Forget a process that has exited, and its output."""
        self.call(Remove(process=process, generation=generation), Message, timeout)

    def info(self, *, timeout: Timeout = DEFAULT) -> DaemonInfo:
        """What the daemon is, allows and has."""
        return self.call(Info(), DaemonInfo, timeout)

    def reload(self, *, timeout: Timeout = DEFAULT) -> None:
        """Have the daemon open its log files again."""
        self.call(Reload(), Message, timeout)

    def shutdown(self, processes: Fate | None = None, *, timeout: Timeout = DEFAULT) -> None:
        """End the daemon; the connection is closed by it when it has."""
        self.call(Shutdown(processes=processes), Message, timeout)


def connect(
    path: str | None = None,
    *,
    credentials: Credentials | None = None,
    token: bytes | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    version: int = 2,
    packets: bool = False,
    program: str | None = None,
    reconnect: bool = True,
    patience: float | None = PATIENCE,
    on_disconnected: Callable[[NetdaemonError], None] | None = None,
    on_reconnected: Callable[[], None] | None = None,
) -> Client:
    """Connect to a daemon and say HELLO.

    :param path: its UNIX socket, or ``tls:host:port``, where a host of IPv6 is in brackets; where the socket is by
        default is told by `netdaemon.defaults.socket_path`.
    :param credentials: what is shown to a daemon at ``tls:...``, and by what it is known; needed there, and only there.
    :param token: what to show the daemon besides, where its policy knows tokens.
    :param timeout: seconds that each answer may take unless a call says otherwise; None is for ever.
    :param version: the highest version of the protocol to speak.
    :param packets: whether it is a SOCK_SEQPACKET, as the daemon of 2009 has; only version 1 is spoken there.
    :param program: what the daemon is told of who calls: "name/version".
    :param reconnect: whether to go on with the next daemon when the connection is lost, see `Link`; not in version 1.
    :param patience: seconds that a loss may last before it is over for good; None is for ever.
    :param on_disconnected: called with the reason when the connection is lost and a new one will be tried for.
    :param on_reconnected: called when there is a new one.
    :raises ValueError: the credentials are missing, or it is no such place.
    :raises ConnectFailed: nobody answers there.
    :raises Untrusted: the daemon is not the one that was meant, or does not accept our certificate.
    :raises ConversationAborted: the daemon does not talk to you; its message says why.
    :raises TimedOut: HELLO was not answered in time.
    """
    return connect_as(
        Client,
        path,
        credentials=credentials,
        token=token,
        timeout=timeout,
        version=version,
        packets=packets,
        program=program,
        reconnect=reconnect,
        patience=patience,
        on_disconnected=on_disconnected,
        on_reconnected=on_reconnected,
    )


def connect_as(
    kind: type[C],
    path: str | None,
    *,
    credentials: Credentials | None = None,
    token: bytes | str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    version: int = 2,
    packets: bool = False,
    program: str | None = None,
    reconnect: bool = True,
    check: Callable[[], None] | None = None,
    **rest: Any,
) -> C:
    """The same for a *kind* of client; *rest* is for `Link`.

    :param check: looks at the place before each attempt to reconnect; raises an OSError if it is not to be trusted.
    """
    place = defaults.socket_path() if path is None else path
    shown = token.encode() if isinstance(token, str) else token
    dial: Callable[[], socket.socket | SecuredSocket]
    sock: socket.socket | SecuredSocket
    if place.startswith(SCHEME):
        if credentials is None:
            raise ValueError(f"{place} needs credentials: certificate, key, and authority or pin")
        if packets:
            raise ValueError(f"{place} is no SOCK_SEQPACKET socket")
        # Few need it, and the standard library's ssl takes longer to load than all the rest.
        from netdaemon.blocking.secured import Dialler

        dialler = Dialler(place_of(place), credentials)
        dial = dialler.dial
        sock = dialler.connect(timeout)
    else:
        if credentials is not None:
            raise ValueError(f"{place} takes no credentials: the kernel tells who connects to a UNIX socket")

        def dial() -> socket.socket:
            if check is not None:
                check()
            return _dial(place, socket.SOCK_STREAM, 0.0)

        sock = _connected(place, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM, timeout)
    try:
        return kind(
            sock,
            timeout=timeout,
            version=1 if packets else version,
            packets=packets,
            program=program,
            token=shown,
            dial=dial if reconnect and not packets else None,
            **rest,
        )
    except BaseException:
        sock.close()
        raise


def _connected(path: str, kind: int, timeout: float | None) -> socket.socket:
    try:
        return _dial(path, kind, timeout)
    except TimeoutError as error:
        raise TimedOut(f"{path}: the daemon there does not accept connections") from error
    except OSError as error:
        raise ConnectFailed(f"{path}: {meaning(error)}") from error


def _dial(path: str, kind: int, timeout: float | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
