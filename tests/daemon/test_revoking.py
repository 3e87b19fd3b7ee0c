"""What is not allowed any more ends at once, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netdaemon.daemon.judging import Policy
from netdaemon.errors import BadRequest, Denied
from netdaemon.policy.judged import Subject
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import (
    Attached,
    OfProcess,
    Ok,
    Watching,
)
from netdaemon.wire.commands import (
    Attach,
    Change,
    Inspect,
    Reload,
    Request,
    Start,
    Wait,
    Watch,
)
from netdaemon.wire.records import Reason
from tests.daemon.judged import (
    ALL,
    OPERATOR,
    PLAYER,
    H,
    R,
    Rights,
    Stage,
    W,
    ends,
    furnished,
)
from tests.daemon.support import output_of, world


@pytest.mark.parametrize(
    ("request_", "verb"),
    [
        (lambda: Attach(process="web", read_only=True), R),
        (lambda: Attach(process="web"), W),
        (lambda: Attach(process="web", read_only=True, hold=1000), H),
        (lambda: Watch(), Verb.EVENTS),
    ],
)
def test_what_is_revoked_ends(stage: Stage, request_: Callable[[], Request], verb: Verb) -> None:
    """At once: no time passes here. What is not touched by it stays."""
    player, operator = furnished(stage), stage.client(OPERATOR)
    id, reply = stage.w.ask(player, request_())
    assert isinstance(reply, Attached | Watching)
    stays = stage.w.ask(operator, Attach(process="web"))[0]
    stage.rights.verbs = ALL - {verb}
    stage.ask(operator, Reload())
    assert ends(player) == [(id, Reason.REVOKED)]
    assert ends(operator) == []
    stage.w.children[0].write(b"still\n")
    stage.w.daemon.settle()
    assert output_of(operator, stays) == b"still\n"


def test_who_may_not_be_connected_any_more_is_cut_off(stage: Stage) -> None:
    player, operator = furnished(stage), stage.client(OPERATOR)
    id, _ = stage.w.ask(player, Attach(process="web"))
    waiting = stage.w.post(player, Wait(process="web"))
    stage.rights.out = {PLAYER}
    stage.ask(operator, Reload())
    stage.w.daemon.settle()
    assert ends(player) == [(id, Reason.REVOKED)]
    assert player.aborted is not None
    assert player.lost
    assert waiting not in [other for other, _ in player.got]
    line = next(line for line in stage.audit() if line["request"] == "hello")
    assert (line["principal"], line["result"]) == (f"uid:{PLAYER}", "denied")


def test_a_wait_is_judged_again_when_it_has_come_about(stage: Stage) -> None:
    player, operator = furnished(stage), stage.client(OPERATOR)
    waiting = stage.w.post(player, Wait(process="web"))
    stage.rights.verbs = ALL - {Verb.INSPECT}
    stage.ask(operator, Reload())
    stage.w.children[0].exit(3)
    stage.w.daemon.settle()
    (reply,) = [message for other, message in player.got if other == waiting]
    assert isinstance(reply, Denied)


def test_labels_that_take_a_process_away_revoke_it(tmp_path: Path) -> None:
    """Who sees a process by its labels sees it no more once it has others."""

    class ByLabel(Rights):
        def _is_mine(self, principal: Principal, subject: Subject) -> bool:
            return "game=1" in subject.labels

    rights = ByLabel()
    with world(policy=lambda: rights) as w:
        player, operator = w.client(uid=PLAYER), w.client(uid=OPERATOR)
        w.ask(operator, Start(argv=("a",), name="a", labels=("game=1",)))
        id, _ = w.ask(player, Attach(process="a", read_only=True))
        w.ask(operator, Change(process="a", labels=("game=2",)))
        assert ends(player) == [(id, Reason.REVOKED)]


def test_a_bad_policy_leaves_the_old_one(tmp_path: Path) -> None:
    given: list[Policy | BadRequest] = [Rights()]

    def policy() -> Policy:
        if isinstance(given[-1], BadRequest):
            raise given[-1]
        return given[-1]

    with world(policy=policy) as w:
        operator, player = w.client(uid=OPERATOR), w.client(uid=PLAYER)
        w.ask(player, Start(argv=("a",), name="a"))
        id, _ = w.ask(player, Attach(process="a"))
        given.append(BadRequest("line 3 is wrong"))
        reply = w.ask(operator, Reload())[1]
        assert isinstance(reply, BadRequest)
        assert "line 3 is wrong" in str(reply)
        assert "stays as it was" in str(reply)
        assert ends(player) == []
        assert isinstance(w.ask(player, Inspect(process="a"))[1], OfProcess)
        given.append(Rights(out={PLAYER}))
        assert isinstance(w.ask(operator, Reload())[1], Ok)
        assert ends(player) == [(id, Reason.REVOKED)]
