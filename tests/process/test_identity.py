"""What a process is, as JSON: whatever it was started with, the next daemon starts it again from just that."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdaemon.daemon.starting import Starter, identity_for
from netdaemon.process.identity import Account, Identity, Signs, identity_of, signs_of
from netdaemon.wire.commands import Start
from netdaemon.wire.records import Scope
from netdaemon.wire.specs import USUAL_STOP, Log, Policy, Ready, Restart, Step
from netdaemon.wire.whom import ID_MAX
from tests.support import LONG
from tests.wire.strategies import messages_of

IDS = st.integers(0, ID_MAX)
ACCOUNTS = st.builds(Account, uid=IDS, gid=IDS, groups=st.lists(IDS, max_size=3).map(tuple))


def _identity(start: Start, id: str, starter: Starter, created: int, account: Account | None) -> Identity:
    """Of users that this machine does not have, either."""
    made = identity_for(dataclasses.replace(start, run_as=None), id, starter, created)
    return dataclasses.replace(made, run_as=start.run_as, account=account)


IDENTITIES = st.builds(
    _identity,
    messages_of(Start),
    st.text(st.sampled_from("bcdf23"), min_size=1, max_size=10),
    st.sampled_from([Starter(""), Starter("uid:1000"), Starter("token:panel", "acme")]),
    st.integers(0, 1 << 60),
    st.none() | ACCOUNTS,
)


@settings(deadline=None, max_examples=60 if LONG else 20)
@given(IDENTITIES)
def test_there_and_back(identity: Identity) -> None:
    """Bytes of no encoding, words and durations included."""
    encoded = identity.encoded
    encoded.encode("ascii")
    back = identity_of(json.loads(encoded))
    assert back == identity
    assert back.encoded == encoded
    assert back.signs == identity.signs
    assert signs_of(json.loads(json.dumps(identity.signs.plain))) == identity.signs


def test_what_an_earlier_version_has_saved() -> None:
    """It knew nothing of stops and restarts, and left out what there was not."""
    saved = {"id": "x", "argv": ["/bin/cat"], "env": ["A=b"], "created": 5, "owner": "uid:0"}
    identity = identity_of(saved)
    assert identity == Identity(id="x", argv=("/bin/cat",), env=("A=b",), created=5, owner="uid:0")
    assert identity.steps == USUAL_STOP
    assert identity.signs == Signs()
    assert not identity.notifies


@pytest.mark.parametrize(
    ("identity", "notifies"),
    [
        (Identity(id="x", argv=("x",)), False),
        (Identity(id="x", argv=("x",), watchdog=1000), True),
        (Identity(id="x", argv=("x",), ready=Ready(notify=True)), True),
        (Identity(id="x", argv=("x",), ready=Ready(output="up")), False),
        (Identity(id="x", argv=("x",), ready=Ready(pattern="up")), False),
    ],
)
def test_who_is_given_a_socket(identity: Identity, notifies: bool) -> None:
    assert identity.notifies is notifies


def test_every_kind_of_declaration() -> None:
    """By hand, so that nothing depends on what is drawn."""
    identity = Identity(
        id="x",
        argv=("/srv/\udcff",),
        path="/usr/bin/x",
        env=("A=\udc80",),
        name="web",
        labels=("a=b",),
        cwd="/\udcfe",
        key="k",
        digest="d",
        merge=True,
        stop=(Step(stdin=b"\xff\n"), Step(wait=5), Step(signal=2, scope=Scope.PROCESS), Step(kill=True)),
        restart=Restart(policy=Policy.UNLESS_STOPPED, codes=(0, 255), burst=3),
        ready=Ready(pattern="^up$", timeout=5),
        watchdog=500,
        log=Log(path="/var/log/\udcff", age=5000, compress=False, required=True),
    )
    assert identity_of(json.loads(identity.encoded)) == identity
    assert identity.steps == identity.stop


@pytest.mark.parametrize(
    "spoiled",
    [
        {"argv": ["x"]},
        {"id": "x", "argv": ["x"], "unheard_of": 1},
        {"id": "x", "argv": ["x"], "restart": {"policy": "sometimes", "codes": []}},
        {"id": "x", "argv": ["x"], "restart": {"policy": "always"}},
        {"id": "x", "argv": ["x"], "stop": [[None, 5]]},
        {"id": "x", "argv": ["x"], "pty": [24]},
    ],
)
def test_what_is_no_identity(spoiled: dict[str, object]) -> None:
    """It is refused with one of the errors that are expected."""
    with pytest.raises((TypeError, KeyError, ValueError, IndexError)):
        identity_of(spoiled)


def test_every_field_is_drawn() -> None:
    """The round trip above is of all that there is: a field that START does not give would be missing in it."""
    given_by_start = {field.name for field in dataclasses.fields(Start)}
    own = {field.name for field in dataclasses.fields(Identity)}
    assert own - given_by_start == {"id", "created", "owner", "digest", "account"}
