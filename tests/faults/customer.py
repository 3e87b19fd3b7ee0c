"""A client that comes to its end whatever fails: it connects anew, asks again, and compares every byte."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdaemon.errors import (
    AlreadyExited,
    ConversationAborted,
    LimitReached,
    NameTaken,
    NoSuchProcess,
    NotAttached,
    Refusal,
)
from netdaemon.wire.answers import Message, Output, Status
from netdaemon.wire.commands import FOR_EVER, Attach, Data, Detach, Info, Kill, List, Remove, Request, Resize, Start
from netdaemon.wire.records import Pty, Scope
from tests.faults.wire import PATH, Wire
from tests.support import RunningDaemon

# Seconds without a word after which a client takes itself to be forgotten; output that could not be kept waits for one.
HANG = 10.0

# How often is asked again: more than calls can fail in a row where every second one does.
ATTEMPTS = 30

# Seconds until it is asked again: what the kernel lacks for a message to the keeper it may have a little later.
PAUSE = 0.002

# Input is sent in pieces of this size.
PIECE = 25_000


class Lost(Exception):
    """The connection has ended before the answer came."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A process, what is done to it, and what must come of it."""

    argv: tuple[str, ...]
    stdout: bytes = b""
    stderr: bytes = b""
    input: bytes = b""
    code: int | None = 0
    pty: Pty | None = None
    scope: Scope | None = None

    @property
    def channels(self) -> set[int]:
        return {1} if self.pty else {1, 2}


# What a program in a terminal says when it will take its input as it is.
READY = b"ready\n"


def jobs(known: Path) -> list[Job]:
    """Output, an echo, a terminal both ways, and what has to be killed."""
    data = known.read_bytes()
    echo, typed = data[:100_000], data[:30_000]
    shell = ("/bin/sh", "-c")
    return [
        Job(argv=(*shell, f"cat {known}; echo ended >&2; exit 7"), stdout=data, stderr=b"ended\n", code=7),
        Job(argv=("/bin/cat",), stdout=echo, input=echo),
        *(
            Job(
                argv=(*shell, f"stty raw -echo; echo ready; head -c {count}"),
                stdout=READY + typed[:count],
                input=typed[:count],
                pty=Pty(rows=24, columns=80),
            )
            for count in (len(typed), 100)
        ),
        *(Job(argv=("/bin/sleep", "1000"), code=None, scope=scope) for scope in Scope),
    ]


@dataclass
class Got:
    """What has come of a job so far, on whichever connection."""

    begun: bool = False
    end: int = 0
    fed: int = 0
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    closed: set[int] = field(default_factory=set)
    status: Status | None = None
    late: int = 0

    def take(self, message: Message | Refusal) -> None:
        """The next event."""
        if isinstance(message, Status):
            self.status = message
            return
        assert isinstance(message, Output), message
        if not message.payload:
            self.closed.add(message.channel)
            return
        assert message.offset == self.end, "a byte is missing, or came twice, or out of order"
        self.end += len(message.payload)
        self.output[message.channel] += message.payload
        self.late += len(message.payload) if self.status is not None else 0


