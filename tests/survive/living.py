"""What the processes do whose stops and restarts are interrupted: each writes down all that comes to it, once each.

python -I -S living.py DIRECTORY NAME MARKER [WORD...]

NAME.acts gets a line ``GENERATION ACT`` for each: ``start``, ``line`` (typed: the text of a stop), ``TERM``, ``exit``
(a file NAME.exit told it to), ``twice`` (another one runs). Standard library only. The words:

    deaf            it goes on when the line comes
    obstinate       it goes on when SIGTERM comes
    late            it does not say that it is ready before its second generation
    notify          it says so by READY=1, and that it is alive by WATCHDOG=1, which a late one does not do at first
    leaves          something that it has started is there after it
    prints          it writes lines, more than fit into one file of its log
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time

# What a stop types.
LINE = b"stop"

# What it says when it is ready.
READY = b"up and about\n"

# The exit code where a file tells it to exit.
CODE = 3

# Lines of a generation that prints, and about the length of one.
LINES, LENGTH = 200, 60

# Seconds in which the lock of one that is just being killed has to become free.
DYING = 0.2


class Living:
    """One generation at work."""

    def __init__(self, directory: str, name: str, words: list[str]) -> None:
        self.place = f"{directory}/{name}"
        self.words = words
        self._acts = os.open(f"{self.place}.acts", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.generation = 1 + os.pread(self._acts, 1 << 20, 0).count(b" start\n")
        self._only_one()
        signal.signal(signal.SIGTERM, self._told_to_end)
        self.act("start")

    def act(self, what: str) -> None:
        """Write it down, in one go."""
        os.write(self._acts, f"{self.generation} {what}\n".encode())

    def _only_one(self) -> None:
        self._lock = os.open(f"{self.place}.alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + DYING
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return self.act("twice")
            time.sleep(0.005)

    def _told_to_end(self, *_: object) -> None:
        self.act("TERM")
        if "obstinate" not in self.words:
            os._exit(0)

    def run(self) -> None:
        """Until it is ended in one way or another."""
        late = "late" in self.words and self.generation == 1
        if "leaves" in self.words:
            os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}, setsid=True)
        if "prints" in self.words:
            for number in range(LINES):
                os.write(1, f"{self.generation} {number}".ljust(LENGTH, ".").encode() + b"\n")
        if not late:
            self._say("READY=1") if "notify" in self.words else os.write(1, READY)
        elif "notify" in self.words:
            # Ready, and never heard of again.
            self._say("READY=1")
        inputs, text = [0], b""
        while True:
            if "notify" in self.words and not late:
                self._say("WATCHDOG=1")
            if select.select(inputs, [], [], 0.01)[0]:
                try:
                    data = os.read(0, 1000)
                except OSError:
                    data = b""
                if not data:
                    # Nobody has the other end any more.
                    inputs = []
                *lines, text = (text + data).split(b"\n")
                for _ in lines:
                    self.act("line")
                    if "deaf" not in self.words:
                        os._exit(0)
            self._maybe_exit()

    def _maybe_exit(self) -> None:
        try:
            os.unlink(f"{self.place}.exit")
        except FileNotFoundError:
            return
        self.act("exit")
        os._exit(CODE)

    def _say(self, word: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(word.encode(), os.environ["NOTIFY_SOCKET"])
            except OSError as error:
                # There is nobody at the moment, as with any service manager.
                self.act(f"unheard {error.errno}")


if __name__ == "__main__":
    _, directory, name, _, *words = sys.argv
    Living(directory, name, words).run()
