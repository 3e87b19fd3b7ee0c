"""Field types: each value has its bytes, and bytes that are no value are refused with ValueError."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.wire.fields import (
    BOOLEAN,
    INTEGER,
    INTEGER_MAX,
    INTEGER_MIN,
    OCTETS,
    OS_TEXT,
    PAYLOAD,
    TEXT,
    Field,
    array,
    word,
)
from tests.wire.strategies import INTEGERS, TEXTS


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


COLOUR = word(Colour)
NESTED = array(array(TEXT))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (INTEGER, INTEGERS),
        (BOOLEAN, st.booleans()),
        (TEXT, TEXTS),
        (OS_TEXT, st.binary().map(os.fsdecode)),
        (OCTETS, st.binary()),
        (PAYLOAD, st.binary()),
        (array(INTEGER), st.lists(INTEGERS).map(tuple)),
        (array(TEXT), st.lists(TEXTS).map(tuple)),
        (NESTED, st.lists(st.lists(TEXTS, max_size=3).map(tuple), max_size=3).map(tuple)),
        (COLOUR, st.sampled_from(Colour)),
    ],
    ids=repr,
)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_round_trip(field: Field[Any], values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    value = data.draw(values)
    octets = field.encode(value)
    assert field.decode(octets) == value


@pytest.mark.parametrize(
    "field", [INTEGER, BOOLEAN, TEXT, OS_TEXT, OCTETS, array(INTEGER), array(TEXT), NESTED, COLOUR], ids=repr
)
@settings(max_examples=60, deadline=None)
@given(octets=st.one_of(st.binary(max_size=24), st.binary(max_size=24).map(lambda rest: b"\0\0\0\1" + rest)))
def test_garbage_is_a_value_or_refused(field: Field[Any], octets: bytes) -> None:
    """There is one way to write each value: what can be read is written the same."""
    try:
        value = field.decode(octets)
    except ValueError:
        return
    assert field.encode(value) == octets


@pytest.mark.parametrize(
    ("field", "value", "octets"),
    [
        (INTEGER, 0, "0000000000000000"),
        (INTEGER, 1, "0000000000000001"),
        (INTEGER, -1, "ffffffffffffffff"),
        (INTEGER, INTEGER_MAX, "7fffffffffffffff"),
        (INTEGER, INTEGER_MIN, "8000000000000000"),
        (BOOLEAN, False, "00"),
        (BOOLEAN, True, "01"),
        (TEXT, "", ""),
        (TEXT, "caf\u00e9", "636166c3a9"),
        (OS_TEXT, "a\udcff", "61ff"),
        (OCTETS, b"\x00\xff", "00ff"),
        (array(INTEGER), (), ""),
        (array(INTEGER), (1, 2), "00000008 0000000000000001 00000008 0000000000000002"),
        (array(TEXT), ("", "ab"), "00000000 00000002 6162"),
        (NESTED, ((), ("a",)), "00000000 00000005 00000001 61"),
        (COLOUR, Colour.BLUE, "626c7565"),
    ],
)
def test_golden(field: Field[Any], value: Any, octets: str) -> None:
    assert field.encode(value) == bytes.fromhex(octets)
    assert field.decode(bytes.fromhex(octets)) == value


@pytest.mark.parametrize(
    ("field", "octets"),
    [
        (INTEGER, b""),
        (INTEGER, bytes(7)),
        (INTEGER, bytes(9)),
        (BOOLEAN, b""),
        (BOOLEAN, b"\2"),
        (BOOLEAN, b"\0\0"),
        (TEXT, b"\xff"),
        (TEXT, b"\xed\xa0\x80"),
        (array(INTEGER), b"\0\0\0"),
        (array(INTEGER), b"\0\0\0\1"),
        (array(INTEGER), b"\0\0\0\1\1"),
        (array(TEXT), b"\xff\xff\xff\xff"),
        (COLOUR, b""),
        (COLOUR, b"RED"),
        (COLOUR, b"\xff"),
    ],
)
def test_malformed(field: Field[Any], octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        field.decode(octets)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (INTEGER, True),
        (INTEGER, "1"),
        (INTEGER, 1.0),
        (INTEGER, INTEGER_MAX + 1),
        (INTEGER, INTEGER_MIN - 1),
        (BOOLEAN, 1),
        (BOOLEAN, None),
        (TEXT, b"x"),
        (TEXT, "\udcff"),
        (OS_TEXT, b"x"),
        (OS_TEXT, "\ud800"),
        (OCTETS, "x"),
        (array(TEXT), "abc"),
        (array(TEXT), b"abc"),
        (array(TEXT), (1,)),
        (array(TEXT), 5),
        (COLOUR, "green"),
        (COLOUR, None),
    ],
)
def test_what_is_of_another_type_is_not_encoded(field: Field[Any], value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        field.encode(value)


def test_an_integer_of_another_class() -> None:
    """An IntEnum is an integer; a boolean is none."""

    class Number(int):
        pass

    assert INTEGER.encode(Number(5)) == (5).to_bytes(8, "big")


def test_bytes_of_another_class() -> None:
    assert OCTETS.encode(memoryview(b"ab")) == OCTETS.encode(bytearray(b"ab")) == b"ab"


def test_the_words_that_are_allowed_are_told() -> None:
    with pytest.raises(ValueError, match="b'green' is none of: red, blue"):
        COLOUR.decode(b"green")
