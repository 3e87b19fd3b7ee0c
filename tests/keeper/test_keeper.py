"""A real keeper, and daemons that the test plays: what it keeps, whom it hands it to and when, and how it ends."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import netdaemon
from netdaemon.keeper import claim
from netdaemon.keeper.child import PIDFD, SPOOL, STDIN, STDOUT, Launched
from netdaemon.keeper.client import Command
from netdaemon.keeper.launch import open_gate
from netdaemon.keeper.ledger import read_entry
from netdaemon.keeper.limits import MARKS
from netdaemon.keeper.main import BATCH, REVISION
from netdaemon.keeper.messages import Channel, close_all
from tests.support import PATIENCE, Figure, keeper_pid, readable

SCRIPT = Path(netdaemon.__file__).parent / "keeper" / "__main__.py"
PYTHON = [sys.executable, "-I", "-S"]

# A daemon that has hung up, or was never there, is started by this: it leaves a word.
RESTARTED = Command(b"/bin/sh", [b"sh", b"-c", b'echo "$NETDAEMON_KEEPER" >> "$PLACE"'], [b"PATH=/bin"], b"/")


class Keeper:
    """A keeper in a process of its own."""

    def __init__(self, directory: Path, *options: str, inside: Sequence[str] = ()) -> None:
        self.path = str(directory / "s.keeper")
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*inside, *PYTHON, str(SCRIPT), *options, "--socket", self.path], stdin=subprocess.DEVNULL, stderr=log
            )
        eventually(lambda: keeper_pid(str(directory / "s")) is not None)

        self.daemons: list[Daemon] = []

    def end(self) -> None:
        left = self._children() if self.process.poll() is None else []
        for daemon in self.daemons:
            daemon.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _children(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def children(self) -> int:
        return len(self._children())

    def time(self) -> int:
        """What it has used of the processor, in hundredths of a second."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def memory(self) -> int:
        """In KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0])


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    running = Keeper(tmp_path)
    yield running
    running.end()


class Daemon:
    """A daemon as the keeper sees it: a connection of this process."""

    def __init__(self, keeper: Keeper, *, restart: bool = False, command: Command = RESTARTED) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(keeper.path)
        self.channel = Channel(sock)
        keeper.daemons.append(self)
        self.channel.send(b"hello", b"1" if restart else b"0", b"instance", command.pack())

    def hear(self) -> tuple[list[bytes], list[int]]:
        while (received := self.channel.receive()) is None:
            assert readable(self.channel.fileno(), PATIENCE), "the keeper says nothing"
        return received

    def take_over(self) -> dict[str, Launched]:
        """All that it is handed."""
        found = {}
        words, _ = self.hear()
        assert words[0] == b"welcome"
        while True:
            words, descriptors = self.hear()
            if words[0] == b"entry":
                id, pid, roles = read_entry(words[1:], descriptors)
                if SPOOL in roles:
                    os.close(roles.pop(SPOOL))
                found[id] = Launched.of_roles(id, pid, roles)
                continue
            self.channel.send(b"taken")
            if words[0] == b"all":
                return found

    def ask(self, id: str, *argv: str) -> None:
        spool = os.memfd_create(id)
        words = [id, argv[0], "/", "", "0", str(len(argv)), *argv, "PATH=/usr/bin:/bin"]
        self.channel.send(b"launch", *(word.encode() for word in words), descriptors=[spool])
        os.close(spool)

    def launch(self, id: str, *argv: str) -> Launched:
        """A child that has its gate open."""
        self.ask(id, *argv)
        words, descriptors = self.hear()
        assert words[0] == b"launched"
        _, pid, roles = read_entry(words[1:], descriptors)
        os.close(roles.pop(SPOOL))
        launched = Launched.of_roles(id, pid, roles)
        open_gate(launched.gate)
        return launched

    def status(self, id: str) -> list[bytes]:
        self.channel.send(b"collect", id.encode())
        words, _ = self.hear()
        assert words[:2] == [b"status", id.encode()]
        return words[2:]

    def sync(self) -> None:
        self.channel.send(b"sync")
        assert self.hear()[0] == [b"synced"]


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def read_all(descriptor: int) -> bytes:
    result = b""
    while readable(descriptor, PATIENCE):
        piece = os.read(descriptor, 65536)
        if not piece:
            break
        result += piece
    return result


def test_a_child_from_its_start_to_its_end(keeper: Keeper) -> None:
    """Launched, fed, collected as often as one likes, released, forgotten: nothing stays."""
    daemon = Daemon(keeper)
    assert daemon.take_over() == {}
    before = keeper.descriptors()
    child = daemon.launch("p1", "sh", "-c", "read x; echo got $x; exit 7")
    os.write(child.stdin, b"it\n")
    assert read_all(child.stdout) == b"got it\n"
    assert readable(child.pidfd, PATIENCE)
    assert daemon.status("p1") == daemon.status("p1") == [b"code", b"7"]
    assert keeper.children() == 1, "the status is the zombie's, until it is released"
    daemon.channel.send(b"release", b"p1")
    daemon.sync()
    assert keeper.children() == 0
    assert daemon.status("p1") == [b"unknown"]
    daemon.channel.send(b"forget", b"p1")
    daemon.sync()
    assert keeper.descriptors() == before
    child.close()
    daemon.channel.close()


def test_signals_are_told_apart_from_codes(keeper: Keeper) -> None:
    daemon = Daemon(keeper)
    daemon.take_over()
    child = daemon.launch("p1", "sleep", "1000")
    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    assert readable(child.pidfd, PATIENCE)
    assert daemon.status("p1") == [b"signal", b"9", b""]
    child.close()


def test_the_end_of_input_needs_both_to_close(keeper: Keeper) -> None:
    """What the keeper holds keeps a pipe open, until it is withdrawn."""
    daemon = Daemon(keeper)
    daemon.take_over()
    child = daemon.launch("p1", "cat")
    os.write(child.stdin, b"x")
    os.close(child.stdin)
    child.stdin = -1
    assert readable(child.stdout, PATIENCE)
    assert os.read(child.stdout, 10) == b"x"
    assert not readable(child.stdout, 0.1)
    daemon.channel.send(b"withdraw", b"p1", STDIN.encode())
    assert read_all(child.stdout) == b""
    child.close()


@pytest.mark.parametrize(("count", "limit"), [("3", b"unlimited"), (f"3:{MARKS + 5}", b"%d" % (MARKS + 5))])
def test_marks(keeper: Keeper, count: str, limit: bytes) -> None:
    """Both ways of starting a child give it the mark that stands behind the count, or none, as older daemons do."""
    daemon = Daemon(keeper)
    daemon.take_over()
    argv = ["/bin/grep", "realtime timeout", "/proc/self/limits"]
    ends = [os.pipe() for _ in range(4)]
    spawned = [claim.make(), ends[0][0], ends[1][1], ends[2][1], ends[3][0], ends[0][1], ends[1][0], ends[2][0]]
    words = [word.encode() for word in ("p1", argv[0], "/", count, *argv)]
    daemon.channel.send(b"spawn", *words, descriptors=spawned)
    assert daemon.hear()[0][0] == b"spawned"
    assert os.read(ends[1][0], 1000).split()[3] == limit
    close_all([spawned[0], *(number for pair in ends for number in pair)])
    spool = os.memfd_create("spool")
    words = [word.encode() for word in ("p2", argv[0], "/", "", "0", count, *argv)]
    daemon.channel.send(b"launch", *words, descriptors=[spool])
    os.close(spool)
    words, descriptors = daemon.hear()
    _, pid, roles = read_entry(words[1:], descriptors)
    os.close(roles.pop(SPOOL))
    gated = Launched.of_roles("p2", pid, roles)
    open_gate(gated.gate)
    assert read_all(gated.stdout).split()[3] == limit
    gated.close()
    # The keeper has none itself.
    assert resource.prlimit(keeper.process.pid, resource.RLIMIT_RTTIME)[0] == resource.RLIM_INFINITY


def test_it_has_no_mark_itself(tmp_path: Path) -> None:
    """Although it was started by something that has."""
    tmp_path.chmod(0o700)
    keeper = Keeper(tmp_path, inside=("prlimit", f"--rttime={MARKS + 5}:unlimited"))
    try:
        assert resource.prlimit(keeper.process.pid, resource.RLIMIT_RTTIME)[0] == resource.RLIM_INFINITY
    finally:
        keeper.end()


def test_a_launch_is_idempotent(keeper: Keeper) -> None:
    """The same id again is the same child."""
    daemon = Daemon(keeper)
    daemon.take_over()
    first, again = daemon.launch("p1", "sleep", "1000"), daemon.launch("p1", "sleep", "1000")
    assert first.pid == again.pid
    assert keeper.children() == 1
    first.close()
    again.close()


def test_what_cannot_be_launched(keeper: Keeper) -> None:
    """Before the fork the keeper says why; after it the gate does."""
    daemon = Daemon(keeper)
    daemon.take_over()
    before = keeper.descriptors()
    child = daemon.launch("p1", "/nowhere")
    assert readable(child.gate, PATIENCE)
    assert len(os.read(child.gate, 10)) == 5
    daemon.channel.send(b"forget", b"p1")
    eventually(lambda: keeper.children() == 0)
    daemon.sync()
    assert keeper.descriptors() == before
    child.close()


def test_nobody_is_handed_what_another_may_touch(keeper: Keeper, tmp_path: Path) -> None:
    """A daemon that has hung up may still have everything: the next one waits for its death, however long."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import tests.keeper.test_keeper as t\n"
        "class K: path, daemons = sys.argv[2], []\n"
        "d = t.Daemon(K); d.take_over(); c = d.launch('p1', 'cat'); d.channel.close(); print('up', flush=True)\n"
        "import time; time.sleep(1000)"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", code, root, keeper.path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"up\n"
            daemon = Daemon(keeper)
            assert not readable(daemon.channel.fileno(), 0.3)
            other.kill()
            found = daemon.take_over()
        finally:
            other.kill()
    assert list(found) == ["p1"]
    child = found["p1"]
    os.write(child.stdin, b"still there\n")
    assert readable(child.stdout, PATIENCE)
    assert os.read(child.stdout, 100) == b"still there\n"
    child.close()


