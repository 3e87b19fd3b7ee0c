"""A soak is a program of its own; that it runs, and what it calls a slope."""

from __future__ import annotations

import dataclasses

import pytest

from tests.faults.soak import COLUMNS, Sample, report, slope, soak
from tests.support import LONG


def samples(**grow: float) -> list[Sample]:
    """A minute's worth; each figure 10, and what grows by so much in a minute."""
    names = [field.name for field in dataclasses.fields(Sample)]
    return [
        Sample(**{name: second if name == "at" else 10 + grow.get(name, 0) * second / 60 for name in names})
        for second in range(60)
    ]


def test_what_grows_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """And what is only higher than at first is not."""
    assert slope(samples(memory=3.0), "memory") == pytest.approx(3.0)
    assert report(samples(), "nothing") == []
    assert report(samples(memory=3.0, descriptors=-30.0, calls=20.0), "something") == ["RSS", "delayed calls"]
    assert "+3.00 MiB/min" in capsys.readouterr().out
    assert {name for name, *_ in COLUMNS} < {field.name for field in dataclasses.fields(Sample)}


def test_a_short_soak() -> None:
    """Nobody dies; what grows is for three minutes to tell, by `make soak`."""
    found, what = soak(30 if LONG else 3)
    assert len(found) == (30 if LONG else 3)
    assert "20 processes" in what
