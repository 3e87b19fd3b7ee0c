"""events: what has happened, from where on, and what happens; for people and for programs."""

from __future__ import annotations

import json
import re
import subprocess
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.cli import happening
from tests.cli.support import PATIENCE, Ndtool, eventually


def lived(ndtool: Ndtool, name: str) -> None:
    """A process that was started, signalled and has exited, and whose events are in the journal."""
    ndtool.ok("start", "-d", "--name", name, "--label", f"is={name}", "--", "sleep", "100")
    ndtool.ok("kill", name, "USR1")
    ndtool("wait", name)
    eventually(lambda: "exited" in ndtool.ok("events", name))


def types(text: str) -> list[str]:
    return [json.loads(line)["type"] for line in text.splitlines()]


def test_what_has_happened(ndtool: Ndtool) -> None:
    lived(ndtool, "one")
    lines = ndtool.ok("events", "one").splitlines()
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  one +"
    assert re.fullmatch(rf"{moment}created +sleep 100  by uid:\d+", lines[0])
    assert re.fullmatch(rf"{moment}started +.*pid \d+.*", lines[1])
    assert [line.split()[3] for line in lines[2:]] in (["signalled", "exited"], ["exited", "signalled"])
    assert "USR1" in ndtool.ok("events", "one")


def test_only_of_those_that_are_selected(ndtool: Ndtool) -> None:
    for name in ("sel-1", "sel-2"):
        lived(ndtool, name)
    assert "sel-2" not in ndtool.ok("events", "sel-1")
    assert "sel-1" not in ndtool.ok("events", "-l", "is=sel-2")
    assert len(ndtool.ok("events", "sel-?").splitlines()) == 8
    assert ndtool.ok("events", "nobody") == ""
    assert "selects nothing known" in ndtool.fails(125, "events", "a=b")


def test_from_a_cursor_on(ndtool: Ndtool) -> None:
    lived(ndtool, "cur")
    events = [json.loads(line) for line in ndtool.ok("--json", "events", "cur").splitlines()]
    assert [one["type"] for one in events][:2] == ["created", "started"]
    assert events[0]["process"]["name"] == "cur"
    rest = ndtool.ok("events", "--json", "--since", events[1]["cursor"], "cur")
    assert [json.loads(line) for line in rest.splitlines()] == events[2:]
    assert ndtool.ok("events", "--since", events[-1]["cursor"], "cur") == ""


def test_from_a_time_on(ndtool: Ndtool) -> None:
    lived(ndtool, "tim")
    assert len(ndtool.ok("events", "--since", "1h", "tim").splitlines()) == 4
    assert ndtool.ok("events", "--since", "2099-01-01", "tim") == ""


def test_a_cursor_that_nobody_knows_is_told(ndtool: Ndtool) -> None:
    lived(ndtool, "unk")
    done = ndtool("events", "--since", "another-5", "unk")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == b"ndtool: what followed another-5 is not known any more; this is all that is\n"
    first, *rest = ndtool.ok("--json", "events", "--since", "another-5", "unk").splitlines()
    assert json.loads(first)["fresh"] is True
    assert types("\n".join(rest))[:2] == ["created", "started"]


def test_follow(ndtool: Ndtool) -> None:
    lived(ndtool, "fol")
    with ndtool.popen("--json", "events", "-f", "--snapshot", "fol", stdin=subprocess.DEVNULL) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert (first["type"], first["snapshot"], first["process"]["state"]) == ("snapshot", True, "exited")
        ndtool.ok("label", "fol", "more=yes")
        event = json.loads(following.stdout.readline())
        assert (event["type"], event["process"]["labels"]) == ("changed", ["is=fol", "more=yes"])
        following.send_signal(2)
        assert following.wait(PATIENCE) == -2
        assert following.stderr is not None
        assert following.stderr.read() == b""
    with ndtool.popen("events", "-f", "--since", event["cursor"], "fol") as following:
        ndtool.ok("rm", "fol")
        assert following.stdout is not None
        line = following.stdout.readline()
        following.kill()
        assert b"removed" in line


def test_usage(ndtool: Ndtool) -> None:
    assert "--snapshot" in ndtool.fails(125, "events", "--snapshot")
    assert "--snapshot" in ndtool.fails(125, "events", "-f", "--snapshot", "--since", "0")


# --- the oldest that is kept ---


class Journal:
    """A client that knows events *first* to *last*."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.asked = 0

    def watch(self, *select: str, since: str | None = None) -> Any:
        self.asked += 1
        assert select == ("id=",)
        number = None if since is None else int(since.removeprefix("j-"))
        return _Watch(f"j-{self.last}", number is None or not self.first - 1 <= number <= self.last)


class _Watch:
    def __init__(self, cursor: str, fresh: bool) -> None:
        self.cursor, self.fresh = cursor, fresh

    def __enter__(self) -> _Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_the_oldest_is_found(first: int, more: int) -> None:
    journal = Journal(first, first - 1 + more)
    assert happening.oldest(journal) == f"j-{first - 1}"  # type: ignore[arg-type]
    assert journal.asked <= 35


@pytest.mark.parametrize("last", [0, 1, 1000])
def test_nothing_forgotten_is_one_question(last: int) -> None:
    journal = Journal(1, last)
    happening.oldest(journal)  # type: ignore[arg-type]
    assert journal.asked <= 2
