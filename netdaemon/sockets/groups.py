"""The groups of whoever is at the other end of a UNIX socket, as the kernel tells them; decides nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

# Python has no name for it.
SO_PEERGROUPS = 59

# As many supplementary groups as the kernel lets anybody have.
GROUPS_MAX = 65536

# What Python's own getsockopt takes at most: room for 256 groups, which is more than nearly everybody is in.
PYTHON_MAX = 1024

_GROUP = struct.Struct("I")

_libc = ctypes.CDLL(None, use_errno=True)


def peer_groups(sock: socket.socket) -> frozenset[int]:
    """All of them.

    :raises OSError: the kernel does not tell.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, PYTHON_MAX)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        raw = _any_length(sock)
    return frozenset(number for (number,) in _GROUP.iter_unpack(raw))


def _any_length(sock: socket.socket) -> bytes:
    room = ctypes.create_string_buffer(GROUPS_MAX * _GROUP.size)
    length = ctypes.c_uint32(len(room))
    if _libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, SO_PEERGROUPS, room, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return room.raw[: length.value]
