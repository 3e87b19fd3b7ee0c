"""What another daemon finds: spools, input and what was saved, given up at any instant by one that was killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.keeper.child import ExitStatus
from netdaemon.process import spool as module
from netdaemon.process.saved import Identity, Point, Saved
from netdaemon.process.slots import Slots
from netdaemon.process.spool import MARK_INTERVAL, PAGE, Spool
from netdaemon.process.stdin import Stdin
from netdaemon.wire.answers import Status
from netdaemon.wire.records import Pty, State
from tests.process.test_spool import Fed

CHUNKS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=3000), st.sampled_from([1, 2]), st.integers(0, 2 * MARK_INTERVAL)),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(chunks=CHUNKS, deaths=st.sets(st.integers(0, 40)), gives=st.sets(st.integers(0, 40)))
def test_a_spool_goes_on(chunks: list[tuple[bytes, int, int]], deaths: set[int], gives: set[int]) -> None:
    """Begin, end, bytes, channels and marks are as they were, as often as it changes hands; also on a full disk."""
    fed, now = Fed(), 0
    try:
        for number, (data, channel, wait) in enumerate(chunks):
            now += wait
            fed.append(data, channel, now)
            if number in gives:
                fed.spool._give_up()
            if number in deaths:
                old = fed.spool
                fed.spool = Spool.adopt(os.dup(old.descriptor))
                assert (fed.spool.begin, fed.spool.end) == (old.begin, old.end)
                # Some that the other had were needed no more.
                count = len(fed.spool._offsets)
                assert fed.spool._offsets == old._offsets[-count:]
                assert fed.spool._notes == old._notes[-count:]
                assert (fed.spool._marks - old._marks) % old.capacity == 0
                old.close()
        assert fed.read(fed.spool.begin) == bytes(fed.model[fed.spool.begin :])
    finally:
        fed.close()


class Dead(BaseException):
    """Here it was killed."""


class Dying:
    """The system calls of a spool, of which the last is not made, or is the last that is."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in ("pwrite", "lseek", "splice"):
            return call

        def counted(*arguments: Any, **options: Any) -> Any:
            if not self.calls:
                raise Dead
            self.calls -= 1
            return call(*arguments, **options)

        return counted


