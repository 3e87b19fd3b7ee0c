"""From files of specs to what is to be started: either all is right, or all that is wrong is told. Knows no daemon."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netdaemon.apply.faults import At, Fault, SpecFaults
from netdaemon.apply.keys import PROCESS_KEYS, SET_KEYS
from netdaemon.apply.tables import Keys, made, values_of
from netdaemon.apply.values import of_type, table
from netdaemon.errors import Refusal
from netdaemon.wire.commands import KEY_MAX, Start
from netdaemon.wire.records import NAME, NAME_RULE, check_name

# A file of ten thousand processes has less. The parser takes some hundred times as much memory.
FILE_MAX = 4 << 20

# What the key of a process begins with that comes from a file of specs.
KEY_PREFIX = "apply/"

# Characters of a process's name at most.
_NAME_MAX = 64

# The name of a set stands in each key, before that of the process.
SET_NAME_MAX = KEY_MAX - len(KEY_PREFIX) - len("/") - _NAME_MAX

TOP_KEYS = ("set", "process")

_POSITION = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecSet:
    """The specs of one file: each a START with the name and the key of its process."""

    file: str
    name: str
    specs: tuple[Start, ...]

    @property
    def prefix(self) -> str:
        """What the keys of its processes begin with."""
        return f"{KEY_PREFIX}{self.name}/"


def read(*files: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> tuple[SpecSet, ...]:
    """The specs of *files*.

    :param environ: where what is inherited comes from; None: our own environment.
    :raises SpecFaults: something is wrong with them; all of it is told.
    """
    faults: list[Fault] = []
    own = os.environ if environ is None else environ
    sets = [_read_one(At(os.fspath(file), faults), own) for file in files]
    found = tuple(one for one in sets if one is not None)
    _check_together(found, faults)
    if faults:
        raise SpecFaults(faults)
    return found


def _read_one(at: At, environ: Mapping[str, str]) -> SpecSet | None:
    found = document_in(at)
    return None if found is None else _set_of(found[0], at, environ)


def document_in(at: At) -> tuple[dict[str, Any], str] | None:
    """What a file says, and its text; None if it cannot be read or is no TOML."""
    text = _text_of(at)
    if text is None:
        return None
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        _syntax(str(error), text, at)
    except RecursionError:
        at.fault("its tables and arrays are nested too deeply")
    return None


def _text_of(at: At) -> str | None:
    try:
        with open(at.file, "rb") as file:
            octets = file.read(FILE_MAX + 1)
    except OSError as error:
        at.fault(f"it cannot be read: {error.strerror}")
        return None
    if len(octets) > FILE_MAX:
        at.fault(f"it has more than {FILE_MAX} bytes, which is what is allowed")
        return None
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode()
        at.faults.append(
            Fault(
                file=at.file,
                line=before.count("\n") + 1,
                column=len(before) - before.rfind("\n"),
                message=f"the byte 0x{octets[error.start]:02x} is not UTF-8",
            )
        )
        return None


def _syntax(message: str, text: str, at: At) -> None:
    found = _POSITION.search(message)
    if found is not None:
        line, column = int(found[1]), int(found[2])
        message = message[: found.start()]
    else:
        message = message.removesuffix(" (at end of document)")
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    at.faults.append(Fault(file=at.file, line=line, column=column, message=message))


def _anything(value: Any, at: At) -> Any:
    return value


def _set_of(document: dict[str, Any], at: At, environ: Mapping[str, str]) -> SpecSet | None:
    keys: Keys = dict.fromkeys(TOP_KEYS, _anything)
    top = table(keys, document, at) or {}
    if "process" not in top:
        at.fault("it has no process; to have none is said by [process] with nothing in it")
    name = _set_name(top.get("set", {}), at)
    processes = of_type(dict, top.get("process", {}), at.key("process"), "a table of tables, such as [process.web]")
    specs = [
        _spec(f"{KEY_PREFIX}{name}/", one, value, at.key("process").key(one), environ)
        for one, value in (processes or {}).items()
    ]
    if name is None:
        return None
    return SpecSet(file=at.file, name=name, specs=tuple(one for one in specs if one is not None))


def _set_name(value: Any, at: At) -> str | None:
    said = values_of(SET_KEYS, value, at.key("set"))
    if said is None:
        return None
    place = at.key("set").key("name")
    name = said.get("name")
    what = "it is"
    if name is None:
        name = os.path.splitext(os.path.basename(at.file))[0]
        what = "it is not said, and the file's own is"
    if not NAME.fullmatch(name):
        place.fault(f"{what} {name!r}, and a name is {NAME_RULE}")
        return None
    if len(name) > SET_NAME_MAX:
        place.fault(f"{what} {name!r} of {len(name)} characters, and at most {SET_NAME_MAX} are allowed")
        return None
    return str(name)


def _spec(prefix: str, name: str, value: Any, at: At, environ: Mapping[str, str]) -> Start | None:
    before = len(at.faults)
    made(check_name, {"field": "it", "value": name}, at)
    values = table(PROCESS_KEYS, value, at)
    if values is None:
        return None
    if ("argv" in value) == ("command" in value):
        seen = "has both" if "argv" in value else "has neither"
        at.fault(f"what is run is said by either argv or command, and it {seen}")
    if values.get("pty") is not None and values.get("merge") is False:
        at.key("merge").fault("it is false, and a pty has one output")
    env = _environment(values, at, environ)
    if len(at.faults) > before:
        return None
    argv = values.pop("argv", None) or values.pop("command")
    try:
        return Start(**values, argv=argv, env=env, name=name, key=prefix + name)
    except Refusal as error:
        (at if error.field is None else at.key(error.field)).fault(error.message)
        return None


def _environment(values: dict[str, Any], at: At, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What is said and what is inherited; takes both out of *values*."""
    env, inherit = values.pop("env", {}), values.pop("inherit", ())
    for index, name in enumerate(inherit):
        if name in env:
            at.key("inherit").item(index).fault(f"{name} is in env, too; which of them counts?")
        elif name in inherit[:index]:
            at.key("inherit").item(index).fault(f"{name} is there twice")
    # What is not set is not inherited.
    inherited = {name: _octets(environ[name]) for name in inherit if name in environ}
    return tuple(f"{name}={text}" for name, text in {**inherited, **env}.items())


def _octets(text: str) -> str:
    """What a locale has made of some bytes, as the protocol has it."""
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "surrogateescape")


def _check_together(sets: Iterable[SpecSet], faults: list[Fault]) -> None:
    """What no file can have that another has: a set's name, a process's name, a log."""
    names: dict[str, str] = {}
    processes: dict[str, str] = {}
    logs: dict[str, str] = {}
    for one in sets:
        at = At(one.file, faults)
        if one.name in names:
            at.key("set").key("name").fault(f"{one.name!r} is the name of the set in {names[one.name]}, too")
        names.setdefault(one.name, one.file)
        for spec in one.specs:
            name = str(spec.name)
            place = at.key("process").key(name)
            if name in processes:
                place.fault(f"there is a process of that name in {processes[name]}, too")
            processes.setdefault(name, one.file)
            if spec.log is not None:
                if spec.log.path in logs:
                    place.key("log").fault(f"{spec.log.path} is the log of {logs[spec.log.path]}, too")
                logs.setdefault(spec.log.path, name)