class Customer:
    """A client that goes on: it connects anew where a connection ends, and asks again where it is refused.

    :ivar refused: how often with which word and number.
    :ivar ended: how often a connection did, and why.
    :ivar late: how many bytes of output came after the exit.
    """

    _names = itertools.count()

    def __init__(self, path: str, *, version: int = 2, packets: bool = False) -> None:
        self.refused: Counter[tuple[str, int]] = Counter()
        self.ended: Counter[str] = Counter()
        self.late = 0
        self._path = path
        self._options: dict[str, Any] = {"version": version, "packets": packets}
        self._wire: Wire | None = None

    def _with(self, act: Callable[[Wire], Any]) -> Any:
        """Do something with the connection, which is made if there is none."""
        try:
            if self._wire is None:
                self._wire = Wire(self._path, **self._options)
                self._wire.sock.settimeout(HANG)
            return act(self._wire)
        except (EOFError, ConnectionError, ConversationAborted) as error:
            self.ended[str(error) if isinstance(error, ConversationAborted) else "closed"] += 1
            self.leave()
            raise Lost from error

    def _persist(self, act: Callable[[], Any]) -> Any:
        """Until no connection ends by it."""
        for _ in range(ATTEMPTS):
            try:
                return act()
            except Lost:
                continue
        raise AssertionError("every connection ends")

    def _ask(self, request: Request, *final: type[Refusal]) -> Any:
        """Until it is not refused, except by one of *final*, which is raised."""
        for _ in range(ATTEMPTS):
            answer = self._with(lambda wire: wire.ask(request))
            if not isinstance(answer, Refusal):
                return answer
            if isinstance(answer, final):
                raise answer
            self.refused[answer.code, answer.errno] += 1
            time.sleep(PAUSE)
        raise AssertionError(f"refused to the end: {request} with {answer!r}")

    def ask(self, request: Request, *final: type[Refusal]) -> Any:
        """Until it is answered and not refused."""
        return self._persist(lambda: self._ask(request, *final))

    def leave(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def work(self, job: Job) -> None:
        """Have it done, and compare what comes of it byte for byte."""
        name, got = f"job-{next(self._names)}", Got()
        self._persist(lambda: self._take_part(job, name, got))
        assert got.output[1] == job.stdout, f"{len(got.output[1])} bytes of {len(job.stdout)}, or others"
        assert got.output[2] == job.stderr
        assert got.status is not None
        assert (got.status.code, got.status.signal) == (job.code, signal.SIGKILL if job.scope else None)
        self.late += got.late
        self._persist(lambda: self._again(job, name))
        try:
            self.ask(Remove(process=name), NoSuchProcess)
        except NoSuchProcess:
            # The answer to the one before was lost with its connection, or it was a refusal that the case must explain.
            assert self.ended or self.refused

    def _again(self, job: Job, name: str) -> None:
        """Attach to what has exited and is still kept, and let go of it."""
        id = self._attach(job, name, Got(begun=True))
        try:
            self._ask(Detach(to=id), NotAttached)
        except NotAttached:
            # The answer to the one before was none that could be taken for it.
            assert self.refused

    def _take_part(self, job: Job, name: str, got: Got) -> None:
        """From wherever it stands to the end of all streams."""
        id = self._attach(job, name, got)
        if job.pty is not None:
            try:
                self._ask(Resize(to=id, rows=50, columns=132), AlreadyExited)
            except AlreadyExited:
                assert self.ended
            self._take(id, got, lambda: len(got.output[1]) >= len(READY))
        while got.fed < len(job.input):
            piece = Data(to=id, at=got.fed, payload=job.input[got.fed : got.fed + PIECE])
            try:
                got.fed += self._ask(piece, AlreadyExited).accepted
            except AlreadyExited:
                # All of it was taken before; the answer was lost with its connection.
                assert self.ended
                break
        if job.scope is not None and got.status is None:
            self._kill(name, job.scope)
        elif job.pty is None:
            self._ask(Data(to=id))
        self._take(id, got, lambda: got.status is not None and got.closed >= job.channels)

    def _kill(self, name: str, scope: Scope) -> None:
        """With this scope if that can be had."""
        for one in (scope, Scope.GROUP):
            try:
                self._ask(Kill(process=name, signal=signal.SIGKILL, scope=one), AlreadyExited, LimitReached)
            except AlreadyExited:
                assert self.ended
            except LimitReached as refusal:
                self.refused[refusal.code, refusal.errno] += 1
                continue
            return
        raise AssertionError("it cannot be killed")

    def _attach(self, job: Job, name: str, got: Got) -> int:
        """To the process, which is started if that has not been."""
        requests: list[Request] = [Attach(process=name, from_=got.end, hold=FOR_EVER)]
        if not got.begun:
            start = Start(argv=job.argv, env=(PATH,), cwd="/", name=name, pty=job.pty, attach=True, hold=FOR_EVER)
            requests.insert(0, start)
        for request in requests:
            for _ in range(ATTEMPTS):
                id = self._with(lambda wire, request=request: wire.post(request))
                answer = self._with(lambda wire, id=id: wire.answer(id))
                if not isinstance(answer, Refusal):
                    got.begun = True
                    return int(id)
                if isinstance(answer, NameTaken):
                    # The answer to the one before was lost with its connection.
                    assert self.ended, answer
                    break
                self.refused[answer.code, answer.errno] += 1
                time.sleep(PAUSE)
        raise AssertionError(f"refused to the end: {request} with {answer!r}")

    def _take(self, id: int, got: Got, enough: Callable[[], bool]) -> None:
        """Read events until it is enough."""
        while not enough():
            got.take(self._with(lambda wire: next(wire.events(id))))


@dataclass
class Told:
    """What clients were told."""

    refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    late: int = 0


def workload(running: RunningDaemon, work: list[Job]) -> Told:
    """All that clients do, in either version; what they were told besides what they wanted."""
    customer, old = Customer(running.path), Customer(running.seqpacket, version=1, packets=True)
    told = Told()
    try:
        for job in work:
            customer.work(job)
            customer.ask(List())
            customer.ask(Info())
        customer.leave()
        customer.ask(List())
        for _ in range(2):
            old.ask(List())
            old.leave()
    finally:
        for one in (customer, old):
            one.leave()
            told.refused += one.refused
            told.ended += one.ended
            told.late += one.late
    return told
