"""Boxes: what goes in comes out; whatever else comes is RemoteProtocolError."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import RemoteProtocolError
from netdaemon.wire.box import MAX_KEY, decode_box, encode_box, pair
from tests.wire.support import box

PAIRS = st.dictionaries(st.binary(min_size=1, max_size=MAX_KEY), st.binary(max_size=50), max_size=5)


@settings(deadline=None)
@given(pairs=PAIRS, before=st.binary(max_size=8), after=st.binary(max_size=8))
def test_round_trip(pairs: dict[bytes, bytes], before: bytes, after: bytes) -> None:
    """A box is found where it stands, and where it ends is told."""
    octets = encode_box(pairs.items())
    assert octets == box(pairs)
    assert decode_box(before + octets + after, len(before)) == (pairs, len(before) + len(octets))


@settings(deadline=None)
@given(pairs=PAIRS, data=st.data())
def test_a_cut_box_is_refused(pairs: dict[bytes, bytes], data: st.DataObject) -> None:
    octets = encode_box(pairs.items())
    end = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(RemoteProtocolError):
        decode_box(octets[:end])


@settings(max_examples=300, deadline=None)
@given(octets=st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(lambda rest: b"\0\1k\0\0\0\0" + rest)))
def test_garbage_is_a_box_or_refused(octets: bytes) -> None:
    try:
        pairs, end = decode_box(octets)
    except RemoteProtocolError:
        return
    assert encode_box(pairs.items()) == octets[:end]


def test_golden() -> None:
    assert pair(b"ab", b"xyz") == bytes.fromhex("0002 6162 00000003 78797a")
    assert encode_box([]) == bytes.fromhex("0000")
    assert encode_box([(b"a", b""), (b"b", b"\0")]) == bytes.fromhex("0001 61 00000000 0001 62 00000001 00 0000")


def test_the_key_limit_on_both_its_sides() -> None:
    assert decode_box(box({b"k" * 255: b"v"}))[0] == {b"k" * 255: b"v"}
    with pytest.raises(RemoteProtocolError, match="a key of 256 bytes, and 255 are allowed"):
        decode_box(box({b"k" * 256: b"v"}))


def test_a_key_twice() -> None:
    with pytest.raises(RemoteProtocolError, match="the key b'k' twice"):
        decode_box(box([(b"k", b"1"), (b"l", b""), (b"k", b"1")]))


def test_a_value_of_more_than_64_kib() -> None:
    value = bytes(70000)
    assert decode_box(box({b"k": value}))[0] == {b"k": value}


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        ("", "without its end mark"),
        ("00", "without its end mark"),
        ("0001", "cut short in a key"),
        ("0001 6b 000000", "cut short in a key"),
        ("0001 6b 00000000", "without its end mark"),
        ("0001 6b 00000001", "cut short in the value of b'k'"),
        ("0001 6b ffffffff 00 0000", "cut short in the value of b'k'"),
        ("0100", "a key of 256 bytes"),
        ("ffff", "a key of 65535 bytes"),
    ],
)
def test_malformed(octets: str, what: str) -> None:
    with pytest.raises(RemoteProtocolError, match=what):
        decode_box(bytes.fromhex(octets))
