"""The reference of the file format names every key there is and no other, and its example is right."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from netdaemon.apply.keys import (
    LOG_KEYS,
    PROCESS_KEYS,
    PTY_KEYS,
    READY_KEYS,
    RESTART_KEYS,
    SET_KEYS,
    STEP_KEYS,
)
from netdaemon.apply.planning import _WORDS, Kind
from netdaemon.apply.reading import FILE_MAX, SET_NAME_MAX, read
from netdaemon.apply.tables import Keys
from netdaemon.apply.whom import CGROUP_KEYS, LIMIT_KEYS, RUN_AS_KEYS, SANDBOX_KEYS
from netdaemon.wire.specs import STEPS_MAX, Policy
from tests.apply.support import specs_in

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (Path(__file__).parents[2] / "docs" / "specs.rst").read_text(encoding="utf-8")

SECTIONS: dict[str, Keys] = {
    "``[set]``": SET_KEYS,
    "``[process.NAME]``": PROCESS_KEYS,
    "``pty``": PTY_KEYS,
    "``stop``": STEP_KEYS,
    "``restart``": RESTART_KEYS,
    "``ready``": READY_KEYS,
    "``log``": LOG_KEYS,
    "``run_as``": RUN_AS_KEYS,
    "``limits``": LIMIT_KEYS,
    "``cgroup``": CGROUP_KEYS,
    "``sandbox``": SANDBOX_KEYS,
}


def section(title: str) -> str:
    found = re.search(rf"^{re.escape(title)}\n(~+)\n(.*?)(?=^[^\n]+\n(?:~|-)+\n|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title}"
    assert len(found[1]) == len(title)
    return found[2]


@pytest.mark.parametrize("title", SECTIONS)
def test_the_table_has_every_key_in_order_and_no_other(title: str) -> None:
    _, _, table, _ = re.split(r"^=+ =+ =+\n", section(title), flags=re.MULTILINE)
    assert re.findall(r"^``([\w.]+)`` ", table, re.MULTILINE) == list(SECTIONS[title])


def test_every_section_is_held_to_the_code() -> None:
    assert set(re.findall(r"^([^\n]+)\n~+\n", PAGE, re.MULTILINE)) == SECTIONS.keys()


@pytest.mark.parametrize("policy", Policy)
def test_every_policy_is_there(policy: Policy) -> None:
    assert f"``{policy.value}``" in section("``restart``")


@pytest.mark.parametrize("kind", Kind)
def test_every_action_is_there(kind: Kind) -> None:
    assert f"``{_WORDS[kind]}``" in PAGE


def test_limits() -> None:
    assert f"at most {FILE_MAX >> 20} MiB" in PAGE
    assert f"Up to {SET_NAME_MAX} of the characters" in PAGE
    assert f"an array of steps, 1 to {STEPS_MAX}" in PAGE


def test_the_example_is_a_file_of_specs(tmp_path: Path) -> None:
    example = re.search(r"::\n\n((?:    [^\n]*\n|\n)*?)\n::", PAGE)
    assert example is not None
    found = specs_in(tmp_path, textwrap.dedent(example[1]))
    assert (found.name, [spec.name for spec in found.specs]) == ("games", ["openttd", "minecraft"])


@pytest.mark.parametrize("file", sorted(one.name for one in EXAMPLES.glob("*.toml") if one.name != "policy.toml"))
def test_the_examples_are_files_of_specs(file: str) -> None:
    (found,) = read(EXAMPLES / file, environ={})
    assert found.specs
