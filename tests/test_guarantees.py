"""The page of promises and the threat model name tests that exist, and leave no promise and no rule without one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUARANTEES = (ROOT / "docs" / "guarantees.rst").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.rst").read_text(encoding="utf-8")
README = (ROOT / "README.rst").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

PROMISES = [f"G{number}" for number in range(1, 13)]
RULES = [f"Rule {number}" for number in range(1, 17)]

# What an entry says that has nothing to show yet.
NOT_YET = "Not in this version."

NODE = re.compile(r"``(tests/[\w/]+\.py)(?:::(\w+))?``")


def entries(page: str) -> dict[str, str]:
    """What stands under each heading of a promise or a rule."""
    parts = re.split(r"^(G\d+|Rule \d+)\. .*\n\.+\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def functions_of(path: str) -> frozenset[str]:
    """The tests of a file, by its syntax tree."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def missing(page: str) -> list[str]:
    """The tests that a page names, and that there are not."""
    return [
        f"{path}::{name}"
        for path, name in NODE.findall(page)
        if not (ROOT / path).is_file() or (name and name not in functions_of(path))
    ]


def unproven(page: str) -> list[str]:
    """The entries that name no test, and do not say so."""
    return [
        word
        for word, text in entries(page).items()
        if not any(name for _, name in NODE.findall(text)) ^ (NOT_YET in text)
    ]


def test_every_promise_and_rule_is_there_in_order() -> None:
    assert list(entries(GUARANTEES)) == [*PROMISES, *RULES]


def test_each_has_a_test() -> None:
    assert unproven(GUARANTEES) == []


@pytest.mark.parametrize("page", [GUARANTEES, SECURITY, README], ids=["guarantees", "security", "readme"])
def test_every_test_that_is_named_exists(page: str) -> None:
    assert missing(page) == []


def test_every_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))
    named = set(re.findall(r"``make ([\w-]+)``", GUARANTEES + SECURITY))
    assert named
    assert named <= targets


def test_the_threat_model_names_every_rule() -> None:
    """But the one that there is such a page."""
    named = {
        int(number)
        for numbers in re.findall(r"rules?\s+([\d,\s and]+)", SECURITY)
        for number in re.findall(r"\d+", numbers)
    }
    assert set(range(1, 16)) - named == set()


def test_the_pages_are_linked() -> None:
    assert "<docs/guarantees.rst>" in README
    assert "<SECURITY.rst>" in README
    assert "<docs/guarantees.rst>" in SECURITY
    assert "<../SECURITY.rst>" in GUARANTEES


@pytest.mark.parametrize("page", [GUARANTEES, SECURITY], ids=["guarantees", "security"])
def test_lines_are_no_longer_than_others(page: str) -> None:
    assert [line for line in page.splitlines() if len(line) > 150] == []


# --- that it can fail ---


def test_a_test_that_there_is_not_is_found() -> None:
    assert missing("``tests/test_guarantees.py::test_nothing`` ``tests/test_nothing.py::test_it``") == [
        "tests/test_guarantees.py::test_nothing",
        "tests/test_nothing.py::test_it",
    ]


def test_an_entry_without_a_test_is_found() -> None:
    page = "G1. One\n.......\n\nNothing.\n\nRule 1. Two\n...........\n\nNot in this version.\n"
    assert unproven(page) == ["G1"]
