"""At its limits the daemon refuses, says so, and goes on: descriptors, disk, who may come, one daemon for a socket."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.errors import ConversationAborted, Refusal, StdinFull
from netdaemon.wire.answers import Attached, Ok, Output, Taken
from netdaemon.wire.commands import FOR_EVER, Data, Flow, Info, Inspect, Kill, List, Remove, Start, Wait
from netdaemon.wire.records import Scope
from tests.faults.conftest import Trials
from tests.faults.test_output import FLOOD
from tests.faults.wire import PATH, PATIENCE, Wire, cpu, descriptors, eventually
from tests.support import LONG, Figure, RunningDaemon, running_daemon, wait_for_hello

MEBIBYTE = 1 << 20


# --- descriptors -----------------------------------------------------------------------------------------------------

FEW = 256


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that may have few descriptors."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path, inside=["sh", "-c", f'ulimit -n {FEW}; exec "$@"', "sh"]) as running:
        yield running
        assert running.process.poll() is None, "the daemon died"
    assert "Traceback" not in running.log.read_text(errors="replace")


def test_few_descriptors(cramped: RunningDaemon, figure: Figure, trial: Trials) -> None:
    """300 clients where 256 descriptors are: the rest are told, nobody is burnt, and processes still start."""
    with trial(cramped, f"300 clients, {FEW} descriptors") as line:
        wires, refused = [], 0
        for _ in range(300):
            try:
                wires.append(Wire(cramped.path))
            except ConversationAborted as error:
                assert "clients are connected, and that is the daemon's limit" in str(error)
                refused += 1
        assert refused
        info = wires[0].ask(Info())
        assert len(wires) == info.limits.clients
        before = cpu(cramped.process.pid)
        time.sleep(1)
        burnt = cpu(cramped.process.pid) - before
        started = 0
        while True:
            reply = wires[started % len(wires)].ask(Start(argv=("cat",), env=(PATH,), attach=True))
            if isinstance(reply, Refusal):
                break
            assert isinstance(reply, Attached)
            started += 1
        assert reply.code == "limit-reached", reply
        assert started == info.limits.processes
        used = descriptors(cramped.process.pid)
        figure(f"300 clients, {FEW} descriptors: let in / told that it is full", f"{len(wires)} / {refused}", "told")
        figure(f"300 clients, {FEW} descriptors: processor time then", f"{burnt:.0%}", "< 5 %")
        figure(f"300 clients, {FEW} descriptors: processes that start then", started, ">= 1")
        figure(f"300 clients, {FEW} descriptors: in use then", used, f"< {FEW}")
        assert started >= 1
        assert used < FEW
        assert burnt < 0.5
        for wire in wires:
            wire.close()
        line.count = 300
        line.outcome = f"{len(wires)} let in, {refused} told, {started} starts, {burnt:.0%} CPU"


def test_no_descriptors_at_all(fresh: RunningDaemon, figure: Figure) -> None:
    """The limit is lowered under the running daemon: it cannot accept, does not burn, and is all right afterwards."""
    wire = Wire(fresh.path)
    pid = fresh.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid), hard))
    waiting = Wire(fresh.path, greet=False)
    refusal = wire.ask(Start(argv=("cat",), env=(PATH,)))
    assert isinstance(refusal, Refusal), refusal
    before = cpu(pid)
    time.sleep(1)
    burnt = cpu(pid) - before
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(wire.ask(Start(argv=("true",), env=(PATH,), attach=True)), Attached)
    waiting.close()
    late = Wire(fresh.path)
    figure("no descriptor left: START is refused as", refusal.code, "told")
    figure("no descriptor left, a client waiting: processor time", f"{burnt:.0%}", "< 5 %")
    assert burnt < 0.5
    wire.close()
    late.close()


# --- disk ------------------------------------------------------------------------------------------------------------

DISK = 3 * MEBIBYTE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that keeps output on a file system of its own, which is small."""
    tmp_path.chmod(0o700)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    inside = ["unshare", "--mount" if os.geteuid() == 0 else "--map-root-user --mount"]
    mount = f'mount -t tmpfs -o size={DISK},mode=0700 none {state} && exec "$@"'
    if not shutil.which("unshare") or subprocess.run([*inside, "sh", "-c", mount, "sh", "true"]).returncode:
        pytest.skip("no file system can be mounted here: root, or user namespaces, are needed")
    with running_daemon(tmp_path, f"--state={state}", inside=[*inside, "sh", "-c", mount, "sh"]) as running:
        yield running
        assert running.process.poll() is None, "the daemon died"
    assert "Traceback" not in running.log.read_text(errors="replace")


