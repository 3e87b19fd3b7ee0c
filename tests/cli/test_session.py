"""start and attach on pipes and files: ndtool is the process, as far as anybody can tell."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from netdaemon.wire.records import State
from tests.cli.support import NDTOOL, PATIENCE, Daemon, Ndtool, eventually


def only(daemon: Daemon) -> str:
    """The id of the one process that there is."""
    with daemon.client() as client:
        (record,) = client.list()
    return record.id


def state(daemon: Daemon, process: str) -> State:
    with daemon.client() as client:
        return client.inspect(process).state


# --- bytes ---


def test_stdout_and_stderr_come_out_apart_and_exact(ndtool: Ndtool) -> None:
    done = ndtool("start", "--", "sh", "-c", r"printf 'a\0\377\r\n\nno end'; printf 'e\033[1m' >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\0\xff\r\n\nno end", b"e\x1b[1m")


def test_64_mebibytes_through_cat(ndtool: Ndtool, tmp_path: Path) -> None:
    """Input from a file, output to a pipe: the same SHA-256."""
    block = os.urandom(1 << 20)
    expected = hashlib.sha256()
    source = tmp_path / "random"
    with source.open("wb") as file:
        for number in range(64):
            piece = number.to_bytes(4, "big") + block[4:]
            file.write(piece)
            expected.update(piece)
    got = hashlib.sha256()
    with source.open("rb") as file, ndtool.popen("start", "--", "cat", stdin=file) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(1 << 20):
            got.update(chunk)
        assert process.wait(PATIENCE) == 0
    assert got.digest() == expected.digest()


def test_output_to_a_file_at_its_offset(ndtool: Ndtool, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with target.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        assert ndtool("start", "--", "sh", "-c", "echo out; echo err >&2", stdout=file, stderr=file).returncode == 0
        assert file.seek(0, os.SEEK_CUR) == len(b"before\nout\nerr\n")
    assert target.read_bytes() in (b"before\nout\nerr\n", b"before\nerr\nout\n")


def test_output_to_a_socket(ndtool: Ndtool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = "head -c 1000000 /dev/zero; echo end"
        with ndtool.popen("start", "--", "sh", "-c", script, stdout=theirs) as process:
            theirs.close()
            got = b""
            while chunk := ours.recv(65536):
                got += chunk
            assert process.wait(PATIENCE) == 0
    assert got == bytes(1_000_000) + b"end\n"


def test_a_slow_reader_gets_every_byte(ndtool: Ndtool) -> None:
    """More than the daemon keeps: the process is held back instead."""
    with ndtool.popen("start", "--", "head", "-c", "8000000", "/dev/zero") as process:
        time.sleep(1)
        assert process.stdout is not None
        assert len(process.stdout.read()) == 8_000_000
        assert process.wait(PATIENCE) == 0


def test_input_with_its_end_reaches_the_process(ndtool: Ndtool) -> None:
    done = ndtool("start", "--", "sh", "-c", "cat; echo end", input=b"x" * 3_000_000)
    assert done.stdout == b"x" * 3_000_000 + b"end\n"


def test_a_process_that_does_not_read_its_input_ends_nevertheless(ndtool: Ndtool) -> None:
    with ndtool.popen("start", "--", "sh", "-c", "exec <&-; sleep 0.3; echo done") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for _ in range(100):
                process.stdin.write(bytes(65536))
                process.stdin.flush()
        except BrokenPipeError:
            pass
        assert process.stdout.read() == b"done\n"
        assert process.wait(PATIENCE) == 0
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass


def test_a_closed_stdout_of_the_process_is_the_end_for_our_reader(ndtool: Ndtool) -> None:
    with ndtool.popen("start", "--", "sh", "-c", "echo first; exec >&-; read line; echo $line >&2") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b"first\n"
        assert process.poll() is None
        process.stdin.write(b"still here\n")
        process.stdin.flush()
        assert process.stderr.read() == b"still here\n"
        assert process.wait(PATIENCE) == 0


def test_what_we_have_to_say_is_said_when_the_process_has_closed_its_outputs(ndtool: Ndtool) -> None:
    with ndtool.popen("start", "--name", "x", "--", "sh", "-c", "exec >&- 2>&-; sleep 100") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b""
        process.send_signal(signal.SIGTERM)
        assert b"goes on as x" in process.stderr.read()
        assert process.wait(PATIENCE) == 143


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_of_ours_do_no_harm(ndtool: Ndtool, closed: str) -> None:
    """What is opened must not land in their places."""
    program = ["sh", "-c", "echo out; echo err >&2; exit 4"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *NDTOOL, "start", "--", *program],
        env=ndtool.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 4
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"out\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_settings_of_a_shared_pipe_are_not_touched(ndtool: Ndtool) -> None:
    """O_NONBLOCK on it would be everybody's: it is not even set for a while."""
    reading, writing = os.pipe()
    with ndtool.popen("start", "--", "cat", stdout=writing) as process:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert os.read(reading, 1) == b"x"
        for descriptor in (writing, process.stdin.fileno()):
            assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(reading)
    os.close(writing)


