"""What processes use: rows and how they are kept up to date, one table, lines of JSON, and the table on a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from netdaemon.cli import board, output, top
from netdaemon.cli.board import Board, Row, size
from netdaemon.errors import TimedOut
from netdaemon.wire.answers import Happened
from netdaemon.wire.records import State
from netdaemon.wire.told import Happening, ProcessRecord, Stats
from tests.blocking.proxy import proxy
from tests.cli.support import NDTOOL, PATIENCE, Daemon, Ndtool, Terminal
from tests.cli.test_terminal import Shell
from tests.support import readable

NOW = 1_000_000.0


def record(id: str, state: State = State.RUNNING, **fields: Any) -> ProcessRecord:
    told = {"argv": ("sh", "-c", "x y"), "pid": 7, "started": int((NOW - 300) * 1e6), **fields}
    return ProcessRecord(id=id, state=state, **told)


def used(id: str, percent: int = 0, **fields: int) -> Happened:
    return Happened(type=Happening.STATS, process=record(id), stats=Stats(percent=percent, **fields))


class FakeWatch:
    """What was told, and then nothing for ever, or the end."""

    def __init__(self, events: Iterable[Happened], *, ends: bool = False) -> None:
        self.left = deque(events)
        self.ends = ends
        self.waited: list[float] = []

    def next_event(self, timeout: float | None = None) -> Happened | None:
        if self.left:
            return self.left.popleft()
        if self.ends:
            return None
        assert timeout is not None
        self.waited.append(timeout)
        raise TimedOut("nothing happened")

    def __iter__(self) -> Iterator[Happened]:
        return iter(self.left)


# --- rows ---


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0K"),
        (1024, "1.0K"),
        (10137, "9.9K"),
        (10189, "10K"),
        (1 << 20, "1.0M"),
        (1023 << 20, "1.0G"),
        (2000 << 30, "2.0T"),
        ((1 << 63) - 1, "8.0E"),
    ],
)
def test_sizes(octets: int, text: str) -> None:
    assert size(octets) == text


def test_the_options_are_those_of_the_board() -> None:
    assert tuple(board.SORTS) == top.SORTS


def test_cells() -> None:
    stats = Stats(
        percent=1234, memory=5 << 20, threads=3, descriptors=9, processes=2, read=1, written=2048, cpu=1, time=2
    )
    row = Row(record("p", name="web"), stats)
    expected = ("p", "web", "running", "7", "5m", "12.3", "5.0M", "3", "9", "2", "1", "2.0K", "sh -c 'x y'")
    assert row.cells(NOW) == expected
    assert len(expected) == len(board.TITLES)
    gone = Row(record("p", State.EXITED, pid=None))
    assert gone.cells(NOW) == ("p", "", "exited", *("",) * 9, "sh -c 'x y'")


def test_no_control_characters() -> None:
    text = "".join(Row(record("p", argv=("a\x1b[31m\u202e",), name="n")).cells(NOW))
    assert output.visible(text) == text


def test_kept_up_to_date() -> None:
    made = Board([record("a"), record("b")], "name")
    assert made.put(used("a", 5)) == Row(record("a"), Stats(percent=5))
    # A new name, a new process; what was told of the first stays.
    assert made.put(Happened(type=Happening.CHANGED, process=record("a", name="x"))) is None
    made.put(Happened(type=Happening.CREATED, process=record("c", State.STARTING)))
    assert [(row.record.name, row.stats) for row in made.rows()] == [
        (None, None),
        (None, None),
        ("x", Stats(percent=5)),
    ]
    made.put(Happened(type=Happening.EXITED, process=record("a", State.EXITED)))
    made.put(Happened(type=Happening.REMOVED, process=record("b")))
    made.put(Happened(type=Happening.REMOVED, process=record("never")))
    assert [(row.record.id, row.stats) for row in made.rows()] == [("a", None), ("c", None)]
    assert len(made) == 2


@pytest.mark.parametrize(
    ("sort", "order"), [("cpu", ["b", "a", "c", "d", "e"]), ("memory", ["c", "a", "b", "d", "e"]), ("name", [*"abcde"])]
)
def test_sorted(sort: str, order: list[str]) -> None:
    """What uses most first, what uses nothing last; what uses the same by its id."""
    made = Board([record("e", State.EXITED), record("d")], sort)
    for event in (used("c", 1, memory=9), used("a", 1, memory=5), used("b", 2, memory=5)):
        made.put(event)
    assert [row.record.id for row in made.rows()] == order


# --- waiting for what is to be printed ---


def test_two_looks_at_all_that_runs() -> None:
    """What is at rest is not waited for, nor what has gone meanwhile."""
    made = Board([record("a"), record("b"), record("c", State.EXITED), record("d", State.BACKOFF)], "cpu")
    gone = Happened(type=Happening.EXITED, process=record("b", State.EXITED))
    watch = FakeWatch([used("a", 1), used("b", 1), used("a", 2), gone, used("a", 3)])
    top.gather(watch, made, 5)  # type: ignore[arg-type]
    assert len(watch.left) == 1
    assert [row.stats for row in made.rows()] == [Stats(percent=2), None, None, None]


def test_nothing_runs() -> None:
    top.gather(FakeWatch([]), Board([record("a", State.EXITED)], "cpu"), 5)  # type: ignore[arg-type]


def test_what_is_never_told() -> None:
    """Is not waited for for ever."""
    watch = FakeWatch([used("a", 1)])
    top.gather(watch, Board([record("a")], "cpu"), 5)  # type: ignore[arg-type]
    assert len(watch.waited) == 1
    assert 4 < watch.waited[0] <= 5
    top.gather(FakeWatch([], ends=True), Board([record("a")], "cpu"), 5)  # type: ignore[arg-type]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each look at a process, and none for what else happens."""
    events = [used("a", 1), Happened(type=Happening.CHANGED, process=record("a")), used("b", 2)]
    top.follow(FakeWatch(events), Board([], "cpu"))  # type: ignore[arg-type]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["id"], one["stats"]["percent"]) for one in told] == [("a", 1), ("b", 2)]
    assert told[0]["argv"] == ["sh", "-c", "x y"]


