"""A child that is not all that was asked for is none: when a system call fails, and when somebody stands in the way."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from netdaemon.keeper.child import LaunchError
from netdaemon.keeper.whom import Whom
from tests.process.launchers import NOBODY, WAYS, jail, launching
from tests.support import LONG, PATIENCE

HERE = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run children as others")

# Launches what it is told and says how that went, one line each; whoever runs is killed.
DRIVER = """
import os, sys
from netdaemon.keeper.child import LaunchError, Launched, Spec
from netdaemon.keeper.launch import begin, finish, own_descriptors, wait
from netdaemon.keeper.whom import Whom
import select, signal
own_descriptors()
print("ready", flush=True)
for line in sys.stdin:
    try:
        pid, roles = begin(Spec(path=b"/bin/cat", argv=(b"cat",), whom=eval(line)))
    except LaunchError as error:
        print(error.stage, error.errno, flush=True)
        continue
    launched = Launched.of_roles("p", pid, roles)
    try:
        while not finish(launched.gate):
            select.select([launched.gate], [], [])
    except LaunchError as error:
        wait(pid)
        print(error.stage, error.errno, flush=True)
    else:
        print("runs", open(f"/proc/{pid}/comm").read().strip(), flush=True)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    launched.close()
"""

ALL = (
    "Whom(uid=1234, gid=1235, groups=(7,), umask=0o27, root=b'/', rlimits=((7, 20, 20),), nice=15, oom_score_adj=500, "
    "no_new_privs=True, capabilities=1 << 5)"
)


def driver(*inside: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*inside, sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        bufsize=1,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str], whom: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(whom + "\n")
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(PATIENCE)
    process.stdout.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize(
    ("calls", "whom", "stage"),
    [
        ("setsid", ALL, "session"),
        ("prlimit64,setrlimit,getrlimit", ALL, "limits"),
        ("fchown", ALL, "descriptors"),
        ("chroot", ALL, "root"),
        ("fchdir", ALL, "root"),
        ("setpriority", ALL, "nice"),
        ("setgroups", ALL, "groups"),
        ("setresgid", ALL, "gid"),
        ("setresuid", ALL, "uid"),
        ("getresuid", ALL, "verify"),
        ("getresgid", ALL, "verify"),
        ("getgroups", ALL, "verify"),
        ("prctl", ALL, "capabilities"),
        ("capset", ALL, "capabilities"),
        ("prctl", "Whom(uid=1234, gid=1235, no_new_privs=True)", "privileges"),
        ("execve", ALL, "exec"),
    ],
)
def test_a_system_call_that_fails(calls: str, whom: str, stage: str, tmp_path: Path) -> None:
    """The first, and every later one: never a running child, always the stage."""
    process = driver()
    try:
        assert ask(process, ALL) == "runs cat"
        # Of the others the second call is another step's, or one that is to fail.
        for when in ("1+", "1", "2", "3") if calls in ("prctl", "capset") else ("1+",):
            tracer = subprocess.Popen(
                [
                    *("strace", "-f", "-o", str(tmp_path / "trace"), "-e", "signal=none", "-e", f"trace={calls}"),
                    *("-e", f"inject={calls}:error=EPERM:when={when}", "-p", str(process.pid)),
                ],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert tracer.stderr is not None
            line = tracer.stderr.readline()
            if "attached" not in line:
                tracer.wait(PATIENCE)
                pytest.skip(f"strace: {line}")
            told = ask(process, whom)
            tracer.send_signal(signal.SIGTERM)
            tracer.wait(PATIENCE)
            tracer.stderr.close()
            # A number counts for each process; there may be fewer calls.
            injected = "(INJECTED)" in (tmp_path / "trace").read_text()
            assert injected or when != "1+"
            assert told == (f"{stage} 1" if injected else "runs cat"), when
        assert ask(process, ALL) == "runs cat"
    finally:
        end(process)


# --- what the daemon has, and a child does not -----------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
@pytest.mark.parametrize(
    ("has", "whom", "told"),
    [
        # Inheritable ones, which a change of user from root does not take.
        (("--inh-caps=+kill,+chown",), NOBODY, "0" * 16),
        # A user that is not root and may change to others: nothing is taken from that by itself.
        (
            ("--reuid=1000", "--clear-groups", "--inh-caps=+setuid,+setgid", "--ambient-caps=+setuid,+setgid"),
            Whom(uid=1234, gid=0),
            "permission",
        ),
        (
            (
                *("--reuid=1000", "--clear-groups", "--inh-caps=+setuid,+setgid,+chown"),
                "--ambient-caps=+setuid,+setgid,+chown",
            ),
            Whom(uid=1234, gid=0),
            "0" * 16,
        ),
    ],
)
def test_capabilities_of_the_daemon(has: tuple[str, ...], whom: Whom, told: str) -> None:
    """A child of another user has none, however the daemon has come by its own."""
    code = (
        "import os, sys\n"
        "from netdaemon.keeper.child import LaunchError, Spec\n"
        "from netdaemon.keeper.launch import begin, finish\n"
        "from netdaemon.keeper.whom import Whom\n"
        f"whom = Whom.unpack({whom.pack()!r})\n"
        "argv = (b'grep', b'Cap', b'/proc/self/status')\n"
        "pid, roles = begin(Spec(path=b'/bin/grep', argv=argv, whom=whom))\n"
        "os.waitpid(pid, 0)\n"
        "try:\n"
        "    finish(roles['gate'])\n"
        "except LaunchError as error:\n"
        "    print(error.stage, error.errno)\n"
        "else:\n"
        "    print(os.read(roles['stdout'], 1000).decode())\n"
    )
    done = subprocess.run(
        ["setpriv", *has, sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE, check=False
    )
    assert done.stderr == ""
    if told == "permission":
        # It cannot have its streams be the child's.
        assert done.stdout == "descriptors 1\n"
        return
    found = dict(line.split(":\t") for line in done.stdout.splitlines() if line)
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {told}


def test_somebody_who_may_not(tmp_path: Path) -> None:
    """A daemon that is not root: what it may not is refused, and itself it may be."""
    process = driver("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
    try:
        assert ask(process, "Whom(uid=1000, gid=1000)") == "runs cat"
        assert ask(process, "Whom(uid=1000, gid=1000, groups=(4,))") == "groups 1"
        assert ask(process, "Whom(uid=0, gid=0)") == "descriptors 1"
        assert ask(process, "Whom(uid=1001, gid=1000)") == "descriptors 1"
        assert ask(process, "Whom(uid=1000, gid=0)") == "gid 1"
        assert ask(process, "Whom(root=b'/')") == "root 1"
        assert ask(process, "Whom(nice=-20)").startswith("nice ")
        assert ask(process, "Whom(capabilities=0)") == "capabilities 1"
        assert ask(process, "Whom(no_new_privs=True, umask=0, rlimits=((7, 20, 20),))") == "runs cat"
    finally:
        end(process)


# --- a root that somebody swaps --------------------------------------------------------------------------------------

SWAPS = """
import ctypes, os, sys
library = ctypes.CDLL(None, use_errno=True)
one, other = (os.fsencode(path) for path in sys.argv[1:])
count = 0
os.set_blocking(0, False)
print("begun", flush=True)
while True:
    for _ in range(1000):
        if library.renameat2(-100, one, -100, other, 2):
            sys.exit(os.strerror(ctypes.get_errno()))
    count += 1000
    try:
        if count >= 100_000 and os.read(0, 1) == b"":
            break
    except BlockingIOError:
        pass
