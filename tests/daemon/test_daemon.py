"""The daemon as a client sees it: every request, over a connection in memory, with children that the test plays."""

import errno

import pytest

from netdaemon.errors import (
    AlreadyExited,
    BadRequest,
    Denied,
    InternalError,
    LaunchFailed,
    LimitReached,
    NameTaken,
    NoSuchProcess,
    NotAttached,
    NotRunning,
    ShuttingDown,
    SpecDiffers,
    StdinClosed,
    StdinFull,
    StdinHole,
    TooLarge,
    UnknownChannel,
    WrongGeneration,
)
from netdaemon.keeper.child import LaunchError
from netdaemon.wire.answers import (
    WINDOW,
    Attached,
    DaemonInfo,
    End,
    Gap,
    Listing,
    OfProcess,
    Ok,
    Output,
    Started,
    Taken,
)
from netdaemon.wire.commands import (
    RECORD_WORDS_MAX,
    Attach,
    Data,
    Detach,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Remove,
    Resize,
    Shutdown,
    Start,
    Wait,
)
from netdaemon.wire.records import Fate, Reason, Scope, State, Until
from tests.daemon.support import output_of, status_of, world
from tests.support import Logged


def test_output_status_and_ends_come_in_order() -> None:
    """The reply, then the bytes, then the EOFs and the status; the exit status as it was."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        child.write(b"out")
        w.daemon.settle()
        child.write(b"err", 2)
        child.exit(3)
        w.daemon.settle()
        messages = [message for other, message in client.got if other == id]
        assert isinstance(messages[0], Attached)
        assert output_of(client, id) == b"outerr"
        assert {m.channel for m in messages if isinstance(m, Output) and not m.payload} == {0, 1, 2}
        status = status_of(client, id)
        assert status is not None
        assert (status.state, status.code, status.signal, status.end) == (State.EXITED, 3, None, 6)


def test_the_exit_is_told_while_a_grandchild_has_the_pipes() -> None:
    """STATUS after the last byte written before the exit; the grandchild's bytes and the EOFs later."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client)
        child.write(b"before")
        child.exit(0, leave_open=True)
        w.daemon.settle()
        assert output_of(client, id) == b"before"
        assert status_of(client, id) is not None
        assert not [
            m for other, m in client.got if other == id and isinstance(m, Output) and m.channel and not m.payload
        ]
        waiting = w.post(client, Wait(process=name, for_=Until.ENDED))
        assert not [m for other, m in client.got if other == waiting]
        child.write(b"after")
        child.close(1)
        child.close(2)
        w.daemon.settle()
        assert output_of(client, id) == b"beforeafter"
        assert [m for other, m in client.got if other == waiting]


def test_start_without_attach_and_wait() -> None:
    """START answers with the record, WAIT when it is so, and again once it is."""
    with world() as w:
        client = w.client()
        _, started = w.ask(client, Start(argv=("a", "b"), name="game", labels=("db_id=42",)))
        assert isinstance(started, Started)
        record = started.process
        assert started.created
        assert (record.name, record.labels, record.state, record.argv) == (
            "game",
            ("db_id=42",),
            State.RUNNING,
            ("a", "b"),
        )
        waiting = w.post(client, Wait(process="game"))
        w.children[0].exit(signal=9)
        w.daemon.settle()
        answer = next(m for other, m in client.got if other == waiting)
        assert isinstance(answer, OfProcess)
        assert (answer.process.state, answer.process.code, answer.process.signal) == (State.EXITED, None, 9)
        assert isinstance(w.ask(client, Wait(process=record.id))[1], OfProcess)
        assert isinstance(w.ask(client, Wait(process=record.id, for_=Until.RUNNING))[1], AlreadyExited)
        gone = w.post(client, Wait(process=record.id, for_=Until.REMOVED))
        assert isinstance(w.ask(client, Remove(process="game"))[1], Ok)
        assert [m for other, m in client.got if other == gone]
        assert isinstance(w.ask(client, Inspect(process="game"))[1], NoSuchProcess)


def test_names_are_unique_until_removed() -> None:
    """A name and an id are one space; a refused launch frees its name."""
    with world() as w:
        client = w.client()
        w.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
        _, refused = w.ask(client, Start(argv=("nope",), name="game"))
        assert isinstance(refused, LaunchFailed)
        assert (refused.stage, refused.errno) == ("exec", errno.ENOENT)
        _, name, child = w.start(client, name="game")
        taken = w.ask(client, Start(argv=("x",), name="game"))[1]
        assert isinstance(taken, NameTaken)
        assert taken.process == name
        assert isinstance(w.ask(client, Start(argv=("x",), name=name))[1], NameTaken)
        child.exit(0)
        w.daemon.settle()
        assert isinstance(w.ask(client, Start(argv=("x",), name="game"))[1], NameTaken)
        w.ask(client, Remove(process="game"))
        w.start(client, name="game")


