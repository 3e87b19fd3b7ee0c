"""The keeper as a program: `python -m netdaemon.keeper`, or this file by its path, which needs no site-packages."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

if __name__ == "__main__" and not __package__:
    # By its path, and with -I: what is beside us has to be found.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from netdaemon.keeper.client import Command
from netdaemon.keeper.main import Keeper

USAGE = """\
usage: python -m netdaemon.keeper [--socket PATH] -- PROGRAM [ARGUMENT]...
       python -m netdaemon.keeper --socket PATH

Keeps the processes of a netdaemon daemon: their descriptors and their exit statuses, so that the daemon may be killed
and upgraded. With a PROGRAM (twistd -n netdaemon ...) it starts the daemon, and again whenever that ends, reaps
orphans, and ends everything in order on SIGTERM: the entry point of a container. Without, it is what a daemon starts
by itself.
"""


def bind(path: str) -> socket.socket:
    """Listen at *path*, for this user alone.

    :raises OSError: EADDRINUSE where somebody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(path)
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The file gets the socket's mode less the umask: never, not for an instant, a wider one.
    os.fchmod(listener.fileno(), 0o600)
    listener.bind(path)
    listener.listen(8)
    listener.setblocking(False)
    return listener


def own_place() -> str:
    """A socket's path in a directory of our own, for who was not told where."""
    directory = f"{os.environ.get('XDG_RUNTIME_DIR') or '/run'}/netdaemon-keeper-{os.getpid()}"
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        # Of one that had our pid: as process 1, in the container's last life.
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise
    return f"{directory}/socket"


def main(words: list[str]) -> int:
    """Be a keeper; the exit code."""
    if words[:1] == ["--resume"] and len(words) == 2:
        return Keeper.resumed(int(words[1])).run()
    path, command, given = "", None, list(words)
    if words[:1] == ["--socket"] and len(words) > 1:
        path, words = os.path.abspath(words[1]), words[2:]
    if words[:1] == ["--"] and len(words) > 1:
        argv = [os.fsencode(word) for word in words[1:]]
        env = [name + b"=" + value for name, value in os.environb.items()]
        command, words = Command(argv[0], argv, env, os.fsencode(os.getcwd())), []
    if not sys.flags.no_site and command:
        # A keeper needs none of what is installed, and stays smaller without.
        os.execv(sys.executable, [sys.executable, "-I", "-S", os.path.abspath(__file__), *given])
    if words or not (path or command):
        sys.stderr.write(USAGE)
        return 0 if words in (["--help"], ["-h"]) else 2
    own = not path
    try:
        path = path or own_place()
        listener = bind(path)
    except OSError as error:
        sys.stderr.write(f"netdaemon keeper: {path or error.filename}: {error.strerror}\n")
        return 1
    os.chdir("/")
    keeper = Keeper(path, listener, command)
    keeper.own_directory = own
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
