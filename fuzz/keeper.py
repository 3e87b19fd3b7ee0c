"""What is fuzzed of the keeper: its state as it is handed on, and what a daemon may say to it; no child is started."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from netdaemon.keeper import ledger as ledger_module
from netdaemon.keeper import state as state_module
from netdaemon.keeper import words as words_module
from netdaemon.keeper.child import LaunchError, Spec
from netdaemon.keeper.client import Command
from netdaemon.keeper.ledger import Entry, Ledger
from netdaemon.keeper.messages import Torn, close_all, pack, unpack
from netdaemon.keeper.state import FORM, State

# A child that nobody can signal, wait for or ask about: what bytes say is a pid or a pidfd may be anybody's.
_NO_CHILD = SimpleNamespace(
    has_exited=lambda pidfd: True,
    release=lambda pidfd: None,
    collect=lambda pidfd: None,
    kill_group=lambda pid, pidfd, number: None,
)


# --- the state -------------------------------------------------------------------------------------------------------


class _Socket:
    """A socket of a number that may be any."""

    def __init__(self, fileno: int) -> None:
        if fileno < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._number = fileno

    def fileno(self) -> int:
        return self._number

    def setblocking(self, wait: bool) -> None:
        pass


def fuzz_keeper_state(octets: bytes) -> None:
    """It is a state, or torn."""
    nothing = SimpleNamespace(close=lambda number: None)
    system = SimpleNamespace(close=nothing.close, set_inheritable=lambda *_: None, fsdecode=os.fsdecode)
    with ExitStack() as stack:
        for module, name, stand_in in (
            (state_module, "read_file", lambda file: octets),
            (state_module, "os", system),
            (state_module, "socket", SimpleNamespace(socket=_Socket)),
            (ledger_module, "os", nothing),
            (ledger_module, "child", _NO_CHILD),
            (ledger_module, "close_all", lambda numbers: None),
        ):
            stack.enter_context(mock.patch.object(module, name, stand_in))
        try:
            State.read(-1)
        except Torn:
            pass


def state_seeds() -> list[bytes]:
    """States as a keeper writes them."""
    command = Command(b"/usr/bin/twistd", [b"twistd", b"netdaemon"], [b"PATH=/usr/bin"], b"/").pack()
    told = pack((b"5", b"1234", b"6", b"1", command))
    entry = pack((b"1", b"77", b"pidfd", b"spool", b"stdout", b"10", b"11", b"12"))
    seeds = []
    for entries, dying, always in (((), (), b""), ((entry,), (b"13",), command), ((entry, entry), (), b"")):
        fields = (FORM, b"/run/nd.keeper", b"0123", b"4", told, pack(entries), pack(dying), b"0", always)
        seeds.append(pack(fields))
    return seeds


# --- what it is told -------------------------------------------------------------------------------------------------


class _Ledger(Ledger):
    """One that starts nothing: every other start fails, as it may."""

    def launch(self, id: str, spec: Spec, spool: int) -> Entry:
        if id not in self.entries:
            if spec.mark % 2:
                os.close(spool)
                raise LaunchError("exec", errno.ENOENT)
            self.entries[id] = Entry(77, {"spool": spool})
        else:
            os.close(spool)
        return self.entries[id]

    def spawn(self, id: str, spec: Spec, claimed: int, streams: tuple[int, int, int], roles: dict[str, int]) -> Entry:
        close_all((claimed, *streams))
        if id in self.entries or spec.mark % 2:
            close_all(roles.values())
            if id not in self.entries:
                raise LaunchError("exec", errno.ENOENT)
        else:
            self.entries[id] = Entry(77, dict(roles))
        return self.entries[id]


class _Keeper:
    """As much of one as can be told something."""

    def __init__(self) -> None:
        self.ledger = _Ledger()
        self.daemon = SimpleNamespace(pid=1, left=None, farewell=False)
        self.stopping = False
        self.ended = False

    def tell(self, one: Any, *fields: bytes, descriptors: Any = ()) -> bool:
        assert all(isinstance(field, bytes) for field in fields)
        return True

    def hand_over(self, one: Any) -> None:
        pass

    def unlink(self) -> None:
        pass


def fuzz_keeper_words(octets: bytes) -> None:
    """Carried out, or torn; whichever: each descriptor that came along is closed, or the ledger's, and none is both."""
    keeper, before = _Keeper(), _open()
    with _nobody():
        for count, message in _messages(octets):
            given = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]
            try:
                words_module.carry_out(keeper, keeper.daemon, message, given)  # type: ignore[arg-type]
            except Torn:
                pass
            owned = [number for entry in keeper.ledger.entries.values() for number in entry.roles.values()]
            owned += keeper.ledger.dying
            assert len(owned) == len(set(owned)), "a descriptor has two owners"
            assert _open() - before == set(owned), "a descriptor has no owner, or an owner none"
        for id in keeper.ledger:
            keeper.ledger.forget(id)
        close_all(keeper.ledger.dying)
    assert _open() == before


@contextmanager
def _nobody() -> Iterator[None]:
    """There is no child, no program to go on in our place, and nobody reads what is said."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(ledger_module, "child", _NO_CHILD))
        stack.enter_context(mock.patch.object(words_module, "_understands", return_value=False))
        stack.enter_context(mock.patch.object(words_module, "say"))
        yield


def _open() -> set[int]:
    """Our descriptors; that by which the list was read is closed again."""
    return {number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _messages(octets: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A number of descriptors and a message, several times."""
    while len(octets) > 2:
        count, length = octets[0] % 8, int.from_bytes(octets[1:3], "big")
        body, octets = octets[3 : 3 + length], octets[3 + length :]
        try:
            yield count, unpack(body)
        except Torn:
            continue


def word_seeds() -> list[bytes]:
    """One message of each word, and some of them after each other."""
    launch = (b"launch", b"1", b"/bin/cat", b"/", b"24x80", b"0", b"1:6", b"cat", b"A=1")
    spawn = (b"spawn", b"2", b"/bin/cat", b"/", b"1:6", b"cat", b"A=1")
    share, adopt = (b"share", b"1", b"stdin"), (b"adopt", b"3", b"77", b"pidfd", b"spool")
    small = [(word, b"1") for word in (b"collect", b"release", b"forget", b"abandon")]
    small += [(b"withdraw", b"1", b"stdin"), (b"upgrade", b"/usr/bin/python3", b"main.py")]
    alone = [(word,) for word in (b"sync", b"taken", b"farewell", b"end")]
    several = (b"several", *(pack(one) for one in (small[0], alone[0])))
    messages = [(1, launch), (6, spawn), (1, share), (2, adopt), *((0, one) for one in (*small, *alone, several))]
    packed = [bytes([count]) + len(pack(one)).to_bytes(2, "big") + pack(one) for count, one in messages]
    return [*packed, b"".join(packed)]
