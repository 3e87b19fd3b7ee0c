"""CRI lines: whatever goes in comes out, however it was cut; and other people's readers understand them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.logs.cri import (
    LINE_MAX,
    TEXT_MAX,
    Block,
    Decoder,
    Encoder,
    Invalid,
    Line,
    first_line,
    parse,
    split,
    stamp,
)

NOW = 1_767_323_045_123_456
SECOND = 1_000_000

# Any bytes; made of text, because hypothesis compares what it drew, and bytes with integers is an error here.
ANY = st.text(st.characters(max_codepoint=255), max_size=40).map(lambda text: text.encode("latin-1"))

# Newlines and carriage returns more often than chance has them.
BYTES = st.lists(st.one_of(st.sampled_from([b"\n", b"\r\n", b"\0", b"\xff\xfe", b"text", b" "]), ANY))
DATA = BYTES.map(b"".join)
LONG = st.integers(TEXT_MAX - 2, 2 * TEXT_MAX + 2).map(lambda size: b"x" * size)
PIECES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.integers(0, 3 * SECOND), st.one_of(DATA, DATA, LONG)), max_size=12
)


def encode(pieces: list[tuple[int, int, bytes]], flush: bool = True) -> list[Block]:
    encoder = Encoder()
    blocks: list[Block] = []
    now = NOW
    for channel, later, data in pieces:
        now += later
        blocks += encoder.feed(channel, now, data)
    if flush:
        blocks += encoder.flush()
    return blocks


def octets_of(blocks: list[Block]) -> bytes:
    return b"".join(block.octets for block in blocks)


def decode(octets: bytes, step: int = 1 << 30) -> list[Line | Invalid]:
    decoder = Decoder()
    found: list[Line | Invalid] = []
    for start in range(0, len(octets), step):
        found += decoder.feed(octets[start : start + step])
    return [*found, *decoder.end()]


def joined(runs: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbours of one channel as one."""
    result: list[tuple[int, bytes]] = []
    for channel, data in runs:
        if result and result[-1][0] == channel:
            result[-1] = (channel, result[-1][1] + data)
        elif data:
            result.append((channel, data))
    return result


def read_as_others_do(octets: bytes) -> list[tuple[int, bytes]]:
    """As whoever has read the specification would write it down."""
    result = []
    for line in octets.split(b"\n")[:-1]:
        moment, stream, tag, text = line.split(b" ", 3)
        assert len(moment) == len("2026-01-02T03:04:05.123456789Z")
        assert moment.endswith(b"Z")
        result.append(({b"stdout": 1, b"stderr": 2}[stream], text + {b"F": b"\n", b"P": b""}[tag]))
    return result


@settings(deadline=None, max_examples=200)
@given(pieces=PIECES, step=st.integers(1, 5000))
def test_what_goes_in_comes_out(pieces: list[tuple[int, int, bytes]], step: int) -> None:
    """Every byte, in order and with its channel; by our reader and by another."""
    blocks = encode(pieces)
    octets = octets_of(blocks)
    written = joined([(channel, data) for channel, _, data in pieces])
    lines = decode(octets, step)
    assert all(isinstance(line, Line) for line in lines)
    assert joined([(line.channel, line.data) for line in lines if isinstance(line, Line)]) == written
    assert joined(read_as_others_do(octets)) == written
    assert sum(block.raw for block in blocks) == sum(len(data) for _, _, data in pieces)


@settings(deadline=None, max_examples=100)
@given(pieces=PIECES)
def test_no_text_is_longer_than_allowed(pieces: list[tuple[int, int, bytes]]) -> None:
    for line in decode(octets_of(encode(pieces))):
        assert isinstance(line, Line)
        assert len(line.data.removesuffix(b"\n")) <= TEXT_MAX


@settings(deadline=None, max_examples=100)
@given(pieces=PIECES)
def test_times_never_go_back_and_are_those_of_the_first_byte(pieces: list[tuple[int, int, bytes]]) -> None:
    lines = [line for line in decode(octets_of(encode(pieces))) if isinstance(line, Line)]
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    first = next(((NOW + sum(p[1] for p in pieces[: i + 1])) for i, one in enumerate(pieces) if one[2]), None)
    assert (lines[0].time if lines else None) == first


