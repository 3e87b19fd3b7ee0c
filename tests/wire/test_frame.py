"""Frames and packets: any cut of the stream gives the same messages; each limit holds on both its sides."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.errors import RemoteProtocolError
from netdaemon.wire.frame import (
    GREETING_LIMIT,
    MAX_MESSAGE,
    MAX_PACKET,
    MESSAGE_HEAD,
    FrameReader,
    PacketReader,
    check_length,
    frame,
)
from tests.wire.support import cut

MESSAGES = st.lists(st.binary(min_size=MESSAGE_HEAD, max_size=80), max_size=8)


def read(reader: FrameReader | PacketReader) -> list[bytes]:
    got = []
    while (message := reader.next()) is not None:
        got.append(message)
    return got


def test_the_limits_are_those_of_the_protocol() -> None:
    assert (MESSAGE_HEAD, GREETING_LIMIT, MAX_MESSAGE, MAX_PACKET) == (6, 4096, 1048576, 65536)


@settings(deadline=None)
@given(sent=MESSAGES, places=st.lists(st.integers(0, 1000), max_size=40))
def test_any_cut_gives_the_same_messages(sent: list[bytes], places: list[int]) -> None:
    stream = b"".join(map(frame, sent))
    reader = FrameReader()
    got: list[bytes] = []
    for part in cut(stream, places):
        reader.receive(part)
        got += read(reader)
    assert got == sent
    assert not reader.unfinished


@settings(deadline=None)
@given(sent=MESSAGES, places=st.lists(st.integers(0, 1000), max_size=40))
def test_messages_may_be_asked_for_late(sent: list[bytes], places: list[int]) -> None:
    """What was received and not asked for waits, and is counted."""
    stream = b"".join(map(frame, sent))
    reader = FrameReader()
    for part in cut(stream, places):
        reader.receive(part)
    assert reader.waiting == len(stream)
    assert reader.unfinished == bool(stream)
    assert read(reader) == sent
    assert reader.waiting == 0


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 17])
def test_any_step_gives_the_same_messages(step: int) -> None:
    sent = [bytes([number]) * (MESSAGE_HEAD + number) for number in range(50)]
    stream = b"".join(map(frame, sent))
    reader = FrameReader()
    got = []
    for start in range(0, len(stream), step):
        reader.receive(stream[start : start + step])
        got += read(reader)
    assert got == sent


def test_the_buffer_may_be_overwritten() -> None:
    """What was received is copied, on streams and on packets."""
    for reader, octets in ((FrameReader(), bytearray(frame(b"abcdef"))), (PacketReader(), bytearray(b"abcdef"))):
        reader.receive(memoryview(octets))
        octets[:] = bytes(len(octets))
        assert reader.next() == b"abcdef"


@pytest.mark.parametrize("length", [0, 1, 5])
def test_too_short(length: int) -> None:
    for reader, octets in ((FrameReader(), frame(b"x" * length)), (PacketReader(), b"x" * length)):
        reader.receive(octets)
        with pytest.raises(RemoteProtocolError, match=f"a message of {length} bytes; the least is 6") as caught:
            reader.next()
        assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize("limit", [6, 7, GREETING_LIMIT, MAX_PACKET, MAX_MESSAGE])
def test_the_limit_on_both_its_sides(limit: int) -> None:
    check_length(limit, limit)
    for reader in (FrameReader(limit), PacketReader(limit)):
        make = frame if isinstance(reader, FrameReader) else bytes
        reader.receive(make(bytes(limit)))
        assert reader.next() == bytes(limit)
        reader.receive(make(bytes(limit + 1)))
        with pytest.raises(RemoteProtocolError, match=f"of {limit + 1} bytes; the most is {limit}") as caught:
            reader.next()
        assert caught.value.errno == errno.EMSGSIZE


def test_the_least_message() -> None:
    check_length(MESSAGE_HEAD, GREETING_LIMIT)
    reader = FrameReader()
    reader.receive(frame(bytes(6)))
    assert reader.next() == bytes(6)


def test_before_hello_the_limit_is_low() -> None:
    assert FrameReader().limit == PacketReader().limit == GREETING_LIMIT


@pytest.mark.parametrize("length", [GREETING_LIMIT + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_too_long_is_told_by_the_length_alone(length: int) -> None:
    """Not one byte of the body has to come, and none is waited for."""
    reader = FrameReader()
    reader.receive(length.to_bytes(4, "big"))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            reader.next()


def test_unfinished() -> None:
    """A message that has begun and not ended is known; between messages there is none."""
    reader = FrameReader()
    assert not reader.unfinished
    octets = frame(b"abcdef")
    for octet in octets[:-1]:
        reader.receive(bytes([octet]))
        assert reader.next() is None
        assert reader.unfinished
    reader.receive(octets[-1:])
    assert reader.next() == b"abcdef"
    assert not reader.unfinished
    assert reader.waiting == 0


def test_packets_come_out_as_they_came_in() -> None:
    reader = PacketReader()
    assert reader.next() is None
    sent = [b"abcdef", b"ghijklm"]
    for packet in sent:
        reader.receive(packet)
    assert reader.waiting == 13
    assert not reader.unfinished
    assert read(reader) == sent
    assert reader.waiting == 0


@settings(deadline=None)
@given(
    sent=st.lists(
        st.binary(min_size=MESSAGE_HEAD, max_size=80)
        | st.integers(1000, 40000).map(lambda size: bytes([size % 251]) * size),
        max_size=8,
    ),
    places=st.lists(st.integers(0, 60000), max_size=20),
    data=st.data(),
)
def test_what_is_lent_may_be_overwritten(sent: list[bytes], places: list[int], data: st.DataObject) -> None:
    """Once all of it has been asked for, or it was kept; and at any time something may be received that is not lent."""
    reader = FrameReader(MAX_MESSAGE)
    got: list[bytes] = []
    for part in cut(b"".join(map(frame, sent)), places):
        lent = data.draw(st.booleans())
        memory = bytearray(part)
        before = reader.waiting
        reader.receive(memoryview(memory), lent=lent)
        assert reader.waiting == before + len(part)
        for _ in range(data.draw(st.integers(0, 3))):
            message = reader.next()
            if message is None:
                break
            got.append(bytes(message))
        else:
            reader.keep()
        memory[:] = bytes(len(part))
    got += [bytes(message) for message in iter(reader.next, None)]
    assert got == sent
    assert not reader.unfinished
    assert reader.waiting == 0


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("octets", [b"\0\0\0\5", b"\0\x10\0\1"])
def test_a_length_that_is_not_allowed_is_seen_in_what_is_lent(octets: bytes, place: int) -> None:
    reader = FrameReader(MAX_MESSAGE)
    reader.receive(memoryview(octets[:place]), lent=True)
    assert reader.next() is None
    reader.receive(memoryview(octets[place:]), lent=True)
    with pytest.raises(RemoteProtocolError):
        reader.next()
