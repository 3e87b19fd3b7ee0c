"""What a keeper and its daemon say to each other: fields and descriptors in packets; knows none of the words.

A message is a list of octet strings, the first of them a word. It travels as one packet of a SOCK_SEQPACKET socket, a
long one as a file whose descriptor does. What has been sent is the kernel's: it arrives even if its sender is killed.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Longer messages go as a file: far below what a socket's buffer takes at once.
INLINE = 32 * 1024

# A word and an id, which is short: of a long message that is sent besides the file.
ABOUT, ABOUT_MOST = 2, 1024

# A message from a daemon of ours is a START with its environment at most, which is bounded by the kernel's own limit.
LONGEST = 8 << 20

# A process has eleven descriptors.
DESCRIPTORS = 32

# What the kernel says that lacks memory, or has too many descriptors on their way already.
SHORT = (errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS)

# Seconds until it is tried again.
AGAIN = 0.005

_LENGTH = struct.Struct("<I")
_HERE, _IN_A_FILE = b"\0", b"\1"


class Torn(Exception):
    """What was received is no message, or some of its descriptors did not find a place here.

    :ivar fields: what was said, as far as that is known.
    """

    def __init__(self, message: str, fields: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        self.fields = list(fields)


def pack(fields: Iterable[bytes]) -> bytes:
    """Several octet strings as one."""
    return b"".join(_LENGTH.pack(len(one)) + one for one in fields)


def unpack(octets: bytes) -> list[bytes]:
    """The octet strings that *octets* was packed from.

    :raises Torn: it was not.
    """
    fields, place = [], 0
    while place < len(octets):
        try:
            (length,) = _LENGTH.unpack_from(octets, place)
        except struct.error:
            raise Torn("cut short in a length") from None
        place += _LENGTH.size + length
        if place > len(octets):
            raise Torn("cut short in a field")
        fields.append(octets[place - length : place])
    return fields


def write_file(octets: bytes, name: str = "netdaemon message") -> int:
    """A memory file with *octets* in it, at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(descriptor: int) -> bytes:
    """All that is in a file.

    :raises Torn: it is too long for a message.
    """
    size = os.fstat(descriptor).st_size
    if size > LONGEST:
        raise Torn(f"{size} bytes, and a message has at most {LONGEST}")
    return os.pread(descriptor, size, 0)


class Channel:
    """One end of the socket between a keeper and its daemon; never waits."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        # What the kernel was short of for the last, as errno; 0: nothing. It does not say when it has it again.
        self.short = 0
        self._outgoing: list[tuple[bytes, list[int]]] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether something is to be sent as soon as the socket takes it."""
        return bool(self._outgoing) and not self.short

    @property
    def stalled(self) -> bool:
        """Whether something is to be sent a little later, and nothing will tell when."""
        return bool(self._outgoing) and self.short != 0

    def send(self, *fields: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a message; the descriptors stay open here. What cannot be sent now is sent by `flush`.

        :raises OSError: the other end is gone, or there is no memory or descriptor for it.
        """
        body, given, file = _HERE + pack(fields), list(descriptors), -1
        if len(body) > INLINE:
            file = write_file(body[1:])
            given.append(file)
            # What it is about goes along, for an answer where its descriptors find no place.
            body = _IN_A_FILE + pack(fields[:ABOUT] if sum(map(len, fields[:ABOUT])) <= ABOUT_MOST else ())
        try:
            if self._outgoing or not self._send(body, given):
                # Whoever sends it may close them meanwhile.
                self._outgoing.append((body, _duplicates(given)))
        finally:
            if file >= 0:
                os.close(file)

    def _send(self, body: bytes, descriptors: list[int]) -> bool:
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        self.short = 0
        try:
            self.socket.sendmsg(
                [body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else (), socket.MSG_NOSIGNAL
            )
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in SHORT:
                raise
            self.short = error.errno or 0
            return False
        return True

    def flush(self) -> None:
        """Send what waits, as much as the socket takes."""
        while self._outgoing and self._send(*self._outgoing[0]):
            for one in self._outgoing.pop(0)[1]:
                os.close(one)

    def receive(self) -> tuple[list[bytes], list[int]] | None:
        """One message and its descriptors, which are the caller's; None: there is none now.

        :raises EOFError: the other end is gone.
        :raises Torn: this one is lost, descriptors and all.
        :raises OSError: the kernel lacks memory; try again.
        """
        space = socket.CMSG_SPACE(struct.calcsize(f"{DESCRIPTORS}i"))
        while True:
            try:
                body, ancillary, flags, _ = self.socket.recvmsg(2 * INLINE, space, socket.MSG_CMSG_CLOEXEC)
                break
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # The other end is gone and had something unread. That is said once, and before what it has sent.
                continue
        if not body:
            raise EOFError
        descriptors: list[int] = []
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.extend(struct.unpack(f"{len(rights) // 4}i", rights[: len(rights) // 4 * 4]))
        file = -1
        try:
            if flags & socket.MSG_CTRUNC:
                raise Torn("no descriptor is left here for what came with it", unpack(body[1:]))
            if body[:1] == _HERE:
                return unpack(body[1:]), descriptors
            if not descriptors:
                raise Torn("a file without a descriptor")
            file = descriptors.pop()
            return unpack(read_file(file)), descriptors
        except BaseException:
            close_all(descriptors)
            raise
        finally:
            if file >= 0:
                os.close(file)

    def close(self) -> None:
        """Close this end, and forget what waits."""
        for _, descriptors in self._outgoing:
            close_all(descriptors)
        self._outgoing.clear()
        self.socket.close()


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    made: list[int] = []
    try:
        for one in descriptors:
            made.append(os.dup(one))
    except BaseException:
        close_all(made)
        raise
    return made


def close_all(descriptors: Iterable[int]) -> None:
    """Close them."""
    for one in descriptors:
        os.close(one)