def test_attach_from_everywhere() -> None:
    """Everything, an offset, so many bytes from the end; beyond the end is refused."""
    with world() as w:
        client = w.client()
        _, name, child = w.start(client)
        child.write(b"0123456789")
        w.daemon.settle()
        for from_, expected in (
            (None, b"0123456789"),
            (0, b"0123456789"),
            (4, b"456789"),
            (-3, b"789"),
            (10, b""),
            (-99, b"0123456789"),
        ):
            id, reply = w.ask(client, Attach(process=name, from_=from_))
            assert isinstance(reply, Attached)
            assert (reply.begin, reply.end) == (0, 10)
            assert output_of(client, id) == expected
        refused = w.ask(client, Attach(process=name, from_=11))[1]
        assert isinstance(refused, BadRequest)
        assert refused.field == "from"


def test_attach_after_the_exit() -> None:
    """What is kept, then the ends and the status, as if one had been there."""
    with world() as w:
        client = w.client()
        _, name, child = w.start(client)
        child.write(b"last words")
        child.exit(7)
        w.daemon.settle()
        late = w.client()
        id, reply = w.ask(late, Attach(process=name))
        assert isinstance(reply, Attached)
        assert output_of(late, id) == b"last words"
        status = status_of(late, id)
        assert status is not None
        assert status.code == 7


def test_a_gap_is_exact() -> None:
    """What fell off is told to the byte, for those who were late and those who come later."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client, keep=4096)
        assert isinstance(w.ask(client, Flow(to=id, paused=True))[1], Ok)
        for number in range(10):
            child.write(bytes([48 + number]) * 1000)
            w.daemon.settle()
        assert output_of(client, id) == b""
        w.ask(client, Flow(to=id, paused=False))
        gap = next(m for other, m in client.got if isinstance(m, Gap))
        assert (gap.from_, gap.to) == (0, 10_000 - 4096)
        assert len(output_of(client, id)) == 4096
        again, _ = w.ask(client, Attach(process=name, from_=5))
        gap = next(m for other, m in client.got if other == again and isinstance(m, Gap))
        assert (gap.from_, gap.to) == (5, 10_000 - 4096)


def test_an_end_of_output_that_a_gap_has_passed() -> None:
    """It is told behind the gap, at the gap's end: offsets never go back."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client, keep=4096)
        w.ask(client, Flow(to=id, paused=True))
        child.write(b"error", 2)
        child.close(2)
        w.daemon.settle()
        child.write(b"x" * 10_000)
        w.daemon.settle()
        w.ask(client, Flow(to=id, paused=False))
        assert output_of(client, id) == b"x" * 4096
        end = next(m for other, m in client.got if isinstance(m, Output) and m.channel == 2)
        assert (end.payload, end.offset) == (b"", 10_005 - 4096)