@pytest.mark.parametrize("before", [0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
@pytest.mark.parametrize("calls", range(12))
def test_killed_between_any_two_system_calls(before: int, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has come is what the position says, whichever call was the last; and what is in the pipe comes then."""
    fed = Fed()
    try:
        fed.append(b"a" * before, 1, 1)
        data = bytes(range(256)) * (PAGE // 256 + 1)
        os.write(fed.writing, data)
        fed.model += data
        fed.channels += b"\2" * len(data)
        with monkeypatch.context() as patch:
            patch.setattr(module, "os", Dying(calls))
            try:
                while fed.spool.end < len(fed.model):
                    fed.spool.append_from(fed.reading, 2, 1000, 10 * MARK_INTERVAL)
            except Dead:
                pass
        old, fed.spool = fed.spool, Spool.adopt(os.dup(fed.spool.descriptor))
        old.close()
        while fed.spool.end < len(fed.model):
            fed.spool.append_from(fed.reading, 2, 1000, 10 * MARK_INTERVAL)
        assert fed.spool.end == len(fed.model)
        assert fed.read(fed.spool.begin) == bytes(fed.model[fed.spool.begin :])
    finally:
        fed.close()


@pytest.mark.parametrize("octets", [b"", b"NDSPOOL1" + bytes(100), b"NDSPOOL2", bytes(PAGE)])
def test_what_is_no_spool(octets: bytes) -> None:
    file = os.memfd_create("other")
    os.write(file, octets)
    with pytest.raises(ValueError, match="does not begin"):
        Spool.adopt(file)
    os.close(file)


class Reader:
    """Somebody who holds."""

    def __init__(self, allowance: float | None) -> None:
        self.floor = 0
        self.allowance = allowance


def test_who_holds_is_known_afterwards() -> None:
    """How many, and for how long at most; nobody, when they have let go; all who are left to the next, if told so."""
    spool = Spool(os.memfd_create("out"), PAGE)

    def held() -> tuple[int, float | None]:
        other = Spool.adopt(os.dup(spool.descriptor))
        found = other.held()
        other.close()
        return found

    assert held() == (0, 0.0)
    one, other, third = Reader(1.5), Reader(2.0), Reader(None)
    spool.hold(one)
    spool.hold(other)
    assert held() == (2, 2.0)
    spool.hold(third)
    assert held() == (3, None)
    spool.release(third)
    spool.release(other)
    assert held() == (1, 1.5)
    spool.leave()
    spool.release(one)
    assert held() == (1, 1.5)
    spool.close()


@settings(deadline=None, max_examples=100)
@given(versions=st.lists(st.tuples(st.binary(max_size=6000), st.booleans()), max_size=12))
def test_slots_have_the_old_or_the_new(versions: list[tuple[bytes, bool]]) -> None:
    """Of any size, as often as it changes hands; and nothing else of the file is touched."""
    file = os.memfd_create("slots")
    os.ftruncate(file, 2 * PAGE)
    os.pwrite(file, b"x" * PAGE, PAGE)
    slots, last = Slots(file, 56, 88), b""
    for octets, dies in versions:
        slots.write(octets)
        last = octets
        if dies:
            slots = Slots(file, 56, 88)
        assert slots.read() == last
    assert os.pread(file, PAGE, PAGE) == b"x" * PAGE
    assert os.pread(file, 56, 0) == bytes(56)
    os.close(file)


def test_slots_that_are_never_full(tmp_path: Path) -> None:
    """What was written once can be replaced though the disk has no room: the place for it is taken at the beginning."""
    file = os.open(tmp_path / "slots", os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, PAGE)
    slots = Slots(file, 56, 88)
    slots.write(b"a" * 5000)
    size = os.fstat(file).st_blocks
    for letter in b"bcdef":
        slots.write(bytes([letter]) * 5500)
        slots = Slots(file, 56, 88)
        assert slots.read() == bytes([letter]) * 5500
    assert os.fstat(file).st_blocks == size
    os.close(file)


def test_input_goes_on() -> None:
    """The size is what was accepted, the position what was given."""
    stdin = Stdin(lambda: os.memfd_create("in"), 1 << 16)
    assert stdin.accept(b"some input", None) == 10
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stdin.feed(writing)
    stdin.accept(b" and more", None)
    again = Stdin(lambda: os.memfd_create("never"), 1 << 16)
    again.adopt(os.dup(stdin._descriptor))
    stdin.close()
    assert (again.end, again.taken, again.waiting) == (19, 10, 9)
    # A repeat of what the dead one had accepted, and something new.
    assert again.accept(b"and more, too", 11) == 13
    again.feed(writing)
    assert os.read(reading, 100) == b"some input and more, too"
    again.close()
    os.close(reading)
    os.close(writing)


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), max_size=20)
STATUSES = st.builds(
    Status,
    state=st.sampled_from(State),
    generation=st.integers(1, 9),
    code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    core=st.none() | st.booleans(),
    end=st.integers(0, 1 << 62),
)
POINTS = st.builds(Point, st.integers(0, 1 << 62), closed=st.integers(0, 2)) | st.builds(
    Point, st.integers(0, 1 << 62), status=STATUSES, time=st.integers(0, 1 << 50)
)
SAVED = st.builds(
    Saved,
    identity=st.builds(
        Identity,
        id=TEXTS.filter(bool),
        argv=st.lists(TEXTS, min_size=1).map(tuple),
        created=st.integers(1, 1 << 50),
        name=st.none() | TEXTS.filter(bool),
        labels=st.lists(TEXTS).map(tuple),
        cwd=TEXTS.filter(bool),
        pty=st.none() | st.builds(Pty, rows=st.integers(0, 9), columns=st.integers(0, 9)),
        merge=st.booleans(),
        owner=TEXTS,
        key=st.none() | TEXTS.filter(bool),
        digest=TEXTS,
    ),
    state=st.sampled_from(State),
    started=st.none() | st.integers(0, 1 << 50),
    exited=st.none() | st.integers(0, 1 << 50),
    status=st.none() | st.builds(ExitStatus, st.none() | st.integers(0, 255), st.none() | st.integers(1, 64)),
    points=st.lists(POINTS, max_size=4).map(tuple),
    stdin_closed=st.booleans(),
    stdin_end=st.integers(0, 1 << 62),
    passing=st.booleans(),
)


@given(SAVED)
def test_what_was_saved_is_understood(saved: Saved) -> None:
    """All of it, whatever bytes people have in their names."""
    assert Saved.decode(saved.encode()) == saved


@given(SAVED, st.data())
def test_what_is_not_whole_is_refused(saved: Saved, data: st.DataObject) -> None:
    octets = saved.encode()
    with pytest.raises(ValueError, match=r"[a-z]"):
        Saved.decode(octets[: data.draw(st.integers(0, len(octets) - 1))])


@pytest.mark.parametrize("octets", [b"null", b"[]", b"{}", b'{"form": 99}', b'{"form": 1, "identity": {}}', b"\xff"])
def test_what_is_something_else_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        Saved.decode(octets)
