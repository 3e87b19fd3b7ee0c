"""G5: whoever sends a byte now and then is ended by a timer, costs little memory, and keeps nobody waiting."""

from __future__ import annotations

import itertools
import select
import sys
import time
from pathlib import Path

from netdaemon.errors import ConversationAborted
from netdaemon.wire.commands import List
from netdaemon.wire.frame import GREETING_LIMIT, LENGTH, MAX_MESSAGE
from tests.faults.conftest import Trials
from tests.faults.test_memory import Highest, warm
from tests.faults.wire import PATIENCE, Wire
from tests.support import LONG, Figure, running_daemon

HURRIED = Path(__file__).with_name("hurried.py")

# Half of them before HELLO, half within a message after it.
CLIENTS = 500

# Seconds that the daemon has for the rest of a message in the short form; in the long form its own half a minute.
SHORT = 4

# Seconds between two bytes of one client: as seldom as would do against a timer that each byte starts anew.
BETWEEN = 1.0


class Dripping:
    """A client that has begun the largest message there is, and sends it byte by byte."""

    def __init__(self, path: str, greeted: bool) -> None:
        self.wire = Wire(path, greet=greeted)
        self.told = ""
        begun = LENGTH.pack(MAX_MESSAGE if greeted else GREETING_LIMIT)
        self.left = itertools.chain(begun, itertools.repeat(0))
        self.wire.sock.setblocking(False)

    def drip(self) -> None:
        try:
            self.wire.sock.send(bytes([next(self.left)]))
        except (BlockingIOError, ConnectionError):
            # What it was told is read all the same.
            pass

    def read(self) -> bool:
        """Whether it is over."""
        try:
            self.wire.receive()
        except BlockingIOError:
            return False
        except ConversationAborted as error:
            self.told = str(error)
        except (EOFError, ConnectionError):
            # A byte of ours was unread when it was closed, and the kernel drops what was said.
            self.told = "closed"
        self.wire.close()
        return True


def test_clients_that_send_a_byte_now_and_then(
    many_descriptors: None, tmp_path: Path, figure: Figure, trial: Trials
) -> None:
    """500 of them: all are ended by the daemon, while somebody else is answered as ever."""
    tmp_path.chmod(0o700)
    inside = [] if LONG else [sys.executable, str(HURRIED), str(SHORT)]
    with running_daemon(tmp_path, inside=inside) as running:
        warm(running.path)
        with trial(running, f"slowloris: {CLIENTS} clients, a byte each {BETWEEN:g} s") as line:
            healthy = Wire(running.path)
            waits: list[float] = []
            with Highest(running.process.pid) as highest:
                slow = {
                    one.wire.sock.fileno(): one
                    for one in (Dripping(running.path, greeted=number % 2 == 1) for number in range(CLIENTS))
                }
                told = until_all_are_ended(slow, healthy, waits)
            healthy.close()
            waits.sort()
            p99 = waits[len(waits) * 99 // 100] * 1000
            late = sum("not finished within" in one for one in told)
            line.count = len(told)
            line.outcome = f"all ended ({late} told why); LIST p99 {p99:.1f} ms; at most +{highest.more:.1f} MiB"
        assert "Traceback" not in running.log.read_text(errors="replace")
    figure(f"G5 slowloris, {CLIENTS} clients: somebody else's LIST, p99", f"{p99:.1f} ms", "<= 50 ms")
    figure(f"G5 slowloris, {CLIENTS} clients: the daemon's memory", f"+{highest.more:.1f} MiB", "<= +8 MiB")
    assert len(told) == CLIENTS
    assert late > CLIENTS / 2
    assert highest.more <= 8


def until_all_are_ended(slow: dict[int, Dripping], healthy: Wire, waits: list[float]) -> list[str]:
    """What each was told; *waits*: how long each LIST of somebody else took meanwhile."""
    told = []
    poll = select.poll()
    for number in slow:
        poll.register(number, select.POLLIN)
    deadline = time.monotonic() + 2 * PATIENCE
    ones = list(slow.items())
    turns = itertools.count()
    while slow:
        assert time.monotonic() < deadline, f"{len(slow)} are not ended"
        # A twentieth of them in each step, so that bytes come all the time.
        step = time.monotonic() + BETWEEN / 20
        for number, one in ones[next(turns) % 20 :: 20]:
            if number in slow:
                one.drip()
        while time.monotonic() < step:
            began = time.monotonic()
            assert healthy.ask(List()).processes is not None
            waits.append(time.monotonic() - began)
            for number, _ in poll.poll(5):
                if slow[number].read():
                    poll.unregister(number)
                    told.append(slow.pop(number).told)
    return told
