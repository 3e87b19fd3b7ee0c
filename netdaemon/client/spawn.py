"""IReactorProcess across a socket: an unchanged IProcessProtocol on a process at the other end; knows no encoding.

What is as in Twisted: descriptors 0 to 2 as pipes, or a terminal; the order of the calls; the reasons. What is not:

- ``pid`` is None until the daemon has answered. What is done before (writes, signals, closing) is done then.
- A program that cannot be executed ends with `ProcessNotStarted`, a ProcessTerminated with exit code 1 as Twisted's
  child would have, whose ``__cause__`` is the daemon's refusal; there is no traceback on stderr.
- When the connection is lost for good, the client having given up, the process goes on, but nothing is known of it any
  more: `ProcessLost`, a ProcessTerminated with neither exit code nor signal. A loss before that is not to be seen.
- ``uid`` and ``gid`` are refused with ValueError, and so are descriptors of this process for the child's.
- ``path`` and a relative ``executable`` are this process's directory: client and daemon are taken to share a host.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProcessProtocol

from netdaemon.client.spawned import SpawnedProcess
from netdaemon.declared import OsText
from netdaemon.wire.commands import FOR_EVER
from netdaemon.wire.records import Channel, Pty

if TYPE_CHECKING:
    from netdaemon.client.client import Client

# What Twisted has where nothing is said.
DEFAULT_CHILD_FDS: Mapping[int, int | str] = {Channel.STDIN: "w", Channel.STDOUT: "r", Channel.STDERR: "r"}


def spawn_process(
    client: Client,
    protocol: IProcessProtocol,
    executable: OsText,
    args: Sequence[OsText],
    env: Mapping[Any, Any] | None,
    path: OsText | None,
    uid: int | None,
    gid: int | None,
    terminal: Any,
    child_fds: Mapping[int, int | str] | None,
) -> SpawnedProcess:
    """Run a program for *protocol*; the parameters are those of `IReactorProcess.spawnProcess`.

    A descriptor that *child_fds* leaves out is not closed in the child: it reads EOF from 0, and what it writes to 1
    or 2 is dropped. Nothing is left of the process in the daemon after ``processEnded``.

    :raises ValueError: it asks for what cannot be had across a socket.
    :raises TypeError: an argument is neither str nor bytes, or has a NUL in it.
    """
    if uid is not None or gid is not None:
        raise ValueError("uid and gid: this daemon runs every process as its own user")
    if isinstance(terminal, tuple | list):
        raise ValueError("usePTY: a terminal that is open here cannot be a child's of the daemon; give True")
    if child_fds is not None and terminal:
        raise ValueError("Using childFDs is not supported with usePTY=True.")
    wanted = dict(DEFAULT_CHILD_FDS if child_fds is None else child_fds)
    for descriptor, kind in wanted.items():
        if DEFAULT_CHILD_FDS.get(descriptor) != kind:
            raise ValueError(
                f"childFDs maps {descriptor} to {kind!r}; across a socket there are 0: 'w', 1: 'r' and 2: 'r'"
            )
    transport = SpawnedProcess(client, protocol, frozenset(wanted), bool(terminal))
    outputs = tuple(channel for channel in (Channel.STDOUT, Channel.STDERR) if channel in wanted)
    directory = os.getcwd() if path is None else path
    surroundings: dict[Any, Any] = dict(os.environ if env is None else env)
    _check((executable, directory, *args, *surroundings, *surroundings.values()))
    transport.begin(
        client.start(
            list(args) or [executable],
            path=executable,
            env=surroundings,
            # Version 1 cannot say where; its daemon's own directory it is then.
            cwd=None if path is None and client.version == 1 else os.path.abspath(directory),
            pty=Pty() if terminal else None,
            channels=None if len(outputs) != 1 or terminal else outputs,
            hold=FOR_EVER,
        )
    )
    return transport


def _check(arguments: Iterable[object]) -> None:
    for one in arguments:
        if not isinstance(one, str | bytes) or ("\0" in one if isinstance(one, str) else b"\0" in one):
            raise TypeError(f"{one!r} is neither str nor bytes without a NUL")