def test_channels() -> None:
    """An attachment may want one output only."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client, channels=(2,))
        child.write(b"out")
        w.daemon.settle()
        child.write(b"err", 2)
        w.daemon.settle()
        child.exit(0)
        w.daemon.settle()
        assert output_of(client, id, 2) == b"err"
        assert {m.channel for other, m in client.got if other == id and isinstance(m, Output)} == {0, 2}
        assert status_of(client, id) is not None


def test_two_attachments_on_one_connection() -> None:
    """Each gets all of it, on its own id; DETACH ends one."""
    with world() as w:
        client = w.client()
        one, name, child = w.start(client)
        two, _ = w.ask(client, Attach(process=name))
        child.write(b"hello")
        w.daemon.settle()
        assert output_of(client, one) == output_of(client, two) == b"hello"
        assert isinstance(w.ask(client, Detach(to=one))[1], Ok)
        assert [m for other, m in client.got if other == one][-1] == End(reason=Reason.DETACHED)
        child.write(b" again")
        w.daemon.settle()
        assert output_of(client, one) == b"hello"
        assert output_of(client, two) == b"hello again"
        assert isinstance(w.ask(client, Detach(to=one))[1], NotAttached)


def test_input() -> None:
    """Accepted with its offset; repeats dropped, holes refused; EOF once, and repeated for those who repeat it."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        assert w.ask(client, Data(to=id, payload=b"one"))[1] == Taken(accepted=3, end=3)
        assert w.ask(client, Data(to=id, at=0, payload=b"onetwo"))[1] == Taken(accepted=6, end=6)
        hole = w.ask(client, Data(to=id, at=9, payload=b"x"))[1]
        assert isinstance(hole, StdinHole)
        assert hole.end == 6
        assert child.read() == b"onetwo"
        for _ in range(3):
            assert w.ask(client, Data(to=id))[1] == Taken(accepted=0, end=6)
        assert child.read() == b""
        assert isinstance(w.ask(client, Data(to=id, payload=b"x"))[1], StdinClosed)
        assert w.ask(client, Data(to=id, at=0, payload=b"one"))[1] == Taken(accepted=3, end=6)
        assert isinstance(w.ask(client, Data(to=id, channel=7, payload=b"x"))[1], UnknownChannel)
        assert isinstance(w.ask(client, Data(to=id, channel=1, payload=b"x"))[1], UnknownChannel)
        assert isinstance(w.ask(client, Data(to=99, payload=b"x"))[1], NotAttached)
        child.exit(0)
        w.daemon.settle()
        assert isinstance(w.ask(client, Data(to=id, payload=b"x"))[1], AlreadyExited)


def test_input_to_a_child_that_never_reads() -> None:
    """A window's worth and the pipe's are taken; then it is full, and EOF still goes."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client)
        taken = 0
        while True:
            reply = w.ask(client, Data(to=id, payload=b"x" * 100_000))[1]
            if isinstance(reply, StdinFull):
                break
            assert isinstance(reply, Taken)
            taken += reply.accepted
        assert WINDOW <= taken <= WINDOW + 65536 + 4096
        got = b""
        while len(got) < taken:
            got += child.read()
            w.daemon.settle()
        assert got == b"x" * taken
        record = w.ask(client, Inspect(process=name))[1]
        assert isinstance(record, OfProcess)
        assert record.process.stdin_end == taken


def test_repeated_input_is_no_error_whatever_has_happened_since() -> None:
    """Whoever comes back and repeats what was safe learns that it was; what was not is refused, and how much was."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        assert w.ask(client, Data(to=id, payload=b"hello\n", at=0))[1] == Taken(accepted=6, end=6)
        assert w.ask(client, Data(to=id))[1] == Taken(accepted=0, end=6)
        assert w.ask(client, Data(to=id, payload=b"lo\n", at=3))[1] == Taken(accepted=3, end=6)
        refusal = w.ask(client, Data(to=id, payload=b"o\nmore", at=4))[1]
        assert isinstance(refusal, StdinClosed)
        assert (refusal.accepted, refusal.end) == (2, 6)
        child.exit(0)
        w.daemon.settle()
        assert w.ask(client, Data(to=id, payload=b"hello\n", at=0))[1] == Taken(accepted=6, end=6)
        refusal = w.ask(client, Data(to=id, payload=b"o\nmore", at=4))[1]
        assert isinstance(refusal, AlreadyExited)
        assert (refusal.accepted, refusal.end) == (2, 6)
        assert w.ask(client, Data(to=id))[1] == Taken(accepted=0, end=6)
        assert isinstance(w.ask(client, Data(to=id, at=7))[1], StdinHole)


def test_a_child_that_closes_its_stdin() -> None:
    """It is told as the EOF of channel 0; what is sent from then on is refused."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        child.close(0)
        w.daemon.settle()
        assert [m.channel for other, m in client.got if other == id and isinstance(m, Output)] == [0]
        assert isinstance(w.ask(client, Data(to=id, payload=b"x"))[1], StdinClosed)


def test_closing_an_output() -> None:
    """The child is told by its pipe; the EOF comes to whoever is attached."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client)
        assert isinstance(w.ask(client, Data(to=id, channel=1))[1], Taken)
        with pytest.raises(BrokenPipeError):
            child.write(b"x")
        assert [m.channel for other, m in client.got if other == id and isinstance(m, Output)] == [1]
        child.write(b"err", 2)
        w.daemon.settle()
        assert output_of(client, id) == b"err"


