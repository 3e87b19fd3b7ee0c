"""G5: no input ends any connection but its sender's, and none stops the daemon."""

from __future__ import annotations

import random
import socket
from collections import Counter
from dataclasses import dataclass

import pytest

from netdaemon.errors import ConversationAborted
from netdaemon.wire import v1
from netdaemon.wire.answers import Abort, Failure, Output, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import REQUESTS, Data, Hello, Kill, List
from netdaemon.wire.connection import HEAD
from netdaemon.wire.frame import LENGTH, MAX_MESSAGE
from tests.faults.conftest import Trials
from tests.faults.mutations import judged, mutated
from tests.faults.wire import PATIENCE, Wire, framed
from tests.support import LONG, Figure, RunningDaemon

COMMANDS = 65536

# How a conversation goes on after something malformed.
ABORTED, REFUSED, ANSWERED, CLOSED = "aborted", "refused", "answered", "closed"

# A value in a box that no request has: whatever is known is refused for it, and nothing is carried out. In version 1,
# too, which has no boxes: each request ends before it does, or has a string that does not.
UNKNOWN_FIELD = b"\0\x01x\0\0\0\x01y\0\0"


class Bystander:
    """Somebody with a process, who must notice nothing."""

    def __init__(self, path: str) -> None:
        self._wire = Wire(path)
        self._id, self._process = self._wire.start("cat")
        self._count = 0

    def check(self) -> None:
        """A request is answered, and what is sent to the child comes back."""
        self._count += 1
        line = b"%d\n" % self._count
        assert len(self._wire.ask(List()).processes) == 1
        self._wire.ask(Data(to=self._id, payload=line))
        for message in self._wire.events(self._id):
            assert isinstance(message, Output)
            assert message.payload == line
            return

    def leave(self) -> None:
        self._wire.ask(Kill(process=self._process, signal=9))
        self._wire.close()


@dataclass(frozen=True)
class Door:
    """A kind of socket, and the version that is spoken there: packets know version 1 only, whatever is offered."""

    packets: bool
    offered: int

    @property
    def version(self) -> int:
        return 1 if self.packets else self.offered

    def __str__(self) -> str:
        return f"version {self.offered} {'offered in packets' if self.packets else 'on a stream'}"

    def path(self, running: RunningDaemon) -> str:
        return running.seqpacket if self.packets else running.path

    def hello(self) -> bytes:
        if self.packets and self.offered == 2:
            # As a client of version 2 would say it, which has no such socket.
            return ClientConnection(version=2).hello(Hello(client="garbage"))[LENGTH.size :]
        return ClientConnection(version=self.offered, packets=self.packets).hello(Hello(client="garbage"))

    def framed(self, message: bytes) -> bytes:
        return message if self.packets else framed(message)


DOORS = [Door(packets, offered) for packets in (False, True) for offered in (1, 2)]


def malformed(chance: random.Random, door: Door) -> tuple[list[bytes], str | None]:
    """What no client would send, in one piece or in packets; and what is told of it, if that is for sure."""
    sent, greet, told = nonsense(chance, door)
    pieces = ([door.hello()] if greet else []) + sent
    return pieces if door.packets else [b"".join(pieces)], told


def nonsense(chance: random.Random, door: Door) -> tuple[list[bytes], bool, str | None]:
    """It, whether HELLO stands before it, and what is told of it."""
    kind = chance.randrange(10)
    noise = chance.randbytes(chance.randrange(64))
    if kind == 0:
        return [chance.randbytes(chance.randrange(1, 200))], False, None
    if kind == 1:
        return [LENGTH.pack(chance.randrange(MAX_MESSAGE + 1, 1 << 32)) + noise], True, None
    if kind == 2:
        return [LENGTH.pack(chance.randrange(6)) + noise], True, None
    if kind == 3:
        return [door.framed(HEAD.pack(1, 1) + noise)], False, None
    if kind == 4:
        # As long as it says, and says too much; or more than it says.
        message = bytearray(door.framed(mutated(chance, door.version)))
        message[: LENGTH.size] = LENGTH.pack(chance.randrange(2 * len(message)))
        return [bytes(message)], True, None
    if kind == 5:
        return (
            [door.framed(HEAD.pack(0, chance.choice([*REQUESTS, chance.randrange(COMMANDS)])) + noise)],
            True,
            ABORTED,
        )
    message = mutated(chance, door.version)
    told = judged(message, door.version)
    # A request that is well-formed after all may be refused for what it asks for.
    return [door.framed(message)], True, None if told == ANSWERED else told


