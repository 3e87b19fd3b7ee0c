"""`twistd netdaemon`, as an operator types it: what it refuses, with one line, and how it ends."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from twisted.python.usage import UsageError

from netdaemon import blocking
from netdaemon.tap import Options
from netdaemon.wire.records import Pty
from tests.support import end_daemon, keeper_pid, running_daemon, wait_for_hello

TWISTD = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile="]
PATIENCE = 20


def refusal(*arguments: str, cwd: Path) -> str:
    """What a daemon that does not start says last."""
    done = subprocess.run(
        [*TWISTD, "netdaemon", *arguments], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    return (done.stderr + done.stdout).strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--keep=1", "below 4096"),
        ("--keep=999999999999", "at most"),
        ("--clients=0", "below 1"),
        ("--processes=x", "--processes is 'x', and it is a whole number"),
        ("--mode=0777", "within 0666"),
        ("--mode=rw", "octal"),
        ("--grace=-1", "seconds"),
        ("--descriptors=5", "below 128"),
        ("--clients=100000000", "no process could be started"),
        ("surplus", "surplus"),
        ("--socket=/dev/null/s", "/dev/null"),
        ("--state=/dev/null/state", "/dev/null"),
    ],
)
def test_refused(argument: str, words: str, tmp_path: Path) -> None:
    """One line that says what was seen and what is allowed; nothing is left in the place."""
    tmp_path.chmod(0o700)
    arguments = [argument] if argument.startswith("--socket") else [f"--socket={tmp_path}/s", argument]
    assert words in refusal(*arguments, cwd=tmp_path)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--clients-each=0", "--clients-each is 0, which is below 1"),
        ("--newcomers=some", "--newcomers is 'some', and it is a whole number"),
        ("--processes-each=-1", "--processes-each is '-1'"),
        ("--requests-per-second=0", "below 1"),
        ("--bytes-per-second=1000", "below 65536"),
        ("--burst=0.5", "whole number"),
        ("--input-budget=1000", "below 2097152"),
    ],
)
def test_a_limit_that_is_none_is_refused(argument: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options().parseOptions([argument])


def test_a_user_to_become_is_refused(tmp_path: Path) -> None:
    """The sockets would be somebody else's by then, and the daemon's own user not let in."""
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [*TWISTD, "--uid=65534", "netdaemon", f"--socket={tmp_path}/s"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "start netdaemon as that user" in done.stdout + done.stderr
    assert not (tmp_path / "s").exists()


def start(directory: Path, *options: str, reactor: str = "epoll") -> subprocess.Popen[bytes]:
    """A daemon with its socket in *directory*."""
    with open(directory / "log", "ab") as log:
        return subprocess.Popen(
            [*TWISTD, f"--reactor={reactor}", "netdaemon", f"--socket={directory}/s", *options],
            cwd=directory,
            stdout=log,
            stderr=log,
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_an_ephemeral_life(number: signal.Signals, reactor: str, tmp_path: Path) -> None:
    """It listens, runs something, and ends in order: its processes with it, its socket gone; under either reactor."""
    tmp_path.chmod(0o700)
    path = str(tmp_path / "s")
    daemon = start(tmp_path, "--ephemeral", reactor=reactor)
    try:
        wait_for_hello(path, daemon, tmp_path / "log")
        with blocking.connect(path) as client:
            process = client.start(["/bin/sh", "-c", "echo hello; exec sleep 60"])
            pid = client.inspect(process.id).pid
            assert pid is not None
            assert "another netdaemon" in refusal(f"--socket={path}", cwd=tmp_path)
            daemon.send_signal(number)
            daemon.wait(PATIENCE)
        assert not os.path.exists(path)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        text = (tmp_path / "log").read_text()
        assert "stopped" in text
        assert "Traceback" not in text
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_a_restart_is_an_upgrade(number: signal.Signals, reactor: str, tmp_path: Path) -> None:
    """Its processes go on, and it says so; the next daemon has them; SHUTDOWN ends all, its keeper, too."""
    tmp_path.chmod(0o700)
    path = str(tmp_path / "s")
    daemon = start(tmp_path, reactor=reactor)
    try:
        wait_for_hello(path, daemon, tmp_path / "log")
        with blocking.connect(path) as client:
            process = client.start_detached(["/bin/sh", "-c", "echo hello; exec cat"], name="cat", labels={"a": "b"})
            keeper = client.info().keeper_pid
        assert keeper is not None
        assert keeper == keeper_pid(path)
        daemon.send_signal(number)
        daemon.wait(PATIENCE)
        assert f"1 process goes on under the keeper (pid {keeper})" in (tmp_path / "log").read_text()
        daemon = start(tmp_path, reactor=reactor)
        wait_for_hello(path, daemon, tmp_path / "log")
        with blocking.connect(path) as client:
            (record,) = client.list()
            assert (record.id, record.pid, record.name, record.labels) == (process.id, process.pid, "cat", ("a=b",))
            assert client.info().keeper_pid == keeper
            with client.attach("cat") as cat:
                cat.write(b"there\n")
                cat.close_stdin()
                assert cat.read() == (b"hello\nthere\n", b"")
                assert cat.wait().code == 0
            client.shutdown()
        daemon.wait(PATIENCE)
        assert keeper_pid(path) is None
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        end_daemon(path, daemon)


def test_no_keeper_can_be_had(tmp_path: Path) -> None:
    """One line that says why; with --ephemeral none is needed."""
    tmp_path.chmod(0o700)
    (tmp_path / "s.keeper").mkdir()
    assert f"{tmp_path}/s.keeper" in refusal(f"--socket={tmp_path}/s", cwd=tmp_path)
    assert not (tmp_path / "s").exists()


def test_a_path_that_leaves_no_room_for_a_keeper(tmp_path: Path) -> None:
    """It would fit, and the keeper's beside it would not."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/".ljust(103, "s")
        assert "103 bytes, and with a keeper beside it at most 100 fit" in refusal(f"--socket={path}", cwd=tmp_path)
        assert not os.path.exists(path)


