"""What a client shows a daemon, and by what it knows one; knows nothing of how TLS is done."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from netdaemon.trust.pins import checked_pin

# HELLO has to fit into what is read before it is answered; a token is a few dozen characters.
TOKEN_MOST = 1024


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A client's certificate, and what it expects of the daemon's. All are paths of PEM files, but for the pin.

    :param certificate: the client's; certificates between it and the authority may follow in the same file.
    :param key: its private key; None: it is in the same file.
    :param authority: certificates of whoever signs daemons' certificates. The daemon's has to be for the host that is
        connected to, by name or address.
    :param pin: of the daemon's key, ``sha256:...``. Where it is given it counts instead of the authority, if there is
        none, and instead of the host's name in any case.
    :raises ValueError: neither of the last two is given, or the pin is none.
    """

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str] | None = None
    authority: str | os.PathLike[str] | None = None
    pin: str | None = None

    def __post_init__(self) -> None:
        if self.authority is None and self.pin is None:
            raise ValueError("neither authority nor pin is given: by one of them the daemon is known")
        if self.pin is not None:
            object.__setattr__(self, "pin", checked_pin(self.pin))

    @property
    def key_file(self) -> str:
        """Where the private key is."""
        return os.path.expanduser(self.certificate if self.key is None else self.key)

    @property
    def certificate_file(self) -> str:
        """Where the certificate is."""
        return os.path.expanduser(self.certificate)

    @property
    def authority_file(self) -> str | None:
        """Where the authority's certificates are."""
        return None if self.authority is None else os.path.expanduser(self.authority)


def check_private(path: str) -> None:
    """Refuse a file with a secret of ours that others can read or write, as ssh does.

    One that belongs to another user is as that one wants it.

    :raises PermissionError: they can.
    :raises OSError: there is none.
    """
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid() and mode & 0o077:
        raise PermissionError(
            errno.EPERM, f"its mode is {mode:04o}, and others must not be able to read it: chmod 600 {path}", path
        )


def read_token(path: str) -> bytes:
    """The token in a file, without the end of its line.

    :raises OSError: it cannot be read, or others can read it.
    :raises ValueError: there is none in it.
    """
    check_private(path)
    with open(path, "rb") as file:
        token = file.read(TOKEN_MOST + 2).rstrip(b"\r\n")
    if not token or len(token) > TOKEN_MOST or any(one in token for one in b"\r\n"):
        raise ValueError(f"{path} has no token in it: one line of at most {TOKEN_MOST} bytes")
    return token