@settings(deadline=None, max_examples=200)
@given(pieces=PIECES, room=st.integers(0, 3 * TEXT_MAX))
def test_blocks_are_cut_at_line_ends(pieces: list[tuple[int, int, bytes]], room: int) -> None:
    """What fits is as many whole lines as fit, and stands for as much output as it has."""
    blocks = encode(pieces)
    fitting, others = split(blocks, room)
    first, second = octets_of(fitting), octets_of(others)
    assert first + second == octets_of(blocks)
    assert len(first) <= room
    assert not first or first.endswith(b"\n")
    assert not second or len(first) + second.index(b"\n") + 1 > room
    for part in (fitting, others):
        assert sum(block.raw for block in part) == sum(len(data) for _, data in read_as_others_do(octets_of(part)))
    assert first_line(blocks) == (octets_of(blocks).index(b"\n") + 1 if blocks else 0)


def test_a_loss_takes_no_room() -> None:
    """It stays where it is between the lines, and is counted."""
    loss = Block(b"", 1000, lost=True)
    lines = encode([(1, 0, b"one\ntwo\n")])
    fitting, others = split([loss, *lines, loss], 0)
    assert fitting == [loss]
    assert others == [*lines, loss]
    assert first_line([loss, *lines]) == octets_of(lines).index(b"\n") + 1


def test_the_format() -> None:
    """To the letter, as the specification shows it."""
    blocks = encode([(1, 0, b"text\n\n"), (2, 1, b"a\rb"), (1, 1, b"tail")])
    assert octets_of(blocks) == (
        b"2026-01-02T03:04:05.123456000Z stdout F text\n"
        b"2026-01-02T03:04:05.123456000Z stdout F \n"
        b"2026-01-02T03:04:05.123457000Z stderr P a\rb\n"
        b"2026-01-02T03:04:05.123458000Z stdout P tail\n"
    )


def test_a_tail_waits() -> None:
    """It is in no line until it is complete, has another stream after it, or is told to go."""
    encoder = Encoder()
    assert list(encoder.feed(1, NOW, b"begin")) == []
    assert encoder.tail == b"begin"
    (block,) = encoder.feed(1, NOW + SECOND, b"ning\n")
    assert decode(block.octets) == [Line(NOW, 1, b"beginning\n")]
    assert encoder.tail == b""
    assert list(encoder.flush()) == []


@pytest.mark.parametrize("size", [TEXT_MAX, TEXT_MAX + 1, 2 * TEXT_MAX])
def test_a_long_line_is_cut(size: int) -> None:
    (*parts, last) = decode(octets_of(encode([(1, 0, b"x" * size + b"\n")])))
    assert all(isinstance(part, Line) and part.data == b"x" * TEXT_MAX for part in parts)
    assert len(parts) == (size - 1) // TEXT_MAX
    assert last == Line(NOW, 1, b"x" * (size - len(parts) * TEXT_MAX) + b"\n")


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"2026-01-02T03:04:05.123456789Z stdout F text", Line(NOW, 1, b"text\n")),
        (b"2026-01-02T03:04:05Z stderr P ", Line(NOW - 123_456, 2, b"")),
        (b"2026-01-02T03:04:05.1234Z stdout F", Line(NOW - 56, 1, b"\n")),
        (b"2026-01-02T04:04:05.123456+01:00 stdout P:tag text", Line(NOW, 1, b"text")),
    ],
)
def test_lines_that_others_write(octets: bytes, line: Line) -> None:
    assert parse(octets) == line


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"text",
        b"2026-13-02T03:04:05Z stdout F text",
        b"2026-01-02T03:04:05Z stdin F text",
        b"2026-01-02T03:04:05Z stdout X text",
        b"2026-01-02T03:04:05.1234567890Z stdout F text",
        b"2026-01-02T03:04:05 stdout F text",
        b"2026-01-02T03:04:05+99:99 stdout F text",
    ],
)
def test_what_is_no_line_is_told(octets: bytes) -> None:
    """And the lines around it are read."""
    good = b"2026-01-02T03:04:05.123456Z stdout F text\n"
    line = Line(NOW, 1, b"text\n")
    assert decode(good + octets + b"\n" + good, 7) == [line, Invalid(octets), line]


def test_an_endless_line_is_passed_over() -> None:
    """Told once, in little memory, and the next line is read."""
    decoder = Decoder()
    found: list[Line | Invalid] = []
    for _ in range(3 * LINE_MAX // 4096):
        found += decoder.feed(b"x" * 4096)
        assert len(decoder._rest) <= LINE_MAX
    found += decoder.feed(b"\n2026-01-02T03:04:05.123456Z stdout F text\nrest")
    found += decoder.end()
    assert found == [Invalid(b"x" * 200), Line(NOW, 1, b"text\n"), Invalid(b"rest")]


@given(now=st.integers(0, 253_402_300_799_999_999))
def test_any_time_there_and_back(now: int) -> None:
    assert parse(stamp(now) + b" stdout F ") == Line(now, 1, b"\n")
