"""One value of a TOML file to one of ours: types, ranges, units and words; knows no particular key.

A reader takes a value and the place where it stands. What is wrong is told there, and None comes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from enum import Enum
from typing import Any, TypeVar

from netdaemon.apply.faults import At
from netdaemon.errors import Refusal
from netdaemon.signal_names import number_of
from netdaemon.wire.records import check_os_text
from netdaemon.wire.specs import SIGNAL_MAX, milliseconds

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Reader = Callable[[Any, At], T | None]

_DURATION = re.compile(r"(\d{1,15})(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3600_000, "d": 24 * 3600_000}

_SIZE = re.compile(r"(\d{1,15})([kKMG]?)")
_BYTES = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# What TOML calls its types; of bool and int the narrower first.
_TYPES: tuple[tuple[type[Any] | tuple[type[Any], ...], str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
    ((datetime, date, time), "a date or time"),
)

# Characters of a value that a message quotes.
_SHOWN = 60


def refused(error: Refusal) -> str:
    """What a declaration of the wire has against a value, without the field: that is told by the place."""
    return error.message.removeprefix(f"{error.field}: ")


def shown(value: Any) -> str:
    """A value and its type, for a message."""
    kind = next(word for types, word in _TYPES if isinstance(value, types))
    if isinstance(value, list | dict):
        return kind
    text = str(value).lower() if isinstance(value, bool) else quoted(value) if isinstance(value, str) else str(value)
    return f"{kind}, {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def quoted(text: str) -> str:
    """As it would stand in the file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def near(word: str, known: Iterable[str]) -> str:
    """What *word* was probably meant to be, or what there is."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    return f"did you mean {quoted(close[0])}?" if close else f"there are {', '.join(known)}"


def of_type(types: type[T], value: Any, at: At, wanted: str) -> T | None:
    """The *value* if it is of a type; a boolean is no number."""
    if isinstance(value, types) and (types is bool or not isinstance(value, bool)):
        return value
    at.fault(f"it is {shown(value)}; wanted is {wanted}")
    return None


def boolean(value: Any, at: At) -> bool | None:
    return of_type(bool, value, at, "true or false")


def integer(least: int, most: int) -> Reader[int]:
    """A number in a range."""

    def read(value: Any, at: At) -> int | None:
        number = of_type(int, value, at, f"an integer, {least} to {most}")
        if number is not None and not least <= number <= most:
            at.fault(f"it is {number}, and {least} to {most} are allowed")
            return None
        return number

    return read


def os_text(value: Any, at: At) -> str | None:
    """What the operating system takes as a name."""
    return _checked(value, at, empty=False)


def argument(value: Any, at: At) -> str | None:
    """What the operating system takes as an argument: it may be empty."""
    return _checked(value, at, empty=True)


def _checked(value: Any, at: At, *, empty: bool) -> str | None:
    text = of_type(str, value, at, "a string")
    if text is None:
        return None
    try:
        check_os_text("it", text, empty=empty)
    except Refusal as error:
        at.fault(refused(error))
        return None
    return text


def text_within(most: int, *, one_line: bool) -> Reader[str]:
    """Text of 1 to so many bytes or, where it is *one_line*, characters."""

    def read(value: Any, at: At) -> str | None:
        text = of_type(str, value, at, "a string")
        if text is None:
            return None
        size, unit = (len(text), "characters") if one_line else (len(text.encode()), "bytes")
        if not 0 < size <= most:
            at.fault(f"it has {size} {unit}, and 1 to {most} are allowed")
        elif one_line and "\n" in text:
            at.fault("it has more than one line, and lines are looked at one by one")
        else:
            return text
        return None

    return read


def duration(least: int, most: int) -> Reader[int]:
    """Milliseconds, of ``"500ms"``, ``"5s"``, ``"2m"``, ``"1h"`` or ``"1d"``."""

    def read(value: Any, at: At) -> int | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            at.fault(f'it is {value}, of what? Say the unit: "{value}s", or ms, m, h, d')
            return None
        text = of_type(str, value, at, 'a duration, such as "5s"')
        if text is None:
            return None
        found = _DURATION.fullmatch(text)
        if found is None:
            at.fault(f"it is {quoted(text)}; a duration is a whole number and ms, s, m, h or d")
            return None
        length = int(found[1]) * _MILLISECONDS[found[2]]
        if not least <= length <= most:
            at.fault(f"it is {quoted(text)}, and {milliseconds(least)} to {milliseconds(most)} are allowed")
            return None
        return length

    return read


def bytes_of(size: int) -> str:
    """A size as it may stand in a file."""
    for unit in ("G", "M", "k"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def size(least: int, most: int, unit: int = 1) -> Reader[int]:
    """Bytes, of ``"64k"``, ``"10M"``, ``"1G"`` (powers of 1024) or a plain number; rounded up to whole *units*."""

    def read(value: Any, at: At) -> int | None:
        if isinstance(value, str):
            found = _SIZE.fullmatch(value)
            if found is None:
                at.fault(f"it is {quoted(value)}; a size is a whole number, of bytes or of k, M or G")
                return None
            number = int(found[1]) * _BYTES[found[2]]
        else:
            plain = of_type(int, value, at, 'a size, such as "10M"')
            if plain is None:
                return None
            number = plain
        if not least <= number <= most:
            at.fault(f"it is {bytes_of(number)}, and {bytes_of(least)} to {bytes_of(most)} are allowed")
            return None
        return -(-number // unit) * unit

    return read


def signal(value: Any, at: At) -> int | None:
    """A signal's number, of its name or number."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        at.fault(f'it is {shown(value)}; wanted is a signal, such as "TERM"')
        return None
    try:
        number = number_of(value)
    except ValueError as error:
        at.fault(str(error))
        return None
    if not 0 < number <= SIGNAL_MAX:
        at.fault(f"it is {number}, and 1 to {SIGNAL_MAX} are allowed")
        return None
    return number


def choice(words: type[E]) -> Reader[E]:
    """One word of a few."""
    known = {str(word.value): word for word in words}

    def read(value: Any, at: At) -> E | None:
        text = of_type(str, value, at, "one of " + ", ".join(known))
        if text is None:
            return None
        if text not in known:
            at.fault(f"it is {quoted(text)}; {near(text, known)}")
        return known.get(text)

    return read


def array_of(item: Reader[T], least: int = 0) -> Reader[tuple[T, ...]]:
    """An array, every item of which is read; None if one of them is wrong."""

    def read(value: Any, at: At) -> tuple[T, ...] | None:
        values = of_type(list, value, at, "an array")
        if values is None:
            return None
        if len(values) < least:
            at.fault("it is empty")
            return None
        read_all = [item(one, at.item(index)) for index, one in enumerate(values)]
        found = tuple(one for one in read_all if one is not None)
        return found if len(found) == len(values) else None

    return read


def table(keys: Mapping[str, Reader[Any]], value: Any, at: At) -> dict[str, Any] | None:
    """The values of a table by *keys*, without those that are wrong; None if it is no table. Unknown keys are told."""
    values = of_type(dict, value, at, "a table")
    if values is None:
        return None
    found: dict[str, Any] = {}
    for name, one in values.items():
        reader = keys.get(name)
        if reader is None:
            at.key(name).fault(f"there is no such key; {near(name, keys)}")
            continue
        read = reader(one, at.key(name))
        if read is not None:
            found[name] = read
    return found
