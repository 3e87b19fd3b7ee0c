"""G11: a request gets exactly one reply, whatever it is and whatever state things are in."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netdaemon.daemon.responders import RESPONDERS
from netdaemon.errors import InternalError, LaunchFailed, LocalProtocolError, Refusal
from netdaemon.keeper.child import LaunchError
from netdaemon.wire.answers import Attached, DaemonInfo, Event, Message
from netdaemon.wire.commands import (
    REQUESTS,
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Hello,
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
    Watch,
)
from netdaemon.wire.records import Until
from netdaemon.wire.specs import Policy, Ready, Restart
from tests.daemon.support import Bare, World, world
from tests.support import LONG, Logged
from tests.wire.strategies import V1_REQUESTS, messages_of

ASKABLE = [declaration for declaration in REQUESTS.values() if declaration is not Hello]


def come_to_an_end(w: World) -> None:
    """Every process exits and is removed: whatever was waited for has happened then."""
    for child in w.children:
        if child.status is None:
            child.exit(0)
        child.clean()
    w.daemon.settle()
    for _ in range(2):
        # What was to be started again has been.
        for process in list(w.daemon.service.table):
            process.life.interrupt()
        for child in w.children:
            if child.status is None:
                child.exit(0)
            child.clean()
        w.daemon.settle()
    for process in list(w.daemon.service.table):
        w.daemon.service.table.remove(process, "test")
    w.daemon.settle()


def replies(client: Bare, id: int) -> list[Message | Refusal]:
    """What came with that id and is no event."""
    return [message for other, message in client.got if other == id and not isinstance(message, Event)]


# --- a table of states -----------------------------------------------------------------------------------------------

# What makes the state, given a world and a client; the process and the attachment that the request is about.
State = Callable[[World, Bare], tuple[str, int]]


def nothing(w: World, client: Bare) -> tuple[str, int]:
    return "p1", 99


def running(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client)
    return process, id


def by_somebody_else(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(w.client())
    return process, id


def read_only(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client, read_only=True)
    return process, id


def in_a_terminal(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client, merge=True)
    return process, id


def after_eof(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client)
    w.ask(client, Data(to=id))
    return process, id


def deaf(w: World, client: Bare) -> tuple[str, int]:
    id, process, child = w.start(client)
    child.close(0)
    w.daemon.settle()
    return process, id


def mute(w: World, client: Bare) -> tuple[str, int]:
    id, process, child = w.start(client)
    child.close(1)
    child.close(2)
    w.daemon.settle()
    return process, id


def full(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client)
    for _ in range(100):
        w.ask(client, Data(to=id, payload=bytes(60_000)))
    return process, id


def detached(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client)
    w.ask(client, Detach(to=id))
    return process, id


def exited(w: World, client: Bare) -> tuple[str, int]:
    id, process, child = w.start(client)
    child.exit(3)
    w.daemon.settle()
    return process, id


def with_a_grandchild(w: World, client: Bare) -> tuple[str, int]:
    id, process, child = w.start(client)
    child.exit(3, leave_open=True)
    w.daemon.settle()
    return process, id


def removed(w: World, client: Bare) -> tuple[str, int]:
    process, id = exited(w, client)
    w.ask(client, Remove(process=process))
    return process, id


def stopping(w: World, client: Bare) -> tuple[str, int]:
    process, id = running(w, client)
    w.daemon.service.stopService()
    w.daemon.settle()
    return process, id


def in_backoff(w: World, client: Bare) -> tuple[str, int]:
    id, process, child = w.start(client, restart=Restart(policy=Policy.ALWAYS))
    child.exit(3)
    w.daemon.settle()
    return process, id


def getting_ready(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client, ready=Ready(output="listening"))
    return process, id


def being_stopped(w: World, client: Bare) -> tuple[str, int]:
    id, process, _ = w.start(client)
    w.post(client, Stop(process=process))
    return process, id


def watching(w: World, client: Bare) -> tuple[str, int]:
    process, _ = running(w, client)
    return process, w.ask(client, Watch())[0]


STATES: list[State] = [
    nothing,
    in_backoff,
    getting_ready,
    being_stopped,
    watching,
    running,
    by_somebody_else,
    read_only,
    in_a_terminal,
    after_eof,
    deaf,
    mute,
    full,
    detached,
    exited,
    with_a_grandchild,
    removed,
    stopping,
]


def about(declaration: type[Request], process: str, to: int) -> list[Request]:
    """Requests of one kind about a process and an attachment."""
    made: dict[type[Request], list[Request]] = {
        Start: [Start(argv=("x",)), Start(argv=("x",), attach=True), Start(argv=("x",), attach=True, from_=-5)],
        Attach: [Attach(process=process), Attach(process=process, from_=-10), Attach(process=process, from_=1 << 40)],
        List: [List(), List(select=(process,)), List(select=("state=exited",)), List(after=process)],
        Detach: [Detach(to=to)],
        Inspect: [Inspect(process=process), Inspect(process=process, stats=True)],
        Remove: [Remove(process=process), Remove(process=process, generation=7)],
        Wait: [Wait(process=process), *(Wait(process=process, for_=until) for until in Until)],
        Data: [
            Data(to=to, payload=b"x"),
            Data(to=to),
            Data(to=to, at=1 << 40, payload=b"x"),
            Data(to=to, channel=1),
            Data(to=to, channel=2, payload=b"x"),
            Data(to=to, channel=9),
        ],
        Kill: [
            Kill(process=process, signal=15),
            Kill(to=to, signal=0),
            Kill(process=process, signal=9, generation=7),
        ],
        Stop: [Stop(process=process), Stop(process=process, generation=7), Stop(process=process)],
        Again: [Again(process=process), Again(process=process, generation=7), Again(process=process)],
        Watch: [Watch(), Watch(since="x-1", select=("state=running",))],
        Change: [
            Change(process=process, labels=("a=b",)),
            Change(process=process, generation=7),
            Change(process=process, argv=("y",), whole=True),
        ],
        Prune: [Prune(), Prune(select=("state=exited",), age=1000)],
        Reload: [Reload()],
        Resize: [Resize(to=to, rows=1, columns=1)],
        Flow: [Flow(to=to, paused=True), Flow(to=to, paused=False)],
        Info: [Info()],
        Shutdown: [Shutdown()],
    }
    return made[declaration]


@pytest.mark.parametrize("declaration", ASKABLE)
@pytest.mark.parametrize("state", STATES)
def test_every_command_in_every_state(state: State, declaration: type[Request]) -> None:
    """One reply, and the connection goes on; a WAIT may take until the end, and is answered then."""
    with world() as w:
        client = w.client()
        process, to = state(w, client)
        asked = [w.post(client, request) for request in about(declaration, process, to)]
        come_to_an_end(w)
        for id in asked:
            (reply,) = replies(client, id)
            assert isinstance(reply, (Refusal, *declaration.replies))
            assert not isinstance(reply, InternalError)
        if state is not stopping:
            assert not client.lost
            assert replies(client, w.post(client, Info()))


@pytest.mark.parametrize("declaration", ASKABLE)
def test_a_responder_that_fails(declaration: type[Request], monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """G5: whichever it is, its sender gets an internal error, and everything goes on."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with world() as w:
        client = w.client()
        process, to = running(w, client)
        monkeypatch.setitem(RESPONDERS, declaration, broken)
        requests = about(declaration, process, to)
        for request in requests:
            (reply,) = replies(client, w.post(client, request))
            assert isinstance(reply, InternalError)
        assert len(logged.flush(ZeroDivisionError)) == len(requests)
        monkeypatch.undo()
        assert not client.lost
        assert isinstance(replies(client, w.post(client, Attach(process=process)))[0], Attached)


