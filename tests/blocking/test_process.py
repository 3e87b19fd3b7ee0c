"""Attachments of the client on a plain socket: their events, and when they are over."""

from __future__ import annotations

import socket

import pytest

from netdaemon.blocking import Client, process
from netdaemon.errors import ConnectionClosed, Refusal
from netdaemon.wire.answers import Attached, DaemonInfo, End, Event, Gap, Ok, Output, Reply, Status
from netdaemon.wire.commands import Attach, Flow, Info, Request
from netdaemon.wire.records import Pty, Reason, State, Until
from netdaemon.wire.told import ProcessRecord
from tests.blocking.support import EXITED, FakeDaemon, attached, fake


def test_events_go_to_their_attachment_while_requests_are_answered() -> None:
    """Two attachments on one connection, whose events come between replies."""
    ids: list[int] = []

    class Both(FakeDaemon):
        def serve(self, id: int, request: Request | Refusal) -> None:
            super().serve(id, request)
            if isinstance(request, Attach):
                ids.append(id)
            if isinstance(request, Info):
                for number, one in enumerate(ids):
                    self.send(self.connection.event(one, Output(channel=1, offset=0, payload=b"%d" % number)))
                    self.send(self.connection.event(one, Gap(from_=1, to=5)))

    ours, theirs = socket.socketpair()
    daemon = Both(theirs, lambda r: attached() if isinstance(r, Attach) else DaemonInfo(version="", instance="", pid=1))
    daemon.start()
    with Client(ours, timeout=10) as client:
        one, two = client.attach("one"), client.attach("two")
        client.info()
        client.info()
        for number, remote in enumerate((one, two)):
            for _ in range(2):
                event = remote.next_event(5)
                assert isinstance(event, Output)
                assert event.payload == b"%d" % number
                assert remote.next_event(5) == Gap(from_=1, to=5)
            assert remote.take() is None
    daemon.join(10)
    assert daemon.error is None


def test_it_is_over_when_it_has_exited_and_its_outputs_are_closed() -> None:
    events = [
        Output(channel=1, payload=b"out"),
        Output(channel=0),
        Output(channel=2, offset=3, payload=b"err"),
        Output(channel=2, offset=6),
        Status(state=State.EXITED, code=3, end=6),
        Output(channel=1, offset=6, payload=b"late"),
        Output(channel=1, offset=10),
    ]
    with fake(lambda request: attached(), lambda request: list(events)) as (client, _):
        remote = client.start(["x"])
        assert list(remote) == events
        assert remote.next_event() is None
        assert remote.status == events[4]
        remote = client.start(["x"])
        assert list(remote.events(Until.EXITED)) == events[:5]
        assert client.start(["x"]).read() == (b"outlate", b"err")
        assert client.start(["x"]).wait() == events[4]


@pytest.mark.parametrize("record", [{"pty": Pty()}, {"merge": True}])
def test_a_single_output_is_over_when_it_is_closed(record: dict[str, object]) -> None:
    fields: dict[str, object] = {"id": "x", "argv": ("x",), "state": State.RUNNING, **record}
    reply = Attached(process=ProcessRecord(**fields))  # type: ignore[arg-type]
    with fake(lambda request: reply, lambda request: [EXITED, Output(channel=1)]) as (client, _):
        assert list(client.start(["x"])) == [EXITED, Output(channel=1)]


def test_an_attachment_that_is_ended_is_over() -> None:
    with fake(lambda request: attached(), lambda request: [End(reason=Reason.REMOVED)]) as (client, _):
        remote = client.start(["x"])
        assert list(remote) == [End(reason=Reason.REMOVED)]
        with pytest.raises(ConnectionClosed, match="removed"):
            client.start(["x"]).wait()


def test_what_nobody_takes_is_bounded_by_asking_for_a_pause() -> None:
    """The queue of an attachment grows to its limit and a little; then FLOW goes out, and again when it is taken."""
    piece = bytes(64 * 1024)
    state = {"paused": False, "sent": 0}

    def after(request: Request) -> list[Event]:
        if isinstance(request, Flow):
            state["paused"] = request.paused
        if state["paused"] or isinstance(request, Attach):
            return []
        state["sent"] += 1
        return [Output(channel=1, offset=0, payload=piece)]

    answers: dict[type[Request], Reply] = {Attach: attached(), Info: DaemonInfo(version="", instance="", pid=1)}
    with fake(lambda request: answers.get(type(request), Ok()), after) as (client, daemon):
        remote = client.attach("x")
        for _ in range(100):
            client.info()
        assert state["sent"] < 20
        assert daemon.asked(Flow) == [Flow(to=remote.attachment, paused=True)]
        for _ in range(state["sent"]):
            assert remote.take() is not None
        client.info()
        assert daemon.asked(Flow)[1:] == [Flow(to=remote.attachment, paused=False)]
    assert state["sent"] * len(piece) < process.QUEUE_MOST + 6 * len(piece)