def test_taking_over(tmp_path: Path) -> None:
    """The daemon that runs there leaves; where none runs there is nothing to take; an ephemeral one does not leave."""
    tmp_path.chmod(0o700)
    path = str(tmp_path / "s")
    first = start(tmp_path, "--takeover")
    second = None
    try:
        wait_for_hello(path, first, tmp_path / "log")
        with blocking.connect(path) as client:
            pid = client.start_detached(["/bin/sleep", "1000"]).pid
        second = start(tmp_path, "--takeover")
        assert first.wait(PATIENCE) == 0
        wait_for_hello(path, second, tmp_path / "log")
        with blocking.connect(path) as client:
            assert (client.info().pid, client.list()[0].pid) == (second.pid, pid)
    finally:
        end_daemon(path, second or first)
    alone = start(tmp_path, "--ephemeral")
    try:
        wait_for_hello(path, alone, tmp_path / "log")
        assert "does not leave its processes" in refusal(f"--socket={path}", "--takeover", cwd=tmp_path)
    finally:
        alone.terminate()
        alone.wait()
    assert "cannot be left any processes" in refusal(f"--socket={path}", "--takeover", "--ephemeral", cwd=tmp_path)


@pytest.mark.parametrize("options", [(), ("--ephemeral",)], ids=["kept", "ephemeral"])
@pytest.mark.parametrize(
    ("asked", "limit", "words"),
    [
        ((), (900, 900), "(900 descriptors)"),
        (("--descriptors=300",), (300, 900), "(300 descriptors)"),
        (("--descriptors=99999999",), (900, 900), "--descriptors is 99999999, and the hard limit"),
    ],
)
def test_its_limit_of_descriptors(
    options: tuple[str, ...], asked: tuple[str, ...], limit: tuple[int, int], words: str, tmp_path: Path
) -> None:
    """As many as it may have or as was asked for; processes, with a terminal or not, have what it was given."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path, *options, *asked, inside=("prlimit", "--nofile=200:900")) as daemon:
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == limit
        assert words in daemon.log.read_text()
        with blocking.connect(daemon.path) as client:
            for terminal in (None, Pty()):
                with client.start(["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"], pty=terminal) as process:
                    assert process.read()[0].split() == [b"200", b"900"]
            keeper = client.info().keeper_pid
            if keeper is not None:
                assert resource.prlimit(keeper, resource.RLIMIT_NOFILE) == limit


def test_the_collector_passes_over_what_stays(tmp_path: Path) -> None:
    """What is loaded is not walked over by each full collection: that would be a pause for everybody."""
    tmp_path.chmod(0o700)
    program = (
        "import gc, sys; from netdaemon.tap import Options, makeService; options = Options()\n"
        "options.parseOptions(sys.argv[1:]); makeService(options); print(gc.get_freeze_count() > 10_000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"--socket={tmp_path}/s", "--ephemeral"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
