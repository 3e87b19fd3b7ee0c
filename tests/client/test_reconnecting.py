"""When another connection is made, what is asked again over it, and when it is given up; the test is the daemon."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from netdaemon.client.reconnecting import LEAST, MOST, PATIENCE, STEADY
from netdaemon.errors import (
    ConnectFailed,
    ConnectionClosed,
    Denied,
    LimitReached,
    NoSuchProcess,
    RemoteProtocolError,
    TimedOut,
)
from netdaemon.testing import MemoryDaemon
from netdaemon.wire.answers import DaemonInfo, Failure, Listing, OfProcess, Ok, Started, Welcome
from netdaemon.wire.commands import Info, Inspect, Kill, List, Remove, Shutdown, Start, Wait
from netdaemon.wire.records import Fate
from tests.client.support import Stage, lasting, pending, record, result
from tests.support import Logged


def away(number: int = errno.ECONNREFUSED) -> ConnectFailed:
    error = ConnectFailed("nobody there")
    error.__cause__ = OSError(number, "nobody there")
    return error


def broken() -> ConnectionClosed:
    error = ConnectionClosed("it broke the rules")
    error.__cause__ = RemoteProtocolError("a message of 3 bytes")
    return error


# --- when ------------------------------------------------------------------------------------------------------------


def test_another_connection_is_made_and_told() -> None:
    """The application is told by its callbacks and by nothing else."""
    told: list[Any] = []
    s = lasting(on_disconnected=told.append, on_reconnected=told.append)
    first, lost = s.session, s.client.when_disconnected()
    s.lose()
    assert [str(one) for one in told] == ["the daemon closed the connection"]
    assert s.client.session is first
    assert s.client.version == 2
    s.wait()
    assert told[1] == Welcome(server="test", window=1000)
    assert s.client.session is s.session is not first
    assert pending(lost)
    assert s.clock.getDelayedCalls() == []


def test_it_is_tried_for_later_and_later_and_not_for_ever() -> None:
    s = lasting()
    asking, lost = s.client.info(), s.client.when_disconnected()
    s.refusals.extend(away() for _ in range(1000))
    s.lose()
    for _ in range(int(PATIENCE / LEAST) + 1):
        s.clock.advance(LEAST)
    assert s.clock.getDelayedCalls() == []
    waits = [later - earlier for earlier, later in zip([0.0, *s.dialled], s.dialled, strict=False)]
    assert LEAST <= waits[0] <= 3 * LEAST
    assert all(MOST <= wait <= MOST + 3 * LEAST for wait in waits[6:])
    assert s.dialled[-1] <= PATIENCE
    with pytest.raises(ConnectionClosed, match="for 60 seconds there was no other: nobody there"):
        result(asking)
    assert isinstance(result(lost).__cause__, ConnectFailed)
    with pytest.raises(ConnectionClosed, match="for 60 seconds"):
        result(s.client.info())
    assert result(s.client.disconnect()) is None
    assert "60 seconds" in str(result(s.client.when_disconnected()))


def test_it_is_tried_for_ever_where_that_was_asked_for() -> None:
    s = lasting(patience=None)
    s.lose()
    s.refusals.extend(away() for _ in range(100))
    for _ in range(200):
        s.clock.advance(MOST)
    assert s.client.session is s.session
    assert s.session.ended is None


@pytest.mark.parametrize(
    "error",
    [
        *(away(number) for number in (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EAGAIN)),
        ConnectFailed("the daemon there does not accept connections"),
        ConnectionClosed("it hung up"),
        LimitReached("no room yet"),
        TimedOut("too slow"),
        OSError(errno.EMFILE, "no descriptors left here"),
    ],
    ids=repr,
)
def test_what_may_pass_is_waited_for(error: Exception) -> None:
    s = lasting()
    s.refusals.append(error)
    s.lose_and_wait()
    s.clock.advance(MOST)
    assert s.client.session is s.session
    assert len(s.dialled) == 2


@pytest.mark.parametrize("error", [Denied("not you"), away(errno.EACCES), broken()], ids=repr)
def test_what_will_not_pass_ends_it_at_once(error: Exception) -> None:
    s = lasting()
    s.refusals.append(error)
    asking, lost = s.client.info(), s.client.when_disconnected()
    s.lose_and_wait()
    for one in (asking, s.client.info()):
        with pytest.raises(ConnectionClosed, match="cannot be reached again") as caught:
            result(one)
        assert caught.value.__cause__ is error
    assert result(lost).__cause__ is error
    assert s.clock.getDelayedCalls() == []


def test_another_version_than_before_ends_it() -> None:
    s = lasting()
    asking = s.client.info()
    s.version = 1
    s.lose_and_wait()
    with pytest.raises(ConnectionClosed, match="speaks version 1 now, and spoke 2 before"):
        result(asking)
    assert s.transport.aborted
    assert s.clock.getDelayedCalls() == []


def test_version_1_never_connects_again() -> None:
    s = Stage(1, welcome=Welcome(), reconnect=True)
    asking = s.client.list()
    s.lose()
    with pytest.raises(ConnectionClosed):
        result(asking)
    assert isinstance(result(s.client.when_disconnected()), ConnectionClosed)
    assert s.clock.getDelayedCalls() == []


def test_a_broken_rule_ends_it() -> None:
    """Either side's: it would be broken again."""
    for octets in (b"\0\0\0\x01", None):
        s = lasting()
        asking, lost = s.client.info(), s.client.when_disconnected()
        s.session.dataReceived(octets or s.server.abort(errno.EBADMSG, "a request has the id 0"))
        s.lose()
        with pytest.raises(ConnectionClosed):
            result(asking)
        assert isinstance(result(lost), ConnectionClosed)
        assert s.clock.getDelayedCalls() == []


