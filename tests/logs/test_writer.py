"""The files of a log: what is in them to the byte, whatever happens in between: sizes, ages, kills, strangers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netdaemon.errors import BadRequest
from netdaemon.logs.cri import first_line
from netdaemon.logs.files import tidy
from netdaemon.logs.writer import LogFile, Position
from netdaemon.wire.specs import Log
from tests.logs.support import NOW, blocks_of, files_of, numbered, octets_of, output_of, text_of


class Kept:
    """What survives a kill; and a clock."""

    def __init__(self, path: Path, **spec: Any) -> None:
        self.spec = Log(path=str(path), **spec)
        self.position = Position()
        self.saves = 0
        self.now = NOW
        self.output = b""

    def save(self, position: Position) -> None:
        self.position = position
        self.saves += 1

    def open(self) -> LogFile:
        return LogFile(self.spec, self.position, self.save, lambda: self.now)

    def append(self, log: LogFile, data: bytes) -> None:
        """As output that goes on at the position."""
        self.output = self.output[: log.position.offset] + data
        log.append(blocks_of(data, now=self.now))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_lines_and_position(path: Path) -> None:
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\ntwo")
    kept.append(log, b"three\n")
    log.close()
    assert text_of(path.read_bytes()) == b"one\ntwothree\n"
    assert kept.position == Position(13, path.stat().st_ino, path.stat().st_size)
    assert path.stat().st_mode & 0o7777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_by_size(path: Path) -> None:
    """No file is larger than allowed, none is empty, and lines are whole."""
    kept = Kept(path, size=4096, files=1000)
    log = kept.open()
    for start in range(0, 3000, 100):
        kept.now += 1000
        kept.append(log, numbered(range(start, start + 100)))
    log.close()
    sizes = [one.stat().st_size for one in files_of(path)]
    assert len(sizes) > 50
    assert all(4096 - 200 < size <= 4096 for size in sizes[:-1])
    assert sizes[-1] > 0
    assert output_of(path) == numbered(range(3000))


def test_a_line_larger_than_a_file(path: Path) -> None:
    """It has one for itself, and nothing loops."""
    kept = Kept(path, size=4096)
    log = kept.open()
    kept.append(log, b"short\n" + b"x" * 50_000 + b"\nshort\n")
    log.close()
    assert output_of(path) == b"short\n" + b"x" * 50_000 + b"\nshort\n"
    assert len(files_of(path)) == 5


def test_by_age(path: Path) -> None:
    """Counted from its first line, also of one that was there before; only where there is something to write."""
    kept = Kept(path, age=1000)
    log = kept.open()
    kept.append(log, b"one\n")
    kept.now += 999_999
    kept.append(log, b"two\n")
    assert len(files_of(path)) == 1
    log.close()
    kept.now += 1
    log = kept.open()
    log.append([])
    assert len(files_of(path)) == 1
    kept.append(log, b"three\n")
    log.close()
    assert [text_of(octets_of(one)) for one in files_of(path)] == [b"one\ntwo\n", b"three\n"]


def test_the_clock_goes_back(path: Path) -> None:
    """What is set aside is in order all the same."""
    kept = Kept(path, size=4096, files=1000)
    log = kept.open()
    for start in range(0, 1000, 100):
        kept.now -= 3_600_000_000
        kept.append(log, numbered(range(start, start + 100)))
    log.close()
    assert len(files_of(path)) > 10
    assert output_of(path) == numbered(range(1000))


def test_an_older_file_is_not_touched(path: Path) -> None:
    """What a log before this one has left stays, and ends with a newline from now on."""
    path.write_bytes(b"not ours")
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\n")
    log.close()
    before, _, after = path.read_bytes().partition(b"\n")
    assert before == b"not ours"
    assert text_of(after) == b"one\n"
    assert kept.position.size == path.stat().st_size


@pytest.mark.parametrize("gone", [False, True])
def test_somebody_moves_the_file(path: Path, gone: bool) -> None:
    """After `reopen` it goes on at the path; without it, in the file that was moved, unless that is gone."""
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\n")
    moved = path.with_name("moved")
    path.rename(moved)
    kept.append(log, b"two\n")
    assert not path.exists()
    assert text_of(moved.read_bytes()) == b"one\ntwo\n"
    if gone:
        moved.unlink()
    else:
        log.reopen()
        assert path.exists()
    kept.append(log, b"three\n")
    log.reopen()
    log.close()
    assert text_of(path.read_bytes()) == b"three\n"
    assert kept.position == Position(14, path.stat().st_ino, path.stat().st_size)


def test_somebody_empties_the_file(path: Path) -> None:
    """No hole is left in it."""
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\n")
    os.truncate(path, 0)
    kept.append(log, b"two\n")
    assert text_of(path.read_bytes()) == b"two\n"
    log.close()
    os.truncate(path, 0)
    log = kept.open()
    kept.append(log, b"three\n")
    log.close()
    assert text_of(path.read_bytes()) == b"three\n"


def test_somebody_else_writes_to_the_file(path: Path) -> None:
    """While we have it open it stays."""
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\n")
    with path.open("ab") as file:
        file.write(b"stranger")
    kept.append(log, b"two\n")
    log.close()
    assert path.read_bytes().count(b"stranger\n") == 1
    assert text_of(path.read_bytes().replace(b"stranger\n", b"")) == b"one\ntwo\n"


def test_somebody_puts_another_file_there(path: Path) -> None:
    """It is not set aside in place of ours."""
    kept = Kept(path, size=4096)
    log = kept.open()
    kept.append(log, numbered(range(30)))
    path.rename(path.with_name("moved"))
    path.write_bytes(b"stranger\n")
    kept.append(log, numbered(range(30, 60)))
    log.close()
    assert path.read_bytes().startswith(b"stranger\n")
    assert files_of(path) == [path]


def test_two_logs_at_one_path(path: Path) -> None:
    first = Kept(path).open()
    first.open()
    with pytest.raises(BadRequest, match="another process's log"):
        Kept(path).open().open()
    first.close()
    second = Kept(path).open()
    second.open()
    second.close()


# --- kills -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing of this program happens any more."""


