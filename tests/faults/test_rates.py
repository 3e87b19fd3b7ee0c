"""Over real sockets: who sends more than he may is slowed and loses nothing, who says nothing makes room for others."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from netdaemon.errors import ConversationAborted, StdinFull
from netdaemon.wire.answers import Attached, Listing, Taken
from netdaemon.wire.commands import Data, Info, List, Start
from netdaemon.wire.records import Limits
from tests.faults.wire import PATH, PATIENCE, Wire, cpu, eventually, memory
from tests.support import LONG, Figure, running_daemon

ROOT = Path(__file__).parents[2]

# Of the client that is slowed, and how much it sends: some seconds more than its burst.
RATE = 4000
SECONDS = 10 if LONG else 2


def flood(path: str, count: int) -> subprocess.Popen[str]:
    """A client that sends so many requests as fast as it can."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.flood", path, str(count)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def lists_meanwhile(wire: Wire, flooding: subprocess.Popen[str]) -> list[float]:
    """How long each LIST of another client takes until the flood is over, in milliseconds; from the fastest on."""
    taken = []
    while flooding.poll() is None:
        before = time.perf_counter()
        assert isinstance(wire.ask(List()), Listing)
        taken.append((time.perf_counter() - before) * 1000)
        time.sleep(0.002)
    return sorted(taken)


@pytest.mark.parametrize("rate", [RATE, None], ids=["slowed", "unlimited"])
def test_a_flood(rate: int | None, tmp_path: Path, figure: Figure) -> None:
    """Every answer comes, in its turn; the daemon keeps nothing of what waits; the others are answered meanwhile."""
    tmp_path.chmod(0o700)
    options = () if rate is None else (f"--requests-per-second={rate}", "--burst=1")
    with running_daemon(tmp_path, *options) as running:
        wire = Wire(running.path)
        limits = wire.ask(Info()).limits
        assert isinstance(limits, Limits)
        assert limits.request_rate == rate
        count = RATE * (1 + SECONDS) if rate else 10_000 * SECONDS
        before, used = memory(running.process.pid), cpu(running.process.pid)
        flooding = flood(running.path, count)
        try:
            if rate:
                eventually(lambda: wire.ask(Info()).counts.slowed)
            taken = lists_meanwhile(wire, flooding)
            answered, in_order, seconds = flooding.communicate(timeout=PATIENCE)[0].split()
        finally:
            flooding.kill()
            flooding.wait()
        assert (int(answered), in_order) == (count, "True")
        if rate:
            # It cannot have been faster; slower it may have been on a busy machine.
            assert float(seconds) >= SECONDS - 0.1
        grown = memory(running.process.pid) - before
        what = f"a flood of LIST, {rate} a second allowed" if rate else "a flood of LIST, no limit"
        figure(f"{what}: answers, in order", f"{answered} of {count:,} in {float(seconds):.1f} s", "all")
        figure(f"{what}: another's LIST, p99", f"{taken[len(taken) * 99 // 100]:.1f} ms", "<= 50 ms")
        figure(f"{what}: the daemon's processor time", f"{cpu(running.process.pid) - used:.1f} s", "")
        figure(f"{what}: its memory", f"{grown / (1 << 20):+.1f} MiB", "<= +2 MiB")
        assert grown < 8 << 20
        wire.close()
    assert "Traceback" not in running.log.read_text(errors="replace")


def test_input_at_its_rate(tmp_path: Path, figure: Figure) -> None:
    """A child is fed as fast as the client may send, and gets every byte."""
    tmp_path.chmod(0o700)
    rate = 1 << 20
    with running_daemon(tmp_path, f"--bytes-per-second={rate}", "--burst=1") as running:
        wire = Wire(running.path)
        id, _ = wire.start("cat", keep=8 << 20)
        sent = b"".join(b"%d\n" % number for number in range(500_000))[: 3 * rate]
        began = time.monotonic()
        fed, size = 0, 256 * 1024
        while fed < len(sent):
            reply = wire.ask(Data(to=id, payload=sent[fed : fed + size], at=fed))
            # A child that has not read on yet: what does not fit is sent again.
            assert isinstance(reply, Taken | StdinFull), reply
            fed += reply.accepted or 0
        taken = time.monotonic() - began
        wire.ask(Data(to=id))
        assert wire.follow(id).of(1) == sent
        assert taken >= 1.9 - size / rate
        figure("3 MiB of input at 1 MiB a second, 1 MiB at once", f"{taken:.1f} s", "2 s")
        wire.close()


def test_those_that_say_nothing_keep_nobody_out(tmp_path: Path, figure: Figure) -> None:
    """300 connections without HELLO where there is room for 108: the oldest go, whoever speaks gets in and starts."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path, inside=["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]) as running:
        silent = [Wire(running.path, greet=False) for _ in range(300)]
        wires = [Wire(running.path) for _ in range(20)]
        info = wires[0].ask(Info())
        assert info.counts.newcomers <= info.limits.newcomers < info.limits.clients
        for wire in wires[:3]:
            assert isinstance(wire.ask(Start(argv=("cat",), env=(PATH,), attach=True)), Attached)
        words = ""
        try:
            silent[0].receive()
        except ConversationAborted as error:
            words = str(error)
        assert "have not said HELLO, and this was the oldest" in words
        burnt = cpu(running.process.pid)
        time.sleep(1)
        burnt = cpu(running.process.pid) - burnt
        figure("300 silent connections, 256 descriptors: of 20 that speak, let in", len(wires), "20")
        figure("300 silent connections, 256 descriptors: processor time then", f"{burnt:.0%}", "< 5 %")
        assert burnt < 0.5
        for wire in silent + wires:
            wire.close()
    assert "Traceback" not in running.log.read_text(errors="replace")


def test_tight_limits_are_told(tmp_path: Path) -> None:
    """In the log, with the numbers; the daemon starts all the same."""
    tmp_path.chmod(0o700)
    inside = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    with running_daemon(tmp_path, "--clients=200", "--processes=20", inside=inside) as running:
        assert "200 clients, 20 processes and 16 that have exited can take 452 descriptors" in running.log.read_text()
