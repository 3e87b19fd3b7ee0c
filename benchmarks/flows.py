"""Clients of netdaemon through which much goes, out of a child, into it, or there and back, and who measure it."""

from __future__ import annotations

import select
import statistics
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from benchmarks.clients import later, measured
from benchmarks.line import Line
from benchmarks.place import WARM, carry_out
from benchmarks.programs import GO
from netdaemon import Client, RemoteProcess, blocking
from netdaemon.client.output import Listener
from netdaemon.wire.answers import Output
from netdaemon.wire.commands import Attach, Kill, Start

# --- output ----------------------------------------------------------------------------------------------------------


class Counter(Listener):
    """Counts what comes, and says when as much has come as was waited for."""

    def __init__(self) -> None:
        self.count = 0
        self.wanted = -1
        self.come: Deferred[None] = Deferred()

    def wait_for(self, more: int) -> Deferred[None]:
        """Fires when so many bytes more have come."""
        self.come, self.wanted = Deferred(), self.count + more
        return self.come

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        self.count += len(data)
        if self.count == self.wanted:
            self.come.callback(None)


class TypedCounter(Counter):
    """Of a program on a terminal: counts what comes after it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: Deferred[None] = Deferred()
        self._before: bytes | None = b""

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        if self._before is not None:
            before, go, data = (self._before + data).partition(GO)
            if not go:
                self._before = before
                return
            self._before = None
            self.begun.callback(None)
        if data:
            super().on_output(channel, data, offset, time)


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


def drain(path: str, argv: list[str], seconds: float, clients: int = 1) -> dict[str, float]:
    """Bytes per second of a child that writes for ever, to sinks that do not look at what they receive; in total."""
    control = Line(path)
    process = control.call(Start(argv=tuple(argv), attach=True, hold=-1)).process.id
    lines = [control]
    for _ in range(clients - 1):
        line = Line(path)
        line.send(Attach(process=process, hold=-1, from_=-1))
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
        return await _round_trips(process, counter, count, size)

    return measured(path, work)


async def _round_trips(process: RemoteProcess, counter: Counter, count: int, size: int) -> dict[str, float]:
    times = []
    payload = b"x" * size
    for _ in range(count):
        come = counter.wait_for(size)
        begun = time.perf_counter()
        taken = process.write(payload)
        await come
        times.append(time.perf_counter() - begun)
        await taken
    await process.kill("KILL")
    return {"microseconds": statistics.median(times) * 1e6}


# --- terminals -------------------------------------------------------------------------------------------------------


async def _typed(reactor: Any, client: Client, argv: list[str], counter: TypedCounter) -> RemoteProcess:
    """A program of the kind "typed" on a terminal, which waits for a key."""
    process = await client.start(argv, hold=-1, pty=True)
    process.listen(counter)
    await later(reactor, WARM)
    return process


def terminal_lines(path: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Lines per second of a child that writes *count* of them to its terminal, *size* bytes in all."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        counter = TypedCounter()
        process = await _typed(reactor, client, argv, counter)
        come = counter.wait_for(size)
        begun = time.monotonic()
        await process.write(b"\n")
        await come
        elapsed = time.monotonic() - begun
        await process.kill("KILL")
        return {"rate": count / elapsed}

    return measured(path, work)


def terminal_echo(path: str, argv: list[str], count: int, size: int) -> dict[str, float]:
    """Microseconds from a few keys until a child has sent them back to its terminal."""

    async def work(reactor: Any, client: Client) -> dict[str, float]:
        counter = TypedCounter()
        process = await _typed(reactor, client, argv, counter)
        await process.write(b"\n")
        await counter.begun
        return await _round_trips(process, counter, count, size)

    return measured(path, work)


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "follow": follow,
    "follow_blocking": follow_blocking,
    "drain": drain,
    "lines": lines,
    "feed": feed,
    "feed_blocking": feed_blocking,
    "echo": echo,
    "terminal_lines": terminal_lines,
    "terminal_echo": terminal_echo,
}

if __name__ == "__main__":
    carry_out(TASKS)
