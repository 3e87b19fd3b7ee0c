"""Sockets that a service manager listens on: taken over, refused where they are not safe, and left as they are."""

from __future__ import annotations

import os
import socket

import pytest

from netdaemon.wire.commands import List
from tests.faults.wire import Wire
from tests.support import PATIENCE, readable
from tests.systemd.manager import Managed, managed


def refusal(daemon: Managed) -> str:
    """What one that does not start says last."""
    daemon.start()
    assert daemon.process.wait(PATIENCE) == 1
    assert "Traceback" not in daemon.told()
    return daemon.told().strip().splitlines()[-1]


def test_both_kinds() -> None:
    """Both are taken over; nothing else is listened on, and the files stay when the daemon ends."""
    with managed() as daemon:
        packets = str(daemon.directory / "packets")
        daemon.listen(packets, socket.SOCK_SEQPACKET)
        daemon.listen(daemon.path)
        daemon.options.remove(f"--socket={daemon.path}")
        daemon.start()
        daemon.ready()
        Wire(packets, packets=True).close()
        files = {daemon.path: os.stat(daemon.path).st_ino, packets: os.stat(packets).st_ino}
        told = daemon.told()
        assert f"listening on {daemon.path} (stream)" in told
        assert f"listening on {packets} (seqpacket)" in told
        assert told.count("listening on") == 2
        daemon.begin("lines")
        daemon.process.terminate()
        daemon.process.wait()
        assert {path: os.stat(path).st_ino for path in files} == files
        daemon.start()
        daemon.ready()
        daemon.finish()


def test_one_is_passed_and_one_is_its_own() -> None:
    """A socket of the other kind that was asked for is made, and removed."""
    with managed() as daemon:
        packets = str(daemon.directory / "packets")
        daemon.listen(daemon.path)
        daemon.options.append(f"--seqpacket={packets}")
        daemon.start()
        daemon.ready()
        Wire(packets, packets=True).close()
        daemon.process.terminate()
        daemon.process.wait()
        assert os.path.exists(daemon.path)
        assert not os.path.exists(packets)


@pytest.mark.parametrize("number", [15, 9])
def test_clients_between_two_daemons_wait(number: int) -> None:
    """They are in the socket's queue, HELLO and request included, and the next daemon answers."""
    with managed() as daemon:
        daemon.listen(daemon.path)
        daemon.start()
        daemon.ready()
        lines = daemon.begin("lines")
        daemon.process.send_signal(number)
        daemon.process.wait()
        waiting = []
        for _ in range(20):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(daemon.path)
            waiting.append(sock)
        assert not any(readable(sock, 0) for sock in waiting)
        daemon.start()
        wire = Wire(daemon.path)
        assert [one.id for one in wire.ask(List()).processes] == [lines.process]
        wire.close()
        # Who has said nothing is served as well: it may go on to speak.
        for sock in waiting:
            sock.close()
        daemon.finish()


def test_waiting_for_a_daemon_that_was_never_there() -> None:
    """The first client's HELLO is what it is started for."""
    with managed() as daemon:
        daemon.listen(daemon.path)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(daemon.path)
        daemon.start()
        daemon.manager.wait("READY=1")
        sock.close()
        daemon.ready()


@pytest.mark.parametrize(("mode", "options"), [(0o666, []), (0o660, []), (0o666, ["--mode=0660"])])
def test_a_mode_that_is_too_wide(mode: int, options: list[str]) -> None:
    """Refused, with what was seen and what is allowed."""
    with managed(*options) as daemon:
        daemon.listen(daemon.path, mode=mode)
        allowed = "0660" if options else "0600"
        assert f"with mode {mode:04o}, and {allowed} is allowed; set SocketMode=" in refusal(daemon)


def test_a_mode_that_is_asked_for() -> None:
    with managed("--mode=0660") as daemon:
        daemon.listen(daemon.path, mode=0o660)
        daemon.start()
        daemon.ready()


def test_another_place_than_the_option_says() -> None:
    """Which of them is meant?"""
    with managed() as daemon:
        other = str(daemon.directory / "other")
        daemon.listen(other)
        assert f"--socket is {daemon.path}, and the service manager has passed {other}" in refusal(daemon)
        assert not os.path.exists(daemon.path)


def test_two_of_a_kind() -> None:
    """One would be deaf."""
    with managed() as daemon:
        other = str(daemon.directory / "other")
        daemon.listen(daemon.path)
        daemon.listen(other)
        assert f"has passed {daemon.path} and {other}" in refusal(daemon)


def test_an_abstract_socket() -> None:
    """Anybody could connect."""
    with managed() as daemon:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"\0{daemon.marker}")
        sock.listen()
        daemon.sockets.append(sock)
        daemon.options = daemon.options[1:]
        assert "abstract sockets have no owner" in refusal(daemon)


def test_a_daemon_has_it_already() -> None:
    """A second one is refused, and the first goes on."""
    with managed() as daemon:
        daemon.listen(daemon.path)
        daemon.start()
        daemon.ready()
        first = daemon.process
        try:
            assert "another netdaemon holds" in refusal(daemon)
        finally:
            daemon.process = first
        daemon.ready()