print(count)
"""

STARTS = 500 if LONG else 25


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(f"/tmp/nd-swap-{token_hex(4)}")
    made.mkdir(mode=0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.mark.parametrize("way", WAYS)
def test_a_root_below_what_somebody_swaps(way: str, place: Path, tmp_path: Path) -> None:
    """With a link to /, a hundred thousand times meanwhile: inside, or not at all; never in what the link leads to."""
    inner = place / "a" / "in"
    (inner / "jail").mkdir(parents=True)
    jail(inner / "jail", "/bin/cat")
    # Outside there is such a path, too: whoever follows the link finds it.
    link = place / "a" / "link"
    outside = place / "outside"
    (outside / "jail").mkdir(parents=True)
    jail(outside / "jail", "/bin/cat")
    link.symlink_to(outside)
    inside = os.stat(inner / "jail").st_ino
    whom = Whom(uid=1234, gid=1235, root=os.fsencode(inner / "jail"))
    swapper = subprocess.Popen(
        [sys.executable, "-c", SWAPS, str(inner), str(link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert swapper.stdin is not None
    assert swapper.stdout is not None
    ran = refused = followed = 0
    try:
        assert swapper.stdout.readline() == "begun\n"
        with launching(way, tmp_path) as started:
            for _ in range(STARTS):
                try:
                    launched = started.launch("/bin/cat", whom=whom)
                except LaunchError as error:
                    assert error.stage == "root"
                    refused += 1
                else:
                    assert os.stat(f"/proc/{launched.pid}/root/.").st_ino == inside
                    started.let_go(launched)
                    ran += 1
                followed += os.stat(inner / "jail").st_ino != inside
    finally:
        swapper.stdin.close()
        count = swapper.stdout.read()
        swapper.stdout.close()
        assert swapper.wait(PATIENCE) == 0
    assert int(count) >= 100_000
    assert ran + refused == STARTS
    # Or it was no trial.
    assert ran
    assert refused
    assert followed


# --- the terminal that somebody else is at ---------------------------------------------------------------------------

# Types into whatever terminal it can get hold of.
TYPES = """
import fcntl, os, sys, termios
told = []
paths = ["/dev/tty", "/proc/self/fd/0"]
if os.getuid():
    # Root may open what it likes.
    paths += ["/proc/%d/fd/0" % os.getppid(), sys.argv[1]]
