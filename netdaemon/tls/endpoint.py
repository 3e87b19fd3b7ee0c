"""What ``--listen`` says: where, and with which files; opens none of them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass

from netdaemon.trust.places import PORT_MAX

FORM = "tls:PORT:interface=ADDRESS:certificate=FILE:key=FILE:authority=FILE"

_FILES = ("certificate", "key", "authority", "pins")


@dataclass(frozen=True, kw_only=True)
class Listen:
    """One place to listen on by TCP.

    :param interface: an address of this machine; ``0.0.0.0`` and ``::`` are all of them.
    :param port: 0 takes one that is free.
    :param authority: who signs the certificates of clients; None: those in *pins* need no signature.
    :param pins: a file with the pins of the clients that may connect; None: all whose certificate is signed may.
    """

    interface: str
    port: int
    certificate: str
    key: str
    authority: str | None = None
    pins: str | None = None


def listen_of(text: str) -> Listen:
    """What *text* says, in the manner of Twisted's endpoints: fields between colons; ``\\`` quotes one character.

    :raises ValueError: it says something else; the message says what.
    """
    kind, *rest = _fields(text)
    if kind in ("tcp", "tcp4", "tcp6"):
        raise ValueError(f"{kind} would carry everything in plain text for all to read and change; it is {FORM}")
    if kind not in ("tls", "ssl"):
        raise ValueError(f"{kind or text!r} is nothing to listen on here; it is {FORM}")
    said: dict[str, str] = {}
    port: str | None = None
    for field in rest:
        name, equals, value = field.partition("=")
        if not equals and port is None and not said:
            port = field
        elif not equals or name not in ("interface", *_FILES):
            raise ValueError(f"{field!r} is not understood; it is {FORM}, and :pins=FILE; a colon inside is \\:")
        elif name in said:
            raise ValueError(f"{name}= is given twice")
        elif not value:
            raise ValueError(f"{name}= is empty")
        else:
            said[name] = value
    if port is None or not (port.isascii() and port.isdecimal()) or int(port) > PORT_MAX:
        raise ValueError(f"the port is {port!r}, and it is a number up to {PORT_MAX}")
    for name, what in (
        ("interface", "the address to listen on; 0.0.0.0 is all of IPv4, \\:\\: all"),
        ("certificate", "the daemon's own, in PEM"),
    ):
        if name not in said:
            raise ValueError(f"{name}= is missing: {what}")
    if "authority" not in said and "pins" not in said:
        raise ValueError("authority= and pins= are missing: by at least one of them clients are known")
    try:
        ipaddress.ip_address(said["interface"])
    except ValueError:
        raise ValueError(f"interface= is {said['interface']!r}, and it is an address of this machine") from None
    files = {name: os.path.abspath(said[name]) for name in _FILES if name in said}
    return Listen(
        interface=said["interface"],
        port=int(port),
        certificate=files["certificate"],
        key=files.get("key", files["certificate"]),
        authority=files.get("authority"),
        pins=files.get("pins"),
    )


def _fields(text: str) -> Iterator[str]:
    field: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == ":":
            yield "".join(field)
            field.clear()
        else:
            field.append(next(characters, "") if character == "\\" else character)
    yield "".join(field)
