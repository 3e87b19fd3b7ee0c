"""The whole table at once: whatever is asked and whatever happens, in any order, what is promised holds.

One daemon in memory, children that the test plays, clients of which one does not read; after each step all that was
told since is held against what the children have written and what was asked.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from netdaemon.daemon import feed
from netdaemon.daemon.database import DatabaseFailed
from netdaemon.daemon.outflow import OUTPUT_CHUNK, REPLY_BACKLOG
from netdaemon.errors import InternalError, Refusal
from netdaemon.keeper.child import Launched, LaunchError, Spec
from netdaemon.process import points
from netdaemon.process.launches import launch_id, process_of
from netdaemon.process.record import Process
from netdaemon.process.saved import PENDING_MOST
from netdaemon.process.spool import Spool
from netdaemon.process.stdin import Stdin
from netdaemon.testing import PIPE_SIZE, FakeChild
from netdaemon.wire.answers import (
    WINDOW,
    Attached,
    End,
    Event,
    Gap,
    Happened,
    Message,
    OfProcess,
    Output,
    Started,
    Status,
    Stopped,
    Watching,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Inspect,
    Kill,
    List,
    Prune,
    Remove,
    Request,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import Reason, State, Until
from netdaemon.wire.specs import Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening
from tests.daemon.lives import advance, managed
from tests.daemon.support import Bare
from tests.support import LONG, Figure

# Those of it that exit, and what may be asked of them.
NAMES = ["web", "game"]
KEYS = ["k1", "k2"]

UP = b"up\n"
QUIT = b"quit\n"

RESTARTS = st.one_of(
    st.none(),
    st.builds(
        Restart,
        policy=st.sampled_from(Policy),
        delay=st.sampled_from([0, 100, 5000]),
        longest=st.just(60_000),
        settled=st.sampled_from([0, 10_000]),
        burst=st.sampled_from([0, 0, 1, 3]),
    ),
)
READY = st.one_of(
    st.none(),
    st.builds(Ready, output=st.just("up"), timeout=st.sampled_from([None, 3000])),
    st.builds(Ready, pattern=st.just("^up$"), timeout=st.just(None)),
    st.builds(Ready, notify=st.just(True), timeout=st.sampled_from([None, 3000])),
)
STEPS = st.sampled_from(
    [
        None,
        (Step(stdin=QUIT), Step(wait=2000), Step(signal=15), Step(wait=2000), Step(kill=True)),
        (Step(signal=2), Step(wait=500)),
        (Step(kill=True),),
    ]
)
DECLARED = {
    "restart": RESTARTS,
    "ready": READY,
    "watchdog": st.sampled_from([None, None, 4000]),
    "stop": STEPS,
}
WHICH = st.integers(0, 7)
WHO = st.integers(0, 2)

# Whose transport can be stopped.
SLOW = 2


@dataclass
class Follow:
    """What somebody who is attached has been told."""

    process: str
    offset: int
    channels: frozenset[int]
    generation: int = 0
    state: State | None = None
    closed: set[int] = field(default_factory=set)


@dataclass
class Counts:
    """How much was done; for the figure."""

    runs: int = 0
    steps: int = 0
    children: int = 0
    events: int = 0
    gaps: int = 0


COUNTS = Counts()


class WholeTable(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = contextlib.ExitStack()
        self.w, self.journalled = self.exits.enter_context(managed(processes=5, exited=3, grace=1.0))
        self.failures: list[Any] = []
        globalLogPublisher.addObserver(self._observe)
        self.clients: list[Bare] = [self.w.client() for _ in range(3)]
        self.slow_reads = True
        self.asked: dict[tuple[int, int], Request] = {}
        self.follows: dict[tuple[int, int], Follow] = {}
        self.watches: dict[tuple[int, int], int] = {}
        self.ids: list[str] = []
        # By process: what was appended, by where its spool began.
        self.truth: dict[str, dict[int, bytearray]] = defaultdict(dict)
        self.channels: dict[str, dict[int, bytearray]] = defaultdict(dict)
        self.inputs: dict[Stdin, bytearray] = {}
        # By child: its input as it was accepted, and as it was read; where its output began; how much it wrote.
        self.stdins: dict[FakeChild, Stdin] = {}
        self.read: dict[FakeChild, bytearray] = defaultdict(bytearray)
        self.bases: dict[FakeChild, int] = {}
        self.wrote: dict[FakeChild, int] = defaultdict(int)
        self.launches: dict[str, list[str]] = defaultdict(list)
        # Those that were stopped, and are to stay so; with the number of their launches then.
        self.down: dict[str, int] = {}
        self.broken = False
        self.flapped = False
        self._hook()
        COUNTS.runs += 1

    def _observe(self, event: Any) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"])

    def _hook(self) -> None:
        """Look over the shoulders of spools, inputs and the launcher."""
        append_from, accept, launch = Spool.append_from, Stdin.accept, self.w.launcher.launch
        take_back = Stdin.take_back

        def append(spool: Spool, pipe: int, channel: int, count: int, now: int) -> int:
            start = spool.end
            moved = append_from(spool, pipe, channel, count, now)
            process = next((one for one in self.w.daemon.service.table if one.spool is spool), None)
            if process is not None and moved:
                bases = self.truth[process.id]
                base = max((one for one in bases if one <= start), default=None)
                if base is None or base + len(bases[base]) != start:
                    base = start
                    bases[base], self.channels[process.id][base] = bytearray(), bytearray()
                offset = start
                while offset < spool.end:
                    segment = spool.segment(offset, 1 << 20)
                    bases[base] += segment.data
                    self.channels[process.id][base] += bytes([segment.channel]) * len(segment.data)
                    offset += len(segment.data)
            return moved

        def accepting(stdin: Stdin, data: bytes, at: int | None) -> int:
            before = stdin.end
            accepted = accept(stdin, data, at)
            fresh = stdin.end - before
            self.inputs.setdefault(stdin, bytearray()).extend(bytes(data[:accepted])[accepted - fresh :])
            return accepted

        def taking_back(stdin: Stdin, count: int) -> None:
            take_back(stdin, count)
            del self.inputs[stdin][-count:]

        def launching(id: str, spec: Spec, spool: int, shared: Mapping[str, int] | None = None) -> Deferred[Launched]:
            self.launches[process_of(id)].append(id)
            count = len(self.w.children)
            done = launch(id, spec, spool, shared)
            process = self._find(process_of(id))
            if process is not None and len(self.w.children) > count:
                child = self.w.children[-1]
                self.stdins[child] = process.stdin
                self.bases[child] = process.spool.end
                COUNTS.children += 1
            return done

        self.exits.enter_context(mock.patch.object(Spool, "append_from", append))
        self.exits.enter_context(mock.patch.object(Stdin, "accept", accepting))
        self.exits.enter_context(mock.patch.object(Stdin, "take_back", taking_back))
        self.w.launcher.launch = launching  # type: ignore[method-assign]

    # --- what there is -----------------------------------------------------------------------------------------------

    def _find(self, id: str) -> Process | None:
        table = self.w.daemon.service.table
        return table.find(id) if table.has(id) else None

    def _id(self, which: int) -> str:
        return self.ids[-1 - which % len(self.ids)] if self.ids else "nobody"

    @property
    def alive(self) -> list[FakeChild]:
        return [child for child in self.w.children if child.status is None]

    def _child(self, which: int) -> FakeChild:
        return self.alive[which % len(self.alive)]

    def _attachments(self, who: int) -> list[int]:
        return [id for other, id in self.follows if other == who]

    # --- what is asked -----------------------------------------------------------------------------------------------

    def ask(self, who: int, request: Request) -> None:
        """Ask it, and see to all that is told."""
        client = self.clients[who]
        id, octets = client.connection.request(request)
        self.asked[who, id] = request
        if isinstance(request, Again):
            # Who asks for a start again makes it up again.
            for one in list(self.down):
                process = self._find(request.process)
                if process is None or process.id == one:
                    del self.down[one]
        client.send(octets)
        self.settle()

    def settle(self) -> None:
        COUNTS.steps += 1
        self.w.daemon.settle()
        self.take()

    def take(self) -> None:
        """Hold all that has come against what is promised."""
        for who, client in enumerate(self.clients):
            got, client.got = client.got, []
            for id, message in got:
                if isinstance(message, Event):
                    self.event(who, id, message)
                elif (who, id) not in self.asked:
                    assert not self._greeted(message), f"a second reply: {message}"
                else:
                    self.reply(who, id, self.asked.pop((who, id)), message)

    def _greeted(self, message: Message | Refusal) -> bool:
        return type(message).__name__ != "Welcome"

    def reply(self, who: int, id: int, request: Request, reply: Message | Refusal) -> None:
        assert isinstance(reply, (Refusal, *request.replies)), (request, reply)
        assert not isinstance(reply, InternalError), (request, reply)
        if isinstance(reply, Attached | Started) and reply.process.id not in self.ids:
            self.ids.append(reply.process.id)
        if isinstance(reply, Attached):
            channels = getattr(request, "channels", None) or (1, 2)
            self.follows[who, id] = Follow(reply.process.id, reply.offset, frozenset(channels))
        elif isinstance(reply, Watching):
            self.watches[who, id] = int(reply.cursor.rpartition("-")[2])
        elif isinstance(reply, Stopped):
            assert reply.process.state in (State.EXITED, State.FAILED, State.BACKOFF)
            process = self._find(reply.process.id)
            if process is not None and process.finished:
                self.down[process.id] = len(self.launches[process.id])
        elif isinstance(request, Again) and isinstance(reply, OfProcess) and request.generation is not None:
            assert reply.process.generation > request.generation

    # --- what is told ------------------------------------------------------------------------------------------------

    def event(self, who: int, id: int, event: Event) -> None:
        if isinstance(event, End):
            if (who, id) in self.watches:
                del self.watches[who, id]
            else:
                follow = self.follows.pop((who, id))
                assert event.reason in (Reason.DETACHED, Reason.REMOVED)
                if event.reason is Reason.REMOVED and follow.state is not None:
                    # Whatever it has missed, how it all ended was told.
                    assert follow.state in (State.EXITED, State.FAILED)
            return
        if isinstance(event, Happened):
            COUNTS.events += 1
            if event.snapshot:
                return
            number = int(event.cursor.rpartition("-")[2])
            assert number == self.watches[who, id] + 1, (number, self.watches[who, id])
            self.watches[who, id] = number
            return
        follow = self.follows[who, id]
        if isinstance(event, Gap):
            assert event.from_ == follow.offset < event.to or follow.channels != {1, 2}
            follow.offset = event.to
            COUNTS.gaps += 1
        elif isinstance(event, Status):
            self.status(follow, event)
        elif isinstance(event, Output):
            self.output(follow, event)

    def output(self, follow: Follow, event: Output) -> None:
        if not event.payload:
            assert event.channel not in follow.closed, (event, follow)
            follow.closed.add(event.channel)
            return
        assert event.channel in follow.channels
        whole = follow.channels == {1, 2}
        assert event.offset == follow.offset if whole else event.offset >= follow.offset
        follow.offset = event.offset + len(event.payload)
        base = max(one for one in self.truth[follow.process] if one <= event.offset)
        place = slice(event.offset - base, follow.offset - base)
        assert self.truth[follow.process][base][place] == event.payload
        assert set(self.channels[follow.process][base][place]) == {event.channel}

    def status(self, follow: Follow, event: Status) -> None:
        if event.generation != follow.generation:
            assert event.generation > follow.generation
            if follow.generation:
                assert event.generation == follow.generation + 1
                assert follow.state in (State.BACKOFF, State.EXITED, State.FAILED)
            follow.generation, follow.closed = event.generation, set()
        follow.state = event.state
        if event.state not in (State.BACKOFF, State.EXITED, State.FAILED):
            return
        if follow.channels == {1, 2}:
            # Everything has gone before, but for what was given up with the process.
            assert follow.offset >= event.end
        # And what the child has written before its exit is among it.
        for child in self.w.children:
            name, _, generation = child.launched.id.partition("-")
            if name == follow.process and int(generation or 1) == event.generation:
                assert event.end - self.bases[child] >= self.wrote[child], (event, self.wrote[child])

    # --- rules -------------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Somebody watches, and some run."""
        self.ask(0, Watch())
        self.ask(0, Start(argv=("x",), attach=True, keep=4096, restart=Restart(policy=Policy.ON_FAILURE)))
        self.ask(1, Start(argv=("x",), attach=True, keep=4096, hold=1000))
        self.ask(SLOW, Start(argv=("x",), attach=True, keep=4096, ready=Ready(output="up")))

    @rule(
        who=WHO,
        attach=st.booleans(),
        name=st.sampled_from([None, None, *NAMES]),
        key=st.sampled_from([None, None, *KEYS]),
        hold=st.sampled_from([None, None, 1000]),
        declared=st.fixed_dictionaries(DECLARED),
    )
    def start(self, who: int, attach: bool, name: str | None, key: str | None, hold: int | None, declared: Any) -> None:
        self.ask(
            who,
            Start(
                argv=("x",),
                keep=4096,
                name=name,
                key=key,
                attach=attach or None,
                hold=hold if attach else None,
                **declared,
            ),
        )

    @rule()
    def refuse_the_next_launch(self) -> None:
        self.w.launcher.refusals.append(LaunchError("exec", 2))

    @precondition(lambda self: self.alive)
    @rule(which=WHICH, code=st.sampled_from([0, 0, 1]), signal=st.sampled_from([None, None, 11]), leaves=st.booleans())
    def exit(self, which: int, code: int, signal: int | None, leaves: bool) -> None:
        self._child(which).exit(code, signal=signal, leave_open=leaves)
        self.settle()

    @precondition(lambda self: any(child.signals for child in self.alive))
    @rule(which=WHICH)
    def obey(self, which: int) -> None:
        """One that was signalled does as it was told."""
        told = [child for child in self.alive if child.signals]
        child = told[which % len(told)]
        child.exit(signal=child.signals[-1][0])
        self.settle()

    @rule()
    def grandchildren_let_go(self) -> None:
        for child in self.w.children:
            if child.status is not None:
                for channel in list(child._ends):
                    child.close(channel)
        self.settle()

    @precondition(lambda self: self.alive)
    @rule(which=WHICH, channel=st.sampled_from([1, 1, 2]), size=st.sampled_from([1, 100, 3000, 20_000]))
    def write(self, which: int, channel: int, size: int) -> None:
        child = self._child(which)
        with contextlib.suppress(BlockingIOError, KeyError):
            self.wrote[child] += child.write(os.urandom(size).replace(b"u", b"v"), channel)
        self.settle()

    @precondition(lambda self: self.alive)
    @rule(which=WHICH)
    def get_ready(self, which: int) -> None:
        child = self._child(which)
        with contextlib.suppress(BlockingIOError, KeyError):
            self.wrote[child] += child.write(b"\n" + UP)
        self._say(child, b"READY=1")
        self.settle()

    @precondition(lambda self: self.alive)
    @rule(which=WHICH)
    def show_life(self, which: int) -> None:
        self._say(self._child(which), b"WATCHDOG=1")
        self.settle()

    def _say(self, child: FakeChild, word: bytes) -> None:
        for one in child.spec.env:
            if one.startswith(b"NOTIFY_SOCKET="):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
                    sock.sendto(word, one.partition(b"=")[2])

    @rule(who=WHO, which=WHICH, steps=STEPS, old=st.booleans())
    def stop(self, who: int, which: int, steps: Any, old: bool) -> None:
        self.ask(who, Stop(process=self._id(which), steps=steps, generation=1 if old else None))

    @rule(who=WHO, which=WHICH, old=st.booleans())
    def restart(self, who: int, which: int, old: bool) -> None:
        self.ask(who, Again(process=self._id(which), generation=1 if old else None))

    @rule(who=WHO, which=WHICH, signal=st.sampled_from([0, 9, 15]))
    def kill(self, who: int, which: int, signal: int) -> None:
        self.ask(who, Kill(process=self._id(which), signal=signal))

    @rule(who=WHO, which=WHICH)
    def remove(self, who: int, which: int) -> None:
        self.ask(who, Remove(process=self._id(which)))

    @rule(who=WHO, age=st.sampled_from([0, 5000]), select=st.sampled_from([None, ("state=failed",), ("web",)]))
    def prune(self, who: int, age: int, select: Any) -> None:
        self.ask(who, Prune(age=age, select=select))

    @rule(
        who=WHO,
        which=WHICH,
        name=st.sampled_from([None, *NAMES]),
        whole=st.booleans(),
        declared=st.fixed_dictionaries(DECLARED),
    )
    def change(self, who: int, which: int, name: str | None, whole: bool, declared: Any) -> None:
        argv = ("y",) if whole else None
        self.ask(who, Change(process=self._id(which), whole=whole or None, argv=argv, name=name, **declared))

    @rule(who=WHO, which=WHICH, until=st.sampled_from([Until.EXITED, Until.ENDED, *[Until.RUNNING] * 2, Until.REMOVED]))
    def wait(self, who: int, which: int, until: Until) -> None:
        self.ask(who, Wait(process=self._id(which), for_=until))

    @rule(
        who=WHO,
        which=WHICH,
        from_=st.sampled_from([None, None, -100]),
        channels=st.sampled_from([None, None, (1,), (2,)]),
        hold=st.sampled_from([None, 1000]),
    )
    def attach(self, who: int, which: int, from_: int | None, channels: Any, hold: int | None) -> None:
        self.ask(who, Attach(process=self._id(which), from_=from_, channels=channels, hold=hold))

    @precondition(lambda self: self.follows)
    @rule(which=WHICH)
    def detach(self, which: int) -> None:
        who, id = list(self.follows)[which % len(self.follows)]
        self.ask(who, Detach(to=id))

    @precondition(lambda self: self.follows)
    @rule(which=WHICH, paused=st.booleans())
    def flow(self, which: int, paused: bool) -> None:
        who, id = list(self.follows)[which % len(self.follows)]
        self.ask(who, Flow(to=id, paused=paused))

    @precondition(lambda self: self.follows)
    @rule(which=WHICH, size=st.sampled_from([5000, 50_000]), seconds=st.sampled_from([0, 0.5, 2.0]))
    def write_past_a_reader(self, which: int, size: int, seconds: float) -> None:
        """One that has paused, and goes on after a while."""
        who, id = list(self.follows)[which % len(self.follows)]
        follow = self.follows[who, id]
        self.ask(who, Flow(to=id, paused=True))
        for child in self.alive:
            if process_of(child.launched.id) == follow.process:
                with contextlib.suppress(BlockingIOError, KeyError):
                    self.wrote[child] += child.write(bytes(size))
        advance(self.w, seconds)
        self.settle()
        self.nobody_is_held_too_long()
        if (who, id) in self.follows:
            self.ask(who, Flow(to=id, paused=False))

    @precondition(lambda self: self.alive)
    @rule(which=WHICH)
    def wait_for_one_that_exits(self, which: int) -> None:
        child = self._child(which)
        for until in Until:
            self.ask(0, Wait(process=process_of(child.launched.id), for_=until))
        self.nobody_waits_for_nothing()
        child.exit(0)
        self.settle()

    @precondition(lambda self: not self.flapped)
    @rule()
    def exits_again_and_again(self) -> None:
        """One that is started again at once, more often than is kept of it. It takes long: once a run."""
        self.flapped = True
        client = self.clients[0]
        id, octets = client.connection.request(
            Start(argv=("x",), keep=4096, restart=Restart(policy=Policy.ALWAYS, delay=0))
        )
        self.asked[0, id] = Start(argv=("x",))
        count = len(self.w.children)
        client.send(octets)
        self.settle()
        for _ in range(points.MOST // 3):
            if len(self.w.children) == count:
                # There was no room for it, or it was refused.
                return
            count = len(self.w.children)
            self.w.children[-1].exit(1)
            advance(self.w, 0.01)
        self.settle()

    @rule(who=WHO, which=WHICH, fails=st.booleans())
    def restart_one_that_has_exited(self, who: int, which: int, fails: bool) -> None:
        finished = [one.id for one in self.w.daemon.service.table if one.finished]
        if finished:
            if fails:
                self.w.launcher.refusals.append(LaunchError("exec", 2))
            self.ask(who, Again(process=finished[which % len(finished)]))
            self.w.launcher.refusals.clear()

    @precondition(lambda self: self.follows)
    @rule(which=WHICH, text=st.sampled_from([b"list\n", QUIT, b"qui", b"t\n", b"x" * 70_000, b""]), again=st.booleans())
    def type(self, which: int, text: bytes, again: bool) -> None:
        who, id = list(self.follows)[which % len(self.follows)]
        process = self._find(self.follows[who, id].process)
        at = max(0, process.stdin.end - len(text)) if again and process is not None else None
        self.ask(who, Data(to=id, payload=text, at=at))

    @precondition(lambda self: self.alive)
    @rule(which=WHICH)
    def read_input(self, which: int) -> None:
        child = self._child(which)
        with contextlib.suppress(BlockingIOError, KeyError):
            self.read[child] += child.read()
        accepted = self.inputs.get(self.stdins[child], b"")
        assert accepted[: len(self.read[child])] == self.read[child]
        self.settle()

    @rule(who=WHO, since=st.booleans(), select=st.just(None))
    def watch(self, who: int, since: bool, select: Any) -> None:
        last = self.w.daemon.service.feed.last
        cursor = self.w.daemon.service.feed.cursor(max(0, last - 5)) if since else None
        self.ask(who, Watch(since=cursor, select=select))

    @precondition(lambda self: self.watches)
    @rule(which=WHICH)
    def watch_no_more(self, which: int) -> None:
        who, id = list(self.watches)[which % len(self.watches)]
        self.ask(who, Detach(to=id))

    @rule(who=WHO, which=WHICH)
    def look(self, who: int, which: int) -> None:
        self.ask(who, Inspect(process=self._id(which)))
        self.ask(who, List())

    @rule(seconds=st.sampled_from([0.02, 0.5, 1.1, 2.5, 5.1, 11.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        advance(self.w, seconds)
        self.settle()

    @rule(reads=st.booleans())
    def a_client_reads_or_not(self, reads: bool) -> None:
        transport: Any = self.clients[SLOW].transport
        self.slow_reads = reads
        if reads:
            transport.resumeProducing()
        else:
            transport.pauseProducing()
        self.settle()

    @rule()
    def the_journal_breaks(self) -> None:
        def fail(*_: object) -> None:
            raise DatabaseFailed("no space left")

        self.broken = True
        self.w.daemon.service.journal.database.commit = fail  # type: ignore[method-assign, assignment]

    @precondition(lambda self: self.broken)
    @rule()
    def the_journal_is_mended(self) -> None:
        self.broken = False
        del self.w.daemon.service.journal.database.commit
        advance(self.w, 1.1)
        self.settle()

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_has_failed(self) -> None:
        """G5: no mistake of ours, and no connection lost."""
        assert [failure.getTraceback() for failure in self.failures] == []
        assert [client.aborted for client in self.clients] == [None] * 3
        assert not any(client.lost for client in self.clients)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """G11: what has not been answered is still to come."""
        for (who, _), request in self.asked.items():
            if who == SLOW and not self.slow_reads:
                continue
            if isinstance(request, Prune):
                assert self.broken
                continue
            assert isinstance(request, Stop | Again | Wait), request
            process = self._find(request.process)
            assert process is not None, request
            if isinstance(request, Stop):
                assert process.state in (State.STOPPING, State.STARTING), request
            elif isinstance(request, Again):
                assert not process.finished, request
            else:
                until = request.for_ or Until.EXITED
                come = {
                    Until.RUNNING: process.state is State.RUNNING or process.finished,
                    Until.EXITED: process.finished,
                    Until.ENDED: process.ended,
                    Until.REMOVED: process.removed,
                }
                assert not come[until], (request, process.state)

    @invariant()
    def one_child_at_most(self) -> None:
        """Each generation is launched once, the next when the last has exited."""
        alive = [process_of(child.launched.id) for child in self.alive]
        assert len(alive) == len(set(alive))
        for id, names in self.launches.items():
            assert names == [launch_id(id, number) for number in range(1, len(names) + 1)]

    @invariant()
    def what_was_stopped_stays_so(self) -> None:
        """Until somebody asks for it."""
        for id, count in self.down.items():
            assert len(self.launches[id]) == count

    @invariant()
    def states_are_true(self) -> None:
        """They are those of the children; nothing is late."""
        now = round(self.w.reactor.seconds() * 1e6) + 1_800_000_000_000_000
        for process in self.w.daemon.service.table:
            record = process.record()
            state = process.state
            assert record.state is state
            assert (record.due is not None) == (state is State.BACKOFF)
            assert (record.step is not None) == (state is State.STOPPING)
            if state is State.BACKOFF:
                assert (record.due or 0) >= now
            if state in (State.RUNNING, State.STOPPING):
                assert process.launched is not None
                assert process.current.ready or state is State.STOPPING
            if process.finished or state is State.BACKOFF:
                assert process.status is not None
                assert record.pid is None
            timeout = process.current.signs.ready and process.current.signs.ready.timeout
            if state is State.STARTING and timeout and not process.current.fault:
                assert now <= (process.current.started or 0) + timeout * 1000

    @invariant()
    def nobody_is_held_too_long(self) -> None:
        """G3: as long as the longest right of those who hold, and no longer."""
        for process in self.w.daemon.service.table:
            since = process.holding._since
            if since is not None:
                allowed = max(one.allowance or 0.0 for one in process.holding._blockers)
                assert self.w.reactor.seconds() - since <= allowed + 1e-6

    @invariant()
    def memory_is_bounded(self) -> None:
        """G4: what can be counted of it."""
        service = self.w.daemon.service
        assert service.table.exited <= 3 + 5
        assert service.table.running <= 5
        for process in service.table:
            assert len(list(process.points)) <= points.MOST
            assert len(process.events.pending) <= PENDING_MOST
            assert process.spool.end - process.spool.begin <= process.spool.size == 4096
            assert process.stdin.waiting <= WINDOW
        assert len(service.feed._recent) <= feed.RECENT
        for peer in service.peers:
            for subscription in peer.subscriptions.values():
                assert len(subscription._page) <= feed.PAGE
            transport: Any = peer.transport
            assert transport.waiting <= PIPE_SIZE + 2 * OUTPUT_CHUNK + REPLY_BACKLOG
        if not self.broken:
            assert service.journal.waiting <= 1000

    # --- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if not hasattr(self, "w") or self.failures:
                return
            self._finish()
        finally:
            globalLogPublisher.removeObserver(self._observe)
            if self.broken:
                del self.w.daemon.service.journal.database.commit
            self.exits.close()

    def _finish(self) -> None:
        """Everything comes to its end: whoever asked has been answered, whoever is attached has all of it."""
        self.w.launcher.refusals.clear()
        if self.broken:
            self.the_journal_is_mended()
        self.a_client_reads_or_not(True)
        for who, id in list(self.follows):
            self.ask(who, Flow(to=id, paused=False))
        for _ in range(4):
            self.grandchildren_let_go()
            for child in self.alive:
                child.exit(0)
            self.settle()
            for process in list(self.w.daemon.service.table):
                self.ask(0, Stop(process=process.id))
        for child in self.alive:
            child.exit(0)
        self.grandchildren_let_go()
        advance(self.w, 2)
        self.settle()
        self.nothing_has_failed()
        assert all(process.ended for process in self.w.daemon.service.table)
        for follow in self.follows.values():
            process = self._find(follow.process)
            assert process is not None
            assert follow.state is process.state
            if follow.channels == {1, 2}:
                assert follow.offset == process.spool.end
        for (who, id), last in self.watches.items():
            assert last == self.w.daemon.service.feed.last, (who, id)
        self.ask(0, Prune())
        for process in list(self.w.daemon.service.table):
            self.ask(0, Remove(process=process.id))
        advance(self.w, 2)
        self.settle()
        assert self.asked == {}
        assert self.follows == {}
        self.nothing_has_failed()
        database = self.w.daemon.service.journal.database
        events: list[tuple[int, Happened]] = []
        while page := database.events(len(events), 1000):
            events += page
        assert [number for number, _ in events] == list(range(1, len(events) + 1))
        told = [entry for entry in self.journalled.entries if not entry.event.snapshot]
        assert len(told) == len(events)
        removed = {event.process.id for _, event in events if event.type is Happening.REMOVED}
        assert removed == {event.process.id for _, event in events}


def test_the_whole_table(figure: Figure) -> None:
    """Any requests, any exits, output, time, slow clients and failures of the journal, in any order."""
    COUNTS.__init__()  # type: ignore[misc]
    runs, steps = (500, 100) if LONG else (30, 50)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        WholeTable,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            # The same each time; other cases are for the long form.
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figure(
        f"the whole table, {runs} x {steps}: violations of G1-G5 and G11",
        f"0 of {COUNTS.steps} steps",
        "0",
    )
    # That it comes to what it is about.
    assert min(COUNTS.children, COUNTS.events) > 2 * COUNTS.runs
    assert COUNTS.gaps > 0
