"""What `twistd netdaemon` takes and makes: options to a service."""

from __future__ import annotations

import gc
import os
import secrets
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from twisted.application.service import IService
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger
from twisted.python import usage

from netdaemon.daemon.audit import Audit
from netdaemon.daemon.fitting import contradictions, tight
from netdaemon.daemon.judging import Policy
from netdaemon.daemon.rates import BURST
from netdaemon.daemon.service import DaemonService
from netdaemon.daemon.settings import (
    DAYS,
    EVENTS,
    EXITED,
    GRACE,
    INPUT_BUDGET,
    LEAST_BYTES,
    LEAST_DESCRIPTORS,
    LEAST_INPUT,
    RECORDS,
    Settings,
    descriptor_limit,
)
from netdaemon.defaults import JOURNAL_SUFFIX, KEEPER_SUFFIX, NOTIFY_SUFFIX, socket_path
from netdaemon.errors import BadRequest, ConnectFailed, NetdaemonError
from netdaemon.keeper.limits import raise_limit
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.process.cgroups import Cgroups
from netdaemon.process.keeper_link import KeeperLink
from netdaemon.process.kept import KeptLauncher
from netdaemon.process.launcher import LocalLauncher
from netdaemon.sockets.binding import DEFAULT_MODE, PATH_MAX, Bound, CannotBind, adopt, bind
from netdaemon.systemd import Manager
from netdaemon.tls.endpoint import Listen, listen_of
from netdaemon.wire.commands import KEEP, KEEP_MAX, KEEP_MIN
from netdaemon.wire.records import Fate

# Seconds within which a daemon that leaves its processes to us has to be gone.
LEAVES_WITHIN = 30

# Where the keeper listens that has started this daemon.
KEEPER_VARIABLE = "NETDAEMON_KEEPER"

# What --audit may say instead of naming a file.
AUDIT_LOG, NO_AUDIT = "log", "none"

_log = Logger()


def _count(option: str, least: int) -> Any:
    def coerce(text: str) -> int:
        if not text.isdecimal():
            raise ValueError(f"--{option} is {text!r}, and it is a whole number from {least} on")
        value = int(text)
        if value < least:
            raise ValueError(f"--{option} is {text}, which is below {least}")
        return value

    return coerce


