"""From a START to what is launched: an id, what it is known by when it comes again, and the spec; decides nothing."""

from __future__ import annotations

import hashlib
import secrets

from netdaemon.keeper.child import Spec
from netdaemon.wire.commands import Start

# No vowels and nothing that looks like something else: ids are read aloud, and spell no words.
_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"

# 27 to the 9th power: never the same twice, in any daemon's life.
ID_LENGTH = 10
ID_BITS = 64


def new_id() -> str:
    """A process id; the first character is a letter."""
    # One call of the kernel for all of it: the remainders are even to within a millionth.
    number = secrets.randbits(ID_BITS)
    number, first = divmod(number, len(_ALPHABET) - 8)
    id = _ALPHABET[first]
    for _ in range(ID_LENGTH - 1):
        number, place = divmod(number, len(_ALPHABET))
        id += _ALPHABET[place]
    return id


def digest(request: Start) -> str:
    """By which a START that comes again is known: all that it says of the process, and nothing of the attachment."""
    said = (request.path, request.argv, request.env, request.cwd, request.name, request.labels)
    return hashlib.sha256(repr((*said, request.pty, request.merge, request.keep)).encode()).hexdigest()


def spec_of(request: Start) -> Spec:
    """What is to be executed for *request*."""
    env = list(request.env or ())
    if request.pty is not None and request.pty.term is not None:
        env = [one for one in env if not one.startswith("TERM=")] + [f"TERM={request.pty.term}"]
    return Spec(
        path=_octets(request.path or request.argv[0]),
        argv=tuple(map(_octets, request.argv)),
        env=tuple(map(_octets, env)),
        cwd=_octets(request.cwd or "/"),
        pty=(request.pty.rows, request.pty.columns) if request.pty else None,
        merge=bool(request.merge),
    )


def _octets(text: str) -> bytes:
    """As it came over the wire, whatever this program's locale is."""
    return text.encode("utf-8", "surrogateescape")