def outcome(path: str, pieces: list[bytes], packets: bool) -> str:
    """Send it, say that there will be no more, and read to the end: every connection ends, and what came is legal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        try:
            for octets in pieces:
                sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        try:
            got = b""
            while chunk := sock.recv(65536):
                got += framed(chunk) if packets else chunk
        except ConnectionError:
            # It was closed with something of ours unread, and the kernel says so.
            return CLOSED
    commands = []
    while got:
        length = LENGTH.unpack_from(got)[0]
        commands.append(HEAD.unpack_from(got, 4)[1])
        assert len(got) >= 4 + length, "an answer is cut short"
        got = got[4 + length :]
    if Abort.command in commands:
        return ABORTED
    if Failure.command in commands:
        return REFUSED
    return ANSWERED if commands else CLOSED


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_malformed_frames(fresh: RunningDaemon, figure: Figure, trial: Trials, door: Door) -> None:
    """Thousands of connections with one kind of nonsense each."""
    rounds = 20_000 if LONG else 1_000
    chance = random.Random(2009)
    outcomes: Counter[str] = Counter()
    with trial(fresh, f"malformed frames, {door}") as line:
        bystander = Bystander(fresh.path)
        for number in range(rounds):
            pieces, told = malformed(chance, door)
            found = outcome(door.path(fresh), pieces, door.packets)
            assert told is None or found in (told, CLOSED), f"{told}, and not {found}: {pieces!r}"
            outcomes[found] += 1
            if number % 100 == 0:
                bystander.check()
        bystander.check()
        bystander.leave()
        line.count = rounds
        line.outcome = ", ".join(f"{count:,} {name}" for name, count in sorted(outcomes.items()))
    figure(f"G5 {rounds:,} malformed, {door}: daemon alive, others unharmed", "yes", "yes")
    assert outcomes[ABORTED] > rounds / 10
    assert outcomes[REFUSED] > rounds / 10


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_every_command(fresh: RunningDaemon, figure: Figure, trial: Trials, door: Door) -> None:
    """All that 16 bits can say, on one connection: one answer each, and none of them ends it."""
    codes: Counter[bool] = Counter()
    with trial(fresh, f"all command codes, {door}") as line:
        bystander = Bystander(fresh.path)
        kind = socket.SOCK_SEQPACKET if door.packets else socket.SOCK_STREAM
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(door.path(fresh))
            sock.sendall(door.hello())
            read_message(sock, door.packets)
            for start in blocks(door):
                commands = range(start, start + 64)
                sent = [door.framed(HEAD.pack(2 + command, command) + UNKNOWN_FIELD) for command in commands]
                for octets in sent if door.packets else [b"".join(sent)]:
                    sock.sendall(octets)
                left = {2 + command for command in commands}
                while left:
                    octets = read_message(sock, door.packets)
                    id, command = HEAD.unpack_from(octets)
                    assert command == Failure.command, f"the command {id - 2:#06x} was answered with {command:#06x}"
                    left.remove(id)
                    codes[b"is no request of version" in octets] += 1
        bystander.check()
        bystander.leave()
        asked = 64 * len(blocks(door))
        line.count = codes.total()
        line.outcome = f"{codes[True]:,} unknown, {codes[False]:,} malformed: one answer each"
    figure(f"G5 all command codes, {door}: refused, each once", f"{codes.total():,}", f"{asked:,}")
    known = len(REQUESTS) if door.version == 2 else len(v1.REQUEST_CODES | {Hello.command})
    assert codes == {False: known, True: asked - known}


def blocks(door: Door) -> list[int]:
    """Where 64 commands begin that are asked for: all, where the form is long or the door the usual one."""
    every = LONG or (door.version, door.packets) == (2, False)
    return [start for start in range(0, COMMANDS, 64) if every or start < 1024 or start % 1024 == 0]


def read_message(sock: socket.socket, packets: bool = False) -> bytes:
    """One whole message, read without the library: it knows what was asked, and nothing was."""
    if packets:
        return sock.recv(65536)

    def exactly(count: int) -> bytes:
        got = b""
        while len(got) < count:
            chunk = sock.recv(count - len(got))
            assert chunk, "the connection has ended"
            got += chunk
        return got

    return exactly(LENGTH.unpack(exactly(4))[0])


def test_a_client_of_a_later_version(daemon: RunningDaemon) -> None:
    """HELLO with a version and fields that are not known yet is answered with what is."""
    wire = Wire(daemon.path, greet=False)
    box = b"\0\x06future\0\0\0\x01!\0\0"
    wire.sock.sendall(framed(HEAD.pack(1, 1) + b"\0\x09" + box))
    answer = read_message(wire.sock)
    assert HEAD.unpack_from(answer) == (1, Welcome.command)
    assert answer[6:8] == b"\0\x02"
    wire.close()


def test_what_ends_a_conversation_is_told(daemon: RunningDaemon) -> None:
    """An ABORT that says what was wrong, then the end."""
    wire = Wire(daemon.path)
    wire.sock.sendall(LENGTH.pack(MAX_MESSAGE + 1))
    with pytest.raises(ConversationAborted, match=f"a message of {MAX_MESSAGE + 1} bytes; the most is {MAX_MESSAGE}"):
        wire.receive()
    with pytest.raises(EOFError):
        wire.receive()
    wire.close()
