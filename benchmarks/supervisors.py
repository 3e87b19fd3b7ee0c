"""Other daemons that keep programs, supervisord and circusd: each with one idle program, and clients that measure."""

from __future__ import annotations

import sys
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path

import zmq
from circus.client import CircusClient  # type: ignore[import-untyped]
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from benchmarks.place import Failed, Place, carry_out

# How often circusd looks for programs that have exited, in seconds; it is not told. Its default is 5.
CIRCUS_LOOKS = 0.1

# Milliseconds in which circusd has to tell of an exit.
PATIENCE = 10_000


def supervisor(place: Place) -> str:
    """A supervisord; the path of its socket."""
    path = place.path / "supervisor.sock"
    configuration = place.path / "supervisor.conf"
    configuration.write_text(
        f"""[unix_http_server]
file={path}
[supervisord]
nodaemon=true
logfile={place.path}/supervisord.log
pidfile={place.path}/supervisord.pid
childlogdir={place.path}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:idle]
command={" ".join([*place.program, "idle"])}
"""
    )
    place.start("supervisor", [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)], path)
    return str(path)


def supervisor_requests(path: str, method: str, count: int) -> dict[str, float]:
    """Requests per second of supervisor's XML-RPC, one after another on one connection."""
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{path}"))
    calls: dict[str, Callable[[], object]] = {
        "getState": lambda: proxy.supervisor.getState(),
        "getProcessInfo": lambda: proxy.supervisor.getProcessInfo("idle"),
    }
    call = calls[method]
    call()
    begun = time.perf_counter()
    for _ in range(count):
        call()
    return {"rate": count / (time.perf_counter() - begun)}


def circus(place: Place) -> str:
    """A circusd; the path of its socket, beside which that of its events is."""
    path = place.path / "circus.sock"
    configuration = place.path / "circus.ini"
    configuration.write_text(
        f"""[circus]
endpoint = ipc://{path}
pubsub_endpoint = ipc://{path}.events
check_delay = {CIRCUS_LOOKS}
[watcher:idle]
cmd = {" ".join([*place.program, "idle"])}
"""
    )
    place.start("circus", [sys.executable, "-m", "circus.circusd", str(configuration)], Path(path))
    return str(path)


def circus_requests(path: str, count: int) -> dict[str, float]:
    """Requests per second for the state of a program, one after another on one connection."""
    client = CircusClient(endpoint=f"ipc://{path}")
    client.send_message("status", name="idle")
    begun = time.perf_counter()
    for _ in range(count):
        reply = client.send_message("status", name="idle")
        if reply["status"] != "active":
            raise Failed(f"circus: {reply}")
    return {"rate": count / (time.perf_counter() - begun)}


def circus_spawn(path: str, argv: list[str], count: int) -> dict[str, float]:
    """Starts per second, each from the request until its exit is told, one after another; its record is removed."""
    client = CircusClient(endpoint=f"ipc://{path}")
    events = client.context.socket(zmq.SUB)
    events.connect(f"ipc://{path}.events")
    program, *arguments = argv
    elapsed = 0.0
    for number in range(count):
        name = f"once{number}"
        events.setsockopt_string(zmq.SUBSCRIBE, f"watcher.{name}.reap")
        begun = time.perf_counter()
        reply = client.send_message(
            "add", name=name, cmd=program, args=arguments, start=True, options={"respawn": False}
        )
        if reply["status"] != "ok":
            raise Failed(f"circus: {reply}")
        if not events.poll(PATIENCE):
            raise Failed(f"circus has not told of an exit in {PATIENCE} ms")
        events.recv_multipart()
        elapsed += time.perf_counter() - begun
        client.send_message("rm", name=name)
    return {"rate": count / elapsed}


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "supervisor_requests": supervisor_requests,
    "circus_requests": circus_requests,
    "circus_spawn": circus_spawn,
}

if __name__ == "__main__":
    carry_out(TASKS)
