"""The Deferred API: what a daemon can be asked, as methods; knows no sockets and no encoding."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakSet

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProcessProtocol

from netdaemon.client import spawn
from netdaemon.client.reconnecting import PATIENCE, Line
from netdaemon.client.remote import RemoteProcess
from netdaemon.client.session import Session
from netdaemon.client.verbs import Verbs
from netdaemon.declared import Declared, OsText, argv_of, declared
from netdaemon.errors import ConnectionClosed, NetdaemonError
from netdaemon.resumption import RUNS
from netdaemon.wire.answers import Attached, Started, Welcome
from netdaemon.wire.commands import Attach, Start
from netdaemon.wire.told import ProcessRecord

if TYPE_CHECKING:
    from netdaemon.apply import Applied
    from netdaemon.client.apply import ApplyOptions

# Random bytes of the key of a START: no two have the same.
KEY_BYTES = 8


class Client(Verbs):
    """A daemon's client. Made by `netdaemon.connect`.

    Every method that returns a Deferred fails with the daemon's refusal, as the same class as the daemon raised, with
    ConnectionClosed when the connection ends before the reply, and with LocalProtocolError where the agreed version
    of the protocol cannot say it. Cancelling one takes nothing back: the request was sent, its reply is swallowed.

    A client that reconnects makes another connection when it has lost one. Attachments go on over it, where they were.
    So do watches. Requests that can do no harm when they are carried out twice are sent again: those for information,
    ATTACH, WAIT, WATCH, STOP (which joins the stop that is under way), CHANGE, PRUNE (whose count is then that of the
    second), RELOAD, START by its key, and RESTART if it names a generation. KILL, REMOVE, SHUTDOWN and any other
    RESTART whose reply was lost fail with ConnectionClosed, and whether they were carried out is unknown. What is asked
    for meanwhile waits.

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
        line = Line(
            session,
            dial=dial,
            patience=patience,
            on_disconnected=on_disconnected,
            on_reconnected=on_reconnected,
        )
        super().__init__(line)
        self._attached: WeakSet[RemoteProcess] = WeakSet()

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
        keep: int | None = None,
        key: str | None = None,
        attach: bool = True,
        from_: int | None = None,
        channels: Iterable[int] | None = None,
        hold: int | None = None,
        read_only: bool | None = None,
        sole_writer: bool = True,
        **said: Unpack[Declared],
    ) -> Deferred[RemoteProcess]:
        """Run a program.

        :param argv: the program and its arguments. A program without a slash is looked for in the PATH of *env*.
        :param said: ``path``, ``env``, ``cwd``, ``name``, ``labels``, ``pty``, ``merge``, ``stop``, ``restart``,
            ``ready``, ``watchdog``, ``log``, ``run_as``, ``limits``, ``cgroup`` and ``sandbox``: see
            `netdaemon.declared.Declared`.
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
        wanted = None if channels is None else tuple(channels)
        if key is None and self.line.lasting:
            key = secrets.token_hex(KEY_BYTES)
        return self._attaching(
            lambda: Start(
                argv=argv_of(argv),
                keep=keep,
                key=key,
                attach=attach or None,
                from_=from_,
                channels=wanted,
                hold=hold,
                read_only=read_only,
                # What there is not is a TypeError.
                **declared(said),
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
                process=process if isinstance(process, str) else process.id,
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
            process = RemoteProcess.of_reply(self, session, id, reply, asked=request, sole_writer=sole_writer)
            self._attached.add(process)
            return process

        return self.line.attach(request, answered)

    def _seen(self, record: ProcessRecord) -> None:
        if record.state in RUNS:
            for process in tuple(self._attached):
                if process.id == record.id:
                    process.runs(record.generation)

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

    def apply(self, *files: str | os.PathLike[str], **options: Unpack[ApplyOptions]) -> Deferred[Applied]:
        """Make the daemon match *files* of specs; see `netdaemon.client.apply.apply`."""
        # Few clients have files, and few need to have loaded what reads them.
        from netdaemon.client.apply import apply

        return apply(self, *files, **options)

    # --- the end -----------------------------------------------------------------------------------------------------

    def disconnect(self) -> Deferred[None]:
        """Close the connection once all requests have been sent, and make no other; fires when it is closed.

        Processes go on. Whatever waits for a reply, or for another connection, fails with ConnectionClosed.
        """
        return self.line.close().addCallback(lambda _: None)

    close = disconnect

    def when_disconnected(self) -> Deferred[ConnectionClosed]:
        """A new Deferred that fires with the reason when the client is over for good: it was closed, has given up, or
        has lost its connection and does not reconnect. At once if it is.
        """
        return self.line.when_over()
