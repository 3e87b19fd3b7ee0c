"""Who belongs to whom is found however far it has gone, and nobody else is taken for one of them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import pytest

from netdaemon.keeper.child import Launched, Spec, collect, release
from netdaemon.keeper.launch import begin
from netdaemon.keeper.limits import MARKS, drop_mark, take_mark
from netdaemon.process import trees
from netdaemon.process.launcher import LocalLauncher, Signals
from netdaemon.process.signals import kill_marked, kill_trees, send
from netdaemon.process.trees import Root, leftovers, mark_of, members, scanning, started
from tests.support import PATIENCE, readable

# Away from its parent, its session and its descriptors, and with nothing in its environment; the pid goes to stdout.
DAEMON = """
import os, sys, time
if os.fork():
    time.sleep({stays})
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
null = os.open("/dev/null", os.O_RDWR)
for number in range(3):
    os.dup2(null, number)
os.execve("/bin/sh", ["sh", "-c", "sleep 1000 & exec sleep 1000"], {{}})
"""


class Child:
    """A child with a mark, as a launcher has it."""

    def __init__(self, code: str, mark: int | None = None, generation: str = "") -> None:
        # No other test has it that may be running.
        self.id = token_hex()
        self.mark = mark_of(self.id) if mark is None else mark
        argv = tuple(os.fsencode(one) for one in (sys.executable, "-S", "-c", code))
        self.pid, self.roles = begin(Spec(path=argv[0], argv=argv, merge=True, mark=self.mark))
        self.launched = Launched.of_roles(self.id + generation, self.pid, self.roles)
        self.released = False

    @property
    def root(self) -> Root:
        return Root(0 if self.released else self.pid, self.mark)

    def told(self) -> int:
        """The number that it, or a descendant, writes."""
        assert readable(self.launched.stdout, PATIENCE)
        return int(os.read(self.launched.stdout, 100))

    def release(self) -> None:
        assert readable(self.launched.pidfd, PATIENCE)
        assert collect(self.launched.pidfd) is not None
        release(self.launched.pidfd)
        self.released = True

    def end(self) -> None:
        kill_marked(self.mark)
        if not self.released:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.release()
        self.launched.close()


@pytest.fixture
def child() -> Iterator[Child]:
    """It stays, and has a descendant that has gone as far as it can."""
    one = Child(DAEMON.format(stays=1000))
    yield one
    one.end()


@pytest.fixture
def gone() -> Iterator[Child]:
    """It has exited and been released."""
    one = Child(DAEMON.format(stays=0))
    yield one
    one.end()


def wait_for(count: int, mark: int) -> list[int]:
    """Until so many have this mark: some have just been forked, or signalled."""
    deadline = time.monotonic() + PATIENCE
    while len(found := leftovers(mark)) != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def test_marks() -> None:
    """The same for all launches of a process, above any limit that somebody means, and another for another."""
    assert mark_of("abc") == mark_of("abc-2") == 0x2000BA7816BF8F01
    assert len({mark_of(f"p{number}") for number in range(1000)}) == 1000
    assert all(MARKS <= mark_of(f"p{number}") < MARKS + (1 << 48) for number in range(1000))


def test_one_that_has_gone_far(child: Child) -> None:
    far = child.told()
    wait_for(3, child.mark)
    (found,) = members({"p": child.root}).values()
    assert len(found) == 3
    assert {child.pid, far} < found.keys()
    assert all(started(pid) == since for pid, since in found.items())
    # By its mark alone; and without it, only the child itself.
    assert leftovers(child.mark) == sorted(found)
    assert members({"p": Root(child.pid, 0)}) == {"p": {child.pid: found[child.pid]}}
    assert members({"p": Root(child.pid, mark_of(token_hex()))})["p"].keys() == {child.pid}


def test_each_has_its_own(child: Child, gone: Child) -> None:
    far, left = child.told(), gone.told()
    gone.release()
    wait_for(3, child.mark), wait_for(2, gone.mark)
    found = members({1: child.root, 2: gone.root, 3: Root(0, mark_of(token_hex()))})
    assert {child.pid, far} < found[1].keys()
    assert left in found[2]
    assert [len(one) for one in found.values()] == [3, 2, 0]


def test_by_session_and_descent() -> None:
    """Without any mark: descendants, and orphans that have stayed in the session."""
    one = Child(
        "import os, time\nif os.fork() == 0:\n  if os.fork(): os._exit(0)\n  os.write(1, b'%d' % os.getpid())\n"
        "time.sleep(1000)",
        0,
    )
    try:
        orphan = one.told()
        assert {one.pid, orphan} <= members({"p": one.root})["p"].keys()
    finally:
        kill_trees([(one.pid, one.launched.pidfd, 0)])
        one.end()


def test_what_is_known_is_not_read_again(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    known: trees.Known = {999_999_999: (1, 1)}

    def scan() -> dict[str, dict[int, int]]:
        found = scanning({"p": child.root}, known=known)
        while True:
            try:
                next(found)
            except StopIteration as over:
                result: dict[str, dict[int, int]] = over.value
                return result

    child.told()
    wait_for(3, child.mark)
    first = scan()
    assert 999_999_999 not in known
    read = []
    monkeypatch.setattr(trees, "_mark", lambda pid: read.append(pid) or 0)
    assert scan() == first
    # Others may have started meanwhile.
    assert not set(read) & set(first["p"])


def test_nobody_who_has_exited(gone: Child) -> None:
    """A child that has exited and was not released keeps its session's pid, and is no member."""
    left = gone.told()
    assert readable(gone.launched.pidfd, PATIENCE)
    wait_for(2, gone.mark)
    assert left in members({"p": gone.root})["p"]
    assert gone.pid not in members({"p": gone.root})["p"]


