"""What a keeper and a daemon say to each other: as it was said, whole, with its descriptors, or an error; no leaks."""

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.keeper.messages import DESCRIPTORS, INLINE, Channel, Torn, close_all, pack, unpack


@given(st.lists(st.binary(max_size=100)))
def test_packed_is_unpacked(fields: list[bytes]) -> None:
    assert unpack(pack(fields)) == fields


@given(st.lists(st.binary(max_size=20), min_size=1), st.data())
def test_what_is_cut_short_is_torn(fields: list[bytes], data: st.DataObject) -> None:
    """Unless it was cut between two fields."""
    octets = pack(fields)
    cut = data.draw(st.integers(0, len(octets) - 1))
    try:
        assert pack(unpack(octets[:cut])) == octets[:cut]
    except Torn:
        pass


@given(st.binary(max_size=200))
def test_any_octets_are_fields_or_torn(octets: bytes) -> None:
    try:
        assert pack(unpack(octets)) == octets
    except Torn:
        pass


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channels = Channel(one), Channel(other)
    before = set(os.listdir("/proc/self/fd"))
    yield channels
    assert set(os.listdir("/proc/self/fd")) - before == set(), "descriptors were left"
    for channel in channels:
        channel.close()


@pytest.mark.parametrize("size", [0, 1, INLINE - 20, INLINE, 300_000, 3_000_000])
@pytest.mark.parametrize("count", [0, 1, DESCRIPTORS - 1])
def test_of_any_size_with_descriptors(ends: tuple[Channel, Channel], size: int, count: int) -> None:
    """A long one goes as a file; the descriptors arrive in their order, close-on-exec."""
    here, there = ends
    files = [os.memfd_create(str(number)) for number in range(count)]
    for number, file in enumerate(files):
        os.write(file, str(number).encode())
    here.send(b"word", b"x" * size, descriptors=files)
    received = there.receive()
    assert received is not None
    fields, descriptors = received
    assert fields == [b"word", b"x" * size]
    assert [os.pread(one, 10, 0) for one in descriptors] == [str(number).encode() for number in range(count)]
    assert not any(os.get_inheritable(one) for one in descriptors)
    assert there.receive() is None
    close_all([*files, *descriptors])


def test_what_the_socket_does_not_take_waits(ends: tuple[Channel, Channel]) -> None:
    """In order, with duplicates of the descriptors, which may be closed here meanwhile."""
    here, there = ends
    sent = 0
    while not here.waits:
        here.send(b"%d" % sent, bytes(20_000))
        sent += 1
    file = os.memfd_create("late")
    os.write(file, b"late")
    here.send(b"%d" % sent, descriptors=[file])
    os.close(file)
    for number in range(sent + 1):
        while (received := there.receive()) is None:
            here.flush()
        fields, descriptors = received
        assert fields[0] == b"%d" % number
    assert not here.waits
    assert os.pread(descriptors[0], 10, 0) == b"late"
    close_all(descriptors)


def test_last_words_are_heard() -> None:
    """Whoever is killed with something unread has said what it said; the kernel tells of the first before that."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here, there = Channel(one), Channel(other)
    there.send(b"unread")
    here.send(b"first")
    here.send(b"last", descriptors=[0])
    here.close()
    assert there.receive() == ([b"first"], [])
    received = there.receive()
    assert received is not None
    assert received[0] == [b"last"]
    close_all(received[1])
    with pytest.raises(EOFError):
        there.receive()
    there.close()


def test_no_room_for_descriptors(ends: tuple[Channel, Channel]) -> None:
    """The message is torn, and none of its descriptors stays; the next one is heard."""
    here, there = ends
    for rest in (b"short", bytes(100_000)):
        here.send(b"many", b"id", rest, descriptors=[0] * (DESCRIPTORS + 20))
        here.send(b"next")
        with pytest.raises(Torn, match="no descriptor is left") as caught:
            there.receive()
        # What it was about is known, so that it can be answered.
        assert caught.value.fields[:2] == [b"many", b"id"]
        assert there.receive() == ([b"next"], [])
