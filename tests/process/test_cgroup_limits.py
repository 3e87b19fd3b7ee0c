"""What a control group is to have it has before there is a child in it; or there is no child, and it is said why."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from netdaemon.keeper.child import LaunchError
from netdaemon.process.cgroups import Cgroups
from netdaemon.wire.whom import CGROUP, parse_cgroup
from tests.process.launchers import WAYS, launching
from tests.process.test_cgroups import groups  # noqa: F401

FILES = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "pids.max": "max",
}


def directory(path: Path, available: str = "cpu memory pids", enabled: str = "cpu memory pids") -> Path:
    """One that looks like a directory of cgroup2 to somebody who reads and writes files."""
    (path / "cgroup.controllers").write_text(available + "\n")
    (path / "cgroup.subtree_control").write_text(enabled + "\n")
    return path


def group(path: Path, id: str) -> Path:
    """As the kernel makes it."""
    made = path / id
    made.mkdir()
    for name, usual in FILES.items():
        (made / name).write_text(usual)
    (made / "cgroup.procs").write_text("")
    return made


def content(path: Path) -> dict[str, str]:
    return {name: (path / name).read_text() for name in FILES}


def test_every_setting_there_is() -> None:
    assert FILES.keys() == CGROUP.keys()


def test_settings(tmp_path: Path) -> None:
    """As the kernel takes each."""
    made = group(directory(tmp_path), "p")
    for name in FILES:
        (made / name).write_text("")
    terms = ("memory.max=1048576", "cpu.max=50000", "pids.max=10", "cpu.weight=5", "memory.swap.max=0", "memory.high=9")
    Cgroups(str(tmp_path)).prepare("p", tuple(map(parse_cgroup, terms)))
    assert content(made) == {
        "memory.max": "1048576",
        "memory.high": "9",
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
        "cpu.weight": "5",
        "pids.max": "10",
    }


def test_what_is_not_declared_any_more_is_as_usual(tmp_path: Path) -> None:
    """A group goes from one generation to the next, what was set does not."""
    made = group(directory(tmp_path), "p")
    for name in FILES:
        (made / name).write_text("")
    Cgroups(str(tmp_path)).prepare("p", [("pids.max", "7")])
    assert content(made) == {**FILES, "pids.max": "7"}
    for name in FILES:
        (made / name).write_text("")
    Cgroups(str(tmp_path)).prepare("p", [])
    assert content(made) == FILES


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    Cgroups(str(directory(tmp_path))).prepare("p", [])
    assert not (tmp_path / "p").exists()


def test_a_controller_is_switched_on(tmp_path: Path) -> None:
    """Where the directory has it, and its groups have not."""
    group(directory(tmp_path, enabled=""), "p")
    Cgroups(str(tmp_path)).prepare("p", [("memory.max", "7")])
    assert (tmp_path / "cgroup.subtree_control").read_text().strip() == "+memory"


def test_a_controller_that_is_not_there(tmp_path: Path) -> None:
    """It is said which, and what there is."""
    directory(tmp_path, available="cpuset cpu io", enabled="cpu")
    with pytest.raises(OSError, match=r"'memory'.*controllers has cpuset cpu io.*subtree_control has cpu") as caught:
        Cgroups(str(tmp_path)).prepare("p", [("cpu.weight", "7"), ("memory.max", "7")])
    assert caught.value.errno == errno.ENOTSUP
    assert not (tmp_path / "p").exists()


def test_one_that_cannot_be_switched_on(tmp_path: Path) -> None:
    directory(tmp_path, enabled="")
    (tmp_path / "cgroup.subtree_control").unlink()
    (tmp_path / "cgroup.subtree_control").symlink_to("/proc/version")
    with pytest.raises(OSError, match="switching it on: ") as caught:
        Cgroups(str(tmp_path)).prepare("p", [("memory.max", "7")])
    assert caught.value.errno == errno.ENOTSUP


def test_a_setting_that_this_kernel_does_not_have(tmp_path: Path) -> None:
    made = group(directory(tmp_path), "p")
    (made / "memory.swap.max").unlink()
    made.chmod(0o500)
    with pytest.raises(OSError, match=r"no memory\.swap\.max") as caught:
        Cgroups(str(tmp_path)).prepare("p", [("memory.swap.max", "7")])
    assert caught.value.errno == errno.ENOTSUP


@pytest.mark.parametrize("way", WAYS)
def test_no_groups_at_all(way: str, tmp_path: Path) -> None:
    """A daemon without --cgroup says so."""
    with launching(way, tmp_path) as started:
        with pytest.raises(LaunchError, match="start it with --cgroup") as caught:
            started.launch("/bin/cat", cgroup=(("pids.max", "7"),))
        assert (caught.value.stage, caught.value.errno) == ("cgroup", errno.ENOTSUP)
        started.launch("/bin/cat")


@pytest.mark.parametrize("way", WAYS)
def test_a_real_group_without_the_controller(way: str, tmp_path: Path, groups: Cgroups) -> None:  # noqa: F811
    """No child, and no group is left of it."""
    if "memory" in Path(groups.directory, "cgroup.controllers").read_text().split():
        pytest.skip("cgroup2 has the controllers here")
    with launching(way, tmp_path) as started:
        started.launcher.cgroups = groups
        with pytest.raises(LaunchError, match="no controller 'memory'") as caught:
            started.launch("/bin/cat", cgroup=(("memory.max", "1000000"),))
        assert (caught.value.stage, caught.value.errno) == ("cgroup", errno.ENOTSUP)
        assert list(groups) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_real_group_with_its_limits(way: str, tmp_path: Path, groups: Cgroups) -> None:  # noqa: F811
    """They are the kernel's before the program runs, and it is held to them."""
    place = Path(groups.directory)
    if "pids" not in (place / "cgroup.controllers").read_text().split():
        pytest.skip("cgroup2 has no controllers here: they are of version 1, or not delegated")
    with launching(way, tmp_path) as started:
        started.launcher.cgroups = groups
        script = "echo $$; (true) && echo forked; (sleep 1 & sleep 1 & sleep 1 & wait) 2>/dev/null || echo held"
        launched = started.launch("sh", "-c", script, cgroup=(("pids.max", "2"),))
        assert (place / launched.id / "pids.max").read_text() == "2\n"
        assert b"forked" in started.output(launched)
        started.let_go(launched)
