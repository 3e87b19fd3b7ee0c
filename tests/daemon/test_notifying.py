"""Whoever a process runs as can say that it is ready, and nobody else for it."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from netdaemon.daemon.notifying import NotifyFolder

SOMEBODY, ANOTHER = 12345, 12346


def says(path: str, uid: int) -> bool:
    """Whether that user can say something there."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"READY=1", path)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_only_whom_it_runs_as_may_speak() -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        folder = NotifyFolder(os.path.join(place, "s.notify"))
        path, descriptor = folder.bind("one", SOMEBODY)
        own, other = folder.bind("two")
        try:
            assert says(path, SOMEBODY)
            assert not says(path, ANOTHER)
            assert not says(own, SOMEBODY)
            assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o711
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0, os.dup(descriptor)) as sock:
                assert sock.recv(100) == b"READY=1"
        finally:
            os.close(descriptor)
            os.close(other)
        folder.remove("one")
        assert not os.path.exists(path)