def test_many_are_handed_over(keeper: Keeper, figure: Figure) -> None:
    """In batches; the keeper needs little memory for each."""
    daemon = Daemon(keeper)
    daemon.take_over()
    alone = keeper.memory()
    count = 5 * BATCH + 3
    pids = {}
    for number in range(count):
        child = daemon.launch(f"p{number}", "sleep", "1000")
        pids[f"p{number}"] = child.pid
        child.close()
    again = Daemon(keeper)
    found = again.take_over()
    assert {id: child.pid for id, child in found.items()} == pids
    for child in found.values():
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        child.close()
    figure("the keeper's memory: alone", f"{alone / 1024:.1f} MiB", "<= 12 MiB")
    each = (keeper.memory() - alone) / count
    figure("the keeper's memory: for each process", f"{each:.1f} KiB", "<= 4 KiB")
    assert alone <= 12 * 1024


def test_it_executes_its_successor(keeper: Keeper) -> None:
    """In place: the same pid, the same children, which it can still collect; and the conversation goes on."""
    daemon = Daemon(keeper)
    daemon.take_over()
    child, done = daemon.launch("p1", "cat"), daemon.launch("p2", "sh", "-c", "exit 3")
    assert readable(done.pidfd, PATIENCE)
    before = keeper.descriptors()
    started = Path(f"/proc/{keeper.process.pid}/cmdline").read_bytes()
    for _ in range(3):
        daemon.channel.send(b"upgrade", sys.executable.encode(), str(SCRIPT).encode())
        assert daemon.hear()[0] == [b"upgraded", b"%d" % REVISION]
    assert Path(f"/proc/{keeper.process.pid}/cmdline").read_bytes() != started
    assert keeper.descriptors() == before
    assert daemon.status("p2") == [b"code", b"3"]
    os.write(child.stdin, b"on\n")
    assert readable(child.stdout, PATIENCE)
    assert os.read(child.stdout, 10) == b"on\n"
    again = Daemon(keeper)
    assert set(again.take_over()) == {"p1", "p2"}
    # Nothing of the upgrade is left for children to inherit.
    listing = again.launch("p3", "sh", "-c", "exec ls /proc/self/fd")
    assert set(read_all(listing.stdout).split()) == {b"0", b"1", b"2", b"3"}


