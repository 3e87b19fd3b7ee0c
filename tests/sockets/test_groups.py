"""The groups of whoever is at the other end: all of them, however many there are."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from netdaemon.sockets.groups import GROUPS_MAX, peer_groups


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in groups that it chooses")
@pytest.mark.parametrize("count", [0, 1, 256, 257, 3000, GROUPS_MAX])
def test_all_groups_are_told(count: int) -> None:
    """Below, at and above what Python's own getsockopt has room for, up to what the kernel allows."""
    groups = range(1000, 1000 + count)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setgroups(groups)
            one, other = socket.socketpair()
            with one, other:
                code = 0 if peer_groups(one) == frozenset(groups) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_no_unix_socket_has_none() -> None:
    """The kernel's refusal is raised, and not taken for nobody's groups."""
    with (
        socket.socket(socket.AF_INET) as sock,
        pytest.raises(OSError, match=os.strerror(errno.ENODATA)),
    ):
        peer_groups(sock)
