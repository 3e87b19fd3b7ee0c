"""A daemon that is killed and started again, its keeper, their children, and what must be so of all of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from netdaemon.errors import ConversationAborted
from netdaemon.wire.answers import DaemonInfo
from netdaemon.wire.commands import FOR_EVER, Info, List, Start
from netdaemon.wire.records import Pty
from tests.faults.wire import Wire, eventually
from tests.support import PATIENCE, end_daemon, keeper_pid, readable
from tests.survive import programs
from tests.survive.follower import Follower

PROGRAMS = programs.__file__
TWISTD = str(Path(sys.executable).with_name("twistd"))

# Most of a daemon's start, on a machine that is not too busy: a kill within it comes at any stage of it.
STARTING = 0.9

# As a service manager has it: it is not the keeper that starts the daemon again, but we do.
MANAGED = {"INVOCATION_ID": "test"}

# Whatever exits stays listed, to be compared.
OPTIONS = ("--grace=2", "--exited=1000")

# Kinds of `programs` that have a terminal; and what is no program of ours.
TERMINALS = ("terminal", "typed", "screen")
CAT = "cat"

# Kinds that are fed.
FED = (CAT, "typed", "fed")


class Death:
    """A process that is to die, watched from before on."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    @property
    def dead(self) -> bool:
        return readable(self._pidfd, 0)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, patience: float = PATIENCE) -> bool:
        return readable(self._pidfd, patience)

    def close(self) -> None:
        os.close(self._pidfd)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Kill, and wait until it is dead."""
    victim = Death(pid)
    victim.send(number)
    assert victim.wait(), f"{pid} does not die of {number}"
    victim.close()


# As an installed program has it: what was compiled once is not compiled at each start.
COMPILED = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/netdaemon-tests-{os.geteuid()}",
}


class World:
    """One daemon after the other on one socket.

    :param options: of netdaemon.
    :param program: what runs twistd, in place of twistd itself.
    :param inside: a command that executes the one after it.
    :param environment: of the daemon, besides ours.
    :ivar marker: in the arguments of every child, and of nobody else.
    """

    def __init__(
        self,
        *options: str,
        program: Sequence[str] = (TWISTD,),
        inside: Sequence[str] = (),
        environment: Mapping[str, str] = MANAGED,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nd"))
        self.marker = f"survive-{secrets.token_hex(6)}"
        self.path = str(self.directory / "stream")
        self.log = self.directory / "log"
        self.followers: list[Follower] = []
        # By name: the exit code or the signal by which it is to end.
        self.endings: dict[str, tuple[int | None, int | None]] = {}
        # Those of which nobody could tell how they ended.
        self.unknown: set[str] = set()
        self.kinds: dict[str, str] = {}
        # Children that nobody follows any more.
        self.left_alone: list[Follower] = []
        self.process: subprocess.Popen[bytes]
        self.program = list(program)
        self.inside = inside
        self.environment = dict(environment)
        self._options = [option.replace("DIR", str(self.directory)) for option in options]
        self._count = 0
        self._output = self.log.open("ab")

    # --- the daemon --------------------------------------------------------------------------------------------------

    def start(self, *options: str) -> None:
        """Start a daemon, and wait for nothing."""
        command = [*self.inside, *self.program, "-n", "--pidfile=", "netdaemon", f"--socket={self.path}", *OPTIONS]
        self.process = subprocess.Popen(
            [*command, *self._options, *options],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**COMPILED, **self.environment},
        )

    def ready(self, *, ours: bool = True) -> DaemonInfo:
        """Wait until a daemon answers; what it says of itself.

        :param ours: it is we who have started it.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                wire = Wire(self.path)
                try:
                    return wire.ask(Info())  # type: ignore[no-any-return]
                finally:
                    wire.close()
            except (OSError, EOFError, ConversationAborted):
                assert not ours or self.process.poll() is None, f"the daemon ended:\n{self.told()}"
                assert time.monotonic() < deadline, f"there is no daemon:\n{self.told()}"
                time.sleep(0.005)

    def told(self) -> str:
        """The log of all daemons and keepers."""
        return self.log.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the daemon, and wait until it is dead."""
        kill(self.process.pid, number)
        code = self.process.wait()
        assert code == -number, f"it ended with {code} itself:\n{self.told()}"

    def kill_in_its_farewell(self, after: float) -> None:
        """Tell it to end, and kill it so many seconds later, if that was not enough."""
        victim = Death(self.process.pid)
        victim.send(signal.SIGTERM)
        if not victim.wait(after):
            victim.send(signal.SIGKILL)
        assert victim.wait()
        victim.close()
        assert self.process.wait() in (-signal.SIGTERM, -signal.SIGKILL), self.told()

    def kill_keeper(self) -> int:
        """Kill the keeper; its pid."""
        pid = keeper_pid(self.path)
        assert pid is not None
        kill(pid)
        return pid

    def successor(self, dead: int) -> int:
        """Wait until another keeper has taken the place of *dead*, with everything; its pid."""

        def there() -> int | None:
            info = self.ready()
            return info.keeper_pid if info.keeper_pid != dead and not info.degraded else None

        return int(eventually(there))

    def ask(self, request: Any) -> Any:
        """On a connection of its own."""
        wire = Wire(self.path)
        try:
            return wire.ask(request)
        finally:
            wire.close()

    # --- its children ------------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: str,
        *,
        code: int = 0,
        seed: int = 0,
        compare: bool = True,
        wait: bool = True,
        keep: int | None = None,
    ) -> Follower:
        """Have a child, and somebody who follows it.

        :param seed: of what chance does with it.
        :param compare: false: what it writes is counted only.
        :param wait: until it runs.
        """
        self._count += 1
        name = f"{kind}{self._count}"
        pty = Pty(rows=24, columns=80) if kind in TERMINALS else None
        where = (str(self.directory), name, str(code), self.marker)
        start = Start(
            argv=(f"cat-{self.marker}-{name}",)
            if kind == CAT
            else (sys.executable, "-I", "-S", PROGRAMS, kind, *where),
            path="/bin/cat" if kind == CAT else None,
            env=(),
            name=name,
            key=f"{self.marker}-{name}",
            pty=pty,
            keep=keep,
            attach=True,
            from_=0,
            hold=FOR_EVER,
        )
        echo = kind in (CAT, "typed")
        patterns: dict[int, str | None] = {1: f"{name}-in" if echo else f"{name}-1"}
        if not pty:
            patterns[2] = f"{name}-2"
        follower = Follower(
            self.path,
            start,
            patterns={
                channel: text if compare else None for channel, text in patterns.items() if not pty or channel == 1
            },
            feed=f"{name}-in" if kind in FED else None,
            on_fed=(lambda count: self.stop(name, str(count))) if kind == "typed" else None,
            ready=programs.READY if kind == "typed" else 0,
            seed=seed,
        )
        self.followers.append(follower)
        self.endings[name], self.kinds[name] = (code, None), kind
        if wait:
            follower.known()
        return follower

    def stop(self, name: str, text: str = "now") -> None:
        """Tell one of `programs` to end."""
        file = self.directory / f"{name}.stop"
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").rename(file)

    def end(self, follower: Follower) -> None:
        """Tell a child to end, in the way of its kind."""
        name = follower.start.name
        assert name is not None
        if self.kinds[name] in FED:
            follower.finish()
        else:
            self.stop(name)

    def leave_alone(self, follower: Follower) -> None:
        """Follow it no more."""
        follower.leave()
        self.followers.remove(follower)
        self.left_alone.append(follower)

    def murder(self, follower: Follower, number: int = signal.SIGKILL) -> None:
        """Kill a child, from outside."""
        name, pid = follower.start.name, follower.pid
        assert name is not None
        assert pid is not None
        self.endings[name] = None, number
        kill(pid, number)

    def some(self, kind: str) -> Iterator[Follower]:
        """Those of a kind that have been told nothing."""
        for follower in list(self.followers):
            name = follower.start.name
            assert name is not None
            waits = self.kinds[name] == kind and follower.pid and self.endings[name][0] is not None
            if waits and not (self.directory / f"{name}.stop").exists() and not follower.is_done:
                yield follower

    def check(self) -> None:
        """Nobody has seen anything wrong; nothing runs twice, and nothing that is not known."""
        for follower in self.followers:
            follower.check()
        born = self.pids()
        known = sum(not one.is_done for one in self.followers) + len(self.left_alone)
        assert len(born) <= known, "something runs twice"

    def pids(self) -> list[int]:
        """The children that live, as the kernel has them."""
        return marked(self.marker)

    def finish(self, *, unknown: bool = False) -> None:
        """End all that goes on, and compare the rest: what was written, how it exited, how often it was started.

        :param unknown: nobody may be able to tell how something ended.
        """
        for follower in self.followers:
            if not follower.is_done:
                self.end(follower)
        for follower in self.followers:
            follower.done()
            self.compare(follower, unknown=unknown)
        eventually(lambda: len(self.pids()) == len(self.left_alone))
        listed = {one.id for one in self.ask(List()).processes}
        assert listed == {one.process for one in (*self.followers, *self.left_alone)}

    def compare(self, follower: Follower, *, unknown: bool = False) -> None:
        """What one that has ended has written, by its own account; and how it exited."""
        name = follower.start.name
        assert name is not None
        assert follower.status is not None
        ending = follower.status.code, follower.status.signal
        if unknown and ending == (None, None):
            self.unknown.add(name)
        else:
            assert ending == self.endings[name], f"{name}: {follower.status}"
        if self.kinds[name] == CAT:
            assert follower.received == {1: follower.acknowledged, 2: 0}
            return
        file = self.directory / f"{name}.born"
        if self.endings[name][0] is None and not file.exists():
            # It was killed before it had come to that.
            return
        born = file.read_text().split()
        assert len(born) == 1, f"{name} was started {len(born)} times"
        # One that has come and gone while there was no daemon has told nobody its pid.
        assert follower.pid is None or born == [str(follower.pid)], f"{name} is {born} and was told as {follower.pid}"
        if self.endings[name][0] is None:
            return
        out, err, read, wrong = map(int, (self.directory / f"{name}.report").read_text().split())
        assert not wrong, f"{name} read other bytes than were sent"
        assert follower.received[1] == out
        assert follower.received.get(2, 0) == err
        assert read == follower.acknowledged

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self, *, sound: bool = True) -> None:
        """End everything, whatever has come of it.

        :param sound: nothing has failed so far: nothing must be left, and the log is to be clean.
        """
        end_daemon(self.path, self.process)
        for follower in self.followers:
            follower.leave()
        left = marked(self.marker)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        self._output.close()
        told = self.told()
        if not sound:
            sys.stderr.write(told[-8000:])
        for state in self.directory.glob("state*"):
            subprocess.run(["umount", "-q", str(state)], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        if sound:
            assert not left, f"{left} were left behind"
            assert "Traceback" not in told, told
            assert "Unhandled" not in told, told


AnyWorld = TypeVar("AnyWorld", bound=World)


@contextlib.contextmanager
def within(made: AnyWorld) -> Iterator[AnyWorld]:
    """A world that is closed after use, and is sound then unless something has failed before."""
    try:
        yield made
    except BaseException:
        made.close(sound=False)
        raise
    made.close()


@contextlib.contextmanager
def world(*options: str, **more: Any) -> Iterator[World]:
    """A world whose daemon has been started and answers."""
    with within(World(*options, **more)) as made:
        made.start()
        made.ready()
        yield made


def marked(marker: str) -> list[int]:
    """The processes with *marker* in their arguments that have not exited."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(name))
    return found


def kills(world: World, rounds: int, chance: Random, while_dead: Any = lambda number: None) -> None:
    """Kill the daemon so many times, at any moment of its life, and have the next one started."""
    for number in range(rounds):
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0, STARTING))
        else:
            world.ready()
            world.check()
            time.sleep(chance.uniform(0, 0.3))
        if chance.random() < 0.2:
            world.kill_in_its_farewell(chance.uniform(0, 0.05))
        else:
            world.kill()
        while_dead(number)
        world.start()
    world.ready()
    world.check()
