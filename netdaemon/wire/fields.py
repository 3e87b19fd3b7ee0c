"""One Python value to and from one box value; each `Field` names its type as the protocol description does."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import Any, Generic, TypeVar

from netdaemon.wire.box import value_length

__all__ = ["BOOLEAN", "INTEGER", "OCTETS", "OS_TEXT", "PAYLOAD", "TEXT", "Field", "array", "record", "word"]

T = TypeVar("T")

_INTEGER = Struct(">q")
_LENGTH = Struct(">I")
INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1


class Field(Generic[T]):
    """How values of one type stand in a box.

    :param name: the type's name in the protocol description; error messages use it.
    :param encode: value to bytes; raises ValueError or TypeError with what was seen and what is allowed.
    :param decode: bytes to value; raises ValueError likewise.
    :param item: as *encode*, with the length before it, as an array has it.
    """

    __slots__ = ("decode", "encode", "item", "name")

    def __init__(
        self,
        name: str,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
        item: Callable[[T], bytes] | None = None,
    ) -> None:
        self.name = name
        self.encode = encode
        self.decode = decode
        self.item = item or self._item

    def _item(self, value: T) -> bytes:
        octets = self.encode(value)
        return value_length(len(octets)) + octets

    def __repr__(self) -> str:
        return f"<field {self.name}>"


def _encode_integer(value: int) -> bytes:
    if value.__class__ is not int and not (isinstance(value, int) and not isinstance(value, bool)):
        raise TypeError(f"{value!r} is no integer")
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise ValueError(f"{value} does not fit into 64 bits, signed")
    return _INTEGER.pack(value)


def _decode_integer(octets: bytes) -> int:
    if len(octets) != 8:
        raise ValueError(f"an integer has 8 bytes, not {len(octets)}")
    value: int = _INTEGER.unpack(octets)[0]
    return value


def _encode_boolean(value: bool) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is no boolean")
    return b"\1" if value else b"\0"


def _decode_boolean(octets: bytes) -> bool:
    if octets == b"\1":
        return True
    if octets == b"\0":
        return False
    raise ValueError("a boolean is one byte, 0 or 1")


def _encode_text(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8")


def _encode_message(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8", "backslashreplace")


def _decode_text(octets: bytes) -> str:
    return octets.decode("utf-8")


def _encode_os_text(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8", "surrogateescape")


def _decode_os_text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _encode_octets(value: bytes) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{value!r} is not bytes")
    return bytes(value)


INTEGER: Field[int] = Field("integer", _encode_integer, _decode_integer)
BOOLEAN: Field[bool] = Field("boolean", _encode_boolean, _decode_boolean)
TEXT: Field[str] = Field("text", _encode_text, _decode_text)
# What an error says to people: it may quote what is no text, a program's name for one, and must be told all the same.
MESSAGE: Field[str] = Field("text", _encode_message, _decode_text)
# Names that the operating system gives (argv, environment, paths): any bytes, as os.fsencode has them.
OS_TEXT: Field[str] = Field("text", _encode_os_text, _decode_os_text)
OCTETS: Field[bytes] = Field("octets", _encode_octets, bytes)
# What follows the box; only DATA has one.
PAYLOAD: Field[bytes] = Field("payload", _encode_octets, bytes)


def array(item: Field[T]) -> Field[tuple[T, ...]]:
    """``(length:u32, item)*``; a tuple in Python."""

    def encode(values: tuple[T, ...]) -> bytes:
        if isinstance(values, str | bytes):
            raise TypeError(f"{values!r} is no array")
        return b"".join(map(item.item, values))

    def decode(octets: bytes) -> tuple[T, ...]:
        values: list[T] = []
        position = 0
        size = len(octets)
        while position < size:
            start = position + 4
            if start > size:
                raise ValueError("an array is cut short in a length")
            position = start + _LENGTH.unpack_from(octets, position)[0]
            if position > size:
                raise ValueError("an array is cut short in an item")
            values.append(item.decode(octets[start:position]))
        return tuple(values)

    return Field(f"array of {item.name}", encode, decode)


def word(choices: type[Enum]) -> Field[Any]:
    """One word of a fixed list, an Enum in Python."""
    allowed = ", ".join(str(choice.value) for choice in choices)
    by_choice = {choice: str(choice.value).encode("ascii") for choice in choices}
    by_word = {octets: choice for choice, octets in by_choice.items()}

    def encode(value: Enum) -> bytes:
        octets = by_choice.get(value)
        return by_choice[choices(value)] if octets is None else octets

    def decode(octets: bytes) -> Enum:
        choice = by_word.get(octets)
        if choice is None:
            raise ValueError(f"{octets!r} is none of: {allowed}")
        return choice

    return Field("text", encode, decode)


def record(
    encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], item: Callable[[Any], bytes] | None = None
) -> Field[Any]:
    """A box in a box; what its pairs are is for whoever declares it to say."""
    return Field("record", encode, decode, item)
