"""Taking possession of a path: one owner, the right mode from the first instant, nothing of others removed."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netdaemon.sockets.binding import CannotBind, bind


@pytest.fixture
def path(tmp_path: Path) -> str:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    return str(directory / "s")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_mode(path: str, kind: int, umask: int) -> None:
    """0600 whatever the umask; another one if it is asked for."""
    before = os.umask(umask)
    try:
        for mode in (0o600, 0o660, 0o666):
            bound = bind(path, kind, mode)
            assert stat.S_IMODE(os.stat(path).st_mode) == mode
            bound.socket.close()
            bound.remove()
            assert not os.path.exists(path)
    finally:
        os.umask(before)


def test_the_directory_is_made_for_the_owner_only(tmp_path: Path) -> None:
    """0700, with its parents."""
    path = str(tmp_path / "a" / "b" / "s")
    before = os.umask(0)
    try:
        bound = bind(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) == 0o700
    bound.socket.close()
    bound.remove()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_is_refused(path: str, mode: int) -> None:
    """Whoever can write the directory can replace the socket."""
    os.chmod(os.path.dirname(path), mode)
    with pytest.raises(CannotBind, match="others can replace"):
        bind(path)


def test_a_way_that_others_can_have_lead_elsewhere_is_refused(path: str) -> None:
    """Whoever can replace a directory above can replace the socket with it."""
    os.chmod(os.path.dirname(os.path.dirname(path)), 0o777)
    with pytest.raises(CannotBind, match=r"where everybody may write.*others can replace the socket"):
        bind(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_link_of_another_user_is_refused(path: str, tmp_path: Path) -> None:
    """He can have it lead elsewhere at any time, and clients with it."""
    link = tmp_path / "link"
    link.symlink_to(os.path.dirname(path))
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(CannotBind, match="belongs to user 12345"):
        bind(str(link / "s"))


def test_what_is_left_of_a_dead_daemon_is_replaced(path: str) -> None:
    """A socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    bound = bind(path)
    bound.socket.close()
    bound.remove()


def test_a_live_socket_is_left_alone(path: str) -> None:
    """Even one that knows nothing of our lock."""
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen()
        with pytest.raises(CannotBind, match="listens there already"):
            bind(path)
        assert os.path.exists(path)


def test_a_file_is_left_alone(path: str) -> None:
    """What is no socket is not ours to remove."""
    Path(path).write_text("precious")
    with pytest.raises(CannotBind, match="no socket"):
        bind(path)
    assert Path(path).read_text() == "precious"


def test_the_lock(path: str) -> None:
    """The second one is told who is in its way."""
    bound = bind(path)
    with pytest.raises(CannotBind, match="holds"):
        bind(path)
    bound.socket.close()
    bound.remove()
    again = bind(path)
    again.socket.close()
    again.remove()


def test_a_successors_socket_is_not_removed(path: str) -> None:
    """Only what was bound here is unlinked."""
    bound = bind(path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        bound.socket.close()
        bound.remove()
        assert os.path.exists(path)


@pytest.mark.parametrize("bad", ["", "@abstract", "\0abstract", "relative/path", "/tmp/" + "x" * 120])
def test_bad_paths(bad: str) -> None:
    """Each with its reason."""
    with pytest.raises(CannotBind):
        bind(bad)


def test_of_many_at_once_one_wins(path: str) -> None:
    """Fifty processes race for a path on which a dead socket lies."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    code = (
        "import sys\nfrom netdaemon.sockets.binding import bind, CannotBind\n"
        "sys.stdin.readline()\n"
        "try:\n    bound = bind(sys.argv[1])\n    bound.socket.listen()\n"
        "except CannotBind:\n    print('no', flush=True)\n"
        "else:\n    print('yes', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(50)
    ]
    try:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
        assert sorted(answers) == ["no"] * 49 + ["yes"]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
