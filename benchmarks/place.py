"""A directory with the programs in it, and everything that is started from there, which ends with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent

# Seconds for what was started to answer, and to end.
PATIENCE = 20.0

# Seconds for one task: several times what the longest takes on a busy machine.
TASK_PATIENCE = 120.0

# Seconds of a flow that are not counted: pipes grow and caches fill.
WARM = 0.25

# Seconds for what is still there when all that was started has ended: a keeper ends after its daemon.
LEAVING = 3.0

# How often what is left is killed: it may have been about to start something.
SWEEPS = 3

NDTOOL = [sys.executable, "-m", "netdaemon.cli"]
TWISTD = "from twisted.scripts.twistd import run; run()"

# As a service manager has it: it is us who start a daemon again, and not its keeper.
MANAGED = {"INVOCATION_ID": "benchmarks"}


class Failed(Exception):
    """Something could not be carried out; the message has what its program said."""


class Place:
    """The directory, and what runs from it.

    :ivar program: the command for the programs of programs.c.
    :ivar compiled: whether they are in C.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ndbench"))
        self.compiled = False
        self._started: list[subprocess.Popen[bytes]] = []
        # Of a daemon its command and its socket.
        self._daemons: dict[subprocess.Popen[bytes], tuple[str, list[str], Path]] = {}
        self.program = self._build()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._started:
            self.stop(self._started[-1])
        self._sweep()
        shutil.rmtree(self.path, ignore_errors=True)

    def _sweep(self) -> None:
        """See that nothing is left: what goes by itself soon may, and the rest is killed."""
        for _ in range(SWEEPS):
            left = _staying(self.path)
            if not left:
                break
            print(f"left behind, and killed now: {' | '.join(left.values())}", file=sys.stderr)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _build(self) -> tuple[str, ...]:
        """Compiled if there is a compiler, in Python otherwise."""
        target = self.path / "programs"
        compiler = os.environ.get("CC", "cc")
        try:
            subprocess.run([compiler, "-O2", "-o", str(target), str(HERE / "programs.c")], check=True)
        except (OSError, subprocess.CalledProcessError):
            # A copy: what runs from here has the place's path in its arguments.
            return (sys.executable, "-I", str(shutil.copy(HERE / "programs.py", str(self.path))))
        self.compiled = True
        return (str(target),)

    # --- what is started ---------------------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        argv: Sequence[str],
        answers: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that stays, and wait until it listens on the socket *answers*."""
        with open(self.path / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                # An interrupt from the terminal is for us, who end them in order.
                start_new_session=True,
            )
        self._started.append(process)
        deadline = time.monotonic() + PATIENCE
        while answers is not None and not _listening(answers):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{name} does not answer:\n{(self.path / f'{name}.log').read_text()}")
            time.sleep(0.02)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End what was started."""
        self._started.remove(process)
        daemon = self._daemons.pop(process, None)
        if process.poll() is None:
            if daemon is None:
                process.send_signal(signal.SIGTERM)
            else:
                # Its keeper and its processes with it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command = [*NDTOOL, "--socket", str(daemon[2]), "shutdown"]
                    subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def daemon(
        self, *options: str, name: str = "netdaemon", twistd: str = TWISTD
    ) -> tuple[subprocess.Popen[bytes], str]:
        """A netdaemon, and the path of its socket.

        :param twistd: the Python that runs it.
        """
        path = self.path / f"{name}.sock"
        command = [sys.executable, "-c", twistd, "-n", "--pidfile=", "netdaemon", f"--socket={path}", *options]
        process = self.start(name, command, path, MANAGED)
        self._daemons[process] = name, command, path
        return process, str(path)

    def restart(self, process: subprocess.Popen[bytes], number: int) -> subprocess.Popen[bytes]:
        """End a daemon by a signal and start it anew, as a service manager does it; come back before it answers."""
        name, command, path = self._daemons.pop(process)
        process.send_signal(number)
        process.wait(PATIENCE)
        self._started.remove(process)
        successor = self.start(name, command, None, MANAGED)
        self._daemons[successor] = name, command, path
        return successor

    def peer(self, name: str) -> str:
        """A server of benchmarks.peers, by its name; the path of its socket."""
        path = self.path / f"{name}.sock"
        self.start(name, [sys.executable, "-m", "benchmarks.peers", name, str(path), *self.program], path)
        return str(path)

    # --- what is measured --------------------------------------------------------------------------------------------

    def work(self, module: str, task: str, **arguments: Any) -> dict[str, float]:
        """Carry out one of *module*'s tasks in a process of its own; what it measured."""
        with self.working(module, task, **arguments) as process:
            return self.measured(process)

    @contextlib.contextmanager
    def working(self, module: str, task: str, **arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A task that is being carried out; it is killed in the end if it has not ended."""
        command = [sys.executable, "-m", f"benchmarks.{module}", task, json.dumps(arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def measured(self, process: subprocess.Popen[bytes]) -> dict[str, float]:
        """What a task has measured, when it has ended."""
        out, err = process.communicate(timeout=TASK_PATIENCE)
        if process.returncode:
            raise Failed(f"{process.args!r}: {err.decode(errors='replace')}")
        figures: dict[str, float] = json.loads(out)
        return figures


def running_from(path: Path) -> dict[int, str]:
    """The processes with *path* in their arguments, but this one: their pids and their command lines."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                arguments = Path(f"/proc/{name}/cmdline").read_bytes()
                if os.fsencode(path) in arguments:
                    found[int(name)] = arguments.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return found


def _staying(path: Path) -> dict[int, str]:
    """Wait for what runs from *path* to be gone; what is not."""
    deadline = time.monotonic() + LEAVING
    while (left := running_from(path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def carry_out(tasks: Mapping[str, Callable[..., dict[str, float]]]) -> None:
    """The main function of a module whose tasks `Place.work` carries out."""
    task, arguments = sys.argv[1:]
    print(json.dumps(tasks[task](**json.loads(arguments))))
