"""The listing without click and without the whole vocabulary, whose loading would take most of its time.

Whatever is out of the ordinary is not dealt with here: then the caller goes the long way, which says what is wrong.
A test holds the table of fields to the declaration of the record.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import netdaemon
from netdaemon import defaults
from netdaemon.cli import output
from netdaemon.cli.failure import Failure
from netdaemon.cli.named import CONNECT_VARIABLE, config_path, target
from netdaemon.wire.box import decode_box, encode_box

_LIST = 0x0103
_HELLO = 0x0001
_HEAD = struct.Struct(">IIH")
_INTEGER = struct.Struct(">q")
_LENGTH = struct.Struct(">I")

# Seconds; whoever needs longer is served by the long way, which has its own.
TIMEOUT = 5.0


class OutOfTheOrdinary(Exception):
    """The long way is to be taken."""


def _integer(octets: bytes) -> int:
    value: int = _INTEGER.unpack(octets)[0]
    return value


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _items(octets: bytes) -> list[bytes]:
    items: list[bytes] = []
    position = 0
    while position < len(octets):
        start = position + 4
        position = start + _LENGTH.unpack_from(octets, position)[0]
        items.append(octets[start:position])
    return items


def _texts(octets: bytes) -> list[str]:
    return list(map(_text, _items(octets)))


def _integers(octets: bytes) -> list[int]:
    return list(map(_integer, _items(octets)))


def _boolean(octets: bytes) -> bool:
    return octets == b"\1"


def _fields(octets: bytes, table: dict[str, Callable[[bytes], Any]]) -> dict[str, Any]:
    pairs, _ = decode_box(octets)
    told: dict[str, Any] = {}
    for name, read in table.items():
        value = pairs.get(name.encode())
        if value is not None:
            told[name] = read(value)
    return told


PTY: dict[str, Callable[[bytes], Any]] = {"rows": _integer, "columns": _integer, "term": _text}

STEP: dict[str, Callable[[bytes], Any]] = {
    "stdin": _text,
    "wait": _integer,
    "signal": _integer,
    "scope": _text,
    "kill": _boolean,
}

RESTART: dict[str, Callable[[bytes], Any]] = {
    "policy": _text,
    "codes": _integers,
    "delay": _integer,
    "longest": _integer,
    "settled": _integer,
    "burst": _integer,
    "interval": _integer,
}

READY: dict[str, Callable[[bytes], Any]] = {"output": _text, "pattern": _text, "notify": _boolean, "timeout": _integer}

LOG: dict[str, Callable[[bytes], Any]] = {
    "path": _text,
    "size": _integer,
    "age": _integer,
    "files": _integer,
    "compress": _boolean,
    "required": _boolean,
}

RUN_AS: dict[str, Callable[[bytes], Any]] = {
    "user": _text,
    "group": _text,
    "groups": _texts,
    "umask": _integer,
    "chroot": _text,
    "nice": _integer,
    "oom_score_adj": _integer,
    "no_new_privs": _boolean,
    "capabilities": _texts,
}

SANDBOX: dict[str, Callable[[bytes], Any]] = {"profile": _text, "network": _boolean, "writable": _texts}

RECORD: dict[str, Callable[[bytes], Any]] = {
    "id": _text,
    "name": _text,
    "labels": _texts,
    "state": _text,
    "generation": _integer,
    "argv": _texts,
    "cwd": _text,
    "pty": lambda octets: _fields(octets, PTY),
    "merge": _boolean,
    "owner": _text,
    "pid": _integer,
    "created": _integer,
    "started": _integer,
    "exited": _integer,
    "code": _integer,
    "signal": _integer,
    "core": _boolean,
    "begin": _integer,
    "end": _integer,
    "stdin_end": _integer,
    "eof": _integers,
    "attached": _integer,
    "keep": _integer,
    "key": _text,
    "digest": _text,
    "stop": lambda octets: [_fields(one, STEP) for one in _items(octets)],
    "restart": lambda octets: _fields(octets, RESTART),
    "ready": lambda octets: _fields(octets, READY),
    "watchdog": _integer,
    "log": lambda octets: _fields(octets, LOG),
    "run_as": lambda octets: _fields(octets, RUN_AS),
    "limits": _texts,
    "cgroup": _texts,
    "sandbox": lambda octets: _fields(octets, SANDBOX),
    "uid": _integer,
    "gid": _integer,
    "failures": _integer,
    "due": _integer,
    "step": _text,
}


def record(octets: bytes) -> output.Plain:
    """A process's record, as `output.plain` has it."""
    return _fields(octets, RECORD)


