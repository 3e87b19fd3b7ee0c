"""The state directory: one daemon's, without leftovers, private."""

import errno
import os
import stat
from pathlib import Path

import pytest

from netdaemon.daemon.files import DirectoryFiles, StateUnusable, open_files
from netdaemon.wire.answers import Started
from netdaemon.wire.commands import Data, Remove, Start
from tests.daemon.support import output_of, world


def test_one_daemon_each(tmp_path: Path) -> None:
    """The second one is told, and takes nothing away."""
    first = DirectoryFiles(str(tmp_path / "state"))
    os.close(first.create("a.out"))
    with pytest.raises(StateUnusable, match="another"):
        DirectoryFiles(str(tmp_path / "state"))
    assert os.listdir(tmp_path / "state" / "spool") == ["a.out"]
    first.close()
    second = DirectoryFiles(str(tmp_path / "state"))
    os.close(second.create("b.in"))
    second.keep_only({"b"})
    assert os.listdir(tmp_path / "state" / "spool") == ["b.in"]
    second.close()


def test_private(tmp_path: Path) -> None:
    """Nobody else reads what a process says."""
    files = DirectoryFiles(str(tmp_path / "state"))
    os.close(files.create("a.out"))
    folder = tmp_path / "state" / "spool"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "a.out").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        files.create("a.out")
    files.remove("a.out", "never")
    files.close()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_place_that_others_can_write_to(tmp_path: Path, mode: int) -> None:
    """What it says runs again after a reboot, as the daemon's user."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(StateUnusable, match=f"state has mode {mode:04o}|state, where everybody may write"):
        DirectoryFiles(str(state))
    assert not (state / "lock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
@pytest.mark.parametrize("which", ["state", "above", "link"])
def test_a_place_that_is_another_users(tmp_path: Path, which: str) -> None:
    """Its own, one on the way to it, or a link that leads there."""
    above, link = tmp_path / "above", tmp_path / "link"
    (above / "state").mkdir(parents=True)
    link.symlink_to(above)
    os.chown({"state": above / "state", "above": above, "link": link}[which], 12345, 12345, follow_symlinks=False)
    with pytest.raises(StateUnusable, match="which belongs to user 12345; root is allowed"):
        DirectoryFiles(str(link / "state"))


def test_a_place_that_is_made_whatever_the_umask(tmp_path: Path) -> None:
    """With all on the way to it."""
    before = os.umask(0)
    try:
        DirectoryFiles(str(tmp_path / "a" / "b" / "state")).close()
    finally:
        os.umask(before)
    for made in ("a", "a/b", "a/b/state", "a/b/state/spool"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700, made


def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    """Said with the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="file"):
        open_files(str(tmp_path / "file" / "state"))


def test_processes_leave_no_files(tmp_path: Path) -> None:
    """Output and input are there while the process is listed, and gone with it."""
    folder = tmp_path / "state" / "spool"
    with world(state=str(tmp_path / "state")) as w:
        client = w.client()
        id, name, child = w.start(client)
        w.ask(client, Data(to=id, payload=b"in"))
        child.write(b"out")
        w.daemon.settle()
        assert output_of(client, id) == b"out"
        assert sorted(os.listdir(folder)) == [f"{name}.in", f"{name}.out"]
        child.exit(0)
        w.daemon.settle()
        w.ask(client, Remove(process=name))
        assert os.listdir(folder) == []
        assert isinstance(w.ask(client, Start(argv=("x",)))[1], Started)
        assert len(os.listdir(folder)) == 1
    assert os.listdir(folder) == []


def test_what_cannot_be_removed_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another is; one that was made anew meanwhile stays."""
    files = DirectoryFiles(str(tmp_path / "state"))
    folder, unlink = tmp_path / "state" / "spool", os.unlink
    for name in ("a.out", "b.out", "c.out"):
        os.close(files.create(name))

    def fails(path: str) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "unlink", fails)
    files.remove("a.out", "b.out")
    monkeypatch.setattr(os, "unlink", unlink)
    assert sorted(os.listdir(folder)) == ["a.out", "b.out", "c.out"]
    (folder / "b.out").unlink()
    os.close(files.create("b.out"))
    files.remove("c.out")
    assert os.listdir(folder) == ["b.out"]
    files.close()
