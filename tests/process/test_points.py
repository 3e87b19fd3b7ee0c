"""What happened to a process at its offsets: read by many, in order, and only the latest kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netdaemon.process.points import MOST, Point, Points


@given(st.lists(st.sampled_from(["append", "read"]), max_size=4 * MOST), st.integers(0, MOST))
def test_a_reader_gets_each_in_order_or_the_oldest_that_is_kept(actions: list[str], before: int) -> None:
    """As a cursor reads: never one twice, never one before another, and nothing skipped that is kept."""
    points = Points([Point(number) for number in range(before)])
    count, number, read = before, 0, []
    for action in actions:
        if action == "append":
            points.append(Point(count))
            count += 1
        else:
            number, point = points.at(number)
            assert number == max(len(read) and read[-1] + 1, count - MOST, 0) if point is not None else number == count
            if point is not None:
                assert point.offset == number
                read.append(number)
                number += 1
        assert points.end == count
        assert [one.offset for one in points] == list(range(max(0, count - MOST), count))
    assert read == sorted(set(read))


def test_more_than_are_kept_when_it_begins() -> None:
    """An earlier version may have saved as many as it liked; none is lost before another comes."""
    points = Points([Point(number) for number in range(MOST + 5)])
    assert points.at(0) == (0, Point(0))
    assert points.at(MOST + 5) == (MOST + 5, None)
