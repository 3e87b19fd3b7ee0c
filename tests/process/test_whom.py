"""A child has exactly the identity and the limits that were asked for, by both launchers; or there is none."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.keeper.whom import Whom
from netdaemon.wire.whom import CAPABILITIES, ID_MAX, LIMITS
from tests.process.launchers import NOBODY, WAYS, Launching, jail, launching, seen, status
from tests.support import PATIENCE, readable

# Supplementary groups of the daemon that no child is to have unless it is so declared.
OURS = (4, 24, 1001)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run children as others")


def bits(*names: str) -> int:
    return sum(1 << CAPABILITIES.index(name) for name in names)


@pytest.fixture(scope="module", autouse=True)
def _groups() -> Iterator[None]:
    before = os.getgroups()
    os.setgroups(OURS)
    yield
    os.setgroups(before)


@pytest.fixture(scope="module")
def open_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that everybody can enter, unlike pytest's own."""
    place = Path(f"/tmp/nd-whom-{token_hex(4)}")
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    yield place
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    place.rmdir()


@pytest.fixture(scope="module")
def root(open_place: Path) -> Path:
    place = open_place / "root"
    place.mkdir()
    (place / "in").mkdir(mode=0o755)
    return jail(place, "/bin/cat")


@pytest.fixture(scope="module", params=WAYS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    with launching(request.param, tmp_path_factory.mktemp("keeper")) as made:
        yield made


FULL = int(status("self")["CapBnd"], 16)
HAS = int(status("self")["CapPrm"], 16)

# What a child is if nothing is said of it.
USUAL: dict[str, Any] = {
    "uid": (0,) * 4,
    "gid": (0,) * 4,
    "groups": OURS,
    "CapInh": 0,
    "CapPrm": HAS,
    "CapEff": HAS,
    "CapBnd": FULL,
    "CapAmb": 0,
    "no_new_privs": False,
    "blocked": 0,
    "ignored": 0,
    "umask": 0o22,
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
    "cwd": "/",
    "root": "/",
    "descriptors": [0, 1, 2],
}

NOBODYS = {"uid": (1234,) * 4, "gid": (1235,) * 4, "groups": (), "CapPrm": 0, "CapEff": 0}
KEPT = bits("net_bind_service", "kill")


def sets(wanted: int) -> dict[str, int]:
    return dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), wanted)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "user": ({"uid": 1234, "gid": 1235}, NOBODYS),
    "supplementary groups": (
        {"uid": 1234, "gid": 1235, "groups": (7, 4, 70000)},
        {**NOBODYS, "groups": (4, 7, 70000)},
    ),
    "root, without our groups": ({"uid": 0, "gid": 0}, {"groups": ()}),
    "a group": ({"uid": 0, "gid": 50}, {"gid": (50,) * 4, "groups": ()}),
    "groups": ({"uid": 0, "gid": 0, "groups": (8, 9)}, {"groups": (8, 9)}),
    "umask": ({"umask": 0o27}, {"umask": 0o27}),
    "umask 0": ({"umask": 0}, {"umask": 0}),
    "nice": ({"nice": 17}, {"nice": 17}),
    "less nice, as somebody": ({"uid": 1234, "gid": 1235, "nice": -3}, {**NOBODYS, "nice": -3}),
    "first to go": ({"oom_score_adj": 300}, {"oom_score_adj": 300}),
    "no new privileges": ({"no_new_privs": True}, {"no_new_privs": True}),
    "no new privileges, as somebody": (
        {"uid": 1234, "gid": 1235, "no_new_privs": True},
        {**NOBODYS, "no_new_privs": True},
    ),
    "capabilities": ({"uid": 1234, "gid": 1235, "capabilities": KEPT}, {**NOBODYS, **sets(KEPT)}),
    "the way back, by wish": (
        {"uid": 1234, "gid": 1235, "capabilities": bits("setuid", "setpcap")},
        {**NOBODYS, **sets(bits("setuid", "setpcap"))},
    ),
    "no capabilities, as somebody": ({"uid": 1234, "gid": 1235, "capabilities": 0}, {**NOBODYS, **sets(0)}),
    "no capabilities, as root": ({"capabilities": 0}, sets(0)),
    "one capability, as root": (
        {"uid": 0, "gid": 0, "capabilities": bits("checkpoint_restore")},
        {"groups": (), **sets(bits("checkpoint_restore"))},
    ),
    "a root": ({"root": True}, {"root": True}),
    "a root, as somebody": (
        {"uid": 1234, "gid": 1235, "root": True, "cwd": b"/in"},
        {**NOBODYS, "root": True, "cwd": "/in"},
    ),
    "everything": (
        {
            **{"uid": 1234, "gid": 1235, "groups": (1001,), "root": True, "cwd": b"/in", "capabilities": KEPT},
            **{"umask": 0o77, "nice": 3, "oom_score_adj": 900, "no_new_privs": True},
            "rlimits": ((resource.RLIMIT_NOFILE, 10, 20),),
        },
        {
            **{**NOBODYS, **sets(KEPT), "groups": (1001,), "root": True, "cwd": "/in"},
            **{"umask": 0o77, "nice": 3, "oom_score_adj": 900, "no_new_privs": True},
        },
    ),
}


