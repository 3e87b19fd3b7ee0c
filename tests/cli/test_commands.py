"""What the commands print, for people and for programs, and the codes that they end with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest

from netdaemon.cli.describing import about_daemon
from netdaemon.cli.group import ndtool as group
from netdaemon.wire.answers import DaemonInfo
from netdaemon.wire.layout import layout
from netdaemon.wire.records import Counts, Limits
from netdaemon.wire.told import ProcessRecord
from tests.cli.support import PATIENCE, Daemon, Ndtool, Terminal, eventually

KEYS = {slot.key.decode() for slot in layout(ProcessRecord).slots}


# --- list ---


def test_an_empty_list(ndtool: Ndtool) -> None:
    assert ndtool.ok("list") == "ID  NAME  STATE  PID  AGE  EXIT  COMMAND\n"
    assert ndtool.json("list") == []


def test_the_list_is_a_table(ndtool: Ndtool) -> None:
    one = ndtool.ok("start", "-d", "--name", "web-1", "--", "sleep", "100").strip()
    ndtool("start", "--", "sh", "-c", "exit 3")
    ndtool("start", "--", "sh", "-c", "kill -9 $$")
    lines = ndtool.ok("list").splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "PID", "AGE", "EXIT", "COMMAND"]
    assert re.fullmatch(rf"{one}  web-1  running  \d+ +\d+s +sleep 100", lines[1])
    assert re.fullmatch(r"\w+ +exited +\d+s +3 +sh -c 'exit 3'", lines[2])
    assert re.fullmatch(r"\w+ +exited +\d+s +SIGKILL +sh -c 'kill -9 \$\$'", lines[3])
    # Columns stand below each other.
    at = lines[0].index("COMMAND")
    assert [line[at : at + 2] for line in lines[1:]] == ["sl", "sh", "sh"]


def test_the_list_for_programs_has_the_wires_keys(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "-t", "--name", "x", "--label", "a=b", "--label", "c=d", "--", "sleep", "100")
    (record,) = ndtool.json("list")
    assert record.keys() <= KEYS
    assert record["name"] == "x"
    assert record["labels"] == ["a=b", "c=d"]
    assert record["argv"] == ["sleep", "100"]
    assert record["pty"] == {"rows": 24, "columns": 80, "term": "vt100"}
    assert "code" not in record
    assert json.loads(ndtool.ok("list", "--json")) == [record]


def test_a_selection(ndtool: Ndtool) -> None:
    for name in ("web-1", "web-2", "db"):
        ndtool.ok("start", "-d", "--name", name, "--label", f"kind={name[:2]}", "--", "sleep", "100")
    assert [one["name"] for one in ndtool.json("list", "web*")] == ["web-1", "web-2"]
    assert [one["name"] for one in ndtool.json("list", "label.kind=db")] == ["db"]
    assert [one["name"] for one in ndtool.json("list", "name=w*", "state=running")] == ["web-1", "web-2"]
    assert ndtool.json("list", "state=exited") == []
    assert "no state" in ndtool.fails(125, "list", "state=nonsense")
    assert "selects nothing known" in ndtool.fails(125, "list", "size=3")


def test_the_quick_way_and_the_long_way_print_the_same(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "-t", "--", "sleep", "100")
    ndtool("start", "--label", "k=ü", "--", "sh", "-c", "kill $$")
    # An option that the quick way does not know takes the long one.
    for options in ([], ["--json"]):
        quick = ndtool.ok(*options, "list", "*")
        long = ndtool.ok(*options, "list", "--", "*")
        assert re.sub(r"\d+s", "", quick) == re.sub(r"\d+s", "", long)


def test_no_control_character_of_a_process_reaches_our_terminal(ndtool: Ndtool) -> None:
    evil = "\x1b]0;owned\x07\n\x9b31m\u202etxt\x7f" + os.fsdecode(b"\xff")
    ndtool.ok("start", "-d", "--name", "evil", "--cwd", "/", "--", "sh", "-c", "sleep 100", evil)
    for command in (["list"], ["list", "--", "*"], ["inspect", "evil"]):
        text = ndtool.ok(*command)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert r"'\x1b]0;owned\x07\n\x9b31m\u202etxt\x7f\xff'" in text
    assert ndtool.json("list")[0]["argv"][3] == evil


def test_the_table_fits_the_terminal(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--", "sh", "-c", "sleep 100", "x" * 300)
    with Terminal(ndtool, "list", columns=60) as terminal:
        assert terminal.wait() == 0
        seen = terminal.seen.decode()
    # The state is coloured there.
    assert "\x1b[32mrunning  \x1b[0m" in seen
    lines = re.sub(r"\x1b\[\d+m", "", seen).splitlines()
    assert len(lines) == 2
    assert len(lines[1]) == 60
    assert lines[1].endswith("…")
    # And is whole where it goes to a program.
    assert "x" * 300 in ndtool.ok("list")


# --- inspect, info ---


def test_inspect(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "job", "--label", "a=b", "--cwd", "/", "--", "sh", "-c", "echo hello; exit 3")
    text = ndtool.ok("inspect", "job")
    facts = dict(line.split(None, 1) for line in text.splitlines())
    assert facts["name"] == "job"
    assert facts["state"] == "exited with 3"
    assert facts["command"] == "sh -c 'echo hello; exit 3'"
    assert facts["labels"] == "a=b"
    assert facts["directory"] == "/"
    assert facts["output"] == "6 bytes, of which 6 are kept (from 0; 1048576 at most)"
    assert facts["closed"] == "stdin stdout stderr"
    record = ndtool.json("inspect", "job")
    assert record.keys() <= KEYS
    assert (record["state"], record["code"], record["end"]) == ("exited", 3, 6)


def test_inspect_tells_signals_and_terminals(ndtool: Ndtool) -> None:
    ndtool("start", "-t", "--name", "t", "--", "sh", "-c", "kill -TERM $$")
    text = ndtool.ok("inspect", "t")
    assert "exited by SIGTERM" in text
    assert "a terminal, 80 x 24, vt100" in text


def test_info(ndtool: Ndtool, daemon: Daemon) -> None:
    facts = dict(line.split(None, 1) for line in ndtool.ok("info").splitlines())
    assert facts["socket"] == daemon.socket
    assert facts["pid"] == str(daemon.process.pid)
    told = ndtool.json("info")
    assert told["pid"] == daemon.process.pid
    assert told["limits"]["window"] == 524288
    assert told["counts"]["clients"] >= 1
    limits, counts = told["limits"], told["counts"]
    each = "for each user but root and the daemon's own"
    assert facts["running"].endswith(f"of at most {limits['processes']}, {limits['processes_each']} {each}")
    assert facts["clients"].endswith(f"of at most {limits['clients']}, {limits['clients_each']} {each}")
    assert facts["newcomers"] == f"0 of at most {limits['newcomers']} have not said HELLO"
    assert facts["input"] == "at most 16M bytes of unfinished messages"
    assert facts["rate"] == "no limit"
    assert (limits["input"], limits["burst"]) == (16 << 20, 5)
    assert "request_rate" not in limits
    assert "byte_rate" not in limits
    assert (counts["newcomers"], counts["slowed"]) == (0, 0)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"request_rate": 4000}, "4000 requests a second for a client, 5 s of it at once; 3 wait"),
        ({"byte_rate": 1 << 20}, "1M bytes a second for a client, 5 s of it at once; 3 wait"),
        (
            {"request_rate": 10, "byte_rate": 1 << 20},
            "10 requests and 1M bytes a second for a client, 5 s of it at once; 3 wait",
        ),
        ({}, "no limit"),
    ],
)
def test_rates_in_words(rates: dict[str, int], words: str) -> None:
    told = DaemonInfo(
        version="1",
        instance="i",
        pid=1,
        limits=Limits(input=1 << 20, burst=5, **rates),
        counts=Counts(slowed=3),
    )
    assert re.search(rf"^rate +{re.escape(words)}$", about_daemon(told, "/s"), re.MULTILINE)


def test_a_daemon_that_tells_no_rates() -> None:
    """One of before there were any: nothing is said of what it did not say."""
    told = about_daemon(DaemonInfo(version="1", instance="i", pid=1, limits=Limits(clients=7)), "/s")
    assert re.search(r"^clients +0 of at most 7$", told, re.MULTILINE)
    assert not re.search("^(rate|input|newcomers)", told, re.MULTILINE)


# --- start -d, names, prefixes ---


def test_start_detached_prints_the_id_or_the_record(ndtool: Ndtool) -> None:
    process = ndtool.ok("start", "-d", "--", "sleep", "100").strip()
    assert re.fullmatch(r"[a-z][a-z0-9]{9}", process)
    record = ndtool.json("start", "-d", "--name", "n", "--", "sleep", "100")
    assert (record["name"], record["state"]) == ("n", "running")
    assert ndtool.json("inspect", record["id"])["pid"] == record["pid"]


def test_a_process_is_meant_by_id_name_or_the_beginning_of_its_id(ndtool: Ndtool) -> None:
    process = ndtool.ok("start", "-d", "--name", "long-name", "--", "sleep", "100").strip()
    for word in (process, "long-name", process[:6]):
        assert ndtool.json("inspect", word)["id"] == process
    assert "there is no process" in ndtool.fails(125, "inspect", "long-")
    assert "ndtool list" in ndtool.fails(125, "attach", "*")


def test_a_beginning_that_several_have_is_refused(ndtool: Ndtool) -> None:
    ids: list[str] = []
    while True:
        ids.append(ndtool.ok("start", "-d", "--", "sleep", "100").strip())
        first = [one for one in ids if one[0] == ids[-1][0]]
        if len(first) > 1:
            break
    line = ndtool.fails(125, "kill", first[0][0])
    assert f"2 processes have ids that begin with '{first[0][0]}': {first[0]}, {first[1]}" in line


def test_a_name_that_is_taken(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    line = ndtool.fails(125, "start", "-d", "--name", "x", "--", "true")
    assert "belongs to" in line
    assert "--name" in line


# --- send ---


def test_send_a_line_or_less_or_what_comes(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "cat", "--", "cat")
    assert ndtool.ok("send", "cat", "save-all") == ""
    ndtool.ok("send", "-n", "cat", "no newline ")
    ndtool.ok("send", "cat", input=b"from\0stdin\xff")
    ndtool.ok("send", "cat", "--", "--eof")
    told = ndtool.json("send", "--eof", "cat", "end")
    assert told["accepted"] == 4
    assert told["end"] == len(b"save-all\nno newline from\0stdin\xff--eof\nend\n")
    assert ndtool("attach", "cat").stdout == b"save-all\nno newline from\0stdin\xff--eof\nend\n"


def test_send_much_to_what_reads(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "sum", "--", "wc", "-c")
    ndtool.ok("send", "--eof", "sum", input=bytes(3_000_000))
    assert ndtool.ok("attach", "sum") == "3000000\n"


def test_send_is_honest_about_what_was_not_accepted(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "deaf", "--", "sleep", "100")
    line = ndtool.fails(124, "send", "--timeout", "0.3", "deaf", input=bytes(1_000_000))
    # The daemon's window and what the pipe holds.
    accepted = int(re.search(r"(\d+) bytes were accepted", line)[1])  # type: ignore[index]
    assert 524288 <= accepted <= 524288 + 1048576
    assert ndtool.json("inspect", "deaf")["stdin_end"] == accepted


def test_send_to_what_takes_nothing(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "dead", "--", "true")
    assert "exited" in ndtool.fails(125, "send", "dead", "x")
    ndtool.ok("start", "-d", "--name", "closed", "--", "sleep", "100")
    ndtool.ok("send", "--eof", "-n", "closed", "")
    assert "closed" in ndtool.fails(125, "send", "closed", "x")


def test_only_eof_from_a_terminal(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "cat", "--", "cat")
    with Terminal(ndtool, "send", "--eof", "cat") as terminal:
        assert terminal.wait() == 0
    assert ndtool("wait", "cat").returncode == 0


# --- kill, wait ---


@pytest.mark.parametrize(("word", "number"), [("TERM", 15), ("sigkill", 9), ("1", 1), ("SIGRTMIN+1", 35), ("usr1", 10)])
def test_kill_by_name_or_number(ndtool: Ndtool, word: str, number: int) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert ndtool.ok("kill", "x", word) == ""
    assert ndtool("wait", "x").returncode == 128 + number


def test_kill_is_term_unless_said(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert ndtool.json("kill", "x") == {"process": "x", "signal": 15, "scope": "group"}
    assert ndtool("wait", "x").returncode == 143


@pytest.mark.parametrize("word", ["NOTHING", "-1", "65", "1000", "TERM2"])
def test_what_is_no_signal(ndtool: Ndtool, word: str) -> None:
    assert "signal" in ndtool.fails(125, "kill", "--", "x", word)


def test_kill_what_has_exited(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "x", "--", "true")
    assert "has exited" in ndtool.fails(125, "kill", "x")


def test_kill_reaches_as_far_as_it_is_told(ndtool: Ndtool) -> None:
    script = "trap '' TERM; sleep 100 & echo $!; wait; wait"
    process = ndtool.ok("start", "-d", "--name", "x", "--", "sh", "-c", script)
    assert process
    child = int(eventually(lambda: _kept(ndtool, "x")))
    ndtool.ok("kill", "--scope", "process", "x", "USR1")
    assert ndtool("wait", "x").returncode == 128 + 10
    os.kill(child, 0)
    os.kill(child, 9)


def _kept(ndtool: Ndtool, name: str) -> bytes:
    if not ndtool.json("inspect", name)["end"]:
        return b""
    with ndtool.popen("attach", "--read-only", name, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    return line


def test_wait_gives_the_processs_code(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sh", "-c", "sleep 0.3; exit 7")
    assert ndtool("wait", "x").returncode == 7
    done = ndtool("wait", "--json", "x")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (7, 7)


def test_wait_for_other_things(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert ndtool.ok("wait", "--for", "running", "x") == ""
    assert "not exited after 0.1 s" in ndtool.fails(124, "wait", "--timeout", "0.1", "x")
    with ndtool.popen("wait", "--for", "removed", "x") as process:
        time.sleep(0.3)
        ndtool.ok("rm", "-f", "x")
        assert process.wait(PATIENCE) == 0


def test_an_interrupt_ends_a_wait_without_a_word(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    with ndtool.popen("wait", "x") as process:
        # Both of us: then it has come as far as to wait, or nearly.
        eventually(lambda: ndtool.json("info")["counts"]["clients"] >= 2)
        time.sleep(0.2)
        process.send_signal(2)
        assert process.wait(PATIENCE) == -2
        assert process.stderr is not None
        assert process.stderr.read() == b""


# --- rm ---


def test_rm(ndtool: Ndtool) -> None:
    for name in ("one", "two"):
        ndtool("start", "--name", name, "--", "true")
    ndtool.ok("start", "-d", "--name", "runs", "--", "sleep", "100")
    assert ndtool.ok("rm", "one") == "one\n"
    done = ndtool("rm", "one", "runs", "two")
    assert (done.returncode, done.stdout) == (125, b"two\n")
    lines = done.stderr.decode().splitlines()
    assert "there is no process 'one'" in lines[0]
    assert lines[1] == "ndtool: runs has not exited; end it first (ndtool stop runs), or use --force"
    assert ndtool.ok("rm", "-f", "one", "runs") == "runs\n"
    assert ndtool.json("list") == []
    assert ndtool.json("rm", "-f", "nothing") == {"removed": []}


# --- wrong usage, errors for programs ---


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["strat"], "'start'"),
        (["shutdwn"], "'shutdown'? see ndtool --help"),
        (["--nonsense", "list"], "--nonsense"),
        (["list", "--nonsense"], "--nonsense"),
        (["start"], "Missing argument"),
        (["start", "-d"], "Missing argument"),
        (["start", "--nmae", "x", "true"], "--nmae"),
        (["start", "-d", "--rm", "true"], "--rm"),
        (["start", "--keep", "much", "true"], "64k"),
        (["start", "--keep", "1", "true"], "4096"),
        (["start", "--label", "x", "true"], "key=value"),
        (["start", "--name", "a b", "true"], "name"),
        (["start", "-e", "=x", "true"], "NAME=value"),
        (["start", "--detach-keys", "x,yy", "true"], "no key"),
        (["kill"], "Missing argument"),
        (["wait", "--for", "ever", "x"], "exited"),
        (["rm"], "Missing argument"),
        (["attach", "a", "b"], "extra argument"),
        (["completion", "tcsh"], "zsh"),
    ],
)
def test_wrong_usage_is_one_line_and_125(ndtool: Ndtool, arguments: list[str], what: str) -> None:
    """A process's own codes must not be mistaken for it."""
    assert what in ndtool.fails(125, *arguments)


