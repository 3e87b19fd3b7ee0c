"""G12: after any fault is gone nothing is left: descriptors, zombies, memory, files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdaemon.errors import LaunchFailed, NoSuchProcess
from netdaemon.wire.answers import Ok, Output
from netdaemon.wire.commands import Attach, Detach, Inspect, Kill, List, Remove, Start, Wait
from netdaemon.wire.records import Pty, State
from tests.faults.conftest import Trials
from tests.faults.wire import PATH, PATIENCE, Wire, children, descriptors, eventually, memory
from tests.support import LONG, Figure, RunningDaemon, running_daemon

MEBIBYTE = 1 << 20

# Rounds before the first measurement: caches fill, the interpreter's memory finds its shape.
WARM = 300


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[RunningDaemon, Path]]:
    """A daemon that keeps output in files, and where."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path, f"--state={tmp_path / 'state'}") as running:
        yield running, tmp_path / "state"
        assert running.process.poll() is None, "the daemon died"
    text = running.log.read_text(errors="replace")
    assert "Traceback" not in text, text


class Base:
    """What a daemon has; `more` says what it has more, once its memory has come to rest."""

    def __init__(self, pid: int, state: Path) -> None:
        self._pid = pid
        self._state = state
        self._first = self._at_rest()

    def _at_rest(self) -> tuple[int, int, int, int]:
        """What it has once nothing of it changes any more: an exit is told before all of its pipes are closed."""
        before = self._now()
        while True:
            time.sleep(0.1)
            now = self._now()
            if now[:3] == before[:3]:
                return now
            before = now

    def _now(self) -> tuple[int, int, int, int]:
        files = sum(len(names) for _, _, names in os.walk(self._state))
        return descriptors(self._pid), children(self._pid), files, memory(self._pid)

    def check(self, what: str, figure: Figure) -> str:
        """Nothing more than before, and 2 MiB of memory at most; that in words."""
        deadline = time.monotonic() + PATIENCE
        while (now := self._at_rest())[:3] != self._first[:3] and time.monotonic() < deadline:
            pass
        more = (now[3] - self._first[3]) / MEBIBYTE
        figure(f"G12 after {what}: descriptors, zombies, files more", "0", "0")
        figure(f"G12 after {what}: memory", f"{more:+.1f} MiB", "<= +2 MiB")
        assert now[:3] == self._first[:3]
        assert more <= 2
        return f"back to base; {more:+.1f} MiB since the first {WARM}"


def rounds(full: int, short: int, kept: tuple[RunningDaemon, Path], work: Callable[[], None]) -> tuple[int, Base]:
    """Carry out *work* many times; the count, and what the daemon had before most of them."""
    for _ in range(WARM):
        work()
    base = Base(kept[0].process.pid, kept[1])
    count = full if LONG else short
    for _ in range(count):
        work()
    return count, base


def end_all(wire: Wire) -> None:
    """Nothing runs any more, and nothing that has exited is kept."""
    # One answer does not hold them all.
    while found := wire.ask(List()).processes:
        for one in found:
            if one.state is State.RUNNING:
                wire.ask(Kill(process=one.id, signal=signal.SIGKILL))
                wire.ask(Wait(process=one.id))
            # Its last client is let go of first, and its pipes are closed.
            eventually(lambda id=one.id: isinstance(wire.ask(Remove(process=id)), Ok | NoSuchProcess))


def test_failed_starts(kept: tuple[RunningDaemon, Path], figure: Figure, trial: Trials) -> None:
    """What does not exist, is not executable, or has no such directory."""
    with trial(kept[0], "failed starts") as line:
        wire = Wire(kept[0].path)
        wrong = [
            Start(argv=("/nonexistent",)),
            Start(argv=("/etc/passwd",), attach=True),
            Start(argv=("true",), env=(PATH,), cwd="/nonexistent"),
            Start(argv=("nonexistent",), env=(PATH,), attach=True),
        ]
        turn = 0

        def work() -> None:
            nonlocal turn
            turn += 1
            assert isinstance(wire.ask(wrong[turn % len(wrong)]), LaunchFailed)

        count, base = rounds(10_000, 2_000, kept, work)
        line.count, line.outcome = count, base.check(f"{count:,} failed starts", figure)
        wire.close()


