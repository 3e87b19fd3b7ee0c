"""A daemon for the tests of one file, and ndtool for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netdaemon.errors import AlreadyExited
from tests.cli.support import Daemon, Ndtool


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    # Not pytest's own directory: the path of a socket has room for 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="nd") as directory:
        running = Daemon(Path(directory))
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def ndtool(daemon: Daemon) -> Iterator[Ndtool]:
    """Leaves no process behind."""
    yield Ndtool(daemon.socket)
    with daemon.client() as client:
        for record in client.list():
            if record.exited is None:
                with suppress(AlreadyExited):
                    client.kill(record.id, 9)
                client.wait(record.id, timeout=30)
            client.remove(record.id)
