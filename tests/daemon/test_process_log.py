"""A process's log beside its process: what it writes, what it holds back, what it tells when it cannot write."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from netdaemon.daemon.process_log import GROUPED, PIECE, RETRY, TAIL_WAITS, TURN, ProcessLog
from netdaemon.logs.reader import read
from netdaemon.logs.writer import Position
from netdaemon.process.record import Process
from netdaemon.wire.commands import Attach, Start
from netdaemon.wire.specs import Log
from netdaemon.wire.told import Happening
from tests.daemon.support import World, status_of, world
from tests.logs.support import files_of, numbered, output_of, root

KEEP = 64 * 1024


def at_once(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """What a thread does, without one."""
    try:
        return succeed(call(*args))
    except Exception:
        return fail(Failure())


class Logging:
    """A child whose output is logged."""

    def __init__(self, at: World, path: Path, *, keep: int = KEEP, begin: bool = True, **spec: Any) -> None:
        self.world = at
        self.path = path
        self.spec = Log(path=str(path), **spec)
        self.saved: Position | None = None
        self.saves = 0
        self.sizes: list[int] = [0]
        self.told: list[tuple[Happening, str]] = []
        self.client = at.client()
        at.ask(self.client, Start(argv=("program",), keep=keep))
        self.child = at.children[-1]
        self.process: Process = next(iter(at.daemon.service.table))
        self.written = bytearray()
        if begin:
            self.begin()

    def begin(self, in_thread: Callable[..., Deferred[Any]] = at_once) -> None:
        """Log from what was saved on."""
        self.log = ProcessLog(
            self.process,
            self.spec,
            self.world.reactor,
            position=self.saved,
            start=0,
            save=self.save,
            tell=lambda happening, text: self.told.append((happening, text)),
            in_thread=in_thread,
        )

    def save(self, position: Position) -> None:
        self.saved = position
        self.saves += 1
        self.sizes.append(position.size)

    def write(self, data: bytes, channel: int = 1) -> None:
        """As the child does that waits where there is no room for it; until it has written all."""
        left = memoryview(data)
        for _ in range(1000):
            try:
                left = left[self.child.write(left[:PIPE], channel) :]
            except BlockingIOError:
                pass
            if not left:
                break
            self.settle()
        assert not left, f"{len(left)} bytes were not taken"
        self.written += data

    def settle(self) -> None:
        self.world.daemon.settle()

    def advance(self, seconds: float) -> None:
        """Let what has happened be seen, and then so much time pass."""
        self.settle()
        self.world.reactor.advance(seconds)
        self.settle()

    def checked(self) -> None:
        """What the log tells of itself is so."""
        logged = self.log.logged
        status = self.path.stat()
        assert (logged.inode, logged.size) == (status.st_ino, status.st_size)
        assert self.saved == self.log.position
        assert self.saved is not None
        assert logged.offset == self.saved.offset
        assert output_of(self.path) == bytes(self.written[: logged.offset])


# As much as a pipe holds.
PIPE = 64 * 1024


@pytest.fixture
def at() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_lines_are_written(at: World, path: Path) -> None:
    """Both channels, within the time for which output is grouped; and it is no client."""
    logging = Logging(at, path)
    logging.write(b"out\n")
    logging.settle()
    logging.write(b"err\n", 2)
    logging.settle()
    assert logging.log.behind
    logging.advance(GROUPED)
    assert not logging.log.behind
    logging.checked()
    kinds = [line.split(b" ", 3)[1:] for line in path.read_bytes().splitlines()]
    assert kinds == [[b"stdout", b"F", b"out"], [b"stderr", b"F", b"err"]]
    assert logging.told == []
    logging.log.close()


def test_slow_lines_cost_few_saves(at: World, path: Path) -> None:
    """A thousand lines within a second: as many saves as groups."""
    logging = Logging(at, path)
    for number in range(1000):
        logging.write(numbered([number]))
        logging.advance(0.001)
    logging.advance(GROUPED)
    logging.checked()
    assert output_of(path) == numbered(range(1000))
    assert logging.saves <= 1 / GROUPED + 3
    logging.log.close()


def test_a_tail_waits_for_its_rest(at: World, path: Path) -> None:
    """A second, and no longer, however much time there was between its parts."""
    logging = Logging(at, path)
    logging.write(b"be")
    logging.advance(TAIL_WAITS / 2)
    logging.write(b"gin")
    logging.advance(TAIL_WAITS / 2 - 0.01)
    assert output_of(path) == b""
    logging.write(b"ning\nend")
    logging.advance(0.1)
    assert output_of(path) == b"beginning\n"
    assert path.read_bytes().count(b"\n") == 1
    logging.advance(TAIL_WAITS)
    assert output_of(path) == b"beginning\nend"
    assert path.read_bytes().endswith(b" P end\n")
    logging.write(b"ing\n")
    logging.advance(GROUPED)
    logging.checked()
    logging.log.close()


def test_a_tail_that_grows_does_not_wait_for_ever(at: World, path: Path) -> None:
    logging = Logging(at, path)
    for _ in range(12):
        logging.write(b".")
        logging.advance(0.1)
    assert len(output_of(path)) > 5
    logging.log.close()


def test_the_end_of_a_generation(at: World, path: Path) -> None:
    """Its last words are written, newline or not, though nobody waits a second."""
    logging = Logging(at, path)
    logging.write(b"one\nlast")
    logging.child.exit(0)
    logging.settle()
    for _ in range(5):
        logging.advance(GROUPED)
    assert not logging.log.behind
    logging.checked()
    assert logging.log.logged.offset == 8
    logging.log.close()


def test_finish(at: World, path: Path) -> None:
    """Everything, before it returns."""
    logging = Logging(at, path, keep=4 << 20)
    logging.write(numbered(range(20_000)) + b"tail")
    logging.settle()
    assert logging.log.finish()
    assert not logging.log.behind
    logging.checked()
    assert logging.log.logged.offset == 1_200_004
    logging.log.close()


def test_one_turn_is_bounded(at: World, path: Path) -> None:
    """Of much that waits, so much is written in one turn of the loop, whatever its lines are like."""
    logging = Logging(at, path, keep=8 << 20, begin=False, size=1 << 30)
    logging.write(b"\n" * (1 << 20) + b"x" * (4 << 20))
    logging.settle()
    logging.begin()
    # Each turn saves once.
    logging.settle()
    most = max(after - before for before, after in pairwise(logging.sizes))
    assert most <= TURN + PIECE * (1 + len("2026-01-02T03:04:05.123456000Z stdout F "))
    assert logging.saves > 40
    logging.log.finish()
    logging.checked()
    logging.log.close()


@pytest.mark.parametrize("keep", [4096, KEEP])
@pytest.mark.parametrize("line", [b"x" * 59 + b"\n", b"x" * 1000])
def test_a_flood_is_held_back(at: World, path: Path, keep: int, line: bytes) -> None:
    """A process whose spool is far smaller than what it writes loses nothing, and is never stuck."""
    logging = Logging(at, path, keep=keep, size=100_000, files=1000)
    logging.write(line * (1_000_000 // len(line)))
    logging.advance(GROUPED)
    logging.advance(TAIL_WAITS)
    assert logging.log.logged.offset == len(logging.written)
    assert logging.log.logged.lost == 0
    logging.checked()
    aside = files_of(path)[:-1]
    assert len(aside) > 9
    assert all(one.suffix == ".gz" for one in aside)
    assert logging.told == []
    logging.log.close()


def test_channels_that_alternate(at: World, path: Path) -> None:
    """Where the spool is full of marks rather than of bytes, nobody waits for more."""
    logging = Logging(at, path, keep=4096)
    for number in range(2000):
        logging.write(b"o" if number % 2 else b"e", 1 + number % 2)
        logging.settle()
    assert at.reactor.seconds() == 0
    logging.advance(GROUPED)
    logging.advance(TAIL_WAITS)
    logging.checked()
    assert logging.log.logged.offset == 2000
    logging.log.close()


def test_goes_on_where_the_last_was(at: World, path: Path) -> None:
    """Also with a line that had begun; and what was written and not saved is written again."""
    logging = Logging(at, path)
    logging.write(b"one\ntw")
    logging.advance(GROUPED)
    before = logging.saved
    logging.write(b"o\nthree\n")
    logging.advance(GROUPED)
    logging.log.close()
    logging.saved = before
    logging.begin()
    logging.advance(GROUPED)
    logging.checked()
    assert path.read_bytes().count(b"\n") == 3
    logging.log.close()


def test_begins_where_it_is_told(at: World, path: Path) -> None:
    """A log that a process gets later has nothing of what was before."""
    logging = Logging(at, path, begin=False)
    logging.write(b"one\ntwo\n")
    logging.settle()
    logging.saved = Position(offset=4)
    logging.begin()
    logging.advance(GROUPED)
    assert output_of(path) == b"two\n"
    logging.log.close()


def test_what_is_not_kept_any_more(at: World, path: Path) -> None:
    """It is counted and told."""
    logging = Logging(at, path, keep=4096, begin=False)
    logging.write(numbered(range(1000)))
    logging.settle()
    logging.begin()
    logging.advance(0)
    lost = 60_000 - 4096
    assert logging.log.logged.lost == lost
    assert logging.told == [(Happening.LOG_RECOVERED, f"{lost} bytes lost")]
    assert output_of(path) == bytes(logging.written[lost:])
    logging.log.close()


def test_reopen(at: World, path: Path) -> None:
    """Somebody's logrotate has moved the file."""
    logging = Logging(at, path)
    logging.write(b"one\n")
    logging.advance(GROUPED)
    path.rename(path.with_name("moved"))
    logging.write(b"two\n")
    logging.settle()
    logging.log.reopen()
    logging.advance(GROUPED)
    assert output_of(path.with_name("moved")) == b"one\n"
    assert output_of(path) == b"two\n"
    logging.log.close()


