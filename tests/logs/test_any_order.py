"""A log under whatever happens to it, in any order: writes, full disks, kills, moved files; against a model."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.logs.cri import Block, Encoder
from netdaemon.logs.files import tidy
from netdaemon.logs.writer import LogFile, Position
from netdaemon.wire.specs import Log
from tests.logs.support import NOW, output_of, text_of

SIZE = 4096

# What happens: how much is written, or what else.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 9000)),
        st.tuples(st.just("full"), st.integers(0, 6000)),
        st.tuples(st.just("kill"), st.integers(0, 6000)),
        st.tuples(
            st.sampled_from(["restart", "reopen", "move", "remove", "empty", "tidy", "no directory"]), st.just(0)
        ),
    ),
    max_size=30,
)


def stream(size: int) -> bytes:
    """Output with lines of all lengths."""
    result = bytearray()
    number = 0
    while len(result) < size:
        number += 1
        result += f"{number} ".encode() + b"." * (number * 37 % 211) + (b"\r\n" if number % 5 else b"\n\n")
    return bytes(result[:size])


OUTPUT = stream(30 * 9000)


class World:
    """A log, and the model: what must be in its files. What somebody takes away is remembered as such."""

    def __init__(self, place: Path) -> None:
        self.path = place / "logs" / "log"
        self.path.parent.mkdir()
        self.position = Position()
        self.now = NOW
        self.room: int | None = None
        # Output that is in files that are the log's no more.
        self.elsewhere = b""
        self.log = self.new()

    def save(self, position: Position) -> None:
        self.position = position

    def new(self) -> LogFile:
        spec = Log(path=str(self.path), size=SIZE, files=1000)
        return LogFile(spec, self.position, self.save, lambda: self.now)

    def lines(self, size: int) -> list[Block]:
        start = self.log.position.offset
        encoder = Encoder()
        return [*encoder.feed(1, self.now, OUTPUT[start : start + size]), *encoder.flush()]

    def pwrite(self, descriptor: int, octets: bytes, offset: int) -> int:
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, "full")
            octets = bytes(octets)[: self.room]
            self.room -= len(octets)
        return REAL(descriptor, octets, offset)

    def write(self, size: int) -> None:
        self.log.append(self.lines(size))

    def full(self, room: int) -> None:
        self.room = room
        try:
            self.write(9000)
        except OSError as error:
            assert error.errno == errno.ENOSPC
        self.room = None

    def kill(self, more: int) -> None:
        """After a part of a write that nobody saved."""
        self.log.append([])
        if self.path.exists() and self.path.stat().st_ino == self.position.inode:
            octets = b"".join(block.octets for block in self.lines(6000))[:more]
            with self.path.open("r+b") as file:
                file.seek(self.position.size)
                file.write(octets)
        self.restart()

    def restart(self, _: int = 0) -> None:
        self.log.close()
        self.log = self.new()

    def reopen(self, _: int = 0) -> None:
        self.log.reopen()

    def move(self, _: int = 0) -> None:
        self.log.append([])
        self._took(self.path.read_bytes())
        self.path.rename(self.path.with_name("moved"))
        self.log.reopen()

    def remove(self, _: int = 0) -> None:
        self.log.append([])
        self._took(self.path.read_bytes())
        self.path.unlink()

    def empty(self, _: int = 0) -> None:
        self.log.append([])
        self._took(self.path.read_bytes())
        os.truncate(self.path, 0)

    def _took(self, octets: bytes) -> None:
        self.elsewhere = self.aside() + text_of(octets)
        for one in self.path.parent.iterdir():
            if one != self.path:
                one.unlink()

    def aside(self) -> bytes:
        """All that was written but for the present file."""
        present = text_of(self.path.read_bytes())
        everything = output_of(self.path)
        return self.elsewhere + everything[: len(everything) - len(present)]

    def tidy(self, _: int = 0) -> None:
        tidy(str(self.path), 1000, True)

    def no_directory(self, _: int = 0) -> None:
        """It cannot be written to; and then it can again."""
        away = self.path.parent.with_name("away")
        self.path.parent.rename(away)
        try:
            self.restart()
            try:
                self.write(100)
            except Exception as error:
                assert "there is no directory" in str(error)
        finally:
            away.rename(self.path.parent)

    def check(self) -> None:
        self.log.open()
        assert self.log.position == self.position
        if self.path.exists() and self.path.stat().st_ino == self.position.inode:
            assert self.path.stat().st_size in (self.position.size, 0)
        assert self.elsewhere + output_of(self.path) == OUTPUT[: self.position.offset]


REAL = os.pwrite


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_any_order(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, each byte before the position is in the files once, and none after it."""
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        with mock.patch.object(os, "pwrite", world.pwrite):
            for what, size in steps:
                world.now += 1000
                getattr(world, what.replace(" ", "_"))(size)
                if what != "kill":
                    world.check()
            world.write(500)
            world.check()
        world.log.close()