@pytest.mark.parametrize("pty", [None, (24, 80)], ids=["pipes", "terminal"])
@pytest.mark.parametrize("name", CASES)
def test_exactly_as_asked_for(name: str, pty: tuple[int, int] | None, started: Launching, root: Path) -> None:
    """Equal in all that there is to it, what was not asked for included."""
    asked, more = CASES[name]
    asked = dict(asked)
    cwd = asked.pop("cwd", b"/")
    inside = str(root)
    if "root" in asked:
        asked["root"] = os.fsencode(root)
    launched = started.launch("/bin/cat", whom=Whom(**asked), cwd=cwd, pty=pty)
    os.write(launched.stdin, b"loaded\n")
    told = b""
    # A terminal says it once itself.
    while told.count(b"loaded") < (2 if pty else 1):
        assert readable(launched.stdout, PATIENCE)
        told += os.read(launched.stdout, 1000)
    found = seen(launched.pid)
    # The C library's own, which the keeper has ignored since it was spawned.
    found["ignored"] &= ~(1 << 31 | 1 << 32)
    wanted = {**USUAL, **more}
    if wanted["root"] is True:
        wanted["root"], wanted["cwd"] = inside, inside + wanted["cwd"].rstrip("/")
    limits = found.pop("limits")
    assert found == wanted
    if "rlimits" in asked:
        assert limits["Max open files"] == ("10", "20")
    started.let_go(launched)