def test_an_output_that_is_not_there_cannot_be_closed() -> None:
    """A merged process has one output."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client, merge=True)
        assert isinstance(w.ask(client, Data(to=id, channel=2))[1], UnknownChannel)
        assert isinstance(w.ask(client, Data(to=id, channel=1))[1], Taken)
        child.exit(0)
        w.daemon.settle()


def test_read_only() -> None:
    """Looking on is not typing."""
    with world() as w:
        client = w.client()
        id, _, _ = w.start(client, read_only=True)
        for request in (
            Data(to=id, payload=b"x"),
            Data(to=id),
            Data(to=id, channel=1),
            Kill(to=id, signal=15),
            Resize(to=id, rows=1, columns=1),
        ):
            assert isinstance(w.ask(client, request)[1], Denied)


def test_kill() -> None:
    """By id, name or attachment; the group unless said; refused once it has exited."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client, name="game")
        for request in (
            Kill(process=name, signal=1),
            Kill(process="game", signal=2, scope=Scope.PROCESS),
            Kill(to=id, signal=3, scope=Scope.TREE),
            Kill(to=id, signal=0, generation=1),
        ):
            assert isinstance(w.ask(client, request)[1], Ok)
        assert child.signals == [(1, "group"), (2, "process"), (3, "tree"), (0, "group")]
        assert isinstance(w.ask(client, Kill(to=id, signal=9, generation=2))[1], WrongGeneration)
        child.exit(0)
        w.daemon.settle()
        assert isinstance(w.ask(client, Kill(to=id, signal=9))[1], AlreadyExited)
        assert len(child.signals) == 4


def test_remove() -> None:
    """Only what has exited; attachments are ended by it."""
    with world() as w:
        client = w.client()
        id, name, child = w.start(client)
        assert isinstance(w.ask(client, Remove(process=name))[1], NotRunning)
        child.exit(0)
        w.daemon.settle()
        assert isinstance(w.ask(client, Remove(process=name, generation=9))[1], WrongGeneration)
        assert isinstance(w.ask(client, Remove(process=name, generation=1))[1], Ok)
        assert [m for other, m in client.got if other == id][-1] == End(reason=Reason.REMOVED)


def test_list_selects_and_pages() -> None:
    """Terms are joined by and; pages follow each other, also across a removal."""
    with world() as w:
        client = w.client()
        names = [f"web{number}" for number in range(5)] + ["db"]
        for number, name in enumerate(names):
            w.ask(client, Start(argv=("x",), name=name, labels=(f"n={number}", "site=a")))
        w.children[1].exit(0)
        w.daemon.settle()

        def names_of(*select: str) -> list[str | None]:
            reply = w.ask(client, List(select=select))[1]
            assert isinstance(reply, Listing), reply
            return [record.name for record in reply.processes]

        assert names_of() == names
        assert names_of("name=web*") == names[:5]
        assert names_of("web*", "state=running") == ["web0", "web2", "web3", "web4"]
        assert names_of("label.n=[23]") == ["web2", "web3"]
        assert names_of("label.site=b") == []
        assert names_of("state=exited") == ["web1"]
        for bad in ("colour=red", "state=asleep", "label.=x", "x" * 300):
            assert isinstance(w.ask(client, List(select=(bad,)))[1], BadRequest)
        assert isinstance(w.ask(client, List(select=("x" * 250,) * 5))[1], BadRequest)
        for bad in ("", "x", "1-", "9" * 5000 + "-x"):
            assert isinstance(w.ask(client, List(after=bad))[1], NoSuchProcess)
        first = w.ask(client, List(limit=2))[1]
        assert isinstance(first, Listing)
        w.ask(client, Remove(process="web1"))
        second = w.ask(client, List(limit=3, after=first.after))[1]
        assert isinstance(second, Listing)
        third = w.ask(client, List(after=second.after))[1]
        assert isinstance(third, Listing)
        pages = [*first.processes, *second.processes, *third.processes]
        assert [record.name for record in pages] == names
        assert third.after is None


def test_a_long_list_comes_in_pages_by_itself() -> None:
    """A reply always fits into a message."""
    with world() as w:
        client = w.client()
        for _ in range(30):
            w.ask(client, Start(argv=("x" * 100_000,)))
        seen = 0
        after = None
        while True:
            reply = w.ask(client, List(after=after))[1]
            assert isinstance(reply, Listing), reply
            seen += len(reply.processes)
            after = reply.after
            if after is None:
                break
        assert seen == 30


def test_info() -> None:
    """Who it is, what it allows, what it has."""
    with world(processes=7) as w:
        client = w.client()
        w.start(client)
        info = w.ask(client, Info())[1]
        assert isinstance(info, DaemonInfo)
        assert info.limits.processes == 7
        assert (info.counts.clients, info.counts.running, info.counts.attachments) == (1, 1, 1)


