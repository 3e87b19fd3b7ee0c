"""Messages that are almost right: the golden bytes of either version, with one thing wrong; knows no sockets."""

from __future__ import annotations

import random

from netdaemon.errors import Refusal, RemoteProtocolError
from netdaemon.wire.answers import Welcome
from netdaemon.wire.client import ClientConnection
from netdaemon.wire.commands import Detach, Flow, Hello, Info, Inspect, List, Request
from netdaemon.wire.frame import LENGTH
from netdaemon.wire.server import ServerConnection
from tests.wire.golden import V1_REQUESTS, V2_REQUESTS
from tests.wire.support import from_hex

# What may be carried out should a mutation make it: it changes nothing.
HARMLESS = (Info, Inspect, List, Detach, Flow)

# Numbers that lengths and counts go wrong with.
ODD = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# Requests that golden messages are made of, without their length, by version; HELLO is said before.
MESSAGES = {
    version: [from_hex(golden.octets)[LENGTH.size :] for golden in table if not isinstance(golden.message, Hello)]
    for version, table in ((1, V1_REQUESTS), (2, V2_REQUESTS))
}

# How many ways of going wrong there are.
WAYS = 8


def mutated(chance: random.Random, version: int) -> bytes:
    """One message without its length, with one thing wrong; never one that would change anything."""
    while True:
        message = _changed(chance, chance.choice(MESSAGES[version]), chance.choice(MESSAGES[version]))
        if len(message) >= 6 and judged(message, version) is not None:
            return message


def _changed(chance: random.Random, message: bytes, other: bytes) -> bytes:
    octets = bytearray(message)
    place = chance.randrange(len(octets))
    way = chance.randrange(WAYS)
    if way == 0:
        # A bit.
        octets[place] ^= 1 << chance.randrange(8)
    elif way == 1:
        # Cut short.
        del octets[place:]
    elif way == 2:
        # A number that says how long or how many, or what stands where one should.
        size = chance.choice((1, 2, 4))
        octets[place : place + size] = (chance.choice(ODD) % (1 << 8 * size)).to_bytes(size, "big")
    elif way == 3:
        # A piece is missing.
        del octets[place : place + chance.randrange(1, 9)]
    elif way == 4:
        # Something stands in between.
        octets[place:place] = chance.randbytes(chance.randrange(1, 9))
    elif way == 5:
        # A piece comes twice.
        octets[place:place] = octets[place : place + chance.randrange(1, 40)]
    elif way == 6:
        # Another command's body.
        octets[4:6] = other[4:6]
    else:
        # No command that there is.
        octets[4:6] = chance.randrange(1 << 16).to_bytes(2, "big")
    return bytes(octets)


def judged(message: bytes, version: int) -> str | None:
    """What the protocol has it answered with: "aborted", "refused" or "answered"; None: it would change something."""
    server = ServerConnection()
    server.receive(ClientConnection(version=version).hello(Hello(client="")))
    received = server.next_request()
    assert received is not None
    server.welcome(received[0], Welcome(server=""))
    server.receive(LENGTH.pack(len(message)) + message)
    try:
        received = server.next_request()
    except RemoteProtocolError:
        return "aborted"
    assert received is not None
    request: Request | Refusal = received[1]
    if isinstance(request, Refusal):
        return "refused"
    return "answered" if isinstance(request, HARMLESS) else None
