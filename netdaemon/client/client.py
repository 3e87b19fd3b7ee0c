"""The Deferred API: what a daemon can be asked, as methods; knows no sockets and no encoding."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProcessProtocol

from netdaemon.client import spawn
from netdaemon.client.reconnecting import PATIENCE, Line
from netdaemon.client.remote import RemoteProcess
from netdaemon.client.session import Session
from netdaemon.errors import ConnectionClosed, NetdaemonError
from netdaemon.signal_names import number_of
from netdaemon.wire.answers import Attached, DaemonInfo, Listing, OfProcess, Started, Welcome
from netdaemon.wire.commands import Attach, Info, Inspect, Kill, List, Remove, Request, Shutdown, Start, Wait
from netdaemon.wire.records import Fate, Pty, Scope, Until
from netdaemon.wire.told import ProcessRecord

OsText = str | bytes
T = TypeVar("T")

# `Client` has a method of that name.
Records = list[ProcessRecord]

# Random bytes of the key of a START: no two have the same.
KEY_BYTES = 8


class Client:
    """A daemon's client. Made by `netdaemon.connect`.

    Every method that returns a Deferred fails with the daemon's refusal, as the same class as the daemon raised, with
    ConnectionClosed when the connection ends before the reply, and with LocalProtocolError where the agreed version
    of the protocol cannot say it. Cancelling one takes nothing back: the request was sent, its reply is swallowed.

    A client that reconnects makes another connection when it has lost one. Attachments go on over it, where they were.
    Requests that can do no harm when they are carried out twice (those for information, ATTACH, WAIT, and START by its
    key) are sent again; KILL, REMOVE and SHUTDOWN whose reply was lost fail with ConnectionClosed, and whether they
    were carried out is unknown. What is asked for meanwhile waits.

    :param session: a session whose HELLO has been answered.
    :param dial: connects again; the other parameters are about that, as in `netdaemon.connect`. None: nothing does.
    :ivar line: the conversation, over one connection after another.
    """

    def __init__(
        self,
        session: Session,
        *,
        dial: Callable[[], Deferred[Session]] | None = None,
        patience: float | None = PATIENCE,
        on_disconnected: Callable[[ConnectionClosed], object] | None = None,
        on_reconnected: Callable[[Welcome], object] | None = None,
    ) -> None:
        self.line = Line(
            session,
            dial=dial,
            patience=patience,
            on_disconnected=on_disconnected,
            on_reconnected=on_reconnected,
        )

    @property
    def session(self) -> Session:
        """The present connection, or the last one; do not keep it."""
        return self.line.session

    @property
    def daemon(self) -> Welcome:
        """What the daemon said of itself in its answer to HELLO."""
        welcome = self.session.welcome
        assert welcome is not None
        return welcome

    @property
    def version(self) -> int:
        """The version of the protocol that is spoken."""
        return self.session.version

    @property
    def window(self) -> int:
        """How many bytes of input may wait for one process; 0 where the daemon does not say."""
        return self.session.window

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[OsText],
        *,
        path: OsText | None = None,
        env: Mapping[OsText, OsText] | Sequence[OsText] | None = None,
        cwd: OsText | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        pty: Pty | bool | None = None,
        merge: bool | None = None,
        keep: int | None = None,
        key: str | None = None,
        attach: bool = True,
        from_: int | None = None,
        channels: Iterable[int] | None = None,
        hold: int | None = None,
        read_only: bool | None = None,
        sole_writer: bool = True,
    ) -> Deferred[RemoteProcess]:
        """Run a program.

        :param argv: the program and its arguments. A program without a slash is looked for in the PATH of *env*.
        :param path: what is executed, if not ``argv[0]``.
        :param env: the whole environment, as a mapping or as items ``NAME=value``; None: empty.
        :param cwd: where it runs; ``/`` unless said.
        :param name: a name by which it can be found, besides its id; no two processes have the same.
        :param labels: what else is to be kept with it, and can be selected by.
        :param pty: a terminal instead of pipes; True for one of the usual size.
        :param merge: one pipe for both outputs, which keeps their order.
        :param keep: how many bytes of output the daemon keeps.
        :param key: the same START with the same key again, over whatever connection, starts nothing and finds the
            process of the first one, until that is removed. None: a random one, if the client reconnects, so that a
            START whose reply was lost can be sent again.
        :param attach: whether to follow its output and feed it; the following parameters are about that.
        :param from_: as for `attach`.
        :param sole_writer: nobody else writes to it; then input goes out without waiting for each piece. Untrue, input
            is lost, and `RemoteProcess.write` fails with StdinHole.
        :return: fires once the program is being executed. Cancelling it does not end the process.
        :raises LaunchFailed: (errback) ``stage`` and ``errno`` say why; nothing was started.
        :raises NameTaken, SpecDiffers, LimitReached, BadRequest: (errback) nothing was started.
        """
        if isinstance(argv, str | bytes):
            raise TypeError(f"argv is a list of the program and its arguments, as [{argv!r}], and not {argv!r}")
        if pty is True:
            pty = Pty()
        elif pty and not isinstance(pty, Pty):
            raise TypeError(f"pty is a netdaemon.Pty, or True, and not {pty!r}")
        wanted = None if channels is None else tuple(channels)
        if key is None and self.line.lasting:
            key = secrets.token_hex(KEY_BYTES)
        return self._attaching(
            lambda: Start(
                argv=tuple(map(os_text, argv)),
                path=None if path is None else os_text(path),
                env=None if env is None else environment(env),
                cwd=None if cwd is None else os_text(cwd),
                name=name,
                labels=None if labels is None else tuple(f"{key}={value}" for key, value in labels.items()),
                pty=pty or None,
                merge=merge,
                keep=keep,
                key=key,
                attach=attach or None,
                from_=from_,
                channels=wanted,
                hold=hold,
                read_only=read_only,
            ),
            sole_writer,
        )

    def attach(
        self,
        process: str | RemoteProcess,
        *,
        from_: int | None = None,
        channels: Iterable[int] | None = None,
        hold: int | None = None,
        read_only: bool | None = None,
        sole_writer: bool = False,
    ) -> Deferred[RemoteProcess]:
        """Follow a process's output and feed its input.

        :param process: its id or name.
        :param from_: the offset to begin at; negative: that many bytes before the end; None: all that is kept.
        :param channels: which outputs: 1 (stdout), 2 (stderr); None: both.
        :param hold: milliseconds for which we may hold the process back when we are slow; -1: for ever. Otherwise, and
            past that, what falls off is told by a GAP.
        :param read_only: its input and signals are none of our business.
        :param sole_writer: as for `start`.
        :raises NoSuchProcess: (errback) there is none.
        """
        wanted = None if channels is None else tuple(channels)
        return self._attaching(
            lambda: Attach(
                process=_id_of(process),
                from_=from_,
                channels=wanted,
                hold=hold,
                read_only=read_only,
            ),
            sole_writer,
        )

    def _attaching(self, message: Callable[[], Start | Attach], sole_writer: bool) -> Deferred[RemoteProcess]:
        try:
            request = message()
        except NetdaemonError as error:
            return fail(error)

        def answered(session: Session, id: int, reply: Attached | Started) -> RemoteProcess:
            if isinstance(reply, Started):
                return RemoteProcess(self, reply.process)
            return RemoteProcess.of_reply(self, session, id, reply, asked=request, sole_writer=sole_writer)

        return self.line.attach(request, answered)

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
        return self._ask(lambda: Inspect(process=_id_of(process))).addCallback(_record_of)

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
            _record_of
        )

    def remove(self, process: str | RemoteProcess, *, generation: int | None = None) -> Deferred[None]:
        """Forget a process that has exited, and its output.

        :raises NotRunning: (errback) it has not exited.
        """
        return self._ask(lambda: Remove(process=_id_of(process), generation=generation)).addCallback(_nothing)

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: OsText,
        args: Sequence[OsText] = (),
        env: Mapping[Any, Any] | None = {},  # as IReactorProcess has it; it is not changed
        path: OsText | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: Any = 0,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> Any:
        """`IReactorProcess.spawnProcess`, for a process at the other end; see `netdaemon.client.spawn`."""
        return spawn.spawn_process(self, processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs)

    # --- the daemon --------------------------------------------------------------------------------------------------

    def info(self) -> Deferred[DaemonInfo]:
        """What the daemon is, allows and has."""
        return self.line.request(Info())

    def shutdown(self, processes: Fate | str | None = None) -> Deferred[None]:
        """End the daemon in order. Once it has answered, the end of the connection is not taken for a loss, unless the
        processes are kept."""
        return self._ask(lambda: Shutdown(processes=None if processes is None else Fate(processes))).addCallback(
            _nothing
        )

    def request(self, message: Request) -> Deferred[Any]:
        """Send a request of `netdaemon.wire.commands`; fires with its reply."""
        return self.line.request(message)

    def disconnect(self) -> Deferred[None]:
        """Close the connection once all requests have been sent, and make no other; fires when it is closed.

        Processes go on. Whatever waits for a reply, or for another connection, fails with ConnectionClosed.
        """
        return self.line.close().addCallback(_nothing)

    close = disconnect

    def when_disconnected(self) -> Deferred[ConnectionClosed]:
        """A new Deferred that fires with the reason when the client is over for good: it was closed, has given up, or
        has lost its connection and does not reconnect. At once if it is.
        """
        return self.line.when_over()

    def _ask(self, message: Any) -> Deferred[Any]:
        try:
            request = message()
        except NetdaemonError as error:
            return fail(error)
        return self.line.request(request)


def os_text(value: OsText) -> str:
    """What the operating system names, as the protocol's declarations have it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        # What a locale other than UTF-8 made of some bytes is those bytes again.
        return value if value.isascii() else os.fsencode(value).decode("utf-8", "surrogateescape")
    raise TypeError(f"{value!r} is neither str nor bytes")


def environment(env: Mapping[OsText, OsText] | Sequence[OsText]) -> tuple[str, ...]:
    """An environment as items ``NAME=value``."""
    if isinstance(env, Mapping):
        return tuple(f"{os_text(name)}={os_text(value)}" for name, value in env.items())
    return tuple(map(os_text, env))


def _id_of(process: str | RemoteProcess) -> str:
    return process.id if isinstance(process, RemoteProcess) else process


def _record_of(reply: OfProcess) -> ProcessRecord:
    return reply.process


def _nothing(_: object) -> None:
    return None