def say(wire: Wire, process: str, what: str) -> int:
    """How many bytes are kept of *process*, *what* being said in the log."""
    record = wire.ask(Inspect(process=process)).process
    assert record.state.value == what
    kept: int = record.end - record.begin
    return kept


def test_output_on_a_full_disk(small_disk: RunningDaemon, figure: Figure) -> None:
    """Less is kept, whoever reads in time misses nothing, gaps are exact; with room again all is as before."""
    total, keep = 6_000_000, 2 * MEBIBYTE
    wire, other = Wire(small_disk.path), Wire(small_disk.path)
    first, full = other.start(sys.executable, "-S", "-c", FLOOD, str(total), keep=keep)
    assert other.follow(first).status is not None
    id, process = wire.start(sys.executable, "-S", "-c", FLOOD, str(total), keep=keep)
    slow = other.attach(process, from_=0)
    followed = wire.follow(id)
    late = other.follow(slow)
    wrong = abs(followed.received + followed.gaps - total) + abs(late.received + late.gaps - total)
    told = small_disk.log.read_text(errors="replace").count("the disk is full")
    squeezed = say(other, process, "exited")
    for one in (full, process):
        # Both: what is recorded of them has grown meanwhile, on the same disk.
        other.ask(Remove(process=one))
    again, third = other.start(sys.executable, "-S", "-c", FLOOD, str(total), keep=keep)
    assert other.follow(again).status is not None
    figure("full disk: bytes neither delivered nor told as a gap", wrong, "0")
    figure(
        "full disk: kept of 2 MiB asked for, and with room again", f"{squeezed:,}, {say(other, third, 'exited'):,}", ""
    )
    figure("full disk: told in the log", f"{told} times", "once")
    assert wrong == 0
    assert squeezed < keep
    assert say(other, third, "exited") == keep
    assert told == 1
    wire.close()
    other.close()


def test_a_holder_on_a_full_disk(small_disk: RunningDaemon, figure: Figure) -> None:
    """What it has not read is kept, and the child waits until it reads; nothing is lost, nor does the daemon stop."""
    total = 6_000_000
    wire, other = Wire(small_disk.path), Wire(small_disk.path)
    id, process = wire.start(sys.executable, "-S", "-c", FLOOD, str(total), keep=4 * MEBIBYTE, hold=FOR_EVER)
    wire.ask(Flow(to=id, paused=True))
    eventually(lambda: "cannot be kept" in small_disk.log.read_text(errors="replace"))
    waits = say(other, process, "running")
    assert waits < total
    wire.ask(Flow(to=id, paused=False))
    followed = wire.follow(id)
    figure("full disk: a holder got", f"{followed.received:,} of {total:,}", "all")
    assert followed.received == total
    told = small_disk.log.read_text(errors="replace").count("cannot be kept")
    figure("full disk: a child that waits is told in the log", f"{told} times", "once each time")
    wire.close()
    other.close()


def test_an_end_on_a_full_disk(small_disk: RunningDaemon) -> None:
    """Killed while its output finds no room and a holder does not read: its exit is told, and it can be removed."""
    wire, other = Wire(small_disk.path), Wire(small_disk.path)
    id, process = wire.start(sys.executable, "-S", "-c", FLOOD, "6000000", keep=4 * MEBIBYTE, hold=FOR_EVER)
    wire.ask(Flow(to=id, paused=True))
    eventually(lambda: "cannot be kept" in small_disk.log.read_text(errors="replace"))
    other.ask(Kill(process=process, signal=9))
    assert other.ask(Wait(process=process)).process.signal == 9
    wire.ask(Flow(to=id, paused=False))
    followed = wire.follow(id)
    assert followed.status is not None
    assert followed.status.end == followed.received + followed.gaps
    assert followed.received > 2 * MEBIBYTE, "what was kept before is kept, as far as there is room"
    assert isinstance(other.ask(Remove(process=process)), Ok)
    wire.close()
    other.close()


