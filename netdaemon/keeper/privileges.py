"""Capabilities and no_new_privs, for which Python has no calls: by the C library, loaded when they are asked for."""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEEPCAPS, _NO_NEW_PRIVS = 8, 38
_BOUNDING_READ, _BOUNDING_DROP = 23, 24
_AMBIENT, _RAISE, _CLEAR_ALL = 47, 2, 4

# The form of capset(2) with 64 bits, for this process; then effective, permitted and inheritable, the low halves first.
_HEADER = struct.pack("=Ii", 0x20080522, 0)
_SETS = struct.Struct("=6I")
_LOW = 0xFFFFFFFF

# Of the one that may drop others from the bounding set.
_SETPCAP = 1 << 8

# More than there can be.
_MOST = 64


class Privileges:
    """The calls, ready to be made between fork and exec. Each raises OSError."""

    def __init__(self) -> None:
        # Not at the beginning: it costs a keeper half a megabyte, and few children need it.
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        self._prctl: Any = library.prctl
        self._prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        self._capset: Any = library.capset
        self._capset.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        # Those that this kernel knows, by number.
        self._known: list[int] = []
        try:
            while len(self._known) < _MOST:
                self._done(self._prctl(_BOUNDING_READ, len(self._known), 0, 0, 0))
                self._known.append(len(self._known))
        except OSError as error:
            # So it is said that there are no more.
            if error.errno != errno.EINVAL:
                raise

    def _done(self, result: int) -> int:
        if result < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number))
        return result

    def keep(self) -> None:
        """Have a change of user take none of the permitted ones."""
        self._done(self._prctl(_KEEPCAPS, 1, 0, 0, 0))

    def no_new_privs(self) -> None:
        """Nothing that is executed from here on has more than this process."""
        self._done(self._prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))

    def none(self) -> None:
        """Have none; what is executed may have those of its file."""
        self._set(0, 0, 0)

    def lay_down(self, permitted: int) -> None:
        """Have none in force, and these to be had again."""
        self._set(0, permitted, 0)

    def exactly(self, wanted: int, permitted: int) -> None:
        """Have these, in all five sets.

        :param permitted: those that this process has or could have.
        """
        if wanted & ~sum(1 << one for one in self._known):
            raise OSError(errno.EINVAL, "this kernel has no such capability")
        drop = [one for one in self._known if not wanted >> one & 1 and self._prctl(_BOUNDING_READ, one, 0, 0, 0)]
        if drop:
            # A change of user has taken it out of the effective set.
            self._set(permitted & _SETPCAP, permitted, 0)
            for one in drop:
                self._done(self._prctl(_BOUNDING_DROP, one, 0, 0, 0))
        self._set(wanted, wanted, wanted)
        self._done(self._prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0))
        for one in self._known:
            if wanted >> one & 1:
                self._done(self._prctl(_AMBIENT, _RAISE, one, 0, 0))

    def _set(self, effective: int, permitted: int, inheritable: int) -> None:
        sets = (effective, permitted, inheritable)
        self._done(
            self._capset(_HEADER, _SETS.pack(*(one & _LOW for one in sets), *(one >> 32 for one in sets))),
        )
