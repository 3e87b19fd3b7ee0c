"""What may be a log and what may not; names of files set aside; how many are kept, and what a kill has left of them."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from netdaemon.errors import BadRequest
from netdaemon.logs.files import check_path, list_aside, open_log, set_aside, stamped, tidy
from tests.logs.support import NOW, files_of, octets_of, root


def link(path: Path) -> None:
    path.with_name("real").write_bytes(b"")
    path.symlink_to("real")


def dangling(path: Path) -> None:
    path.symlink_to("nothing")


def hard_link(path: Path) -> None:
    path.write_bytes(b"")
    path.with_name("other").hardlink_to(path)


def of_somebody_else(path: Path) -> None:
    path.write_bytes(b"")
    os.chown(path, 12345, 12345)


def device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def bound(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        # The path of a socket is short.
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)
        os.close(here)


def public(path: Path) -> None:
    path.parent.chmod(0o777)


def foreign_directory(path: Path) -> None:
    os.chown(path.parent, 12345, 12345)


def no_directory(path: Path) -> None:
    path.parent.rmdir()


def by_a_link(path: Path) -> None:
    """The way to the directory may go through links, as /var/run does."""
    real = path.parent.with_name("real")
    path.parent.rename(real)
    path.parent.symlink_to(real)


def public_above(path: Path) -> None:
    path.parent.parent.chmod(0o777)


def foreign_link(path: Path) -> None:
    by_a_link(path)
    os.lchown(path.parent, 12345, 12345)


def endless_link(path: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to(path.parent)


def directory_is_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"")


NEEDS_ROOT = pytest.mark.skipif(not root(), reason="only root can make files of others, and devices")

REFUSED = [
    pytest.param(link, "is a symbolic link", id="symlink"),
    pytest.param(dangling, "is a symbolic link", id="dangling symlink"),
    pytest.param(os.mkfifo, "is a FIFO", id="FIFO"),
    pytest.param(bound, "is a socket", id="socket"),
    pytest.param(Path.mkdir, "is a directory", id="directory"),
    pytest.param(hard_link, "has 2 names", id="hard link"),
    pytest.param(of_somebody_else, "belongs to user 12345", id="somebody else's", marks=NEEDS_ROOT),
    pytest.param(device, "is a device", id="device", marks=NEEDS_ROOT),
    pytest.param(public, "is below .*/logs, where everybody may write", id="directory for everybody"),
    pytest.param(
        foreign_directory, "is below .*/logs, which belongs to user 12345", id="directory of another", marks=NEEDS_ROOT
    ),
    pytest.param(public_above, "is below .*, where everybody may write", id="directory above for everybody"),
    pytest.param(foreign_link, "is below .*/logs, which belongs to user 12345", id="link of another", marks=NEEDS_ROOT),
    pytest.param(endless_link, "more than 40 symbolic links", id="link to itself"),
    pytest.param(no_directory, "there is no directory .*, and none is made", id="no directory"),
    pytest.param(directory_is_a_file, "Not a directory", id="no directory but a file"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o755)
    return directory / "log"


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_what_may_not_be_a_log(path: Path, make: Callable[[Path], None], why: str) -> None:
    """Refused when it is asked for and when it is opened, with a word that tells why; nothing is made or changed."""
    make(path)
    there = os.path.isdir(path.parent)
    before = sorted(path.parent.iterdir()) if there else None
    for attempt in (check_path, open_log):
        with pytest.raises(BadRequest, match=why) as caught:
            attempt(str(path))
        assert caught.value.field == "log"
        assert str(path) in caught.value.message
    assert (sorted(path.parent.iterdir()) if there else None) == before


def absent(path: Path) -> None:
    """There is no file yet."""


def present(path: Path) -> None:
    path.write_bytes(b"before\n")


def sticky(path: Path) -> None:
    path.parent.chmod(0o1777)


def by_a_relative_link(path: Path) -> None:
    real = path.parent.with_name("real")
    path.parent.rename(real)
    path.parent.symlink_to("./../" + real.parent.name + "/real")


def of_the_group(path: Path) -> None:
    path.parent.chmod(0o775)


@pytest.mark.parametrize("make", [absent, present, sticky, of_the_group, by_a_link, by_a_relative_link])
def test_what_may_be_a_log(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    there = path.exists()
    check_path(str(path))
    assert path.exists() == there
    os.close(open_log(str(path)))
    assert path.read_bytes() == (b"before\n" if there else b"")


def test_replaced_between_looking_and_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is looked at again."""
    path.write_bytes(b"")
    real = os.open

    def opened(name: str, *args: int, **keywords: int) -> int:
        if name == "log":
            path.unlink()
            os.mkfifo(path)
        return real(name, *args, **keywords)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(BadRequest, match="is a FIFO"):
        open_log(str(path))


def test_a_link_put_there_in_between(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"")
    real = os.open

    def opened(name: str, *args: int, **keywords: int) -> int:
        if name == "log":
            path.unlink()
            link(path)
        return real(name, *args, **keywords)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(OSError, match="symbolic") as caught:
        open_log(str(path))
    assert caught.value.errno == errno.ELOOP


