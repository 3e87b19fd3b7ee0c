"""``tls:host:port`` as people write it, and back; knows nothing of what is there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

SCHEME = "tls:"

PORT_MAX = 65535

FORM = "tls:HOST:PORT, with a host of IPv6 in brackets: tls:[::1]:7878"


@dataclass(frozen=True)
class Place:
    """Where a daemon listens by TCP.

    :raises ValueError: it cannot be such a place.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or any(one.isspace() or one in "[]/%" or not one.isprintable() for one in self.host):
            raise ValueError(f"the host is {self.host!r}, and it is a name or an address")
        if ":" in self.host and not self.is_address:
            raise ValueError(f"the host is {self.host!r}, which is neither a name nor an address of IPv6")
        if not 1 <= self.port <= PORT_MAX:
            raise ValueError(f"the port is {self.port}, and 1 to {PORT_MAX} are allowed")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an address rather than a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def place_of(text: str) -> Place:
    """The place that *text* means, with or without ``tls:`` before it.

    :raises ValueError: it is none; the message says what one looks like.
    """
    rest = text.removeprefix(SCHEME)
    host, colon, port = rest.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()):
        raise ValueError(f"{text!r} has no port at its end; a place is {FORM}")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r} has an address of IPv6 without brackets; a place is {FORM}")
    try:
        return Place(host[1:-1] if bracketed else host, int(port))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
