"""ndtool as a user has it, on pipes and on terminals, and a daemon for it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

from netdaemon import blocking
from netdaemon.errors import ConnectFailed
from tests.support import end_daemon, readable

NDTOOL = [sys.executable, "-m", "netdaemon.cli"]
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

# Seconds; nothing here takes a tenth of it on a machine that is not busy.
PATIENCE = 60.0


class Daemon:
    """A real daemon in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = str(directory / "s")
        self.packets = str(directory / "p")
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*TWISTD, "-n", "--pidfile=", "netdaemon", f"--socket={self.socket}", f"--seqpacket={self.packets}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                blocking.connect(self.socket).close()
                return
            except ConnectFailed:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        end_daemon(self.socket, self.process)

    def client(self) -> blocking.Client:
        return blocking.connect(self.socket, timeout=PATIENCE)


class Ndtool:
    """Runs ndtool with a daemon's socket."""

    def __init__(self, socket: str | None, **env: str) -> None:
        self.env = {key: value for key, value in os.environ.items() if key not in ("NETDAEMON_SOCKET", "TERM")}
        self.env |= {"TERM": "vt100", **env}
        if socket is not None:
            self.env["NETDAEMON_SOCKET"] = socket

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        env = {**self.env, **options.pop("env", {})}
        return subprocess.Popen([*NDTOOL, *arguments], **{**pipes, "env": env, **options})

    def __call__(self, *arguments: str, input: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
        with self.popen(*arguments, **options) as process:
            try:
                out, err = process.communicate(input if process.stdin is not None else None, timeout=PATIENCE)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *arguments: str, **options: Any) -> str:
        """What it prints; it must end well and say nothing else."""
        done = self(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout.decode()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok("--json", *arguments))

    def fails(self, code: int, *arguments: str, **options: Any) -> str:
        """The one line that it says on standard error; it must exit with *code* and print nothing."""
        done = self(*arguments, **options)
        assert (done.returncode, done.stdout) == (code, b""), done
        text = done.stderr.decode()
        assert text.startswith("ndtool: ")
        assert text.count("\n") == 1
        return text.removeprefix("ndtool: ").rstrip("\n")


class Terminal:
    """ndtool on a terminal of its own, and whoever sits at it."""

    def __init__(self, ndtool: Ndtool, *arguments: str, rows: int = 24, columns: int = 80, **options: Any) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns, tell=False)
        self.before = termios.tcgetattr(slave)
        self.seen = b""

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._slave = slave
        self.process = ndtool.popen(
            *arguments,
            **{"stdin": slave, "stdout": slave, "stderr": slave, **options},
            start_new_session=True,
            preexec_fn=take_terminal,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self.master)
        os.close(self._slave)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def resize(self, rows: int, columns: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def is_raw(self) -> bool:
        return not self.settings()[3] & termios.ICANON

    def expect(self, pattern: bytes, patience: float = PATIENCE) -> re.Match[bytes]:
        """Read until *pattern* is seen; what is before its end is dropped."""
        deadline = time.monotonic() + patience
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end() :]
                return found
            # Asked before reading: what it has written by its end is there then.
            ended = self.process.poll() is not None
            # There may always be more to read.
            assert time.monotonic() < deadline, f"{pattern!r} did not come, but {self.seen!r}"
            if readable(self.master, 0.2):
                self.seen += os.read(self.master, 65536)
            else:
                assert not ended, f"{pattern!r} did not come, but {self.seen!r}"

    def wait(self) -> int:
        """The exit code; what is still printed is kept in ``seen``."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            self._read(0.02)
        self._read(0)
        return self.process.returncode

    def _read(self, patience: float) -> None:
        while readable(self.master, patience):
            self.seen += os.read(self.master, 65536)
            patience = 0


def eventually(condition: Any, what: str = "it") -> Any:
    """The first true value of *condition*."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)
