"""Replies and events: their numbers, and a refusal's way through ERROR."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon import errors
from netdaemon.errors import Refusal
from netdaemon.wire import layout
from netdaemon.wire.answers import EVENTS, Failure, Output
from netdaemon.wire.fields import INTEGER_MAX
from netdaemon.wire.server import output_box
from tests.wire import strategies

REFUSALS = sorted(
    (found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, Refusal) and found.code),
    key=lambda declared: declared.code,
)


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert {declaration.__name__: declaration.command for declaration in strategies.REPLIES} == {
        "Ok": 0xFF00,
        "Welcome": 0x0001,
        "Started": 0xFF00,
        "Attached": 0x0110,
        "Listing": 0x0103,
        "OfProcess": 0xFF00,
        "Stopped": 0xFF00,
        "Changed": 0xFF00,
        "Pruned": 0xFF00,
        "Watching": 0xFF00,
        "Taken": 0xFF00,
        "DaemonInfo": 0xFF00,
        "Failure": 0xFFF0,
    }
    assert {declaration.__name__: declaration.command for declaration in strategies.EVENTS} == {
        "Abort": 0xFFFF,
        "Output": 0x0201,
        "Status": 0x0202,
        "Gap": 0x0205,
        "Happened": 0x0207,
        "End": 0x0208,
    }
    assert {declaration.__name__ for declaration in EVENTS.values()} == {"Output", "Status", "Gap", "Happened", "End"}
    assert all(number == declaration.command for number, declaration in EVENTS.items())


@pytest.mark.parametrize("declared", REFUSALS, ids=lambda declared: declared.code)
def test_a_refusal_goes_through_error(declared: type[Refusal]) -> None:
    """With its class and all its details."""
    sent = declared("what", process="p", field="f", stage="s", accepted=1, end=2)
    got = Failure.of(sent).refusal()
    assert type(got) is declared
    assert str(got) == "what"
    assert vars(got) == vars(sent)


def test_an_errno_of_its_own_goes_through_error() -> None:
    got = Failure.of(errors.LaunchFailed("no", number=13, stage="exec")).refusal()
    assert got.errno == 13
    assert got.stage == "exec"


def test_a_refusal_that_is_not_known_here() -> None:
    got = Failure(code="moon-phase", errno=99, message="no").refusal()
    assert type(got) is errors.UnknownRefusal
    assert (got.code, got.errno, got.message) == ("moon-phase", 99, "no")
    assert Failure.of(got) == Failure(code="moon-phase", errno=99, message="no")


@settings(deadline=None)
@given(channel=st.integers(0, 2), offset=st.integers(0, INTEGER_MAX), time=st.integers(0, INTEGER_MAX))
def test_the_fast_box_of_data_is_that_of_the_general_encoder(channel: int, offset: int, time: int) -> None:
    assert output_box(channel, offset, time) == layout.encode(Output(channel=channel, offset=offset, time=time))
