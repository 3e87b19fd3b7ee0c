"""Where a keeper listens: for its own user alone, in place of nothing but a socket that nobody listens on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from netdaemon.keeper.place import bind


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_only_its_own_user_may_connect(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "keeper"
    before = os.umask(umask)
    try:
        listener = bind(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not listener.get_inheritable()
    listener.close()


def test_what_is_left_of_a_dead_keeper_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "keeper")
    bind(path).close()
    bind(path).close()


def test_a_live_one_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "keeper")
    with bind(path):
        with pytest.raises(OSError, match="in use"):
            bind(path)
        assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """Somebody's file of that name is not ours to remove."""
    path, precious = tmp_path / "keeper", tmp_path / "precious"
    precious.write_text("precious")
    if kind == "file":
        precious.rename(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(precious)
    with pytest.raises(OSError, match="is no socket"):
        bind(str(path))
    assert path.is_symlink() or path.is_dir() or path.read_text() == "precious"
    assert kind == "file" or precious.read_text() == "precious"
