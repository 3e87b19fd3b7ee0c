"""logs: from files and from the daemon, whole, from some place on, with times, as lines of a log, and on and on."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.cli import declaring, history
from netdaemon.cli.outflow import stamp
from netdaemon.logs.cri import Line
from netdaemon.logs.reader import Moved
from tests.cli.support import PATIENCE, Daemon, Ndtool, eventually

COUNT = ["sh", "-c", 'i=0; while read n; do while test $i -lt $n; do i=$((i+1)); echo "line $i"; done; done']


def lines(count: int, first: int = 1) -> str:
    return "".join(f"line {number}\n" for number in range(first, count + 1))


def start(ndtool: Ndtool, *options: str, command: list[str] = COUNT) -> None:
    ndtool.ok("start", "-d", "--name", "x", *options, "--", *command)


def write(ndtool: Ndtool, count: int) -> None:
    ndtool.ok("send", "x", str(count))
    size = len(lines(count))
    eventually(lambda: ndtool.json("inspect", "x")["end"] == size)


# --- from files ---


def test_a_log_has_more_than_the_daemon_keeps(ndtool: Ndtool, tmp_path: Path) -> None:
    start(ndtool, "--keep", "4k", "--log", f"{tmp_path}/x.log,size=8k,files=100")
    write(ndtool, 2000)
    assert ndtool.json("inspect", "x")["begin"] > 0
    assert len(list(tmp_path.glob("x.log.*"))) > 2
    assert ndtool.ok("logs", "x") == lines(2000)
    assert ndtool.ok("logs", "-n", "3", "x") == lines(2000, 1998)
    assert ndtool.ok("logs", "-n", "0", "x") == ""
    assert ndtool.ok("logs", "-n", "5000", "x") == lines(2000)
    assert ndtool.ok("logs", "--tail", "20", "x") == lines(2000)[-20:]
    assert ndtool.ok("logs", "--from", "7", "x") == lines(2000, 2)
    assert ndtool.ok("logs", "--since", "1h", "x") == lines(2000)
    assert ndtool.ok("logs", "--since", "2099-01-01", "x") == ""
    raw = ndtool.ok("logs", "--raw", "-n", "2", "x").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F line 2000", raw[1])
    newest = (tmp_path / "x.log").read_text()
    assert newest.endswith("\n".join(raw) + "\n")


def test_what_is_not_in_the_files_yet_comes_from_the_daemon(ndtool: Ndtool, tmp_path: Path) -> None:
    start(ndtool, "--log", str(tmp_path / "x.log"), command=["sh", "-c", "echo one; printf prompt:; sleep 100"])
    eventually(lambda: ndtool.json("inspect", "x")["end"] == 11)
    assert ndtool.ok("logs", "x") == "one\nprompt:"


def test_a_log_that_is_not_to_be_read_here(ndtool: Ndtool, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    start(ndtool, "--log", str(tmp_path / "d" / "x.log"))
    write(ndtool, 3)
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    done = ndtool("logs", "x")
    assert (done.returncode, done.stdout.decode()) == (0, lines(3))
    assert b"x.log cannot be read here: " in done.stderr
    assert b"; this is what the daemon keeps\n" in done.stderr


def test_follow_over_files_and_restarts(ndtool: Ndtool, tmp_path: Path) -> None:
    """What was logged, what comes, and what the next generation writes: each byte once."""
    start(
        ndtool,
        "--keep",
        "4k",
        "--restart",
        "on-failure,delay=10ms",
        "--log",
        f"{tmp_path}/x.log,size=8k,files=100",
        command=["sh", "-c", "read n; seq $n; read n; exit $n"],
    )
    ndtool.ok("send", "x", "3000")
    once = "".join(f"{number}\n" for number in range(1, 3001)).encode()
    eventually(lambda: ndtool.json("inspect", "x")["end"] == len(once))
    with ndtool.popen("logs", "-f", "x", stdin=subprocess.DEVNULL) as following:
        assert following.stdout is not None
        assert following.stdout.read(len(once)) == once
        ndtool.ok("send", "x", "1")
        eventually(lambda: ndtool.json("inspect", "x")["generation"] == 2)
        eventually(lambda: ndtool("send", "x", "3000").returncode == 0)
        assert following.stdout.read(len(once)) == once
        ndtool.ok("send", "x", "0")
        assert following.stdout.read() == b""
        assert following.wait(PATIENCE) == 0
        assert following.stderr is not None
        assert following.stderr.read() == b""


# --- from the daemon, and how it is printed ---


def test_without_a_log_all_of_it_works_on_what_is_kept(ndtool: Ndtool) -> None:
    start(ndtool)
    write(ndtool, 100)
    assert ndtool.ok("logs", "-n", "2", "x") == lines(100, 99)
    assert ndtool.ok("logs", "--since", "1m", "x") == lines(100)
    time.sleep(0.01)
    assert ndtool.ok("logs", "--since", "1ms", "x") == ""
    assert re.search(r"Z stdout F line 1\n", ndtool.ok("logs", "--raw", "x"))


def test_timestamps_and_streams(ndtool: Ndtool) -> None:
    command = ["sh", "-c", "echo one; echo two >&2; printf 'a\\rb\\n\\n'; printf unfinished"]
    start(ndtool, command=command)
    ndtool("wait", "x")
    done = ndtool("logs", "-t", "x")
    out, err = done.stdout.decode(), done.stderr.decode()
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "
    assert re.fullmatch(rf"{moment}one\n{moment}a\rb\n{moment}\n{moment}unfinished", out)
    assert re.fullmatch(rf"{moment}two\n", err)
    raw = ndtool("logs", "--raw", "x").stdout.decode().split("\n")
    told = ["", "stderr F two", "stdout F ", "stdout F a\rb", "stdout F one", "stdout P unfinished"]
    assert sorted(line.partition(" ")[2] for line in raw) == told


@pytest.mark.parametrize("options", [["--from", "0", "-n", "1"], ["--since", "1m", "--tail", "1"]])
def test_where_to_begin_is_said_once(ndtool: Ndtool, options: list[str]) -> None:
    assert "both say where to begin" in ndtool.fails(125, "logs", *options, "x")


def test_other_usage(ndtool: Ndtool) -> None:
    assert "neither a time" in ndtool.fails(125, "logs", "--since", "soon", "x")
    assert "times of its own" in ndtool.fails(125, "logs", "--raw", "--timestamps", "x")


# --- pieces ---


PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.text("ab\n\r", min_size=1, max_size=6)), max_size=12)


@given(PIECES, st.integers(0, 6))
def test_the_last_lines_are_the_last(pieces: list[tuple[int, str]], count: int) -> None:
    given_ = [Line(0, channel, text.encode()) for channel, text in pieces]
    found, more = history._last(iter(given_), count)
    begun = 0
    for channel in (1, 2):
        whole = b"".join(line.data for line in given_ if line.channel == channel)
        begun += whole.count(b"\n") + (not whole.endswith(b"\n") and bool(whole))
        assert whole.endswith(b"".join(line.data for line in found if line.channel == channel))
    kept = [line.data for line in found]
    assert sum(data.count(b"\n") <= 1 for data in kept) == len(kept)
    assert more == (begun > count)
    if not more:
        assert sum(map(len, kept)) == sum(len(line.data) for line in given_)


@given(st.binary(max_size=20))
def test_lines_of(data: bytes) -> None:
    parts = list(history.lines_of(data))
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert all(part.count(b"\n") <= 1 for part in parts)


def test_a_stamp() -> None:
    assert re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.001 ", stamp(1_700_000_000_001_999))


def test_moments() -> None:
    now = time.time()
    assert abs(declaring.moment("10m") / 1e6 - (now - 600)) < 5
    assert declaring.moment("2026-01-02T03:04:05Z") == 1767323045_000000
    assert declaring.moment("2026-01-02T03:04:05+01:00") == 1767319445_000000
    assert time.strftime("%H:%M", time.localtime(declaring.moment("12:34") / 1e6)) == "12:34"
    for text in ("", "soon", "10", "25:00", "2026-13-01"):
        with pytest.raises(ValueError, match=r"."):
            declaring.moment(text)


class Removing:
    """Files that are removed while they are read."""

    def __init__(self, *outcomes: object) -> None:
        self._outcomes = list(outcomes)
        self.asked: list[tuple[int | None, int | None]] = []

    def __call__(self, path, ask, *, since, begin, complain):  # type: ignore[no-untyped-def]
        self.asked.append((begin, since))
        ask()
        for one in self._outcomes.pop(0):  # type: ignore[attr-defined]
            if isinstance(one, Exception):
                raise one
            yield one


def test_what_was_read_before_files_moved_does_not_come_again(
    ndtool: Ndtool, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(ndtool, "--log", str(tmp_path / "x.log"))
    one, two, three = (Line(moment, 1, data) for moment, data in ((1, b"a\n"), (2, b"b\n"), (2, b"c\n")))
    reading = Removing([one, two, Moved("x")], [two, three, Moved("x")], [two, three])
    monkeypatch.setattr(history, "read", reading)
    said: list[str] = []
    with daemon.client() as client:
        past = history.History(client, client.inspect("x"), said.append)
        assert list(past.past()) == [one, two, three]
    assert reading.asked == [(None, None), (None, 2), (None, 2)]
    assert said == []


def test_files_that_move_for_ever(
    ndtool: Ndtool, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(ndtool, "--log", str(tmp_path / "x.log"))
    monkeypatch.setattr(history, "read", Removing(*([Moved("x")] for _ in range(history.ATTEMPTS))))
    said: list[str] = []
    with daemon.client() as client:
        assert list(history.History(client, client.inspect("x"), said.append).past()) == []
    assert said == ["a part of the log was removed while it was read"]
