"""The file with the daemons that have names, and which of them is meant; connects to none.

Loaded for the plain listing, too, so nothing is imported that is not needed to find that it is a UNIX socket.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netdaemon import defaults
from netdaemon.cli.failure import Failure

if TYPE_CHECKING:
    from netdaemon.trust.credentials import Credentials

# Names a daemon, or says where one listens by TLS.
CONNECT_VARIABLE = "NETDAEMON_CONNECT"


@dataclass(frozen=True)
class Target:
    """A daemon, and how to get at it.

    :param socket: its UNIX socket, or None.
    :param place: ``host:port``, or None.
    :param credentials: for *place*.
    :param token: what is shown besides.
    """

    socket: str | None = None
    place: str | None = None
    credentials: Credentials | None = None
    token: bytes | None = None


def config_path(environ: Mapping[str, str] | None = None) -> str:
    """Where the file is: in XDG_CONFIG_HOME if that is absolute, else in ~/.config."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.config")
    return os.path.join(base, "netdaemon", "config.toml")


def target(
    socket: str | None, connect: str | None, token_file: str | None = None, *, path: str | None = None
) -> Target:
    """The daemon that is meant: by option, by NETDAEMON_CONNECT, by NETDAEMON_SOCKET, or by the file, in that order.

    :param socket: of the option --socket.
    :param connect: of --connect: the name of a daemon in the file, or host:port.
    :param token_file: of --token-file; counts instead of what the file says.
    :param path: the file.
    :return: without socket and place where nothing is said: it is the user's own.
    :raises Failure: there is no such daemon, or something is wrong with what is said of it.
    """
    found = _target(socket, connect, config_path() if path is None else path)
    if token_file is None:
        return found
    return Target(found.socket, found.place, found.credentials, _token(token_file))


def _target(socket: str | None, connect: str | None, path: str) -> Target:
    if socket is not None:
        return Target(socket=socket)
    said = connect or os.environ.get(CONNECT_VARIABLE) or None
    if said is None:
        named = defaults.named_socket()
        if named is not None:
            return Target(socket=named)
        if not os.path.exists(path):
            return Target()
    from netdaemon.cli.config import read

    config = read(path)
    if said is None:
        return Target() if config.default is None else config.daemon(config.default)
    return config.at(said) if ":" in said else config.daemon(said)


def _token(path: str) -> bytes:
    from netdaemon.trust.credentials import read_token

    try:
        return read_token(os.path.expanduser(path))
    except OSError as error:
        raise Failure(f"--token-file {path}: {error.strerror}", error=error) from error
    except ValueError as error:
        raise Failure(f"--token-file {error}", word="bad-usage") from error


def known() -> list[str]:
    """The names in the file, for completion; none where it cannot be read."""
    from netdaemon.cli.config import read

    try:
        return sorted(read(config_path()).tables)
    except (Failure, OSError):
        return []
