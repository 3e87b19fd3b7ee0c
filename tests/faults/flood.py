"""A client that sends as many requests as it can, in a process of its own: ``python -m tests.faults.flood PATH COUNT``.

It says how many answers came, whether each came in its turn, and in how many seconds.
"""

from __future__ import annotations

import select
import sys
import time

from netdaemon.wire.answers import Listing
from netdaemon.wire.commands import List
from tests.faults.wire import PATIENCE, READ_SIZE, Wire

# Sent in one piece.
PIECE = 1000


def main(path: str, count: int) -> None:
    wire = Wire(path)
    wire.sock.setblocking(False)
    buffer = bytearray(READ_SIZE)
    sent: list[int] = []
    answered: list[int] = []
    waiting = memoryview(b"")
    poll = select.poll()
    began = time.monotonic()
    while len(answered) < count:
        if not waiting and len(sent) < count:
            octets = b""
            for _ in range(min(PIECE, count - len(sent))):
                id, one = wire.connection.request(List())
                sent.append(id)
                octets += one
            waiting = memoryview(octets)
        poll.register(wire.sock, select.POLLIN | (select.POLLOUT if waiting else 0))
        events = poll.poll(PATIENCE * 1000)
        if not events:
            break
        if events[0][1] & select.POLLOUT:
            waiting = waiting[wire.sock.send(waiting) :]
        if events[0][1] & ~select.POLLOUT:
            length = wire.sock.recv_into(buffer)
            if not length:
                break
            wire.connection.receive(memoryview(buffer)[:length])
            while (message := wire.connection.next_message()) is not None:
                assert isinstance(message[1], Listing), message
                answered.append(message[0])
    print(len(answered), answered == sent[: len(answered)], f"{time.monotonic() - began:.3f}")
    wire.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
