"""The manual and the manual page say what ndtool can do, all of it and nothing else."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from netdaemon.cli import failure
from netdaemon.cli.group import ndtool

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = (DOCS / "ndtool.rst").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What the manual says under a heading."""
    found = re.search(rf"^{name}\n-+\n(.*?)(?=^\w[\w :`-]*\n--+\n|\Z)", MANUAL, re.DOTALL | re.MULTILINE)
    assert found, f"the manual has no section {name}"
    return found[1]


def test_the_page_is_up_to_date() -> None:
    """If not: python docs/ndtool_man.py > docs/ndtool.1"""
    spec = importlib.util.spec_from_file_location("ndtool_man", DOCS / "ndtool_man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (DOCS / "ndtool.1").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_page_can_be_set() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(DOCS / "ndtool.1")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "--sig-proxy" in re.sub(".\x08", "", done.stdout)


@pytest.mark.parametrize("name", list(ndtool.commands))
def test_the_manual_has_every_command_and_option(name: str) -> None:
    text = section(name)
    command = ndtool.commands[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "json":
            for option in parameter.opts:
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name} {option}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--"}
    for option in re.findall(r"^``(--?[a-z][a-z-]*)", text, re.MULTILINE):
        assert option in known, f"{name} has no {option}"


def test_the_manual_has_the_options_before_the_command() -> None:
    for option in ("--socket", "--json", "--no-autostart", "--no-reconnect", "--version", "--help"):
        assert option in MANUAL


def test_the_manual_has_every_exit_code() -> None:
    text = section("Exit codes")
    for code in (failure.FAILED, failure.NOT_EXECUTABLE, failure.NOT_FOUND, failure.GAVE_UP):
        assert re.search(rf"^{code} ", text, re.MULTILINE)
