"""A policy that is read again ends what it does not allow any more, at a real daemon, for another user."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon import blocking
from netdaemon.errors import BadRequest
from netdaemon.wire.answers import Attached, End
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Attach, Hello
from netdaemon.wire.records import Reason
from tests.faults.wire import eventually
from tests.support import PATIENCE, Figure, RunningDaemon, running_daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user, too")

PLAYER = 54321
ROUNDS = 10

# Seconds from the reload to the END, as it is promised. It is shown, and fails nothing.
PROMISED = 0.1

OPERATOR = """
[roles.operator]
verbs = ["*", "policy.reload", "shutdown"]
[roles.operator.start]
users = ["root"]
groups = ["root", "*"]
programs = ["/**", "PATH"]
directories = ["/", "/**"]
environment = {allow = ["*"]}
[roles.player]
verbs = ["list", "inspect", "attach.read"]
[[bind]]
role = "operator"
to = ["uid:0"]
"""

ALLOWED = f"""{OPERATOR}
[[bind]]
role = "player"
to = ["uid:{PLAYER}"]
"""

REVOKED = f"""{OPERATOR}
[roles.looker]
verbs = ["list"]
[[bind]]
role = "looker"
to = ["uid:{PLAYER}"]
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that another user can come through."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def daemon_with(place: Path, policy: str) -> Iterator[RunningDaemon]:
    (place / "policy").write_text(policy)
    options = (f"--policy={place / 'policy'}", f"--audit={place / 'audit'}", "--mode=0666", "--ephemeral")
    with running_daemon(place, *options) as daemon:
        place.chmod(0o711)
        yield daemon


def watching(path: str, told: int) -> None:
    """Somebody else: attach, say so on *told*, and there again when that has ended, with the time and the reason."""
    os.setgroups([])
    os.setresgid(PLAYER, PLAYER, PLAYER)
    os.setresuid(PLAYER, PLAYER, PLAYER)
    connection = ClientConnection()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(connection.hello(Hello(client="test")))
        asked = False
        while True:
            received = connection.next_message()
            if received is None:
                connection.receive(sock.recv(65536))
            elif isinstance(received[1], Attached):
                os.write(told, struct.pack("d?", 0, True))
            elif isinstance(received[1], End):
                os.write(told, struct.pack("d?", time.monotonic(), received[1].reason is Reason.REVOKED))
                return
            elif not asked:
                asked = True
                sock.sendall(connection.request(Attach(process="game", read_only=True))[1])


def test_an_attachment_that_is_revoked(place: Path, figure: Figure) -> None:
    took = []
    with daemon_with(place, ALLOWED) as daemon, blocking.connect(daemon.path) as operator:
        operator.start(["sh", "-c", "while :; do echo x; sleep 0.01; done"], name="game", env={"PATH": "/bin:/usr/bin"})
        for _ in range(ROUNDS):
            (place / "policy").write_text(ALLOWED)
            operator.reload()
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                try:
                    watching(daemon.path, writing)
                    os._exit(0)
                finally:
                    os._exit(1)
            os.close(writing)
            with open(reading, "rb") as told:
                assert told.read(9) == struct.pack("d?", 0, True)
                (place / "policy").write_text(REVOKED)
                before = time.monotonic()
                os.kill(daemon.process.pid, signal.SIGHUP)
                at, revoked = struct.unpack("d?", told.read(9))
            assert revoked
            took.append(at - before)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    figure(
        f"{ROUNDS} attachments revoked by SIGHUP: END within",
        f"{max(took) * 1000:.0f} ms",
        f"<= {PROMISED * 1000:.0f} ms",
    )


def test_a_file_that_is_wrong_leaves_what_there_was(place: Path) -> None:
    with daemon_with(place, ALLOWED) as daemon, blocking.connect(daemon.path) as operator:
        (place / "policy").write_text(ALLOWED + "\n[roles.player.start]\nusrs = [1]\n")
        with pytest.raises(BadRequest) as caught:
            operator.reload()
        assert "usrs" in str(caught.value)
        assert "stays as it was" in str(caught.value)
        operator.start(["sleep", "100"], name="game")
        os.kill(daemon.process.pid, signal.SIGHUP)
        eventually(lambda: daemon.log.read_text().count("stays as it was") == 2)
        assert [one.name for one in operator.list()] == ["game"]


def test_no_daemon_starts_with_a_wrong_one(place: Path) -> None:
    with pytest.raises(RuntimeError) as caught, daemon_with(place, "[roles.x]\nverbs = ['fly']\n"):
        pass
    assert "fly" in str(caught.value)
