"""What is a target missed, what is nonsense, and what one case that fails does to the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from benchmarks.tables import SMOKE, Case, Plot, Scale, Table, Target

ROUNDS = Scale(rounds=3, seconds=0, effort=1)


def table(figures: Mapping[str, float | Sequence[float]], *targets: Target, **more: object) -> Table:
    """A table in which these are measured; of several, one each round."""

    def measure(values: float | Sequence[float]) -> Iterator[float]:
        while True:
            yield from [values] if isinstance(values, int | float) else values

    cases = [Case(name, measure(values).__next__) for name, values in figures.items()]
    made = Table("title", "unit", cases, targets=targets, **more)  # type: ignore[arg-type]
    made.measure(ROUNDS)
    return made


def broken() -> float:
    raise OSError("no such program")


@pytest.mark.parametrize(
    ("target", "verdict", "nonsense"),
    [
        (Target("at least", "ours", "theirs", least=0.5), "met", False),
        (Target("at least", "ours", "theirs", least=2), "MISSED", False),
        (Target("at least", "ours", "theirs", least=5.1), "MISSED", True),
        (Target("at most", "ours", "theirs", most=0.5), "met", False),
        (Target("at most", "ours", "theirs", most=0.1), "MISSED", False),
        (Target("at most", "ours", "theirs", most=0.04), "MISSED", True),
        (Target("itself", "ours", most=10), "met", False),
        (Target("itself", "ours", most=9), "MISSED", False),
        (Target("itself", "ours", most=0.9), "MISSED", True),
        (Target("itself", "ours", least=101), "MISSED", True),
        (Target("wakes others", "ours", most=0.9, waiting=True), "MISSED", False),
        (Target("wakes others", "ours", most=0.09, waiting=True), "MISSED", True),
        (Target("nothing wanted", "ours", "theirs"), "", False),
    ],
)
def test_targets(target: Target, verdict: str, nonsense: bool) -> None:
    """A ratio or a figure; ten times worse than wanted is nonsense."""
    made = table({"ours": 10, "theirs": 20}, target)
    assert target.verdict(made.of(target)) == verdict
    assert bool(made.nonsense()) == nonsense
    assert not nonsense or target.name in made.nonsense()[0]


@pytest.mark.parametrize("figure", [0, -1])
def test_nothing_measured_is_nonsense(figure: float) -> None:
    """In any round."""
    assert table({"ours": [1, figure, 1]}).nonsense()
    assert not table({"ours": [1, figure, 1]}, checked=False).nonsense()


def test_a_ratio_to_nothing_is_nonsense() -> None:
    """It is neither good enough for a target from below nor for one from above."""
    for target in (Target("ratio", "ours", "theirs", least=1), Target("ratio", "ours", "theirs", most=1)):
        assert len(table({"ours": 1, "theirs": 0}, target, checked=False).nonsense()) == 1


def test_medians_are_of_the_rounds() -> None:
    """Of the figures, and of the ratios of figures of one round."""
    made = table({"ours": [1, 9, 4], "theirs": [1, 3, 2]})
    # The second round goes from the last case to the first, which changes nothing.
    assert made.values == {"ours": [1, 9, 4], "theirs": [1, 3, 2]}
    assert made.value("ours") == 4
    assert made.value("ours", "theirs") == 2


def test_the_order_turns_round() -> None:
    """So that a slow minute strikes all alike."""
    order: list[str] = []

    def note(name: str) -> float:
        order.append(name)
        return 1.0

    Table("title", "unit", [Case("a", lambda: note("a")), Case("b", lambda: note("b"))]).measure(ROUNDS)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_case_that_fails_is_left_out() -> None:
    """The others are measured, and the table tells it."""
    cases = [Case("ours", broken), Case("theirs", lambda: 1.0)]
    target = Target("ratio", "ours", "theirs", least=1)
    made = Table("title", "unit", cases, references=("ours",), targets=(target,))
    made.measure(ROUNDS)
    assert made.values == {"theirs": [1.0, 1.0, 1.0]}
    assert made.failures == {"ours": "title: ours: OSError: no such program"}
    assert made.of(target) is None
    assert target.verdict(None) == "MISSED"
    text = "\n".join(made.lines())
    assert "failed" in text
    assert "MISSED" in text
    assert list(made.record()["cases"]) == ["theirs"]
    # That is told as a failure already.
    assert not made.nonsense()


def test_what_can_be_measured_once_is() -> None:
    """Whatever the scale says."""
    made = Table("title", "unit", [Case("ours", lambda: 1.0)], rounds=1)
    made.measure(ROUNDS)
    assert made.values == {"ours": [1.0]}


def test_the_record_has_what_a_picture_needs() -> None:
    """Where each case stands, and in which line."""
    made = Table(
        "title",
        "unit",
        [Case("limit", lambda: 2.0), Case("one", lambda: 1.0, at=1, series="line")],
        plot=Plot("picture", along="clients", quantity="throughput"),
    )
    made.measure(SMOKE)
    record = made.record()
    assert record["plot"] == {"name": "picture", "along": "clients", "quantity": "throughput"}
    assert record["cases"]["limit"]["at"] is None
    assert record["cases"]["one"] == {"median": 1.0, "all": [1.0], "at": 1, "series": "line"}
