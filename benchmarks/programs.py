"""The programs of programs.c in Python, for machines without a C compiler: slower where many small things are done."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
import time

BIG = 256 * 1024
PIPE_SIZE = 1 << 20

# What a program on a terminal says when it begins, as it comes out there.
GO = b"go\r\n"


def write_blocks(descriptor: int, size: int) -> None:
    block = b"x" * size
    while True:
        os.write(descriptor, block)


def write_lines(size: int, count: int) -> None:
    line = b"x" * (size - 1) + b"\n"
    for _ in range(count):
        os.write(1, line)


def read_all() -> None:
    buffer = bytearray(BIG)
    while os.readv(0, [buffer]):
        pass


def echo() -> None:
    while data := os.read(0, 65536):
        os.write(1, data)


def pipe_limit(size: int, seconds: float) -> None:
    reading, writing = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(reading)
        write_blocks(writing, size)
    os.close(writing)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    begin = time.monotonic() + seconds / 5
    count = 0
    buffer = bytearray(BIG)
    while got := os.readv(reading, [buffer]):
        now = time.monotonic()
        if now >= begin + seconds:
            break
        if now >= begin:
            count += got
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    print(count / seconds)


def typed() -> None:
    mode = termios.tcgetattr(0)
    mode[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(0, termios.TCSANOW, mode)
    if not os.read(0, 1):
        sys.exit(1)
    os.write(1, b"go\n")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["typed", *rest]:
            typed()
            main(rest)
            # What is on a terminal stays until that is gone: its last words are not to be lost with it.
            read_all()
        case ["write", size]:
            write_blocks(1, int(size))
        case ["lines", size, count]:
            write_lines(int(size), int(count))
        case ["read"]:
            read_all()
        case ["echo"]:
            echo()
        case ["idle"]:
            signal.pause()
        case ["limit", size, seconds]:
            pipe_limit(int(size), float(seconds))
        case _:
            sys.exit("[typed] write SIZE | lines SIZE COUNT | read | echo | idle | limit SIZE SECONDS")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main(sys.argv[1:])
