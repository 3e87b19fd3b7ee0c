"""A daemon for the tests of one file, and ndtool for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netdaemon.errors import AlreadyExited
from netdaemon.wire.records import Scope, State
from netdaemon.wire.specs import Step
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
            if record.state is State.STOPPING:
                # Else its steps would be waited for.
                with suppress(AlreadyExited):
                    client.kill(record.id, 9, scope=Scope.TREE)
            client.stop(record.id, steps=(Step(kill=True),), timeout=30)
            client.remove(record.id)
