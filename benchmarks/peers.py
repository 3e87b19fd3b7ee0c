"""The same jobs without a daemon that keeps anything: servers on stock Twisted and AMP, their clients, subprocesses."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import react
from twisted.protocols import amp
from zope.interface import implementer

from benchmarks.clients import keep_in_flight, later
from benchmarks.place import WARM, carry_out

reactor: Any = installed

# --- servers ---------------------------------------------------------------------------------------------------------


@implementer(IPushProducer)
class Forward(ProcessProtocol):
    """A child's output to a client as stock Twisted does it, held back when the client is slow."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def connectionMade(self) -> None:
        self.client.registerProducer(self, True)

    def outReceived(self, data: bytes) -> None:
        self.client.write(data)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        try:
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]
        except ProcessExitedAlready:
            pass

    def processEnded(self, reason: Any) -> None:
        self.client.unregisterProducer()
        self.client.loseConnection()


class Stock(Protocol):
    """Whoever connects and sends a line with a command gets its output; what follows is the child's input."""

    process: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self.process is not None:
            self.process.write(data)
            return
        argv = data.rstrip(b"\n").split(b"\0")
        self.process = reactor.spawnProcess(Forward(self.transport), argv[0], argv)
        self.transport.write(b"\n")  # type: ignore[union-attr]


WHOM: list[tuple[bytes, amp.Argument]] = [(b"process", amp.Unicode())]
WHOM_WHAT = [(b"process", amp.Unicode()), (b"signal", amp.Integer()), (b"scope", amp.Unicode())]
NOTHING: list[tuple[bytes, amp.Argument]] = []
RECORD = [
    (b"id", amp.Unicode()),
    (b"labels", amp.ListOf(amp.Unicode())),
    (b"state", amp.Unicode()),
    (b"generation", amp.Integer()),
    (b"argv", amp.ListOf(amp.Unicode())),
    (b"cwd", amp.Unicode()),
    (b"merge", amp.Boolean()),
    (b"owner", amp.Unicode()),
    (b"pid", amp.Integer()),
    (b"created", amp.Integer()),
    (b"started", amp.Integer()),
    (b"begin", amp.Integer()),
    (b"end", amp.Integer()),
    (b"stdin_end", amp.Integer()),
    (b"eof", amp.ListOf(amp.Integer())),
    (b"attached", amp.Integer()),
    (b"keep", amp.Integer()),
]


class Signal(amp.Command):
    """What KILL says: whom, which signal, how far."""

    arguments = WHOM_WHAT
    response = NOTHING


class Describe(amp.Command):
    """What INSPECT asks and tells."""

    arguments = WHOM
    response = RECORD


class Signaller(amp.AMP):
    """Signals children and describes them, by AMP."""

    table: dict[str, tuple[int, int]]

    @Signal.responder
    def signal(self, process: str, signal: int, scope: str) -> dict[str, Any]:
        os_signal(self.table[process][1], signal)
        return {}

    @Describe.responder
    def describe(self, process: str) -> dict[str, Any]:
        return {
            "id": process,
            "labels": [],
            "state": "running",
            "generation": 1,
            "argv": ["/tmp/programs", "idle"],
            "cwd": "/",
            "merge": False,
            "owner": "uid:0",
            "pid": self.table[process][0],
            "created": 1_700_000_000_000_000,
            "started": 1_700_000_000_000_000,
            "begin": 0,
            "end": 0,
            "stdin_end": 0,
            "eof": [],
            "attached": 0,
            "keep": 1 << 20,
        }


os_signal = signal.pidfd_send_signal


def serve_stock(path: str, program: list[str]) -> None:
    reactor.listenUNIX(path, Factory.forProtocol(Stock))


def serve_amp(path: str, program: list[str]) -> None:
    child = subprocess.Popen([*program, "idle"])
    reactor.addSystemEventTrigger("after", "shutdown", child.kill)
    Signaller.table = {"vfkgmrtwxz": (child.pid, os.pidfd_open(child.pid))}
    reactor.listenUNIX(path, Factory.forProtocol(Signaller))


SERVERS: dict[str, Callable[[str, list[str]], None]] = {"stock": serve_stock, "amp": serve_amp}


# --- clients ---------------------------------------------------------------------------------------------------------


def stock_follow(path: str, argv: list[str], seconds: float) -> dict[str, float]:
    """Bytes per second of a child that writes for ever, through the stock server."""
    rate = 0.0

    class Count(Protocol):
        count = 0

        def dataReceived(self, data: bytes) -> None:
            self.count += len(data)

    async def main(reactor: Any) -> None:
        nonlocal rate
        client = await connectProtocol(UNIXClientEndpoint(reactor, path), Count())
        client.transport.write("\0".join(argv).encode() + b"\n")
        await later(reactor, WARM)
        before, begun = client.count, time.monotonic()
        await later(reactor, seconds)
        rate = (client.count - before) / (time.monotonic() - begun)

    _react(main)
    return {"rate": rate}


