"""The daemon's end of the socket to its keeper: finds one or starts one, takes over what it has; knows no reactor.

What waits here waits for the keeper alone, which answers within milliseconds, at a daemon's start and at the death of
a keeper: at neither is there anything else that the daemon could do.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator, Sequence

from twisted.logger import Logger

from netdaemon.errors import NetdaemonError
from netdaemon.keeper import __main__ as program
from netdaemon.keeper.child import has_exited
from netdaemon.keeper.client import Command
from netdaemon.keeper.ledger import read_entry
from netdaemon.keeper.limits import with_streams
from netdaemon.keeper.main import BATCH, REVISION
from netdaemon.keeper.messages import AGAIN, Channel, Torn, close_all

# Seconds for a keeper to start, for one to answer, and for the daemon before this one to be dead: that one ends its
# conversations and no more, but may be swapped out.
START_WITHIN = 10.0
ANSWER_WITHIN = 10.0
FENCE_WITHIN = 60.0

# Seconds for a keeper that has hung up to be seen to be dead: the kernel closes its sockets first.
DEAD_WITHIN = 1.0

# How often it is tried again whether a keeper listens that was only just started.
PROBE_EVERY = 0.005

SCRIPT = os.path.abspath(program.__file__)

Entry = tuple[str, int, dict[str, int]]

_log = Logger()


class KeeperUnusable(NetdaemonError):
    """There is no keeper and none can be had; the message says why and what would help."""


class KeeperLink:
    """The connection to a keeper.

    :param path: where it listens.
    :param restart: whether it is to start this program again if that is killed.
    :param instance: which daemon's processes these are, if the keeper has had none before.
    :param descriptors: how many a keeper that is started here is to have at least, if it may.
    :ivar stop_asked: whether it has said, while something else was waited for, that everything is to end.
    :ivar restarts: how many times in a row it has started a daemon.
    """

    def __init__(self, path: str, instance: str, *, restart: bool, descriptors: int = 0) -> None:
        self.path = path
        self.instance = instance
        self.pid = 0
        self.pidfd = -1
        self.revision = 0
        self.restarts = 0
        self.stop_asked = False
        self.channel: Channel
        self._restart = restart
        self._descriptors = descriptors
        environment = [name + b"=" + value for name, value in os.environb.items()]
        argv = [os.fsencode(one) for one in sys.orig_argv]
        self._command = Command(os.fsencode(sys.executable), argv, environment, os.fsencode(os.getcwd()))

    def open(self) -> list[Entry]:
        """Get through to the keeper, or start one; all that it has, the descriptors being ours from here on.

        :raises KeeperUnusable: neither can be done.
        """
        deadline = time.monotonic() + START_WITHIN
        rescued: list[Entry] = []
        while True:
            self.channel = Channel(self._connect() or self._start(deadline))
            entries: list[Entry] = []
            try:
                self._take_over(entries)
                if rescued:
                    self.hand_over(rescued)
                return entries + rescued
            except EOFError:
                # One that was just about to end, for want of anything to keep; or that was killed in the middle.
                rescued += entries
                self.close()
                if time.monotonic() > deadline:
                    raise KeeperUnusable(f"the keeper at {self.path} hangs up") from None

    def _connect(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except OSError as error:
            sock.close()
            raise KeeperUnusable(f"{self.path}: {error.strerror}") from error
        return sock

    def _start(self, deadline: float) -> socket.socket:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        log = 2 if _keeps(2) else nothing
        argv = [sys.executable, "-I", "-S", SCRIPT, "--descriptors", str(self._descriptors), "--socket", self.path]
        try:
            pid = with_streams(
                (nothing, log, log),
                lambda actions: os.posix_spawn(
                    sys.executable,
                    argv,
                    {},
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
                ),
            )
        except OSError as error:
            raise KeeperUnusable(f"{sys.executable}: {error.strerror}; no keeper was started") from error
        finally:
            os.close(nothing)
        while time.monotonic() < deadline:
            sock = self._connect()
            if sock is not None:
                return sock
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                raise KeeperUnusable(
                    f"a keeper was started and has ended with {os.waitstatus_to_exitcode(status)}; to see why: "
                    f"{' '.join(argv)}"
                )
            time.sleep(PROBE_EVERY)
        raise KeeperUnusable(f"a keeper was started (pid {pid}) and does not listen at {self.path}")

    def _take_over(self, entries: list[Entry]) -> None:
        """Have what the keeper has; what has come is in *entries*, if it is killed in the middle, too."""
        try:
            self.channel.send(b"hello", b"%d" % self._restart, self.instance.encode(), self._command.pack())
            fields = self._await(b"welcome", FENCE_WITHIN)
            self.instance = fields[1].decode()
            self.revision, self.pid, self.restarts, count = map(int, fields[2:6])
            self.pidfd = os.pidfd_open(self.pid)
            for fields, descriptors in self._messages(ANSWER_WITHIN):
                if fields[0] == b"entry":
                    entries.append(read_entry(fields[1:], descriptors))
                elif fields[0] in (b"more", b"all"):
                    self.channel.send(b"taken")
                    if fields[0] == b"all":
                        break
                else:
                    close_all(descriptors)
        except (Torn, OSError) as error:
            if isinstance(error, BrokenPipeError | ConnectionError):
                raise EOFError from error
            for _, _, roles in entries:
                close_all(roles.values())
            raise KeeperUnusable(f"the keeper at {self.path} could not hand over: {error}") from error
        if len(entries) < count:
            _log.error("the keeper has {count} processes and handed over {here}", count=count, here=len(entries))

    def _messages(self, within: float) -> Iterator[tuple[list[bytes], list[int]]]:
        """What it says; each within so many seconds."""
        while True:
            received = self.channel.receive()
            if received is not None:
                self.stop_asked |= received[0][:1] == [b"stop"]
                yield received
                continue
            poll = select.poll()
            poll.register(self.channel.fileno(), select.POLLIN | (select.POLLOUT if self.channel.waits else 0))
            if not poll.poll(int(within * 1000)):
                raise KeeperUnusable(
                    f"the keeper at {self.path} does not answer; another daemon may still be running with its processes"
                )
            self.channel.flush()

    def _await(self, word: bytes, within: float) -> list[bytes]:
        """Its next message of this kind; others are passed over."""
        for fields, descriptors in self._messages(within):
            close_all(descriptors)
            if fields and fields[0] == word:
                return fields
        raise AssertionError

    def upgrade(self) -> None:
        """Where the keeper is older than the one that is installed here, have it execute that."""
        if self.revision >= REVISION:
            return
        self.channel.send(b"upgrade", os.fsencode(sys.executable), os.fsencode(SCRIPT))
        for fields, descriptors in self._messages(ANSWER_WITHIN):
            close_all(descriptors)
            if fields[0] == b"upgraded":
                _log.info("the keeper was of revision {old} and is of {new} now", old=self.revision, new=int(fields[1]))
                self.revision = int(fields[1])
                return
            if fields[0] == b"not-upgraded":
                _log.error("the keeper goes on as it is: {why}", why=fields[1].decode("utf-8", "replace"))
                return

    def hand_over(self, entries: Sequence[Entry]) -> None:
        """Have a new keeper keep all this, too.

        :raises OSError, EOFError: it is gone already.
        """
        for place in range(0, len(entries), BATCH):
            for id, pid, roles in entries[place : place + BATCH]:
                names = [name.encode() for name in roles]
                self.channel.send(b"adopt", id.encode(), b"%d" % pid, *names, descriptors=list(roles.values()))
            self.channel.send(b"sync")
            self._await(b"synced", ANSWER_WITHIN)

    def bury(self) -> bool:
        """Whether the keeper is dead; if it was our child, it is waited for."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll(int(DEAD_WITHIN * 1000))
        if not has_exited(self.pidfd):
            return False
        try:
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass
        return True

    def sync(self) -> bool:
        """Whether the keeper has heard all that was said."""
        try:
            self.drain()
            self.channel.send(b"sync")
            self._await(b"synced", ANSWER_WITHIN)
        except (EOFError, OSError, KeeperUnusable):
            return False
        return True

    def drain(self) -> None:
        """Wait until all that was said is the kernel's, for it to be heard whatever becomes of us."""
        deadline = time.monotonic() + ANSWER_WITHIN
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLOUT)
        try:
            while (self.channel.waits or self.channel.stalled) and time.monotonic() < deadline:
                if self.channel.stalled:
                    time.sleep(AGAIN)
                else:
                    poll.poll(int(ANSWER_WITHIN * 1000))
                self.channel.flush()
        except OSError:
            # It is gone itself.
            pass

    def close(self) -> None:
        """Hang up."""
        self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _keeps(descriptor: int) -> bool:
    """Whether a keeper may write there: not into a pipe that somebody reads to its end, nor to a terminal."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