def test_every_limit(started: Launching) -> None:
    """Soft and hard, each for itself; what is not said is as the daemon has it."""
    names = {
        "cpu": "Max cpu time",
        "fsize": "Max file size",
        "data": "Max data size",
        "stack": "Max stack size",
        "core": "Max core file size",
        "rss": "Max resident set",
        "nproc": "Max processes",
        "nofile": "Max open files",
        "memlock": "Max locked memory",
        "as": "Max address space",
        "locks": "Max file locks",
        "sigpending": "Max pending signals",
        "msgqueue": "Max msgqueue size",
        "nice": "Max nice priority",
        "rtprio": "Max realtime priority",
    }
    assert names.keys() == LIMITS.keys()
    before = seen(started.launch("/bin/cat", whom=Whom(umask=0)).pid)["limits"]
    for name, number in LIMITS.items():
        hard = resource.getrlimit(number)[1]
        high = 1 << 33 if hard < 0 else hard
        for pair in ((high // 2, high), (min(high, 1 << 23), min(high, 1 << 23))):
            launched = started.launch("/bin/cat", whom=Whom(uid=1234, gid=1235, rlimits=((number, *pair),)))
            assert seen(launched.pid)["limits"] == {**before, names[name]: tuple(map(str, pair))}
            started.let_go(launched)


@pytest.mark.parametrize("size", [1 << 14, 1 << 20, 3 << 20, 8 << 20, 16 << 20])
def test_less_memory_than_we_need_ourselves(size: int, started: Launching) -> None:
    """It is the program's limit, and the program is what is short of it."""
    for number in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        whom = Whom(uid=1234, gid=1235, rlimits=((number, size, size),))
        launched = started.launch("/bin/true", whom=whom)
        started.let_go(launched)


def test_no_descriptors_at_all(started: Launching) -> None:
    """A limit of none is no reason for it not to be executed, if it needs none."""
    launched = started.launch("/bin/true", whom=Whom(uid=1234, gid=1235, rlimits=((resource.RLIMIT_NOFILE, 0, 0),)))
    started.let_go(launched)


@pytest.mark.parametrize("number", [0, 1, 65534, 65535, 65536, (1 << 31) - 1, 1 << 31, ID_MAX])
def test_numbers_of_users_and_groups(number: int, started: Launching) -> None:
    """All that the kernel has are taken as they are."""
    launched = started.launch("/bin/cat", whom=Whom(uid=number, gid=number, groups=(number,)))
    found = seen(launched.pid)
    assert (found["uid"], found["gid"], found["groups"]) == ((number,) * 4, (number,) * 4, (number,))
    assert (found["CapEff"] == 0) == (number != 0)
    started.let_go(launched)


def test_as_many_groups_as_there_can_be(started: Launching) -> None:
    groups = tuple(range(100_000, 100_000 + 65536))
    launched = started.launch("/bin/cat", whom=Whom(uid=1234, gid=1235, groups=groups))
    assert seen(launched.pid)["groups"] == groups
    started.let_go(launched)


@pytest.mark.parametrize(
    ("asked", "rest", "stage", "number"),
    [
        ({"root": b"/nowhere"}, {}, "root", errno.ENOENT),
        ({"root": b"/etc/passwd"}, {}, "root", errno.ENOTDIR),
        ({"root": b"/usr/../etc"}, {}, "root", errno.EINVAL),
        ({"root": b"LINK"}, {}, "root", errno.ENOTDIR),
        ({"root": b"LINK/in"}, {}, "root", errno.ENOTDIR),
        ({"root": b"ROOT"}, {"cwd": b"/usr"}, "cwd", errno.ENOENT),
        ({"root": b"ROOT"}, {"path": b"true"}, "exec", errno.ENOENT),
        ({"uid": 1234, "gid": 1235}, {"cwd": b"CLOSED"}, "cwd", errno.EACCES),
        ({"uid": 1234, "gid": 1235}, {"path": b"CLOSED/cat"}, "exec", errno.EACCES),
        ({"rlimits": ((7, 1 << 40, 1 << 40),)}, {}, "limits", errno.EPERM),
        ({"uid": 1234, "gid": 1235, "capabilities": 1 << 62}, {}, "capabilities", errno.EINVAL),
    ],
)
def test_or_there_is_none(
    asked: dict[str, Any],
    rest: dict[str, Any],
    stage: str,
    number: int,
    started: Launching,
    root: Path,
    open_place: Path,
) -> None:
    """The stage, and why; and nothing is left open."""
    link, closed = open_place / "link", open_place / "closed"
    if not closed.exists():
        closed.mkdir()
        (closed / "cat").symlink_to("/bin/cat")
        closed.chmod(0o700)
        link.symlink_to(root)
    places = {b"ROOT": root, b"LINK": link, b"CLOSED": closed}

    def placed(value: Any) -> Any:
        for word, path in places.items():
            if isinstance(value, bytes):
                value = value.replace(word, os.fsencode(path))
        return value

    before = len(os.listdir("/proc/self/fd"))
    rest = {name: placed(value) for name, value in rest.items()}
    for pty in (None, (24, 80)):
        whom = Whom(**{name: placed(value) for name, value in asked.items()})
        assert started.refusal("/bin/cat", whom=whom, pty=pty, **rest) == (stage, number)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_this_machine_does_not_have(started: Launching) -> None:
    """A capability that we have not cannot be given, nor what it takes."""
    missing = [one for one in range(len(CAPABILITIES)) if not HAS >> one & 1]
    if not missing:
        pytest.skip("this machine's root has all capabilities")
    whom = Whom(uid=1234, gid=1235, capabilities=1 << missing[0])
    assert started.refusal("/bin/cat", whom=whom) == ("capabilities", errno.EPERM)
    if CAPABILITIES.index("sys_resource") in missing:
        assert started.refusal("/bin/cat", whom=Whom(oom_score_adj=-500)) == ("oom", errno.EACCES)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
        assert started.refusal("/bin/cat", whom=Whom(rlimits=((7, hard, hard),))) == ("limits", errno.EPERM)


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/dev/fd/2", "/dev/tty"])
def test_its_streams_are_its_own(target: str, started: Launching) -> None:
    """What it was given it can open again by name."""
    pty = (24, 80) if target == "/dev/tty" else None
    for terminal in (pty, (24, 80)):
        launched = started.launch(
            "sh", "-c", f"echo there > {target}; cat < /dev/stdin", whom=NOBODY, merge=terminal is None, pty=terminal
        )
        os.write(launched.stdin, b"\x04" if terminal else b"read\n")
        if not terminal:
            os.close(launched.stdin)
            launched.stdin = -1
            started.launcher.withdraw(launched, "stdin", at_once=True)
        told = started.output(launched).replace(b"\r", b"").replace(b"^D\b\b", b"")
        assert told == (b"there\n" if terminal else b"there\nread\n")
        started.let_go(launched)


def test_the_terminal_is_as_after_a_login(started: Launching) -> None:
    launched = started.launch("cat", whom=NOBODY, pty=(24, 80))
    found = os.stat(f"/proc/{launched.pid}/fd/0")
    assert (found.st_uid, found.st_mode & 0o777) == (1234, 0o620)
    started.let_go(launched)


numbers = st.none() | st.integers(0, 1 << 31)


@given(
    st.builds(
        Whom,
        uid=st.integers(0, ID_MAX),
        gid=st.integers(0, ID_MAX),
        groups=st.lists(st.integers(0, ID_MAX), max_size=5).map(tuple),
        umask=numbers,
        root=st.none() | st.binary(min_size=1, max_size=20),
        rlimits=st.lists(st.tuples(st.integers(0, 15), st.integers(-1, 1 << 62), st.integers(-1, 1 << 62))).map(tuple),
        nice=st.none() | st.integers(-20, 19),
        oom_score_adj=st.none() | st.integers(-1000, 1000),
        no_new_privs=st.booleans(),
        capabilities=st.none() | st.integers(0, 1 << 41),
    )
)
def test_over_the_wire(whom: Whom) -> None:
    """What a keeper is told is what it was told, each of them."""
    again = Whom.unpack(whom.pack())
    assert [getattr(again, name) for name in Whom.__slots__] == [getattr(whom, name) for name in Whom.__slots__]


@pytest.mark.parametrize("octets", [b"", b"\1", b"\0\0\0\0", b"\1\0\0\0x" * 8])
def test_no_such_thing(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"whom: |invalid literal|not enough values|too many values"):
        Whom.unpack(octets)


def test_nobody_over_the_wire() -> None:
    again = Whom.unpack(Whom(umask=0).pack())
    assert (again.uid, again.gid, again.groups, again.umask) == (None, 0, (), 0)