def amp_requests(path: str, kind: str, in_flight: int, count: int) -> dict[str, float]:
    """Requests per second on one AMP connection."""
    result: dict[str, float] = {}

    async def main(reactor: Any) -> None:
        client = await connectProtocol(UNIXClientEndpoint(reactor, path), amp.AMP())
        call = {
            "kill": lambda: client.callRemote(Signal, process="vfkgmrtwxz", signal=0, scope="process"),
            "inspect": lambda: client.callRemote(Describe, process="vfkgmrtwxz"),
        }[kind]
        result.update(await keep_in_flight(call, in_flight, count))

    _react(main)
    return result


def run_blocking(argv: list[str], count: int, captured: bool) -> dict[str, float]:
    """`subprocess.run`, one after another."""
    begun = time.perf_counter()
    for _ in range(count):
        subprocess.run(argv, capture_output=captured)
    return {"rate": count / (time.perf_counter() - begun)}


def popen(argv: list[str], in_flight: int, count: int) -> dict[str, float]:
    """`subprocess.Popen` with three pipes, *in_flight* at any time, the oldest waited for."""
    alive: list[subprocess.Popen[bytes]] = []
    begun = time.perf_counter()
    for _ in range(count):
        alive.append(subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1))
        if len(alive) >= in_flight:
            alive.pop(0).communicate()
    for one in alive:
        one.communicate()
    return {"rate": count / (time.perf_counter() - begun)}


def stock_spawn(argv: list[str], in_flight: int, count: int) -> dict[str, float]:
    """`reactor.spawnProcess` until `processEnded`."""
    result: dict[str, float] = {}

    class Ended(ProcessProtocol):
        def __init__(self, done: Deferred[None]) -> None:
            self.done = done

        def processEnded(self, reason: Any) -> None:
            self.done.callback(None)

    async def main(reactor: Any) -> None:
        def start() -> Deferred[None]:
            done: Deferred[None] = Deferred()
            reactor.spawnProcess(Ended(done), argv[0], argv)
            return done

        result.update(await keep_in_flight(start, in_flight, count))

    _react(main)
    return result


def pipe_cat(argv: list[str], count: int) -> dict[str, float]:
    """Lines per second of ``child | cat``, until both have ended."""
    begun = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        subprocess.run(["cat"], stdin=child.stdout, stdout=subprocess.DEVNULL)
    return {"rate": count / (time.perf_counter() - begun)}


def pipe_echo(argv: list[str], count: int, size: int) -> dict[str, float]:
    """Microseconds from a small write to a child's pipe until it has sent it back by another."""
    times = []
    payload = b"x" * size
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        to, from_ = child.stdin.fileno(), child.stdout.fileno()
        for _ in range(count):
            begun = time.perf_counter()
            os.write(to, payload)
            missing = size
            while missing:
                missing -= len(os.read(from_, size))
            times.append(time.perf_counter() - begun)
        child.kill()
    return {"microseconds": statistics.median(times) * 1e6}


def own_echo(argv: list[str], count: int, size: int) -> dict[str, float]:
    """The same to a child of this process's own, by `reactor.spawnProcess`: no socket, no daemon."""
    times: list[float] = []

    class Echo(ProcessProtocol):
        missing = 0
        waiting: Deferred[None]

        def outReceived(self, data: bytes) -> None:
            self.missing -= len(data)
            if not self.missing:
                self.waiting.callback(None)

    async def main(reactor: Any) -> None:
        client = Echo()
        process = reactor.spawnProcess(client, argv[0], argv)
        payload = b"x" * size
        for _ in range(count):
            client.waiting, client.missing = Deferred(), size
            begun = time.perf_counter()
            process.write(payload)
            await client.waiting
            times.append(time.perf_counter() - begun)
        process.signalProcess("KILL")

    _react(main)
    return {"microseconds": statistics.median(times) * 1e6}


def stock_echo(path: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """The same through the stock server."""
    times: list[float] = []

    class Echo(Protocol):
        missing = 1
        waiting: Deferred[None]

        def dataReceived(self, data: bytes) -> None:
            self.missing -= len(data)
            if not self.missing:
                self.waiting.callback(None)

    async def main(reactor: Any) -> None:
        client = await connectProtocol(UNIXClientEndpoint(reactor, path), Echo())
        transport: Any = client.transport
        client.waiting = Deferred()
        transport.write("\0".join(argv).encode() + b"\n")
        await client.waiting
        payload = b"x" * size
        for _ in range(count):
            client.waiting, client.missing = Deferred(), size
            begun = time.perf_counter()
            transport.write(payload)
            await client.waiting
            times.append(time.perf_counter() - begun)

    _react(main)
    return {"microseconds": statistics.median(times) * 1e6}


def _react(main: Callable[[Any], Any]) -> None:
    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:
        if end.code:
            raise


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "stock_follow": stock_follow,
    "own_echo": own_echo,
    "stock_echo": stock_echo,
    "stock_spawn": stock_spawn,
    "amp_requests": amp_requests,
    "run_blocking": run_blocking,
    "popen": popen,
    "pipe_cat": pipe_cat,
    "pipe_echo": pipe_echo,
}


def main() -> None:
    if sys.argv[1] not in SERVERS:
        carry_out(TASKS)
        return
    name, path, *program = sys.argv[1:]
    SERVERS[name](path, program)
    reactor.run()


if __name__ == "__main__":
    main()