def test_shutdown() -> None:
    """Answered, then asked for; keep is refused as long as nothing could keep them."""
    with world() as w:
        client = w.client()
        assert isinstance(w.ask(client, Shutdown(processes=Fate.KEEP))[1], BadRequest)
        assert not w.daemon.shutdown_asked
        assert isinstance(w.ask(client, Shutdown())[1], Ok)
        assert w.daemon.shutdown_asked


def test_a_process_whose_record_fits_into_no_message_is_not_started() -> None:
    """Nobody could list it; the largest that fits is started, listed and attached to."""
    with world() as w:
        client = w.client()
        for argv in (("x", "y" * (RECORD_WORDS_MAX - 8)), ("é" * (RECORD_WORDS_MAX // 2),), ("x",) * 207_000):
            with pytest.raises(TooLarge):
                Start(argv=argv)
            request = Start(argv=("x",), attach=True)
            object.__setattr__(request, "argv", argv)
            refusal = w.ask(client, request)[1]
            assert isinstance(refusal, TooLarge)
            assert refusal.field == "argv"
        assert w.children == []
        w.start(client, "x", "y" * (RECORD_WORDS_MAX - 20))
        listing = w.ask(client, List())[1]
        assert isinstance(listing, Listing)
        assert len(listing.processes) == 1
        w.children[0].exit(0)
        w.daemon.settle()


def test_what_waits_is_answered_when_the_daemon_stops() -> None:
    """What has not come about by then is refused, not forgotten."""
    with world() as w:
        client = w.client()
        _, name, child = w.start(client)
        child.exit(0)
        w.daemon.settle()
        id = w.post(client, Wait(process=name, for_=Until.REMOVED))
        stopping = w.daemon.service.stopService()
        w.daemon.settle()
        w.reactor.advance(5)
        w.daemon.settle()
        assert stopping.called
        assert [type(message) for other, message in client.got if other == id] == [ShuttingDown]


def test_stopping_tells_everybody_everything() -> None:
    """The children get SIGTERM, their last words and status arrive, then END; SIGKILL after the grace."""
    with world(grace=3.0) as w:
        client = w.client()
        id, _, child = w.start(client)
        stubborn, _, other = w.start(client)
        stopping = w.daemon.service.stopService()
        w.daemon.settle()
        assert (15, "group") in child.signals
        assert isinstance(w.ask(client, Start(argv=("x",)))[1], ShuttingDown)
        assert isinstance(w.ask(client, List())[1], Listing)
        child.write(b"bye")
        child.exit(0)
        w.daemon.settle()
        assert not stopping.called
        w.reactor.advance(3.0)
        assert (9, "tree") in other.signals
        other.exit(signal=9)
        for _ in range(5):
            w.daemon.settle()
            w.reactor.advance(0.1)
        assert stopping.called
        assert output_of(client, id) == b"bye"
        for one in (id, stubborn):
            assert status_of(client, one) is not None
            assert [m for o, m in client.got if o == one][-1] == End(reason=Reason.SHUTDOWN)
        assert client.lost


def test_retention() -> None:
    """The oldest of the finished go first; whoever is attached to one is told."""
    with world(exited=2) as w:
        client = w.client()
        ids = []
        for _ in range(4):
            reply = w.ask(client, Start(argv=("x",)))[1]
            assert isinstance(reply, Started)
            ids.append(reply.process.id)
            w.children[-1].exit(0)
            w.daemon.settle()
        listing = w.ask(client, List())[1]
        assert isinstance(listing, Listing)
        assert [record.id for record in listing.processes] == ids[2:]


def test_what_is_being_read_is_forgotten_last() -> None:
    """Up to a bound; past it the reader is told exactly what it misses."""
    with world(exited=1, processes=2) as w:
        client = w.client()
        started = []
        for _ in range(5):
            id, name, child = w.start(client)
            w.ask(client, Flow(to=id, paused=True))
            child.write(b"unread")
            child.exit(0)
            w.daemon.settle()
            started.append((id, name))
        listing = w.ask(client, List())[1]
        assert isinstance(listing, Listing)
        assert [process.id for process in listing.processes] == [name for _, name in started[2:]]
        for id, _ in started[:2]:
            assert output_of(client, id) == b""
            assert [m for other, m in client.got if other == id and isinstance(m, Gap)] == [Gap(from_=0, to=6)]
            assert status_of(client, id) is not None
        id, _ = started[2]
        w.ask(client, Flow(to=id, paused=False))
        assert output_of(client, id) == b"unread"


def test_limits() -> None:
    """One process more than allowed is refused, with a word of what would help."""
    with world(processes=2) as w:
        client = w.client()
        w.start(client)
        w.start(client)
        refused = w.ask(client, Start(argv=("x",)))[1]
        assert isinstance(refused, LimitReached)
        assert "--processes" in str(refused)


def test_too_many_clients() -> None:
    """The newcomer is told and closed; who is in stays in."""
    with world(clients=2) as w:
        one, two = w.client(), w.client()
        three = w.client()
        assert three.aborted is not None
        assert "limit" in str(three.aborted)
        assert three.lost
        assert not one.lost
        assert not two.lost
        two.transport.loseConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        assert w.client().aborted is None


@pytest.mark.parametrize("uid", [1, 65534])
def test_strangers(uid: int) -> None:
    """Another user is told so and closed."""
    with world() as w:
        client = w.client(uid=uid)
        assert client.aborted is not None
        assert client.aborted.errno == errno.EACCES
        assert client.lost


def test_a_responder_that_fails(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """The sender gets an internal error, and everything goes on."""
    from netdaemon.daemon.responders import RESPONDERS

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with world() as w:
        client = w.client()
        monkeypatch.setitem(RESPONDERS, Info, broken)
        assert isinstance(w.ask(client, Info())[1], InternalError)
        assert len(logged.flush(ZeroDivisionError)) == 1
        monkeypatch.undo()
        assert isinstance(w.ask(client, Info())[1], DaemonInfo)


def test_no_terminal_no_size() -> None:
    """RESIZE is for terminals."""
    with world() as w:
        client = w.client()
        id, _, _ = w.start(client)
        assert isinstance(w.ask(client, Resize(to=id, rows=10, columns=10))[1], BadRequest)


# --- the same START again ---


def test_a_key_makes_a_start_idempotent() -> None:
    """The same START again, by the same client or another: the same process, attached to or not; nothing is started."""
    with world() as w:
        client, other = w.client(), w.client()
        start = Start(argv=("game",), key="k1", attach=True)
        _, first = w.ask(client, start)
        _, again = w.ask(other, start)
        assert isinstance(first, Attached)
        assert isinstance(again, Attached)
        assert first.process.id == again.process.id
        _, bare = w.ask(other, Start(argv=("game",), key="k1"))
        assert isinstance(bare, Started)
        assert (bare.process.id, bare.created) == (first.process.id, False)
        assert len(w.children) == 1


def test_a_key_of_another_spec_is_refused() -> None:
    """Whatever differs of the process; what differs of the attachment does not matter."""
    with world() as w:
        client = w.client()
        _, first = w.ask(client, Start(argv=("game",), env=("A=1",), key="k1"))
        assert isinstance(first, Started)
        for differing in (Start(argv=("game",), key="k1"), Start(argv=("game",), env=("A=1",), name="n", key="k1")):
            _, refused = w.ask(client, differing)
            assert isinstance(refused, SpecDiffers)
            assert (refused.field, refused.process) == ("key", first.process.id)
        assert len(w.children) == 1


def test_a_key_is_free_again() -> None:
    """When its process is removed, and when it could not be started."""
    with world() as w:
        client = w.client()
        w.launcher.refusals.append(LaunchError("exec", errno.ENOENT))
        start = Start(argv=("game",), key="k1")
        assert isinstance(w.ask(client, start)[1], LaunchFailed)
        _, first = w.ask(client, start)
        assert isinstance(first, Started)
        assert first.created
        w.children[0].exit(0)
        w.daemon.settle()
        _, same = w.ask(client, start)
        assert isinstance(same, Started)
        assert same.process.id == first.process.id
        w.ask(client, Remove(process=first.process.id))
        _, fresh = w.ask(client, start)
        assert isinstance(fresh, Started)
        assert fresh.created
        assert fresh.process.id != first.process.id


def test_a_holder_of_one_channel_holds_for_that_only() -> None:
    """What comes on the other is nothing that it waits for, however much of it there is."""
    with world() as w:
        client = w.client()
        id, _, child = w.start(client, keep=4096, hold=-1, channels=(2,))
        for _ in range(20):
            assert child.write(b"o" * 4096) == 4096
            w.daemon.settle()
        child.write(b"err", 2)
        w.daemon.settle()
        assert output_of(client, id, 2) == b"err"
        child.exit(0)
        w.daemon.settle()
