"""Where the socket is by default, and which places are not taken for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netdaemon import defaults


def test_the_environment_names_the_socket() -> None:
    environ = {"NETDAEMON_SOCKET": "/x/y", "XDG_RUNTIME_DIR": "/tmp"}
    assert defaults.named_socket(environ) == "/x/y"
    assert defaults.socket_path(environ) == "/x/y"
    assert defaults.named_socket({"NETDAEMON_SOCKET": ""}) is None


def test_the_runtime_directory(tmp_path: Path) -> None:
    assert defaults.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"{tmp_path}/netdaemon/netdaemon.sock"


@pytest.mark.parametrize(("uid", "path"), [(0, "/run/netdaemon"), (1234, "/tmp/netdaemon-1234")])
def test_without_one_it_depends_on_the_user(monkeypatch: pytest.MonkeyPatch, uid: int, path: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    for runtime in (
        {},
        {"XDG_RUNTIME_DIR": ""},
        {"XDG_RUNTIME_DIR": "relative"},
        {"XDG_RUNTIME_DIR": "/nowhere/at/all"},
    ):
        assert defaults.default_socket(runtime) == f"{path}/netdaemon.sock"


def test_somebody_elses_runtime_directory_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert (
        defaults.default_socket({"XDG_RUNTIME_DIR": str(tmp_path)})
        == f"/tmp/netdaemon-{os.getuid() + 1}/netdaemon.sock"
    )


def test_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    place = tmp_path / "netdaemon"
    before = os.umask(0o777)
    os.umask(0)
    try:
        defaults.make_directory(str(place))
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o700
    # And again, when it is there.
    defaults.make_directory(str(place))


def test_places_that_are_not_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    with pytest.raises(FileNotFoundError):
        defaults.check_directory(str(place))
    place.mkdir(mode=0o700)
    defaults.check_directory(str(place))
    link = tmp_path / "link"
    link.symlink_to(place)
    file = tmp_path / "file"
    file.touch()
    for bad, why in ((link, "symbolic link"), (file, "no directory")):
        with pytest.raises(PermissionError, match=why):
            defaults.check_directory(str(bad))
        with pytest.raises(PermissionError, match=why):
            defaults.make_directory(str(bad))
    for mode in (0o720, 0o702, 0o1777):
        place.chmod(mode)
        with pytest.raises(PermissionError, match=f"{mode:04o}"):
            defaults.check_directory(str(place))
    place.chmod(0o755)
    defaults.check_directory(str(place))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="belongs to uid"):
        defaults.check_directory(str(place))
