"""Signals by name and by number, both ways."""

from __future__ import annotations

import signal

import pytest

from netdaemon.signal_names import name_of, number_of


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("9", 9),
        (9, 9),
        (0, 0),
        (64, 64),
        ("RTMIN+3", signal.SIGRTMIN + 3),
    ],
)
def test_numbers(name: str | int, number: int) -> None:
    assert number_of(name) == number


@pytest.mark.parametrize("name", ["", "TREM", "SIG", "TERM+1", "RTMIN+", "RTMIN+x", "RTMIN+31", "65", 65, -1])
def test_what_is_no_signal(name: str | int) -> None:
    with pytest.raises(ValueError, match="no signal"):
        number_of(name)


@pytest.mark.parametrize(("number", "name"), [(15, "TERM"), (6, "ABRT"), (0, "0"), (35, "RTMIN+1"), (64, "RTMAX")])
def test_names(number: int, name: str) -> None:
    assert name_of(number) == name


def test_a_name_is_of_its_number() -> None:
    for number in range(signal.NSIG):
        assert number_of(name_of(number)) == number
