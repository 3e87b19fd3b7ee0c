"""The line of output that says that it is ready: found however the output is cut, and only where it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.patterns import LINE
from netdaemon.process.readiness import LOOK, Readiness
from netdaemon.process.spool import PAGE
from netdaemon.wire.commands import KEEP
from netdaemon.wire.specs import Ready
from tests.process.test_spool import Fed

TEXT = Ready(output="ready: go")
PATTERN = Ready(pattern=r"^Done \([0-9.]+s\)!")


@pytest.fixture
def fed() -> Iterator[Fed]:
    made = Fed(KEEP)
    yield made
    made.close()


def found(fed: Fed, ready: Ready, chunks: Sequence[tuple[bytes, int]]) -> int | None:
    """With which of the chunks it was found; None: with none."""
    readiness = Readiness(ready, fed.spool, fed.spool.end)
    for number, (data, channel) in enumerate(chunks):
        if data:
            fed.append(data, channel)
        if readiness.look():
            return number
    return None


@pytest.mark.parametrize("ready", [TEXT, PATTERN])
@pytest.mark.parametrize(
    "before", [b"", b"starting\n", b"\n\n", b"caf\xc3\xa9 \xff\n", b"ready: g\nDone (3.1s)\n", b"\r\n"]
)
@pytest.mark.parametrize("after", [b"", b"\n", b" more", b"\r\nmore\n"])
def test_every_cut(fed: Fed, ready: Ready, before: bytes, after: bytes) -> None:
    """In two at any place, or byte by byte: found once its last byte has come, and not before."""
    line = b"ready: go" if ready is TEXT else b"Done (3.14s)!"
    whole = before + line + after
    end = len(before) + len(line)
    assert found(fed, ready, [(whole, 1)]) == 0
    assert found(fed, ready, [(bytes([one]), 1) for one in whole]) == end - 1
    for cut in range(1, len(whole)):
        assert found(fed, ready, [(whole[:cut], 1), (whole[cut:], 1)]) == (0 if cut >= end else 1)


@pytest.mark.parametrize(
    "output",
    [b"ready:\n go", b"ready: g\no", b"READY: GO\n", b"ready: g", b"ready: \rgo"],
)
def test_what_does_not_say_so(fed: Fed, output: bytes) -> None:
    """However it is cut."""
    assert found(fed, TEXT, [(output, 1)]) is None
    assert found(fed, TEXT, [(bytes([one]), 1) for one in output]) is None


def test_each_channel_has_its_own_lines(fed: Fed) -> None:
    """What comes between on the other does not spoil a line, and half a line on each makes no whole."""
    assert found(fed, TEXT, [(b"ready", 1), (b": go", 2)]) is None
    assert found(fed, TEXT, [(b"ready", 1), (b"error\n", 2), (b": go", 1)]) == 2
    assert found(fed, PATTERN, [(b"Done (1", 2), (b"out\n", 1), (b"s)!", 2)]) == 2


def test_a_pattern_sees_one_line_at_a_time(fed: Fed) -> None:
    """Its beginning and its end are the line's, a terminal's lines included."""
    ends = Ready(pattern=r"^port \d+$")
    assert found(fed, ends, [(b"the port 80\nport 80 \nport eighty\n", 1)]) is None
    assert found(fed, ends, [(b"x\nport 80\ny\n", 1)]) == 0
    assert found(fed, ends, [(b"x\r\nport 80\r\ny\r\n", 1)]) == 0


def test_a_text_far_out_in_a_long_line(fed: Fed) -> None:
    """A line that draws a bar of progress has no end; what it contains is found all the same, and little is kept."""
    readiness = Readiness(TEXT, fed.spool, 0)
    for _ in range(300):
        fed.append(b"\r[=====>    ]" * 100)
        assert not readiness.look()
        assert sum(map(len, readiness._tails.values())) < len(b"ready: go")
    fed.append(b"\rready: g")
    assert not readiness.look()
    fed.append(b"o")
    assert readiness.look()


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u20ac", "\U0001f600"])
def test_a_pattern_looks_at_the_beginning_of_a_long_line(fed: Fed, character: str) -> None:
    """At so many characters, whatever they are encoded to; and no more than those is kept of it."""
    ready = Ready(pattern="here")
    within = (character * (LINE - 4) + "here").encode()
    assert found(fed, ready, [(within, 1)]) == 0
    assert found(fed, ready, [(within[:-1], 1), (within[-1:], 1)]) == 1
    beyond = (character * (LINE - 3) + "here").encode()
    assert found(fed, ready, [(beyond, 1)]) is None
    readiness = Readiness(ready, fed.spool, fed.spool.end)
    for _ in range(50):
        fed.append(within[:-4])
        assert not readiness.look()
        assert len(readiness._tails[1]) <= 4 * LINE
    fed.append(b"\nhere")
    assert readiness.look()


def test_much_at_once_is_looked_at_in_parts() -> None:
    """So many bytes in one turn; there is more to look at until the end is reached."""
    fed = Fed(4 * LOOK)
    readiness = Readiness(TEXT, fed.spool, 0)
    for _ in range(3 * LOOK // (1 << 15)):
        fed.append(b"x" * (1 << 15))
    fed.append(b"ready: go")
    looks = []
    while not looks or looks[-1] is None:
        looks.append(readiness.look())
    assert looks[-1] is True
    assert 3 <= len(looks) <= 4
    fed.close()


@pytest.mark.parametrize("ready", [TEXT, Ready(pattern="ready: go")])
def test_a_gap(ready: Ready) -> None:
    """What was overwritten before it was looked at is not there; its two sides are not put together."""
    fed = Fed(PAGE)
    readiness = Readiness(ready, fed.spool, 0)
    fed.append(b"rea")
    assert not readiness.look()
    fed.append(b"x" * PAGE)
    fed.append(b"dy: go")
    # What is kept begins within the x.
    fed.append(b"y" * (PAGE - len(b"dy: go")))
    assert fed.read(fed.spool.begin)[:6] == b"dy: go"
    assert not readiness.look()
    fed.append(b"\nready: go")
    assert readiness.look()
    fed.close()


def test_it_begins_where_it_is_told_to(fed: Fed) -> None:
    """What the generation before has said is no word of this one's."""
    fed.append(b"ready: go\n")
    readiness = Readiness(TEXT, fed.spool, fed.spool.end)
    assert not readiness.look()
    fed.append(b"go\n")
    assert not readiness.look()
    assert Readiness(TEXT, fed.spool, 0).look()


