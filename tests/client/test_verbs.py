"""The verbs that need no attachment: what each sends, what it gives, what it refuses; the test is the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import netdaemon
from netdaemon.client.client import Client
from netdaemon.errors import (
    BadRequest,
    ConnectionClosed,
    Denied,
    LaunchFailed,
    LocalProtocolError,
    NetdaemonError,
    NotStopped,
    Refusal,
    WrongGeneration,
)
from netdaemon.wire.answers import Changed, Failure, OfProcess, Ok, Pruned, Reply, Started, Stopped
from netdaemon.wire.commands import Again, Change, Inspect, Prune, Reload, Request, Start, Stop
from netdaemon.wire.records import Pty
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Logged, Stats
from tests.client.support import lasting, record, result, stage

STEPS = (Step(stdin=b"quit\n"), Step(wait=5), Step(kill=True))

Ask = Callable[[Client], Deferred[Any]]

# What is asked, what is sent, what is answered, what that gives.
EACH: list[tuple[Ask, Request, Reply, object]] = [
    (lambda c: c.stop("n"), Stop(process="n"), Stopped(process=record()), Stopped(process=record())),
    (
        lambda c: c.stop("n", steps=list(STEPS), generation=2),
        Stop(process="n", steps=STEPS, generation=2),
        Stopped(process=record(), step="kill"),
        Stopped(process=record(), step="kill"),
    ),
    (lambda c: c.restart("n"), Again(process="n"), OfProcess(process=record()), record()),
    (lambda c: c.restart("n", generation=3), Again(process="n", generation=3), OfProcess(process=record()), record()),
    (
        lambda c: c.change("n", labels={"a": "b"}, restart="always", stop=STEPS),
        Change(process="n", labels=("a=b",), restart=Restart(policy=Policy.ALWAYS), stop=STEPS),
        Changed(process=record(), restart=True),
        Changed(process=record(), restart=True),
    ),
    (
        lambda c: c.change("n", [b"\xff"], whole=True, generation=1, env={"A": "b"}, pty=True, log=b"/l", name="m"),
        Change(
            process="n",
            argv=("\udcff",),
            whole=True,
            generation=1,
            env=("A=b",),
            pty=Pty(),
            log=Log(path="/l"),
            name="m",
        ),
        Changed(process=record()),
        Changed(process=record()),
    ),
    (lambda c: c.prune(), Prune(), Pruned(count=0), 0),
    (lambda c: c.prune("a=b", age=7), Prune(select=("a=b",), age=7), Pruned(count=2), 2),
    (lambda c: c.look("n"), Inspect(process="n"), OfProcess(process=record()), OfProcess(process=record())),
    (
        lambda c: c.look("n", stats=True),
        Inspect(process="n", stats=True),
        OfProcess(process=record(), stats=Stats(cpu=1), logged=Logged(size=2)),
        OfProcess(process=record(), stats=Stats(cpu=1), logged=Logged(size=2)),
    ),
    (lambda c: c.reload(), Reload(), Ok(), None),
]


@pytest.mark.parametrize(("ask", "request_", "reply", "gives"), EACH, ids=lambda one: type(one).__name__)
def test_each_verb(ask: Ask, request_: Request, reply: Reply, gives: object) -> None:
    s = stage()
    asking = ask(s.client)
    id, sent = s.request()
    assert sent == request_
    s.reply(id, reply)
    assert result(asking) == gives


@pytest.mark.parametrize(
    "refusal",
    [NotStopped("it runs on", process="p"), WrongGeneration("2"), LaunchFailed("no", stage="exec"), Denied("no")],
    ids=lambda refusal: type(refusal).__name__,
)
@pytest.mark.parametrize("ask", [one[0] for one in EACH])
def test_refusals_are_raised_by_class(ask: Ask, refusal: Refusal) -> None:
    s = stage()
    asking = ask(s.client)
    id, _ = s.request()
    s.reply(id, Failure.of(refusal))
    with pytest.raises(type(refusal)) as caught:
        result(asking)
    assert (caught.value.process, caught.value.stage) == (refusal.process, refusal.stage)


def test_start_declares_the_rest() -> None:
    s = stage()
    restart = Restart(policy=Policy.ON_FAILURE, codes=(0, 2), burst=3)
    s.client.start(
        ["x"], stop=STEPS, restart=restart, ready=Ready(notify=True), watchdog=2000, log=Log(path="/l", files=1)
    )
    _, request = s.request()
    assert request == Start(
        argv=("x",),
        attach=True,
        stop=STEPS,
        restart=restart,
        ready=Ready(notify=True),
        watchdog=2000,
        log=Log(path="/l", files=1),
    )


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda c: c.stop("n", steps=[]), BadRequest),
        (lambda c: c.stop("n", steps=[Step(wait=1)]), BadRequest),
        (lambda c: c.change("n", whole=True), BadRequest),
        (lambda c: c.change("n", watchdog=1), BadRequest),
        (lambda c: c.change("n", log="relative"), BadRequest),
        (lambda c: c.prune(age=-1), BadRequest),
    ],
)
def test_what_cannot_be_said_is_an_errback_and_not_sent(ask: Ask, error: type[NetdaemonError]) -> None:
    s = stage()
    with pytest.raises(error):
        result(ask(s.client))
    assert s.requests() == []


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda c: c.start(["x"], nmae="y"), TypeError),
        (lambda c: c.change("n", nmae="y"), TypeError),
        (lambda c: c.change("n", "x"), TypeError),
        (lambda c: c.stop("n", steps=["TERM"]), TypeError),
        (lambda c: c.start(["x"], restart="sometimes"), ValueError),
    ],
)
def test_what_is_wrong_by_its_type_is_raised_at_once(ask: Ask, error: type[Exception]) -> None:
    s = stage()
    with pytest.raises(error):
        ask(s.client)
    assert s.requests() == []


@pytest.mark.parametrize("ask", [lambda c: c.stop("n"), lambda c: c.watch(), lambda c: c.reload()])
def test_version_1_cannot_say_it(ask: Ask) -> None:
    s = stage(version=1)
    with pytest.raises(LocalProtocolError):
        result(ask(s.client))
    assert s.requests() == []


# --- a lost connection ---


@pytest.mark.parametrize(("ask", "request_", "reply", "gives"), EACH, ids=lambda one: type(one).__name__)
def test_what_is_asked_again(ask: Ask, request_: Request, reply: Reply, gives: object) -> None:
    """All of them but a RESTART of whatever runs then."""
    s = lasting()
    asking = ask(s.client)
    s.request()
    s.lose_and_wait()
    if request_ == Again(process="n"):
        assert s.requests() == []
        with pytest.raises(ConnectionClosed):
            result(asking)
        return
    id, sent = s.request()
    assert sent == request_
    s.reply(id, reply)
    assert result(asking) == gives


def test_all_that_is_exported_is_there() -> None:
    """By the module that has it."""
    for name in ("Step", "Restart", "Policy", "Ready", "Log", "Happened", "Happening", "Stats", "Stopped", "Watch"):
        assert getattr(netdaemon, name).__name__ == name
    assert netdaemon.State.BACKOFF.value == "backoff"
    assert {"Step", "Watch", "State"} <= set(dir(netdaemon))


def test_a_process_that_is_at_hand_will_do_for_its_id() -> None:
    s = stage()
    starting = s.client.start(["x"], attach=False)
    id, _ = s.request()
    s.reply(id, Started(process=record()))
    s.client.stop(result(starting))
    assert s.request()[1] == Stop(process="p1")