def test_any_other_abort_is_a_loss() -> None:
    s = lasting()
    asking = s.client.info()
    s.requests()
    s.session.dataReceived(s.server.abort(errno.ETIMEDOUT, "too slow"))
    assert pending(asking)
    s.lose_and_wait()
    id, request = s.request()
    assert request == Info()
    s.reply(id, DaemonInfo(version="1", instance="i", pid=2))
    assert result(asking).pid == 2
    assert s.clock.getDelayedCalls() == []


def test_a_daemon_that_falls_over_again_and_again_is_left_alone_for_longer() -> None:
    s = lasting()
    waits = []
    for _ in range(6):
        before = s.clock.seconds()
        s.lose_and_wait()
        waits.append(s.dialled[-1] - before)
    assert waits[0] <= 3 * LEAST
    assert all(2 * LEAST * 2**number <= wait + LEAST for number, wait in enumerate(waits[1:]))
    s.clock.advance(STEADY)
    before = s.clock.seconds()
    s.lose_and_wait()
    assert s.dialled[-1] - before <= 3 * LEAST


def test_nothing_is_tried_after_disconnect() -> None:
    s = lasting()
    closing, lost = s.client.disconnect(), s.client.when_disconnected()
    with pytest.raises(ConnectionClosed, match="being closed"):
        result(s.client.info())
    s.lose()
    assert result(closing) is None
    assert str(result(lost)) == "the connection was closed"
    assert s.clock.getDelayedCalls() == []
    assert s.dialled == []
    with pytest.raises(ConnectionClosed):
        result(s.client.info())


@pytest.mark.parametrize("dialling", [False, True])
def test_disconnect_while_there_is_no_connection(dialling: bool) -> None:
    """What waits fails; an attempt under way is cancelled."""
    s = lasting()
    s.refusals.append(None)
    s.lose()
    if dialling:
        s.wait()
    waiting, lost = s.client.kill("a"), s.client.when_disconnected()
    assert result(s.client.disconnect()) is None
    assert str(result(lost)) == "the connection was closed"
    with pytest.raises(ConnectionClosed):
        result(waiting)
    assert s.cancelled == dialling
    assert s.clock.getDelayedCalls() == []


def test_callbacks_may_do_anything(logged: Logged) -> None:
    def failing(_: object) -> None:
        raise ZeroDivisionError

    s = lasting(on_disconnected=failing, on_reconnected=failing)
    s.lose_and_wait()
    assert len(logged.flush(ZeroDivisionError)) == 2
    assert s.session.ended is None
    s = lasting(on_disconnected=lambda _: s.client.disconnect())
    asking = s.client.info()
    s.lose()
    with pytest.raises(ConnectionClosed):
        result(asking)
    assert s.clock.getDelayedCalls() == []
    asked: list[Deferred[Any]] = []
    s = lasting(on_disconnected=lambda _: asked.append(s.client.kill("a")))
    s.lose_and_wait()
    assert s.request()[1] == Kill(process="a", signal=15)


def test_what_fails_by_surprise_ends_it(logged: Logged) -> None:
    s = lasting()
    s.refusals.append(ZeroDivisionError("surprise"))
    lost = s.client.when_disconnected()
    s.lose_and_wait()
    assert "surprise" in str(result(lost))
    assert len(logged.flush(ZeroDivisionError)) == 1
    assert s.clock.getDelayedCalls() == []


# --- what ------------------------------------------------------------------------------------------------------------