class Options(usage.Options):
    """Start, watch, feed and signal long-lived programs for clients on a UNIX socket."""

    synopsis = "[--socket=PATH] [--seqpacket=PATH] [--state=DIR] [options]"

    optParameters = [  # noqa: RUF012  # usage.Options reads it from the class
        ["socket", "s", None, "The socket for clients; the user's runtime directory unless said."],
        ["seqpacket", None, None, "A SOCK_SEQPACKET socket for clients of protocol version 1, besides."],
        ["mode", "m", f"{DEFAULT_MODE:04o}", "The sockets' file mode, in octal."],
        [
            "state",
            None,
            None,
            "A directory for output, events and records; the latter two then outlive a reboot.",
        ],
        ["policy", None, None, "A file that says who may do what. Without one: your own user and root, everything."],
        [
            "audit",
            None,
            None,
            "Where each decision that changes or refuses something is told: a file, log, or none. Default: log with a "
            "policy, none without.",
        ],
        ["cgroup", None, None, "A directory of cgroup2 that is ours: a control group for each process."],
        ["clients", None, None, "How many may be connected. Default: what descriptors allow.", _count("clients", 1)],
        [
            "clients-each",
            None,
            None,
            "How many of them may be of one user, but for root and the daemon's own. Default: half.",
            _count("clients-each", 1),
        ],
        [
            "newcomers",
            None,
            None,
            "How many of them may not have said HELLO; then the oldest of these goes. Default: half.",
            _count("newcomers", 1),
        ],
        ["processes", None, None, "How many may run. Default: what descriptors allow.", _count("processes", 1)],
        [
            "processes-each",
            None,
            None,
            "How many of them may be of one user, but for root and the daemon's own. Default: half.",
            _count("processes-each", 1),
        ],
        [
            "requests-per-second",
            None,
            None,
            "Of one connection; it is read more slowly beyond that. Default: no limit.",
            _count("requests-per-second", 1),
        ],
        [
            "bytes-per-second",
            None,
            None,
            "Sent by one connection; it is read more slowly beyond that. Default: no limit.",
            _count("bytes-per-second", LEAST_BYTES),
        ],
        ["burst", None, BURST, "For how many seconds' worth of either at once, after a rest.", _count("burst", 1)],
        [
            "input-budget",
            None,
            INPUT_BUDGET,
            "Bytes of unfinished messages of all clients together.",
            _count("input-budget", LEAST_INPUT),
        ],
        [
            "descriptors",
            None,
            None,
            "How many it may have open. Default: the hard limit; root may have more.",
            _count("descriptors", LEAST_DESCRIPTORS),
        ],
        ["exited", None, EXITED, "How many finished processes stay listed with their output.", _count("exited", 0)],
        [
            "keep",
            None,
            KEEP,
            f"Bytes of output kept of a process, {KEEP_MIN} to {KEEP_MAX}.",
            _count("keep", KEEP_MIN),
        ],
        ["events", None, EVENTS, "How many events are kept in the journal.", _count("events", 0)],
        ["records", None, RECORDS, "How many finished processes are remembered, without output.", _count("records", 0)],
        ["days", None, DAYS, "For how many days either is kept at most.", float],
        ["grace", None, GRACE, "Seconds from SIGTERM to SIGKILL for the processes when they are ended.", float],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[Listen] = []

    def opt_listen(self, said: str) -> None:
        """A place for clients from other machines, besides:
        tls:PORT:interface=ADDRESS:certificate=FILE:key=FILE:authority=FILE, and :pins=FILE. May be given several times.
        """
        try:
            self.listen.append(listen_of(said))
        except ValueError as error:
            raise usage.UsageError(f"--listen: {error}") from None

    optFlags = [  # noqa: RUF012  # likewise
        ["ephemeral", None, "Have no keeper: the processes end with the daemon."],
        ["takeover", None, "Have the daemon that runs there leave its processes to this one."],
        ["fdstore", None, "Have systemd keep descriptors, too (FileDescriptorStoreMax=)."],
    ]

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is not understood; all of netdaemon's arguments are options")

    def postOptions(self) -> None:
        if self["keep"] > KEEP_MAX:
            raise usage.UsageError(f"--keep is {self['keep']}, and at most {KEEP_MAX} is allowed")
        try:
            mode = int(self["mode"], 8)
        except ValueError:
            mode = -1
        if mode & ~0o666:
            raise usage.UsageError(f"--mode is {self['mode']}, and it is an octal number within 0666")
        self["mode"] = mode
        if self.listen and self["policy"] is None:
            raise usage.UsageError(
                "--listen needs --policy: without one nobody is let in but your own user and root of this machine"
            )
        if self["takeover"] and self["ephemeral"]:
            raise usage.UsageError("--takeover and --ephemeral: a daemon without a keeper cannot be left any processes")
        if self["days"] < 0:
            raise usage.UsageError(f"--days is {self['days']:g}, and it is a number of days")
        if self["grace"] < 0:
            raise usage.UsageError(f"--grace is {self['grace']:g}, and it is a number of seconds")
        if self.parent is not None and (self.parent.get("uid") is not None or self.parent.get("gid") is not None):
            raise usage.UsageError(
                "twistd's --uid and --gid change the user after the sockets are made, which would be another's then; "
                "start netdaemon as that user"
            )
        self._said = {name for name in ("socket", "seqpacket") if self[name] is not None}
        if not self._said:
            self["socket"] = socket_path()
        if self["ephemeral"] and self["fdstore"]:
            raise usage.UsageError("--fdstore keeps what --ephemeral ends; say one of them")
        if self["audit"] is None:
            self["audit"] = NO_AUDIT if self["policy"] is None else AUDIT_LOG
        for name in ("socket", "seqpacket", "state", "cgroup", "policy"):
            if self[name] is not None:
                self[name] = os.path.abspath(self[name])
        if self["audit"] not in (NO_AUDIT, AUDIT_LOG):
            self["audit"] = os.path.abspath(self["audit"])

    def said(self, name: str) -> bool:
        """Whether this socket was asked for, rather than the one where nothing is said."""
        return name in self._said


class _Foreground(DaemonService):
    """A daemon that is seen to start: one that cannot ends with a line, and no traceback."""

    def startService(self) -> None:
        try:
            super().startService()
        except NetdaemonError as error:
            raise SystemExit(f"netdaemon: {error}") from error


def _stop_soon(reactor: Any) -> None:
    """Stop the reactor. After whatever waits: a signal that came at the same time has its own way of doing that."""

    def stop() -> None:
        try:
            IReactorCore(reactor).stop()
        except ReactorNotRunning:
            pass

    reactor.callLater(0, stop)


def _cgroups(directory: str) -> Cgroups:
    cgroups = Cgroups(directory)
    try:
        cgroups.check()
    except OSError as error:
        raise CannotBind(f"--cgroup {directory}: {error.strerror}") from error
    return cgroups


def _launcher(reactor: Any, options: Options, manager: Manager, place: str) -> LocalLauncher | KeptLauncher:
    if not options["fdstore"]:
        # Of a time when it was asked for. As long as they are stored, no child sees the end of its input.
        manager.discard()
    if options["ephemeral"]:
        return LocalLauncher(reactor)
    path = os.environ.get(KEEPER_VARIABLE) or place + KEEPER_SUFFIX
    if len(os.fsencode(path)) >= PATH_MAX:
        most = PATH_MAX - 1 - len(KEEPER_SUFFIX)
        raise CannotBind(f"{place}: {len(os.fsencode(place))} bytes, and with a keeper beside it at most {most} fit")
    # A service manager starts a daemon again itself; and so does a keeper that has started this one.
    descriptors = options["descriptors"] or 0
    link = KeeperLink(path, secrets.token_hex(8), restart=not manager.restarts, descriptors=descriptors)
    return KeptLauncher(reactor, link, manager if options["fdstore"] and manager.present else None)


def _policy(options: Options) -> Callable[[], Policy]:
    """What gives the policy that counts from now on."""
    path = options["policy"]
    if path is None:
        return OwnerPolicy.of_this_process
    from netdaemon.policy.accounts import Numbers
    from netdaemon.policy.judging import FilePolicy
    from netdaemon.policy.reading import read

    def policy() -> Policy:
        reading = read(path)
        for doubt in reading.doubts:
            _log.warn("{doubt}", doubt=doubt)
        return FilePolicy(reading.rules, Numbers.of_this_process())

    return policy


def _audit(options: Options) -> Audit | None:
    where = options["audit"]
    if where == NO_AUDIT:
        return None
    try:
        return Audit(None if where == AUDIT_LOG else where)
    except OSError as error:
        raise CannotBind(f"--audit {where}: {error.strerror}") from error


def _sockets(options: Options, manager: Manager) -> Iterator[Bound]:
    """The sockets to listen on: those that a service manager has passed, and our own."""
    passed: dict[int, socket.socket] = {}
    for given in manager.sockets():
        other = passed.setdefault(given.type, given)
        if other is not given:
            both = " and ".join(os.fsdecode(one.getsockname()) for one in (other, given))
            raise CannotBind(f"the service manager has passed {both}; it may be one of each kind")
    for name, kind in (("socket", socket.SOCK_STREAM), ("seqpacket", socket.SOCK_SEQPACKET)):
        path, sock = options[name], passed.pop(kind, None)
        if sock is not None:
            place = os.fsdecode(sock.getsockname())
            if path is not None and options.said(name) and path != place:
                raise CannotBind(f"--{name} is {path}, and the service manager has passed {place}; say one of them")
            yield adopt(sock, options["mode"])
        elif path is not None and (options.said(name) or not passed):
            yield bind(path, kind, options["mode"])


def _ports(options: Options) -> list[Any]:
    """What listens for clients of other machines.

    :raises CannotBind: something for that is missing.
    """
    if not options.listen:
        return []
    try:
        # Few have it, and a daemon is started anew while everybody waits.
        from netdaemon.tls.listening import TlsPort
    except ModuleNotFoundError as error:
        raise CannotBind(
            f"--listen needs {error.name}, which is not installed: pip install 'netdaemon[tls]'"
        ) from error
    made: list[Any] = []
    try:
        for one in options.listen:
            made.append(TlsPort(one))
    except NetdaemonError as error:
        for port in made:
            port.remove()
        raise CannotBind(f"--listen: {error}") from error
    return made


def _take_over(path: str) -> None:
    """Have the daemon at *path* end, and leave its processes; come back when it is dead, or at once if there is none.

    All that takes time at a start has been done by now: nobody is without a daemon for longer than it must be.

    :raises CannotBind: it does not leave.
    """
    from netdaemon import blocking

    try:
        with blocking.connect(path, reconnect=False) as client:
            pidfd = os.pidfd_open(client.info().pid)
            client.shutdown(Fate.KEEP)
    except ConnectFailed:
        return
    except (NetdaemonError, OSError) as error:
        raise CannotBind(f"{path}: the daemon there does not leave its processes: {error}") from error
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    left = poll.poll(LEAVES_WITHIN * 1000)
    os.close(pidfd)
    if not left:
        raise CannotBind(f"{path}: the daemon there has not ended within {LEAVES_WITHIN} seconds")


def _reload(service: DaemonService) -> None:
    try:
        service.reload()
    except BadRequest:
        # The log has it; whoever has sent the signal is not there to be told.
        pass


def makeService(options: Options) -> IService:
    """The service; its sockets and its state directory are had already, or the program ends here with a word on why."""
    from twisted.internet import reactor

    # The terminal that the daemon was started from may go: that is no reason to end what was entrusted to it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Processes get what this one was given.
    raise_limit(options["descriptors"] or 0)
    if (options["descriptors"] or 0) > descriptor_limit():
        _log.warn(
            "--descriptors is {wanted}, and the hard limit (ulimit -Hn, LimitNOFILE=) allows {limit}",
            wanted=options["descriptors"],
            limit=descriptor_limit(),
        )
    settings = Settings(
        state=options["state"],
        events=options["events"],
        events_days=options["days"],
        records=options["records"],
        records_days=options["days"],
        clients=options["clients"],
        clients_each=options["clients-each"],
        newcomers=options["newcomers"],
        processes=options["processes"],
        processes_each=options["processes-each"],
        input_budget=options["input-budget"],
        requests=options["requests-per-second"],
        octets=options["bytes-per-second"],
        burst=options["burst"],
        exited=options["exited"],
        keep=options["keep"],
        grace=options["grace"],
    )
    wrong = list(contradictions(settings))
    if wrong:
        raise SystemExit(f"netdaemon: {'; '.join(wrong)}")
    for warning in tight(settings):
        _log.warn("{warning}", warning=warning)
    manager = Manager()
    bound: list[Bound] = []
    ports: list[Any] = []
    try:
        if options["takeover"]:
            _take_over(options["socket"])
        for one in _sockets(options, manager):
            bound.append(one)
        ports += _ports(options)
        place = bound[0].path
        launcher = _launcher(reactor, options, manager, place)
        if options["cgroup"] is not None:
            launcher.cgroups = _cgroups(options["cgroup"])
        if not options["ephemeral"]:
            # They outlive the daemon as the processes do.
            settings = replace(settings, runtime=place + NOTIFY_SUFFIX, journal=place + JOURNAL_SUFFIX)
        # Daemonising, twistd passes an Exception on to whoever has started it, and nothing else.
        foreground = options.parent is not None and options.parent["nodaemon"]
        service = _Foreground if foreground else DaemonService
        made = service(
            reactor,
            launcher,
            settings,
            bound=bound,
            policy=_policy(options),
            audit=_audit(options),
            ports=ports,
            manager=manager,
            on_shutdown=lambda: _stop_soon(reactor),
        )
        # What is there by now stays: the collector is not to walk over all of it again and again, 20 ms each time, for
        # which everybody would have to wait.
        gc.freeze()
        # Not in the handler itself: it may come in the middle of anything.
        signal.signal(signal.SIGHUP, lambda *_: IReactorFromThreads(reactor).callFromThread(_reload, made))
        return made
    except NetdaemonError as error:
        for one in (*bound, *ports):
            one.remove()
        raise SystemExit(f"netdaemon: {error}") from error
