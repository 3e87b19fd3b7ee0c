"""What ndtool prints: text with no control characters in it, tables, JSON; knows no daemon and loads almost nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, ClassVar, Protocol

# Part of what this module has for the others.
from netdaemon.visible import visible as visible

Plain = dict[str, Any]

# Characters that no shell treats specially.
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def width(text: str) -> int:
    """The terminal columns that visible *text* takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def cut(text: str, columns: int) -> str:
    """*text* if it fits, else its beginning and an ellipsis."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def command(argv: Iterable[str]) -> str:
    """*argv* as one would type it, visibly."""
    return " ".join(visible(one) if one and _SAFE.issuperset(one) else _quoted(one) for one in argv)


def _quoted(argument: str) -> str:
    return "'" + visible(argument.replace("'", "'\\''")) + "'"


def duration(seconds: float) -> str:
    """A time as people say it, in two or three characters: 5s, 12m, 3h, 2d."""
    seconds = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(count: int) -> str:
    """A number of bytes as people say it, in powers of 1024: 512, 1.5k, 10M."""
    number = float(count)
    for unit in ("", "k", "M", "G"):
        if number < 1024 or unit == "G":
            break
        number /= 1024
    return (f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}") + unit


def few(words: Sequence[str]) -> str:
    """The first of *words*, and how many more there are."""
    shown = ", ".join(words[:3])
    return shown if len(words) <= 3 else f"{shown} and {len(words) - 3} more"


def moment(microseconds: int) -> str:
    """A point in time, local and to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(microseconds / 1e6))


def signal_name(number: int) -> str:
    """SIGTERM for 15."""
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def ending(record: Mapping[str, Any]) -> str:
    """How a process ended: its exit code, its signal, ``?`` if nobody knows; nothing while it runs."""
    if record.get("signal") is not None:
        return signal_name(record["signal"])
    if record.get("code") is not None:
        return str(record["code"])
    return "?" if record["state"] in ("exited", "failed") else ""


_STATE = 2
_TITLES = ("ID", "NAME", "STATE", "PID", "AGE", "EXIT", "COMMAND")


# What the states look like on a terminal: what is well, what is under way, what needs somebody to look.
_COLOURS = {
    "running": "\x1b[32m",
    "starting": "\x1b[33m",
    "stopping": "\x1b[33m",
    "backoff": "\x1b[31m",
    "failed": "\x1b[31m",
}
_PLAIN = "\x1b[0m"


def process_table(
    records: Sequence[Plain], columns: int | None, now: float, *, labels: bool = False, colours: bool = False
) -> str:
    """Records (as `plain` has them) as a table.

    :param columns: the width to fit the last column into; None: however long it gets.
    :param labels: whether their labels are shown, too.
    :param colours: whether states are coloured.
    """
    rows = [_TITLES if not labels else (*_TITLES[:-1], "LABELS", _TITLES[-1])]
    for record in records:
        rows.append(
            (
                visible(record["id"]),
                visible(record.get("name") or ""),
                record["state"],
                str(record.get("pid") or ""),
                duration(now - (record.get("started") or record["created"]) / 1e6),
                ending(record),
                *((" ".join(map(visible, record["labels"])),) if labels else ()),
                command(record["argv"]),
            )
        )
    return table(rows, columns, _coloured if colours else None)


def _coloured(column: int, cell: str) -> str:
    """A cell of the table, in the colour of its state if it is one."""
    colour = _COLOURS.get(cell.rstrip()) if column == _STATE else None
    return cell if colour is None else f"{colour}{cell}{_PLAIN}"


def table(rows: Sequence[Sequence[str]], columns: int | None, paint: Callable[[int, str], str] | None = None) -> str:
    """Rows of visible text, aligned; of all but the last column nothing is cut.

    :param paint: what a cell of a column is to look like, once it is as wide as all of that column.
    """
    widths = [max(width(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    lines: list[str] = []
    for row in rows:
        cells = [cell + " " * (size - width(cell) + 2) for cell, size in zip(row[:-1], widths, strict=True)]
        start = "".join(cells)
        last = row[-1]
        if columns is not None:
            # A command that has no room at all still shows its first characters, on a line that wraps.
            last = cut(last, max(columns - width(start), 8))
        if paint is not None:
            start = "".join(paint(column, cell) for column, cell in enumerate(cells))
        lines.append((start + last).rstrip() + "\n")
    return "".join(lines)


def terminal_columns(stream: IO[str] | None) -> int | None:
    """How wide *stream* is, or None if it is no terminal."""
    import os

    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


class Dataclass(Protocol):
    """What `plain` takes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def plain(message: Dataclass) -> Plain:
    """A message or record as its wire has it: the same keys, words for enumerations, nothing that is left out."""
    told: Plain = {}
    for name in message.__dataclass_fields__:
        if name == "command":
            # The message's number, which belongs to its kind.
            continue
        value = _plain(getattr(message, name))
        if value is not None:
            told[name.rstrip("_")] = value
    return told


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return plain(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        # As with all text of the system's: what is not UTF-8 can be told from what is.
        return value.decode("utf-8", "surrogateescape")
    if value.__class__.__module__.startswith("netdaemon.wire."):
        # What is no dataclass there is an enumeration.
        return value.value
    return value


def json_text(value: Any, indent: int | None = 2) -> str:
    """*value* as JSON, ASCII only: whatever is in it, any terminal and any program can take it."""
    import json

    # DEL is ASCII, and the one control character that JSON lets pass.
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f") + "\n"


class NobodyReads(Exception):
    """Standard output is a pipe that nobody reads any more."""


def write(text: str) -> None:
    """Print to standard output at once; errors are raised here, and not at the end of the program.

    :raises NobodyReads: it is a broken pipe.
    :raises OSError: it cannot be written.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        import os

        # What is left in the buffer is not to be tried again at the end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if isinstance(error, BrokenPipeError):
            raise NobodyReads from error
        raise OSError(error.errno, error.strerror, "standard output") from error


def complain(text: str) -> None:
    """Print to standard error, if there is one."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except OSError:
        # There is nobody to tell.
        pass


def note(text: str) -> None:
    """A line for people, on standard error, after the program's name."""
    complain(f"ndtool: {text}\n")
