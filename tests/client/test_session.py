"""One connection: requests and replies by id, cancelling, the end; against a daemon that the test plays."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from netdaemon.client.session import FAREWELL
from netdaemon.errors import (
    ConnectionClosed,
    ConversationAborted,
    Denied,
    LimitReached,
    LocalProtocolError,
    NoSuchProcess,
)
from netdaemon.wire.answers import Attached, Failure, OfProcess, Ok, Output, Welcome
from netdaemon.wire.commands import Detach, Flow, Inspect, Kill, Remove
from tests.client.support import Stage, pending, record, result, stage


def test_hello_is_said_at_once_and_told() -> None:
    """`greeted` fires with what the daemon said, for everybody who asks, at any time."""
    s = Stage()
    before = s.session.greeted()
    assert pending(before)
    s.session.dataReceived(s.server.welcome(s.hello, Welcome(server="nd", window=5)))
    assert result(before).server == "nd"
    assert result(s.session.greeted()).window == s.session.window == 5
    assert s.session.version == 2


def test_replies_find_their_requests_in_any_order() -> None:
    s = stage()
    first, second = s.client.inspect("a"), s.client.kill("b", 9)
    (id_first, inspect), (id_second, kill) = s.requests()
    assert inspect == Inspect(process="a")
    assert kill == Kill(process="b", signal=9)
    s.reply(id_second, Ok())
    assert pending(first)
    assert result(second) is None
    s.reply(id_first, OfProcess(process=record()))
    assert result(first) == record()


def test_a_refusal_is_raised_as_its_class() -> None:
    s = stage()
    asking = s.client.inspect("a")
    id, _ = s.request()
    s.reply(id, Failure.of(NoSuchProcess("there is none", process="a")))
    with pytest.raises(NoSuchProcess) as caught:
        result(asking)
    assert caught.value.process == "a"


def test_requests_made_while_messages_are_read_leave_together() -> None:
    """One write for all that the callbacks of one read ask for."""
    s = stage()
    asked: list[Deferred[Any]] = []
    for _ in range(5):
        s.client.kill("a", 0).addCallback(lambda _: asked.append(s.client.kill("b", 0)))
    ids = [id for id, _ in s.requests()]
    s.transport.writes = 0
    s.session.dataReceived(b"".join(s.server.reply(id, Ok()) for id in ids))
    assert s.transport.writes == 1
    assert len(s.requests()) == len(asked) == 5


def test_the_late_reply_of_what_was_cancelled_is_swallowed() -> None:
    s = stage()
    asking = s.client.kill("a", 0)
    id, _ = s.request()
    asking.cancel()
    with pytest.raises(CancelledError):
        result(asking)
    s.reply(id, Ok())
    assert s.session.ended is None


def test_an_attachment_that_nobody_waits_for_is_detached() -> None:
    """START was cancelled: the process goes on, but its output is not sent for nothing."""
    s = stage()
    starting = s.client.start(["cat"])
    id, _ = s.request()
    starting.cancel()
    with pytest.raises(CancelledError):
        result(starting)
    octets = s.server.reply(id, Attached(process=record()))
    octets += s.server.event(id, Output(channel=1, payload=b"unheard"))
    s.session.dataReceived(octets)
    detaching, request = s.request()
    assert request == Detach(to=id)
    s.reply(detaching, Ok())
    assert s.session.ended is None


def test_the_end_of_the_connection_fails_all_that_is_outstanding() -> None:
    s = stage()
    _, process = s.attached()
    exited, written, asking = process.when_exited(), process.write(b"x"), s.client.info()
    lost = s.client.when_disconnected()
    assert pending(lost)
    s.lose()
    for one in (exited, written, asking):
        with pytest.raises(ConnectionClosed):
            result(one)
    assert isinstance(result(lost), ConnectionClosed)
    assert isinstance(result(s.client.when_disconnected()), ConnectionClosed)
    for late in (s.client.info(), process.write(b"y"), process.when_exited(), process.detach(), process.kill()):
        with pytest.raises(ConnectionClosed):
            result(late)


def test_an_abort_says_why() -> None:
    s = stage()
    asking = s.client.info()
    s.session.dataReceived(s.server.abort(71, "enough"))
    with pytest.raises(ConversationAborted, match="enough") as caught:
        result(asking)
    assert caught.value.errno == 71
    assert s.transport.disconnecting
    s.lose()
    assert isinstance(result(s.client.when_disconnected()), ConversationAborted)


@pytest.mark.parametrize("kind", [Denied, LimitReached])
def test_being_turned_away_is_a_refusal(kind: type[Denied]) -> None:
    """Before HELLO is answered, there are only numbers."""
    s = Stage()
    greeted = s.session.greeted()
    s.session.dataReceived(s.server.abort(kind.default_errno, "not you"))
    with pytest.raises(kind, match="not you"):
        result(greeted)
    s.lose()
    with pytest.raises(kind):
        result(s.session.greeted())


def test_a_hang_up_before_hello() -> None:
    s = Stage()
    greeted = s.session.greeted()
    s.lose()
    with pytest.raises(ConnectionClosed):
        result(greeted)


def test_a_daemon_that_breaks_the_rules_is_told_and_left() -> None:
    s = stage()
    asking = s.client.info()
    s.requests()
    s.session.dataReceived((6).to_bytes(4, "big") + (999).to_bytes(4, "big") + b"\xff\x00")
    assert b"no request or attachment has" in s.transport.value()
    with pytest.raises(ConnectionClosed, match="999"):
        result(asking)
    assert s.transport.disconnecting
    s.session.dataReceived(b"more")
    s.lose()


def test_closing_waits_for_a_daemon_that_does_not_read_and_not_for_ever() -> None:
    s = stage()
    closing = s.client.disconnect()
    assert s.transport.disconnecting
    with pytest.raises(ConnectionClosed):
        result(s.client.info())
    s.clock.advance(FAREWELL)
    assert s.transport.aborted
    s.lose()
    assert result(closing) is None
    assert s.clock.getDelayedCalls() == []


def test_closing_twice_and_when_it_is_over() -> None:
    s = stage()
    first, second = s.client.close(), s.client.disconnect()
    s.lose()
    assert result(first) is result(second) is result(s.client.close()) is None
    assert s.clock.getDelayedCalls() == []


def test_what_cannot_be_said_is_not_sent() -> None:
    """Values of a wrong type, and what the declaration of the request refuses."""
    s = stage()
    with pytest.raises(LocalProtocolError):
        result(s.client.request(Remove(process=5)))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="argv is empty"):
        result(s.client.start([]))
    assert s.requests() == []


def test_events_of_what_is_over_are_nothing() -> None:
    """An attachment whose sink is gone by END may be told no more; another id's events are not touched."""
    s = stage()
    id, process = s.attached()
    process.pause()
    flow, request = s.request()
    assert request == Flow(to=id, paused=True)
    s.reply(flow, Ok())
    s.event(id, Output(channel=1, payload=b"late"))
    assert process.offset == 4
