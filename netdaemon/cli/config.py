"""What the file of named daemons says, with all that is wrong with it; connects to nothing.

::

    default = "prod"
    certificate = "me.pem"            # these count for every daemon that has none of its own
    key = "me.key"
    authority = "authority.pem"

    [daemons.prod]
    connect = "panel.example.org:7878"

    [daemons.here]
    socket = "/run/netdaemon/netdaemon.sock"
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

from netdaemon.cli.failure import Failure
from netdaemon.cli.named import Target
from netdaemon.trust.credentials import Credentials, read_token
from netdaemon.trust.pins import checked_pin
from netdaemon.trust.places import place_of

# What counts for all daemons of the file that do not say it themselves: these are the user's, whoever is talked to.
SHARED = ("certificate", "key", "authority", "token_file")

FIELDS = ("connect", "socket", "pin", "token", *SHARED)

# A file of this kind has a screen of lines; it is read whole.
SIZE_MOST = 1 << 20


@dataclass(frozen=True)
class Config:
    """A file without faults.

    :ivar tables: what it says of each daemon, with what counts for all.
    """

    path: str
    default: str | None
    tables: dict[str, dict[str, str]]
    shared: dict[str, str]

    def daemon(self, name: str) -> Target:
        """The daemon of that name.

        :raises Failure: there is none, or it cannot be connected to as it is written.
        """
        table = self.tables.get(name)
        if table is None:
            names = ", ".join(sorted(self.tables)) or "none"
            raise Failure(
                f"{self.path} has no daemon {name!r}; it has {names}",
                f"add [daemons.{name}] there, or say host:port",
                word="bad-usage",
            )
        return self._target(f"daemons.{name}", table)

    def at(self, where: str) -> Target:
        """The daemon at a place: the one that the file has there, else by what counts for all.

        :raises Failure: it is no place, or nothing says by what the daemon is known.
        """
        try:
            place = place_of(where)
        except ValueError as error:
            raise Failure(str(error), word="bad-usage") from error
        for name, table in self.tables.items():
            if "connect" in table and place_of(table["connect"]) == place:
                return self._target(f"daemons.{name}", table)
        return self._target("", {**self.shared, "connect": str(place)})

    def _target(self, where: str, table: dict[str, str]) -> Target:
        token = self._token(where, table)
        if "socket" in table:
            return Target(socket=self._file(table["socket"]), token=token)
        if "certificate" not in table or not {"authority", "pin"} & set(table):
            here = where or "its beginning"
            raise Failure(
                f"{table['connect']} needs certificate, and authority or pin; {self.path} does not say them in {here}",
                "ndtool keys issue makes such files, and prints these lines",
                word="bad-usage",
            )
        files = {name: self._file(table[name]) for name in ("certificate", "key", "authority") if name in table}
        credentials = Credentials(
            certificate=files["certificate"],
            key=files.get("key"),
            authority=files.get("authority"),
            pin=table.get("pin"),
        )
        return Target(place=str(place_of(table["connect"])), credentials=credentials, token=token)

    def _token(self, where: str, table: dict[str, str]) -> bytes | None:
        if "token" in table:
            return table["token"].encode()
        if "token_file" not in table:
            return None
        path = self._file(table["token_file"])
        field = f"{self.path}: {where}.token_file" if where else f"{self.path}: token_file"
        try:
            return read_token(path)
        except OSError as error:
            raise Failure(f"{field}: {path}: {error.strerror}", error=error) from error
        except ValueError as error:
            raise Failure(f"{field}: {error}", word="bad-usage") from error

    def _file(self, said: str) -> str:
        """A path in the file; a relative one begins where the file is."""
        return os.path.join(os.path.dirname(self.path), os.path.expanduser(said))


def read(path: str) -> Config:
    """What the file at *path* says; nothing, if there is none.

    :raises Failure: with a line for all that is wrong.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            octets = file.read(SIZE_MOST + 1)
    except FileNotFoundError:
        return Config(path, None, {}, {})
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", error=error) from error
    if len(octets) > SIZE_MOST:
        raise _failure(path, [f"it has more than {SIZE_MOST} bytes, which is the most that is read"])
    try:
        said = tomllib.loads(octets.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _failure(path, [str(error)]) from None
    faults: list[str] = []
    config = _config(path, said, faults)
    if mode & 0o077 and any("token" in table for table in config.tables.values()):
        faults.append(f"it has a token in it, and its mode is {mode:04o}: chmod 600 {path}, or use token_file")
    if faults:
        raise _failure(path, faults)
    return config


def _failure(path: str, faults: list[str]) -> Failure:
    many = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = tuple(f"{path}: {fault}" for fault in faults)
    return Failure(f"{many} found in the file of named daemons:", word="bad-usage", detail=lines)


def _config(path: str, said: dict[str, Any], faults: list[str]) -> Config:
    tables: dict[str, dict[str, str]] = {}
    shared = _texts("", {name: value for name, value in said.items() if name in SHARED}, faults)
    daemons = said.get("daemons", {})
    if not isinstance(daemons, dict):
        faults.append("daemons: it has to be tables, as [daemons.prod]")
        daemons = {}
    for name in said:
        if name not in (*SHARED, "default", "daemons"):
            faults.append(f"{name}: there is no such field; there are default, daemons, {', '.join(SHARED)}")
    for name, table in daemons.items():
        where = f"daemons.{name}"
        if not isinstance(table, dict):
            faults.append(f"{where}: it has to be a table, as [{where}]")
            continue
        if ":" in name:
            faults.append(f"{where}: a name with a colon would be taken for host:port")
        tables[name] = _daemon(where, table, shared, faults)
    default = said.get("default")
    if default is not None and default not in tables:
        faults.append(f"default: {default!r} is no daemon here; there are {', '.join(sorted(tables)) or 'none'}")
    return Config(path, default, tables, shared)


def _daemon(where: str, table: dict[str, Any], shared: dict[str, str], faults: list[str]) -> dict[str, str]:
    said = _texts(f"{where}.", table, faults)
    for name in table:
        if name not in FIELDS:
            faults.append(f"{where}.{name}: there is no such field; there are {', '.join(FIELDS)}")
    if ("connect" in table) == ("socket" in table):
        faults.append(f"{where}: exactly one of connect and socket has to be there")
    if "socket" in table:
        for name in ("certificate", "key", "authority", "pin"):
            if name in table:
                faults.append(f"{where}.{name}: with a socket there is none, since the kernel tells who connects")
    if "token" in table and "token_file" in table:
        faults.append(f"{where}: token and token_file are both there, and one of them is enough")
    if "connect" in said:
        try:
            place = place_of(said["connect"])
        except ValueError as error:
            faults.append(f"{where}.connect: {error}")
        else:
            said["connect"] = str(place)
    if "pin" in said:
        try:
            said["pin"] = checked_pin(said["pin"])
        except ValueError as error:
            faults.append(f"{where}.pin: {error}")
    elsewhere = {name: value for name, value in shared.items() if name not in said}
    if "certificate" in said and "key" not in said:
        # Another's key is not this certificate's.
        elsewhere.pop("key", None)
    if {"authority", "pin"} & set(said):
        elsewhere.pop("authority", None)
    if "token" in said:
        elsewhere.pop("token_file", None)
    return {**elsewhere, **said}


def _texts(where: str, table: dict[str, Any], faults: list[str]) -> dict[str, str]:
    texts = {}
    for name, value in table.items():
        if name not in FIELDS:
            continue
        if not isinstance(value, str) or not value:
            faults.append(f"{where}{name}: it is {value!r}, and it has to be a text that is not empty")
        else:
            texts[name] = value
    return texts