@pytest.mark.parametrize("place", ["before", "after"])
def test_errors_for_programs(ndtool: Ndtool, place: str) -> None:
    arguments = ["--json", "inspect", "nobody"] if place == "before" else ["inspect", "--json", "nobody"]
    done = ndtool(*arguments)
    assert (done.returncode, done.stdout) == (125, b"")
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["errno"], error["process"]) == ("no-such-process", 2, "nobody")
    assert "nobody" in error["message"]


def test_all_kinds_of_errors_for_programs(ndtool: Ndtool) -> None:
    def word(*arguments: str) -> tuple[str, int]:
        done = ndtool("--json", *arguments)
        error = json.loads(done.stderr)["error"]
        assert error["exit"] == done.returncode
        return error["code"], done.returncode

    assert word("start", "no-such-program") == ("launch-failed", 127)
    assert word("start", "--nonsense") == ("bad-usage", 125)
    assert word("start", "--name", "a b", "true") == ("bad-request", 125)
    assert word("--socket", "/nowhere/s", "list") == ("connect-failed", 125)
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    assert word("wait", "--timeout", "0.01", "x") == ("timed-out", 124)
    # Not an option of ours: the program's.
    done = ndtool("start", "--", "no-such-program", "--json")
    assert done.stderr.startswith(b"ndtool: ")


