"""What is wrong with files of specs, and where: all of it at once; knows no format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from netdaemon.errors import NetdaemonError

# A key that TOML takes without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong.

    :ivar place: the table and field, as ``process.web.stop[2].signal``, items counted from 0; empty: the file as such.
    :ivar line: where that is known, with *column*; both from 1.
    """

    file: str
    message: str
    place: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = self.file
        if self.line is not None:
            where += f":{self.line}:{self.column}"
        return ": ".join(filter(None, (where, self.place, self.message)))


class SpecFaults(NetdaemonError):
    """There is something wrong with the specs, and nothing was done; ``faults`` are all that was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class At:
    """A place in a file, for whoever reads what stands there to say what is wrong with it."""

    file: str
    faults: list[Fault]
    place: str = ""

    def key(self, name: str) -> At:
        """The field *name* of the table here."""
        word = name if _BARE.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return At(self.file, self.faults, f"{self.place}.{word}" if self.place else word)

    def item(self, index: int) -> At:
        """An item of the array here."""
        return At(self.file, self.faults, f"{self.place}[{index}]")

    def fault(self, message: str) -> None:
        """Something is wrong here."""
        self.faults.append(Fault(file=self.file, place=self.place, message=message))
