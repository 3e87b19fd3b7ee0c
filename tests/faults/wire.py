"""A client that does as little as possible, so that what is measured is the daemon."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netdaemon.errors import Refusal
from netdaemon.wire.answers import Attached, Gap, Message, Output, Status
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Attach, Hello, Request, Start
from netdaemon.wire.frame import LENGTH

PATIENCE = 60.0
PATH = "PATH=" + os.environ["PATH"]

READ_SIZE = 256 * 1024


class Wire:
    """One connection; blocking, with a limit on every wait."""

    def __init__(self, path: str, *, version: int = 2, packets: bool = False, greet: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(path)
        except BaseException:
            self.sock.close()
            raise
        self.connection = ClientConnection(version=version, packets=packets)
        self._buffer = bytearray(READ_SIZE)
        self.later: list[tuple[int, Message | Refusal]] = []
        if greet:
            try:
                self.sock.sendall(self.connection.hello(Hello(client="faults")))
            except BrokenPipeError:
                # Whoever is not let in is told so before HELLO was sent, and may read why.
                pass
            try:
                self.receive()
            except BaseException:
                self.sock.close()
                raise

    def receive(self) -> tuple[int, Message | Refusal]:
        """The next message."""
        while True:
            message = self.connection.next_message()
            if message is not None:
                return message
            length = self.sock.recv_into(self._buffer)
            if not length:
                raise EOFError
            self.connection.receive(memoryview(self._buffer)[:length])

    def post(self, request: Request) -> int:
        """Send a request; its id."""
        id, octets = self.connection.request(request)
        self.sock.sendall(octets)
        return id

    def answer(self, id: int) -> Message | Refusal:
        """Its reply; what comes before it is kept for `events`."""
        for entry in self.later:
            if entry[0] == id:
                self.later.remove(entry)
                return entry[1]
        while True:
            other, message = self.receive()
            if other == id:
                return message
            self.later.append((other, message))

    def ask(self, request: Request) -> Any:
        """Send a request and wait for its reply."""
        return self.answer(self.post(request))

    def start(self, *argv: str, **options: Any) -> tuple[int, str]:
        """Start with attach; the attachment's id and the process's."""
        options.setdefault("env", (PATH,))
        id = self.post(Start(argv=argv, attach=True, **options))
        reply = self.answer(id)
        assert isinstance(reply, Attached), reply
        return id, reply.process.id

    def attach(self, process: str, **options: Any) -> int:
        """Attach; the attachment's id."""
        id = self.post(Attach(process=process, **options))
        reply = self.answer(id)
        assert isinstance(reply, Attached), reply
        return id

    def events(self, id: int) -> Iterator[Message | Refusal]:
        """What is told on an attachment, for as long as it is asked for; what is told on others is dropped."""
        while self.later:
            other, message = self.later.pop(0)
            if other == id:
                yield message
        while True:
            other, message = self.receive()
            if other == id:
                yield message

    def follow(self, id: int) -> Followed:
        """Read up to the exit; offsets are checked on the way."""
        followed = Followed()
        for message in self.events(id):
            if isinstance(message, Output):
                if followed.end is not None:
                    assert message.offset == followed.end, "a byte is missing, or came twice, or out of order"
                followed.end = message.offset + len(message.payload)
                followed.received += len(message.payload)
                if message.payload:
                    followed.pieces.append((message.channel, message.payload))
            elif isinstance(message, Gap):
                assert followed.end is None or message.from_ == followed.end
                followed.gaps += message.to - message.from_
                followed.end = message.to
            elif isinstance(message, Status):
                followed.status = message
                return followed
        raise AssertionError

    def close(self) -> None:
        self.sock.close()


def daemon_of(wire: Wire) -> int:
    """The pid of the daemon at the other end."""
    raw = wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", raw)[0])


class Followed:
    """What an attachment gave up to the exit."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.received = 0
        self.gaps = 0
        self.end: int | None = None
        self.status: Status | None = None

    def of(self, channel: int) -> bytes:
        """The bytes of one channel."""
        return b"".join(data for number, data in self.pieces if number == channel)


def framed(octets: bytes) -> bytes:
    """With its length before it."""
    return LENGTH.pack(len(octets)) + octets


def memory(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    with open(f"/proc/{pid}/status") as file:
        return int(file.read().split("VmRSS:")[1].split()[0]) * 1024


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> int:
    """How many children a daemon has, or its keeper, zombies included; the keeper is none of them."""
    count = 0
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        for child in file.read().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except FileNotFoundError:
                # Released meanwhile.
                continue
            count += children(int(child)) if b"keeper/__main__" in command else 1
    return count


def eventually(condition: Any, patience: float = PATIENCE) -> Any:
    """Wait until it is so; what it gave."""
    deadline = time.monotonic() + patience
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)
