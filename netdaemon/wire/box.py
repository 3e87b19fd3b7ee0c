"""AMP-style boxes: key/value pairs with 32-bit value lengths; knows no types."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from netdaemon.errors import RemoteProtocolError

# The length of a key is one byte's worth: a key is a short lower-case word, and a long one is garbage.
MAX_KEY = 255

_KEY = Struct(">H")
_VALUE = Struct(">I")
END = b"\0\0"

# The length before a value, its size, and the same in a tuple of its own, read.
LENGTH_SIZE = _VALUE.size
value_length = _VALUE.pack
read_value_length = _VALUE.unpack_from


def key_head(key: bytes) -> bytes:
    """A key as it stands in a box; the value's length and the value follow it."""
    return _KEY.pack(len(key)) + key


def pair(key: bytes, value: bytes) -> bytes:
    """One key/value pair as it stands in a box."""
    return key_head(key) + value_length(len(value)) + value


def encode_box(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a box with these pairs, in this order, and its end."""
    return b"".join([pair(key, value) for key, value in pairs]) + END


def decode_box(octets: bytes, start: int = 0) -> tuple[dict[bytes, bytes], int]:
    """Read one box from *octets* at *start*.

    :return: its pairs, and the position after its end.
    :raises RemoteProtocolError: it is cut short, has a key twice, or a key that is too long.
    """
    pairs: dict[bytes, bytes] = {}
    size = len(octets)
    position = start
    while True:
        after = position + 2
        if after > size:
            raise RemoteProtocolError("a box ends without its end mark")
        length = (octets[position] << 8) | octets[position + 1]
        if length == 0:
            return pairs, after
        if length > MAX_KEY:
            raise RemoteProtocolError(f"a box has a key of {length} bytes, and {MAX_KEY} are allowed")
        value = after + length + 4
        if value > size:
            raise RemoteProtocolError("a box is cut short in a key")
        key = octets[after : after + length]
        end = value + _VALUE.unpack_from(octets, value - 4)[0]
        if end > size:
            raise RemoteProtocolError(f"a box is cut short in the value of {key!r}")
        if key in pairs:
            raise RemoteProtocolError(f"a box has the key {key!r} twice")
        pairs[key] = octets[value:end]
        position = end