def test_a_pattern_that_takes_too_long_is_given_up(fed: Fed) -> None:
    """One line of output cannot stop the daemon, and no further one is tried."""
    readiness = Readiness(Ready(pattern=r"(a|a|aa)+$"), fed.spool, 0)
    fed.append(b"a" * 64 + b"b\n")
    assert not readiness.look()
    fed.append(b"aaa\n")
    assert not readiness.look()


WORDS = st.lists(st.sampled_from([b"re", b"ady", b": ", b"go", b"\n", b"\r", b"\xff", b"ready: go", b"x"]), max_size=30)


@settings(deadline=None, max_examples=200)
@given(WORDS, st.lists(st.integers(0, 60), max_size=8), st.lists(st.sampled_from([1, 2]), min_size=9, max_size=9))
def test_as_if_it_had_come_at_once(words: list[bytes], cuts: list[int], channels: list[int]) -> None:
    """Any output, cut anywhere, on both channels: found if and only if a line of either has it."""
    fed = Fed(KEEP)
    try:
        output = b"".join(words)
        places = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
        chunks = [
            (output[start:stop], channel) for start, stop, channel in zip(places, places[1:], channels, strict=False)
        ]
        for ready, sought in ((TEXT, rb"ready: go"), (Ready(pattern="ready: ?go"), rb"ready: ?go")):
            of_each = [b"".join(data for data, one in chunks if one == channel) for channel in (1, 2)]
            expected = any(re.search(sought, line) for output in of_each for line in output.split(b"\n"))
            assert (found(fed, ready, chunks) is not None) == expected
    finally:
        fed.close()
