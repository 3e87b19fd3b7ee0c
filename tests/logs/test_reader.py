"""A log read again: all of it, from a time, from an offset, while it is being written and set aside."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from netdaemon.logs import reader
from netdaemon.logs.cri import Block, Line
from netdaemon.logs.files import list_aside, tidy
from netdaemon.logs.reader import Moved, read
from netdaemon.logs.writer import LogFile, Position
from netdaemon.wire.specs import Log
from netdaemon.wire.told import Logged
from tests.logs.support import NOW, blocks_of, files_of, numbered

LINES = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def told(position: Position) -> Logged:
    return Logged(offset=position.offset, inode=position.inode, size=position.size, lost=position.lost)


def written(path: Path, *, files: int = 1000, compress: bool = True, start: int = 0) -> Logged:
    """A thousand lines in many files, a millisecond apart; most of them compressed."""
    now = [NOW]
    log = LogFile(
        Log(path=str(path), size=4096, files=files), Position(offset=start), lambda position: None, lambda: now[0]
    )
    for number in range(LINES):
        now[0] += 1000
        log.append(blocks_of(numbered([number]), 1 + number % 2, now[0]))
        if number == LINES * 2 // 3:
            tidy(str(path), files, compress)
    log.close()
    return told(log.position)


def data_of(lines: list[Line]) -> bytes:
    return b"".join(line.data for line in lines)


def test_everything(path: Path) -> None:
    """Times and channels, too; from plain and compressed files."""
    logged = written(path)
    assert {one.suffix for one in files_of(path)} > {".gz", ""}
    lines = list(read(str(path), lambda: logged))
    assert lines == [Line(NOW + 1000 * (n + 1), 1 + n % 2, numbered([n])) for n in range(LINES)]


def test_no_further_than_told(path: Path) -> None:
    """What was written since is the next one's."""
    logged = written(path)
    with path.open("ab") as file:
        file.write(b"".join(block.octets for block in blocks_of(b"later\n")))
    assert data_of(list(read(str(path), lambda: logged))) == numbered(range(LINES))
    half = Logged(offset=0, inode=logged.inode, size=0)
    assert data_of(list(read(str(path), lambda: half))) == numbered(range(LINES))[: -_present_lines(logged) * 60]


def _present_lines(logged: Logged) -> int:
    return logged.size // (60 + len("2026-01-02T03:04:05.123456000Z stdout F "))


@pytest.mark.parametrize("number", [-5, 0, 1, 500, 999, 1000, 2000])
def test_since(path: Path, number: int) -> None:
    """From the first line that is not earlier."""
    logged = written(path)
    lines = list(read(str(path), lambda: logged, since=NOW + 1000 * (number + 1)))
    assert data_of(lines) == numbered(range(max(0, number), LINES))


@pytest.mark.parametrize("offset", [0, 1, 59, 60, 61, 30_000, 30_001, 59_999, 60_000, 70_000])
def test_from_an_offset(path: Path, offset: int) -> None:
    """To the byte, counted from the start that the log had."""
    logged = written(path, start=12345)
    lines = list(read(str(path), lambda: logged, begin=12345 + offset))
    assert data_of(lines) == numbered(range(LINES))[offset:]
    assert all(line.data for line in lines)


def test_an_offset_before_all_that_is_kept(path: Path) -> None:
    """From the oldest on."""
    logged = written(path, files=3)
    tidy(str(path), 3, True)
    kept = data_of(list(read(str(path), lambda: logged)))
    assert 0 < len(kept) < 60 * LINES
    assert data_of(list(read(str(path), lambda: logged, begin=0))) == kept
    assert numbered(range(LINES)).endswith(kept)