for path in paths:
    try:
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
        told.append("typed")
    except OSError as error:
        told.append(str(error.errno))
print("told", *told, flush=True)
"""

# In a session of its own whose terminal is the one that it is given; launches somebody who types, and does so itself.
AT_A_TERMINAL = """
import fcntl, os, select, sys, termios
from netdaemon.keeper.child import Launched, Spec
from netdaemon.keeper.launch import begin, finish, own_descriptors
from netdaemon.keeper.whom import Whom
types, terminal = sys.argv[1:3]
os.setsid()
outer = os.open(terminal, os.O_RDWR)
fcntl.ioctl(outer, termios.TIOCSCTTY, 0)
own_descriptors()
for pty in (None, (24, 80)):
    for whom in (None, Whom(umask=0), Whom(uid=1234, gid=1235, capabilities=0)):
        argv = tuple(os.fsencode(one) for one in ("/usr/bin/python3", "-I", "-S", "-c", types, terminal))
        pid, roles = begin(Spec(path=argv[0], argv=argv, pty=pty, whom=whom, merge=True))
        launched = Launched.of_roles("p", pid, roles)
        text = b""
        while b"told" not in text or not text.endswith(b"\\n"):
            select.select([launched.stdout], [], [])
            text += os.read(launched.stdout, 10000)
        os.waitpid(pid, 0)
        launched.close()
        print(pty is not None, whom is not None and whom.uid, text.decode().split("told")[1].split(), flush=True)
"""


@pytest.mark.skipif(
    not Path("/usr/bin/python3").exists(), reason="there is no /usr/bin/python3 that everybody may execute"
)
def test_nobody_types_into_another_terminal() -> None:
    """A child has its own terminal or none; that of whoever has started the daemon gets nothing of what it types."""
    try:
        if Path("/proc/sys/dev/tty/legacy_tiocsti").read_text().strip() == "0":
            pytest.skip("this kernel lets nobody type but root")
    except FileNotFoundError:
        pass
    master, outer = pty.openpty()
    name = os.ttyname(outer)
    settings = termios.tcgetattr(outer)
    settings[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(outer, termios.TCSANOW, settings)
    os.set_blocking(outer, False)
    os.fchmod(outer, 0o600)

    def waiting() -> int:
        return int.from_bytes(fcntl.ioctl(outer, termios.FIONREAD, bytes(4)), sys.byteorder)

    # Without: a child in the same session types into it.
    control = "import fcntl, os, sys, termios; os.setsid()\n"
    control += "fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)\n"
    subprocess.run([sys.executable, "-c", control + TYPES, name], check=True, capture_output=True, timeout=PATIENCE)
    assert waiting() > 0
    termios.tcflush(outer, termios.TCIFLUSH)
    command = [sys.executable, "-c", AT_A_TERMINAL, TYPES, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(rows) == 6
    for terminal, uid, told in rows:
        tty, own, *others = told.strip("[]").replace("'", "").split(", ")
        assert (tty == "typed") == (terminal == "True")
        assert (own == "typed") == (terminal == "True")
        assert others == (["13", "13"] if uid == "1234" else [])
    assert waiting() == 0
    os.close(master)
    os.close(outer)


# --- a pid that is another's by then ---------------------------------------------------------------------------------

REUSED = """
import os, signal, sys
from netdaemon.keeper.child import Launched, Spec, release
from netdaemon.keeper.launch import begin
from netdaemon.process import signals
from netdaemon.process.trees import mark_of
def start():
    pid, roles = begin(Spec(path=b"/bin/sleep", argv=(b"sleep", b"1000"), mark=mark_of("p")))
    return Launched.of_roles("p", pid, roles)
first = start()
os.kill(first.pid, signal.SIGKILL)
os.waitid(os.P_PIDFD, first.pidfd, os.WEXITED | os.WNOWAIT)
release(first.pidfd)
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(first.pid - 1))
pid = os.fork()
if pid == 0:
    os.setsid()
    signal.pause()
print("same" if pid == first.pid else "other")
import time
while os.getpgid(pid) != pid:
    time.sleep(0.001)
for scope in ("process", "group", "tree"):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            signals.send(first.pid, first.pidfd, number, scope, mark_of("p"), ())
            print("sent")
        except ProcessLookupError:
            print("nobody")
signals.kill_trees([(first.pid, first.pidfd, mark_of("p"))], ())
from netdaemon.keeper.child import kill_group
kill_group(first.pid, first.pidfd, signal.SIGKILL)
time.sleep(0.05)
print(os.waitpid(pid, os.WNOHANG))
os.kill(pid, signal.SIGKILL)
"""


def test_a_pid_that_is_used_again() -> None:
    """Of a child that is gone a signal reaches nobody, whoever has its number."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", REUSED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE, timeout=PATIENCE)
    if "same" not in done.stdout:
        pytest.skip(f"a pid cannot be had again here: {done.stdout} {done.stderr}")
    assert done.stdout.split("\n") == ["same", *["nobody"] * 6, "(0, 0)", ""], done.stderr
