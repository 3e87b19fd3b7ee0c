"""A table of a file to what the wire declares of its values, and paths in it; knows no particular key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from netdaemon.apply.faults import At
from netdaemon.apply.values import Reader, os_text, refused, table
from netdaemon.errors import Refusal

T = TypeVar("T")
Keys = Mapping[str, Reader[Any]]


def values_of(keys: Keys, value: Any, at: At, *needed: str) -> dict[str, Any] | None:
    """The values of a table; None if anything in it is wrong."""
    before = len(at.faults)
    values = table(keys, value, at)
    if values is not None:
        for name in needed:
            if name not in value:
                at.fault(f"it says no {name}")
    return values if len(at.faults) == before else None


def made(declaration: Callable[..., T], values: Mapping[str, Any] | None, at: At) -> T | None:
    """What the wire declares, of *values*; None if there are none, or it refuses them."""
    if values is None:
        return None
    try:
        return declaration(**values)
    except Refusal as error:
        at.fault(refused(error))
        return None


def place(value: Any, at: At) -> str | None:
    """A path; if it is relative, from where the file of specs is."""
    text = os_text(value, at)
    return None if text is None else os.path.normpath(os.path.join(_directory(at.file), text))


def _directory(file: str) -> str:
    """Where a file is, as the protocol has it whatever the locale is."""
    return os.fsencode(os.path.dirname(os.path.abspath(file))).decode("utf-8", "surrogateescape")
