"""G4 and G12 with a crowd: a thousand clients at a time, thousands that come and go at once, all back after a kill."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.errors import ConversationAborted
from netdaemon.wire.answers import Output
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Data, Hello, Info, List
from tests.faults.conftest import Trials
from tests.faults.test_memory import Highest, warm
from tests.faults.wire import PATIENCE, Wire, daemon_of, eventually
from tests.support import LONG, Figure, RunningDaemon, running_daemon


@pytest.fixture
def roomy(many_descriptors: None, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that has as many descriptors as there are."""
    tmp_path.chmod(0o700)
    with running_daemon(tmp_path) as running:
        warm(running.path)
        yield running
    text = running.log.read_text(errors="replace")
    assert "Traceback" not in text, text


def test_a_thousand_clients(roomy: RunningDaemon, trial: Trials, figure: Figure) -> None:
    """Each attached to the same process, which echoes: everybody gets every byte."""
    count, line_sent = 1000 if LONG else 300, b"hello\n"
    with trial(roomy, f"{count:,} clients attached to one process") as line:
        with Highest(roomy.process.pid) as highest:
            first = Wire(roomy.path)
            id, process = first.start("cat", keep=65536)
            clients = [Wire(roomy.path) for _ in range(count - 1)]
            ids = [client.attach(process, from_=0) for client in clients]
            assert first.ask(Info()).counts.clients == count
            first.ask(Data(to=id, payload=line_sent))
            for client, own in zip([first, *clients], [id, *ids], strict=True):
                message = next(client.events(own))
                assert isinstance(message, Output)
                assert message.payload == line_sent
            first.ask(Data(to=id))
            assert {client.follow(own).status.code for client, own in zip(clients, ids, strict=True)} == {0}  # type: ignore[union-attr]
        for client in [first, *clients]:
            client.close()
        line.count = count
        line.outcome = f"all got all; at most +{highest.more:.1f} MiB"
    figure(f"G4 {count:,} clients attached: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +48 MiB")
    assert highest.more <= 48


# How many of a storm connect at the same time.
AT_ONCE = 200


def test_a_storm_of_connections(roomy: RunningDaemon, trial: Trials) -> None:
    """They connect, say HELLO, ask, and are gone, hundreds at a time; a third goes without waiting for the answer."""
    count = 5000 if LONG else 1500
    with trial(roomy, f"storm of {count:,} connections, {AT_ONCE} at once") as line:
        bystander = Wire(roomy.path)
        answered, waits = storm(roomy.path, count, bystander)
        bystander.close()
        waits.sort()
        line.count = count
        line.outcome = (
            f"{answered:,} answered, others left first; LIST p99 {waits[len(waits) * 99 // 100] * 1000:.1f} ms"
        )
        assert answered == count - count // 3


def storm(path: str, count: int, bystander: Wire) -> tuple[int, list[float]]:
    """How many were answered, and how long somebody else waited for each answer meanwhile."""
    poll = select.poll()
    open_: dict[int, tuple[socket.socket, ClientConnection]] = {}
    begun, answered, waits = 0, 0, []
    while begun < count or open_:
        while begun < count and len(open_) < AT_ONCE:
            begun += 1
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(path)
            connection = ClientConnection()
            sock.sendall(connection.hello(Hello(client="storm")))
            if begun % 3 == 0:
                sock.close()
                continue
            open_[sock.fileno()] = sock, connection
            poll.register(sock, select.POLLIN)
        began = time.monotonic()
        bystander.ask(List())
        waits.append(time.monotonic() - began)
        for number, _ in poll.poll(PATIENCE * 1000):
            sock, connection = open_[number]
            octets = sock.recv(65536)
            assert octets, "it was closed"
            connection.receive(octets)
            if connection.next_message() is not None:
                poll.unregister(number)
                del open_[number]
                sock.close()
                answered += 1
    return answered, waits


def test_all_come_back_at_once(roomy: RunningDaemon, trial: Trials) -> None:
    """The daemon is killed; its keeper starts the next, and everybody attaches again from where they were."""
    rounds, count = (5, 1000) if LONG else (1, 200)
    with trial(roomy, f"daemon killed, {count:,} clients reconnect, {rounds}x") as line:
        first = Wire(roomy.path)
        id, process = first.start("cat", keep=1 << 20)
        clients = [first, *(Wire(roomy.path) for _ in range(count - 1))]
        ids = [id, *(client.attach(process, from_=0) for client in clients[1:])]
        slowest, written = 0.0, 0
        for number in range(rounds):
            sent = b"%d\n" % number
            clients[0].ask(Data(to=ids[0], payload=sent))
            for client, own in zip(clients, ids, strict=True):
                message = next(client.events(own))
                assert isinstance(message, Output)
                assert (message.offset, message.payload) == (written, sent)
            written += len(sent)
            began = time.monotonic()
            os.kill(daemon_of(clients[0]), signal.SIGKILL)
            clients = back(roomy.path, clients)
            posted = [client.attach(process, from_=written) for client in clients]
            slowest = max(slowest, time.monotonic() - began)
            ids = posted
        clients[0].ask(Data(to=ids[0]))
        assert clients[-1].follow(ids[-1]).status.code == 0  # type: ignore[union-attr]
        for client in clients:
            client.close()
        line.count = rounds * count
        line.outcome = f"all attached again within {slowest:.1f} s, each byte once"


def back(path: str, clients: list[Wire]) -> list[Wire]:
    """They lose their connections, and all connect as soon as somebody is there."""
    for client in clients:
        client.close()

    def again() -> Wire | None:
        try:
            return Wire(path)
        except (OSError, EOFError, ConversationAborted):
            return None

    return [eventually(again) for _ in clients]
