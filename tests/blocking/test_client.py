"""The verbs of the client on a plain socket, against a daemon that the test plays with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from netdaemon import blocking
from netdaemon.blocking import RemoteProcess, process
from netdaemon.errors import BadRequest, Denied, NameTaken, NoSuchProcess, NotStopped, Refusal, WrongGeneration
from netdaemon.wire.answers import (
    Changed,
    DaemonInfo,
    End,
    Event,
    Listing,
    OfProcess,
    Ok,
    Pruned,
    Reply,
    Started,
    Stopped,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Detach,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
)
from netdaemon.wire.records import Fate, Pty, Reason, Scope, Until
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Logged, Stats
from tests.blocking.support import RECORD, attached, fake


def test_each_verb_sends_its_request_and_returns_what_the_reply_has() -> None:
    answers: dict[type[Request], Reply] = {
        Start: Started(process=RECORD),
        List: Listing(processes=(RECORD,)),
        Inspect: OfProcess(process=RECORD),
        Wait: OfProcess(process=RECORD),
        Info: DaemonInfo(version="1", instance="i", pid=1),
    }
    with fake(lambda request: answers.get(type(request), Ok())) as (client, daemon):
        assert client.welcome.server == "fake/1"
        options = {"name": "n", "env": {"A": "b=c"}, "labels": {"k": "v"}, "cwd": "/", "keep": 4096}
        assert client.start_detached(["cat", "-u"], **options) == RECORD  # type: ignore[arg-type]
        assert client.list("state=running") == [RECORD]
        assert client.inspect("n") == RECORD
        assert client.wait("n", Until.ENDED) == RECORD
        assert client.info().pid == 1
        client.kill("n", 15, scope=Scope.TREE, generation=3)
        client.remove("n", generation=2)
        client.shutdown(Fate.STOP)
    assert daemon.requests == [
        Start(argv=("cat", "-u"), name="n", env=("A=b=c",), labels=("k=v",), cwd="/", keep=4096),
        List(select=("state=running",)),
        Inspect(process="n"),
        Wait(process="n", for_=Until.ENDED),
        Info(),
        Kill(process="n", signal=15, scope=Scope.TREE, generation=3),
        Remove(process="n", generation=2),
        Shutdown(processes=Fate.STOP),
    ]


def test_pages_of_a_list_are_put_together() -> None:
    pages = {
        None: Listing(processes=(RECORD,), after="x"),
        "x": Listing(processes=(RECORD, RECORD), after="y"),
        "y": Listing(),
    }
    with fake(lambda request: pages[request.after]) as (client, _):  # type: ignore[attr-defined]
        assert client.list() == [RECORD] * 3


def test_what_is_done_to_an_attachment() -> None:
    answers: dict[type[Request], Reply] = {Attach: attached(offset=5, begin=1, end=9)}

    def after(request: Request) -> list[Event]:
        return [End(reason=Reason.DETACHED)] if isinstance(request, Detach) else []

    with fake(lambda request: answers.get(type(request), Ok()), after) as (client, daemon):
        remote = client.attach("n", from_=-4, channels=[1], hold=5, read_only=True)
        assert (remote.id, remote.attached.offset, remote.attached.begin, remote.attached.end) == ("bcdf", 5, 1, 9)
        remote.kill(9, scope=Scope.PROCESS)
        remote.resize(10, 20)
        remote.flow(True)
        remote.flow(False)
        remote.detach()
        assert list(remote) == [End(reason=Reason.DETACHED)]
        to = remote.attachment
    assert daemon.requests == [
        Attach(process="n", from_=-4, channels=(1,), hold=5, read_only=True),
        Kill(to=to, signal=9, scope=Scope.PROCESS),
        Resize(to=to, rows=10, columns=20),
        Flow(to=to, paused=True),
        Flow(to=to, paused=False),
        Detach(to=to),
    ]


def test_leaving_the_context_detaches() -> None:
    with (
        fake(lambda request: attached() if isinstance(request, Start) else Ok()) as (client, daemon),
        client.start(["cat"]),
    ):
        assert not daemon.asked(Detach)
    assert len(daemon.asked(Detach)) == 1


@pytest.mark.parametrize("refusal", [NoSuchProcess("no", process="x"), Denied("no"), NameTaken("taken", field="name")])
def test_a_refusal_is_raised_by_its_class_with_its_details(refusal: Refusal) -> None:
    with fake(lambda request: refusal) as (client, _):
        with pytest.raises(type(refusal)) as raised:
            client.inspect("x")
        assert (raised.value.process, raised.value.field) == (refusal.process, refusal.field)
        with pytest.raises(type(refusal)):
            client.attach("x")
        # The conversation goes on.
        with pytest.raises(type(refusal)):
            client.info()


def test_what_cannot_be_said_is_refused_here() -> None:
    with fake(lambda request: Ok()) as (client, daemon):
        with pytest.raises(BadRequest, match="argv is empty"):
            client.start([])
        with pytest.raises(BadRequest, match="name"):
            client.start_detached(["x"], name="no spaces")
    assert daemon.requests == []


def test_no_twisted_is_loaded() -> None:
    program = "import sys, netdaemon.blocking; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "netdaemon" in loaded
    assert not loaded & {"twisted", "zope", "click"}


def test_what_is_exported() -> None:
    assert RemoteProcess is process.RemoteProcess
    assert {"Client", "connect", "RemoteProcess"} <= set(blocking.__all__)


def test_what_there_is_not_is_a_type_error() -> None:
    """Before anything is sent: an option that is misspelt, an argv that is a string, an environment that is none."""
    with fake(lambda request: Started(process=RECORD)) as (client, daemon):
        for options in ({"nmae": "x"}, {"env": {"A": 1}}, {"ready": "listening"}, {"stop": ["TERM"]}):
            with pytest.raises(TypeError):
                client.start_detached(["/bin/true"], **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="list"):
            client.start_detached("/bin/true")
        with pytest.raises(ValueError, match="restart is 'sometimes'"):
            client.start_detached(["/bin/true"], restart="sometimes")
    assert daemon.requests == []


def test_managing_verbs_send_their_requests_and_return_what_the_reply_has() -> None:
    stats, logged = Stats(processes=2), Logged(offset=7)
    answers: dict[type[Request], Reply] = {
        Start: Started(process=RECORD),
        Stop: Stopped(process=RECORD, step="signal TERM"),
        Again: OfProcess(process=RECORD),
        Change: Changed(process=RECORD, restart=True),
        Prune: Pruned(count=3),
        Inspect: OfProcess(process=RECORD, stats=stats, logged=logged),
    }
    steps = (Step(stdin=b"quit\n"), Step(kill=True))
    with fake(lambda request: answers.get(type(request), Ok())) as (client, daemon):
        client.start_detached(
            [b"x"], stop=steps, restart="always", ready=Ready(output="up"), watchdog=1000, log="/l", pty=True
        )
        assert client.stop("n") == Stopped(process=RECORD, step="signal TERM")
        client.stop("n", steps=list(steps), generation=2)
        assert client.restart("n", generation=4) == RECORD
        assert client.change("n", labels={"a": "b"}, restart=Policy.NEVER).restart
        client.change("n", ["y"], whole=True, generation=1, log=Log(path="/m", files=1))
        assert client.prune("state=exited", age=5) == 3
        assert client.look("n", stats=True) == OfProcess(process=RECORD, stats=stats, logged=logged)
        client.look("n")
        client.reload()
    assert daemon.requests == [
        Start(
            argv=("x",),
            stop=steps,
            restart=Restart(policy=Policy.ALWAYS),
            ready=Ready(output="up"),
            watchdog=1000,
            log=Log(path="/l"),
            pty=Pty(),
        ),
        Stop(process="n"),
        Stop(process="n", steps=steps, generation=2),
        Again(process="n", generation=4),
        Change(process="n", labels=("a=b",), restart=Restart(policy=Policy.NEVER)),
        Change(process="n", argv=("y",), whole=True, generation=1, log=Log(path="/m", files=1)),
        Prune(select=("state=exited",), age=5),
        Inspect(process="n", stats=True),
        Inspect(process="n"),
        Reload(),
    ]


@pytest.mark.parametrize("refusal", [NotStopped("it runs"), WrongGeneration("2", process="x"), Denied("no")])
def test_a_refusal_of_a_managing_verb_is_raised_by_its_class(refusal: Refusal) -> None:
    with fake(lambda request: refusal) as (client, _):
        for ask in (
            lambda: client.stop("x"),
            lambda: client.restart("x"),
            lambda: client.change("x", name="y"),
            lambda: client.prune(),
            lambda: client.look("x"),
            lambda: client.reload(),
            lambda: client.watch(),
        ):
            with pytest.raises(type(refusal)):
                ask()
