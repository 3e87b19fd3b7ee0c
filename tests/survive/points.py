"""Runs a program, a daemon, that kills itself at chosen points, each once; so does the keeper that it starts.

python points.py DIRECTORY PROGRAM ARGUMENT...

It dies at a point as soon as a file of the point's name is in the directory; the file is gone then.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from netdaemon.daemon import adoption, peer, service
from netdaemon.keeper import launch
from netdaemon.keeper.child import INPUT, Launched
from netdaemon.process import keeper_link, slots, spool
from netdaemon.process.kept import KeptLauncher
from netdaemon.process.record import Process
from netdaemon.process.spool import Spool
from netdaemon.process.starts import ClaimedStart
from netdaemon.process.stdin import Stdin
from netdaemon.sockets.listener import Listener
from tests.survive.keeper_points import around, die, later

POINTS = (
    "before launch is sent",
    "after launch was sent",
    "before spawn is sent",
    "after spawn was sent",
    "before what was spawned is kept",
    "after what was spawned is kept",
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
    "before what can wait is said",
    "after what can wait was said",
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
    method(ClaimedStart, "spawned", "before what was spawned is kept", "after what was spawned is kept")
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
        word = fields[0].decode()
        if word in ("launch", "spawn"):
            die(directory, f"before {word} is sent")
        send(self, *fields, **options)
        if word in ("launch", "spawn"):
            die(directory, f"after {word} was sent")
        if word == "several":
            die(directory, "after what can wait was said")

    withdraw = KeptLauncher.withdraw

    def withdrawing(self: KeptLauncher, launched: Launched, *roles: str, at_once: bool = False) -> None:
        withdrawn = {*roles} & {*self._roles[launched.id][1]} if launched.id in self._roles else set()
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


def run(arm: Callable[[str], None]) -> None:
    """Run the program that the arguments name, with these points and those of its keeper."""
    place = sys.argv[1]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    keeper_link.SCRIPT = f"{place}/keeper.py"
    if not os.path.exists(keeper_link.SCRIPT):
        with open(keeper_link.SCRIPT, "w", encoding="utf-8") as file:
            file.write(KEEPER.format(root=root, directory=place))
    arm(place)
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    run(arm)
