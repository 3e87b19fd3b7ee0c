"""Runs a program, a daemon, that kills itself at chosen points, each once; so does the keeper that it starts.

python points.py DIRECTORY PROGRAM ARGUMENT...

It dies at a point as soon as a file of the point's name is in the directory; the file is gone then.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

from netdaemon.daemon import adoption, peer, service
from netdaemon.keeper import launch
from netdaemon.keeper.child import INPUT, RELAYS, Launched
from netdaemon.process import keeper_link, slots, spool
from netdaemon.process.kept import KeptLauncher
from netdaemon.process.record import Process
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.sockets.listener import Listener
from tests.survive.keeper_points import around, die, later

POINTS = (
    "before launch is sent",
    "after launch was sent",
    "before the gate is opened",
    "after the gate was opened",
    "before it is saved that it runs",
    "after it was saved that it runs",
    "before a mark",
    "after a mark",
    "in a turn of the ring, before the seek",
    "in a turn of the ring, after the seek",
    "before the exit is saved",
    "in the middle of saving the exit",
    "after the exit was saved",
    "before collect",
    "before release",
    "after release",
    "before forget",
    "after forget",
    "before share",
    "after share",
    "after input was accepted, not answered",
    "after input was accepted and answered",
    "before input is fed",
    "after input was fed",
    "after the end of input was saved, not withdrawn",
    "after stdin was withdrawn, its file not",
    "after stdin and its file were withdrawn",
    "before what can wait is said",
    "after a terminal's input was withdrawn, its relay not",
    "after a terminal's output was withdrawn, its relay not",
)

# Those in a daemon's own start, where it takes over from another.
STARTING = (
    "in the middle of the probe of splice",
    "before everything is taken over",
    "in the middle of adoption",
    "after adoption, before it listens",
    "after it listens",
)


class Os:
    """The module as one of ours sees it, with points around some calls."""

    def __init__(self, **calls: Any) -> None:
        self.__dict__.update(calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def arm(directory: str) -> None:
    """Have all points in this program."""

    def method(owner: Any, name: str, before: str = "", after: str = "") -> None:
        setattr(owner, name, around(directory, getattr(owner, name), before, after))

    method(service, "splice_works", "in the middle of the probe of splice")
    method(launch, "open_gate", "before the gate is opened", "after the gate was opened")
    method(Spool, "_write_mark", "before a mark", "after a mark")
    method(KeptLauncher, "collect", "before collect")
    method(KeptLauncher, "release", "before release", "after release")
    method(KeptLauncher, "forget", "before forget", "after forget")
    method(KeptLauncher, "share", "before share", "after share")
    method(KeptLauncher, "open", "before everything is taken over")
    method(Stdin, "accept", "", "after input was accepted, not answered")
    method(Stdin, "feed", "before input is fed", "after input was fed")
    method(Listener, "begin", "after adoption, before it listens", "after it listens")
    adoption._go_on = later(directory, adoption._go_on, "in the middle of adoption")
    seek = around(
        directory, os.lseek, "in a turn of the ring, before the seek", "in a turn of the ring, after the seek"
    )
    spool.os = Os(lseek=seek)  # type: ignore[assignment]

    send, save, received = KeptLauncher._post, Process.save, peer.Peer.dataReceived

    def sent(self: KeptLauncher, *fields: bytes, **options: Any) -> None:
        if fields[0] == b"launch":
            die(directory, "before launch is sent")
        send(self, *fields, **options)
        if fields[0] == b"launch":
            die(directory, "after launch was sent")
        if fields[0] == b"withdraw":
            # What is to be told of the same process: some of it has not been yet.
            withdrawn = mentioned.get(fields[1].decode(), set())
            withdrawn.discard(fields[2].decode())
            if fields[2] == b"stdout" and RELAYS[2] in withdrawn:
                die(directory, "after a terminal's output was withdrawn, its relay not")
            elif fields[2] == b"stdin" and RELAYS[0] in withdrawn:
                die(directory, "after a terminal's input was withdrawn, its relay not")
            elif fields[2] == b"stdin" and INPUT in withdrawn:
                die(directory, "after stdin was withdrawn, its file not")
            elif fields[2] == INPUT.encode():
                die(directory, "after stdin and its file were withdrawn")

    withdraw, mentioned = KeptLauncher.withdraw, dict[str, set[str]]()

    def withdrawing(self: KeptLauncher, launched: Launched, *roles: str, at_once: bool = False) -> None:
        withdrawn = {*roles} & {*self._roles[launched.id][1]} if launched.id in self._roles else set()
        mentioned.setdefault(launched.id, set()).update(withdrawn)
        if INPUT in withdrawn:
            die(directory, "after the end of input was saved, not withdrawn")
        withdraw(self, launched, *roles, at_once=at_once)

    exiting = False

    def saved(self: Process) -> bool:
        nonlocal exiting
        exiting = self.status is not None
        die(directory, "before the exit is saved" if exiting else "before it is saved that it runs")
        outcome = save(self)
        die(directory, "after the exit was saved" if exiting else "after it was saved that it runs")
        exiting = False
        return outcome

    def written(descriptor: int, octets: bytes, place: int) -> int:
        if exiting and len(octets) == slots._LIVE.size:
            die(directory, "in the middle of saving the exit")
        return os.pwrite(descriptor, octets, place)

    fed = False

    def read(self: Any, data: Any) -> None:
        nonlocal fed
        fed = False
        received(self, data)
        if fed:
            die(directory, "after input was accepted and answered")

    accept = Stdin.accept

    def accepted(self: Stdin, data: bytes, at: int | None) -> int:
        nonlocal fed
        fed = True
        return accept(self, data, at)

    say = KeptLauncher._say

    def saying(self: KeptLauncher) -> None:
        if self._unsaid:
            die(directory, "before what can wait is said")
        say(self)

    KeptLauncher._say = saying  # type: ignore[method-assign]
    KeptLauncher._post = sent  # type: ignore[method-assign]
    KeptLauncher.withdraw = withdrawing  # type: ignore[method-assign]
    Process.save = saved  # type: ignore[method-assign]
    slots.os = Os(pwrite=written)  # type: ignore[assignment]
    peer.Peer.dataReceived = read  # type: ignore[method-assign]
    Stdin.accept = accepted  # type: ignore[method-assign]


# A keeper is started with nothing in its environment, and without site-packages.
KEEPER = """\
import sys
sys.path.insert(0, {root!r})
from tests.survive import keeper_points
keeper_points.arm({directory!r})
from netdaemon.keeper.__main__ import main
sys.exit(main(sys.argv[1:]))
"""

if __name__ == "__main__":
    place = sys.argv[1]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    keeper_link.SCRIPT = f"{place}/keeper.py"
    if not os.path.exists(keeper_link.SCRIPT):
        with open(keeper_link.SCRIPT, "w", encoding="utf-8") as file:
            file.write(KEEPER.format(root=root, directory=place))
    arm(place)
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