def processes(path: str, select: Sequence[str] = (), timeout: float = TIMEOUT) -> list[output.Plain]:
    """The records of the processes that match *select*, from the daemon at *path*.

    :raises OutOfTheOrdinary: anything but an answer came.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            sock.connect(path)
            return _processes(sock, select)
    except (OSError, ValueError, KeyError, struct.error, netdaemon_error()) as error:
        raise OutOfTheOrdinary from error


def netdaemon_error() -> type[Exception]:
    """What decoding raises."""
    from netdaemon.errors import NetdaemonError

    return NetdaemonError


def _processes(sock: socket.socket, select: Sequence[str]) -> list[output.Plain]:
    hello = struct.pack(">H", 2) + encode_box([(b"client", f"ndtool/{netdaemon.__version__}".encode())])
    records: list[output.Plain] = []
    asked = [(b"select", b"".join(_LENGTH.pack(len(term)) + term for term in map(os.fsencode, select)))] * bool(select)
    _send(sock, 1, _HELLO, hello)
    _receive(sock, 1, _HELLO)
    id = 1
    after: bytes | None = None
    while True:
        id += 1
        _send(sock, id, _LIST, encode_box(asked if after is None else [*asked, (b"after", after)]))
        pairs, _ = decode_box(_receive(sock, id, _LIST))
        records += map(record, _items(pairs[b"processes"]))
        after = pairs.get(b"after")
        if after is None:
            return records


def _send(sock: socket.socket, id: int, command: int, body: bytes) -> None:
    sock.sendall(_HEAD.pack(6 + len(body), id, command) + body, socket.MSG_NOSIGNAL)


def _receive(sock: socket.socket, id: int, command: int) -> bytes:
    length, got_id, got_command = _HEAD.unpack(_exactly(sock, _HEAD.size))
    if (got_id, got_command) != (id, command) or not 6 <= length <= 1 << 24:
        raise OutOfTheOrdinary
    return _exactly(sock, length - 6)


def _exactly(sock: socket.socket, count: int) -> bytes:
    octets = bytearray()
    while len(octets) < count:
        more = sock.recv(min(count - len(octets), 1 << 18))
        if not more:
            raise OutOfTheOrdinary
        octets += more
    return bytes(octets)


def names(path: str) -> list[tuple[str, str]]:
    """Names and ids of the processes with a word on each, for completion; none if no daemon answers at once."""
    try:
        records = processes(path, timeout=0.5)
    except OutOfTheOrdinary:
        return []
    found: list[tuple[str, str]] = []
    for one in records:
        what = f"{one['state']}: {output.command(one['argv'])}"
        found += [(name, what) for name in (one.get("name"), one["id"]) if name]
    return found


def listing(records: Sequence[output.Plain], *, as_json: bool, labels: bool = False) -> str:
    """What ``ndtool list`` prints."""
    if as_json:
        return output.json_text(records)
    columns = output.terminal_columns(sys.stdout)
    colours = columns is not None and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return output.process_table(records, columns, time.time(), labels=labels, colours=colours)


def _path() -> str:
    """The socket where none is named.

    :raises OutOfTheOrdinary: the daemon is somewhere else, or something has to be said besides.
    """
    if os.environ.get(CONNECT_VARIABLE):
        raise OutOfTheOrdinary
    path = defaults.named_socket()
    if path is None and os.path.exists(config_path()):
        try:
            meant = target(None, None)
        except Failure as error:
            raise OutOfTheOrdinary from error
        if meant.place is not None or meant.token is not None:
            raise OutOfTheOrdinary
        path = meant.socket
    if path is None:
        path = defaults.default_socket()
        defaults.check_directory(os.path.dirname(path))
    return path


def run(arguments: Sequence[str]) -> bool:
    """``ndtool list`` in its plain forms; False if *arguments* are something else, or anything is wrong.

    :raises NobodyReads, OSError: it cannot be printed.
    """
    path: str | None = None
    as_json = False
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--json":
            as_json = True
        elif argument in ("--no-autostart", "--no-reconnect"):
            # Of no account here: the long way is taken where they would be.
            continue
        elif argument == "--socket" and not words:
            path = next(rest, None)
        elif argument.startswith("--socket=") and not words:
            path = argument.partition("=")[2]
        elif argument.startswith("-"):
            return False
        else:
            words.append(argument)
    if not words or words[0] != "list":
        return False
    try:
        if path is None:
            path = _path()
        text = listing(processes(path, words[1:]), as_json=as_json)
    except (OutOfTheOrdinary, OSError):
        return False
    output.write(text)
    return True
