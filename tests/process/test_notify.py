"""The socket on which a process says things: heard in order, from when somebody listens on, and by the next daemon."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdaemon.process.notify import AT_ONCE, MESSAGE, NotifySocket, bind
from netdaemon.testing import MemoryReactor


class Ears:
    """Hears one socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "notify")
        self.reactor = MemoryReactor()
        self.heard: list[str] = []
        self.descriptor = bind(self.path)
        self.socket = NotifySocket(self.reactor, self.descriptor, self.heard.append)

    def say(self, message: bytes) -> None:
        """As the program does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message, self.path)

    def settle(self) -> None:
        """Hear all that can be heard."""
        while self.reactor.turn():
            pass


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[Ears]:
    made = Ears(tmp_path)
    yield made
    made.socket.close()
    assert made.reactor.getReaders() == []


def test_each_line_in_order(ears: Ears) -> None:
    """Of each message; with or without an end to the last."""
    ears.socket.begin()
    ears.say(b"READY=1\nSTATUS=up\n")
    ears.say(b"WATCHDOG=1")
    ears.settle()
    assert ears.heard == ["READY=1", "STATUS=up", "WATCHDOG=1"]


def test_what_is_said_before_anybody_listens_waits(ears: Ears) -> None:
    """A program may be ready before it is known to run."""
    ears.say(b"READY=1")
    ears.settle()
    assert ears.heard == []
    ears.socket.begin()
    ears.settle()
    assert ears.heard == ["READY=1"]


def test_nothing_that_is_said_does_harm(ears: Ears) -> None:
    """No text, nothing at all, too much: and what follows is heard."""
    ears.socket.begin()
    for message in (b"", b"\xff\xfe", b"\n\n", b"x" * (2 * MESSAGE)):
        ears.say(message)
    ears.say(b"READY=1")
    ears.settle()
    assert ears.heard == ["\ufffd\ufffd", "", "", "x" * MESSAGE, "READY=1"]


def test_a_program_that_says_much_has_its_turn_and_no_more(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are heard in between."""
    monkeypatch.setattr("netdaemon.process.notify.AT_ONCE", 3)
    assert AT_ONCE > 3
    ears.socket.begin()
    for number in range(5):
        ears.say(b"%d" % number)
    ears.socket.doRead()
    assert ears.heard == ["0", "1", "2"]
    ears.settle()
    assert ears.heard == ["0", "1", "2", "3", "4"]


class Killed(BaseException):
    """The daemon is, at this place."""


def test_killed_while_it_is_being_heard(ears: Ears) -> None:
    """What was not seen to yet is heard by the next daemon; what was, perhaps again, and nothing is left out."""

    def die(word: str) -> None:
        if word == "WATCHDOG=1":
            raise Killed

    other = NotifySocket(ears.reactor, os.dup(ears.descriptor), die)
    ears.say(b"READY=1")
    ears.say(b"WATCHDOG=1")
    ears.say(b"STOPPING=1")
    with pytest.raises(Killed):
        other.doRead()
    other.close()
    ears.socket.begin()
    ears.settle()
    assert ears.heard == ["WATCHDOG=1", "STOPPING=1"]


def test_it_may_be_closed_by_what_it_hears(tmp_path: Path) -> None:
    """And hears no more then."""
    ears = Ears(tmp_path)

    def hear(word: str) -> None:
        ears.heard.append(word)
        ears.socket.close()

    ears.socket._on_word = hear
    ears.socket.begin()
    ears.say(b"READY=1")
    ears.say(b"READY=1")
    ears.settle()
    assert ears.heard == ["READY=1"]
    ears.socket.close()


def test_a_place_that_was_used_before(tmp_path: Path) -> None:
    """What another run has left there is replaced; whoever still has that is not heard."""
    path = str(tmp_path / "notify")
    with socket.socket(fileno=bind(path)) as old, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.connect(path)
        ears = Ears(tmp_path)
        ears.socket.begin()
        speaker.send(b"READY=1")
        ears.settle()
        assert ears.heard == []
        assert old.recv(100) == b"READY=1"
        ears.socket.close()


def test_only_its_own_user_may_speak(tmp_path: Path) -> None:
    descriptor = bind(str(tmp_path / "notify"))
    mode = os.stat(tmp_path / "notify").st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        bind(str(tmp_path / "nowhere" / "notify"))
