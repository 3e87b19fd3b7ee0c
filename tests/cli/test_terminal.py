"""ndtool on a terminal: raw mode and back, sizes, keys that detach."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.cli.failure import Failure
from netdaemon.cli.terminal import DetachKeys, parse_keys
from netdaemon.wire.records import State
from tests.cli.support import NDTOOL, PATIENCE, Daemon, Ndtool, Terminal, eventually

DETACH = b"\x10\x11"


def state(daemon: Daemon, process: str) -> State:
    with daemon.client() as client:
        return client.inspect(process).state


# --- the keys ---


def test_keys_are_read_as_docker_reads_them() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == DETACH
    assert parse_keys("ctrl-@,a,ctrl-[,ctrl-_,~") == b"\0a\x1b\x1f~"


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-P,x", "ä"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Failure, match="no key"):
        parse_keys(text)


KEYS = st.binary(min_size=1, max_size=4).map(lambda octets: bytes(octet % 3 for octet in octets))
TYPED = st.lists(st.integers(0, 2), max_size=30).map(bytes)


@settings(deadline=None)
@given(KEYS, TYPED, st.integers(1, 5))
def test_all_that_is_typed_before_the_sequence_is_passed_on_and_nothing_else(
    keys: bytes, typed: bytes, step: int
) -> None:
    """However it is cut; what may be its beginning waits."""
    detach = DetachKeys(keys)
    passed = b""
    complete = False
    for start in range(0, len(typed), step):
        some, complete = detach.feed(typed[start : start + step])
        passed += some
        if complete:
            break
    at = typed.find(keys)
    assert complete == (at >= 0)
    if complete:
        assert passed == typed[:at]
    else:
        assert typed.startswith(passed)
        held = typed[len(passed) :]
        assert len(held) < len(keys)
        assert keys.startswith(held)


def test_without_keys_everything_is_passed_on() -> None:
    assert DetachKeys(b"").feed(DETACH) == (DETACH, False)


# --- a terminal for the process ---


def test_the_process_gets_a_terminal_of_our_size_and_kind(ndtool: Ndtool) -> None:
    script = 'test -t 0 && test -t 1 && test -t 2; echo "tty $?"; stty size; echo "$TERM"'
    with Terminal(ndtool, "start", "-t", "--", "sh", "-c", script, rows=33, columns=77) as terminal:
        terminal.expect(rb"tty 0\r\n33 77\r\nvt100\r\n")
        assert terminal.wait() == 0


def test_a_change_of_our_size_is_passed_on(ndtool: Ndtool) -> None:
    script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"
    with Terminal(ndtool, "start", "-t", "--", "bash", "-c", script) as terminal:
        terminal.expect(rb"up\r\n")
        terminal.resize(50, 132)
        terminal.expect(rb"50 132\r\n")
        terminal.type(DETACH)
        assert terminal.wait() == 0


def test_the_size_is_ours_again_when_attached(ndtool: Ndtool) -> None:
    script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"
    ndtool.ok("start", "-d", "-t", "--name", "sized", "--", "bash", "-c", script)
    with Terminal(ndtool, "attach", "sized", rows=40, columns=100) as terminal:
        terminal.expect(rb"40 100\r\n")
        terminal.type(DETACH)
        assert terminal.wait() == 0


def test_every_key_goes_to_the_process(ndtool: Ndtool) -> None:
    """Raw: no line editing here, no signals here, no echo but the process's own."""
    script = "stty raw -echo; echo up; head -c 6 | od -An -tx1"
    with Terminal(ndtool, "start", "-t", "--", "sh", "-c", script) as terminal:
        terminal.expect(rb"up")
        terminal.type(b"\x03\x04\x1a\r\x10a")
        terminal.expect(rb"03 04 1a 0d 10 61")
        assert terminal.wait() == 0


def test_ctrl_c_is_the_processs_own_affair(ndtool: Ndtool) -> None:
    with Terminal(
        ndtool, "start", "-t", "--", "sh", "-c", "trap 'echo int; exit 3' INT; echo up; sleep 100 & wait"
    ) as t:
        t.expect(rb"up\r\n")
        t.type(b"\x03")
        t.expect(rb"int\r\n")
        assert t.wait() == 3


def test_a_python_prompt(ndtool: Ndtool) -> None:
    with Terminal(ndtool, "start", "-t", "--", "python3", "-q") as terminal:
        terminal.expect(rb">>> ")
        terminal.type(b"print(6 * 7)\r")
        terminal.expect(rb"\r\n42\r\n")
        terminal.type(b"\x04")
        assert terminal.wait() == 0


