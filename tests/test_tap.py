"""`twistd netdaemon`, as an operator types it: what it refuses, with one line, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netdaemon import blocking
from tests.support import wait_for_hello

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_a_life(number: signal.Signals, reactor: str, tmp_path: Path) -> None:
    """It listens, runs something, and ends in order: its processes with it, its socket gone; under either reactor."""
    tmp_path.chmod(0o700)
    path = str(tmp_path / "s")
    with open(tmp_path / "log", "wb") as log:
        daemon = subprocess.Popen(
            [*TWISTD, f"--reactor={reactor}", "netdaemon", f"--socket={path}"], cwd=tmp_path, stdout=log, stderr=log
        )
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