# --- how it ends ---


@pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
def test_the_exit_code_is_the_processs(ndtool: Ndtool, code: int) -> None:
    done = ndtool("start", "--", "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGINT])
def test_death_by_a_signal_is_ours(ndtool: Ndtool, tmp_path: Path, number: int) -> None:
    """And leaves no core of ours, whatever the limit is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        done = ndtool("start", "--cwd", "/", "--", "sh", "-c", f"echo last; kill -{number} $$", cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"last\n", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_grandchild_that_keeps_the_output_open_does_not_keep_us(ndtool: Ndtool) -> None:
    began = time.monotonic()
    done = ndtool("start", "--", "sh", "-c", "sleep 100 & echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert time.monotonic() - began < 30


def test_it_ends_only_after_all_the_output_is_out(ndtool: Ndtool) -> None:
    for _ in range(5):
        done = ndtool("start", "--", "sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 9")
        assert (done.returncode, len(done.stdout), len(done.stderr)) == (9, 1_000_000, 1_000_000)


def test_a_program_that_is_not_there(ndtool: Ndtool) -> None:
    assert "no-such-program" in ndtool.fails(127, "start", "no-such-program")
    assert "No such file" in ndtool.fails(127, "start", "--", "/no/such/program", "-x")


def test_a_program_that_is_not_executable(ndtool: Ndtool, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    assert "chmod +x" in ndtool.fails(126, "start", "--", str(plain))
    ndtool.fails(126, "start", "--", str(tmp_path))
    plain.write_bytes(b"\x7fELF nonsense")
    plain.chmod(0o700)
    ndtool.fails(126, "start", "--", str(plain))


def test_a_working_directory_that_is_not_there_is_no_missing_program(ndtool: Ndtool) -> None:
    assert "--cwd" in ndtool.fails(125, "start", "--cwd", "/no/such/directory", "--", "true")


def test_a_reader_that_leaves_ends_us_like_any_filter(ndtool: Ndtool, daemon: Daemon) -> None:
    """By SIGPIPE, without a word; the process goes on."""
    with ndtool.popen("start", "--name", "endless", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert state(daemon, "endless") is State.RUNNING


def test_output_that_cannot_be_written_is_told(ndtool: Ndtool) -> None:
    with open("/dev/full", "wb") as full:
        done = ndtool("start", "--name", "much", "--", "yes", stdout=full)
    assert done.returncode == 125
    assert b"No space left" in done.stderr
    assert b"much" in done.stderr


def test_what_has_exited_stays_listed_with_its_output_or_not(ndtool: Ndtool, daemon: Daemon) -> None:
    ndtool("start", "--name", "kept", "--", "echo", "hello")
    assert ndtool.ok("attach", "kept") == "hello\n"
    ndtool("start", "--rm", "--name", "gone", "--", "echo", "hello")
    with daemon.client() as client:
        assert [record.name for record in client.list()] == ["kept"]


def test_a_daemon_that_dies_is_told(tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        daemon = Daemon(Path(directory))
        try:
            command = ["--no-reconnect", "start", "--", "sh", "-c", "echo up; exec sleep 100"]
            with Ndtool(daemon.socket).popen(*command) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"up\n"
                with daemon.client() as client:
                    child = eventually(lambda: [one.pid for one in client.list()])[0]
                daemon.process.kill()
                assert process.stderr is not None
                assert b"daemon is gone" in process.stderr.read()
                assert process.wait(PATIENCE) == 125
        finally:
            daemon.stop()
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_detaches_and_says_so(ndtool: Ndtool, daemon: Daemon, number: int) -> None:
    with ndtool.popen("start", "--name", "long", "--", "sh", "-c", "echo up; sleep 100") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"ndtool: detached; the process goes on as long")
    assert state(daemon, "long") is State.RUNNING


def test_a_signal_is_sent_on_if_asked(ndtool: Ndtool, daemon: Daemon) -> None:
    script = (
        "trap 'echo int' INT; trap 'echo usr1' USR1; trap 'echo hup; exit 5' HUP; echo up; while :; do sleep 0.05; done"
    )
    with ndtool.popen("start", "--sig-proxy", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        for number, word in ((signal.SIGINT, b"int\n"), (signal.SIGUSR1, b"usr1\n")):
            process.send_signal(number)
            assert process.stdout.readline() == word
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 5


def test_a_signal_that_was_ignored_stays_ignored(ndtool: Ndtool) -> None:
    """As nohup has it."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with ndtool.popen("start", "--", "cat", preexec_fn=ignore) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"2\n")
        process.stdin.close()
        assert process.stdout.readline() == b"2\n"
        assert process.wait(PATIENCE) == 0


def test_a_stalled_output_keeps_nobody_from_detaching(ndtool: Ndtool, daemon: Daemon) -> None:
    with ndtool.popen("start", "--name", "flood", "--", "yes") as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert state(daemon, "flood") is State.RUNNING


def test_a_stalled_output_does_not_keep_a_signal_from_being_sent_on(ndtool: Ndtool) -> None:
    with ndtool.popen("start", "--sig-proxy", "--", "yes") as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.stdout is not None
        # All that it wrote is still to be had, and then its end.
        assert len(process.stdout.read()) > 100_000
        assert process.wait(PATIENCE) == -signal.SIGTERM


# --- what the process gets ---


def test_it_runs_with_our_environment_and_directory(ndtool: Ndtool, tmp_path: Path) -> None:
    done = ndtool(
        "start", "-e", "ADDED=a=b", "--", "sh", "-c", 'pwd; echo "$ADDED $OURS"', cwd=tmp_path, env={"OURS": "1"}
    )
    assert done.stdout.decode() == f"{tmp_path}\na=b 1\n"


def test_without_our_environment(ndtool: Ndtool) -> None:
    done = ndtool("start", "--no-env", "-e", "A=1", "-e", "OURS", "--", "/usr/bin/env", env={"OURS": "taken"})
    assert sorted(done.stdout.decode().split()) == ["A=1", "OURS=taken"]
    assert "not set" in ndtool.fails(125, "start", "-e", "NOT_SET_HERE", "--", "true")


def test_relative_directories_and_programs(ndtool: Ndtool, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    program = tmp_path / "below" / "program"
    program.write_text('#!/bin/sh\npwd; echo "$@"\n')
    program.chmod(0o700)
    done = ndtool("start", "--cwd", "below", "--", "./program", "-d", "--name", "mine", cwd=tmp_path)
    assert done.stdout.decode() == f"{tmp_path}/below\n-d --name mine\n"


def test_the_programs_own_options_are_its_own(ndtool: Ndtool) -> None:
    assert ndtool("start", "echo", "-n", "--json", "--help", "-d").stdout == b"--json --help -d"


def test_bytes_that_are_no_text_pass(ndtool: Ndtool) -> None:
    done = ndtool(
        "start",
        "--",
        "sh",
        "-c",
        'printf %s "$1" "$X"',
        "sh",
        os.fsdecode(b"\xff\xfe"),
        env={"X": os.fsdecode(b"\xe4")},
    )
    assert done.stdout == b"\xff\xfe\xe4"


def test_merge_keeps_the_order(ndtool: Ndtool) -> None:
    done = ndtool("start", "--merge", "--", "sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done")
    assert (done.stdout, done.stderr) == (b"o1\ne1\no2\ne2\no3\ne3\n", b"")


# --- attach ---


def test_attach_to_what_has_exited_shows_it_and_ends_as_it_did(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "dead", "--", "sh", "-c", "echo out; echo err >&2; kill -9 $$")
    done = ndtool("attach", "dead")
    assert (done.returncode, done.stdout, done.stderr) == (-9, b"out\n", b"err\n")


def test_attach_begins_where_it_is_told(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "text", "--", "printf", "0123456789")
    assert ndtool.ok("attach", "text") == "0123456789"
    assert ndtool.ok("attach", "--from", "4", "text") == "456789"
    assert ndtool.ok("attach", "--tail", "3", "text") == "789"
    assert ndtool.ok("attach", "--tail", "0", "text") == ""
    assert "beyond the end" in ndtool.fails(125, "attach", "--from", "11", "text")
    assert "--tail" in ndtool.fails(125, "attach", "--from", "1", "--tail", "1", "text")


def test_what_is_not_kept_any_more_is_told(ndtool: Ndtool) -> None:
    ndtool("start", "--name", "much", "--keep", "4k", "--", "head", "-c", "100000", "/dev/zero")
    done = ndtool("attach", "--from", "0", "much")
    assert done.returncode == 0
    missing = int(done.stderr.decode().removeprefix("ndtool: ").partition(" ")[0])
    assert done.stderr.decode() == f"ndtool: {missing} bytes are no longer kept\n"
    assert missing + len(done.stdout) == 100_000


def test_attach_feeds_and_ends_the_input(ndtool: Ndtool) -> None:
    ndtool.ok("start", "-d", "--name", "cat", "--", "cat")
    assert ndtool("attach", "cat", input=b"one\ntwo\n").stdout == b"one\ntwo\n"


def test_attach_to_look_only(ndtool: Ndtool, daemon: Daemon) -> None:
    ndtool.ok("start", "-d", "--name", "cat", "--", "cat")
    with ndtool.popen("attach", "--read-only", "cat", stdin=subprocess.DEVNULL) as process:
        ndtool.ok("send", "cat", "hello")
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        ndtool.ok("send", "--eof", "-n", "cat", "end")
        assert process.stdout.read() == b"end"
        assert process.wait(PATIENCE) == 0


def test_a_process_that_is_removed_while_attached(ndtool: Ndtool) -> None:
    """The grandchild keeps its output open, so whoever follows it further would wait."""
    ndtool.ok("start", "-d", "--name", "x", "--", "sleep", "100")
    with ndtool.popen("attach", "x") as process:
        time.sleep(0.5)
        ndtool.ok("rm", "-f", "x")
        assert process.wait(PATIENCE) in (125, -signal.SIGKILL)
