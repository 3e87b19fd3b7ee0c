"""Text that is safe to print, tables, times; the quick listing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netdaemon.cli import output, quick
from netdaemon.cli.failure import Failure, explain
from netdaemon.errors import LaunchFailed, NoSuchProcess, TimedOut
from netdaemon.wire import layout
from netdaemon.wire.answers import DaemonInfo, Listing, Welcome
from netdaemon.wire.answers import Failure as ErrorReply
from netdaemon.wire.commands import List
from netdaemon.wire.fields import BOOLEAN, INTEGER, OS_TEXT, TEXT
from netdaemon.wire.records import Pty, Scope, State
from netdaemon.wire.server import ServerConnection
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import ProcessRecord


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain", "plain"),
        ("grüße 漢字", "grüße 漢字"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\x1b[31m\x00\x07", r"\x1b[31m\x00\x07"),
        ("\x7f\x80\x9b", r"\x7f\x80\x9b"),
        ("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f"),
        ("\u2028\ufeff", r"\u2028\ufeff"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, told: str) -> None:
    assert output.visible(text) == told


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=20))
def test_visible_text_can_be_printed_and_has_no_controls(text: str) -> None:
    told = output.visible(text)
    told.encode("utf-8")
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in told)


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=20))
@example("\x7f")
def test_json_can_be_printed_and_says_the_same(text: str) -> None:
    told = output.json_text({text: [text]}, indent=None)
    assert told.rstrip("\n").isascii()
    assert told.rstrip("\n").isprintable()
    assert json.loads(told) == {text: [text]}


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(1, 40))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    told = output.cut(output.visible(text), columns)
    assert output.width(told) <= max(columns, 1)


def test_a_command_as_one_would_type_it() -> None:
    assert output.command(["a", "b c", "", "it's", "$x", "-l=/y"]) == r"a 'b c' '' 'it'\''s' '$x' -l=/y"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d"), (1e7, "115d")],
)
def test_a_duration(seconds: float, told: str) -> None:
    assert output.duration(seconds) == told


def test_a_table_with_wide_characters_is_aligned() -> None:
    text = output.table([("A", "B"), ("漢字", "x"), ("abcd", "y" * 50)], 20)
    assert text == "A     B\n漢字  x\nabcd  yyyyyyyyyyyyy…\n"


RECORDS = (
    ProcessRecord(id="b", argv=("x",), state=State.RUNNING),
    ProcessRecord(
        id="c",
        name="n",
        labels=("a=b", "c="),
        state=State.EXITED,
        generation=3,
        argv=("x", "y z", "\udcff"),
        cwd="/ü",
        pty=Pty(rows=1, columns=2, term="t"),
        merge=True,
        owner="uid:0",
        pid=7,
        created=1,
        started=2,
        exited=3,
        code=4,
        signal=5,
        core=True,
        begin=6,
        end=7,
        stdin_end=8,
        eof=(0, 1),
        attached=9,
        keep=10,
        key="k",
        digest="0a",
        stop=(Step(stdin=b"q\n\xff"), Step(wait=1), Step(signal=2, scope=Scope.TREE), Step(kill=True)),
        restart=Restart(policy=Policy.ON_FAILURE, codes=(0, 3), delay=1, longest=2, settled=3, burst=4, interval=5),
        ready=Ready(pattern="p", timeout=1),
        watchdog=100,
        log=Log(path="/l", size=4096, age=1000, files=1, compress=False, required=True),
        failures=11,
        due=12,
        step="kill",
    ),
)


def test_the_quick_ways_table_is_the_declaration() -> None:
    """Every field, of its type, in the same order."""
    readers: dict[object, Callable[[bytes], object]] = {
        INTEGER: quick._integer,
        TEXT: quick._text,
        OS_TEXT: quick._text,
        BOOLEAN: quick._boolean,
    }
    tables = {
        ProcessRecord: quick.RECORD,
        Pty: quick.PTY,
        Step: quick.STEP,
        Restart: quick.RESTART,
        Ready: quick.READY,
        Log: quick.LOG,
    }
    for declaration, table in tables.items():
        slots = layout.layout(declaration).slots
        assert [slot.key.decode() for slot in slots] == list(table)
        for slot in slots:
            assert readers.get(slot.field, table[slot.name]) is table[slot.name]


@pytest.mark.parametrize("record", RECORDS, ids=["few fields", "all fields"])
def test_both_ways_read_a_record_alike(record: ProcessRecord) -> None:
    assert quick.record(layout.encode(record)) == output.plain(record)


def test_nested_records_become_plain() -> None:
    told = output.plain(DaemonInfo(version="1", instance="i", pid=3))
    assert told["limits"]["window"] == 0
    assert told["degraded"] == []
    assert "keeper_pid" not in told


# --- the quick way meets a daemon that is out of the ordinary ---


def _serve(listener: socket.socket, talk: Callable[[ServerConnection, int, object], bytes]) -> None:
    sock, _ = listener.accept()
    connection = ServerConnection()
    try:
        with sock:
            while octets := sock.recv(65536):
                connection.receive(octets)
                while (received := connection.next_request()) is not None:
                    sock.sendall(talk(connection, *received))
    except ConnectionResetError:
        # It has heard enough.
        pass


def _ask(tmp_path: object, talk: Callable[[ServerConnection, int, object], bytes]) -> list[output.Plain]:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, talk), daemon=True)
        thread.start()
        try:
            return quick.processes(path, ["a", "b=c"], timeout=5)
        finally:
            thread.join(10)
            assert not thread.is_alive()


def test_the_quick_way_asks_for_every_page(tmp_path: object) -> None:
    asked: list[object] = []

    def talk(connection: ServerConnection, id: int, request: object) -> bytes:
        if not isinstance(request, List):
            return connection.welcome(id, Welcome())
        asked.append(request)
        after = None if request.after else "x"
        return connection.reply(id, Listing(processes=RECORDS, after=after))

    assert _ask(tmp_path, talk) == [output.plain(record) for record in RECORDS] * 2
    assert asked == [List(select=("a", "b=c")), List(select=("a", "b=c"), after="x")]


def test_the_quick_way_leaves_a_refusal_to_the_long_one(tmp_path: object) -> None:
    def talk(connection: ServerConnection, id: int, request: object) -> bytes:
        if not isinstance(request, List):
            return connection.welcome(id, Welcome())
        return connection.reply(id, ErrorReply(code="denied"))

    with pytest.raises(quick.OutOfTheOrdinary):
        _ask(tmp_path, talk)


@pytest.mark.parametrize("octets", [b"", b"\0", b"HTTP/1.1 400", bytes(100), b"\xff" * 100])
def test_the_quick_way_leaves_garbage_to_the_long_one(tmp_path: object, octets: bytes) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(octets)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(quick.OutOfTheOrdinary):
            quick.processes(path, timeout=2)
        thread.join(10)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["start", "list"],
        ["list", "-h"],
        ["list", "--nonsense"],
        ["list", "--socket", "/x"],
        ["--socket"],
        ["--json", "info"],
    ],
)
def test_the_quick_way_is_for_the_plain_listing_only(arguments: list[str]) -> None:
    assert quick.run(arguments) is False


# --- failures ---


def test_failures_for_people_and_programs() -> None:
    failure = explain(NoSuchProcess("there is no process '\x1b'", process="\x1b", number=2))
    assert failure.line == "there is no process '\\x1b'; see what there is: ndtool list"
    assert failure.plain() == {
        "error": {
            "code": "no-such-process",
            "errno": 2,
            "message": "there is no process '\\x1b'",
            "process": "\x1b",
            "hint": "see what there is: ndtool list",
            "exit": 125,
        }
    }
    assert explain(TimedOut("late")).plain()["error"]["code"] == "timed-out"
    assert explain(OSError(28, "No space left on device", "/x")).line == "/x: No space left on device"
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [("exec", 2, 127), ("exec", 13, 126), ("exec", 8, 126), ("exec", 21, 126), ("cwd", 2, 125), ("fork", 11, 125)],
)
def test_exit_codes_of_launches_that_fail(stage: str, number: int, code: int) -> None:
    assert explain(LaunchFailed("no", stage=stage, number=number)).exit_code == code


def test_a_failure_is_explained_once() -> None:
    failure = Failure("x")
    assert explain(failure) is failure
