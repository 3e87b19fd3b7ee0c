"""The two launchers for real, in a test: what is launched by them is looked at from outside, in /proc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netdaemon.keeper.child import Launched, LaunchError, Spec
from netdaemon.keeper.whom import Whom
from netdaemon.process.keeper_link import KeeperLink
from netdaemon.process.kept import KeptLauncher
from netdaemon.process.launcher import LocalLauncher
from netdaemon.testing import MemoryReactor
from tests.support import PATIENCE, readable

PATH = b"PATH=/usr/bin:/bin"
WAYS = ("local", "keeper")


class Launching:
    """A launcher and what it has launched.

    :ivar launcher: of this process, or behind a keeper that this process has started.
    """

    def __init__(self, way: str, directory: Path) -> None:
        self.reactor = MemoryReactor()
        self.launcher: Any
        if way == "local":
            self.launcher = LocalLauncher(self.reactor)
        else:
            self.launcher = KeptLauncher(self.reactor, KeeperLink(str(directory / "s.keeper"), "test", restart=False))
            self.launcher.open()
        self.way = way
        self._count = 0
        self._alive: list[Launched] = []

    def launch(self, *words: str, **rest: Any) -> Launched:
        """One that executes its program.

        :raises LaunchError: there is none.
        """
        argv = tuple(os.fsencode(word) for word in words)
        self._count += 1
        rest = {"path": argv[0], "env": (PATH,), **rest}
        spool = os.memfd_create("spool", os.MFD_CLOEXEC)
        outcome: list[Any] = []
        id = f"p{self._count}"
        self.launcher.launch(id, Spec(argv=argv, **rest), spool).addBoth(outcome.append)
        deadline = time.monotonic() + PATIENCE
        while not outcome:
            assert time.monotonic() < deadline
            self.reactor.turn() or time.sleep(0.001)
        if not isinstance(outcome[0], Launched):
            self.launcher.forget(id)
            os.close(spool)
            outcome[0].raiseException()
        launched: Launched = outcome[0]
        launched.id = id
        os.close(spool) if self.way == "local" else None
        self._alive.append(launched)
        return launched

    def refusal(self, *words: str, **rest: Any) -> tuple[str, int]:
        """Of one that is not launched: stage and errno."""
        try:
            launched = self.launch(*words, **rest)
        except LaunchError as error:
            return error.stage, error.errno
        raise AssertionError(f"it runs as {launched.pid}")

    def output(self, launched: Launched) -> bytes:
        """All that it writes until it ends."""
        result = b""
        while True:
            assert readable(launched.stdout, PATIENCE)
            try:
                piece = os.read(launched.stdout, 65536)
            except OSError:
                # A terminal that was hung up.
                return result
            if not piece:
                return result
            result += piece

    def let_go(self, launched: Launched) -> None:
        """End it, and keep nothing of it."""
        self._alive.remove(launched)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(launched.pidfd, signal.SIGKILL)
        assert readable(launched.pidfd, PATIENCE)
        self.launcher.release(launched)
        self.launcher.forget(launched.id)
        if self.way == "local":
            launched.close()
            return
        with contextlib.suppress(OSError):
            launched.close()

    def end(self) -> None:
        for launched in list(self._alive):
            self.let_go(launched)
        if self.way == "keeper":
            pid = self.launcher.pid
            self.launcher.close()
            self.reactor.removeAll()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextlib.contextmanager
def launching(way: str, directory: Path) -> Iterator[Launching]:
    made = Launching(way, directory)
    try:
        yield made
    finally:
        made.end()


def status(pid: int | str) -> dict[str, str]:
    """What the kernel says of a process, by its own words."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in text.splitlines())}


def seen(pid: int) -> dict[str, Any]:
    """Who a process is, as a `Whom` has it and more."""
    told = status(pid)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    limits = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        limits[line[:25].strip()] = tuple(line[26:].split()[:2])
    return {
        "uid": tuple(map(int, told["Uid"].split())),
        "gid": tuple(map(int, told["Gid"].split())),
        "groups": tuple(map(int, told["Groups"].split())),
        **{name: int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privs": told["NoNewPrivs"] == "1",
        "blocked": int(told["SigBlk"], 16),
        "ignored": int(told["SigIgn"], 16),
        "umask": int(told["Umask"], 8),
        "nice": int(stat[16]),
        "oom_score_adj": int(Path(f"/proc/{pid}/oom_score_adj").read_text()),
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "root": os.readlink(f"/proc/{pid}/root"),
        "limits": limits,
        "descriptors": sorted(map(int, os.listdir(f"/proc/{pid}/fd"))),
    }


def jail(directory: Path, *programs: str) -> Path:
    """A directory with these programs, and what they are linked to."""
    for program in programs:
        files = [program]
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        files += [word for word in done.stdout.split() if word.startswith("/")]
        for file in files:
            copy = directory / file.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                shutil.copy(os.path.realpath(file), copy)
    directory.chmod(0o755)
    return directory


NOBODY = Whom(uid=1234, gid=1235)
