"""Whether and when it is started again: every policy with every exit, delays, and limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdaemon.keeper.child import ExitStatus
from netdaemon.process.restarting import JITTER, GivenUp, Restarting
from netdaemon.wire.specs import BURST_MAX, Policy, Restart

SECOND = 1_000_000

# How a generation can end: its status (None: it could not be started) and why it counts as a failure.
ENDS = {
    "code 0": (ExitStatus(code=0), ""),
    "code 3": (ExitStatus(code=3), ""),
    "code 7": (ExitStatus(code=7), ""),
    "signal": (ExitStatus(signal=9), ""),
    "core": (ExitStatus(signal=11, core=True), ""),
    "unknown": (ExitStatus(), ""),
    "not started": (None, "no such file"),
    "code 0 and not ready in time": (ExitStatus(code=0), "not ready within 1s"),
    "code 7 and the watchdog": (ExitStatus(code=7), "no WATCHDOG=1 within 1s"),
}

# Those that are no failure where 0 and 7 are not.
SUCCESSES = {"code 0", "code 7"}


def fixed(chance: float = 0.5) -> Restarting:
    """One whose delays are as they are written; with 0 and 1 as short and as long as can be."""
    return Restarting(lambda: chance)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("policy", [None, *Policy])
def test_every_policy_with_every_end(policy: Policy | None, how: str) -> None:
    """never never; on-failure after a failure; the two others always: a stop by hand is not theirs to see."""
    status, fault = ENDS[how]
    restart = None if policy is None else Restart(policy=policy, codes=(0, 7))
    expected = {
        None: False,
        Policy.NEVER: False,
        Policy.ON_FAILURE: how not in SUCCESSES,
        Policy.ALWAYS: True,
        Policy.UNLESS_STOPPED: True,
    }[policy]
    assert fixed().delay(restart, status, fault=fault, up=0, now=0) == (100 if expected else None)


def test_delays_double_up_to_the_longest_and_stay_there() -> None:
    """However often."""
    restart = Restart(policy=Policy.ALWAYS, delay=100, longest=1500)
    restarting = fixed()
    delays = [restarting.delay(restart, ExitStatus(code=1), fault="", up=0, now=0) for _ in range(200)]
    assert delays[:6] == [100, 200, 400, 800, 1500, 1500]
    assert set(delays[4:]) == {1500}
    assert restarting.failures == 200


@pytest.mark.parametrize(("up", "expected"), [(0, 800), (4_999_999, 800), (5_000_000, 100), (1 << 50, 100)])
def test_what_has_stayed_up_begins_anew(up: int, expected: int) -> None:
    """With the first delay, to the microsecond; and its restarts are counted from one."""
    restart = Restart(policy=Policy.ALWAYS, settled=5000)
    restarting = fixed()
    for _ in range(3):
        restarting.delay(restart, ExitStatus(code=1), fault="", up=0, now=0)
    assert restarting.delay(restart, ExitStatus(code=1), fault="", up=up, now=0) == expected
    assert restarting.failures == (4 if expected == 800 else 1)


@given(
    chance=st.floats(0, 1, exclude_max=True),
    delay=st.integers(0, 86_400_000),
    more=st.integers(0, 86_400_000),
    failures=st.integers(0, 500),
)
def test_a_delay_is_a_fifth_longer_or_shorter_at_most(chance: float, delay: int, more: int, failures: int) -> None:
    """Whatever chance has it."""
    restart = Restart(policy=Policy.ALWAYS, delay=delay, longest=min(delay + more, 86_400_000))
    restarting = Restarting(lambda: chance)
    restarting.restore({"failures": failures, "starts": []})
    exact = min(restart.longest, delay << failures)
    found = restarting.delay(restart, ExitStatus(code=1), fault="", up=0, now=0)
    assert found is not None
    assert abs(found - exact) <= exact * JITTER + 1


@pytest.mark.parametrize("burst", [1, 2, 3, 4, BURST_MAX])
def test_so_many_starts_and_no_more(burst: int) -> None:
    """Those within the interval count; the message says how many there were."""
    restart = Restart(policy=Policy.ALWAYS, burst=burst, interval=10_000)
    restarting, now = fixed(), 50 * SECOND
    for number in range(burst):
        restarting.started(restart, now + number)
        if number + 1 < burst:
            assert restarting.delay(restart, None, fault="", up=0, now=now + number) is not None
    with pytest.raises(GivenUp, match=f"started {'once' if burst == 1 else f'{burst} times'} within 10s"):
        restarting.delay(restart, None, fault="", up=0, now=now + burst)
    # The first is out of the interval now.
    assert restarting.delay(restart, None, fault="", up=0, now=now + 10 * SECOND) is not None


def test_without_a_limit_no_starts_are_kept() -> None:
    """What is saved of a process does not grow by them."""
    restarting = fixed()
    for number in range(1000):
        restarting.started(Restart(policy=Policy.ALWAYS), number)
        restarting.started(None, number)
    assert restarting.saved() == {"failures": 0, "starts": []}


def test_a_limit_keeps_as_many_starts_as_it_can_need() -> None:
    """And not one more."""
    restarting = fixed()
    for number in range(1000):
        restarting.started(Restart(policy=Policy.ALWAYS, burst=5), number)
    assert restarting.saved()["starts"] == list(range(1000 - BURST_MAX, 1000))


def test_started_by_hand_all_begins_anew() -> None:
    """Delays and limits."""
    restart = Restart(policy=Policy.ALWAYS, burst=1)
    restarting = fixed()
    restarting.started(restart, 0)
    with pytest.raises(GivenUp):
        restarting.delay(restart, None, fault="", up=0, now=0)
    restarting.forget()
    assert restarting.failures == 0
    assert restarting.delay(restart, None, fault="", up=0, now=0) == 100


def test_another_daemon_goes_on_with_it() -> None:
    """With what was saved, by way of JSON."""
    restart = Restart(policy=Policy.ALWAYS, burst=3)
    one = fixed()
    for number in range(2):
        one.started(restart, number)
        one.delay(restart, None, fault="", up=0, now=number)
    other = fixed()
    other.restore(json.loads(json.dumps(one.saved())))
    assert other.saved() == one.saved()
    assert other.delay(restart, None, fault="", up=0, now=3) == 400
    other.started(restart, 4)
    with pytest.raises(GivenUp):
        other.delay(restart, None, fault="", up=0, now=5)
