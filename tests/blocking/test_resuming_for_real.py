"""The client comes back by itself: with a real daemon, and somebody who cuts the connection."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.blocking import RemoteProcess
from netdaemon.errors import ConnectionClosed
from netdaemon.wire.answers import End, Event, Gap, OfProcess, Output, Status
from netdaemon.wire.commands import Wait
from netdaemon.wire.records import Channel, Reason, State
from tests.blocking.proxy import limits, proxy
from tests.cli.support import PATIENCE, Daemon

# More than all that a test has written.
KEEP = 16 << 20


@pytest.fixture(scope="module")
def real() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        running = Daemon(Path(directory))
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nd") as name:
        yield name


def echo(remote: RemoteProcess, data: bytes, step: int) -> list[Event]:
    """Feed *data* and read all that comes until the process has ended, both at once."""
    client = remote.client
    view = memoryview(data)
    offset = 0
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline
        if offset < len(data):
            offset += remote.stdin.put(view[offset : offset + step])
            if offset == len(data):
                remote.stdin.close()
        assert remote.stdin.error is None or offset == len(data)
        while (event := remote.take()) is not None:
            events.append(event)
        if remote.finished:
            return events
        client.pump(0.1)


def check(events: list[Event], data: bytes) -> None:
    """The same bytes without a gap, each EOF once, and how it ended once."""
    assert not [event for event in events if isinstance(event, Gap)]
    outputs = [event for event in events if isinstance(event, Output)]
    got = b"".join(event.payload for event in outputs if event.channel == Channel.STDOUT)
    assert len(got) == len(data)
    assert got == data
    position = 0
    for event in outputs:
        assert event.offset == position
        position += len(event.payload)
    assert sorted(event.channel for event in outputs if not event.payload) == [0, 1, 2]
    assert [(one.state, one.code) for one in events if isinstance(one, Status)] == [(State.EXITED, 0)]


@pytest.mark.parametrize("seed", [1, 2])
def test_all_that_cat_is_told_comes_back_over_many_cuts(real: Daemon, directory: str, seed: int) -> None:
    """The first cuts fall into HELLO and START, the others anywhere."""
    data = random.Random(seed).randbytes(4 << 20)
    early = [(10, 1 << 62), (1 << 62, 30), (80, 1 << 62), (1 << 62, 300), (1 << 62, 700)]
    cuts = iter([*early, *limits(50, seed, least=500, most=100_000)])
    with proxy(directory, real.socket, cuts) as between:
        with pytest.raises(ConnectionClosed):
            # Connecting at first is not repeated: twice here, in either direction.
            blocking.connect(between.path)
        with pytest.raises(ConnectionClosed):
            blocking.connect(between.path)
        with blocking.connect(between.path, timeout=PATIENCE) as client:
            # Between two connections nobody holds it back: what it may write meanwhile has to be kept.
            remote = client.start(["/bin/cat"], hold=-1, keep=KEEP, labels={"seed": str(seed)})
            check(echo(remote, data, 60_000), data)
            assert remote.stdin.accepted == len(data)
            # How many it takes depends on how much goes over each connection before it is cut.
            assert between.cuts >= 25
            assert len(client.list(f"label.seed={seed}")) == 1
            client.remove(remote.id)


def test_one_of_several_writers_loses_and_doubles_nothing_either(real: Daemon, directory: str) -> None:
    """In pieces for which there is room: whether a part of one was taken could not be known."""
    data = os.urandom(1 << 20)
    with (
        real.client() as direct,
        proxy(directory, real.socket, limits(30, 3, least=2000, most=40_000)) as between,
        blocking.connect(between.path, timeout=PATIENCE) as client,
    ):
        remote = client.attach(direct.start_detached(["/bin/cat"]).id, hold=-1)
        got = bytearray()
        for start in range(0, len(data), 16_384):
            piece = data[start : start + 16_384]
            assert remote.write(piece, timeout=PATIENCE) == start + len(piece)
            while len(got) < start + len(piece):
                event = remote.next_event(PATIENCE)
                assert isinstance(event, Output)
                got += event.payload
        remote.close_stdin()
        assert remote.wait(PATIENCE).code == 0
        assert got == data
        assert between.cuts == 30
        direct.remove(remote.id)


def test_what_happens_while_nobody_is_there(real: Daemon, directory: str) -> None:
    with (
        real.client() as direct,
        proxy(directory, real.socket) as between,
        blocking.connect(between.path, timeout=PATIENCE) as client,
    ):
        script = "echo one; read a; echo two; echo err >&2; exec 2>&-; read a; echo three; exit 5"
        remote = client.start(["sh", "-c", script])
        assert isinstance(remote.next_event(PATIENCE), Output)
        other = client.start(["sleep", "100"])
        waiting = client.submit(Wait(process=remote.id))
        between.die()
        with direct.attach(remote.id, from_=0) as helper:
            helper.write(b"\n\n")
            assert helper.wait(PATIENCE).code == 5
        direct.kill(other.id, 9)
        direct.wait(other.id, timeout=PATIENCE)
        direct.remove(other.id)
        client.pump(0.05)
        assert not client.connected
        # There is a daemon again, and each is told of what is its own, in order.
        between.listen()
        assert remote.read() == (b"two\nthree\n", b"err\n")
        assert remote.wait(PATIENCE).code == 5
        assert list(other) == [End(reason=Reason.REMOVED)]
        answer = client.wait_for(waiting)
        assert isinstance(answer, OfProcess)
        assert answer.process.code == 5
        client.remove(remote.id)


def test_a_pause_holds_over_a_loss(real: Daemon, directory: str) -> None:
    with (
        proxy(directory, real.socket) as between,
        blocking.connect(between.path, timeout=PATIENCE) as client,
        client.start(["/bin/cat"], hold=-1) as remote,
    ):
        remote.flow(True)
        between.cut()
        client.info()
        remote.write(b"x" * 1000)
        time.sleep(0.2)
        client.info()
        assert remote.take() is None
        remote.flow(False)
        event = remote.next_event(PATIENCE)
        assert isinstance(event, Output)
        assert event.payload == b"x" * 1000
        remote.close_stdin()
        client.wait(remote.id, timeout=PATIENCE)
        client.remove(remote.id)