def test_a_directory_that_cannot_be_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args, **keywords: False)
    with pytest.raises(BadRequest, match="may not be written to"):
        check_path(str(path))


def test_names_that_are_too_long(path: Path) -> None:
    """A file of that name could be made, but not be set aside."""
    longest = path.with_name("x" * 224)
    check_path(str(longest))
    longest.write_bytes(b"")
    set_aside(str(longest), NOW)
    tidy(str(longest), 1, True)
    assert [len(one.name) for one in files_of(longest)] == [224 + 24 + 3]
    with pytest.raises(BadRequest, match="has a name of 226 octets, at most 224"):
        check_path(str(path.with_name("\xe4" * 113)))


# --- what is set aside -----------------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        return list_aside(directory, path.name, os.geteuid())
    finally:
        os.close(directory)


def aside(path: Path, number: int, ending: str = "") -> Path:
    one = path.with_name(path.name + stamped(NOW + number) + ending)
    text = f"file {number}\n".encode()
    one.write_bytes(gzip.compress(text) if ending == ".gz" else text)
    return one


def test_names_are_in_order(path: Path) -> None:
    """Of the time when they were set aside; others' names are nothing to us."""
    ours = [aside(path, number) for number in (1, 2, 3_600_000_000)]
    ours += [aside(path, 7_200_000_000, ".gz")]
    for other in ("log.1", "log.gz", "logs.20260102T030405.123456Z", "log.20260102T030405.123456Z.old", "log.2026Z"):
        path.with_name(other).write_bytes(b"")
    path.with_name("log.20260102T030405.999999Z").mkdir()
    path.with_name("log.20260102T030405.999998Z").symlink_to("log.1")
    assert names(path) == [one.name for one in ours]
    assert stamped(NOW) == ".20260102T030405.123456Z"


def test_set_aside_is_after_the_last(path: Path) -> None:
    """Whatever the clock says; nothing is ever replaced."""
    for now in (NOW, NOW, NOW - 5, NOW + 876_543 + 10, NOW + 876_543):
        path.write_bytes(b"")
        set_aside(str(path), now)
    assert names(path) == [
        "log.20260102T030405.123456Z",
        "log.20260102T030405.123457Z",
        "log.20260102T030405.123458Z",
        "log.20260102T030406.000009Z",
        "log.20260102T030406.000010Z",
    ]


def test_half_a_file_goes_with_the_whole_one(path: Path) -> None:
    one = aside(path, 0)
    one.with_name(one.name + ".gz.tmp").write_bytes(b"half")
    tidy(str(path), 0, True)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 3, 10])
def test_the_newest_are_kept(path: Path, keep: int, compress: bool) -> None:
    path.write_bytes(b"present\n")
    for number in range(6):
        aside(path, number, ".gz" if number < 2 else "")
    tidy(str(path), keep, compress)
    kept = range(max(0, 6 - keep), 6)
    assert [octets_of(one) for one in files_of(path)] == [*(f"file {n}\n".encode() for n in kept), b"present\n"]
    assert all(one.suffix == ".gz" for one in files_of(path)[:-1] if compress)
    assert len(list(path.parent.iterdir())) == len(kept) + 1


def test_what_a_kill_has_left(path: Path) -> None:
    """Half a file is thrown away and made again; of one that is there twice the plain one goes."""
    first, second, third = (aside(path, number) for number in range(3))
    first.with_name(first.name + ".gz.tmp").write_bytes(b"half")
    second.with_name(second.name + ".gz").write_bytes(gzip.compress(b"file 1\n"))
    tidy(str(path), 3, True)
    assert [octets_of(one) for one in files_of(path)] == [b"file 0\n", b"file 1\n", b"file 2\n"]
    assert sorted(path.parent.iterdir()) == [one.with_name(one.name + ".gz") for one in (first, second, third)]


def test_a_disk_too_full_to_compress(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain file stays, nothing else does, the others are done, and it is told."""
    aside(path, 0)
    aside(path, 1)
    real = os.write
    failures = [OSError(errno.ENOSPC, "full")]

    def write(descriptor: int, octets: bytes) -> int:
        if failures:
            raise failures.pop()
        return real(descriptor, octets)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="full"):
        tidy(str(path), 5, True)
    assert [one.suffix for one in files_of(path)] == [".123456Z", ".gz"]
    assert [octets_of(one) for one in files_of(path)] == [b"file 0\n", b"file 1\n"]
    assert len(list(path.parent.iterdir())) == 2


def test_a_log_that_is_in_use(path: Path) -> None:
    """It may be declared again for the process whose it is, and for no other."""
    descriptor = open_log(str(path))
    with pytest.raises(BadRequest, match="another process's log"):
        check_path(str(path))
    check_path(str(path), own=True)
    os.close(descriptor)
    check_path(str(path))


def test_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, what: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    os.close(open_log(str(path)))
