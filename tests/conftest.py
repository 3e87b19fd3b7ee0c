"""What every test gets: a time limit, failure for whatever it leaves behind or has logged, and a daemon on request."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from tests.faults.table import write_table
from tests.support import LONG, Figure, Logged, RunningDaemon, running_daemon

# Seconds for one asynchronous test, several times what the slowest takes on a busy machine.
TIME_LIMIT = 60.0

# Turns of the loop after each of them: TLS says goodbye in two.
TURNS_AFTER = 3


_logged = Logged()


def _observe(event: Any) -> None:
    failure = event.get("log_failure")
    if failure is not None:
        _logged.append(failure)


def pytest_configure(config: pytest.Config) -> None:
    globalLogPublisher.addObserver(_observe)


def pytest_unconfigure(config: pytest.Config) -> None:
    globalLogPublisher.removeObserver(_observe)


async def _and_a_turn(core: Any, test: Coroutine[Any, Any, None]) -> None:
    """The test, and some turns of the loop: what is closed is told so then, and what follows of that happens, too."""
    try:
        await test
    finally:
        for _ in range(TURNS_AFTER):
            await deferLater(core, 0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Give an asynchronous test its time limit; call any other as it is, without a reactor around it."""
    test = pyfuncitem.obj
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    if not inspect.iscoroutinefunction(test):
        result = test(**arguments)
        assert result is None, f"{pyfuncitem.name} returned {result!r}, which nobody would look at"
        return True

    def timed(**arguments: Any) -> Deferred[None]:
        from twisted.internet import reactor

        core: Any = reactor
        return Deferred.fromCoroutine(_and_a_turn(core, test(**arguments))).addTimeout(TIME_LIMIT, core)

    pyfuncitem.obj = timed
    return None


@pytest.fixture
def logged() -> Logged:
    """What was logged as a failure; `Logged.flush` takes out what was expected."""
    return _logged


@pytest.fixture
def figure(record_property: Callable[[str, Any], None]) -> Figure:
    """Call with (what, the figure, what is promised) to have it shown in the table."""

    def show(what: str, value: object, promised: str) -> None:
        record_property("figure", (what, str(value), promised))

    return show


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing scheduled, nothing watched, nothing logged as a failure, no failed Deferred forgotten."""
    from twisted.internet import reactor

    core: Any = reactor
    _logged.clear()
    watched = {*core.getReaders(), *core.getWriters()}
    yield
    if inspect.iscoroutinefunction(getattr(request.function, "__wrapped__", request.function)):
        # What nobody refers to any more says now that nobody has looked at its failure.
        gc.collect()
    calls = [call for call in core.getDelayedCalls() if call.active()]
    for call in calls:
        call.cancel()
    left = {*core.getReaders(), *core.getWriters()} - watched - core._internalReaders
    for one in left:
        core.removeReader(one)
        core.removeWriter(one)
    problems = [f"scheduled: {call}" for call in calls]
    problems += [f"watched: {one}" for one in left]
    problems += [f"logged: {failure.getTraceback()}" for failure in _logged]
    _logged.clear()
    if problems:
        pytest.fail("the test left something behind\n" + "\n".join(problems), pytrace=False)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon in a process of its own, for the tests of one module."""
    directory: Path = tmp_path_factory.mktemp("daemon")
    directory.chmod(0o700)
    with running_daemon(directory) as running:
        yield running


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures that tests of promises have found, beside what is promised, and the table of faults."""
    found = [report for reports in terminalreporter.stats.values() for report in reports]
    write_table(terminalreporter, found, "long" if LONG else "short")
    rows = [
        value
        for report in found
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "figure"
    ]
    if not rows:
        return
    terminalreporter.section(
        "figures" + (" (long form)" if LONG else " (short form; `make faults` and `make survive` have the full counts)")
    )
    for what, value, promised in sorted(rows):
        terminalreporter.write_line(f"{what:<66} {value:>22}   {promised}")
