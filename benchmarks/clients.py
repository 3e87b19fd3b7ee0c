"""Clients of netdaemon that measure; each task runs in a process of its own."""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.harness import carry_out
from netdaemon import Client, RemoteProcess, blocking, connect
from netdaemon.client.output import Listener
from netdaemon.errors import Refusal
from netdaemon.wire.answers import Output, Status
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Attach, Hello, Kill, List, Request, Start
from netdaemon.wire.records import ProcessRecord, Scope

# What the sink reads at a time; more would not stay in the processor's cache.
RECEIVE = 256 * 1024

# Seconds of a flow that are not counted: pipes grow and caches fill.
WARM = 0.25

Work = Callable[[Any, Client], Coroutine[Any, Any, dict[str, float]]]


def measured(path: str, work: Work) -> dict[str, float]:
    """What *work* returns, given the reactor and a client."""
    result: dict[str, float] = {}

    async def main(reactor: Any) -> None:
        result.update(await work(reactor, await connect(reactor, f"unix:{path}")))

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    return result


def later(reactor: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


# --- output ----------------------------------------------------------------------------------------------------------


class Counter(Listener):
    """Counts what comes, and says when as much has come as was waited for, or the process has exited."""

    def __init__(self) -> None:
        self.count = 0
        self.wanted = -1
        self.come: Deferred[None] = Deferred()

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        self.count += len(data)
        if self.count == self.wanted:
            self.come.callback(None)


def follow(path: str, argv: list[str], seconds: float) -> dict[str, float]:
    """Bytes per second of a child that writes for ever, to a listener of the Deferred client."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        counter = Counter()
        process = await client.start(argv, hold=-1)
        process.listen(counter)
        await later(reactor, WARM)
        before, begun = counter.count, time.monotonic()
        await later(reactor, seconds)
        rate = (counter.count - before) / (time.monotonic() - begun)
        await process.kill("KILL")
        return {"rate": rate}

    return measured(path, work)


def follow_blocking(path: str, argv: list[str], seconds: float) -> dict[str, float]:
    """The same to the blocking client."""
    with blocking.connect(path) as client, client.start(argv, hold=-1) as process:
        begin = time.monotonic() + WARM
        count = 0
        for event in process:
            now = time.monotonic()
            if now >= begin + seconds:
                break
            if now >= begin and isinstance(event, Output):
                count += len(event.payload)
        process.kill(9)
        return {"rate": count / seconds}


class Line:
    """A conversation on a blocking socket, for what is not measured, and for the sink that reads past the wire."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.connection = ClientConnection()
        self.buffer = memoryview(bytearray(RECEIVE))
        self.socket.sendall(self.connection.hello(Hello(client="benchmarks")))
        self.next()

    def next(self) -> tuple[int, Any]:
        """The next message."""
        while True:
            message = self.connection.next_message()
            if message is not None:
                return message
            got = self.socket.recv_into(self.buffer)
            if not got:
                raise ConnectionError("the daemon has closed the connection")
            self.connection.receive(self.buffer[:got])

    def call(self, request: Request) -> Any:
        """The reply to *request*; events before it are thrown away."""
        id, octets = self.connection.request(request)
        self.socket.sendall(octets)
        while True:
            answered, message = self.next()
            if answered == id and not isinstance(message, Output | Status):
                if isinstance(message, Refusal):
                    raise message
                return message


def drain(path: str, argv: list[str], seconds: float, clients: int = 1) -> dict[str, float]:
    """Bytes per second of a child that writes for ever, to sinks that do not look at what they receive; in total."""
    control = Line(path)
    process = control.call(Start(argv=tuple(argv), attach=True, hold=-1)).process.id
    lines = [control]
    for _ in range(clients - 1):
        line = Line(path)
        line.socket.sendall(line.connection.request(Attach(process=process, hold=-1, from_=-1))[1])
        lines.append(line)
    poll = select.epoll()
    sockets = {line.socket.fileno(): line.socket for line in lines}
    for number in sockets:
        poll.register(number, select.EPOLLIN)
    buffer = control.buffer
    begin = time.monotonic() + WARM
    count = 0
    now = 0.0
    while now < begin + seconds:
        for number, _ in poll.poll():
            got = sockets[number].recv_into(buffer)
            if now >= begin:
                count += got
        now = time.monotonic()
    other = Line(path)
    other.call(Kill(process=process, signal=9))
    for line in lines:
        line.socket.close()
    return {"rate": count / seconds}


def lines(path: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Lines per second of a child that writes *count* and ends, *size* bytes in all, until its end is known."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        counter = Counter()
        begun = time.monotonic()
        process = await client.start(argv, hold=-1)
        process.listen(counter)
        await process.when_exited()
        elapsed = time.monotonic() - begun
        if counter.count != size:
            raise ValueError(f"{counter.count} bytes came of {size}")
        return {"rate": count / elapsed}

    return measured(path, work)


# --- input -----------------------------------------------------------------------------------------------------------


def feed(path: str, argv: list[str], seconds: float) -> dict[str, float]:
    """Bytes per second that a child takes from its stdin, written by the Deferred client."""
    block = bytes(1 << 20)

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        process = await client.start(argv)
        begin = time.monotonic() + WARM
        now = before = 0.0
        written = process.write(block)
        while now < begin + seconds:
            following = process.write(block)
            safe = await written
            written = following
            now = time.monotonic()
            if now < begin:
                before, started = safe, now
        rate = (safe - before) / (now - started)
        await process.kill("KILL")
        written.addErrback(lambda _: None)
        return {"rate": rate}

    return measured(path, work)


def feed_blocking(path: str, argv: list[str], seconds: float) -> dict[str, float]:
    """The same by the blocking client."""
    block = bytes(1 << 20)
    with blocking.connect(path) as client, client.start(argv) as process:
        begin = time.monotonic() + WARM
        now = 0.0
        count = 0
        while now < begin + seconds:
            process.write(block)
            now = time.monotonic()
            if now >= begin:
                count += len(block)
        elapsed = now - begin
        process.kill(9)
        return {"rate": count / elapsed}


def echo(path: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Microseconds from a small write until a child has sent it back."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        counter = Counter()
        process = await client.start(argv, hold=-1)
        process.listen(counter)
        times = []
        payload = b"x" * size
        for _ in range(count):
            counter.come, counter.wanted = Deferred(), counter.count + size
            begun = time.perf_counter()
            taken = process.write(payload)
            await counter.come
            times.append(time.perf_counter() - begun)
            await taken
        await process.kill("KILL")
        return {"microseconds": statistics.median(times) * 1e6}

    return measured(path, work)


# --- requests --------------------------------------------------------------------------------------------------------


def requests(path: str, kind: str, process: str, in_flight: int, count: int) -> dict[str, float]:
    """Requests per second on one connection, *in_flight* of them at any time."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        calls: dict[str, Callable[[], Deferred[Any]]] = {
            "kill": lambda: client.kill(process, 0, scope=Scope.PROCESS),
            "inspect": lambda: client.inspect(process),
        }
        return await keep_in_flight(calls[kind], in_flight, count)

    return measured(path, work)


async def keep_in_flight(call: Callable[[], Deferred[Any]], in_flight: int, count: int) -> dict[str, float]:
    """Calls per second, with *in_flight* of them under way until *count* have been answered."""
    done: Deferred[None] = Deferred()
    left = count
    to_send = count - in_flight

    def answered(_: Any) -> None:
        nonlocal left, to_send
        left -= 1
        if to_send > 0:
            to_send -= 1
            call().addCallbacks(answered, done.errback)
        elif not left:
            done.callback(None)

    begun = time.perf_counter()
    for _ in range(in_flight):
        call().addCallbacks(answered, done.errback)
    await done
    return {"rate": count / (time.perf_counter() - begun)}


def latency(path: str, process: str, count: int) -> dict[str, float]:
    """Microseconds of one request after another: the median and the 99th of a hundred."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await client.kill(process, 0, scope=Scope.PROCESS)
            times.append(time.perf_counter() - begun)
        times.sort()
        return {"median": times[count // 2] * 1e6, "p99": times[int(count * 0.99)] * 1e6}

    return measured(path, work)


# --- starts ----------------------------------------------------------------------------------------------------------


def spawn(path: str, argv: list[str], in_flight: int, count: int) -> dict[str, float]:
    """Starts per second, each from `start` until its exit is known, *in_flight* at any time."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        return await keep_in_flight(lambda: client.start(argv).addCallback(_exited), in_flight, count)

    return measured(path, work)


def spawn_blocking(path: str, argv: list[str], count: int) -> dict[str, float]:
    """The same with the blocking client, one after another."""
    with blocking.connect(path) as client:
        begun = time.perf_counter()
        for _ in range(count):
            process = client.start(argv)
            process.wait()
            process.detach()
        return {"rate": count / (time.perf_counter() - begun)}


def _exited(process: RemoteProcess) -> Deferred[ProcessRecord]:
    return process.when_exited()


# --- crowds ----------------------------------------------------------------------------------------------------------


def crowd(path: str, children: list[str], count: int, clients: int) -> dict[str, float]:
    """*count* children that are attached to by this connection, and *clients* connections more, until stdin ends."""
    line = Line(path)
    idle = [Line(path) for _ in range(clients)]
    for _ in range(count):
        line.call(Start(argv=tuple(children), attach=True))
    print(json.dumps({"clients": len(idle)}), flush=True)
    sys.stdin.read()
    return {}


def listing(path: str, count: int) -> dict[str, float]:
    """Milliseconds of one LIST, until its records are here as bytes and as objects; the median of *count*."""
    line = Line(path)
    times = []
    records = 0
    for _ in range(count):
        begun = time.perf_counter()
        records = len(line.call(List()).processes)
        times.append(time.perf_counter() - begun)
    return {"milliseconds": statistics.median(times) * 1e3, "records": records}


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "follow": follow,
    "follow_blocking": follow_blocking,
    "drain": drain,
    "lines": lines,
    "feed": feed,
    "feed_blocking": feed_blocking,
    "echo": echo,
    "requests": requests,
    "latency": latency,
    "spawn": spawn,
    "spawn_blocking": spawn_blocking,
    "crowd": crowd,
    "listing": listing,
}

if __name__ == "__main__":
    carry_out(TASKS)
