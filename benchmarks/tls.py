"""What TLS costs beside a UNIX socket: what goes through, requests one after another, and coming in."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.clients import later
from benchmarks.flows import Counter
from benchmarks.harness import run
from benchmarks.place import WARM, Place, carry_out
from benchmarks.tables import Case, Scale, Table, Target
from benchmarks.throughput import BLOCK
from netdaemon import Client, Credentials, blocking, connect
from netdaemon.keys.issuing import issue, make_authority
from netdaemon.wire.answers import Output

# Who may do everything, over either of them.
POLICY = """\
[roles.all]
verbs = ["*", "policy.reload", "shutdown"]

[roles.all.start]
users = ["*", 0]
groups = ["*", 0]
programs = ["/**", "PATH"]
directories = ["/", "/**"]

[[bind]]
role = "all"
to = ["anyone"]
"""

# Requests, and connections, of one measurement.
REQUESTS = 4000
CONNECTIONS = 200

UNIX = "UNIX socket"
TLS = "TLS"


def tls(place: Place, scale: Scale) -> Iterator[Table]:
    """The tables of this file."""
    keys = str(place.path / "keys")
    make_authority(keys, 1, force=False)
    daemon = issue(keys, "daemon", hosts=["127.0.0.1"], days=1, force=False)
    client = issue(keys, "client", hosts=None, days=1, force=False)
    authority = f"{keys}/authority.pem"
    policy = place.path / "policy.toml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = f"certificate={daemon.certificate}:key={daemon.key}:authority={authority}"
    listen = f"--listen=tls:{port}:interface=127.0.0.1:{files}"
    _, path = place.daemon(listen, f"--policy={policy}", "--audit=none", name="secured")
    said = {"certificate": client.certificate, "key": client.key, "authority": authority}
    ways: dict[str, dict[str, Any]] = {
        UNIX: {"endpoint": path},
        TLS: {"endpoint": f"tls:127.0.0.1:{port}", "said": said},
    }
    writer = [*place.program, "write", str(BLOCK)]

    def measure(task: str, way: str, **arguments: Any) -> Callable[[], float]:
        return lambda: place.work("tls", task, **ways[way], **arguments)["rate"]

    def flow(task: str, way: str) -> Callable[[], float]:
        measured = measure(task, way, argv=writer, seconds=scale.seconds)
        return lambda: measured() / 1e9

    yield Table(
        "one child writing 64 KiB blocks, to one client",
        "GB/s",
        [
            Case(f"{UNIX} (Deferred)", flow("follow", UNIX)),
            Case(f"{TLS} (Deferred)", flow("follow", TLS)),
            Case(f"{UNIX} (blocking)", flow("follow_blocking", UNIX)),
            Case(f"{TLS} (blocking)", flow("follow_blocking", TLS)),
        ],
        references=(f"{UNIX} (Deferred)",),
        targets=(
            Target("TLS, of a UNIX socket (Deferred)", f"{TLS} (Deferred)", f"{UNIX} (Deferred)", least=0.15),
            Target("TLS, of a UNIX socket (blocking)", f"{TLS} (blocking)", f"{UNIX} (blocking)", least=0.15),
        ),
    )
    count = scale.count(REQUESTS)
    yield Table(
        "INSPECT, one after another (blocking)",
        "/s",
        [Case(way, measure("ask", way, count=count)) for way in ways],
        references=(UNIX,),
        targets=(Target("TLS, of a UNIX socket", TLS, UNIX, least=0.3),),
    )
    count = scale.count(CONNECTIONS)
    yield Table(
        "connecting, to the answer to HELLO, one after another (blocking)",
        "/s",
        [Case(way, measure("come_in", way, count=count)) for way in ways],
        references=(UNIX,),
        targets=(Target("TLS, of a UNIX socket", TLS, UNIX, least=0.03),),
    )


# --- tasks, each in a process of its own -----------------------------------------------------------------------------


def _credentials(said: dict[str, str] | None) -> Credentials | None:
    return None if said is None else Credentials(**said)


def follow(endpoint: str, argv: list[str], seconds: float, said: dict[str, str] | None = None) -> dict[str, float]:
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

    return _measured(endpoint, said, work)


def _measured(
    endpoint: str, said: dict[str, str] | None, work: Callable[[Any, Client], Coroutine[Any, Any, dict[str, float]]]
) -> dict[str, float]:
    result: dict[str, float] = {}

    async def main(reactor: Any) -> None:
        where = endpoint if said else f"unix:{endpoint}"
        result.update(await work(reactor, await connect(reactor, where, credentials=_credentials(said))))

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    return result


def follow_blocking(
    endpoint: str, argv: list[str], seconds: float, said: dict[str, str] | None = None
) -> dict[str, float]:
    """The same to the blocking client."""
    with blocking.connect(endpoint, credentials=_credentials(said)) as client, client.start(argv, hold=-1) as process:
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


def ask(endpoint: str, count: int, said: dict[str, str] | None = None) -> dict[str, float]:
    """Requests per second, one after another."""
    with blocking.connect(endpoint, credentials=_credentials(said)) as client:
        process = client.start_detached(["/bin/true"]).id
        begun = time.perf_counter()
        for _ in range(count):
            client.inspect(process)
        return {"rate": count / (time.perf_counter() - begun)}


def come_in(endpoint: str, count: int, said: dict[str, str] | None = None) -> dict[str, float]:
    """Connections per second, each closed when HELLO has been answered."""
    begun = time.perf_counter()
    for _ in range(count):
        blocking.connect(endpoint, credentials=_credentials(said)).close()
    return {"rate": count / (time.perf_counter() - begun)}


if __name__ == "__main__":
    if len(sys.argv) == 3 and not sys.argv[1].startswith("-"):
        carry_out({task.__name__: task for task in (follow, follow_blocking, ask, come_in)})
    else:
        run({"tls": tls}, __doc__ or "")
