"""The keeper as a program: `python -m netdaemon.keeper`, or this file by its path, which needs no site-packages."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not __package__:
    # By its path, and with -I: what is beside us has to be found.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from netdaemon.keeper.client import Command
from netdaemon.keeper.limits import drop_mark, raise_limit
from netdaemon.keeper.main import Keeper
from netdaemon.keeper.place import bind, own_place
from netdaemon.keeper.state import FORM

USAGE = """\
usage: python -m netdaemon.keeper [--descriptors COUNT] [--socket PATH] -- PROGRAM [ARGUMENT]...
       python -m netdaemon.keeper [--descriptors COUNT] --socket PATH

Keeps the processes of a netdaemon daemon: their descriptors and their exit statuses, so that the daemon may be killed
and upgraded. With a PROGRAM (twistd -n netdaemon ...) it starts the daemon, and again whenever that ends, reaps
orphans, and ends everything in order on SIGTERM: the entry point of a container. Without, it is what a daemon starts
by itself.
"""


def main(words: list[str]) -> int:
    """Be a keeper; the exit code."""
    if words[:1] == ["--understands"] and len(words) == 2:
        return 0 if words[1].encode() == FORM else 1
    # We outlive the process that a daemon may have been started in.
    drop_mark()
    if words[:1] == ["--resume"] and len(words) in (2, 3):
        raise_limit(int(words[2]) if words[2:] else 0)
        return Keeper.resumed(int(words[1])).run()
    path, command, given, descriptors = "", None, list(words), 0
    if words[:1] == ["--descriptors"] and words[1:2] and words[1].isdecimal():
        descriptors, words = int(words[1]), words[2:]
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
    raise_limit(descriptors)
    keeper = Keeper(path, listener, command)
    keeper.own_directory = own
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
