"""A plan over a blocking client: several at a time, phase by phase, and all are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from netdaemon.apply import Plan, plan
from netdaemon.apply.reading import SpecSet
from netdaemon.blocking import applying
from netdaemon.blocking.applying import carry_out_plan
from netdaemon.blocking.pending import Pending
from netdaemon.errors import ConnectionClosed, LaunchFailed, NetdaemonError, TimedOut
from netdaemon.wire.answers import Changed, Message, OfProcess, Ok, Started, Stopped
from netdaemon.wire.commands import Again, Change, Request, Start, Stop
from tests.apply.support import record_of


def spec_of(name: str, **values: Any) -> Start:
    return Start(argv=("cat",), name=name, key=f"apply/s/{name}", **values)


def answer(request: Request) -> Message | NetdaemonError:
    """What a daemon answers if all is well."""
    if isinstance(request, Start):
        return Started(process=record_of(request))
    name = getattr(request, "process", "").removeprefix("id-")
    record = record_of(spec_of(name or "x"))
    if isinstance(request, Change):
        return Changed(process=record)
    if isinstance(request, Stop):
        return Stopped(process=record)
    return OfProcess(process=record) if isinstance(request, Again) else Ok()


class FakeClient:
    """Answers one request each time that it is pumped, the last first, and counts how many wait."""

    timeout: float | None = 30.0

    def __init__(self, answers: Callable[[Request], Message | NetdaemonError | None] = answer) -> None:
        self.asked: list[Request] = []
        self.most = 0
        self.waited: list[float | None] = []
        self.broken: NetdaemonError | None = None
        self._answers = answers
        self._waiting: list[Pending] = []

    def submit(self, request: Request) -> Pending:
        pending = Pending(request)
        self.asked.append(request)
        if self.broken is not None:
            pending.settle(self.broken)
        else:
            self._waiting.append(pending)
        self.most = max(self.most, len(self._waiting))
        return pending

    def pump(self, timeout: float | None) -> bool:
        self.waited.append(timeout)
        if self.broken is not None:
            raise self.broken
        pending = self._waiting.pop()
        settled = self._answers(pending.request)
        if isinstance(settled, ConnectionClosed):
            self.broken = settled
            for one in (pending, *self._waiting):
                one.settle(settled)
            raise settled
        if settled is not None:
            pending.settle(settled)
        return True


def a_plan(start: int = 0, remove: int = 0, change: int = 0) -> Plan:
    changed = [spec_of(f"c{n}", labels=("a=b",)) for n in range(change)]
    wanted = SpecSet(file="s.toml", name="s", specs=(*(spec_of(f"s{n}") for n in range(start)), *changed))
    there = [record_of(spec_of(f"r{n}")) for n in range(remove)]
    there += [record_of(replace(spec, labels=None)) for spec in changed]
    return plan([wanted], there)


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_so_many_at_the_same_time(at_once: int) -> None:
    client: Any = FakeClient()
    outcomes = carry_out_plan(client, a_plan(start=10), at_once=at_once)
    assert client.most == min(at_once, 10)
    assert sorted(outcome.record.name for outcome in outcomes if outcome.record) == [f"s{n}" for n in range(10)]


def test_one_phase_is_over_before_the_next_begins() -> None:
    client: Any = FakeClient()
    told: list[str] = []
    outcomes = carry_out_plan(
        client,
        a_plan(start=2, remove=2, change=2),
        on_doing=lambda action, doing: told.append(f"{doing} {action.name}"),
        on_done=lambda outcome: told.append(str(outcome.action)),
    )
    order = [type(request).__name__ for request in client.asked]
    assert [sorted(order[:4]), order[4:6], order[6:]] == [
        ["Remove", "Remove", "Stop", "Stop"],
        ["Change", "Change"],
        ["Start", "Start"],
    ]
    assert len(outcomes) == 6
    assert told[:2] == ["stopping r0", "stopping r1"]
    assert set(told) >= {
        "removing r1",
        "- remove r1",
        "changing c0",
        "~ change c1: labels",
        "starting s0",
        "+ start s1",
    }


def test_what_fails_keeps_nothing_else_from_being_tried() -> None:
    error = LaunchFailed("no such file")
    client: Any = FakeClient(
        lambda request: error if isinstance(request, Start) and request.name == "s1" else answer(request)
    )
    outcomes = carry_out_plan(client, a_plan(start=3), at_once=1)
    assert [(outcome.action.name, outcome.error) for outcome in outcomes] == [("s0", None), ("s1", error), ("s2", None)]


def test_a_lost_connection_fails_all_that_is_left() -> None:
    lost = ConnectionClosed("gone")
    asked: list[Request] = []

    def answers(request: Request) -> Message | NetdaemonError:
        asked.append(request)
        return lost if len(asked) == 2 else answer(request)

    client: Any = FakeClient(answers)
    outcomes = carry_out_plan(client, a_plan(start=4, change=1), at_once=2)
    assert [outcome.error for outcome in outcomes] == [None, lost, lost, lost, lost]


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for as long as the stop may take, and what any answer may."""
    now = [1000.0]
    monkeypatch.setattr("netdaemon.blocking.timeouts.monotonic", lambda: now[0])
    client: Any = FakeClient(lambda request: None if isinstance(request, Stop) else answer(request))
    pump = client.pump

    def pump_and_wait(timeout: float) -> bool:
        now[0] += timeout if not client._waiting else 1.0
        return bool(client._waiting) and pump(timeout)

    client.pump = pump_and_wait
    outcomes = carry_out_plan(client, a_plan(start=1, remove=1))
    assert now[0] == pytest.approx(1000.0 + 30.0 + 10.0 + 1.0)
    assert [type(outcome.error) for outcome in outcomes] == [TimedOut, type(None)]
    assert str(outcomes[0].error) == "STOP was not answered in the time allowed"


def test_for_ever_is_for_ever() -> None:
    client: Any = FakeClient()
    client.timeout = None
    carry_out_plan(client, a_plan(start=1))
    assert client.waited == [None]


def test_what_cannot_be_sent_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = FakeClient()

    def refuse(request: Request) -> Pending:
        raise NetdaemonError("it is too large")

    client.submit = refuse
    (outcome,) = carry_out_plan(client, a_plan(start=1))
    assert str(outcome.error) == "it is too large"


@pytest.mark.parametrize("at_once", [0, 257])
def test_so_many_cannot_be(at_once: int) -> None:
    client: Any = FakeClient()
    with pytest.raises(ValueError, match="1 to 256 are allowed"):
        carry_out_plan(client, a_plan(start=1), at_once=at_once)


def test_nothing_to_do_asks_nothing() -> None:
    client: Any = FakeClient()
    assert carry_out_plan(client, a_plan()) == ()
    assert client.asked == []
    assert applying.AT_ONCE > 1