def test_without_a_terminal_of_ours_the_process_can_still_have_one(ndtool: Ndtool) -> None:
    """Our end of input is a terminal's end of input."""
    done = ndtool("start", "-t", "--", "sh", "-c", "stty size; cat; tty >/dev/null && echo tty", input=b"typed\n")
    assert done.returncode == 0
    assert b"24 80\r\n" in done.stdout
    assert done.stdout.endswith(b"tty\r\n")
    assert done.stdout.count(b"typed\r\n") == 2


# --- detaching ---


def test_the_keys_are_told_once_and_detach(ndtool: Ndtool, daemon: Daemon) -> None:
    with Terminal(ndtool, "start", "-t", "--name", "shell", "--", "sh", "-c", "echo up; exec sleep 100") as terminal:
        terminal.expect(rb"ndtool: attached to shell; to detach, type ctrl-p ctrl-q\r\n")
        terminal.expect(rb"up\r\n")
        assert terminal.is_raw()
        terminal.type(DETACH)
        assert terminal.wait() == 0
        assert re.search(rb"ndtool: detached; the process goes on as shell", terminal.seen)
        assert terminal.settings() == terminal.before
    assert state(daemon, "shell") is State.RUNNING
    with Terminal(ndtool, "attach", "shell") as terminal:
        terminal.expect(rb"type ctrl-p ctrl-q")
        terminal.expect(rb"up\r\n")
        terminal.type(b"\x10")
        time.sleep(0.2)
        terminal.type(b"\x11")
        assert terminal.wait() == 0


def test_other_keys_detach_if_asked(ndtool: Ndtool, daemon: Daemon) -> None:
    arguments = ("start", "-t", "--name", "x", "--detach-keys", "ctrl-a,d", "--", "sh", "-c", "echo up; exec sleep 100")
    with Terminal(ndtool, *arguments) as terminal:
        terminal.expect(rb"to detach, type ctrl-a d\r\n")
        terminal.expect(rb"up\r\n")
        terminal.type(DETACH)
        terminal.type(b"\x01d")
        assert terminal.wait() == 0
    assert state(daemon, "x") is State.RUNNING


def test_looking_only_sends_nothing_and_ctrl_c_leaves(ndtool: Ndtool, daemon: Daemon) -> None:
    ndtool.ok("start", "-d", "-t", "--name", "x", "--", "cat")
    with Terminal(ndtool, "attach", "--read-only", "x") as terminal:
        terminal.expect(rb"attached to x")
        eventually(terminal.is_raw)
        terminal.type(b"nobody reads this\r")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert terminal.settings() == terminal.before
    with daemon.client() as client:
        assert client.inspect("x").end == 0


def test_without_a_terminal_for_the_process_ctrl_c_detaches_after_saying_so(ndtool: Ndtool, daemon: Daemon) -> None:
    with Terminal(ndtool, "start", "--name", "x", "--", "sh", "-c", "echo up; exec sleep 100") as terminal:
        terminal.expect(rb"up\r\n")
        assert terminal.settings() == terminal.before
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert b"ndtool: detached; the process goes on as x" in terminal.seen
    assert state(daemon, "x") is State.RUNNING
    with Terminal(ndtool, "attach", "x") as terminal:
        terminal.expect(rb"ndtool: attached to x; Ctrl-C detaches, Ctrl-D ends its input\r\n")
        terminal.expect(rb"up\r\n")
        terminal.type(b"\x03")
        assert terminal.wait() == 130


def test_with_sig_proxy_ctrl_c_goes_to_the_process(ndtool: Ndtool) -> None:
    with Terminal(ndtool, "start", "--sig-proxy", "--", "sh", "-c", "echo up; exec sleep 100") as terminal:
        terminal.expect(rb"up\r\n")
        terminal.type(b"\x03")
        assert terminal.wait() == -signal.SIGINT


def test_lines_typed_and_ctrl_d_without_a_terminal_for_the_process(ndtool: Ndtool) -> None:
    with Terminal(ndtool, "start", "--", "cat") as terminal:
        terminal.type(b"one\n")
        terminal.expect(rb"one\r\none\r\n")
        terminal.type(b"\x04")
        assert terminal.wait() == 0