def test_compressing_does_not_stop_it(at: World, path: Path) -> None:
    """A thread that is slow is waited for, not one more is begun; what was set aside meanwhile is done afterwards."""
    logging = Logging(at, path, size=4096, files=3, begin=False)
    waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def slow(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        waiting.append((done, lambda: call(*args)))
        return done

    logging.begin(slow)
    logging.write(numbered(range(3000)))
    logging.advance(GROUPED)
    assert len(waiting) == 1
    assert len(files_of(path)) > 50
    done, call = waiting.pop()
    done.callback(call())
    logging.advance(GROUPED)
    done, call = waiting.pop()
    done.errback(OSError(errno.ENOSPC, "full"))
    logging.write(numbered(range(3000, 3100)))
    logging.advance(GROUPED)
    done, call = waiting.pop()
    done.callback(call())
    assert len(files_of(path)) == 4
    assert numbered(range(3100)).endswith(output_of(path))
    logging.log.close()


# --- where nothing can be written ------------------------------------------------------------------------------------


class Disk:
    """What fails, as errno; 0: nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, inode_of: Path) -> None:
        self.number = 0
        real = os.pwrite

        def pwrite(descriptor: int, octets: bytes, offset: int) -> int:
            if self.number and os.readlink(f"/proc/self/fd/{descriptor}") == str(inode_of):
                raise OSError(self.number, os.strerror(self.number))
            return real(descriptor, octets, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, path: Path) -> Disk:
    return Disk(monkeypatch, path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_log_that_may_fail(at: World, path: Path, disk: Disk, number: int) -> None:
    """The process goes on; what is lost is counted; the failure is told once, its end as well; then it holds again."""
    logging = Logging(at, path)
    logging.write(b"before\n")
    logging.advance(GROUPED)
    disk.number = number
    logging.write(numbered(range(10_000)))
    for _ in range(5):
        logging.advance(RETRY)
    why = f"{path}: {os.strerror(number)}"
    assert logging.told == [(Happening.LOG_FAILED, why)]
    assert logging.log.logged.error == why
    assert not logging.log.behind
    lost = logging.process.spool.begin - 7
    assert logging.log.logged.lost == lost
    assert lost > 500_000
    disk.number = 0
    logging.advance(RETRY)
    logging.advance(GROUPED)
    assert logging.told[1:] == [(Happening.LOG_RECOVERED, f"{lost} bytes lost")]
    assert logging.log.logged.error is None
    logging.write(numbered(range(10_000, 20_000)))
    logging.advance(GROUPED)
    assert logging.log.logged.lost == lost
    assert logging.log.logged.offset == len(logging.written)
    assert output_of(path) == b"before\n" + bytes(logging.written[7 + lost :])
    assert len(logging.told) == 2
    logging.log.close()


def test_a_log_that_is_required(at: World, path: Path, disk: Disk) -> None:
    """The process waits, nothing is lost, and it goes on without anybody's doing."""
    logging = Logging(at, path, required=True)
    disk.number = errno.ENOSPC
    output = numbered(range(40_000))
    left = memoryview(output)
    for _ in range(100):
        try:
            left = left[logging.child.write(left[:PIPE]) :]
        except BlockingIOError:
            pass
        logging.advance(RETRY)
    assert len(left) > 1_000_000
    assert logging.log.behind
    assert logging.told == [(Happening.LOG_FAILED, f"{path}: No space left on device")]
    disk.number = 0
    logging.advance(RETRY)
    logging.written += output[: -len(left)]
    logging.write(bytes(left))
    logging.advance(GROUPED)
    assert logging.log.logged.lost == 0
    assert output_of(path) == output
    assert logging.told[1:] == [(Happening.LOG_RECOVERED, "0 bytes lost")]
    logging.log.close()


def test_a_path_that_may_not_be_one(at: World, path: Path) -> None:
    """It fails like anything else, and recovers when the path is free."""
    os.mkfifo(path)
    logging = Logging(at, path)
    logging.write(b"one\n")
    logging.advance(GROUPED)
    ((happening, why),) = logging.told
    assert happening is Happening.LOG_FAILED
    assert "is a FIFO" in why
    path.unlink()
    logging.log.reopen()
    logging.settle()
    assert logging.told[1:] == [(Happening.LOG_RECOVERED, "0 bytes lost")]
    assert output_of(path) == b"one\n"
    os.rename(path, path.with_name("moved"))
    path.mkdir()
    logging.log.reopen()
    logging.settle()
    assert [happening for happening, _ in logging.told[2:]] == [Happening.LOG_FAILED]
    assert logging.saved is not None
    assert logging.saved.inode != 0
    # There is no file to be read at the moment.
    logged = logging.log.logged
    assert (logged.offset, logged.inode, logged.size) == (4, 0, 0)
    logging.log.close()


def test_close_while_it_fails(at: World, path: Path, disk: Disk) -> None:
    """Nothing stays scheduled, and the process is free."""
    logging = Logging(at, path, required=True)
    disk.number = errno.ENOSPC
    logging.write(b"one\n")
    logging.advance(GROUPED)
    assert not logging.log.finish()
    logging.log.close()
    assert logging.process.spool.holders == ()
    logging.write(numbered(range(10_000)))


def test_last_words_on_a_full_disk(at: World, path: Path, disk: Disk) -> None:
    """A tail at the end of a generation is written as such though it had to be read twice."""
    logging = Logging(at, path)
    disk.number = errno.ENOSPC
    logging.write(b"last")
    logging.child.exit(0)
    logging.settle()
    logging.advance(GROUPED)
    disk.number = 0
    logging.advance(RETRY)
    assert path.read_bytes().endswith(b" P last\n")
    logging.log.close()


def test_a_client_is_not_disturbed(at: World, path: Path, disk: Disk) -> None:
    """One that reads gets everything while the log cannot."""
    logging = Logging(at, path)
    id, _ = at.ask(logging.client, Attach(process=logging.process.id))
    disk.number = errno.ENOSPC
    logging.write(numbered(range(100)))
    logging.advance(GROUPED)
    logging.child.exit(0)
    logging.advance(1)
    status = status_of(logging.client, id)
    assert status is not None
    assert status.end == 6000
    logging.log.close()


# --- a real disk that is full ----------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of eight megabytes."""
    if not root():
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    if _libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=8m,mode=755"):
        pytest.skip(f"a small file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield place
    finally:
        _libc.umount2(os.fsencode(place), 2)


@pytest.mark.parametrize("required", [False, True])
def test_a_disk_that_is_really_full(at: World, small: Path, required: bool) -> None:
    """Filled up, and made free: whole lines at every time, and nothing is missing that is not counted."""
    path = small / "log"
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * (8 * 1024 - 128) * 1024)
    logging = Logging(at, path, required=required, size=1 << 30)
    output = numbered(range(40_000))
    left = memoryview(output)
    for _ in range(50):
        try:
            left = left[logging.child.write(left[:PIPE]) :]
        except BlockingIOError:
            pass
        logging.advance(0.1)
    assert [happening for happening, _ in logging.told] == [Happening.LOG_FAILED]
    assert bool(left) == required
    held = output_of(path)
    assert len(held) > 50_000
    assert held.startswith(output[:50_000])
    assert output.startswith(held) or not required
    ballast.unlink()
    logging.advance(RETRY)
    logging.written += output[: len(output) - len(left)]
    logging.write(bytes(left))
    logging.advance(GROUPED)
    lost = logging.log.logged.lost
    assert logging.told[1:] == [(Happening.LOG_RECOVERED, f"{lost} bytes lost")]
    assert (lost == 0) == required
    text = output_of(path)
    assert len(text) == len(output) - lost
    assert text.startswith(held)
    assert text.endswith(output[-KEEP:])
    logging.log.close()


# --- speed -----------------------------------------------------------------------------------------------------------


def test_the_loop_turns_while_much_is_logged(at: World, path: Path) -> None:
    """50 MB, with compression in a real thread: no turn of the loop is long."""
    logging = Logging(at, path, keep=1 << 20, size=8 << 20, begin=False)
    threads: list[threading.Thread] = []

    def in_thread(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def run() -> None:
            call(*args)
            finished.append(done)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return done

    finished: list[Deferred[Any]] = []
    logging.begin(in_thread)
    output = memoryview(numbered(range(500_000), 100))
    turns: list[float] = []
    sent = 0
    while logging.log.logged.offset < len(output):
        try:
            sent += logging.child.write(output[sent : sent + PIPE])
        except BlockingIOError:
            pass
        # Of this thread alone: how busy the machine is is no matter of ours.
        start = time.thread_time()
        at.reactor.turn()
        turns.append(time.thread_time() - start)
        while finished:
            finished.pop().callback(None)
        if sent == len(output):
            at.reactor.advance(GROUPED)
    for thread in threads:
        thread.join()
    turns.sort()
    assert turns[len(turns) * 99 // 100] < 0.05
    assert logging.log.logged.lost == 0
    text = b"".join(line.data for line in read(str(path), lambda: logging.log.logged))
    assert bytes(output).endswith(text)
    assert len(text) > 4_000_000
    logging.log.close()