def test_a_successor_that_cannot_be_executed(keeper: Keeper) -> None:
    """It says so, and goes on as it is."""
    daemon = Daemon(keeper)
    daemon.take_over()
    child = daemon.launch("p1", "cat")
    daemon.channel.send(b"upgrade", b"/nowhere/python", str(SCRIPT).encode())
    words, _ = daemon.hear()
    assert words[0] == b"not-upgraded"
    listing = daemon.launch("p2", "sh", "-c", "exec ls /proc/self/fd")
    assert set(read_all(listing.stdout).split()) == {b"0", b"1", b"2", b"3"}
    child.close()


def test_it_adopts_what_a_dead_keeper_had(keeper: Keeper, tmp_path: Path) -> None:
    """Descriptors and all; of children that are not its own it cannot tell the status, and says so."""
    first = Daemon(keeper)
    first.take_over()
    child = first.launch("p1", "cat")
    keeper.process.kill()
    keeper.process.wait()
    os.mkdir(tmp_path / "second")
    other = Keeper(tmp_path / "second")
    try:
        second = Daemon(other)
        second.take_over()
        names = [PIDFD.encode(), STDIN.encode(), STDOUT.encode()]
        second.channel.send(
            b"adopt", b"p1", b"%d" % child.pid, *names, descriptors=[child.pidfd, child.stdin, child.stdout]
        )
        assert second.status("p1") == [b"unknown"]
        third = Daemon(other)
        found = third.take_over()
        assert found["p1"].pid == child.pid
        signal.pidfd_send_signal(found["p1"].pidfd, signal.SIGKILL)
        third.channel.send(b"forget", b"p1")
        third.sync()
    finally:
        other.end()