def test_reading_needs_few_files_from_an_offset_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are older are not opened."""
    logged = written(path)
    opened: list[object] = []
    real = os.open

    def counted(name: str, *args: int, **keywords: int) -> int:
        opened.append(name)
        return real(name, *args, **keywords)

    monkeypatch.setattr(os, "open", counted)
    list(read(str(path), lambda: logged, begin=logged.offset - 60 * 90))
    assert len(set(opened)) < 6


@pytest.mark.parametrize("what", ["set aside", "removed", "emptied", "replaced by a FIFO"])
def test_moved_before(path: Path, what: str) -> None:
    """Nothing is told: the caller asks how the log stands now."""
    logged = written(path)
    if what == "set aside":
        path.rename(path.with_name("log.20300101T000000.000000Z"))
        path.write_bytes(b"")
    elif what == "emptied":
        os.truncate(path, 0)
    else:
        path.unlink()
        if what != "removed":
            os.mkfifo(path)
    with pytest.raises(Moved):
        next(read(str(path), lambda: logged))


def test_set_aside_while_it_is_asked(path: Path) -> None:
    """It is asked again, and nothing is told twice."""
    state = [written(path)]
    asked = [0]

    def ask() -> Logged:
        asked[0] += 1
        if asked[0] < 4:
            path.rename(path.with_name(f"log.2030010{asked[0]}T000000.000000Z"))
            path.write_bytes(b"".join(block.octets for block in blocks_of(b"new\n")))
            state[0] = Logged(offset=state[0].offset + 4, inode=path.stat().st_ino, size=path.stat().st_size)
        return state[0]

    assert data_of(list(read(str(path), ask))) == numbered(range(LINES)) + b"new\n" * 3
    assert asked[0] == 4


def test_compressed_meanwhile(path: Path) -> None:
    """It makes no difference."""
    logged = written(path)
    lines = read(str(path), lambda: logged)
    first = [next(lines)]
    tidy(str(path), 1000, True)
    assert data_of(first + list(lines)) == numbered(range(LINES))


def test_removed_meanwhile(path: Path) -> None:
    """What came before is right, and nothing is left out in silence."""
    logged = written(path)
    lines = read(str(path), lambda: logged)
    got = [next(lines)]
    tidy(str(path), 2, True)
    with pytest.raises(Moved, match="was removed"):
        got.extend(lines)
    assert numbered(range(LINES)).startswith(data_of(got))
    again = data_of(list(read(str(path), lambda: logged, begin=len(data_of(got)))))
    assert numbered(range(LINES)).endswith(again)


@pytest.mark.parametrize("there", [None, os.mkfifo, Path.mkdir, Path.touch, lambda path: path.symlink_to("x")])
def test_a_daemon_that_has_no_file(path: Path, there: Callable[[Path], None] | None) -> None:
    """What was set aside is there all the same, whatever else is at the path."""
    written(path)
    path.unlink()
    if there is not None:
        there(path)
    aside = data_of(list(read(str(path), lambda: Logged(offset=60 * LINES, error="no"))))
    assert numbered(range(LINES)).startswith(aside)
    assert len(aside) > 50_000


def test_what_is_no_line_is_told(path: Path) -> None:
    """And passed over, as is a compressed file that is cut short, or is none."""
    path.write_bytes(b"stranger\n")
    logged = written(path)
    compressed = [one for one in files_of(path) if one.suffix == ".gz"]
    os.truncate(compressed[1], compressed[1].stat().st_size - 10)
    compressed[2].write_bytes(b"no gzip")
    complaints: list[str] = []
    lines = list(read(str(path), lambda: logged, complain=complaints.append))
    assert len(complaints) >= 3
    assert complaints[0].endswith("b'stranger' is no CRI line")
    assert any(compressed[1].name in one for one in complaints)
    assert any(compressed[2].name in one for one in complaints)
    assert data_of(lines).startswith(numbered(range(40)))
    assert data_of(lines).endswith(numbered(range(200, LINES)))


def test_a_loss_shifts_only_what_is_before_it(path: Path) -> None:
    log = LogFile(Log(path=str(path)), Position(), lambda position: None)
    log.append([*blocks_of(b"one\n"), Block(b"", 100, lost=True), *blocks_of(b"two\nthree\n")])
    log.close()
    assert data_of(list(read(str(path), lambda: told(log.position), begin=104))) == b"two\nthree\n"
    assert data_of(list(read(str(path), lambda: told(log.position), begin=108))) == b"three\n"


def test_while_it_is_written(path: Path) -> None:
    """A reader that asks again whenever a file was moved gets everything, in order and once."""
    state = [Position()]

    def keep(position: Position) -> None:
        state[0] = position

    total = 20_000

    def write() -> None:
        log = LogFile(Log(path=str(path), size=1 << 16, files=1000), Position(), keep)
        for start in range(0, total, 50):
            log.append(blocks_of(numbered(range(start, start + 50))))
            if start % 1000 == 0:
                tidy(str(path), 1000, True)
        log.close()

    writer = threading.Thread(target=write)
    writer.start()
    got = bytearray()
    moved = 0
    try:
        while len(got) < 60 * total:
            alive = writer.is_alive()
            try:
                for line in read(str(path), lambda: told(state[0]), begin=len(got)):
                    got += line.data
            except (Moved, FileNotFoundError):
                moved += 1
            assert alive or len(got) >= 60 * total or moved
    finally:
        writer.join()
    assert bytes(got) == numbered(range(total))


def test_one_that_a_listing_has_missed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is being replaced by its compressed form is in no listing for an instant; the next one has it."""
    log = LogFile(Log(path=str(path), size=4096, files=1000), Position(), lambda position: None)
    for start in range(0, 400, 50):
        log.append(blocks_of(numbered(range(start, start + 50))))
    log.close()
    listed: list[int] = []

    def first_without_one(directory: int, name: str, uid: int | None) -> list[str]:
        found = list_aside(directory, name, uid)
        assert len(found) > 2
        listed.append(len(found))
        return found[:1] + found[2:] if len(listed) == 1 else found

    monkeypatch.setattr(reader, "list_aside", first_without_one)
    assert data_of(list(read(str(path), lambda: told(log.position)))) == numbered(range(400))
    assert len(listed) == 3
