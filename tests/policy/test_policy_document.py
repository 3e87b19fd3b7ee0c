"""The page on policies names every key and verb there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netdaemon.apply.keys import Keys
from netdaemon.policy.keys import (
    FORBIDDEN_KEYS,
    KINDS_OF_NAMES,
    ROLE_KEYS,
    SANDBOX_KEYS,
    SCOPE_KEYS,
    START_KEYS,
    TERMS,
    bind_keys,
    deny_keys,
)
from netdaemon.policy.reading import TOP_KEYS
from netdaemon.policy.variables import DANGEROUS
from netdaemon.policy.verbs import Verb

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policy.rst").read_text(encoding="utf-8")

SECTIONS: dict[str, Keys] = {
    "``[roles.NAME]``": ROLE_KEYS,
    "``[roles.NAME.start]``": START_KEYS,
    "``[[bind]]``": bind_keys({}),
    "``[[deny]]``": {key: reader for key, reader in deny_keys({}).items() if key not in SCOPE_KEYS},
}


def section(title: str) -> str:
    found = re.search(rf"^{re.escape(title)}\n(-+)\n(.*?)(?=^[^\n]+\n-+\n|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title}"
    assert len(found[1]) == len(title)
    return found[2]


@pytest.mark.parametrize("title", SECTIONS)
def test_the_table_has_every_key_in_order_and_no_other(title: str) -> None:
    _, table, _ = re.split(r"^=+ +=+\n", section(title), flags=re.MULTILINE)
    assert re.findall(r"^``(\w+)`` ", table, re.MULTILINE) == list(SECTIONS[title])


@pytest.mark.parametrize("title", SECTIONS)
def test_no_line_of_a_table_is_too_long_for_its_column(title: str) -> None:
    """The last column may be as long as it likes; the first ends before it."""
    rule, *_ = re.findall(r"^(=+)( +)=+$", section(title), re.MULTILINE)
    at = len(rule[0])
    _, table, _ = re.split(r"^=+ +=+\n", section(title), flags=re.MULTILINE)
    assert [line for line in table.splitlines() if line[at : at + 2].strip()] == []


def test_it_has_the_rest() -> None:
    assert {title.strip("`[]").split(".")[0] for title in [*SECTIONS, "``[tokens]``"]} == set(TOP_KEYS)
    section("``[tokens]``")
    for verb in Verb:
        assert f"``{verb.value}``" in section("``[roles.NAME]``")
    for key in SANDBOX_KEYS:
        assert f"``{key}``" in section("``[roles.NAME.start]``")
    for key in FORBIDDEN_KEYS:
        assert f"``{key}``" in section("``[[deny]]``")
    for key in SCOPE_KEYS:
        assert f"``{key}``" in section("``[[deny]]``")
    for term in TERMS:
        assert re.search(rf"``{term}\b", section("``[[bind]]``")), term
    for kind in KINDS_OF_NAMES:
        assert f"``san:{kind}:" in section("``[[bind]]``")


def test_what_it_calls_dangerous_is() -> None:
    (named,) = re.findall(r"\((LD_[^)]+) and others\)", PAGE)
    assert set(named.split(", ")) <= set(DANGEROUS)


def test_it_is_short() -> None:
    assert PAGE.count("\n") <= 150