@pytest.mark.parametrize(
    "words",
    [
        [b""],
        [b"nonsense"],
        [b"launch"],
        [b"launch", b"p", b"true", b"/", b"", b"0", b"x", b"true"],
        [b"launch", b"p", b"true", b"/", b"axb", b"0", b"1", b"true"],
        [b"share", b"p"],
        [b"share", b"p", b"input"],
        [b"collect"],
        [b"adopt", b"p", b"-1", b"pidfd"],
        [b"adopt", b"p", b"1", b"pidfd"],
        [b"hello", b"1"],
        [b"upgrade"],
        [b"__init__"],
        [b"run"],
    ],
)
def test_nonsense_is_told_and_changes_nothing(keeper: Keeper, words: list[bytes]) -> None:
    """From a daemon that is broken: it is logged, its descriptors are closed, and the next word is heard."""
    daemon = Daemon(keeper)
    daemon.take_over()
    before = keeper.descriptors()
    daemon.channel.send(*words)
    spare = os.memfd_create("spare")
    daemon.channel.send(*words, descriptors=[spare, spare])
    os.close(spare)
    if words != [b"launch", b"p", b"true", b"/", b"", b"0", b"x", b"true"]:
        daemon.sync()
    daemon.sync()
    assert keeper.descriptors() == before
    assert "daemon" in keeper.log.read_text()


def test_it_ends_with_the_last_process(keeper: Keeper) -> None:
    """A daemon that ends, and means to, and leaves nothing: there is nothing to keep."""
    code = "d.channel.send(b'farewell')"
    play(keeper, code)
    assert keeper.process.wait(PATIENCE) == 0
    assert not os.path.exists(keeper.path)


def test_it_ends_when_everything_was_ended(keeper: Keeper) -> None:
    play(keeper, "d.channel.send(b'end')")
    assert keeper.process.wait(PATIENCE) == 0
    assert not os.path.exists(keeper.path)


def test_a_signal_to_it_ends_everything(keeper: Keeper) -> None:
    """The daemon is asked to; where there is none the children are told, and killed if they do not listen."""
    daemon = Daemon(keeper)
    daemon.take_over()
    keeper.process.send_signal(signal.SIGTERM)
    assert daemon.hear()[0] == [b"stop"]
    daemon.channel.send(b"end")
    assert keeper.process.poll() is None, "as long as there is a daemon it waits for its end"


def test_a_signal_to_it_without_a_daemon(keeper: Keeper) -> None:
    play(keeper, "d.launch('p1', 'sleep', '1000'); d.channel.send(b'farewell')")
    eventually(lambda: keeper.children() == 1)
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.process.wait(PATIENCE) == 0
    assert "ending 1 processes" in keeper.log.read_text()


@pytest.mark.parametrize(("restart", "farewell", "started"), [(True, False, 1), (False, False, 0), (True, True, 0)])
def test_it_starts_a_daemon_that_was_killed(
    keeper: Keeper, tmp_path: Path, restart: bool, farewell: bool, started: int
) -> None:
    """As that was started itself, and told where the keeper is; not one that has said farewell or has a manager."""
    place = tmp_path / "place"
    word = "d.channel.send(b'farewell')" if farewell else ""
    play(keeper, f"d.launch('p1', 'sleep', '1000'); {word}", restart=restart, place=place)
    if started:
        eventually(lambda: place.exists() and place.read_text())
        assert place.read_text().splitlines()[0] == keeper.path
        assert "starting a daemon" in keeper.log.read_text()
    else:
        time.sleep(0.3)
        assert not place.exists()


def play(keeper: Keeper, code: str, *, restart: bool = False, place: Path | None = None) -> None:
    """A daemon in a process of its own that does *code* with ``d`` and is gone."""
    command = "t.RESTARTED"
    if place is not None:
        command = f"t.Command(t.RESTARTED.path, t.RESTARTED.argv, [b'PLACE={place}'], b'/')"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tests.keeper.test_keeper as t\n"
        "class K: path, daemons = sys.argv[2], []\n"
        f"d = t.Daemon(K, restart={restart}, command={command}); d.take_over(); {code}"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", program, root, keeper.path], check=True, timeout=PATIENCE)


