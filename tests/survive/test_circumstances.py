"""A kill with a full disk, after an EOF, under a program in a terminal; and what is left after many of them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from netdaemon.wire.answers import Output, Taken
from netdaemon.wire.commands import FOR_EVER, Data, Resize, Wait
from netdaemon.wire.records import Pty
from tests.faults.wire import Wire, children, descriptors, eventually, memory
from tests.support import LONG, Figure, keeper_pid
from tests.survive.programs import pattern, piece
from tests.survive.test_keeper_killed import populate
from tests.survive.test_kill_points import remove
from tests.survive.world import PROGRAMS, World, kills, world

ROUNDS = 25 if LONG else 10
MEBIBYTE = 1 << 20
DISK = 3 * MEBIBYTE


# --- disk ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[World]:
    """A daemon that keeps output on a small file system, which is there for the next daemon, too."""
    made = World("--state=DIR/state")
    state = made.directory / "state"
    state.mkdir(mode=0o700)
    root = os.geteuid() == 0
    place = ["unshare", "--mount"] if root else ["unshare", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size={DISK},mode=0700 none {state} && echo mounted && exec sleep 10000"
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("no file system can be mounted here")
    with subprocess.Popen([*place, "sh", "-c", mount], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            if not holder.stdout.readline():
                pytest.skip("no file system can be mounted here: root, or user namespaces, are needed")
            enter = ["nsenter", f"--target={holder.pid}", "--mount"]
            made.inside = enter if root else [*enter, "--user", "--preserve-credentials"]
            made.start()
            try:
                made.ready()
                yield made
            except BaseException:
                made.close(sound=False)
                raise
            made.close()
        finally:
            holder.kill()


def test_a_full_disk(small_disk: World, figure: Figure) -> None:
    """Two floods that would keep more than there is room for: the children wait, and nothing is lost.

    Neither may keep so much that there is none for the other, whoever comes first.
    """
    daemon = small_disk
    for number in range(2):
        daemon.begin(("flood", "both")[number], code=5, keep=2 * MEBIBYTE)
    kills(daemon, ROUNDS, random.Random("disk"))
    daemon.finish()
    total = sum(one.total for one in daemon.followers)
    figure(f"daemon killed {ROUNDS} times on a full disk: MB out", f"{total / 1e6:,.1f}", "all compared")


# --- the end of input ------------------------------------------------------------------------------------------------

SENT = 200_000


def test_eof(figure: Figure) -> None:
    """EOF is accepted with input still waiting, the daemon killed at once: the child has all of it, and then EOF."""
    with world() as daemon:
        for number in range(ROUNDS):
            name = f"slow{number}"
            wire = Wire(daemon.path)
            argv = (sys.executable, "-I", "-S", PROGRAMS, "slow", str(daemon.directory), name, "9", daemon.marker)
            id, process = wire.start(*argv)
            sent = piece(pattern(f"{name}-in"), 0, SENT)
            accepted = wire.ask(Data(to=id, payload=sent, at=0))
            assert isinstance(accepted, Taken)
            assert accepted.accepted == SENT
            assert isinstance(wire.ask(Data(to=id, at=SENT)), Taken)
            daemon.kill()
            wire.close()
            daemon.start()
            daemon.ready()
            assert daemon.ask(Wait(process=process)).process.code == 9
            report = (daemon.directory / f"{name}.report").read_text()
            assert report == f"0 0 {SENT} 0"
    figure("EOF accepted, daemon killed at once: EOF seen after the last byte", f"{ROUNDS} of {ROUNDS}", "all")


# --- a program in a terminal -----------------------------------------------------------------------------------------


class Screen:
    """What a program in a terminal draws, over any number of connections."""

    def __init__(self, daemon: World) -> None:
        self._daemon = daemon
        self._wire = Wire(daemon.path)
        argv = (sys.executable, "-I", "-S", PROGRAMS, "screen", str(daemon.directory), "screen", "7", daemon.marker)
        self._id, self.process = self._wire.start(*argv, pty=Pty(rows=24, columns=80), hold=FOR_EVER)
        self._end = 0
        self._drawn = b""

    def again(self) -> None:
        """Go on with the next daemon."""
        self._wire.close()
        self._wire = Wire(self._daemon.path)
        self._id = self._wire.attach(self.process, from_=self._end, hold=FOR_EVER)

    def type(self, key: str) -> None:
        assert isinstance(self._wire.ask(Data(to=self._id, payload=key.encode())), Taken)

    def resize(self, rows: int, columns: int) -> None:
        self._wire.ask(Resize(to=self._id, rows=rows, columns=columns))

    def line(self) -> str:
        """The next that it draws."""
        events = self._wire.events(self._id)
        while b"\n" not in self._drawn:
            message = next(events)
            assert isinstance(message, Output)
            assert message.offset == self._end
            self._end += len(message.payload)
            self._drawn += message.payload
        line, _, self._drawn = self._drawn.partition(b"\n")
        return line.decode()

    def leave(self) -> None:
        self._wire.close()


def test_a_program_in_a_terminal(figure: Figure) -> None:
    """It goes on drawing and reading keys; its size is what it was, and can be changed."""
    with world() as daemon:
        screen = Screen(daemon)
        assert screen.line() == "ready 24x80"
        size = "24x80"
        for number in range(ROUNDS):
            key = "abcdefgh"[number % 8]
            screen.type(key)
            assert screen.line() == f"{key} {size}"
            daemon.kill()
            daemon.start()
            daemon.ready()
            screen.again()
            screen.type("x")
            assert screen.line() == f"x {size}"
            size = f"{30 + number}x{100 + number}"
            screen.resize(30 + number, 100 + number)
            assert screen.line() == f"resized {size}"
        screen.type("q")
        assert screen.line() == f"q {size}"
        screen.leave()
        assert daemon.ask(Wait(process=screen.process)).process.code == 7
    figure("a program in a terminal, daemon killed: keys, size, RESIZE", f"{ROUNDS} of {ROUNDS}", "all")


# --- what is left ----------------------------------------------------------------------------------------------------


class Use:
    """What daemon and keeper have in use: with no process there, and a daemon that has only just been started."""

    def __init__(self, daemon: World) -> None:
        daemon.kill()
        daemon.start()
        pid = daemon.ready().pid
        keeper = keeper_pid(daemon.path)
        assert keeper is not None
        # For a keeper there is nobody any more who has only asked where it is.
        eventually(lambda: children(keeper) == 0)
        time.sleep(0.1)
        self.descriptors = {"daemon": descriptors(pid), "keeper": descriptors(keeper)}
        self.zombies = children(pid) + children(keeper)
        self.files = sorted(one.name for one in (daemon.directory / "state").rglob("*"))
        self.memory = {"daemon": memory(pid), "keeper": memory(keeper)}


def test_nothing_is_left(figure: Figure) -> None:
    """After many kills of either: descriptors, zombies, files and memory as at the beginning."""
    chance, rounds = random.Random("left"), 50 if LONG else 10
    with world("--state=DIR/state") as daemon:
        before = Use(daemon)
        populate(daemon)
        for number in range(rounds):
            daemon.ready()
            daemon.check()
            time.sleep(chance.uniform(0, 0.1))
            if number % 2:
                daemon.successor(daemon.kill_keeper())
            else:
                daemon.kill()
                daemon.start()
        daemon.ready()
        daemon.finish(unknown=True)
        for follower in list(daemon.followers):
            remove(daemon, follower)
        after = Use(daemon)
    what = f"{rounds} kills, 24 children, all removed:"
    for who in ("daemon", "keeper"):
        figure(f"{what} descriptors of a {who} more", after.descriptors[who] - before.descriptors[who], "0")
        more = (after.memory[who] - before.memory[who]) / MEBIBYTE
        figure(f"{what} memory of a {who} more", f"{more:+.2f} MiB", "<= 2 MiB")
        assert more <= 2
    figure(f"{what} zombies, files", f"{after.zombies}, {len(after.files) - len(before.files)} more", "0, 0")
    assert after.descriptors == before.descriptors
    assert (after.zombies, after.files) == (0, before.files)