def test_help_names_every_command_and_option(ndtool: Ndtool) -> None:
    text = ndtool.ok("--help")
    assert ndtool.ok() == text
    for name, command in group.commands.items():
        assert f"  {name} " in text
        own = ndtool.ok(name, "-h")
        assert own.startswith(f"Usage: ndtool {name} ")
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(word in own for word in parameter.opts)
                assert getattr(parameter, "help", "x")


def test_the_version(ndtool: Ndtool) -> None:
    assert re.fullmatch(r"ndtool \d+\.\d+\.\d+\n", ndtool.ok("--version"))


def test_a_reader_that_leaves_early(ndtool: Ndtool) -> None:
    """Of a table, too."""
    reading, writing = os.pipe()
    os.close(reading)
    for command in (["list"], ["info"]):
        done = ndtool(*command, stdout=writing)
        assert (done.returncode, done.stderr) == (-13, b"")
    os.close(writing)


def test_output_that_cannot_be_written(ndtool: Ndtool) -> None:
    with open("/dev/full", "wb") as full:
        for command in (["list"], ["info"]):
            done = ndtool(*command, stdout=full)
            assert done.returncode == 125
            assert b"No space left" in done.stderr


# --- logs ---


def test_logs_print_what_there_is_and_leave(ndtool: Ndtool) -> None:
    """Of a process that runs as of one that has exited, its two outputs apart, and nothing is sent to it."""
    code = "echo one; echo two >&2; sleep 0.2; echo three; cat"
    ndtool.ok("start", "-d", "--name", "x", "--", "sh", "-c", code)
    eventually(lambda: ndtool.json("inspect", "x")["end"] == 14)
    done = ndtool("logs", "x", input=b"not sent\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\nthree\n", b"two\n")
    done = ndtool("logs", "--stream", "stderr", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"two\n")
    assert ndtool.ok("logs", "--tail", "6", "x") == "three\n"
    assert ndtool.ok("logs", "--from", "8", "x") == "three\n"
    assert ndtool.ok("logs", "--tail", "0", "x") == ""
    assert "both say where to begin" in ndtool.fails(125, "logs", "--tail", "1", "--from", "1", "x")
    assert ndtool.json("inspect", "x")["stdin_end"] == 0
    ndtool.ok("kill", "x")
    ndtool("wait", "x")
    assert ndtool.ok("logs", "--stream", "stdout", "x") == "one\nthree\n"