CALLS = ("open", "close", "pwrite", "rename", "ftruncate", "unlink", "write", "fstat")


class Killer:
    """Kills before the system call of a number, or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.after = False
        self.halves = False
        self._dead = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **keywords: Any) -> Any:
            if self._dead:
                # What would clean up does not run in a program that is dead; only its descriptors go.
                if name == "close":
                    return call(*args, **keywords)
                raise Killed
            if self.left == 0:
                self._dead = True
                if name == "pwrite" and self.halves:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                elif self.after and name not in ("open", "close"):
                    call(*args, **keywords)
                elif self.after and name == "open":
                    os_close(call(*args, **keywords))
                raise Killed
            self.left -= 1
            return call(*args, **keywords)

        return wrapped

    def arm(self, calls: int, after: bool, halves: bool) -> None:
        self.left, self.after, self.halves, self._dead = calls, after, halves, False

    def save(self, kept: Kept) -> Callable[[Position], None]:
        """A save is one system call as well."""
        return self._wrapped("save", kept.save)


os_close = os.close


@pytest.mark.parametrize(("after", "halves"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("compress", [False, True])
def test_killed_at_any_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool, halves: bool, compress: bool
) -> None:
    """Every byte is in the files once, though each run is killed at its next system call, one later each time."""
    path = tmp_path / "log"
    kept = Kept(path, size=4096, files=1000, compress=compress)
    killer = Killer(monkeypatch)
    output = numbered(range(8000))
    kills = calls = 0
    while kept.position.offset < len(output):
        killer.arm(calls % 80, after, halves)
        calls += 1
        log = LogFile(kept.spec, kept.position, killer.save(kept), lambda: kept.now)
        try:
            while log.position.offset < len(output):
                kept.now += 1000
                offset = log.position.offset
                log.append(blocks_of(output[offset : offset + 1500], now=kept.now))
                tidy(str(path), 1000, compress)
        except Killed:
            kills += 1
        log.close()
    killer.arm(-1, False, False)
    tidy(str(path), 1000, compress)
    assert kills > 80
    assert output_of(path) == output
    aside = files_of(path)[:-1]
    assert len(aside) > 20
    assert all(compress == one.name.endswith(".gz") for one in aside)
    assert {one.name for one in tmp_path.iterdir()} == {one.name for one in files_of(path)}


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the disk has room for; None there: any number."""
    room: list[int] = []
    pwrite = os.pwrite

    def limited(descriptor: int, octets: bytes, offset: int) -> int:
        if room:
            taken = min(room[0], len(octets))
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room[0] -= taken
            return pwrite(descriptor, bytes(octets)[:taken], offset)
        return pwrite(descriptor, octets, offset)

    monkeypatch.setattr(os, "pwrite", limited)
    return room


@pytest.mark.parametrize("room", range(0, 700, 13))
def test_a_disk_that_becomes_full(path: Path, full: list[int], room: int) -> None:
    """Whole lines stay, the position tells how many, and it goes on from there."""
    kept = Kept(path)
    log = kept.open()
    output = numbered(range(8))
    full.append(room)
    lines = blocks_of(output, now=kept.now)
    length = first_line(lines)
    with pytest.raises(OSError, match="No space"):
        log.append(lines)
    assert log.position.offset == room // length * 60
    assert log.position == kept.position
    assert path.read_bytes().count(b"\n") == room // length
    assert path.stat().st_size == kept.position.size
    full.clear()
    log.append(blocks_of(output[log.position.offset :]))
    log.close()
    assert text_of(path.read_bytes()) == output


def test_what_cannot_even_be_cut_off(path: Path, full: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off the next time."""
    kept = Kept(path)
    log = kept.open()
    kept.append(log, b"one\n")

    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "no")

    full.append(20)
    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", fail)
        with pytest.raises(OSError, match="no"):
            log.append(blocks_of(b"two\n"))
    assert path.stat().st_size == kept.position.size + 20
    full.clear()
    log.append(blocks_of(b"two\n"))
    log.close()
    assert text_of(path.read_bytes()) == b"one\ntwo\n"


@pytest.mark.parametrize("call", ["rename", "open"])
def test_setting_aside_fails(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Nothing is lost, and it is done the next time."""
    kept = Kept(path, size=4096)
    log = kept.open()
    kept.append(log, numbered(range(40)))
    real = getattr(os, call)

    def fail(name: Any, *args: Any, **keywords: Any) -> Any:
        if name == "log":
            raise OSError(errno.EACCES, "no")
        return real(name, *args, **keywords)

    output = numbered(range(40, 60))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        for _ in range(3):
            with pytest.raises(OSError, match="no"):
                log.append(blocks_of(output[log.position.offset - 2400 :]))
    log.append(blocks_of(output[log.position.offset - 2400 :]))
    log.close()
    assert output_of(path) == numbered(range(60))
    assert len(files_of(path)) == 2


def test_a_loss_is_counted(path: Path) -> None:
    from netdaemon.logs.cri import Block

    kept = Kept(path)
    log = kept.open()
    log.append([*blocks_of(b"one\n"), Block(b"", 100, lost=True), *blocks_of(b"two\n")])
    log.close()
    assert (kept.position.offset, kept.position.lost) == (108, 100)
    assert text_of(path.read_bytes()) == b"one\ntwo\n"
