"""Clients of netdaemon that measure; each task runs in a process of its own."""

from __future__ import annotations

import select
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.line import Line
from benchmarks.place import WARM, carry_out
from benchmarks.programs import GO
from netdaemon import Client, RemoteProcess, blocking, connect
from netdaemon.client.output import Listener
from netdaemon.wire.answers import Output, Welcome
from netdaemon.wire.commands import Attach, Kill, Start
from netdaemon.wire.records import ProcessRecord, Scope

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


# --- coming back -----------------------------------------------------------------------------------------------------


def resume(path: str, processes: list[str]) -> dict[str, float]:
    """When the last of some clients had come back to its process over another connection, on the monotonic clock.

    Each is attached to one process, which sends back what it gets. It has come back when that has answered it.
    """

    async def work(reactor: Any, first: Client) -> dict[str, float]:
        back = [Deferred[float]() for _ in processes]

        class Echoed(Listener):
            def __init__(self, number: int) -> None:
                self.number = number

            def on_output(self, channel: int, data: bytes, offset: int, time_: int) -> None:
                back[self.number].callback(time.monotonic())

        async def follow(number: int, process: str) -> None:
            def type_into(_: Welcome) -> None:
                attached.write(b"x").addErrback(lambda failure: back[number].errback(failure))

            client = await connect(reactor, f"unix:{path}", on_reconnected=type_into)
            attached = await client.attach(process, from_=(await client.inspect(process)).end)
            attached.listen(Echoed(number))

        for number, process in enumerate(processes):
            await follow(number, process)
        await first.disconnect()
        print("attached", flush=True)
        return {"at": max([await one for one in back])}

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
    "requests": requests,
    "latency": latency,
    "spawn": spawn,
    "spawn_blocking": spawn_blocking,
    "resume": resume,
}

if __name__ == "__main__":
    carry_out(TASKS)