def test_input_on_a_full_disk(small_disk: RunningDaemon) -> None:
    """Input that finds no room is refused and says why; there is room again later, and it all comes."""
    wire, filling = Wire(small_disk.path), Wire(small_disk.path)
    # It reads its input when it is told to.
    id, process = wire.start("sh", "-c", "trap 'exec cat' USR1; echo ready; while :; do sleep 0.05; done", keep=4096)
    next(wire.events(id))
    filler, other = filling.start(
        sys.executable, "-S", "-c", FLOOD, "6000000", keep=4 * MEBIBYTE, hold=FOR_EVER, read_only=True
    )
    filling.ask(Flow(to=filler, paused=True))
    eventually(lambda: "cannot be kept" in small_disk.log.read_text(errors="replace"))
    sent = b"".join(b"%d\n" % number for number in range(20_000))
    refused = wire.ask(Data(to=id, payload=sent, at=0))
    assert isinstance(refused, StdinFull)
    assert refused.errno == errno.ENOSPC
    filling.ask(Kill(process=other, signal=9))
    filling.ask(Wait(process=other))
    filling.ask(Remove(process=other))
    accepted = wire.ask(Data(to=id, payload=sent, at=0))
    assert isinstance(accepted, Taken)
    assert accepted.accepted == len(sent)
    wire.ask(Data(to=id))
    wire.ask(Kill(process=process, signal=signal.SIGUSR1, scope=Scope.PROCESS))
    assert wire.follow(id).of(1) == sent
    wire.close()
    filling.close()


# --- who may come ----------------------------------------------------------------------------------------------------

# Somebody whom the kernel knows; 65534 is what it calls those whom it does not.
SOMEBODY = 12345


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_somebody_else_is_told_and_closed() -> None:
    """Though the socket's mode let them through."""
    directory = Path(subprocess.check_output(["mktemp", "-d", "/tmp/ndXXXXXX"], text=True).strip())
    try:
        with running_daemon(directory) as running:
            directory.chmod(0o755)
            os.chmod(running.path, 0o666)
            child = os.fork()
            if not child:
                code = 1
                with contextlib.suppress(BaseException):
                    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
                    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
                    code = 2
                    try:
                        Wire(running.path)
                    except ConversationAborted as error:
                        code = 0 if f"uid {SOMEBODY} may not" in str(error) else 3
                os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            wire = Wire(running.path)
            assert wire.ask(Info()).counts.clients == 1
            wire.close()
    finally:
        shutil.rmtree(directory)


# --- one daemon ------------------------------------------------------------------------------------------------------


def test_many_daemons_for_one_socket(tmp_path: Path, figure: Figure) -> None:
    """All started at the same time: one lives, the others say why they do not, and it is the one that answers."""
    tmp_path.chmod(0o700)
    count = 100 if LONG else 12
    path, log = tmp_path / "stream", tmp_path / "log"
    command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "netdaemon", f"--socket={path}"]
    with log.open("wb") as output:
        started = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) for _ in range(count)
        ]
    try:
        deadline = time.monotonic() + 4 * PATIENCE
        while sum(one.poll() is None for one in started) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        alive = [one for one in started if one.poll() is None]
        assert len(alive) == 1
        wait_for_hello(str(path), alive[0], log)
        wire = Wire(str(path))
        assert wire.ask(Info()).pid == alive[0].pid
        wire.close()
        assert all(one.returncode not in (0, None) for one in started if one is not alive[0])
        assert not [one for one in started if one.returncode is not None and one.returncode < 0]
        figure(f"{count} daemons started at once for one socket: alive", len(alive), "1")
    finally:
        for one in started:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
            one.wait()
    assert not path.exists(), "the socket is gone with its daemon"


# --- version 1 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
def test_version_1_over_a_real_socket(fresh: RunningDaemon, packets: bool) -> None:
    """What a client of 2009 does: start, feed, read, signal; its process disappears with it."""
    wire = Wire(fresh.seqpacket if packets else fresh.path, version=1, packets=packets)
    id, _ = wire.start("sh", "-c", "echo ready; cat; exit 3")
    pieces = [b"%d\n" % number * 4000 for number in range(8)]
    got, wanted = b"", b"ready\n" + b"".join(pieces)
    for piece in pieces:
        assert isinstance(wire.ask(Data(to=id, payload=piece)), Taken)
    for message in wire.events(id):
        assert isinstance(message, Output)
        got += message.payload
        if len(got) >= len(wanted):
            break
    assert got == wanted
    for _ in range(3):
        assert isinstance(wire.ask(Data(to=id)), Taken), "EOF may be repeated"
    status = wire.follow(id).status
    assert status is not None
    assert status.code == 3
    wire.close()
    other = Wire(fresh.path)
    eventually(lambda: other.ask(List()).processes == ())
    other.close()