def test_a_table() -> None:
    made = Board([record("a", name="long-name"), record("b", State.EXITED)], "name")
    made.put(used("a", 10050, memory=1 << 30))
    lines = top.table(made, 100, NOW).splitlines()
    assert lines[0].split() == list(board.TITLES)
    # Numbers end below each other.
    at = lines[0].index("CPU%") + len("CPU%")
    assert [line[:at].split()[-1] for line in lines] == ["CPU%", "100.5", "7"]


# --- a real daemon ---

BUSY = ("sh", "-c", "while :; do :; done & sleep 1000 & wait")


def test_once(ndtool: Ndtool) -> None:
    assert ndtool.ok("top").split() == list(board.TITLES)
    ndtool.ok("start", "-d", "--name", "busy", "--", *BUSY)
    ndtool.ok("start", "-d", "--name", "idle", "--label", "kind=calm", "--", "sleep", "1000")
    ndtool("start", "--name", "gone", "--", "true")
    for options in ([], ["--once"]):
        lines = ndtool.ok("top", "--interval", "0.5", *options).splitlines()
        assert [line.split()[1] for line in lines[1:3]] == ["busy", "idle"]
        found = re.fullmatch(
            r"\w+  busy  running  +\d+ +\d+s +([\d.]+) +[\d.]+M +3 +\d+ +3 +\S+ +\S+  sh -c '.*'", lines[1]
        )
        assert found, lines
        assert 5 < float(found[1]) < 150
        assert re.fullmatch(r"\w+ +gone +exited +true", lines[3])
    (row,) = map(json.loads, ndtool.ok("--json", "top", "--once", "--interval", "0.2", "busy").splitlines())
    assert row["name"] == "busy"
    assert row["stats"]["processes"] == 3
    lines = ndtool.ok("top", "--interval", "0.2", "--sort", "name", "state=running").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["busy", "idle"]
    (_, line) = ndtool.ok("top", "--interval", "0.2", "-l", "kind", "idle").splitlines()
    assert line.split()[1] == "idle"


def test_wrong_usage(ndtool: Ndtool) -> None:
    assert "0.05" in ndtool.fails(125, "top", "--interval", "0.05")
    assert "no state" in ndtool.fails(125, "top", "state=nonsense")


