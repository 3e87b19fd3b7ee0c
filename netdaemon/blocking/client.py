"""The daemon's verbs on a plain socket, and how to get at one; knows no Twisted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypedDict, TypeVar, Unpack

from netdaemon import defaults
from netdaemon.blocking.link import Link
from netdaemon.blocking.process import RemoteProcess
from netdaemon.blocking.reconnecting import PATIENCE
from netdaemon.blocking.timeouts import DEFAULT, DEFAULT_TIMEOUT, Timeout
from netdaemon.defaults import meaning
from netdaemon.errors import ConnectFailed, NetdaemonError, TimedOut
from netdaemon.signal_names import number_of
from netdaemon.wire.answers import DaemonInfo, Listing, Message, OfProcess, Started
from netdaemon.wire.commands import Attach, Info, Inspect, Kill, List, Remove, Shutdown, Start, Wait
from netdaemon.wire.records import Fate, Pty, Scope, Until
from netdaemon.wire.told import ProcessRecord

C = TypeVar("C", bound="Client")

# Random bytes in a key: two of them are the same as seldom as anything.
KEY_BYTES = 8


class StartOptions(TypedDict, total=False):
    """What a start may say besides ``argv``."""

    path: str | None
    env: Mapping[str, str] | None
    cwd: str | None
    name: str | None
    labels: Mapping[str, str] | None
    pty: Pty | None
    merge: bool | None
    keep: int | None
    key: str | None


class Client(Link):
    """A connection to a daemon, with a method for each thing that it can be asked. Not for several threads at once.

    Every call waits for its answer, at most *timeout* seconds (`TimedOut`), and raises what the daemon refuses
    (`netdaemon.errors`). See `Link` for what a program with a poll loop of its own uses.
    """

    def start(
        self,
        argv: Iterable[str],
        *,
        hold: int | None = None,
        read_only: bool | None = None,
        timeout: Timeout = DEFAULT,
        **options: Unpack[StartOptions],
    ) -> RemoteProcess:
        """Run a program and attach to it, so that nothing of its output is missed.

        :param argv: the program and its arguments. Without a slash it is looked for in PATH of *env*.
        :param env: the whole environment of the program; nothing is added.
        :param hold: milliseconds for which a slow reader may hold the program back; -1 for ever, 0 drops.
        :param key: the same start with the same key finds the process that the first one started. A client that
            reconnects takes a random one where none is given, so that it can ask again and start one process only.
        :raises LaunchFailed: it does not run; ``stage`` and ``errno`` say why.
        """
        request = replace(self._start(argv, options), attach=True, hold=hold, read_only=read_only)
        return self._attached(request, timeout)

    def start_detached(
        self, argv: Iterable[str], *, timeout: Timeout = DEFAULT, **options: Unpack[StartOptions]
    ) -> ProcessRecord:
        """Run a program and leave it alone; its record. Parameters as for `start`."""
        return self.call(self._start(argv, options), Started, timeout).process

    def _start(self, argv: Iterable[str], options: StartOptions) -> Start:
        request = _start(argv, options)
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
        return self.call(Inspect(process=process), OfProcess, timeout).process

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
        return self.call(Wait(process=process, for_=Until(for_)), OfProcess, timeout).process

    def remove(self, process: str, *, generation: int | None = None, timeout: Timeout = DEFAULT) -> None:
        """Forget a process that has exited, and its output."""
        self.call(Remove(process=process, generation=generation), Message, timeout)

    def info(self, *, timeout: Timeout = DEFAULT) -> DaemonInfo:
        """What the daemon is, allows and has."""
        return self.call(Info(), DaemonInfo, timeout)

    def shutdown(self, processes: Fate | None = None, *, timeout: Timeout = DEFAULT) -> None:
        """End the daemon; the connection is closed by it when it has."""
        self.call(Shutdown(processes=processes), Message, timeout)


def _start(argv: Iterable[str], options: StartOptions) -> Start:
    if isinstance(argv, str | bytes):
        raise TypeError(f"argv is a list of the program and its arguments, as [{argv!r}], and not {argv!r}")
    rest: dict[str, Any] = dict(options)
    env, labels = rest.pop("env", None), rest.pop("labels", None)
    return Start(
        argv=tuple(argv),
        env=None if env is None else tuple(map("=".join, env.items())),
        labels=None if labels is None else tuple(map("=".join, labels.items())),
        # An option that there is not is a TypeError.
        **rest,
    )


def connect(
    path: str | None = None,
    *,
    timeout: float | None = DEFAULT_TIMEOUT,
    version: int = 2,
    packets: bool = False,
    program: str | None = None,
    reconnect: bool = True,
    patience: float | None = PATIENCE,
    on_disconnected: Callable[[NetdaemonError], None] | None = None,
    on_reconnected: Callable[[], None] | None = None,
) -> Client:
    """Connect to a daemon's UNIX socket and say HELLO.

    :param path: the socket; where it is by default is told by `netdaemon.defaults.socket_path`.
    :param timeout: seconds that each answer may take unless a call says otherwise; None is for ever.
    :param version: the highest version of the protocol to speak.
    :param packets: whether it is a SOCK_SEQPACKET, as the daemon of 2009 has; only version 1 is spoken there.
    :param program: what the daemon is told of who calls: "name/version".
    :param reconnect: whether to go on with the next daemon when the connection is lost, see `Link`; not in version 1.
    :param patience: seconds that a loss may last before it is over for good; None is for ever.
    :param on_disconnected: called with the reason when the connection is lost and a new one will be tried for.
    :param on_reconnected: called when there is a new one.
    :raises ConnectFailed: nobody answers there.
    :raises ConversationAborted: the daemon does not talk to you; its message says why.
    :raises TimedOut: HELLO was not answered in time.
    """
    return connect_as(
        Client,
        path,
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

    def dial() -> socket.socket:
        if check is not None:
            check()
        return _dial(place, socket.SOCK_STREAM, 0.0)

    try:
        sock = _dial(place, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM, timeout)
    except TimeoutError as error:
        raise TimedOut(f"{place}: the daemon there does not accept connections") from error
    except OSError as error:
        raise ConnectFailed(f"{place}: {meaning(error)}") from error
    try:
        return kind(
            sock,
            timeout=timeout,
            version=1 if packets else version,
            packets=packets,
            program=program,
            dial=dial if reconnect and not packets else None,
            **rest,
        )
    except BaseException:
        sock.close()
        raise


def _dial(path: str, kind: int, timeout: float | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
