"""The keeper's loop: it answers one daemon at a time, hands everything to the next once that is dead, starts it again.

It decides nothing about processes. What it does by itself: it never gives a descriptor to a daemon while another one
lives that has it; it starts a daemon again that was killed, where nobody else does; it ends when it has neither a
process nor a daemon.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time

from netdaemon.keeper.client import Command, Daemon
from netdaemon.keeper.launch import settle_signals
from netdaemon.keeper.ledger import Ledger
from netdaemon.keeper.messages import AGAIN, Torn
from netdaemon.keeper.place import bind, listens
from netdaemon.keeper.restart import Restarts, say
from netdaemon.keeper.state import State
from netdaemon.keeper.words import carry_out, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Raised whenever anything in this folder changes: a daemon that finds a lower one here has it execute the newer.
REVISION = 6

# Entries on their way to a daemon: an ordinary user may have as many descriptors in flight as it may have open.
BATCH = 16

# Seconds without a process and without a daemon after which there is nothing to wait for.
LINGER = 30.0

# Seconds from SIGTERM to SIGKILL for children when we are to end and there is no daemon to see to it; and until it is
# looked again whether they have.
GRACE, LOOK_AGAIN = 10.0, 0.1

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def _be_woken(number: int, frame: object) -> None:
    """The descriptor that tells of signals has told."""


class Keeper:
    """One keeper.

    :param always: how the daemon is started that is to run whatever happens, as in process 1 of a container; None:
        whoever started the first daemon started us, and another is started only where one is killed.
    :ivar own_directory: whether the socket's directory was made for it, and goes with it.
    """

    own_directory = False

    def __init__(self, path: str, listener: socket.socket, always: Command | None = None) -> None:
        self.path = path
        self.ledger = Ledger()
        self.restarts = Restarts(path, always)
        self.always = always
        self.listener: socket.socket | None = listener
        # Which daemon's processes these are: what the first said, told to all that follow.
        self.instance = b""
        self.daemon: Daemon | None = None
        self.next: Daemon | None = None
        self.strangers: list[Daemon] = []
        # We are to end: asked by a signal; and by a daemon that has ended everything.
        self.stopping = False
        self.ended = False
        self._kill_at: float | None = None
        self._idle_since: float | None = None
        self._wake = -1

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Keep; the exit code when there is nothing to keep any more."""
        if self._wake < 0:
            self._listen_to_signals()
        while (code := self._over()) is None:
            watched = self._watched()
            poll = select.poll()
            for number, (events, _) in watched.items():
                poll.register(number, events)
            try:
                ready = dict(poll.poll(self._patience()))
            except OSError as error:
                # No memory for it. Nothing is lost by trying again.
                say(f"poll: {error.strerror}")
                time.sleep(AGAIN)
                continue
            # In the order of `_watched`: what a daemon has said is heard before its death is.
            for number, (_, handler) in watched.items():
                if number in ready:
                    handler()
            for one in self._daemons():
                if one.channel is not None and one.channel.stalled:
                    self._talk(one)
            now = time.monotonic()
            if self.restarts.at is not None and now >= self.restarts.at:
                # Before there is one that may exit.
                signal.signal(signal.SIGCHLD, _be_woken)
                self.restarts.start()
            if self._kill_at is not None and now >= self._kill_at:
                self._kill_at = None
                self.ledger.kill(signal.SIGKILL)
        self.unlink()
        return code

    def _watched(self) -> dict[int, tuple[int, Callable[[], None]]]:
        """What to poll for what, and what to do then."""
        watched: dict[int, tuple[int, Callable[[], None]]] = {}
        daemons = self._daemons()
        for one in daemons:
            if one.channel is not None:
                events = select.POLLIN | (select.POLLOUT if one.channel.waits else 0)
                watched[one.channel.fileno()] = events, lambda one=one: self._talk(one)  # type: ignore[misc]
        for one in daemons:
            watched[one.pidfd] = select.POLLIN, lambda one=one: self._died(one)  # type: ignore[misc]
        for pidfd in self.ledger.dying:
            watched[pidfd] = select.POLLIN, lambda pidfd=pidfd: self.ledger.bury(pidfd)  # type: ignore[misc]
        if self.listener is not None:
            watched[self.listener.fileno()] = select.POLLIN, self._accept
        watched[self._wake] = select.POLLIN, self._woken
        return watched

    def _daemons(self) -> list[Daemon]:
        return [one for one in (self.daemon, self.next, *self.strangers) if one is not None]

    def _patience(self) -> int | None:
        """Milliseconds until something is to be done though nothing has happened."""
        now = time.monotonic()
        due = [one for one in (self.restarts.at, self._kill_at) if one is not None]
        if self._idle_since is not None:
            due.append(self._idle_since + LINGER)
        if self.stopping and self.daemon is None:
            due.append(now + LOOK_AGAIN)
        if any(one.channel is not None and one.channel.stalled for one in self._daemons()):
            due.append(now + AGAIN)
        return None if not due else max(0, int((min(due) - now) * 1000) + 1)

    def _over(self) -> int | None:
        """The exit code, if there is nothing left to do."""
        finished = self.ended or (self.stopping and not self.ledger.alive and not self.restarts.pid)
        if self._daemons():
            # One that has died is told of by the next poll, and is none of them then.
            self._idle_since = None
            return None
        if finished:
            return 0
        if len(self.ledger) or self.restarts.at is not None or self.restarts.pid:
            self._idle_since = None
            return None
        if self.always is not None:
            # It could not be started, and has said why itself.
            return 1
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
        return 0 if now >= self._idle_since + LINGER else None

    # --- daemons -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        if self.listener is None:
            # The daemon's death, seen at the same time, was the end of it.
            return
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            say(f"nobody can be let in: {error.strerror}")
            # It would be told of at once again.
            time.sleep(AGAIN)
            return
        try:
            self.strangers.append(Daemon.of_connection(sock))
        except OSError as error:
            say(f"a connection was refused: {error}")
            sock.close()

    def _talk(self, one: Daemon) -> None:
        """Hear all that a daemon has said."""
        while one.channel is not None:
            try:
                try:
                    one.channel.flush()
                except OSError:
                    # It hears no more; what it said is to be heard all the same.
                    pass
                received = one.channel.receive()
                if received is None:
                    return
                self._heard(one, *received)
            except Torn as error:
                say(f"daemon {one.pid}: {error}")
                refuse(self, one, error.fields)
            except OSError as error:
                say(f"daemon {one.pid}: {error.strerror}")
                return
            except EOFError:
                # That says nothing of the process: what it has it has, until it is dead.
                one.hang_up()
        if one is not self.daemon:
            # It was given nothing.
            self._forget(one)

    def _forget(self, one: Daemon) -> None:
        if one in self.strangers:
            self.strangers.remove(one)
        if one is self.next:
            self.next = None
        one.close()

    def _heard(self, one: Daemon, fields: list[bytes], descriptors: list[int]) -> None:
        if fields[:1] == [b"hello"] and len(fields) == 4 and not descriptors:
            self._introduced(one, fields)
            return
        carry_out(self, one, fields, descriptors)

    def _introduced(self, one: Daemon, fields: list[bytes]) -> None:
        """hello RESTART INSTANCE COMMAND: a daemon that wants to be handed everything."""
        one.restart, one.command = fields[1] == b"1", Command.unpack(fields[3])
        self.instance = self.instance or fields[2]
        if one in self.strangers:
            self.strangers.remove(one)
        if self.next is not None and self.next is not one:
            self.next.close()
        self.next = one
        self._next_turn()

    def _next_turn(self) -> None:
        """Hand everything to the next daemon, if there is one and the last one can touch nothing any more."""
        one, last = self.next, self.daemon
        if one is None or one.channel is None or (last is not None and last.alive and last.pid != one.pid):
            return
        if last is not None and last is not one:
            last.close()
        self.daemon, self.next, self.restarts.at = one, None, None
        one.since, one.left = time.monotonic(), list(self.ledger)
        numbers = (REVISION, os.getpid(), self.restarts.count, len(one.left))
        one.channel.send(b"welcome", self.instance, *(b"%d" % number for number in numbers))
        self.hand_over(one)

    def hand_over(self, one: Daemon) -> None:
        assert one.channel is not None
        assert one.left is not None
        batch, one.left = one.left[:BATCH], one.left[BATCH:]
        while batch:
            if batch[0] in self.ledger.entries:
                fields, descriptors = self.ledger.described(batch[0])
                if not self.tell(one, b"entry", *fields, descriptors=descriptors):
                    # There is no descriptor to send it with: a little later.
                    one.left = batch + one.left
                    break
            del batch[0]
        one.channel.send(b"more" if one.left else b"all")

    def _died(self, one: Daemon) -> None:
        # All that it said last: some of it may be what a process has no other record of.
        self._talk(one)
        if one is self.daemon:
            self.daemon = None
            self._be_found()
            self._daemon_died(one)
        self._forget(one)

    def _daemon_died(self, one: Daemon) -> None:
        self.restarts.reap((), orphans=False)
        if self.next is not None:
            self._next_turn()
        elif self.stopping and not self.ended:
            self._stop_alone()
        elif self.ended or (one.farewell and not len(self.ledger) and self.always is None):
            self.ended = True
            self.unlink()
        elif self.always is not None or (one.restart and not one.farewell):
            self.restarts.command = self.always or one.command
            self.restarts.died(one.since, f"the daemon {one.pid} is gone and {self.ledger.alive} processes go on")

    def tell(self, one: Daemon, *fields: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Say something; to one that is dead nothing, and whatever it said after what this answers is heard.

        False: there is no descriptor left to say it with.
        """
        try:
            if one.channel is not None:
                one.channel.send(*fields, descriptors=descriptors)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                say(f"daemon {one.pid}: {error}")
                return False
        return True

    @classmethod
    def resumed(cls, file: int) -> Keeper:
        """The keeper whose state is in *file*, in this program from here on."""
        state = State.read(file)
        keeper = cls(state.path, state.listener, state.always)
        keeper.instance, keeper.ledger, keeper.daemon = state.instance, state.ledger, state.daemon
        keeper.restarts.pid = state.started
        # Before it is told that we are here, signals have to find us.
        keeper._listen_to_signals()
        keeper.tell(state.daemon, b"upgraded", b"%d" % REVISION)
        return keeper

    # --- signals -----------------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        """Have signals wake the loop. Unblocks what an upgrade has blocked."""
        self._wake, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _be_woken)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        settle_signals()
        self._listen_for_exits()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if self.always is not None and self.daemon is None and not self.restarts.pid:
            self.restarts.at = 0.0

    def _listen_for_exits(self) -> None:
        """Be woken by exits only where one may be ours to see to: the daemon asks for those of its processes."""
        wanted = self.always is not None or self.restarts.pid
        signal.signal(signal.SIGCHLD, _be_woken if wanted else signal.SIG_DFL)

    def hear_signals(self) -> None:
        """Those that have come and have not been heard."""
        try:
            self._woken()
        except BlockingIOError:
            pass

    def _woken(self) -> None:
        numbers = os.read(self._wake, 4096)
        if signal.SIGCHLD in numbers:
            kept = {entry.pid for entry in self.ledger.entries.values()}
            ended = self.restarts.reap(kept, orphans=self.always is not None)
            self._listen_for_exits()
            idle = self.daemon is None and self.next is None and self.restarts.at is None
            if ended and idle and not (self.stopping or self.ended):
                self.restarts.later("it was started and has not come as far as to say hello")
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            first, self.stopping, self.restarts.at = not self.stopping, True, None
            if self.daemon is None and self.next is None:
                if first:
                    self.restarts.end()
                    self._stop_alone()
            elif self.daemon is not None and self.daemon.left is None:
                self.tell(self.daemon, b"stop")

    def _stop_alone(self) -> None:
        """There is no daemon that would end the children in order."""
        say(f"ending {self.ledger.alive} processes: there is no daemon to do it")
        self.ledger.kill(signal.SIGTERM)
        self._kill_at = time.monotonic() + GRACE

    def _be_found(self) -> None:
        """Be where the next daemon looks, though somebody has cleaned the place."""
        if self.listener is None or listens(self.path, self.listener):
            return
        try:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            listener = bind(self.path)
        except OSError as error:
            say(f"{self.path} is not ours any more: {error.strerror}")
            return
        say(f"{self.path} was gone; it is there again")
        self.listener.close()
        self.listener = listener

    def unlink(self) -> None:
        """Nobody is to find us any more."""
        if self.listener is not None:
            ours = listens(self.path, self.listener)
            self.listener.close()
            self.listener = None
            if not ours:
                return
            try:
                os.unlink(self.path)
                if self.own_directory:
                    os.rmdir(os.path.dirname(self.path))
            except OSError:
                pass
