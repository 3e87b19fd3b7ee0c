"""The example is a policy, and what is doubtful in it is meant."""

from __future__ import annotations

from pathlib import Path

from netdaemon.policy.accounts import Numbers
from netdaemon.policy.judging import FilePolicy
from netdaemon.policy.principals import Principal
from netdaemon.policy.reading import read
from netdaemon.policy.verbs import Verb

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"


def test_the_example_is_a_policy() -> None:
    found = read(EXAMPLE, guarded=False)
    places = [one.place for one in found.doubts if one.place]
    assert places == ["roles.admin.start.users", "roles.admin.start.groups"]
    policy = FilePolicy(found.rules, Numbers(0, 0))
    assert policy.takes_tokens
    assert policy.judge(Principal(uid=0), Verb.SHUTDOWN, None).allowed
    assert not policy.judge(Principal(uid=1000), Verb.SHUTDOWN, None).allowed
    assert policy.admit(Principal(uid=1000)).allowed
    assert not policy.admit(Principal(uid=20000)).allowed
    assert (policy.tenant(Principal(token="acme")), policy.processes(Principal(token="acme"))) == ("acme", 10)