def test_a_successor_that_does_not_understand(keeper: Keeper, tmp_path: Path) -> None:
    """It is asked before there is no way back; one that is no keeper at all does not say yes either."""
    daemon = Daemon(keeper)
    daemon.take_over()
    child = daemon.launch("p1", "cat")
    for number, code in enumerate(("import sys; sys.exit(1)", "this is no program", "")):
        other = tmp_path / f"other{number}.py"
        other.write_text(code)
        daemon.channel.send(b"upgrade", sys.executable.encode(), str(other).encode())
        if code:
            assert daemon.hear()[0][0] == b"not-upgraded"
    # An empty program ends well, whatever it is asked; and then the keeper is gone, as if it had been killed.
    with pytest.raises(EOFError):
        daemon.hear()
    child.close()


def test_it_is_told_to_end_and_to_upgrade(keeper: Keeper) -> None:
    """The signal that comes before the upgrade is not lost in it."""
    daemon = Daemon(keeper)
    daemon.take_over()
    keeper.process.send_signal(signal.SIGSTOP)
    daemon.channel.send(b"upgrade", sys.executable.encode(), str(SCRIPT).encode())
    keeper.process.send_signal(signal.SIGTERM)
    keeper.process.send_signal(signal.SIGCONT)
    assert {daemon.hear()[0][0], daemon.hear()[0][0]} == {b"stop", b"not-upgraded"}


@pytest.mark.parametrize(("wanted", "limit"), [(0, (900, 900)), (500, (500, 900)), (800, (800, 900))])
def test_children_have_the_limit_that_it_was_started_with(wanted: int, limit: tuple[int, int], tmp_path: Path) -> None:
    """It raises its own for itself, after an upgrade again, and after one that comes to nothing."""
    tmp_path.chmod(0o700)
    keeper = Keeper(tmp_path, "--descriptors", str(wanted), inside=("prlimit", "--nofile=200:900"))
    try:
        daemon = Daemon(keeper)
        daemon.take_over()
        for number, script in enumerate(("", str(SCRIPT), "/nowhere/script")):
            if script:
                daemon.channel.send(b"upgrade", sys.executable.encode(), script.encode())
                assert daemon.hear()[0][0] == (b"upgraded" if script == str(SCRIPT) else b"not-upgraded")
            assert resource.prlimit(keeper.process.pid, resource.RLIMIT_NOFILE) == limit
            child = daemon.launch(f"p{number}", "sh", "-c", "ulimit -Sn; ulimit -Hn")
            assert read_all(child.stdout).split() == [b"200", b"900"]
            child.close()
    finally:
        keeper.end()


def test_it_has_no_descriptor_left(keeper: Keeper) -> None:
    """What finds no place is refused, and told; it burns no time while somebody waits to be let in."""
    daemon = Daemon(keeper)
    daemon.take_over()
    highest = max(int(one) for one in os.listdir(f"/proc/{keeper.process.pid}/fd"))
    _, hard = before = resource.prlimit(keeper.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper.process.pid, resource.RLIMIT_NOFILE, (highest, hard))
    daemon.ask("p1", "cat")
    assert daemon.hear()[0] == [b"refused", b"p1", b"descriptors", b"24"]
    file = os.memfd_create("file")
    daemon.channel.send(b"share", b"p1", b"input", descriptors=[file])
    assert daemon.hear()[0] == [b"unshared", b"p1", b"input"]
    os.close(file)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(keeper.path)
        began = keeper.time()
        time.sleep(0.5)
        assert keeper.time() - began <= 10, "hundredths of a second, of fifty"
    resource.prlimit(keeper.process.pid, resource.RLIMIT_NOFILE, before)
    child = daemon.launch("p2", "true")
    child.close()


def test_its_place_is_made_anew(keeper: Keeper, tmp_path: Path) -> None:
    """Somebody has cleaned it; the next daemon finds the keeper there, and another's socket is left alone."""
    play(keeper, "d.launch('p1', 'sleep', '1000'); import os; os.unlink(K.path)")
    eventually(lambda: os.path.exists(keeper.path))
    daemon = Daemon(keeper)
    (child,) = daemon.take_over().values()
    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    child.close()
    os.unlink(keeper.path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(keeper.path)
        other.listen()
        daemon.channel.send(b"forget", b"p1")
        daemon.channel.send(b"end")
        eventually(lambda: keeper.children() == 0)
        daemon.sync()
        assert os.path.exists(keeper.path)