def test_for_programs(ndtool: Ndtool) -> None:
    """A line each time, as soon as it is known, until it is interrupted or nobody reads."""
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "1000")
    with ndtool.popen("top", "--json", "--interval", "0.1") as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["stats"]["time"] for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
    assert times == sorted(set(times))
    with ndtool.popen("top", "--json", "--interval", "0.1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == -signal.SIGPIPE


@pytest.mark.parametrize("way", ["q", "ctrl-c", "term"])
def test_on_a_terminal(ndtool: Ndtool, way: str) -> None:
    """Kept up to date, and afterwards everything is as it was."""
    ndtool.ok("start", "-d", "--name", "first", "--", "sleep", "1000")
    with Terminal(ndtool, "top", "--interval", "0.2", rows=20, columns=120) as terminal:
        terminal.expect(rb"\x1b\[\?1049h")
        terminal.expect(rb"first.*running")
        assert terminal.is_raw()
        ndtool.ok("start", "-d", "--name", "second", "--", "sleep", "1000")
        terminal.expect(rb"second.*running")
        ndtool.ok("kill", "second")
        terminal.expect(rb"second.*exited")
        if way == "term":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.type(b"q" if way == "q" else b"\x03")
        terminal.expect(rb"\x1b\[\?1049l")
        assert terminal.wait() == (128 + signal.SIGTERM if way == "term" else 0)
        assert terminal.settings() == terminal.before
        assert b"\x1b[?25l" not in terminal.seen.rpartition(b"\x1b[?25h")[2]


def test_as_many_rows_as_there_is_room_for(ndtool: Ndtool) -> None:
    for number in range(8):
        ndtool.ok("start", "-d", "--name", f"p{number}", "--", "sleep", "1000")
    with Terminal(ndtool, "top", "--sort", "name", "--interval", "0.2", rows=7, columns=100) as terminal:
        terminal.expect(rb"(?s)p4 .*3 more")
        terminal.resize(20, 60)
        terminal.expect(rb"(?s)p7 .*q leaves")
        # Not wider than there is room for: the text of a command is cut.
        terminal.resize(20, 70)
        terminal.expect(rb"q leaves")
        terminal.type(b"q")
        assert terminal.wait() == 0


def test_stopped_and_continued(ndtool: Ndtool) -> None:
    """The terminal is the shell's meanwhile."""
    ndtool.ok("start", "-d", "--name", "first", "--", "sleep", "1000")
    script = f"set -m; {shlex.join([*NDTOOL, 'top', '--interval', '0.2'])}; echo stopped; stty -a; fg; echo code $?"
    with Terminal(Shell(script, ndtool)) as terminal:
        terminal.expect(rb"first")
        terminal.type(b"\x1a")
        terminal.expect(rb"\x1b\[\?1049l")
        terminal.expect(rb"stopped\r\n")
        terminal.expect(rb" icanon ")
        terminal.expect(rb"\x1b\[\?1049h")
        terminal.expect(rb"first")
        assert terminal.is_raw()
        terminal.type(b"Q")
        terminal.expect(rb"code 0\r\n")
        assert terminal.settings() == terminal.before


def test_nobody_types(ndtool: Ndtool) -> None:
    """Its input is no terminal: only signals leave."""
    ndtool.ok("start", "-d", "--name", "first", "--", "sleep", "1000")
    master, slave = os.openpty()
    try:
        with ndtool.popen("top", "--interval", "0.2", stdin=subprocess.DEVNULL, stdout=slave) as process:
            seen = b""
            while b"first" not in seen:
                assert readable(master, PATIENCE)
                seen += os.read(master, 65536)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(master)
        os.close(slave)


def test_the_daemon_goes(ndtool: Ndtool, daemon: Daemon) -> None:
    """It waits for the next one and says so; where it must not, it says why it ends."""
    ndtool.ok("start", "-d", "--name", "first", "--", "sleep", "1000")
    with tempfile.TemporaryDirectory(prefix="nd") as directory, proxy(directory, daemon.socket) as between:
        through = Ndtool(between.path)
        with (
            Terminal(through, "--no-reconnect", "top", "--interval", "0.2") as given_up,
            Terminal(through, "top", "--interval", "0.2", columns=130) as terminal,
        ):
            terminal.expect(rb"first")
            given_up.expect(rb"first")
            between.die()
            assert given_up.wait() == 125
            assert b"the daemon is gone" in given_up.seen
            assert given_up.settings() == given_up.before
            terminal.expect(rb"the daemon is gone; waiting for it \(q leaves\)")
            between.listen()
            terminal.expect(rb"\x1b\[2mq leaves")
            ndtool.ok("start", "-d", "--name", "second", "--", "sleep", "1000")
            terminal.expect(rb"second")
            terminal.type(b"q")
            assert terminal.wait() == 0