def test_logs_follow_to_the_exit(ndtool: Ndtool) -> None:
    """Its code is ours, not the process's."""
    ndtool.ok("start", "-d", "--name", "x", "--", "sh", "-c", "echo one; read line; echo $line; exit 3")
    with ndtool.popen("logs", "-f", "x", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"one\n"
        ndtool.ok("send", "x", "two")
        assert following.stdout.read() == b"two\n"
        assert following.wait(PATIENCE) == 0


def test_what_is_no_longer_kept_is_said(ndtool: Ndtool) -> None:
    """At a plain attach as well, where nobody has asked for it."""
    ndtool.ok("start", "-d", "--name", "x", "--keep", "4k", "--", "seq", "10000")
    ndtool("wait", "x")
    for command in ("logs", "attach"):
        done = ndtool(command, "x")
        assert b" earlier bytes are no longer kept\n" in done.stderr
        assert len(done.stdout) == 4096


def test_attach_takes_dev_null_for_no_input(ndtool: Ndtool) -> None:
    """A script's background command has it for its input, and means nothing by it."""
    ndtool.ok("start", "-d", "--name", "x", "--", "cat")
    with ndtool.popen("attach", "x", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as attached:
        ndtool.ok("send", "x", "still there")
        assert attached.stdout is not None
        assert attached.stdout.readline() == b"still there\n"
        ndtool.ok("send", "--eof", "x", "end")
        assert attached.stdout.read() == b"end\n"
        assert attached.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ps",), "it is ndtool list"),
        (("exec", "x"), "it is ndtool send"),
        (("list", "--socket", "/x"), "stands before the command"),
        (("completion",), "bash, zsh, fish"),
    ],
)
def test_words_from_elsewhere(ndtool: Ndtool, words: tuple[str, ...], told: str) -> None:
    line = ndtool.fails(125, *words)
    assert told in line
    assert "\\n" not in line
