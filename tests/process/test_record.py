"""The state table, and real children driven turn by turn."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from netdaemon.keeper.child import ExitStatus, LaunchError
from netdaemon.process.describing import described
from netdaemon.process.launcher import LocalLauncher
from netdaemon.process.record import TRANSITIONS, Identity, Process
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.testing import MemoryReactor
from netdaemon.wire.answers import WINDOW
from netdaemon.wire.commands import KEEP
from netdaemon.wire.records import Pty, Scope, State, Until
from netdaemon.wire.told import ProcessRecord

PATIENCE = 20.0


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("following", list(State))
def test_only_what_may_follow_follows(state: State, following: State) -> None:
    """Every state and every successor; what is not in the table raises and changes nothing."""
    process = make(MemoryReactor())
    process.state = state
    try:
        if following in TRANSITIONS.get(state, frozenset()):
            process.become(following)
            assert process.state is following
        else:
            with pytest.raises((RuntimeError, KeyError)):
                process.become(following)
            assert process.state is state
    finally:
        process.forget()
        process.let_go()


def make(reactor: MemoryReactor, *argv: str, pty: Pty | None = None, keep: int = KEEP) -> Process:
    """A process that has not been launched."""
    identity = Identity(id="p", argv=argv or ("true",), pty=pty, merge=pty is not None)
    return Process(identity, Spool(os.memfd_create("out"), keep), Stdin(lambda: os.memfd_create("in"), WINDOW), reactor)


class Running:
    """A real child under a reactor that is turned by hand."""

    def __init__(self, *argv: str, pty: Pty | None = None, keep: int = KEEP) -> None:
        from netdaemon.keeper.child import Spec

        self.reactor = MemoryReactor()
        self.process = make(self.reactor, *argv, pty=pty, keep=keep)
        launcher = LocalLauncher(self.reactor)
        spec = Spec(
            path=argv[0].encode(),
            argv=tuple(one.encode() for one in argv),
            env=(b"PATH=/usr/bin:/bin", b"PS1=$ "),
            pty=(pty.rows, pty.columns) if pty else None,
        )
        launching = launcher.launch("p", spec, self.process.spool.descriptor)
        failures: list[object] = []
        launching.addCallbacks(lambda launched: self.process.run(launcher, launched), failures.append)
        self.until(lambda: failures or self.process.state is State.RUNNING)
        if failures:
            raise failures[0].value  # type: ignore[attr-defined]

    def until(self, condition: Callable[[], object]) -> None:
        """Turn until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            if not self.reactor.turn():
                time.sleep(0.001)

    def output(self, channel: int | None = None) -> bytes:
        """What is kept."""
        spool, offset, result = self.process.spool, self.process.spool.begin, b""
        while offset < spool.end:
            segment = spool.segment(offset, 1 << 20)
            offset += len(segment.data)
            if channel in (None, segment.channel):
                result += segment.data
        return result

    def finish(self) -> ExitStatus:
        """Wait for the end and forget it."""
        self.until(lambda: self.process.ended)
        status = self.process.status
        assert status is not None
        self.process.forget()
        self.process.let_go()
        assert self.reactor.getReaders() == self.reactor.getWriters() == []
        assert [call for call in self.reactor.getDelayedCalls() if call.active()] == []
        return status


def test_output_on_both_channels() -> None:
    """Apart, and to the last byte before the exit."""
    running = Running("sh", "-c", "head -c 300000 /dev/zero; echo err >&2; exit 5")
    running.until(lambda: running.process.ended)
    assert running.output(1) == bytes(300_000)
    assert running.output(2) == b"err\n"
    assert running.finish() == ExitStatus(code=5)


def test_the_exit_is_not_hidden_by_a_grandchild() -> None:
    """Exited at once; ended when the grandchild has let go of the pipes."""
    running = Running("sh", "-c", "sleep 1 & echo done")
    began = time.monotonic()
    running.until(lambda: running.process.status is not None)
    assert running.output() == b"done\n"
    assert not running.process.ended
    assert time.monotonic() - began < 1
    assert running.finish() == ExitStatus(code=0)
    assert time.monotonic() - began >= 0.9


def test_input_and_its_end() -> None:
    """More than the pipe and the window hold together, in order."""
    running = Running("cat", keep=4 << 20)
    data = os.urandom(1_000_000)
    sent = 0
    while sent < len(data):
        from netdaemon.errors import StdinFull

        try:
            sent += running.process.write(data[sent : sent + 65_536], sent)
        except StdinFull:
            running.reactor.turn()
    running.until(lambda: running.process.stdin.waiting == 0)
    running.process.write(b"", None)
    running.process.write(b"", None)
    running.until(lambda: running.process.ended)
    assert running.output() == data
    assert running.finish() == ExitStatus(code=0)


def test_a_terminal() -> None:
    """Its size, its echo, its end of input, its hang-up."""
    running = Running("sh", "-i", pty=Pty(rows=33, columns=101))
    running.process.write(b"stty size; stty -echo\n", None)
    running.until(lambda: b"33 101" in running.output())
    running.process.resize(44, 55)
    running.process.write(b"stty size\n", None)
    running.until(lambda: b"44 55" in running.output())
    running.process.write(b"", None)
    assert running.finish().code == 0


