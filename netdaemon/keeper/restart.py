"""Starting a daemon again that was killed: how, when, how often; knows neither sockets nor processes."""

from __future__ import annotations

import os
import signal
import time

from netdaemon.keeper.client import Command
from netdaemon.keeper.limits import with_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

# A daemon that does not stay up is started again later and later, so many times; one that stays up is forgiven.
FIRST, LAST, TIMES, STAYS_UP = 0.05, 30.0, 12, 10.0

# What tells a daemon that a keeper has started it, and where that listens.
VARIABLE = b"NETDAEMON_KEEPER"

# Dispositions that are not for a daemon: ours, and what this interpreter ignores.
_RESET = (signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def say(text: str) -> None:
    """A line for whoever reads our standard error."""
    try:
        os.write(2, f"netdaemon keeper[{os.getpid()}]: {text}\n".encode())
    except OSError:
        pass


class Restarts:
    """The daemon that this keeper starts.

    :param socket: where the keeper listens; the daemon is told.
    :param command: how; None until a daemon has told how it was started itself.
    :ivar at: when it is to be started, as time.monotonic has it; None: not.
    :ivar count: how many times in a row it has been.
    :ivar pid: what was started and has not been waited for; 0: nothing.
    """

    def __init__(self, socket: str, command: Command | None) -> None:
        self.command = command
        self.at: float | None = None
        self.count = 0
        self.pid = 0
        # Whether one has ever come as far as to say hello: else there is no use in trying again.
        self._proven = False
        self._socket = socket

    def died(self, since: float, why: str) -> None:
        """A daemon that has been up *since* is gone, and is to be started again."""
        self._proven = True
        if time.monotonic() - since > STAYS_UP:
            self.count = 0
        self.later(why)

    def later(self, why: str) -> None:
        """Start it after a pause, or give up; say so."""
        if not self._proven:
            say(f"{why}; none has ever come up: not started again")
            return
        if self.count >= TIMES:
            say(f"{why}, for the {self.count}th time in a row: not started again; start one by hand")
            return
        pause = 0.0 if not self.count else min(FIRST * 2**self.count, LAST)
        self.at = time.monotonic() + pause
        self.count += 1
        say(f"{why}; starting a daemon in {pause:.1f} s")

    def start(self) -> None:
        """Start it, unless it still runs."""
        self.at = None
        command = self.command
        if command is None or self.pid:
            return
        env = dict(one.partition(b"=")[::2] for one in command.env)
        env[VARIABLE] = os.fsencode(self._socket)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                os.chdir(command.cwd)
            except OSError as error:
                say(f"{os.fsdecode(command.cwd)}: {error.strerror}; starting the daemon in / instead")
            self.pid = with_streams(
                (nothing, 1, 2),
                lambda actions: os.posix_spawnp(
                    command.path,
                    command.argv,
                    env,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_RESET,
                ),
            )
        except OSError as error:
            self.later(f"{os.fsdecode(command.path)}: {error.strerror}")
        finally:
            os.close(nothing)
            os.chdir("/")

    def end(self) -> None:
        """End what was started and has not come up: nobody needs it any more."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def reap(self, kept: Container[int], orphans: bool) -> bool:
        """Let go of whoever has exited and is nobody's: what was started here, and as process 1 all *orphans*.

        :param kept: the pids of children whose exit somebody asks for.
        :return: whether the daemon was among them.
        """
        ended = False
        for pid in _children() if orphans else [self.pid]:
            if not pid or pid in kept:
                continue
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                # After an upgrade of ours it may be somebody else's; it is gone all the same.
                done, status = pid, 0
            if done and done == self.pid:
                say(f"the daemon {done} has ended ({os.waitstatus_to_exitcode(status)})")
                self.pid = 0
                ended = True
        return ended


def _children() -> list[int]:
    """The pids of our children, those that others left to us among them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(one) for one in file.read().split()]
    except OSError:
        return []
