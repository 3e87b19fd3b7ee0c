"""Files of specs with the Deferred client, over a fake of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from netdaemon.apply import Applied, SpecFaults
from netdaemon.client.apply import apply
from netdaemon.client.client import Client
from netdaemon.errors import LaunchFailed
from netdaemon.wire.answers import Started
from netdaemon.wire.commands import Remove, Request, Start, Stop
from netdaemon.wire.told import ProcessRecord
from tests.apply.support import ENVIRON, record_of


class FakeClient:
    """Has some processes, and answers when it is told to."""

    def __init__(self, *records: ProcessRecord) -> None:
        self.records = list(records)
        self.asked: list[tuple[Request, Deferred[Any]]] = []

    def list(self, *select: str) -> Deferred[Any]:
        return succeed(self.records)

    def request(self, message: Request) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append((message, answer))
        return answer

    def answer(self, index: int = 0) -> Request:
        request, answer = self.asked.pop(index)
        answer.callback(Started(process=record_of(request)) if isinstance(request, Start) else None)
        return request


def file_of(place: Path, *names: str) -> Path:
    file = place / "s.toml"
    file.write_text("[process]\n" + "".join(f'{name} = {{command = "cat"}}\n' for name in names))
    return file


def applying(client: FakeClient, *files: Path, **options: Any) -> tuple[Deferred[Applied], list[Any]]:
    found: list[Any] = []
    anybody: Any = client
    applied = apply(anybody, *files, environ=ENVIRON, **options)
    applied.addBoth(found.append)
    return applied, found


def test_all_is_done_so_many_at_a_time(tmp_path: Path) -> None:
    client = FakeClient()
    told: list[str] = []
    _, found = applying(
        client,
        file_of(tmp_path, "a", "b", "c"),
        at_once=2,
        on_doing=lambda action, doing: told.append(f"{doing} {action.name}"),
        on_done=lambda outcome: told.append(str(outcome.action)),
    )
    assert len(client.asked) == 2
    client.answer(1)
    client.answer()
    client.answer()
    (applied,) = found
    assert [outcome.action.name for outcome in applied.outcomes] == ["b", "a", "c"]
    assert applied.failed == ()
    assert told == ["starting a", "starting b", "+ start b", "starting c", "+ start a", "+ start c"]


def test_what_goes_goes_before_what_comes(tmp_path: Path) -> None:
    client = FakeClient(record_of(Start(argv=("cat",), name="old", key="apply/s/old")))
    _, found = applying(client, file_of(tmp_path, "new"))
    assert [type(client.answer()) for _ in range(3)] == [Stop, Remove, Start]
    assert str(found[0].plan) == "- remove old\n+ start new"


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    client = FakeClient()
    file = file_of(tmp_path, "a")
    applying(client, file)
    client.records = [record_of(client.answer())]  # type: ignore[arg-type]
    _, found = applying(client, file)
    assert client.asked == []
    assert found[0].plan.idle


def test_what_fails_is_told_and_the_rest_is_done(tmp_path: Path) -> None:
    client = FakeClient()
    _, found = applying(client, file_of(tmp_path, "a", "b"))
    error = LaunchFailed("no such file")
    client.asked.pop(0)[1].errback(error)
    client.answer()
    (failed,) = found[0].failed
    assert (failed.action.name, failed.error) == ("a", error)
    assert len(found[0].outcomes) == 2


def test_a_dry_run_asks_for_nothing(tmp_path: Path) -> None:
    client = FakeClient()
    _, found = applying(client, file_of(tmp_path, "a"), dry_run=True)
    assert client.asked == []
    assert str(found[0].plan) == "+ start a"
    assert found[0].outcomes == ()


def test_faults_come_by_errback(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a")
    _, found = applying(FakeClient(), file, tmp_path / "none.toml")
    assert isinstance(found[0], Failure)
    found[0].trap(SpecFaults)
    _, found = applying(FakeClient(record_of(Start(argv=("cat",), name="a"))), file)
    found[0].trap(SpecFaults)


def test_a_daemon_that_is_gone(tmp_path: Path) -> None:
    client: Any = FakeClient()
    client.list = lambda: fail(LaunchFailed("gone"))
    _, found = applying(client, file_of(tmp_path, "a"))
    found[0].trap(LaunchFailed)


def test_cancelled_it_asks_for_no_more(tmp_path: Path) -> None:
    client = FakeClient()
    applied, found = applying(client, file_of(tmp_path, "a", "b", "c"), at_once=2)
    applied.cancel()
    found[0].trap(CancelledError)
    assert len(client.asked) == 2


def test_the_client_has_a_method_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "list", lambda client, *select: succeed([]))
    found: list[Any] = []
    Client.__new__(Client).apply(file_of(tmp_path, "a"), dry_run=True, environ=ENVIRON).addCallback(found.append)
    assert str(found[0].plan) == "+ start a"


@pytest.mark.parametrize("at_once", [0, 257])
def test_so_many_cannot_be(tmp_path: Path, at_once: int) -> None:
    _, found = applying(FakeClient(), file_of(tmp_path, "a"), at_once=at_once)
    found[0].trap(ValueError)


def test_a_process_after_the_other(tmp_path: Path) -> None:
    """However many there are, and without a pause between: the stack does not grow with them."""
    client: Any = FakeClient()
    client.request = lambda message: succeed(Started(process=record_of(message)))
    names = [f"p{number}" for number in range(2000)]
    _, found = applying(client, file_of(tmp_path, *names), at_once=1)
    assert [outcome.action.name for outcome in found[0].outcomes] == names


def test_a_callback_that_fails_is_told(tmp_path: Path) -> None:
    def fails(outcome: object) -> None:
        raise ZeroDivisionError

    client = FakeClient()
    _, found = applying(client, file_of(tmp_path, "a"), on_done=fails)
    client.answer()
    with pytest.raises(ZeroDivisionError):
        found[0].raiseException()
