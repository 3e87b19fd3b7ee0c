"""As whom children of a real daemon run, from START to /proc: with many others about, over its death, and refused."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from netdaemon.errors import BadRequest, LaunchFailed, NoSuchProcess, Refusal
from netdaemon.keeper.child import LaunchError, Spec
from netdaemon.keeper.whom import Whom
from netdaemon.process.kept import KeptLauncher
from netdaemon.testing import MemoryReactor
from netdaemon.wire.commands import Again, Change, Inspect, Start
from netdaemon.wire.records import Pty
from netdaemon.wire.whom import Profile, RunAs, Sandbox
from tests.faults.wire import Wire, eventually
from tests.process.launchers import seen
from tests.support import RunningDaemon
from tests.survive.world import world

CLIENTS, CHILDREN = 100, 50
WHO = RunAs(user="1234", group="1235", groups=("7",), umask=0o27, nice=15)

as_others = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run children as others")


@pytest.fixture
def wire(daemon: RunningDaemon) -> Iterator[Wire]:
    made = Wire(daemon.path)
    yield made
    made.close()


def started(wire: Wire, *argv: str, **options: Any) -> Any:
    """Its record."""
    reply = wire.ask(Start(argv=argv or ("cat",), env=("PATH=/usr/bin:/bin",), **options))
    assert not isinstance(reply, Refusal), reply.message
    return reply.process


def is_whom(pid: int) -> bool:
    found = seen(pid)
    return (
        (found["uid"], found["gid"], found["groups"]) == ((1234,) * 4, (1235,) * 4, (7,))
        and found["CapEff"] == found["CapPrm"] == 0
        and (found["umask"], found["nice"], found["descriptors"]) == (0o27, 15, [0, 1, 2])
        and found["limits"]["Max open files"] == ("64", "128")
    )


@as_others
def test_descriptors_with_many_about(daemon: RunningDaemon, wire: Wire) -> None:
    """Exactly 0, 1 and 2, of whatever kind the child is; and who it is in between."""
    clients = [Wire(daemon.path) for _ in range(CLIENTS)]
    try:
        for number in range(CHILDREN):
            options: dict[str, Any] = {"pty": Pty(rows=24, columns=80)} if number % 2 else {}
            if number % 3:
                options.update(run_as=WHO, limits=("nofile=64:128",))
            one = started(clients[number], **options)
            eventually(lambda pid=one.pid: os.listdir(f"/proc/{pid}/fd") == ["0", "1", "2"])
            if number % 3:
                eventually(lambda pid=one.pid: is_whom(pid))
                told = wire.ask(Inspect(process=one.id)).process
                assert (told.uid, told.gid) == (1234, 1235)
    finally:
        for client in clients:
            client.close()


@as_others
def test_it_is_who_it_was_when_it_is_started_again(wire: Wire) -> None:
    one = started(wire, run_as=WHO, limits=("nofile=64:128",), name="again")
    eventually(lambda: is_whom(one.pid))
    again = wire.ask(Again(process="again")).process
    assert again.pid != one.pid
    eventually(lambda: is_whom(again.pid))
    # And from then on another.
    wire.ask(Change(process="again", run_as=RunAs(user="1300", group="1301", groups=())))
    last = wire.ask(Again(process="again")).process
    eventually(lambda: seen(last.pid)["uid"] == (1300,) * 4)
    assert seen(last.pid)["groups"] == ()


@as_others
def test_over_the_death_of_daemon_and_keeper() -> None:
    """Whoever starts it next has it be the same."""
    with world("--state=DIR/state") as daemon:
        wire = Wire(daemon.path)
        one = started(wire, run_as=WHO, limits=("nofile=64:128",), name="one")
        eventually(lambda: is_whom(one.pid))
        wire.close()
        daemon.kill()
        daemon.start()
        daemon.ready()
        assert is_whom(one.pid)
        keeper = daemon.kill_keeper()
        daemon.successor(keeper)
        assert is_whom(one.pid)
        wire = Wire(daemon.path)
        again = wire.ask(Again(process="one")).process
        eventually(lambda: is_whom(again.pid))
        another = started(wire, run_as=WHO, limits=("nofile=64:128",), pty=Pty(rows=24, columns=80))
        eventually(lambda: is_whom(another.pid))
        os.kill(again.pid, signal.SIGKILL)
        os.kill(another.pid, signal.SIGKILL)
        wire.close()


@pytest.mark.parametrize(
    ("options", "kind", "field", "stage", "number", "what"),
    [
        ({"run_as": RunAs(user="no-such-user")}, BadRequest, "run_as", None, None, "there is no user"),
        ({"run_as": RunAs(user="99999")}, BadRequest, "run_as", None, None, "uid 99999 has no entry"),
        ({"cgroup": ("memory.max=1",)}, LaunchFailed, None, "cgroup", errno.ENOTSUP, "start it with --cgroup"),
        ({"run_as": RunAs(chroot="/nowhere")}, LaunchFailed, None, "root", errno.ENOENT, "stage root"),
        (
            {"sandbox": Sandbox(profile=Profile.PRIVATE), "run_as": RunAs(capabilities=("kill",))},
            BadRequest,
            "sandbox",
            None,
            None,
            "capabilities",
        ),
    ],
)
def test_refused(
    options: dict[str, Any],
    kind: type[Refusal],
    field: str | None,
    stage: str | None,
    number: int | None,
    what: str,
    wire: Wire,
) -> None:
    """By its reason, and nothing is left of it: its name is free."""
    for _ in range(2):
        refused = wire.ask(Start(argv=("cat",), env=("PATH=/bin",), name="refused", **options))
        assert isinstance(refused, kind)
        assert (refused.field, refused.stage) == (field, stage)
        assert number is None or refused.errno == number
        assert what in refused.message
    assert isinstance(wire.ask(Inspect(process="refused")), NoSuchProcess)


# --- a keeper that knows of none of this -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [{"whom": Whom(umask=0)}, {"whom": Whom(uid=1, gid=1), "pty": (24, 80)}])
def test_an_older_keeper_is_not_asked(spec: dict[str, Any]) -> None:
    """What it would take for nothing is refused; all else it is asked for."""
    said: list[tuple[bytes, ...]] = []
    channel = SimpleNamespace(send=lambda *fields, **_: said.append(fields), waits=False, stalled=False)
    link: Any = SimpleNamespace(revision=4, pid=17, channel=channel, instance="")
    launcher = KeptLauncher(MemoryReactor(), link)
    launcher.kept = True
    failures: list[Any] = []
    launcher.launch("p", Spec(path=b"cat", argv=(b"cat",), **spec), -1).addErrback(failures.append)
    (failure,) = failures
    assert failure.check(LaunchError)
    assert (failure.value.stage, failure.value.errno) == ("keeper", errno.ENOTSUP)
    assert "the keeper (pid 17) is of revision 4" in failure.value.why
    assert said == []
    spool = os.memfd_create("spool")
    launcher.launch("q", Spec(path=b"cat", argv=(b"cat",)), spool)
    assert [fields[0] for fields in said] == [b"spawn"]
    launcher.forget("q")
    os.close(spool)