def test_the_parent_is_none_of_them(child: Child) -> None:
    """A keeper has a child's mark at the moment that it spawns it."""
    wait_for_descendants = child.told()
    take_mark(child.mark)
    try:
        assert os.getpid() not in leftovers(child.mark)
        assert wait_for_descendants in leftovers(child.mark)
    finally:
        drop_mark()
    keeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    resource.prlimit(keeper.pid, resource.RLIMIT_RTTIME, (child.mark, -1))
    try:
        assert keeper.pid in leftovers(child.mark)
        assert keeper.pid not in leftovers(child.mark, [keeper.pid])
        kill_marked(child.mark, [keeper.pid])
        wait_for(1, child.mark)
        assert keeper.poll() is None
    finally:
        keeper.kill()
        keeper.wait()


def test_killed_with_the_tree(child: Child) -> None:
    child.told()
    wait_for(3, child.mark)
    send(child.pid, child.launched.pidfd, signal.SIGKILL, "tree", child.mark)
    wait_for(0, child.mark)


def test_any_signal_to_the_tree(child: Child) -> None:
    child.told()
    wait_for(3, child.mark)
    Signals().signal(child.launched, signal.SIGTERM, "tree")
    wait_for(0, child.mark)


def test_what_is_left_over() -> None:
    """By the process's id, whichever launch of it has left it."""
    one = Child(DAEMON.format(stays=0), generation="-2")
    try:
        launcher = LocalLauncher(None)
        left = one.told()
        one.release()
        assert left in launcher.leftovers(one.id)
        assert launcher.leftovers(token_hex()) == []
        launcher.kill_leftovers(one.id)
        wait_for(0, one.mark)
    finally:
        one.end()


def test_of_one_that_was_released(gone: Child) -> None:
    """Its pid is 0 then, which is nobody's."""
    gone.told()
    gone.release()
    wait_for(2, gone.mark)
    Signals().kill_trees([Launched(pid=0, pidfd=-1, id=gone.id)])
    wait_for(0, gone.mark)


def test_no_descriptor_left(child: Child) -> None:
    """Then nobody is found, and nobody is killed or left stopped."""
    child.told()
    found = wait_for(3, child.mark)
    # With room for one, everybody is found, and nobody can be looked at while it is held.
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    for room in (0, 1):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, before[1]))
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                kill_trees([(child.pid, child.launched.pidfd, child.mark)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "T" not in [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in found]
    assert leftovers(child.mark) == found


MARK = mark_of("p")


@pytest.mark.parametrize(
    ("limit", "inside", "after"),
    [
        ("unlimited:unlimited", MARK, -1),
        # What it was started by had a mark.
        (f"{MARK + 1}:unlimited", MARK, -1),
        (f"{1 << 62}:{1 << 62}", MARK, 1 << 62),
        # What somebody means.
        ("1000:unlimited", 1000, 1000),
        ("1000:1000", 1000, 1000),
        (f"{1 << 60}:{1 << 60}", 1 << 60, 1 << 60),
    ],
)
def test_limits_that_there_are(limit: str, inside: int, after: int) -> None:
    """A mark takes the place of none and of another; what limits somebody stays, and then there is no mark."""
    code = f"""
import resource
from netdaemon.keeper.limits import with_mark
def soft(): return resource.getrlimit(resource.RLIMIT_RTTIME)[0]
print(with_mark({MARK}, soft), soft())
"""
    words = ["prlimit", f"--rttime={limit}", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(inside), str(after)], done.stderr


def test_a_limit_that_cannot_be_raised() -> None:
    """A child is started all the same."""
    code = f"""
import os, resource
from netdaemon.keeper.child import Spec
from netdaemon.keeper.launch import begin
resource.setrlimit(resource.RLIMIT_RTTIME, (1000, 1000))
for gated in (False, True):
    pid, roles = begin(Spec(path=b"/bin/true", argv=(b"true",), mark={MARK}), gated=gated)
    gated and os.write(roles["gate"], b"g")
    print(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "0"], done.stderr