# --- the terminal afterwards ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_the_terminal_is_as_before_when_we_are_told_to_end(ndtool: Ndtool, number: int) -> None:
    with Terminal(ndtool, "start", "-t", "--", "sh", "-c", "echo up; exec sleep 100") as terminal:
        terminal.expect(rb"up\r\n")
        assert terminal.is_raw()
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert terminal.settings() == terminal.before


def test_the_terminal_is_as_before_when_the_process_is_killed(ndtool: Ndtool) -> None:
    with Terminal(ndtool, "start", "-t", "--name", "x", "--", "sh", "-c", "echo up; exec sleep 100") as terminal:
        terminal.expect(rb"up\r\n")
        ndtool.ok("kill", "x", "KILL")
        assert terminal.wait() == -signal.SIGKILL
        assert terminal.settings() == terminal.before


def test_the_terminal_is_as_before_when_nobody_reads_our_output(ndtool: Ndtool) -> None:
    with Terminal(ndtool, "start", "-t", "--", "yes", stdout=subprocess.PIPE) as terminal:
        assert terminal.process.stdout is not None
        terminal.process.stdout.read(10)
        assert terminal.is_raw()
        terminal.process.stdout.close()
        assert terminal.wait() == -signal.SIGPIPE
        assert terminal.settings() == terminal.before


def test_the_terminal_is_as_before_while_we_are_stopped(ndtool: Ndtool) -> None:
    """Stopped from elsewhere, and raw again when we go on."""
    with Terminal(ndtool, "start", "-t", "--", "sh", "-c", "echo up; exec cat") as terminal:
        terminal.expect(rb"up\r\n")
        # A group without a parent in its session ignores SIGTSTP; then nothing stops, and it is raw again at once.
        terminal.process.send_signal(signal.SIGTSTP)
        time.sleep(0.2)
        terminal.process.send_signal(signal.SIGCONT)
        eventually(terminal.is_raw)
        terminal.type(b"on\r")
        terminal.expect(rb"on\r\non\r\n")
        terminal.type(DETACH)
        assert terminal.wait() == 0
        assert terminal.settings() == terminal.before


def test_a_job_that_is_stopped_gives_the_terminal_back_to_the_shell(ndtool: Ndtool) -> None:
    job = shlex.join([*NDTOOL, "start", "-t", "--name", "job", "--", "sh", "-c", "echo up; exec cat"])
    script = f"set -m; {job}; echo stopped; stty -a; fg; echo code $?"
    with Terminal(Shell(script, ndtool)) as terminal:
        terminal.expect(rb"up\r\n")
        assert terminal.is_raw()
        children = f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children"
        (child,) = map(int, Path(children).read_text().split())
        os.kill(child, signal.SIGTSTP)
        terminal.expect(rb"stopped\r\n")
        terminal.expect(rb" icanon")
        eventually(terminal.is_raw)
        terminal.type(b"on\r")
        terminal.expect(rb"on\r\non\r\n")
        terminal.type(DETACH)
        terminal.expect(rb"code 0\r\n")
        assert terminal.wait() == 0
        assert terminal.settings() == terminal.before


def test_a_terminal_that_is_hung_up_does_not_end_the_process(ndtool: Ndtool, daemon: Daemon) -> None:
    with Terminal(ndtool, "start", "-t", "--name", "x", "--", "sh", "-c", "echo up; exec cat") as terminal:
        terminal.expect(rb"up\r\n")
        os.close(terminal.master)
        terminal.master = os.open(os.devnull, os.O_RDWR)
        assert terminal.process.wait(PATIENCE) != 0
    assert state(daemon, "x") is State.RUNNING


def test_a_background_job_leaves_the_terminal_alone(ndtool: Ndtool) -> None:
    """It is not stopped for reading what is typed to the shell, and its output comes."""
    job = shlex.join([*NDTOOL, "start", "--", "sh", "-c", "for i in 1 2 3; do echo job $i; sleep 0.2; done"])
    script = f"set -m; {job} & read line; echo shell $line; wait $!; echo code $?"
    with Terminal(Shell(script, ndtool)) as terminal:
        terminal.expect(rb"job 1\r\n")
        terminal.type(b"typed\n")
        terminal.expect(rb"shell typed\r\n")
        terminal.expect(rb"job 3\r\n")
        terminal.expect(rb"code 0\r\n")
        terminal.wait()


class Shell(Ndtool):
    """A script that calls ndtool, in its place."""

    def __init__(self, script: str, ndtool: Ndtool) -> None:
        super().__init__(None, **ndtool.env)
        self._script = script

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", "-c", self._script], env=self.env, **options)
