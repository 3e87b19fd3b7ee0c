"""G4: memory is bounded, whatever a child writes and whatever clients begin without end, or ask without reading."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from netdaemon.errors import ConversationAborted, Refusal
from netdaemon.wire.commands import FOR_EVER, Data, Info, Kill, List, Remove
from netdaemon.wire.frame import GREETING_LIMIT, LENGTH, MAX_MESSAGE
from tests.faults.test_output import FLOOD
from tests.faults.wire import Wire, eventually, memory
from tests.support import LONG, Figure, RunningDaemon, writable

MEBIBYTE = 1 << 20

# Seconds without any progress after which a sender is taken to be held back.
STALLED = 0.5


class Highest:
    """The most memory that a process has while this runs."""

    def __init__(self, pid: int) -> None:
        self.base = self.most = memory(pid)
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, memory(self._pid))

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.most = max(self.most, memory(self._pid))

    @property
    def more(self) -> float:
        """In MiB, above what it had at first."""
        return (self.most - self.base) / MEBIBYTE


def warm(path: str) -> None:
    """What is needed only once is had."""
    wire = Wire(path)
    id, process = wire.start(sys.executable, "-S", "-c", FLOOD, "300000", hold=FOR_EVER)
    wire.follow(id)
    wire.ask(Remove(process=process))
    wire.close()


def test_a_flood(fresh: RunningDaemon, figure: Figure) -> None:
    """200 MB, to one client that reads and to one that does not."""
    warm(fresh.path)
    healthy, stopped = Wire(fresh.path), Wire(fresh.path)
    with Highest(fresh.process.pid) as highest:
        id, process = healthy.start(sys.executable, "-S", "-c", FLOOD, "200000000", hold=FOR_EVER)
        stopped.attach(process, from_=0)
        assert healthy.follow(id).received == 200_000_000
    figure("G4 flood of 200 MB: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +8 MiB")
    assert highest.more <= 8
    healthy.close()
    stopped.close()


@pytest.mark.parametrize("greeted", [False, True], ids=["before HELLO", "after HELLO"])
def test_unfinished_messages(many_descriptors: None, fresh: RunningDaemon, figure: Figure, greeted: bool) -> None:
    """A thousand clients begin the largest message there is, send all but its end, and wait."""
    warm(fresh.path)
    first = Wire(fresh.path)
    count = min(1000, first.ask(Info()).limits.clients - 1)
    size = MAX_MESSAGE if greeted else GREETING_LIMIT
    begun = LENGTH.pack(size) + bytes(size - 1)
    clients = []
    with Highest(fresh.process.pid) as highest:
        for _ in range(count):
            client = Wire(fresh.path, greet=greeted)
            client.sock.setblocking(False)
            clients.append(client)
            push(client.sock, begun)
        assert first.ask(List()).processes == ()
        refused = sum(1 for client in clients if aborted(client))
        for client in clients:
            client.close()
    when = "after" if greeted else "before"
    figure(f"G4 {count:,} clients with an unfinished message {when} HELLO", f"+{highest.more:.1f} MiB", "<= +48 MiB")
    if greeted:
        figure("G4 of those: sent away because of the budget for all", refused, "told")
    assert highest.more <= 48
    first.close()


def aborted(client: Wire) -> bool:
    """Whether the daemon has ended the conversation."""
    client.sock.setblocking(False)
    try:
        client.receive()
    except BlockingIOError:
        return False
    except ConversationAborted:
        return True
    raise AssertionError("something else came")


def push(sock: socket.socket, octets: bytes) -> None:
    """Send until all is sent, or the daemon has closed, or takes no more for a while."""
    view = memoryview(octets)
    try:
        while view and writable(sock, STALLED):
            view = view[sock.send(view) :]
    except ConnectionError:
        return


def test_requests_whose_answers_are_not_read(fresh: RunningDaemon, figure: Figure) -> None:
    """LIST, a million times, by a client that never reads: it gets to send no more at some point."""
    wanted = 1_000_000
    warm(fresh.path)
    other = Wire(fresh.path)
    deaf = Wire(fresh.path)
    deaf.sock.setblocking(False)
    asked = 0
    with Highest(fresh.process.pid) as highest:
        pending = b""
        while asked < wanted and writable(deaf.sock, STALLED):
            while len(pending) < 65536:
                pending += deaf.connection.request(List())[1]
                asked += 1
            pending = pending[deaf.sock.send(pending) :]
        began = time.monotonic()
        other.ask(List())
        taken = time.monotonic() - began
    figure(f"G4 {wanted:,} LISTs never read: held back after", f"{asked:,}", "told to wait")
    figure(f"G4 {wanted:,} LISTs never read: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +2 MiB")
    figure(f"G4 {wanted:,} LISTs never read: somebody else's LIST", f"{taken * 1000:.1f} ms", "goes on")
    assert highest.more <= 2
    assert asked < wanted
    deaf.close()
    other.close()


def test_input_that_is_not_read(fresh: RunningDaemon, figure: Figure) -> None:
    """A child that never reads its stdin: the window is accepted, the rest refused, and the refusal told."""
    warm(fresh.path)
    wire = Wire(fresh.path)
    id, process = wire.start("sleep", "1000")
    accepted, refused = 0, 0
    with Highest(fresh.process.pid) as highest:
        for _ in range(400 if LONG else 100):
            answer = wire.ask(Data(to=id, payload=bytes(65536)))
            if isinstance(answer, Refusal):
                refused += 1
            else:
                accepted += answer.accepted
    figure("G4 input to a child that never reads: accepted", f"{accepted:,}", "the window")
    figure("G4 input to a child that never reads: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +8 MiB")
    assert refused
    assert highest.more <= 8
    wire.ask(Kill(process=process, signal=9))
    eventually(lambda: not [one for one in wire.ask(List()).processes if one.state.value == "running"])
    wire.close()


def test_hello_is_waited_for_and_not_for_long(fresh: RunningDaemon) -> None:
    """Those who connect and say nothing are told and closed; meanwhile others are served."""
    silent = [Wire(fresh.path, greet=False) for _ in range(50)]
    other = Wire(fresh.path)
    for client in silent:
        with pytest.raises(ConversationAborted, match=r"HELLO was not finished within 5 seconds"):
            client.receive()
        assert other.ask(List()).processes == ()
        client.close()
    other.close()