def test_the_end_of_input_on_a_terminal_is_a_byte() -> None:
    """It counts, so that whoever comes back repeats it without typing it twice, and goes on behind it."""
    running = Running("sh", "-c", "stty -echo; echo ready; cat; echo first; cat; echo second", pty=Pty())
    running.until(lambda: b"ready" in running.output())
    assert running.process.write(b"one\n", 0) == 4
    assert running.process.write(b"", 4) == 0
    assert running.process.stdin.end == 5
    running.until(lambda: b"first" in running.output())
    running.process.write(b"", 4)
    assert running.process.stdin.end == 5
    assert running.process.write(b"two\n", 5) == 4
    running.until(lambda: b"two" in running.output())
    running.process.write(b"", 9)
    running.until(lambda: b"second" in running.output())
    assert running.output().split() == [b"ready", b"one", b"first", b"two", b"second"]
    assert running.finish().code == 0


def test_a_terminal_in_floods() -> None:
    """Every byte of a flood through a terminal, with a ring that turns many times."""
    running = Running("sh", "-c", "stty raw -echo; seq 200000", pty=Pty(), keep=4096)
    expected = b"".join(b"%d\n" % number for number in range(1, 200_001))
    got = b""

    class Watcher:
        floor = 0
        allowance: float | None = None

        def wake(self) -> None:
            nonlocal got
            spool = running.process.spool
            while self.floor < spool.end:
                segment = spool.segment(self.floor, 1 << 20)
                got += segment.data
                self.floor += len(segment.data)
            running.process.holding.moved()

    watcher = Watcher()
    running.process.spool.hold(watcher)
    running.process.observe(watcher)
    assert running.finish().code == 0
    assert got == expected


@pytest.mark.parametrize("scope", list(Scope))
def test_signals_reach_their_scope(scope: Scope) -> None:
    """The child alone, its group, or also what left the group."""
    running = Running("sh", "-c", "setsid sleep 61 & sleep 62 & trap '' TERM; echo ready; wait; sleep 63")
    running.until(lambda: b"ready" in running.output())
    pid = running.process.record().pid
    assert pid is not None

    def sleepers() -> set[str]:
        found = set()
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if words[:1] == [b"sleep"] and parent == pid:
                found.add(words[1].decode())
        return found

    running.until(lambda: sleepers() == {"61", "62"})
    running.process.kill(signal.SIGTERM, scope)
    left = {Scope.PROCESS: {"61", "62"}, Scope.GROUP: {"61"}, Scope.TREE: set()}[scope]
    running.until(lambda: sleepers() - {"63"} == left)
    running.process.kill(signal.SIGKILL, Scope.TREE)
    assert running.finish() == ExitStatus(signal=9)


@pytest.mark.parametrize("pty", [None, Pty()])
def test_a_program_that_cannot_be_executed(pty: Pty | None) -> None:
    """Stage and errno, whichever way it would have been launched."""
    with pytest.raises(LaunchError) as caught:
        Running("/nowhere", pty=pty)
    assert caught.value.stage == "exec"


def test_when_answers_at_once_or_later() -> None:
    """WAIT for what is so already needs no waiting."""
    running = Running("cat")
    assert not hasattr(running.process.when(Until.RUNNING), "addCallback")
    ended = running.process.when(Until.ENDED)
    assert hasattr(ended, "addCallback")
    seen: list[object] = []
    ended.addCallback(seen.append)
    running.process.write(b"", None)
    running.until(lambda: seen)
    assert running.finish() == ExitStatus(code=0)


def test_a_record_is_made_anew_when_anything_of_it_has_changed() -> None:
    """And is the same object for as long as nothing has; at any time it is what a new one would be."""
    running = Running("sh", "-c", "read x; echo $x; exec >&-; read y; exit 4", keep=4096)
    process = running.process
    seen: list[ProcessRecord] = []

    def look() -> None:
        assert process.record() == described(process)
        assert process.record() is process.record()
        if process.record() not in seen:
            seen.append(process.record())

    class Looker:
        behind = False
        counts = True

        def wake(self) -> None:
            look()

    looker = Looker()
    look()
    process.observe(looker)
    look()
    process.write(b"hello\n", 0)
    look()
    running.until(lambda: process.spool.end and 1 in process.record().eof)
    look()
    process.write(b"\n", None)
    running.until(lambda: process.ended)
    look()
    process.ignore(looker)
    look()
    assert (seen[0].attached, seen[1].attached, seen[-1].attached) == (0, 1, 0)
    assert {one.state for one in seen} == {State.RUNNING, State.EXITED}
    assert sorted({one.end for one in seen}) == [0, 6]
    assert seen[-1].eof == (0, 1, 2)
    assert (seen[-1].code, seen[-1].pid, seen[-1].stdin_end) == (4, None, 7)
    assert len(seen) >= 7
    running.finish()
