"""docs/panel.rst shows the example as it is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "panel.rst").read_text(encoding="utf-8")
FILES = {"python": "panel_postgres.py", "sql": "panel_postgres.sql"}


def snippets() -> list[tuple[str, str]]:
    """Each block of code with its language."""
    blocks = re.finditer(r"code-block:: (\S+)\n\n((?:    [^\n]*\n|\n)+)", PAGE)
    return [(block[1], textwrap.dedent(block[2]).strip("\n") + "\n") for block in blocks]


def stands_in(snippet: str, source: str) -> bool:
    """Whether *source* has *snippet*, as whole lines in a row, however deep."""
    depths = {len(line) - len(line.lstrip()) for line in source.splitlines() if line}
    return any("\n" + textwrap.indent(snippet, " " * depth) in source for depth in depths)


def test_there_are_snippets() -> None:
    assert len(snippets()) == PAGE.count("code-block::") == 9


@pytest.mark.parametrize(("language", "snippet"), snippets())
def test_snippet(language: str, snippet: str) -> None:
    source = (ROOT / "examples" / FILES[language]).read_text(encoding="utf-8")
    assert stands_in(snippet, source)
    # That it can fail.
    assert not stands_in(snippet[:-2] + "\n", source)


def test_columns() -> None:
    """The page's table of columns has all that there are."""
    schema = (ROOT / "examples" / FILES["sql"]).read_text(encoding="utf-8")
    servers = schema.partition("CREATE TABLE servers (")[2].partition(");")[0]
    columns = set(re.findall(r"^    ([a-z_]+) (?:text|jsonb|bigint|timestamptz)", servers, re.MULTILINE))
    told = re.search(r"^columns of.*?\n=+ +=+\n(.*?)^=", PAGE, re.MULTILINE | re.DOTALL)
    assert told is not None
    named = {name for names in re.findall(r"^``([^`]+)``", told[1], re.MULTILINE) for name in names.split()}
    assert named == columns - {"id"}
