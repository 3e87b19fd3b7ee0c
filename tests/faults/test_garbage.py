"""G5: no input ends any connection but its sender's, and none stops the daemon."""

from __future__ import annotations

import random
import socket

import pytest

from netdaemon.errors import ConversationAborted
from netdaemon.wire.answers import Abort, Output, Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import REQUESTS, Data, Hello, Kill, List
from netdaemon.wire.connection import HEAD
from netdaemon.wire.frame import LENGTH, MAX_MESSAGE
from tests.faults.wire import PATIENCE, Wire, framed
from tests.support import Figure, RunningDaemon

COMMANDS = 65536

# A value in a box that no request has: whatever is known is refused for it, and nothing is carried out.
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


def malformed(chance: random.Random, packets: bool) -> list[bytes]:
    """What no client would send, of one of the kinds that there are: on a stream in one piece, or packet by packet."""
    hello = ClientConnection(version=1 if packets else 2, packets=packets).hello(Hello(client="garbage"))
    sent, greet = nonsense(chance, packets)
    return ([hello] if greet else []) + sent if packets else [b"".join(([hello] if greet else []) + sent)]


def nonsense(chance: random.Random, packets: bool) -> tuple[list[bytes], bool]:
    """It, and whether HELLO stands before it."""
    kind = chance.randrange(8)
    command = chance.choice([*REQUESTS, chance.randrange(COMMANDS)])
    noise = chance.randbytes(chance.randrange(64))
    head = HEAD.pack(2, command)
    frame = bytes if packets else framed
    if kind == 0:
        return [chance.randbytes(chance.randrange(1, 200))], False
    if kind == 1:
        return [LENGTH.pack(chance.randrange(MAX_MESSAGE + 1, 1 << 32)) + noise], True
    if kind == 2:
        return [LENGTH.pack(chance.randrange(6)) + noise], True
    if kind == 3:
        return [frame(HEAD.pack(1, 1) + noise)], False
    if kind == 4:
        return [frame(HEAD.pack(0, command) + noise)], True
    if kind == 5:
        return [frame(head + noise)], True
    if kind == 6:
        # Lengths that lead beyond the end.
        return [frame(head + b"\0\x04name" + LENGTH.pack(chance.randrange(1 << 32)) + noise)], True
    whole = bytearray(frame(head + UNKNOWN_FIELD))
    whole[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
    return [bytes(whole)], True


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
            return "closed"
    commands = []
    while got:
        length = LENGTH.unpack_from(got)[0]
        commands.append(HEAD.unpack_from(got, 4)[1])
        assert len(got) >= 4 + length, "an answer is cut short"
        got = got[4 + length :]
    return "aborted" if Abort.command in commands else "answered" if commands else "closed"


@pytest.mark.parametrize("packets", [False, True], ids=["stream", "packets"])
def test_malformed_frames(fresh: RunningDaemon, figure: Figure, packets: bool) -> None:
    """Thousands of connections with one kind of nonsense each."""
    rounds = 20_000
    chance = random.Random(2009)
    bystander = Bystander(fresh.path)
    outcomes: dict[str, int] = {}
    for number in range(rounds):
        found = outcome(fresh.seqpacket if packets else fresh.path, malformed(chance, packets), packets)
        outcomes[found] = outcomes.get(found, 0) + 1
        if number % 100 == 0:
            bystander.check()
    bystander.check()
    bystander.leave()
    kind = "packets" if packets else "frames"
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(outcomes.items()))
    figure(f"G5 {rounds:,} malformed {kind}: daemon alive, others unharmed", "yes", "yes")
    figure(f"G5 {rounds:,} malformed {kind}: their senders", told, "told or closed")
    assert outcomes["aborted"] > rounds / 4


def test_every_command(fresh: RunningDaemon, figure: Figure) -> None:
    """All that 16 bits can say, on one connection: one answer each, and none of them ends it."""
    bystander = Bystander(fresh.path)
    wire = Wire(fresh.path)
    codes: dict[str, int] = {}
    for start in range(0, COMMANDS, 64):
        commands = range(start, start + 64)
        wire.sock.sendall(b"".join(framed(HEAD.pack(2 + command, command) + UNKNOWN_FIELD) for command in commands))
        left = {2 + command for command in commands}
        while left:
            octets = read_message(wire.sock)
            id, command = HEAD.unpack_from(octets)
            assert command == 0xFFF0, f"the command {id - 2:#06x} was answered with {command:#06x}"
            left.remove(id)
            code = "unknown-command" if b"unknown-command" in octets else "bad-request"
            codes[code] = codes.get(code, 0) + 1
    bystander.check()
    bystander.leave()
    wire.close()
    figure("G5 all command codes: refused, each once", f"{sum(codes.values()):,}", f"{COMMANDS:,}")
    assert codes == {"bad-request": len(REQUESTS), "unknown-command": COMMANDS - len(REQUESTS)}


def read_message(sock: socket.socket) -> bytes:
    """One whole message, read without the library: it knows what was asked, and nothing was."""

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
