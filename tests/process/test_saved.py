"""What is saved of a process, there and back, and as earlier versions have saved it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.keeper.child import ExitStatus
from netdaemon.logs.writer import Position
from netdaemon.process.identity import Identity, Signs
from netdaemon.process.points import Point
from netdaemon.process.saved import REMOVED, Saved, Told, was_removed
from netdaemon.wire.answers import Status
from netdaemon.wire.records import State
from netdaemon.wire.specs import Ready
from netdaemon.wire.told import Happening
from tests.process.test_identity import IDENTITIES
from tests.support import LONG

NUMBERS = st.integers(0, 1 << 60)
STATUSES = st.one_of(
    st.just(ExitStatus()),
    st.builds(ExitStatus, code=st.integers(0, 255)),
    st.builds(ExitStatus, signal=st.integers(1, 64), core=st.booleans()),
)
POINTS = st.one_of(
    st.builds(Point, NUMBERS, closed=st.sampled_from([0, 1, 2]), time=NUMBERS),
    st.builds(
        Point,
        NUMBERS,
        status=st.builds(
            Status,
            state=st.sampled_from(State),
            generation=st.integers(1, 1000),
            pid=st.none() | NUMBERS,
            code=st.none() | st.integers(0, 255),
            signal=st.none() | st.integers(1, 64),
            core=st.none() | st.just(True),
            end=NUMBERS,
        ),
        time=NUMBERS,
    ),
)
TOLD = st.builds(
    Told, NUMBERS, st.sampled_from(Happening), NUMBERS, st.sampled_from(["", "uid:1"]), st.none() | st.text(max_size=9)
)
LIVES = st.fixed_dictionaries(
    {},
    optional={
        "by_hand": st.just(True),
        "again": st.just(True),
        "due": NUMBERS,
        "restarting": st.just({"failures": 3, "starts": [1, 2]}),
        "stop": st.just({"principal": "uid:1", "steps": [[None, 5, None, None, None]], "place": 0}),
    },
)
SAVED = st.builds(
    Saved,
    identity=IDENTITIES,
    state=st.sampled_from(State),
    generation=st.integers(1, 1000),
    begin=NUMBERS,
    started=st.none() | NUMBERS,
    exited=st.none() | NUMBERS,
    status=st.none() | STATUSES,
    points=st.lists(POINTS, max_size=5).map(tuple),
    form=st.none() | st.tuples(st.booleans(), st.booleans()),
    signs=st.none() | st.builds(Signs, st.none() | st.just(Ready(output="up", timeout=5)), st.none() | NUMBERS),
    closed=st.sampled_from([(), (0,), (0, 1, 2)]),
    stdin_base=NUMBERS,
    stdin_closed=st.booleans(),
    stdin_end=NUMBERS,
    passing=st.booleans(),
    ready=st.booleans(),
    fault=st.sampled_from(["", "not ready within 1s"]),
    life=LIVES,
    number=NUMBERS,
    pending=st.lists(TOLD, max_size=3).map(tuple),
    log=st.none() | st.builds(Position, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)


@settings(deadline=None, max_examples=60 if LONG else 20)
@given(SAVED)
def test_there_and_back(saved: Saved) -> None:
    """All of it; that no channel is closed is left out, and means the same."""
    octets = saved.encode()
    back = Saved.decode(octets)
    assert dataclasses.replace(back, closed=back.closed or ()) == saved
    if saved.generation > 1 or saved.closed:
        assert back.closed_channels == frozenset(saved.closed or ())
    assert back.encode() == octets
    assert was_removed(REMOVED + octets) == back


def test_every_field_is_drawn() -> None:
    """A field that is added and not saved fails the round trip only if it is drawn there."""
    drawn = set(SAVED.wrapped_strategy.kwargs)  # type: ignore[attr-defined]
    assert drawn == {field.name for field in dataclasses.fields(Saved)}


# As it was saved before there were generations: no key of theirs.
_IDENTITY = {"id": "x", "argv": ["/bin/cat"], "created": 5}
BEFORE = {
    "identity": _IDENTITY,
    "form": 1,
    "state": "exited",
    "started": 10,
    "exited": 20,
    "status": [3, None, False],
    "points": [[100, 15, 2], [120, 20, None, "exited", 1, None, 3, None, None, 120], [120, 21, 1]],
    "stdin_closed": True,
    "stdin_end": 7,
    "passing": False,
}


def test_what_an_earlier_version_has_saved() -> None:
    """It is its first generation, and nothing of stops, restarts and events is known of it."""
    saved = Saved.decode(json.dumps(BEFORE).encode())
    assert saved == Saved(
        identity=Identity(id="x", argv=("/bin/cat",), created=5),
        state=State.EXITED,
        started=10,
        exited=20,
        status=ExitStatus(code=3),
        points=(
            Point(100, closed=2, time=15),
            Point(120, status=Status(state=State.EXITED, code=3, end=120), time=20),
            Point(120, closed=1, time=21),
        ),
        stdin_closed=True,
        stdin_end=7,
    )
    assert saved.closed_channels == {1, 2}
    assert saved.life == {}
    assert (saved.generation, saved.number, saved.pending, saved.log) == (1, 0, (), None)


def test_an_earlier_version_can_read_what_has_no_generations() -> None:
    """Keys are added only where there is something to say."""
    saved = Saved.decode(json.dumps(BEFORE).encode())
    assert set(json.loads(saved.encode())) == set(BEFORE)


def test_a_removal_that_an_earlier_version_has_begun() -> None:
    """It said no more than that."""
    assert was_removed(REMOVED) is None


@pytest.mark.parametrize("key", sorted(set(BEFORE)))
def test_what_lacks_something(key: str) -> None:
    """It is not understood, and said to be so."""
    spoiled = {name: value for name, value in BEFORE.items() if name != key}
    with pytest.raises(ValueError, match="lacks something"):
        Saved.decode(json.dumps(spoiled).encode())


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        json.dumps({**BEFORE, "form": 2}).encode(),
        json.dumps({**BEFORE, "state": "asleep"}).encode(),
        json.dumps({**BEFORE, "status": [1, 2, 3, 4]}).encode(),
        json.dumps({**BEFORE, "points": [[1]]}).encode(),
        json.dumps({**BEFORE, "pending": [[1, "happy", 0, "", None]]}).encode(),
        json.dumps({**BEFORE, "log": [1, 2, 3, 4, 5]}).encode(),
        json.dumps({**BEFORE, "signs": [1]}).encode(),
        json.dumps({**BEFORE, "signs": [{"output": ""}, None]}).encode(),
        json.dumps({**BEFORE, "identity": {**_IDENTITY, "ready": {"output": "a", "notify": True}}}).encode(),
        json.dumps({**BEFORE, "identity": {**_IDENTITY, "restart": {"policy": "never", "codes": [256]}}}).encode(),
    ],
)
def test_what_is_nothing_that_was_saved(spoiled: bytes) -> None:
    """One error, whatever it is."""
    with pytest.raises(ValueError, match=r"."):
        Saved.decode(spoiled)
