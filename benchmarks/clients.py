"""Clients of netdaemon that ask, start, and come back, and measure it; each task runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.place import carry_out
from netdaemon import Client, RemoteProcess, blocking, connect
from netdaemon.client.output import Listener
from netdaemon.wire.answers import Welcome
from netdaemon.wire.records import Scope
from netdaemon.wire.told import ProcessRecord

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
    "requests": requests,
    "latency": latency,
    "spawn": spawn,
    "spawn_blocking": spawn_blocking,
    "resume": resume,
}

if __name__ == "__main__":
    carry_out(TASKS)
