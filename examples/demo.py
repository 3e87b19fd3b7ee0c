"""The main job, shown on small programs that every system has: `make demo`.

Starts a daemon of its own in a temporary directory, does with ndtool what a person would do, and cleans up.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
SERVER = Path(__file__).with_name("game_server.py")


def say(text: str) -> None:
    """A line for the reader."""
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def show(*argv: str, expect: int = 0, timeout: float | None = None) -> str:
    """Run ndtool as typed, show it and its output; a *timeout* kills it with SIGKILL."""
    print("$ ndtool " + shlex.join(argv), flush=True)
    child = subprocess.Popen(
        [BIN / "ndtool", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    else:
        if child.returncode != expect:
            raise SystemExit(f"exit code {child.returncode}, and {expect} was expected")
    print(output + (f"(exit code {expect})\n" if expect else ""), end="", flush=True)
    return output


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="netdaemon-demo-") as directory:
        path = os.path.join(directory, "nd", "socket")
        os.environ["NETDAEMON_SOCKET"] = path
        log = open(os.path.join(directory, "log"), "wb")  # noqa: SIM115  # the daemon's, until the end
        daemon = subprocess.Popen(
            [BIN / "twistd", "--nodaemon", "--pidfile=", "netdaemon", f"--socket={path}"], stdout=log, stderr=log
        )
        try:
            while not os.path.exists(path):
                if daemon.poll() is not None:
                    raise SystemExit(Path(log.name).read_text())
                time.sleep(0.02)
            tour()
        finally:
            # By the daemon that there is by then, which ends its processes and the keeper as well.
            subprocess.run([BIN / "ndtool", "shutdown"], check=True)
            daemon.wait()
            log.close()


def killed_meanwhile(process: str) -> str:
    """Follow a process while the daemon is killed; what the follower, which knows nothing of that, has seen."""
    told = subprocess.run([BIN / "ndtool", "--json", "info"], check=True, capture_output=True)
    daemon = json.loads(told.stdout)["pid"]
    print(f"$ ndtool attach --read-only {process} &\n$ sleep 1; kill -9 {daemon}; sleep 2", flush=True)
    with subprocess.Popen(
        [BIN / "ndtool", "attach", "--read-only", process], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as follower:
        time.sleep(1.0)
        os.kill(daemon, signal.SIGKILL)
        time.sleep(2.0)
        follower.kill()
        output, _ = follower.communicate()
    print(output, end="", flush=True)
    return output


def complete(output: str) -> str:
    """A word on the ticks in *output*: they must all be there, from the first on, and each once."""
    ticks = [int(line.split()[1]) for line in output.splitlines() if line.startswith("tick ")]
    if ticks != list(range(1, len(ticks) + 1)):
        raise SystemExit(f"-- INCOMPLETE: ticks {ticks}")
    return f"-- ticks 1 to {len(ticks)}: complete"


def tour() -> None:
    """What a hosting panel, and a person at a terminal, do all day."""
    say("Start a server. It belongs to the daemon, not to this terminal.")
    show("start", "-d", "--name", "game", "--", "python3", str(SERVER))
    say("Who is there?")
    show("list")
    say("Follow its output for a second; then the client is killed with SIGKILL, in the middle of it.")
    before = show("attach", "--read-only", "game", timeout=1.0)
    say("The game goes on. Type a line into it, without attaching.")
    show("send", "game", "save-all")
    say("Attach again from the very byte at which the killed client had stopped: nothing missing, nothing twice.")
    after = show("attach", "--read-only", "--from", str(len(before.encode())), "game", timeout=1.0)
    print(complete(before + after))
    say(
        "Follow it from its beginning, and kill the daemon with SIGKILL in the middle of it. The keeper starts another."
    )
    print(complete(killed_meanwhile("game")))
    show("list")
    say("End it by its own command. Its exit status is kept until somebody has asked for it, and longer.")
    show("send", "game", "quit")
    show("wait", "game", expect=7)
    show("list")
    say("And its last words:")
    show("attach", "--tail", "40", "game", expect=7)
    show("rm", "game")
    say("Anything goes through, byte for byte, with the exit code of the program:")
    show("start", "--rm", "--", "sh", "-c", "printf 'to stdout\\n'; printf 'to stderr\\n' >&2; exit 3", expect=3)


if __name__ == "__main__":
    main()
