"""ndtool carries on when the daemon goes and comes back: nobody who looks at its bytes notices."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netdaemon.errors import NoSuchProcess, Refusal
from netdaemon.wire.answers import DaemonInfo, Event, Listing, OfProcess, Ok, Output, Status, Taken
from netdaemon.wire.commands import (
    Attach,
    Data,
    Info,
    Inspect,
    Kill,
    List,
    Remove,
    Request,
    Shutdown,
    Start,
    Wait,
)
from netdaemon.wire.records import Fate, State
from netdaemon.wire.told import ProcessRecord
from tests.blocking.proxy import Proxy, limits, proxy
from tests.blocking.support import CUT, EXITED, Answer, FakeServer, attached
from tests.cli.support import PATIENCE, Daemon, Ndtool, Terminal, eventually

DEAD = ProcessRecord(id="bcdf", argv=("cat",), state=State.EXITED, exited=1, code=7)


@pytest.fixture
def between(daemon: Daemon) -> Iterator[Proxy]:
    """What a test can cut, or have gone."""
    with tempfile.TemporaryDirectory(prefix="nd") as directory, proxy(directory, daemon.socket) as found:
        yield found


@contextmanager
def cutting(daemon: Daemon, count: int, seed: int, *, most: int, ways: str) -> Iterator[tuple[Ndtool, Proxy]]:
    """ndtool, through what cuts its connections so often; never the first before HELLO is answered."""
    with (
        tempfile.TemporaryDirectory(prefix="nd") as directory,
        proxy(directory, daemon.socket, limits(count, seed, least=400, most=most, ways=ways)) as found,
    ):
        yield Ndtool(found.path), found


# --- bytes ---


@pytest.mark.parametrize("seed", [1, 2])
def test_input_arrives_byte_for_byte_over_many_cuts(ndtool: Ndtool, daemon: Daemon, seed: int) -> None:
    data = random.Random(seed).randbytes(3 << 20)
    with cutting(daemon, 50, seed, most=100_000, ways="u") as (through, found):
        done = through("start", "--", "sha256sum", input=data)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
        assert found.cuts >= 20


def test_both_directions_and_the_exit_code_over_many_cuts(ndtool: Ndtool, daemon: Daemon) -> None:
    data = os.urandom(3 << 20)
    with cutting(daemon, 50, 5, most=80_000, ways="ud") as (through, found):
        done = through("start", "--keep", "16M", "--", "sh", "-c", "cat; echo end >&2; exit 9", input=data)
        assert (done.returncode, done.stderr) == (9, b"end\n")
        assert done.stdout == data
        assert found.cuts >= 30


def test_attach_over_many_cuts(ndtool: Ndtool, daemon: Daemon) -> None:
    script = "read line; seq 200000; echo $line; exit 3"
    process = ndtool.ok("start", "-d", "--keep", "16M", "--", "sh", "-c", script).strip()
    expected = b"".join(b"%d\n" % number for number in range(1, 200_001)) + b"hello\n"
    with cutting(daemon, 30, 7, most=60_000, ways="d") as (through, found):
        done = through("attach", process, input=b"hello\n")
        assert (done.returncode, done.stdout, done.stderr) == (3, expected, b"")
        assert found.cuts >= 20
    with cutting(daemon, 30, 8, most=60_000, ways="d") as (through, found):
        assert through.ok("logs", process) == expected.decode()
        assert found.cuts >= 20


def test_input_in_lines_of_one_of_several_writers(ndtool: Ndtool, daemon: Daemon, between: Proxy) -> None:
    process = ndtool.ok("start", "-d", "--", "cat").strip()
    with Ndtool(between.path).popen("attach", process) as attached_:
        assert attached_.stdin is not None
        assert attached_.stdout is not None
        for number in range(50):
            between.cut()
            attached_.stdin.write(b"%d\n" % number)
            attached_.stdin.flush()
            assert attached_.stdout.readline() == b"%d\n" % number
        attached_.stdin.close()
        assert attached_.wait(PATIENCE) == 0


# --- while there is none ---


def test_it_is_said_once_after_a_while_and_when_it_is_back(ndtool: Ndtool, between: Proxy) -> None:
    with Ndtool(between.path).popen("start", "--name", "x", "--", "cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"1\n"
        between.die()
        assert process.stderr.readline() == b"ndtool: the daemon is gone; waiting for it (Ctrl-C detaches)\n"
        process.stdin.write(b"2\n")
        process.stdin.flush()
        time.sleep(0.7)
        between.listen()
        assert process.stderr.readline() == b"ndtool: the daemon is back\n"
        assert process.stdout.readline() == b"2\n"
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


def test_a_short_loss_is_not_spoken_of(ndtool: Ndtool, between: Proxy) -> None:
    with Ndtool(between.path).popen("start", "--name", "x", "--", "cat") as process:
        eventually(lambda: between.pieces >= 2)
        between.die()
        time.sleep(0.2)
        between.listen()
        out, err = process.communicate(b"x\n", timeout=PATIENCE)
        assert (out, err, process.returncode) == (b"x\n", b"", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_detaches_at_once(ndtool: Ndtool, between: Proxy, number: int) -> None:
    with Ndtool(between.path).popen("start", "--name", "x", "--", "sleep", "100") as process:
        eventually(lambda: "x" in [one["name"] for one in ndtool.json("list") if one["attached"]])
        # The answer arrives, and its signals are its own.
        time.sleep(0.5)
        between.die()
        time.sleep(0.2)
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(PATIENCE) == 128 + number
        assert time.monotonic() - began < 5
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"ndtool: detached; the process goes on as x")


def test_a_signal_that_is_sent_on_arrives_when_it_is_back(ndtool: Ndtool, between: Proxy) -> None:
    script = "trap 'echo usr1; exit 4' USR1; echo up; while :; do sleep 0.05; done"
    with Ndtool(between.path).popen("start", "--sig-proxy", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"up\n"
        between.die()
        assert b"waiting for it (signals are sent on when it is back)" in process.stderr.readline()
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        between.listen()
        assert process.stdout.readline() == b"usr1\n"
        assert process.wait(PATIENCE) == 4


def test_a_raw_terminal_stays_raw_and_its_keys_detach(ndtool: Ndtool, between: Proxy) -> None:
    with Terminal(Ndtool(between.path), "start", "-t", "--name", "x", "--", "cat") as terminal:
        terminal.expect(b"to detach, type ctrl-p ctrl-q")
        terminal.type(b"one\r")
        terminal.expect(b"one\r\none\r\n")
        between.die()
        terminal.expect(rb"\r\nndtool: the daemon is gone; waiting for it \(ctrl-p ctrl-q detaches\)\r\n")
        assert terminal.is_raw()
        # What is typed meanwhile arrives, and a new size as well.
        terminal.type(b"two\r")
        terminal.resize(11, 22)
        between.listen()
        terminal.expect(rb"ndtool: the daemon is back\r\n")
        terminal.expect(b"two\r\ntwo\r\n")
        assert terminal.is_raw()
        between.die()
        time.sleep(0.3)
        terminal.type(b"\x10\x11")
        assert terminal.wait() == 0
        assert terminal.settings() == terminal.before
    between.listen()


def test_whoever_waits_waits_on(ndtool: Ndtool, between: Proxy) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sh", "-c", "echo out; read a; echo $a; exit 6")
    through = Ndtool(between.path)
    with through.popen("wait", "x") as waits, through.popen("logs", "-f", "x") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == b"out\n"
        eventually(lambda: between.pieces >= 4)
        between.die()
        for one in (waits, logs):
            assert one.stderr is not None
            assert one.stderr.readline() == b"ndtool: the daemon is gone; waiting for it (Ctrl-C leaves)\n"
        ndtool.ok("send", "x", "bye")
        between.listen()
        assert logs.stdout.read() == b"bye\n"
        assert (waits.wait(PATIENCE), logs.wait(PATIENCE)) == (6, 0)
        for one in (waits, logs):
            assert one.stderr is not None
            assert one.stderr.read() == b"ndtool: the daemon is back\n"


def test_a_wait_is_still_given_up(ndtool: Ndtool, between: Proxy) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    with Ndtool(between.path).popen("wait", "--timeout", "1.5", "x") as process:
        eventually(lambda: between.pieces >= 2)
        between.die()
        assert process.wait(PATIENCE) == 124
    between.listen()


@pytest.mark.parametrize("command", [["start", "--", "sleep", "100"], ["wait", "x"], ["logs", "-f", "x"]])
def test_who_wants_to_know_is_told(ndtool: Ndtool, between: Proxy, command: list[str]) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    with Ndtool(between.path).popen("--no-reconnect", *command) as process:
        eventually(lambda: between.pieces >= 2)
        between.die()
        assert process.wait(PATIENCE) == 125
        assert process.stderr is not None
        assert b"the daemon closed the connection" in process.stderr.read()
    between.listen()


@pytest.mark.parametrize("command", [["start", "--", "sleep", "100"], ["wait", "x"]])
def test_when_patience_is_over_that_is_told(ndtool: Ndtool, between: Proxy, command: list[str]) -> None:
    """A minute is long for a test."""
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    impatient = (
        "from netdaemon.blocking.link import Link; Link.__init__.__kwdefaults__['patience'] = 1.5; "
        "from netdaemon.cli.main import run; run()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", impatient, "--socket", between.path, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        eventually(lambda: between.pieces >= 2)
        between.die()
        assert process.wait(PATIENCE) == 125
        assert process.stderr is not None
        first, second = process.stderr.read().decode().splitlines()
        assert "waiting for it" in first
        assert "the daemon is gone: the daemon closed the connection, and none has answered in the 1.5 s" in second
    between.listen()


# --- commands that are cut off, with a daemon that the test plays ---


ANSWERS: dict[type[Request], Answer] = {
    Start: attached(),
    Attach: attached(),
    List: Listing(processes=(DEAD,)),
    Inspect: OfProcess(process=DEAD),
    Wait: OfProcess(process=DEAD),
    Data: Taken(accepted=0, end=0),
    Info: DaemonInfo(version="1", instance="i", pid=1, keeper_pid=77, degraded=("no pidfd", "no splice")),
}


class Script:
    """Answers as usual, but cuts the first requests of one kind."""

    def __init__(self) -> None:
        self.cut: type[Request] = Request
        self.times = 2

    def __call__(self, request: Request) -> Answer:
        if type(request) is self.cut and self.times:
            self.times -= 1
            return CUT
        return ANSWERS.get(type(request), Ok())


def events(request: Request) -> list[Event]:
    return [Output(channel=1, payload=b"out"), EXITED] if isinstance(request, Start | Attach) else []


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def fakes(script: Script) -> Iterator[FakeServer]:
    found = FakeServer(script, events)
    found.listen()
    try:
        yield found
    finally:
        found.close()
    for one in found.daemons:
        assert one.error is None


@pytest.mark.parametrize(
    ("cut", "command", "code"),
    [
        (List, ["list"], 0),
        (List, ["--no-autostart", "list", "x*"], 0),
        (Inspect, ["inspect", "x"], 0),
        (Info, ["info"], 0),
        (Wait, ["wait", "x"], 7),
        (Start, ["start", "true"], 0),
        (Attach, ["attach", "x"], 0),
        (Attach, ["logs", "-f", "x"], 0),
    ],
)
def test_what_changes_nothing_is_asked_again(
    fakes: FakeServer, script: Script, cut: type[Request], command: list[str], code: int
) -> None:
    script.cut = cut
    done = Ndtool(fakes.path)(*command)
    assert (done.returncode, done.stderr) == (code, b"")
    assert script.times == 0
    assert done.stdout or cut is Wait


@pytest.mark.parametrize(
    ("cut", "command"),
    [(Kill, ["kill", "x"]), (Remove, ["rm", "x"]), (Shutdown, ["shutdown"])],
)
def test_what_may_have_changed_something_is_said_to_be_unknown(
    fakes: FakeServer, script: Script, cut: type[Request], command: list[str]
) -> None:
    script.cut = cut
    line = Ndtool(fakes.path).fails(125, *command)
    word = cut.__name__.upper()
    assert line.startswith("the daemon went before it answered (the daemon closed the connection): ")
    assert line.endswith(f": whether {word} was carried out is unknown")
    assert script.times == 1


def test_without_reconnecting_nothing_is_asked_again(fakes: FakeServer, script: Script) -> None:
    script.cut = Inspect
    line = Ndtool(fakes.path).fails(125, "--no-reconnect", "inspect", "x")
    assert line == "the daemon closed the connection"
    assert script.times == 1


def test_a_detached_start_starts_one(daemon: Daemon, ndtool: Ndtool) -> None:
    """Its reply is lost, and asked for again."""
    with (
        tempfile.TemporaryDirectory(prefix="nd") as directory,
        # The whole answer to HELLO, and a little of that to START.
        proxy(directory, daemon.socket, iter([(1 << 62, 200)] * 3)) as found,
    ):
        done = Ndtool(found.path)("start", "-d", "--", "sleep", "100")
        assert (done.returncode, done.stderr) == (0, b"")
        assert found.cuts == 3
        (record,) = ndtool.json("list")
        assert done.stdout.decode().strip() == record["id"]


def test_a_removal_of_ones_own_is_repeated(fakes: FakeServer, script: Script) -> None:
    """What it ends with is the exit code of the process, not the loss of an answer."""
    script.cut = Remove
    script.times = 1
    inner = fakes.answer
    gone = NoSuchProcess("it is gone", process="bcdf")
    fakes.answer = lambda r: gone if isinstance(r, Remove) and not script.times else inner(r)
    done = Ndtool(fakes.path)("start", "--rm", "true")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out", b"")
    assert len(fakes.asked(Remove)) == 2


@pytest.mark.parametrize(("option", "fate"), [([], Fate.STOP), (["--keep"], Fate.KEEP)])
def test_shutdown_says_what_becomes_of_the_processes(fakes: FakeServer, option: list[str], fate: Fate) -> None:
    """And comes back when the daemon that agreed to it has gone, whatever listens there then."""
    with Ndtool(fakes.path).popen("shutdown", *option) as process:
        eventually(lambda: fakes.asked(Shutdown))
        time.sleep(0.1)
        assert process.poll() is None
        fakes.daemons[-1].cut()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert fakes.asked(Shutdown) == [Shutdown(processes=fate)]
    assert len(fakes.daemons) == 1


def test_info_tells_of_the_keeper_and_of_all_that_is_degraded(fakes: FakeServer) -> None:
    lines = [line.split(maxsplit=1) for line in Ndtool(fakes.path).ok("info").splitlines()]
    assert ["keeper", "77"] in lines
    assert lines[-2:] == [["degraded", "no pidfd"], ["no", "splice"]]


def test_input_of_which_nobody_knows_fails_loudly(fakes: FakeServer) -> None:
    """One of several writers, and somebody else wrote as well while the reply was lost."""
    state = {"end": 0}

    def answer(request: Request) -> Answer | Refusal:
        if isinstance(request, Data):
            state["end"] += 1000
            return CUT
        return attached(stdin_end=state["end"]) if isinstance(request, Attach) else ANSWERS.get(type(request), Ok())

    fakes.answer = answer
    fakes.after = lambda request: []
    with Ndtool(fakes.path).popen("attach", "x") as process:
        assert process.stdin is not None
        process.stdin.write(b"mine\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 125
        assert process.stderr is not None
        assert b"the input of x is in disorder: 5 bytes of stdin were under way" in process.stderr.read()


def test_the_end_that_came_meanwhile_is_ours(fakes: FakeServer) -> None:
    """It exited while there was no daemon, by a signal."""
    fakes.after = lambda request: [Status(state=State.EXITED, signal=15, end=0)] if isinstance(request, Attach) else []
    with Ndtool(fakes.path).popen("start", "--", "x") as process:
        eventually(lambda: fakes.asked(Start))
        fakes.daemons[-1].cut()
        assert process.wait(PATIENCE) == -signal.SIGTERM
