"""The requests that each action takes, against a fake of whoever carries them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from netdaemon.apply import Action, Deed, Kind, Outcome, carry_out
from netdaemon.apply.carrying import change_of
from netdaemon.errors import ConnectionClosed, LaunchFailed, NetdaemonError, NoSuchProcess, NotStopped, WrongGeneration
from netdaemon.wire.answers import Changed, Message, OfProcess, Ok, Started, Stopped
from netdaemon.wire.commands import Again, Change, Remove, Request, Start, Stop
from netdaemon.wire.digest import meaning
from netdaemon.wire.records import Pty, State
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import ProcessRecord
from tests.apply.support import record_of

SPEC = Start(argv=("cat",), name="web", key="apply/s/web", keep=8192, stop=(Step(signal=2), Step(wait=70_000)))
RECORD = record_of(SPEC, generation=3)
AFTER = replace(RECORD, generation=4, state=State.RUNNING)
NO_PROCESS = NoSuchProcess("there is none")


def replies(request: Request) -> Message:
    """What a daemon answers if all is well."""
    if isinstance(request, Start):
        return Started(process=record_of(request, "new"))
    if isinstance(request, Stop):
        return Stopped(process=replace(RECORD, state=State.EXITED))
    if isinstance(request, Change):
        return Changed(process=RECORD)
    return OfProcess(process=AFTER) if isinstance(request, Again) else Ok()


def done(
    action: Action, answer: Callable[[Request], Message | NetdaemonError] = replies
) -> tuple[list[Deed], ProcessRecord | None]:
    """All that is asked for, and the end of it."""
    doing = carry_out(action)
    deeds: list[Deed] = []
    try:
        deed = next(doing)
        while True:
            deeds.append(deed)
            reply = answer(deed.request)
            deed = doing.throw(reply) if isinstance(reply, NetdaemonError) else doing.send(reply)
    except StopIteration as end:
        return deeds, end.value


def action(kind: Kind, **values: Any) -> Action:
    given = {"name": "web", "set": "s", "spec": SPEC, "record": RECORD} | values
    return Action(kind=kind, **given)


STOP = Stop(process="id-web")
REMOVE = Remove(process="id-web")
AGAIN = Again(process="id-web", generation=3)


@pytest.mark.parametrize(
    ("kind", "requests", "words", "end"),
    [
        (Kind.START, [SPEC], ["starting"], "new"),
        (Kind.REMOVE, [STOP, REMOVE], ["stopping", "removing"], None),
        (Kind.REPLACE, [STOP, REMOVE, SPEC], ["stopping", "removing", "starting"], "new"),
        (Kind.CHANGE, [change_of(SPEC, RECORD)], ["changing"], "id-web"),
        (Kind.CHANGE_AND_RESTART, [change_of(SPEC, RECORD), AGAIN], ["changing", "restarting"], "id-web"),
        (Kind.START_AGAIN, [AGAIN], ["restarting"], "id-web"),
        (Kind.LEAVE, [], [], "id-web"),
        (Kind.UNCHANGED, [], [], "id-web"),
    ],
)
def test_requests_and_end(kind: Kind, requests: list[Request], words: list[str], end: str | None) -> None:
    deeds, record = done(action(kind))
    assert [deed.request for deed in deeds] == requests
    assert [deed.doing for deed in deeds] == words
    assert (record and record.id) == end


def test_every_kind_is_tried_here() -> None:
    for kind in Kind:
        done(action(kind))


def test_a_stop_may_take_what_its_steps_take() -> None:
    waits = {
        type(deed.request): deed.wait for kind in (Kind.REPLACE, Kind.START_AGAIN) for deed in done(action(kind))[0]
    }
    assert waits == {Stop: 70_000, Remove: 0, Start: 0, Again: 70_000}
    deeds, _ = done(action(Kind.REMOVE, record=replace(RECORD, stop=None)))
    assert deeds[0].wait == 10_000


def test_a_change_says_all_that_the_spec_says() -> None:
    """And what it does not say becomes the default."""
    spec = Start(
        argv=("cat", "-u"),
        path="/bin/cat",
        env=("A=1",),
        cwd="/srv",
        name="web",
        key="k",
        labels=("a=b",),
        pty=Pty(),
        merge=True,
        stop=(Step(signal=2),),
        restart=Restart(policy=Policy.ALWAYS),
        ready=Ready(output="up"),
        watchdog=1000,
        log=Log(path="/x"),
    )
    change = change_of(spec, RECORD)
    assert change.whole
    assert meaning(change) == meaning(spec)


def test_what_was_started_anew_meanwhile_has_been_restarted() -> None:
    def answer(request: Request) -> Message | NetdaemonError:
        return WrongGeneration("it is 5") if isinstance(request, Again) else replies(request)

    assert done(action(Kind.CHANGE_AND_RESTART), answer)[1] == RECORD


@pytest.mark.parametrize("gone", [Stop, Remove])
def test_what_is_gone_need_not_be_removed(gone: type[Request]) -> None:
    def answer(request: Request) -> Message | NetdaemonError:
        return NO_PROCESS if isinstance(request, gone) else replies(request)

    assert done(action(Kind.REMOVE), answer)[1] is None
    deeds, record = done(action(Kind.REPLACE), answer)
    assert isinstance(deeds[-1].request, Start)
    assert record is not None
    assert record.id == "new"


@pytest.mark.parametrize(
    ("kind", "fails", "error"),
    [
        (Kind.START, Start, LaunchFailed("no such file", stage="exec", number=2)),
        (Kind.REMOVE, Stop, NotStopped("it still runs")),
        (Kind.REPLACE, Stop, NotStopped("it still runs")),
        (Kind.CHANGE, Change, NO_PROCESS),
        (Kind.CHANGE_AND_RESTART, Change, ConnectionClosed("gone")),
        (Kind.START_AGAIN, Again, LaunchFailed("no such file")),
    ],
)
def test_any_other_error_ends_it(kind: Kind, fails: type[Request], error: NetdaemonError) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Message | NetdaemonError:
        asked.append(request)
        return error if isinstance(request, fails) else replies(request)

    with pytest.raises(type(error)) as caught:
        done(action(kind), answer)
    assert caught.value is error
    assert isinstance(asked[-1], fails)


def test_an_outcome_for_programs() -> None:
    assert Outcome(action=action(Kind.START, record=None), record=AFTER).plain() == {
        "action": "start",
        "set": "s",
        "name": "web",
        "process": "id-web",
        "done": True,
    }
    assert Outcome(action=action(Kind.CHANGE), error=NO_PROCESS).plain()["done"] is False