def test_an_answer_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """It is told that there is one, and what was asked is not left open."""
    with world() as w:
        client = w.client()
        monkeypatch.setitem(RESPONDERS, Info, lambda *_: DaemonInfo(version="\udc80", instance="", pid=1))
        (reply,) = replies(client, w.post(client, Info()))
        assert isinstance(reply, InternalError)
        assert len(logged.flush(LocalProtocolError)) == 1


def test_a_program_whose_name_is_no_text() -> None:
    """Its refusal quotes what can be quoted."""
    with world() as w:
        client = w.client()
        w.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
        (reply,) = replies(client, w.post(client, Start(argv=("\udc80",))))
        assert isinstance(reply, LaunchFailed)
        assert reply.message.startswith("\\x80: ")


# --- anything, in any order ------------------------------------------------------------------------------------------

# What happens besides requests.
HAPPENINGS = ["write", "write to stderr", "close", "exit", "killed", "leave", "second", "refuse the next start"]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 1), st.one_of([messages_of(one) for one in ASKABLE]), st.integers(0, 5)),
        st.tuples(st.sampled_from(HAPPENINGS), st.none(), st.integers(0, 5)),
    ),
    max_size=25,
)


def aimed(request: Request, where: int, processes: list[str], attachments: list[int]) -> Request:
    """The same about something that there is, most of the time."""
    changes: dict[str, Any] = {}
    if getattr(request, "process", None) is not None and where < len(processes):
        changes["process"] = processes[where]
    if getattr(request, "to", None) is not None and where < len(attachments):
        changes["to"] = attachments[where]
    return dataclasses.replace(request, **changes) if changes else request


