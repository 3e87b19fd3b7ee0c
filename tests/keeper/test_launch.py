"""A child has exactly what was asked for, by either way of launching it, or there is no child."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netdaemon.keeper import claim
from netdaemon.keeper.child import Launched, LaunchError, Spec, collect, has_exited, release
from netdaemon.keeper.launch import (
    Ends,
    begin,
    close_gate,
    finish,
    open_gate,
    open_streams,
    own_descriptors,
    wait,
)
from netdaemon.keeper.ledger import Ledger
from netdaemon.keeper.limits import MARKS
from netdaemon.keeper.messages import close_all
from tests.support import readable

PATH = b"PATH=/usr/local/bin:/usr/bin:/bin"
LIMIT = 20


@pytest.fixture(autouse=True, scope="module")
def _owned() -> None:
    own_descriptors()


# How children are launched: at once; as a keeper does it, with a claim, or behind a gate that is opened.
way = ""


@pytest.fixture(autouse=True, params=["at-once", "claimed", "gated"])
def _way(request: pytest.FixtureRequest) -> None:
    global way
    way = request.param


def claimed(spec: Spec) -> Launched:
    """Spawn with a claim, by the table of a keeper."""
    ledger = Ledger()
    ends = Ends()
    made = []
    try:
        stdin, stdout, stderr = open_streams(ends, spec)
        if spec.merge:
            # Each arrives at a keeper by a number of its own.
            made.append(stderr := os.dup(stderr))
        made.append(claim.make())
    except OSError as error:
        ends.close()
        close_all(made)
        raise LaunchError("descriptors", error.errno or 0) from error
    entry = ledger.spawn("p", spec, made[-1], (stdin, stdout, stderr), ends.ours)
    return Launched.of_roles("p", entry.pid, entry.roles)


def launch(spec: Spec) -> Launched:
    """Begin, open the gate, wait until it is known how it went."""
    gated = way == "gated"
    if way == "claimed" and spec.pty is None:
        return claimed(spec)
    pid, roles = begin(spec, gated=gated)
    launched = Launched.of_roles("p", pid, roles)
    if launched.gate < 0:
        return launched
    if gated:
        open_gate(launched.gate)
    try:
        while not finish(launched.gate):
            assert readable(launched.gate, LIMIT)
    except LaunchError:
        wait(pid)
        launched.close()
        raise
    close_gate(launched)
    return launched


def output_of(launched: Launched) -> bytes:
    """All that it writes, and wait for it."""
    if not launched.stdin_relay[0] >= 0:
        os.close(launched.stdin)
        launched.stdin = -1
    result = b""
    while True:
        assert readable(launched.stdout, LIMIT)
        try:
            piece = os.read(launched.stdout, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            piece = b""
        if not piece:
            return result
        result += piece


def end_of(launched: Launched) -> tuple[int | None, int | None]:
    """Wait for the exit, and let go of the child."""
    assert readable(launched.pidfd, LIMIT)
    status = collect(launched.pidfd)
    assert status is not None
    assert collect(launched.pidfd) == status
    release(launched.pidfd)
    with pytest.raises(ChildProcessError):
        collect(launched.pidfd)
    launched.close()
    return status.code, status.signal


@pytest.fixture(params=["pipes", "terminal"])
def pty(request: pytest.FixtureRequest) -> tuple[int, int] | None:
    return (40, 100) if request.param == "terminal" else None


def python(code: str, pty: tuple[int, int] | None, **rest: object) -> Launched:
    """Run *code* in another interpreter."""
    return launch(
        Spec(path=sys.executable.encode(), argv=(b"child", b"-c", code.encode()), pty=pty, merge=True, **rest)  # type: ignore[arg-type]
    )


def test_descriptors(pty: tuple[int, int] | None) -> None:
    """Exactly 0, 1 and 2, whatever is open here."""
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
    try:
        # The interpreter's own listing descriptor is there while it lists.
        code = "import os; d = os.open('/proc/self/fd', 0); print(sorted(int(n) for n in os.listdir(d) if int(n) != d))"
        launched = python(code, pty)
        listed = output_of(launched).split(b"]")[0]
        assert end_of(launched) == (0, None)
        # os.listdir on a descriptor duplicates it once more.
        numbers = {int(one) for one in listed.strip(b"[").split(b",")}
        assert {0, 1, 2} <= numbers <= {0, 1, 2, 3, 4}
    finally:
        for one in extra:
            os.close(one)


def test_session_and_signals(pty: tuple[int, int] | None) -> None:
    """Its own session and group; nothing blocked, nothing ignored that could be reset."""
    launched = launch(
        Spec(path=b"cat", argv=(b"cat", b"/proc/self/status", b"/proc/self/stat"), env=(PATH,), pty=pty, merge=True)
    )
    text = output_of(launched).decode()
    assert end_of(launched) == (0, None)
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(status["SigBlk"], 16) == 0
    # glibc's posix_spawn leaves its two internal signals, 32 and 33, ignored.
    internal = 1 << 31 | 1 << 32
    assert int(status["SigIgn"], 16) & ~internal == 0
    fields = text.splitlines()[-1].rpartition(")")[2].split()
    assert fields[2] == fields[3] == str(launched.pid)
    assert (fields[4] != "0") == (pty is not None)


def test_mark(pty: tuple[int, int] | None) -> None:
    """It is the child's and nobody else's: not that of the next one, nor ours."""
    before = resource.getrlimit(resource.RLIMIT_RTTIME)
    for mark, limit in ((MARKS + 17, MARKS + 17), (0, before[0])):
        launched = python("import resource; print(resource.getrlimit(resource.RLIMIT_RTTIME))", pty, mark=mark)
        assert output_of(launched).strip() == b"(%d, %d)" % (limit, before[1])
        assert end_of(launched) == (0, None)
        assert resource.getrlimit(resource.RLIMIT_RTTIME) == before
    with pytest.raises(LaunchError):
        launch(Spec(path=b"/nowhere", argv=(b"x",), pty=pty, mark=MARKS + 17))
    assert resource.getrlimit(resource.RLIMIT_RTTIME) == before


def test_environment_and_directory(pty: tuple[int, int] | None) -> None:
    """What was sent and nothing else; bytes as they are."""
    env = (PATH, b"A=1", b"EMPTY=", b"EQUALS=a=b", b"BYTES=\xff\xfe")
    code = "import os; print(os.environb); print(os.getcwd()); print(oct(os.umask(0)))"
    launched = python(code, pty, env=env, cwd=b"/usr")
    text = output_of(launched)
    assert end_of(launched) == (0, None)
    for one in env:
        name, _, value = one.partition(b"=")
        assert f"{name!r}: {value!r}".encode() in text
    assert b"HOME" not in text
    assert b"/usr" in text
    assert b"0o22" in text


def test_our_own_directory_and_umask_stay(pty: tuple[int, int] | None) -> None:
    """A start changes nothing here."""
    before = os.getcwd(), os.umask(0o27)
    try:
        launched = launch(Spec(path=b"/bin/true", argv=(b"true",), cwd=b"/usr", pty=pty))
        output_of(launched)
        end_of(launched)
        with pytest.raises(LaunchError):
            launch(Spec(path=b"/nowhere", argv=(b"true",), cwd=b"/usr", pty=pty))
        assert os.getcwd() == before[0]
        assert os.umask(0o27) == 0o27
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        os.umask(before[1])


@pytest.mark.parametrize(
    ("path", "cwd", "stage", "number"),
    [
        (b"/nowhere/at/all", b"/", "exec", errno.ENOENT),
        (b"no-such-program", b"/", "exec", errno.ENOENT),
        (b"/etc/passwd", b"/", "exec", errno.EACCES),
        (b"/etc", b"/", "exec", errno.EACCES),
        (b"true", b"/nowhere", "cwd", errno.ENOENT),
        (b"true", b"/etc/passwd", "cwd", errno.ENOTDIR),
    ],
)
def test_failures(path: bytes, cwd: bytes, stage: str, number: int, pty: tuple[int, int] | None) -> None:
    """Stage and errno; no child, no descriptor is left."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LaunchError) as caught:
        launch(Spec(path=path, argv=(path,), env=(PATH,), cwd=cwd, pty=pty))
    assert (caught.value.stage, caught.value.errno) == (stage, number)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_not_a_program(tmp_path: object, pty: tuple[int, int] | None) -> None:
    """A file that is executable and no program: ENOEXEC, and never a shell that tries it."""
    path = os.path.join(str(tmp_path), "script")
    with open(path, "w") as file:
        file.write("touch /tmp/never\n")
    os.chmod(path, 0o755)
    with pytest.raises(LaunchError) as caught:
        launch(Spec(path=path.encode(), argv=(b"x",), pty=pty))
    assert (caught.value.stage, caught.value.errno) == ("exec", errno.ENOEXEC)


