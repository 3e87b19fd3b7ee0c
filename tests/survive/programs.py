"""What the children of these tests do: each writes, echoes or waits as its arguments say; standard library only.

python -I -S programs.py KIND DIRECTORY NAME CODE [MORE]

A child is told to end by a file NAME.stop in the directory, leaves a line in NAME.born when it begins, and NAME.report
with what it has written and read when it ends with the exit code CODE. What it writes is a pattern that its name
gives, so that any byte can be compared by its place.
"""

from __future__ import annotations

import hashlib
import os
import select
import sys
import time

# Nothing that the sizes of pipes, pages and reads have to do with.
PERIOD = 61_031

# More than one message takes.
REACH = 20 * PERIOD

# What a program in a terminal says when it will take its input as it is: the end of the pattern that follows.
READY = 1


def pattern(name: str) -> bytes:
    """The pattern of this name, so often that `REACH` bytes follow on every place of it."""
    return hashlib.shake_128(name.encode()).digest(PERIOD) * (REACH // PERIOD + 1)


def piece(of: bytes, place: int, length: int) -> bytes:
    """What is at *place*; at most `REACH` bytes."""
    start = place % PERIOD
    return of[start : start + length]


class Child:
    """One child at work."""

    def __init__(self, directory: str, name: str, code: int) -> None:
        self.place = f"{directory}/{name}"
        self.name = name
        self.code = code
        self.written = {1: 0, 2: 0}
        self.read = 0
        self.patterns = {channel: pattern(f"{name}-{channel}") for channel in (1, 2)}
        self.wrong = False
        file = os.open(f"{self.place}.born", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, b"%d\n" % os.getpid())
        os.close(file)

    def told(self) -> str | None:
        """What the file says by which it is told to end; None: it is not there."""
        try:
            with open(f"{self.place}.stop", encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, channel: int, length: int) -> None:
        """So many bytes of the channel's pattern, whole."""
        data = memoryview(piece(self.patterns[channel], self.written[channel], length))
        self.written[channel] += length
        while data:
            data = data[os.write(channel, data) :]

    def end(self) -> None:
        """Tell, and exit at once."""
        with open(f"{self.place}.report.new", "w", encoding="ascii") as file:
            file.write(f"{self.written[1]} {self.written[2]} {self.read} {int(self.wrong)}")
        os.rename(f"{self.place}.report.new", f"{self.place}.report")
        os._exit(self.code)

    # --- the kinds ---------------------------------------------------------------------------------------------------

    def flood(self) -> None:
        """Standard output, as fast as it is taken."""
        while self.told() is None:
            self.write(1, 65536)

    def lines(self) -> None:
        """Standard output, in small pieces, now and then."""
        number = 0
        while self.told() is None:
            number += 1
            self.write(1, 20 + number * 37 % 150)
            time.sleep(0.003)

    def both(self) -> None:
        """Both outputs by turns, in pieces of all sizes."""
        number = 0
        while self.told() is None:
            number += 1
            self.write(1 + number % 3 % 2, 1 + number * 7919 % 20_000)
            if number % 50 == 0:
                time.sleep(0.001)

    def sleep(self) -> None:
        """Nothing, until it is told to end."""
        while self.told() is None:
            time.sleep(0.01)

    def terminal(self) -> None:
        """Standard output, which is a terminal's, as fast as it is taken."""
        _raw()
        while self.told() is None:
            self.write(1, 3000)

    def typed(self) -> None:
        """What is typed at its terminal comes back, after a byte that says so; it ends after so much as is told."""
        _raw()
        expected = pattern(f"{self.name}-in")
        self.written[1] += os.write(1, piece(expected, PERIOD - READY, READY))
        while True:
            if select.select([0], [], [], 0.02)[0]:
                data = memoryview(os.read(0, 65536))
                self.wrong = self.wrong or data != piece(expected, self.read, len(data))
                self.read += len(data)
                self.written[1] += len(data)
                while data:
                    data = data[os.write(1, data) :]
                continue
            told = self.told()
            if told and self.read >= int(told):
                return

    def fed(self) -> None:
        """Reads its input to the end, and compares it."""
        expected = pattern(f"{self.name}-in")
        while data := os.read(0, 65536):
            self.wrong = self.wrong or data != piece(expected, self.read, len(data))
            self.read += len(data)

    def slow(self) -> None:
        """Reads its input to the end, but not yet."""
        time.sleep(0.5)
        self.fed()

    def screen(self) -> None:
        """Draws: the size of its terminal when that changes, and what is typed, with the size."""
        import signal

        _raw()
        wake, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(waking)
        self._draw("ready")
        while True:
            ready = select.select([0, wake], [], [])[0]
            if wake in ready:
                os.read(wake, 100)
                self._draw("resized")
            if 0 in ready:
                key = os.read(0, 1).decode()
                self._draw(key)
                if key == "q":
                    return

    def _draw(self, what: str) -> None:
        size = os.get_terminal_size(0)
        os.write(1, f"{what} {size.lines}x{size.columns}\n".encode())


def _raw() -> None:
    """Have the terminal change nothing, from the first byte that comes out of it."""
    import termios

    mode = termios.tcgetattr(0)
    mode[0] = mode[1] = mode[3] = 0
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(0, termios.TCSANOW, mode)


if __name__ == "__main__":
    _, kind, directory, name, code, *_ = sys.argv
    child = Child(directory, name, int(code))
    getattr(child, kind)()
    child.end()