def test_attaching_and_detaching(kept: tuple[RunningDaemon, Path], figure: Figure, trial: Trials) -> None:
    """By request, and by leaving."""
    with trial(kept[0], "attach and detach") as line:
        wire = Wire(kept[0].path)
        _, process = wire.start("cat")
        turn = 0

        def work() -> None:
            nonlocal turn
            turn += 1
            if turn % 4:
                wire.ask(Detach(to=wire.attach(process, hold=1000)))
            else:
                other = Wire(kept[0].path)
                other.attach(process, from_=0, hold=-1)
                other.close()

        count, base = rounds(10_000, 2_000, kept, work)
        line.count, line.outcome = count, base.check(f"{count:,} attach and detach", figure)
        end_all(wire)
        wire.close()


def test_starts_and_exits(kept: tuple[RunningDaemon, Path], figure: Figure, trial: Trials) -> None:
    """With output, followed to the end or not at all, removed or forgotten when the daemon has too many."""
    with trial(kept[0], "start and exit") as line:
        wire = Wire(kept[0].path)
        turn = 0

        def work() -> None:
            nonlocal turn
            turn += 1
            if turn % 2:
                id, process = wire.start("sh", "-c", "echo out; echo err >&2; exit 3")
                status = wire.follow(id).status
                assert status is not None
                assert status.code == 3
                wire.ask(Remove(process=process))
            else:
                process = wire.ask(Start(argv=("true",), env=(PATH,))).process.id
                wire.ask(Wait(process=process))

        count, base = rounds(2_000, 500, kept, work)
        line.count, line.outcome = count, base.check(f"{count:,} start and exit", figure)
        end_all(wire)
        wire.close()


def test_clients_that_vanish(kept: tuple[RunningDaemon, Path], figure: Figure, trial: Trials) -> None:
    """In the middle of a message, of a flood, of a wait; with requests open."""
    with trial(kept[0], "clients that vanish") as line:
        keeping = Wire(kept[0].path)
        _, process = keeping.start("cat")
        _, flood = keeping.start("sh", "-c", "exec cat /dev/zero")
        turn = 0

        def work() -> None:
            nonlocal turn
            turn += 1
            wire = Wire(kept[0].path)
            if turn % 3 == 0:
                wire.sock.sendall(b"\0\x0f\xff\xff" + bytes(30_000))
            elif turn % 3 == 1:
                wire.attach(flood, hold=100)
                wire.receive()
            else:
                wire.post(Wait(process=process))
                wire.post(Attach(process=process))
            wire.close()

        count, base = rounds(5_000, 1_000, kept, work)
        line.count, line.outcome = count, base.check(f"{count:,} clients that vanish", figure)
        end_all(keeping)
        keeping.close()


def test_a_child_has_its_three_descriptors(fresh: RunningDaemon, figure: Figure) -> None:
    """G9: with a hundred clients and fifty other children about, and pipes of the daemon's all over."""
    clients = [Wire(fresh.path) for _ in range(100)]
    for client in clients[:50]:
        client.start("cat")
    wire = clients[-1]
    extra = 0
    kinds: list[dict[str, Any]] = [{}, {"merge": True}, {"pty": Pty(rows=25, columns=80, term="vt100")}]
    for options in kinds:
        id, process = wire.start("sh", "-c", "echo ready; read line", **options)
        assert isinstance(next(wire.events(id)), Output)
        pid = wire.ask(Inspect(process=process)).process.pid
        found = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        extra += len(found) - 3
        assert found == [0, 1, 2]
    figure("G9 a child's descriptors besides 0, 1, 2 (100 clients, 50 children)", extra, "0")
    for client in clients:
        client.close()
