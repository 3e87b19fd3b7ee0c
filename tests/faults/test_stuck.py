"""Nothing stays stuck: no exit untold, no stop that waits for ever, no loop that burns, whoever holds or breaks off."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.errors import ConversationAborted, LimitReached, Refusal
from netdaemon.wire.answers import End, Gap, Ok, Output, Status
from netdaemon.wire.commands import (
    FOR_EVER,
    Data,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Remove,
    Shutdown,
    Start,
    Wait,
)
from netdaemon.wire.records import Pty, Reason, Scope, State
from tests.faults.wire import PATH, Wire, children, cpu, eventually, memory
from tests.support import Figure, RunningDaemon, keeper_pid, running_daemon

MEBIBYTE = 1 << 20

# Seconds that a daemon may take to end beyond its grace, on a busy machine.
BEYOND = 15.0


@pytest.fixture(params=["kept", "ephemeral"])
def ending(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningDaemon]:
    """A daemon that is ended by the test, processes and all."""
    tmp_path.chmod(0o700)
    options = ["--ephemeral"] if request.param == "ephemeral" else []
    with running_daemon(tmp_path, "--grace=1", *options) as running:
        yield running
    text = running.log.read_text(errors="replace")
    assert "Traceback" not in text, text
    assert "Unhandled" not in text, text


def filled(wire: Wire, size: int, *then: str, **options: object) -> tuple[int, str]:
    """A process of whose *size* bytes of output 4,096 are kept, held by us, who do not read; then it does *then*."""
    id, process = wire.start(
        "sh", "-c", "; ".join(("read x", f"head -c {size} /dev/zero", *then)), keep=4096, hold=FOR_EVER, **options
    )
    wire.ask(Flow(to=id, paused=True))
    wire.ask(Data(to=id, payload=b"go\n"))
    eventually(lambda: wire.ask(Inspect(process=process)).process.end >= min(size, 4096))
    return id, process


def test_nothing_follows_an_abort(fresh: RunningDaemon, figure: Figure) -> None:
    """A client that breaks the rules while output comes gets its ABORT and not the output of its last seconds."""
    wire, broken = Wire(fresh.path), Wire(fresh.path)
    _, process = wire.start("cat", "/dev/zero")
    id = broken.attach(process)
    broken.ask(Flow(to=id, paused=True))
    before = memory(fresh.process.pid)
    _, octets = broken.connection.request(Flow(to=id, paused=False))
    broken.sock.sendall(octets + struct.pack(">I", 1))
    time.sleep(2)
    more = (memory(fresh.process.pid) - before) / MEBIBYTE
    figure("G4 output after an ABORT that is not read: the daemon's memory", f"+{more:.1f} MiB", "<= +2 MiB")
    assert more <= 2
    with pytest.raises(ConversationAborted):
        all(broken.receive() for _ in iter(int, 1))
    broken.close()
    wire.close()


def end(running: RunningDaemon) -> None:
    """Have everything end: an ephemeral daemon by a signal to it, one with a keeper by a signal to that."""
    keeper = keeper_pid(running.path)
    os.kill(running.process.pid if keeper is None else keeper, signal.SIGTERM)


@pytest.mark.parametrize("way", ["SIGTERM", "SHUTDOWN"])
def test_a_holder_does_not_keep_the_daemon(ending: RunningDaemon, way: str) -> None:
    """Not beyond the grace, whether the child ends when it is told to or not."""
    wire = Wire(ending.path)
    filled(wire, 40_000, "exec sleep 1000")
    filled(wire, 40_000, "trap '' TERM", "sleep 1000")
    began = time.monotonic()
    if way == "SIGTERM":
        end(ending)
    else:
        wire.ask(Shutdown())
    ending.process.wait(BEYOND)
    assert time.monotonic() - began < BEYOND
    wire.close()


def test_many_who_do_not_want_to_end(ending: RunningDaemon, figure: Figure) -> None:
    """They are found and killed together: one look at all processes for all of them."""
    wire = Wire(ending.path)
    for _ in range(100):
        wire.start("sh", "-c", "trap '' TERM; sleep 1000 & exec sleep 1000")
    pids = [one.pid for one in wire.ask(List()).processes]
    assert len(pids) == 100
    began = time.monotonic()
    end(ending)
    ending.process.wait(60)
    figure(
        "100 stubborn children: the daemon's end beyond its grace", f"{time.monotonic() - began - 1:.1f} s", "goes on"
    )
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    wire.close()


def test_a_start_and_the_end_in_one_breath(ending: RunningDaemon) -> None:
    """What is only just starting is told to end, too; and the end may be asked for twice."""
    wire = Wire(ending.path)
    octets = b"".join(
        wire.connection.request(request)[1]
        for request in (Start(argv=("sleep", "1000"), env=(PATH,), pty=Pty()), Shutdown(), Shutdown())
    )
    wire.sock.sendall(octets)
    ending.process.wait(BEYOND)
    wire.close()


def test_no_descriptor_for_reading(fresh: RunningDaemon) -> None:
    """Output and exit are told at the limit as ever; what needs a descriptor is refused by a word for it."""
    wire, waiting = Wire(fresh.path), Wire(fresh.path)
    id, process = wire.start("sh", "-c", "read x; echo hello", keep=4096)
    wire.ask(Data(to=id, payload=b"y"))
    waited = waiting.post(Wait(process=process))
    waiting.ask(Info())
    pid = fresh.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    assert wire.ask(Info()).counts.running == 1
    refused = wire.ask(Kill(process=process, signal=0, scope=Scope.TREE))
    assert isinstance(refused, LimitReached)
    assert refused.field == "scope"
    wire.ask(Data(to=id, payload=b"x\n"))
    followed = wire.follow(id)
    assert followed.of(1) == b"hello\n"
    assert waiting.answer(waited).process.code == 0  # type: ignore[union-attr]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    for one in (wire, waiting):
        one.close()


def test_a_child_that_somebody_traces(fresh: RunningDaemon, figure: Figure) -> None:
    """Its tracer is told of the exit first; the status comes all the same, and no zombie stays."""
    wire, rounds, wrong = Wire(fresh.path), 5, 0
    for _ in range(rounds):
        id, process = wire.start("sh", "-c", "echo ready; read x; exit 7")
        next(wire.events(id))
        pid = wire.ask(Inspect(process=process)).process.pid
        try:
            tracer = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.PIPE)
        except FileNotFoundError:
            pytest.skip("strace is not installed")
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if b"attached" not in line:
            tracer.wait()
            pytest.skip(f"nobody may be traced here: {line.decode(errors='replace')}")
        wire.ask(Data(to=id, payload=b"x\n"))
        status = wire.follow(id).status
        assert status is not None
        wrong += status.code != 7
        tracer.wait()
        tracer.stderr.close()
    eventually(lambda: children(fresh.process.pid) == 0)
    figure("G2 traced children whose exit code is not told", f"{wrong} of {rounds}", "0")
    assert wrong == 0
    wire.close()


def test_an_end_that_has_no_room_burns_nothing(fresh: RunningDaemon, figure: Figure) -> None:
    """A pipe at its end is readable for ever; while a holder holds, nobody looks at it."""
    wire = Wire(fresh.path)
    filled(wire, 4096)
    before = cpu(fresh.process.pid)
    time.sleep(1)
    burnt = cpu(fresh.process.pid) - before
    figure("G3 held at the end of the output: the daemon's processor time", f"{burnt:.0%}", "0 %")
    assert burnt < 0.3
    wire.close()


def test_closing_the_output_that_the_exit_waits_for(fresh: RunningDaemon) -> None:
    """The exit is told then: there is nothing left that it could come after."""
    wire, other = Wire(fresh.path), Wire(fresh.path)
    id, process = filled(wire, 20_000, merge=True)
    wire.ask(Data(to=id, channel=1))
    assert other.ask(Wait(process=process)).process.state is State.EXITED
    wire.ask(Flow(to=id, paused=False))
    assert wire.follow(id).status is not None
    eventually(lambda: children(fresh.process.pid) == 0)
    wire.close()
    other.close()


def test_a_terminal_that_is_left_to_somebody_else(fresh: RunningDaemon) -> None:
    """The child exits while there is no room, a background job keeps the terminal: the exit comes with the room."""
    wire = Wire(fresh.path)
    code = "stty raw -echo; trap '' HUP; read x; (exec sleep 100) & head -c 4096 /dev/zero; exit 3"
    id, process = wire.start("bash", "-c", "echo ready; " + code, pty=Pty(), keep=4096, hold=FOR_EVER)
    for message in wire.events(id):
        if isinstance(message, Output) and b"ready" in message.payload:
            break
    wire.ask(Flow(to=id, paused=True))
    group = wire.ask(Inspect(process=process)).process.pid
    wire.ask(Data(to=id, payload=b"x\n"))
    time.sleep(0.5)
    wire.ask(Flow(to=id, paused=False))
    try:
        status = wire.follow(id).status
        assert status is not None
        assert status.code == 3
    finally:
        os.killpg(group, signal.SIGKILL)
    wire.close()


def test_what_is_forgotten_unread_is_told(fresh: RunningDaemon, figure: Figure) -> None:
    """250 processes end while their reader sleeps, and 100 stay listed: it gets all their output, or a gap for it."""
    wire, count, size = Wire(fresh.path), 250, 3000
    ids = [wire.start("sh", "-c", f"read x; head -c {size} /dev/zero")[0] for _ in range(count)]
    for id in ids:
        wire.ask(Flow(to=id, paused=True))
    for id in ids:
        wire.ask(Data(to=id, payload=b"x\n"))
    asking = Wire(fresh.path)
    eventually(lambda: asking.ask(Info()).counts.running == 0)
    for id in ids:
        wire.post(Flow(to=id, paused=False))
    told, gaps, ended = dict.fromkeys(ids, 0), 0, set()
    while len(ended) < count:
        id, message = wire.later.pop(0) if wire.later else wire.receive()
        if isinstance(message, Output):
            told[id] += len(message.payload)
        elif isinstance(message, Gap):
            told[id] += message.to - message.from_
            gaps += message.to - message.from_
        elif isinstance(message, Status):
            ended.add(id)
    lost = sum(size - bytes_ for bytes_ in told.values())
    figure("G1 250 exits unread: bytes neither delivered nor told as a gap", f"{lost} ({gaps:,} in gaps)", "0")
    assert lost == 0
    wire.close()
    asking.close()


def test_a_removed_process_leaves_nothing_untold(fresh: RunningDaemon) -> None:
    """Who has not read all when somebody removes it gets a gap for the rest, the status, and END."""
    wire, other = Wire(fresh.path), Wire(fresh.path)
    id, process = wire.start("sh", "-c", "echo one; echo two >&2; exit 5")
    slow = other.attach(process, from_=0)
    other.ask(Flow(to=slow, paused=True))
    wire.follow(id)
    while not isinstance(answer := wire.ask(Remove(process=process)), Ok):
        assert isinstance(answer, Refusal)
    told = []
    for message in other.events(slow):
        told.append(message)
        if isinstance(message, End):
            break
    rest = sum(len(one.payload) for one in told if isinstance(one, Output))
    rest += sum(one.to - one.from_ for one in told if isinstance(one, Gap))
    assert rest == 8
    assert [one.code for one in told if isinstance(one, Status)] == [5]
    assert isinstance(told[-1], End)
    assert told[-1].reason is Reason.REMOVED
    wire.close()
    other.close()


def test_a_hang_up_is_no_end(fresh: RunningDaemon) -> None:
    """The terminal that the daemon was started from may go."""
    wire = Wire(fresh.path)
    fresh.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert wire.ask(List()).processes == ()
    wire.close()


def test_many_terminals_in_one_breath(fresh: RunningDaemon, figure: Figure) -> None:
    """Whatever one client asks for at once, another's request is answered in between."""
    wire, other = Wire(fresh.path), Wire(fresh.path)
    count = 100
    octets = b"".join(wire.connection.request(Start(argv=("true",), env=(PATH,), pty=Pty()))[1] for _ in range(count))
    wire.sock.sendall(octets)
    began = time.monotonic()
    other.ask(Info())
    waited = time.monotonic() - began
    figure(
        f"{count} starts with a terminal in one write: another's request waits", f"{waited * 1000:.0f} ms", "goes on"
    )
    for _ in range(count):
        wire.receive()
    assert waited < 1
    wire.close()
    other.close()
