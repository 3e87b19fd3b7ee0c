"""System calls that fail, the first and every n-th: the daemon lives, each failure is told, nothing is left of it."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from netdaemon.errors import (
    Denied,
    LaunchFailed,
    LimitReached,
    StdinFull,
)
from netdaemon.process.spool import Spool
from netdaemon.wire.commands import List
from tests.faults.conftest import Trials
from tests.faults.customer import HANG, Job, jobs, workload
from tests.faults.table import INJECTED
from tests.faults.wire import Wire, children, descriptors, eventually
from tests.support import LONG, Figure, RunningDaemon, keeper_pid, running_daemon

REFUSING = Path(__file__).with_name("refusing.py")

NUMBERS = {name: number for number, name in errno.errorcode.items()}


# --- what fails ------------------------------------------------------------------------------------------------------


class Fault:
    """System calls of a running daemon that fail while this is entered.

    :param when: which; as strace has it.
    :param only: a file; calls on others do not fail.
    :ivar made: all these calls, as strace tells of them; known afterwards.
    :ivar failed: those of them that failed.
    """

    def __init__(self, pid: int, trace: Path, calls: str, error: str, when: str, only: Path | None = None) -> None:
        self.made: list[str] = []
        self.failed: list[str] = []
        self._pid = pid
        self._trace = trace
        self._command = ["strace", "-o", str(trace), "-e", "signal=none", "-e", f"trace={calls}"]
        self._command += ["-e", f"inject={calls}:error={error}:when={when}"]
        self._command += ["-P", str(only)] if only else []
        self._tracer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Fault:
        self._tracer = subprocess.Popen([*self._command, "-p", str(self._pid)], stderr=subprocess.PIPE)
        assert self._tracer.stderr is not None
        for line in self._tracer.stderr:
            if line.rstrip().endswith(b"attached"):
                return self
        self._end()
        raise PermissionError("strace cannot attach to a process of ours")

    def __exit__(self, *_: object) -> None:
        self._end()
        self.made = self._trace.read_text(errors="replace").splitlines()
        self.failed = [line for line in self.made if "(INJECTED)" in line]

    def _end(self) -> None:
        """The tracer is told to end, and detaches; the daemon notices nothing."""
        assert self._tracer is not None
        assert self._tracer.stderr is not None
        self._tracer.terminate()
        self._tracer.wait()
        self._tracer.stderr.close()


@dataclass(frozen=True, kw_only=True)
class Case:
    """System calls that fail together.

    :param every: of how many calls one fails, beginning with the first.
    :param refusals: the words with which requests may be refused because of it; their errno is the call's own.
    :param ends: whether a connection may end by it: the failure is the connection's own.
    :param options: the daemon's.
    :param only: a file in the daemon's directory; calls on others do not fail.
    :param terminals: whether there are any; EIO of a terminal is no failure, but says that it was hung up.
    :param last: which call is the last that may fail.
    :param keeper: whether they are the keeper's calls.
    """

    calls: str
    errors: str
    every: int = 5
    refusals: tuple[str, ...] = ()
    ends: bool = False
    options: tuple[str, ...] = ()
    only: str = ""
    terminals: bool = True
    last: int | None = None
    keeper: bool = False

    def __str__(self) -> str:
        whose = "keeper" if self.keeper else ""
        return " ".join(filter(None, (self.calls.replace("?", ""), self.only, *self.options, whose)))

    def faults(self) -> Iterator[tuple[str, str]]:
        """Error and when: the first; every n-th, from one of the first few on; in the long form from each of them."""
        for number, error in enumerate(self.errors.split()):
            if LONG or not number:
                yield error, "1"
            for start in range(1, min(self.every, 8) + 1) if LONG else (1 + number % self.every,):
                yield error, f"{start}..{self.last}+{self.every}" if self.last else f"{start}+{self.every}"


LAUNCH, STDIN, LIMIT = LaunchFailed.code, StdinFull.code, LimitReached.code
STATE = ("--state=state",)
# What a launcher does, a daemon without a keeper does itself.
ALONE = ("--ephemeral",)

CASES = (
    Case(calls="accept4", errors="EMFILE ENFILE ECONNABORTED ENOMEM EINTR EPERM", every=3, ends=True),
    Case(calls="recvfrom", errors="EINTR EAGAIN"),
    Case(calls="recvfrom", errors="ENOMEM", ends=True),
    Case(calls="sendmsg,sendto", errors="EINTR EAGAIN ENOBUFS", every=3, refusals=(STDIN,)),
    Case(calls="sendmsg,sendto", errors="ENOMEM", every=5, ends=True, refusals=(STDIN,)),
    # Two for each connection: every third leaves some of them in peace.
    Case(calls="getsockopt", errors="ENOMEM", every=3, ends=True),
    Case(calls="setsockopt", errors="ENOMEM", every=2, ends=True),
    # A daemon at rest is in this call; a tracer that left it while one fails would have it fail with ENOSYS.
    Case(calls="epoll_wait", errors="EINTR", every=2, last=41),
    Case(calls="splice", errors="EINTR", every=3),
    Case(calls="splice", errors="EAGAIN", every=11),
    Case(calls="splice", errors="ENOMEM ENOSPC EINVAL", every=29),
    Case(calls="splice", errors="EIO", every=11, terminals=False),
    Case(calls="pwrite64", errors="EINTR ENOSPC EIO", every=11, refusals=(LAUNCH, STDIN)),
    Case(calls="memfd_create", errors="EMFILE ENFILE ENOMEM", every=3, refusals=(LAUNCH, STDIN)),
    Case(calls="openat", errors="EINTR EMFILE ENFILE ENOMEM", refusals=(LAUNCH, STDIN, LIMIT)),
    Case(calls="openat", errors="ENOSPC EIO", refusals=(LAUNCH, STDIN, LIMIT), options=STATE),
    Case(calls="unlink", errors="EIO EPERM EROFS", every=2, options=STATE),
    Case(calls="getdents64", errors="ENOMEM EIO", every=2, refusals=(LIMIT,)),
    Case(calls="newfstatat", errors="ENOMEM", every=7, refusals=(LIMIT,)),
    Case(calls="ftruncate", errors="EINTR ENOSPC EIO", every=3, refusals=(LAUNCH,)),
    Case(calls="mmap", errors="ENOMEM", every=3, refusals=(LAUNCH,)),
    Case(calls="pipe2", errors="EMFILE ENFILE", refusals=(LAUNCH,), options=ALONE),
    Case(calls="pipe2", errors="EMFILE ENFILE", refusals=(LAUNCH,)),
    Case(calls="?fork,?vfork,?clone,?clone3", errors="EAGAIN ENOMEM", every=2, refusals=(LAUNCH,), options=ALONE),
    Case(calls="pidfd_open", errors="EMFILE ENFILE ENOMEM", every=2, refusals=(LAUNCH,), options=ALONE),
    Case(calls="pidfd_open", errors="EMFILE ENFILE ENOMEM", every=2, refusals=(LAUNCH,)),
    Case(calls="?waitpid,wait4,waitid", errors="EINTR", every=2, options=ALONE),
    Case(calls="pidfd_send_signal,kill", errors="EPERM", every=3, refusals=(Denied.code,)),
    Case(calls="chdir", errors="EIO EACCES", every=2, refusals=(LAUNCH,), options=ALONE),
    Case(calls="fchdir", errors="EIO EACCES", every=2, options=ALONE),
    Case(calls="ioctl", errors="EIO", every=23, refusals=(LAUNCH,), ends=True),
    Case(calls="fcntl", errors="EMFILE EPERM", every=2, refusals=(LAUNCH,), options=ALONE),
    Case(calls="read", errors="EINTR", every=3),
    Case(calls="write", errors="ENOSPC EIO EINTR", every=3, only="log"),
    Case(calls="recvmsg", errors="EINTR EAGAIN ENOMEM", every=3, keeper=True, refusals=(LAUNCH, STDIN)),
    Case(calls="sendmsg", errors="EINTR EAGAIN ENOBUFS", every=3, keeper=True, refusals=(LAUNCH, STDIN)),
    Case(calls="socketpair", errors="EMFILE ENFILE ENOMEM", every=2, keeper=True, refusals=(LAUNCH,)),
    Case(calls="pipe2", errors="EMFILE ENFILE", every=3, keeper=True, refusals=(LAUNCH,)),
    Case(calls="?fork,?vfork,?clone,?clone3", errors="EAGAIN ENOMEM", every=2, keeper=True, refusals=(LAUNCH,)),
    Case(calls="pidfd_open", errors="EMFILE ENFILE ENOMEM", every=2, keeper=True, refusals=(LAUNCH,)),
    Case(calls="ftruncate", errors="EINTR EIO", every=2, keeper=True, refusals=(LAUNCH,)),
    Case(calls="chdir", errors="EIO EACCES", every=2, keeper=True, refusals=(LAUNCH,)),
    Case(calls="fchdir", errors="EIO EACCES", every=2, keeper=True),
    Case(calls="waitid", errors="EINTR", every=2, keeper=True),
    Case(calls="poll", errors="EINTR ENOMEM", every=2, last=41, keeper=True),
)


# --- what must be so afterwards --------------------------------------------------------------------------------------


class Victim:
    """A daemon in which calls fail, and how it was before."""

    def __init__(self, running: RunningDaemon, work: list[Job]) -> None:
        self.running = running
        self.work = work
        self.pid = running.process.pid
        self.keeper = keeper_pid(running.path) or 0
        self._seen = 0
        # What is needed only once is had.
        self._strictly()
        self._base = self._left()

    def _left(self) -> tuple[int, int, int]:
        """Descriptors of the daemon and of its keeper, and files."""
        place = self.running.log.parent
        files = sum(len(names) for _, _, names in os.walk(place))
        return descriptors(self.pid), descriptors(self.keeper) if self.keeper else 0, files

    def _as_before(self) -> bool:
        return all(now <= before for now, before in zip(self._left(), self._base, strict=True))

    def _strictly(self) -> None:
        """Everything works at the first attempt, and no connection ends."""
        told = workload(self.running, self.work)
        assert not told.refused, told.refused
        assert not told.ended, told.ended
        assert not told.late, "output came after the exit"

    def check(self) -> None:
        """It lives, has nothing left over and nothing to complain of, and works as before."""
        assert self.running.process.poll() is None, "the daemon died"
        assert (keeper_pid(self.running.path) or 0) == self.keeper, "the keeper died"
        self._strictly()
        wire = Wire(self.running.path)
        assert wire.ask(List()).processes == ()
        wire.close()
        eventually(lambda: children(self.pid) == 0, HANG)
        try:
            eventually(self._as_before, HANG)
        except AssertionError:
            raise AssertionError(f"descriptors, the keeper's, files: {self._base} before, {self._left()} now") from None
        text = self.running.log.read_text(errors="replace")
        fresh, self._seen = text[self._seen :], len(text)
        for word in ("Traceback", "Unhandled"):
            place = fresh.find(word)
            if place >= 0:
                raise AssertionError(f"the log has {fresh[fresh.rfind(chr(10), 0, max(0, place - 2)) : place + 3000]}")


class Victims:
    """A daemon for each set of options; one that was harmed is replaced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known = directory / "known"
        self._known.write_bytes(random.Random(2009).randbytes(200_000))
        self._count = itertools.count()
        self._alive: dict[tuple[str, ...], tuple[Victim, ExitStack]] = {}

    def give(self, options: tuple[str, ...]) -> Victim:
        """One that is well."""
        if options not in self._alive:
            place = self._directory / str(next(self._count))
            place.mkdir(mode=0o700)
            with ExitStack() as stack:
                running = stack.enter_context(running_daemon(place, *options))
                self._alive[options] = Victim(running, jobs(self._known)), stack.pop_all()
        return self._alive[options][0]

    def drop(self, options: tuple[str, ...]) -> None:
        """This one is not."""
        self._alive.pop(options)[1].close()

    def close(self) -> None:
        for options in list(self._alive):
            self.drop(options)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """Skips where nobody may be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    directory = tmp_path_factory.mktemp("victims")
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        try:
            with Fault(bystander.pid, directory / "trace", "getpid", "EPERM", "1"):
                pass
        except PermissionError as error:
            pytest.skip(str(error))
        finally:
            bystander.kill()
    victims = Victims(directory)
    yield victims
    victims.close()


# --- the tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_calls_that_fail(victims: Victims, trial: Trials, tmp_path: Path, case: Case) -> None:
    """Clients come to their end by asking again; none is forgotten, and each failure is told as what it is."""
    problems: list[str] = []
    with trial(victims.give(case.options).running, f"{INJECTED}{case} {case.errors.replace(' ', ',')}") as line:
        failed, refused, ended = carried_out(case, victims, tmp_path, problems)
        line.count = failed
        line.outcome = f"{refused} refused, {ended} connections ended, all else done"
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)


def carried_out(case: Case, victims: Victims, tmp_path: Path, problems: list[str]) -> tuple[int, int, int]:
    """How many calls failed, requests were refused, connections ended; what is wrong is added to *problems*."""
    failed, refused, ended = 0, 0, 0
    for error, when in case.faults():
        victim = victims.give(case.options)
        only = victim.running.log.with_name(case.only) if case.only else None
        try:
            work = [job for job in victim.work if case.terminals or job.pty is None]
            with Fault(
                victim.keeper if case.keeper else victim.pid, tmp_path / "trace", case.calls, error, when, only
            ) as fault:
                told = workload(victim.running, work)
            assert fault.failed, "no call was made to fail"
            failed += len(fault.failed)
            refused += told.refused.total()
            ended += told.ended.total()
            for code, number in told.refused:
                assert code in case.refusals, f"refused as {told.refused}"
                assert code == Denied.code or number == NUMBERS[error], f"refused as {told.refused}"
            assert case.ends or not told.ended, f"connections ended: {told.ended}"
            # An empty pipe that is none is what no kernel tells; then the exit may come before the output.
            assert not told.late or error == "EAGAIN", "output came after the exit"
            victim.check()
        except Exception as problem:
            problems.append(f"{case} {error} when={when}: {type(problem).__name__}: {problem}")
            victims.drop(case.options)
    return failed, refused, ended


@pytest.mark.parametrize("every", [2, 3, 5] if LONG else [3])
def test_watching_that_fails(figure: Figure, tmp_path: Path, every: int) -> None:
    """No room in the kernel to watch one more descriptor: what is not watched now is watched in a while."""
    tmp_path.chmod(0o700)
    known, flag = tmp_path / "known", tmp_path / "flag"
    known.write_bytes(random.Random(2009).randbytes(200_000))
    with running_daemon(tmp_path, inside=[sys.executable, str(REFUSING), str(flag), str(every)]) as running:
        victim = Victim(running, jobs(known))
        flag.touch()
        told = workload(running, victim.work)
        failed = flag.stat().st_size
        flag.unlink()
        assert failed, "no call was made to fail"
        assert not told.refused, told.refused
        assert not told.ended, told.ended
        victim.check()
    figure(f"epoll_ctl (add) ENOSPC, every {every}.: failed, refused, ended", f"{failed}, 0, 0", "all else done")


def test_copying_to_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where splice does not work, nothing is taken from the pipe that there is no room for."""

    def no_splice(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "splice does not work here")

    monkeypatch.setattr(os, "splice", no_splice)
    keep, written = 8192, random.Random(2009).randbytes(8192)
    file = os.open(tmp_path / "spool", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.write(writing, written)
    spool = Spool(file, keep)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The last page and some more of the file cannot be written, as on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(file).st_size - 5000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.append_from(reading, 1, keep, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    while spool.end < len(written):
        # Of whichever channel the next readiness is: what was read goes first, as what it is.
        spool.append_from(reading, 2, keep, 2)
    got = b""
    while len(got) < len(written):
        segment = spool.segment(len(got), keep)
        assert segment.channel == 1
        got += bytes(segment.data)
    spool.close()
    os.close(reading)
    os.close(writing)
    assert got == written


def test_a_spool_is_the_same_whichever_write_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Marks and header on the disk, from which a spool is read when the daemon is gone, after each failure in turn."""
    pwrite, count, fails = os.pwrite, 0, 0

    def sometimes(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal count
        count += 1
        if count == fails:
            raise OSError(errno.EIO, "the disk is broken")
        return pwrite(descriptor, data, offset)

    def appended(name: str) -> bytes:
        """The file after 20,000 bytes of both channels through a ring of 8,192, tried again where it failed."""
        file = os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        spool = Spool(file, 8192)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in range(20):
            # A mark is made for the one channel and corrected for the other: the first has nothing after all.
            for channel, data in ((1, b""), (2, bytes([number]) * 1000)):
                os.write(writing, data)
                left = len(data) or 1
                while left:
                    try:
                        left -= spool.append_from(reading, channel, left, number * 20_000)
                    except BlockingIOError:
                        break
                    except OSError:
                        continue
        octets = (tmp_path / name).read_bytes()
        for descriptor in (reading, writing):
            os.close(descriptor)
        spool.close()
        return octets

    expected = appended("expected")
    monkeypatch.setattr(os, "pwrite", sometimes)
    assert appended("counted") == expected
    # The first is the header of an empty spool, without which there is none.
    different = []
    for fails in range(2, count + 1):
        count = 0
        if appended(f"failed-{fails}") != expected:
            different.append(fails)
    assert different == []
