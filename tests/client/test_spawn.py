"""spawnProcess across a connection: what an IProcessProtocol is told, and in which order; the test is the daemon."""

from __future__ import annotations

import os
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IConsumer, IProcessTransport, IPushProducer
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from netdaemon.client.reasons import ProcessLost, ProcessNotStarted
from netdaemon.client.spawned import PRODUCER_HIGH_WATER
from netdaemon.errors import ConnectionClosed, LaunchFailed, LimitReached, NoSuchProcess
from netdaemon.wire.answers import Attached, End, OfProcess, Ok, Output, Status, Taken
from netdaemon.wire.answers import Failure as ErrorReply
from netdaemon.wire.commands import Attach, Data, Flow, Kill, Remove, Resize, Start, Wait
from netdaemon.wire.records import Pty, Reason, Scope, State, Until
from tests.client.support import Stage, lasting, record, stage
from tests.support import Logged

EXITED = Status(state=State.EXITED, code=0, end=6)
EOFS = (Output(channel=1, offset=6), Output(channel=2, offset=6))


class Recorder(ProcessProtocol):
    """All that it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.told.append("made")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.told.append((childFD, data))

    def childConnectionLost(self, childFD: int) -> None:
        self.told.append(childFD)

    def processExited(self, reason: Failure) -> None:
        self.told.append("exited")
        self.reason = reason.value

    def processEnded(self, reason: Failure) -> None:
        self.told.append("ended")
        assert reason.value is self.reason


class Spawned:
    """A spawned process whose START has been sent."""

    def __init__(self, *, answered: bool = True, stage_: Stage | None = None, **options: Any) -> None:
        self.stage = stage_ or stage()
        self.protocol = options.pop("protocol", None) or Recorder()
        self.transport = self.stage.client.spawnProcess(self.protocol, "/bin/cat", ["cat", b"-u"], **options)
        self.id, self.start = self.stage.request()
        if answered:
            self.answer()

    def answer(self, **fields: Any) -> None:
        pty = self.start.pty
        self.stage.reply(self.id, Attached(process=record(pty=pty, **fields)))

    def told(self) -> list[Any]:
        told: list[Any] = self.protocol.told
        return told

    def event(self, *events: Any) -> None:
        self.stage.event(self.id, *events)

    def accept(self) -> list[Any]:
        """Answer all that was sent, as if all were well; what it was."""
        requests = self.stage.requests()
        for id, request in requests:
            if isinstance(request, Data):
                end = (request.at or 0) + len(request.payload)
                self.stage.reply(id, Taken(accepted=len(request.payload), end=end))
            elif not isinstance(request, Wait):
                self.stage.reply(id, Ok())
        return [request for _, request in requests]


def test_start_goes_out_at_once() -> None:
    one = Spawned(answered=False)
    assert one.start == Start(argv=("cat", "-u"), path="/bin/cat", env=(), cwd=os.getcwd(), attach=True, hold=-1)
    assert one.told() == ["made"]
    assert one.transport.pid is None
    assert one.transport.status == -1
    one.answer()
    assert one.transport.pid == 77


def test_environment_directory_and_arguments() -> None:
    s = stage()
    s.client.spawnProcess(Recorder(), b"cat", env=None, path=b"/tmp", usePTY=True)
    s.client.spawnProcess(Recorder(), "cat", env={b"A": "1"}, path="relative")
    (_, first), (_, second) = s.requests()
    assert dict(one.partition("=")[::2] for one in first.env) == dict(os.environ)
    assert (first.argv, first.path, first.cwd, first.pty) == (("cat",), "cat", "/tmp", Pty())
    assert (second.env, second.cwd) == (("A=1",), os.path.abspath("relative"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"uid": 0}, ValueError),
        ({"gid": 0}, ValueError),
        ({"usePTY": (1, 2, "tty")}, ValueError),
        ({"usePTY": True, "childFDs": {0: "w"}}, ValueError),
        ({"childFDs": {3: "r"}}, ValueError),
        ({"childFDs": {1: "w"}}, ValueError),
        ({"childFDs": {1: 1}}, ValueError),
        ({"args": ["cat", 5]}, TypeError),
        ({"args": ["cat", "a\0b"]}, TypeError),
        ({"env": {"A": None}}, TypeError),
    ],
)
def test_what_cannot_be_had_is_said_at_once(options: Any, error: type[Exception]) -> None:
    s = stage()
    with pytest.raises(error):
        s.client.spawnProcess(Recorder(), "/bin/cat", **options)
    assert s.requests() == []


def test_interfaces() -> None:
    transport = Spawned().transport
    for interface in (IProcessTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, transport)
    assert transport.getHost() is not None
    assert transport.getPeer() is not None


def test_a_life_in_order() -> None:
    """Data, the exit, the ends of the streams, the end; and nothing is left in the daemon."""
    one = Spawned()
    one.event(Output(channel=1, payload=b"out"), Output(channel=2, offset=3, payload=b"err"), EXITED)
    assert one.told() == ["made", (1, b"out"), (2, b"err"), "exited", 0]
    one.event(*EOFS)
    assert one.told()[5:] == [1, 2, "ended"]
    assert isinstance(one.protocol.reason, ProcessDone)
    assert (one.transport.pid, one.transport.status) == (None, 0)
    assert one.accept() == [Remove(process="p1")]
    one.event(End(reason=Reason.REMOVED))
    assert one.told()[8:] == []
    with pytest.raises(ProcessExitedAlready):
        one.transport.signalProcess("TERM")
    one.transport.write(b"late")
    one.transport.loseConnection()
    assert one.stage.requests() == []


@pytest.mark.parametrize(
    ("status", "code", "signal", "wait"),
    [
        (Status(state=State.EXITED, code=3), 3, None, 3 << 8),
        (Status(state=State.EXITED, signal=9), None, 9, 9),
        (Status(state=State.EXITED, signal=11, core=True), None, 11, 11 | 0x80),
        (Status(state=State.EXITED), None, None, None),
    ],
)
def test_reasons(status: Status, code: Any, signal: Any, wait: Any) -> None:
    one = Spawned()
    one.event(status)
    reason = one.protocol.reason
    assert type(reason) is ProcessTerminated
    assert (reason.exitCode, reason.signal, reason.status) == (code, signal, wait)
    if code is not None or signal is not None:
        assert one.transport.status == wait
        assert os.waitstatus_to_exitcode(wait & ~0x80) == (code if code is not None else -signal)


def test_a_terminal_is_told_of_as_twisted_does() -> None:
    """Data on 1 only, no ends of streams; closing one of them is nothing."""
    one = Spawned(usePTY=True)
    one.transport.closeStdin()
    one.transport.closeStdout()
    one.transport.write(b"ls\n")
    assert one.accept() == [Data(to=one.id, at=0, payload=b"ls\n")]
    one.event(Output(channel=1, payload=b"x"), EXITED)
    assert one.told() == ["made", (1, b"x"), "exited"]
    one.event(Output(channel=1, offset=1))
    assert one.told()[3:] == ["ended"]


def test_a_terminal_is_resized_and_hung_up() -> None:
    one = Spawned(usePTY=True)
    one.transport.resize(10, 20)
    one.transport.loseConnection()
    assert one.accept() == [Resize(to=one.id, rows=10, columns=20), Data(to=one.id, channel=1)]


def test_what_is_done_before_the_answer_is_done_then() -> None:
    one = Spawned(answered=False)
    one.transport.write(b"ab")
    one.transport.writeSequence([b"c", b"d"])
    one.transport.signalProcess("HUP")
    one.transport.closeStdin()
    one.transport.pauseProducing()
    assert one.stage.requests() == []
    one.answer()
    assert one.accept() == [
        Data(to=one.id, at=0, payload=b"ab"),
        Data(to=one.id, at=2, payload=b"cd"),
        Kill(to=one.id, signal=1, scope=Scope.PROCESS),
        Flow(to=one.id, paused=True),
        # The exit would not come otherwise.
        Wait(process="p1", for_=Until.EXITED),
    ]
    assert one.accept() == [Data(to=one.id)]


def test_closing_streams() -> None:
    """Ours is told at the next turn, as of a pipe; what still comes on it is not."""
    one = Spawned()
    one.transport.closeStderr()
    one.transport.closeStderr()
    one.transport.closeStdin()
    assert one.accept() == [Data(to=one.id, channel=2), Data(to=one.id)]
    assert one.told() == ["made", 0]
    one.stage.clock.advance(0)
    assert one.told() == ["made", 0, 2]
    one.event(
        Output(channel=2, payload=b"late"), Output(channel=2, offset=4), Output(channel=1, offset=4, payload=b"x")
    )
    assert one.told()[3:] == [(1, b"x")]
    one.transport.loseConnection()
    one.stage.clock.advance(0)
    one.event(EXITED)
    assert one.told()[4:] == [1, "exited", "ended"]


@pytest.mark.parametrize("signal", ["KILL", "SIGKILL", 9])
def test_signals(signal: str | int) -> None:
    one = Spawned()
    one.transport.signalProcess(signal)
    assert one.accept() == [Kill(to=one.id, signal=9, scope=Scope.PROCESS)]
    with pytest.raises(ValueError, match="no signal"):
        one.transport.signalProcess("NONSENSE")


def test_descriptors_that_were_not_asked_for() -> None:
    """Its input is at its end, its output is dropped; neither is told of."""
    one = Spawned(childFDs={1: "r"})
    assert one.start.channels == (1,)
    assert one.accept() == [Data(to=one.id)]
    one.transport.write(b"lost, as in Twisted")
    for descriptor in (0, 1, 2, 13):
        with pytest.raises(KeyError):
            one.transport.writeToChild(descriptor, b"x")
    one.event(Output(channel=1, payload=b"x"), EXITED, EOFS[0])
    assert one.told() == ["made", (1, b"x"), "exited", 1, "ended"]
    none = Spawned(childFDs={})
    none.event(Output(channel=1, payload=b"x"), EXITED)
    assert none.told() == ["made", "exited", "ended"]


def test_a_program_that_cannot_be_executed() -> None:
    one = Spawned(answered=False)
    one.transport.write(b"x")
    refusal = LaunchFailed("/bin/cat: No such file or directory", stage="exec", number=2)
    one.stage.reply(one.id, ErrorReply.of(refusal))
    assert one.told() == ["made", "exited", 0, 1, 2, "ended"]
    reason = one.protocol.reason
    assert isinstance(reason, ProcessNotStarted)
    assert (reason.exitCode, reason.signal, reason.status) == (1, None, 256)
    assert isinstance(reason.__cause__, LaunchFailed)
    assert "No such file" in str(reason)
    assert one.stage.requests() == []


def test_a_lost_connection() -> None:
    """Before the answer, while it runs, and after its exit, which is known then."""
    before, during, after = Spawned(answered=False), Spawned(), Spawned()
    after.event(EXITED)
    for one in (before, during, after):
        one.stage.lose()
        assert one.told()[-1] == "ended"
        assert one.told().count("exited") == 1
        assert [one for one in one.told() if one in (0, 1, 2)] == [0, 1, 2]
    for one in (before, during):
        assert isinstance(one.protocol.reason, ProcessLost)
        assert (one.protocol.reason.exitCode, one.protocol.reason.signal) == (None, None)
        assert isinstance(one.protocol.reason.__cause__, ConnectionClosed)
    assert isinstance(after.protocol.reason, ProcessDone)


def test_a_process_that_is_taken_away() -> None:
    one = Spawned()
    one.event(End(reason=Reason.SHUTDOWN))
    assert one.told() == ["made", "exited", 0, 1, 2, "ended"]
    assert isinstance(one.protocol.reason, ProcessLost)
    assert "shutdown" in str(one.protocol.reason)


def test_a_limit_is_a_process_that_was_not_started() -> None:
    one = Spawned(answered=False)
    one.stage.reply(one.id, ErrorReply.of(LimitReached("full")))
    assert isinstance(one.protocol.reason, ProcessNotStarted)


def test_the_exit_is_told_while_output_is_paused() -> None:
    one = Spawned()
    one.transport.pauseProducing()
    (_, flow), (waiting, wait) = one.stage.requests()
    assert flow == Flow(to=one.id, paused=True)
    assert isinstance(wait, Wait)
    one.stage.reply(waiting, OfProcess(process=record(state=State.EXITED, pid=None, code=0)))
    assert one.told() == ["made", "exited", 0]
    one.event(Output(channel=1, payload=b"x"), EXITED, *EOFS)
    assert one.told()[3:] == []
    one.transport.resumeProducing()
    assert one.told()[3:] == [(1, b"x"), 1, 2, "ended"]


def test_a_protocol_that_fails_harms_nobody(logged: Logged) -> None:
    class Broken(Recorder):
        def makeConnection(self, transport: Any) -> None:
            raise ZeroDivisionError

        def childDataReceived(self, childFD: int, data: bytes) -> None:
            raise ZeroDivisionError

        def processExited(self, reason: Failure) -> None:
            super().processExited(reason)
            raise ZeroDivisionError

    one = Spawned(protocol=Broken())
    one.event(Output(channel=1, payload=b"x"), EXITED, *EOFS)
    assert len(logged.flush(ZeroDivisionError)) == 3
    assert one.told()[-1] == "ended"
    assert one.stage.session.ended is None


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_a_push_producer_of_input() -> None:
    """Paused when much waits, resumed when all is safe, stopped when nobody reads any more."""
    one, producer = Spawned(answered=False), Producer()
    one.transport.registerProducer(producer, True)
    with pytest.raises(RuntimeError):
        one.transport.registerProducer(producer, True)
    one.transport.write(b"x")
    assert producer.calls == []
    one.transport.write(bytes(PRODUCER_HIGH_WATER))
    assert producer.calls == ["pause"]
    one.answer()
    while one.accept():
        pass
    assert producer.calls == ["pause", "resume"]
    one.event(Output(channel=0))
    assert producer.calls == ["pause", "resume", "stop"]
    one.transport.registerProducer(late := Producer(), True)
    assert late.calls == ["stop"]


def test_a_pull_producer_of_input() -> None:
    one, producer = Spawned(), Producer()
    one.transport.registerProducer(producer, False)
    assert producer.calls == ["resume"]
    one.transport.write(b"x")
    one.accept()
    assert producer.calls == ["resume", "resume"]
    one.transport.closeStdin()
    one.transport.write(b"y")
    assert one.accept() == [Data(to=one.id, at=1, payload=b"y")]
    one.transport.unregisterProducer()
    assert one.accept() == [Data(to=one.id)]


# --- a connection that is lost, and another one -----------------------------------------------------------------------


def test_a_start_under_way_is_repeated_with_its_key() -> None:
    """And what was done early is done then, once."""
    one = Spawned(answered=False, stage_=lasting())
    assert one.start.key
    one.transport.write(b"early")
    one.transport.signalProcess("HUP")
    one.stage.lose()
    one.transport.write(b" and later")
    one.stage.wait()
    assert one.told() == ["made"]
    one.id, request = one.stage.request()
    assert request == one.start
    one.answer()
    assert one.accept() == [
        Data(to=one.id, at=0, payload=b"early"),
        Kill(to=one.id, signal=1, scope=Scope.PROCESS),
        Data(to=one.id, at=5, payload=b" and later"),
    ]
    assert one.transport.pid == 77


def test_nothing_is_told_of_a_loss() -> None:
    """Signals, input and its end, pauses: done over the next connection, if there was none."""
    one, producer = Spawned(stage_=lasting()), Producer()
    one.event(Output(channel=1, payload=b"out"), Output(channel=2, offset=3))
    one.transport.registerProducer(producer, True)
    one.stage.lose()
    one.transport.pauseProducing()
    one.transport.signalProcess("INT")
    one.transport.write(bytes(PRODUCER_HIGH_WATER))
    assert producer.calls == ["pause"]
    one.stage.wait()
    assert [one for one in one.told() if one not in (1, 2)] == ["made", (1, b"out")]
    requests = {type(request): (id, request) for id, request in one.stage.requests()}
    assert set(requests) == {Attach, Wait}
    one.id, attach = requests[Attach]
    assert attach == Attach(process="p1", from_=3, hold=-1)
    one.answer()
    assert one.accept() == [
        Data(to=one.id, at=0, payload=bytes(PRODUCER_HIGH_WATER)),
        Flow(to=one.id, paused=True),
        Kill(to=one.id, signal=2, scope=Scope.PROCESS),
    ]
    assert producer.calls == ["pause", "resume"]
    one.transport.unregisterProducer()
    one.transport.closeStdin()
    one.transport.resumeProducing()
    assert one.accept() == [Data(to=one.id), Flow(to=one.id, paused=False)]
    one.event(Output(channel=2, offset=3), Output(channel=1, offset=3, payload=b"more"), EXITED, *EOFS)
    assert one.told() == ["made", (1, b"out"), 2, 0, (1, b"more"), "exited", 1, "ended"]


def test_what_was_left_is_removed_after_a_loss() -> None:
    """Whether it was removed before is found out by that."""
    one = Spawned(stage_=lasting())
    one.event(EXITED, *EOFS)
    assert one.told()[-1] == "ended"
    assert one.stage.request()[1] == Remove(process="p1")
    one.stage.lose_and_wait()
    requests = one.stage.requests()
    assert [type(request) for _, request in requests] == [Attach, Remove]
    for id, _ in requests:
        one.stage.reply(id, ErrorReply.of(NoSuchProcess("there is none")))
    one.stage.lose_and_wait()
    assert one.stage.requests() == []


@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_gives_up_loses_its_processes(answered: bool) -> None:
    s = lasting(patience=1.0)
    one = Spawned(answered=answered, stage_=s)
    s.refusals.extend([ConnectionClosed("it hung up")] * 1000)
    s.lose()
    assert one.told() == ["made"]
    s.clock.pump([0.1] * 20)
    assert one.told() == ["made", "exited", 0, 1, 2, "ended"]
    assert isinstance(one.protocol.reason, ProcessLost)
    assert "for 1 seconds" in str(one.protocol.reason)
    assert s.clock.getDelayedCalls() == []