def happen(w: World, what: str, which: int) -> None:
    """Something that no client asked for."""
    if what == "second":
        w.reactor.advance(1)
    elif what == "refuse the next start":
        w.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
    elif which < len(w.children) and w.children[which].status is None:
        child = w.children[which]
        try:
            if what == "write":
                child.write(b"x" * 5000)
            elif what == "write to stderr":
                child.write(b"y" * 50, 2)
            elif what == "close":
                child.close(which % 3)
            else:
                child.exit(1, signal=9 if what == "killed" else None, leave_open=what == "leave")
        except (OSError, KeyError):
            # Full, or closed already.
            pass
    w.daemon.settle()


@settings(deadline=None, max_examples=400 if LONG else 60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_anything_in_any_order(steps: list[tuple[Any, Request | None, int]]) -> None:
    """Two clients, any requests, children that do anything: exactly one reply each, of a kind that the request has."""
    with world() as w:
        clients = [w.client(), w.client()]
        asked: list[list[tuple[int, Request]]] = [[], []]
        for who, request, where in steps:
            if request is None:
                happen(w, who, where)
                continue
            client = clients[who]
            processes = [process.id for process in w.daemon.service.table]
            attachments = sorted(client.connection._attachments)
            request = aimed(request, where, processes, attachments)
            asked[who].append((w.post(client, request), request))
        come_to_an_end(w)
        for client, all_asked in zip(clients, asked, strict=True):
            assert not client.lost
            for id, request in all_asked:
                (reply,) = replies(client, id)
                assert isinstance(reply, (Refusal, *request.replies))
                assert not isinstance(reply, InternalError)


@settings(deadline=None, max_examples=60)
@given(st.lists(V1_REQUESTS, max_size=12), st.booleans())
def test_version_1(requests: list[Request], packets: bool) -> None:
    """In version 1 as well, on packets and on a stream."""
    with world() as w:
        client = w.client(version=1, packets=packets)
        for request in requests:
            to = getattr(request, "to", None)
            if to is not None:
                attached = next(iter(client.connection._attachments), None)
                if attached is None:
                    continue
                request = dataclasses.replace(request, to=attached)
            (reply,) = replies(client, w.post(client, request))
            assert isinstance(reply, (Refusal, *request.replies))
        assert not client.lost
