"""Where in a TOML file its keys stand, which its parser does not tell; knows no particular key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace

from netdaemon.apply.faults import At, Fault

_WORD = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_WORD}(?:[ \t]*\.[ \t]*{_WORD})*"

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_HEADER = re.compile(rf"\[(\[?)[ \t]*({_KEY})[ \t]*\]\]?")
_SETTING = re.compile(rf"({_KEY})[ \t]*=")

# The parts of a value that may hide an end of line or a bracket.
_PART = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[{]|[\]}]|\n', re.DOTALL
)


def places(text: str) -> dict[str, tuple[int, int]]:
    """Line and column, from 1, of each table and key of a correct file, by their places as a `Fault` has them.

    What stands within the value of a key is where the key is.
    """
    found: dict[str, tuple[int, int]] = {}
    items: dict[str, int] = {}
    table = At("", [])
    at = _BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        header, setting = _HEADER.match(text, at), _SETTING.match(text, at)
        if header is not None:
            table = _table(header[2], bool(header[1]), items)
            found.setdefault(table.place, _position(text, at))
            at = header.end()
        elif setting is not None:
            place = table
            for word in _words(setting[1]):
                place = place.key(word)
                found.setdefault(place.place, _position(text, at))
            at = _after_value(text, setting.end())
        else:
            break
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
    return found


def _table(key: str, item: bool, items: dict[str, int]) -> At:
    """The table of a header; counts those of an array."""
    table = At("", [])
    words = _words(key)
    for index, word in enumerate(words):
        table = table.key(word)
        if item and index == len(words) - 1:
            items[table.place] = items.get(table.place, -1) + 1
        if table.place in items:
            table = table.item(items[table.place])
    return table


def _words(key: str) -> list[str]:
    return [_plain(word) for word in re.findall(_WORD, key)]


def _plain(word: str) -> str:
    return str(tomllib.loads(f"_ = {word}")["_"]) if word[0] in "\"'" else word


def _after_value(text: str, at: int) -> int:
    depth = 0
    for part in _PART.finditer(text, at):
        if part[0] in "[{":
            depth += 1
        elif part[0] in "]}":
            depth -= 1
        elif part[0] == "\n" and depth <= 0:
            return part.end()
    return len(text)


def _position(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def located(fault: Fault, known: dict[str, tuple[int, int]]) -> Fault:
    """The same with line and column, where the key is *known* that it is about, or the table that has it."""
    place = fault.place
    while place and fault.line is None:
        if place in known:
            line, column = known[place]
            return replace(fault, line=line, column=column)
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return fault
