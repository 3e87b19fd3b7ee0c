"""Who is at the other end of a UNIX socket: what the kernel tells of it, all of its groups included."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest
from twisted.internet.protocol import Protocol

from netdaemon.sockets.groups import PYTHON_MAX
from netdaemon.sockets.transport import PacketTransport, StreamTransport

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

SOMEBODY = 12345


def connected_by(path: str, kind: int, groups: list[int] | None) -> socket.socket:
    """Our end of a connection that a child has made, with these groups and another user, or as it is."""
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0o666)
        child = os.fork()
        if not child:
            try:
                if groups is not None:
                    os.setgroups(groups)
                    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
                    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
                with socket.socket(socket.AF_UNIX, kind) as sock:
                    sock.connect(path)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        sock, _ = listener.accept()
        return sock


@pytest.mark.parametrize(
    ("kind", "transport"), [(socket.SOCK_STREAM, StreamTransport), (socket.SOCK_SEQPACKET, PacketTransport)]
)
@pytest.mark.parametrize(
    "groups",
    [
        None,
        pytest.param([], marks=NEEDS_ROOT),
        pytest.param([4, 7], marks=NEEDS_ROOT),
        pytest.param(list(range(1, PYTHON_MAX // 4 + 1)), marks=NEEDS_ROOT, id="as many as Python has room for"),
        pytest.param(list(range(1, PYTHON_MAX // 4 + 2)), marks=NEEDS_ROOT, id="one more"),
        pytest.param([*range(1, 60_000), 4_294_967_294], marks=NEEDS_ROOT, id="very many"),
    ],
)
def test_who_it_is(kind: int, transport: type[StreamTransport], groups: list[int] | None) -> None:
    """Its user, its group and all the others, of one that has left; as it was when it connected."""
    from twisted.internet import reactor

    # Not pytest's own directory: somebody else has to come through to it.
    with tempfile.TemporaryDirectory(prefix="nd", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        sock = connected_by(f"{directory}/s", kind, groups)
    found = transport(sock, Protocol(), reactor, "somewhere")
    _, uid, gid = found.peerCredentials()
    assert (uid, gid) == ((os.geteuid(), os.getegid()) if groups is None else (SOMEBODY, SOMEBODY))
    assert found.peerGroups() == frozenset(os.getgroups() if groups is None else groups)
    sock.close()