def test_what_does_no_harm_is_asked_again() -> None:
    """In the order in which it was asked, and over as many connections as it takes."""
    s = lasting()
    asking = [
        s.client.info(),
        s.client.list("name=a"),
        s.client.inspect("a"),
        s.client.wait("a"),
        s.client.start(["cat"], attach=False, key="k"),
    ]
    messages = [
        Info(),
        List(select=("name=a",)),
        Inspect(process="a"),
        Wait(process="a"),
        Start(argv=("cat",), key="k"),
    ]
    assert [request for _, request in s.requests()] == messages
    for _ in range(3):
        s.lose_and_wait()
        requests = s.requests()
        assert [request for _, request in requests] == messages
    replies = [
        DaemonInfo(version="1", instance="i", pid=2),
        Listing(processes=(record(),)),
        OfProcess(process=record()),
        OfProcess(process=record()),
        Started(process=record(), created=False),
    ]
    for (id, _), reply in zip(requests, replies, strict=True):
        s.reply(id, reply)
    assert [result(one) for one in asking[:-1]] == [replies[0], [record()], record(), record()]
    assert result(asking[-1]).id == "p1"


def test_what_may_do_harm_fails() -> None:
    """Whether it was carried out is unknown."""
    s = lasting()
    asking: list[Deferred[Any]] = [
        s.client.kill("a"),
        s.client.remove("a"),
        s.client.shutdown(),
        s.client.request(Start(argv=("cat",))),
    ]
    s.requests()
    s.lose()
    for one in asking:
        with pytest.raises(ConnectionClosed):
            result(one)
    s.wait()
    assert s.requests() == []


def test_what_is_asked_meanwhile_waits() -> None:
    """What is cancelled before it was sent is not sent."""
    s = lasting()
    s.lose()
    killing, removing, asking, cancelled = s.client.kill("a"), s.client.remove("b"), s.client.info(), s.client.info()
    cancelled.cancel()
    with pytest.raises(CancelledError):
        result(cancelled)
    s.wait()
    requests = s.requests()
    assert [request for _, request in requests] == [Kill(process="a", signal=15), Remove(process="b"), Info()]
    s.reply(requests[0][0], Ok())
    assert result(killing) is None
    s.reply(requests[1][0], Failure.of(NoSuchProcess("none")))
    with pytest.raises(NoSuchProcess):
        result(removing)
    assert pending(asking)
    s.lose()
    s.client.kill("c")
    s.wait()
    assert [request for _, request in s.requests()] == [Info(), Kill(process="c", signal=15)]


def test_an_attachment_by_its_number_is_not_taken_for_another() -> None:
    """A number means nothing on the next connection."""
    s = lasting()
    s.lose()
    with pytest.raises(ConnectionClosed, match="nothing was sent"):
        result(s.client.request(Kill(to=2, signal=9)))


def test_a_cancelled_request_is_not_repeated() -> None:
    s = lasting()
    asking = s.client.start(["cat"])
    asking.cancel()
    with pytest.raises(CancelledError):
        result(asking)
    s.lose_and_wait()
    assert s.requests() == []


@pytest.mark.parametrize("fate", [None, "stop"])
def test_the_end_of_a_daemon_that_was_asked_to_end_is_no_loss(fate: str | None) -> None:
    s = lasting()
    ending, lost = s.client.shutdown(fate), s.client.when_disconnected()
    id, request = s.request()
    assert isinstance(request, Shutdown)
    s.reply(id, Ok())
    assert result(ending) is None
    s.lose()
    assert isinstance(result(lost), ConnectionClosed)
    with pytest.raises(ConnectionClosed):
        result(s.client.info())
    assert s.clock.getDelayedCalls() == []


def test_a_daemon_that_keeps_its_processes_is_waited_for() -> None:
    s = lasting()
    ending = s.client.shutdown(Fate.KEEP)
    s.reply(s.request()[0], Ok())
    assert result(ending) is None
    s.lose_and_wait()
    assert s.session.ended is None


def test_keys() -> None:
    """Every START has one, and no two the same; a client that does not connect again sends none."""
    s = lasting()
    s.client.start(["cat"])
    s.client.start(["cat"])
    s.client.start(["cat"], key="mine")
    keys = [request.key for _, request in s.requests()]  # type: ignore[union-attr]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert all(keys)


def test_a_start_is_carried_out_once() -> None:
    """Whether the request or its reply was lost."""
    for options in ({}, {"to_daemon": 7}, {"to_daemon": 1 << 20}, {"to_daemon": 1 << 20, "to_client": 9}):
        daemon = MemoryDaemon()
        client = daemon.connect_now()
        starting = client.start(["/srv/game"], name="game")
        daemon.drop_connections(**options)
        assert not starting.called
        daemon.reactor.advance(1)
        daemon.settle()
        assert result(starting).record.name == "game"
        assert len(daemon.children) == 1
        daemon.stop()


def test_a_client_that_does_not_connect_again() -> None:
    daemon = MemoryDaemon()
    client = daemon.connect_now(reconnect=False)
    starting = client.start(["/srv/game"])
    lost = client.when_disconnected()
    daemon.drop_connections()
    with pytest.raises(ConnectionClosed):
        result(starting)
    assert isinstance(result(lost), ConnectionClosed)
    assert not client.line.lasting
    daemon.stop()