def test_too_long(pty: tuple[int, int] | None) -> None:
    """What the kernel does not take is refused by it."""
    with pytest.raises(LaunchError) as caught:
        launch(Spec(path=b"/bin/true", argv=(b"true", b"x" * (1 << 18)), pty=pty))
    assert (caught.value.stage, caught.value.errno) == ("exec", errno.E2BIG)


def test_path_prefers_what_can_be_executed(tmp_path: object) -> None:
    """A file without permission earlier in PATH does not hide the program later in it."""
    with open(os.path.join(str(tmp_path), "true"), "w"):
        pass
    launched = launch(Spec(path=b"true", argv=(b"true",), env=(b"PATH=" + str(tmp_path).encode() + b":/bin",)))
    assert end_of(launched) == (0, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_death_by_signal(number: signal.Signals, pty: tuple[int, int] | None) -> None:
    """A signal's number, and no code."""
    launched = launch(Spec(path=b"sleep", argv=(b"sleep", b"60"), env=(PATH,), pty=pty))
    signal.pidfd_send_signal(launched.pidfd, number)
    assert end_of(launched) == (None, number)


def test_no_descriptors_left() -> None:
    """EMFILE is told as such, and what was opened is closed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    have = len(os.listdir("/proc/self/fd"))
    top = max(int(name) for name in os.listdir("/proc/self/fd"))
    try:
        for room in range(1, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (top + room, hard))
            for pty in (None, (24, 80)):
                try:
                    launched = launch(Spec(path=b"/bin/true", argv=(b"true",), pty=pty))
                except LaunchError as error:
                    assert error.stage in ("descriptors", "cwd", "exec")
                    assert error.errno in (errno.EMFILE, errno.ENFILE)
                else:
                    end_of(launched)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert len(os.listdir("/proc/self/fd")) == have
                resource.setrlimit(resource.RLIMIT_NOFILE, (top + room, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_gate_that_nobody_opens(pty: tuple[int, int] | None) -> None:
    """The child waits; when everybody who could open its gate is gone it ends, and has executed nothing."""
    pid, roles = begin(Spec(path=b"/bin/sleep", argv=(b"sleep", b"60"), pty=pty), gated=True)
    launched = Launched.of_roles("p", pid, roles)
    assert not readable(launched.pidfd, 0.2)
    assert not readable(launched.gate, 0)
    assert not finish(launched.gate)
    close_gate(launched)
    assert readable(launched.pidfd, LIMIT)
    assert has_exited(launched.pidfd)
    with open(f"/proc/{pid}/comm") as file:
        assert file.read() != "sleep\n"
    wait(pid)
    launched.close()


def test_a_gate_is_opened_twice(pty: tuple[int, int] | None) -> None:
    """By a daemon and by the next, that cannot know; how it went is told to both, success and failure."""
    for path, succeeds in ((b"/bin/true", True), (b"/nowhere", False)):
        pid, roles = begin(Spec(path=path, argv=(b"x",), pty=pty), gated=True)
        launched = Launched.of_roles("p", pid, roles)
        open_gate(launched.gate)
        assert readable(launched.gate, LIMIT)
        for _ in range(2):
            open_gate(launched.gate)
            if succeeds:
                assert finish(launched.gate)
            else:
                with pytest.raises(LaunchError) as caught:
                    finish(launched.gate)
                assert (caught.value.stage, caught.value.errno) == ("exec", errno.ENOENT)
        wait(pid)
        launched.close()


MANY = """
import os, resource, sys
from netdaemon.keeper import claim, launch, limits
from netdaemon.keeper.child import Launched, Spec
from netdaemon.keeper.ledger import Ledger

way = sys.argv[1]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
limits.raise_limit()
launch.own_descriptors()
many = [os.open(os.devnull, os.O_RDWR) for _ in range(200)]
before = len(os.listdir("/proc/self/fd"))
code = "ulimit -n; ls /proc/self/fd | wc -l; cat"
spec = Spec(path=b"/bin/sh", argv=(b"sh", b"-c", code.encode()), env=(b"PATH=/bin:/usr/bin",))
for _ in range(2):
    if way == "claimed":
        ends = launch.Ends()
        streams = launch.open_streams(ends, spec)
        entry = Ledger().spawn("p", spec, claim.make(), streams, ends.ours)
        pid, roles = entry.pid, entry.roles
    else:
        pid, roles = launch.begin(spec, gated=way == "gated")
        if way == "gated":
            launch.open_gate(roles["gate"])
    launched = Launched.of_roles("p", pid, roles)
    os.write(launched.stdin, b"input")
    os.close(launched.stdin)
    launched.stdin = -1
    os.set_blocking(launched.stdout, True)
    with open(launched.stdout, "rb", closefd=False) as file:
        print(file.read().decode())
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    launched.close()
    assert len(os.listdir("/proc/self/fd")) == before
"""


def test_more_descriptors_than_a_child_may_have() -> None:
    """A child's limit is what this program's was; that its own descriptors have higher numbers by now is no matter."""
    root = Path(__file__).parents[2]
    told = subprocess.run([sys.executable, "-c", MANY, way], cwd=root, capture_output=True, text=True, timeout=LIMIT)
    assert told.stderr == ""
    # Its three, and what `ls` itself opens.
    assert told.stdout.split() == ["64", "4", "input", "0"] * 2
