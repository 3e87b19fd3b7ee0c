"""Every request is judged: on the right verb, on what it is about, before anything is done."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable

import pytest

from netdaemon.daemon.responders import RESPONDERS
from netdaemon.errors import BadRequest, Denied, NoSuchProcess, Refusal, SpecDiffers
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import (
    Changed,
    Happened,
    Listing,
    Pruned,
    Started,
    Watching,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.specs import STEP_TEXT_MAX, STEPS_MAX, WAIT_MAX, Step
from tests.daemon.judged import (
    ALL,
    NEEDED,
    OF_ATTACHMENTS,
    OPERATOR,
    PLAYER,
    STRANGER,
    Stage,
    furnished,
)
from tests.support import Logged


def test_there_is_a_row_for_every_request() -> None:
    assert {type(request()) for request, _ in NEEDED} | OF_ATTACHMENTS == set(RESPONDERS)


@pytest.mark.parametrize("row", range(len(NEEDED)))
@pytest.mark.parametrize("verb", list(Verb), ids=lambda verb: verb.value)
def test_one_verb_less(stage: Stage, row: int, verb: Verb) -> None:
    """Whoever lacks one of the verbs that it takes is denied; whoever lacks another is not."""
    make, needed = NEEDED[row]
    player = furnished(stage)
    stage.rights.verbs = ALL - {verb}
    reply = stage.ask(player, make())
    assert isinstance(reply, Denied) == (verb in needed), reply
    if verb not in needed:
        assert not isinstance(reply, Refusal)


@pytest.mark.parametrize("row", range(len(NEEDED)))
def test_the_verbs_that_it_takes_are_enough(stage: Stage, row: int) -> None:
    make, needed = NEEDED[row]
    player = furnished(stage)
    stage.rights.verbs = frozenset(needed)
    assert not isinstance(stage.ask(player, make()), Refusal)


def test_a_restart_of_what_runs_is_a_stop_too(stage: Stage) -> None:
    player = furnished(stage)
    stage.rights.verbs = ALL - {Verb.STOP}
    assert isinstance(stage.ask(player, Again(process="web")), Denied)


@pytest.mark.parametrize("row", range(len(NEEDED)))
def test_what_fails_in_deciding_is_denied(stage: Stage, row: int, logged: Logged) -> None:
    """G10: each question that is asked about a request fails in turn, and nothing is done."""
    make, needed = NEEDED[row]
    if not needed:
        # Whoever is connected may ask for it.
        return
    player = furnished(stage)
    children, known = len(stage.w.children), len(list(stage.w.daemon.service.table))
    # As many as are asked: the one after the last is asked by nobody.
    for number in range(100):
        stage.rights.asked, stage.rights.fails_at = 0, number
        id = stage.w.post(player, make())
        reply = next((message for other, message in player.got if other == id), None)
        if stage.rights.asked <= number:
            assert number >= 1
            break
        if isinstance(reply, Listing):
            # What could not be judged is not on it.
            assert len(reply.processes) < known
            continue
        if isinstance(reply, Pruned):
            assert reply.count == 0
            continue
        if isinstance(reply, Watching):
            # Neither is that among what it is told first.
            assert len([one for other, one in player.got if other == id and isinstance(one, Happened)]) < known
            continue
        if isinstance(make(), Reload) and number:
            # The policy has been read, and judges everybody anew: whoever asked for it is let in no more.
            assert player.lost
            break
        assert isinstance(reply, Refusal), (number, reply)
        assert len(stage.w.children) == children
        assert len(list(stage.w.daemon.service.table)) == known
    else:
        raise AssertionError("there is no end to what is asked")
    assert logged.flush(RuntimeError)


@pytest.mark.parametrize(
    "request_",
    [
        lambda name: Attach(process=name),
        lambda name: Inspect(process=name),
        lambda name: Wait(process=name),
        lambda name: Kill(process=name, signal=9),
        lambda name: Stop(process=name),
        lambda name: Again(process=name),
        lambda name: Change(process=name, labels=("a=b",)),
        lambda name: Remove(process=name),
    ],
)
@pytest.mark.parametrize("target", ["web", "gone"])
def test_what_is_another_tenants_is_not_there(stage: Stage, request_: Callable[[str], Request], target: str) -> None:
    """The answer is the very same as for what nobody has, by name and by id; the audit knows better."""
    furnished(stage)
    id = stage.w.daemon.service.table.find(target).id
    stranger = stage.client(STRANGER)
    for name in (target, id):
        hidden = stage.ask(stranger, request_(name))
        nobody = stage.ask(stranger, request_("x" * len(name)))
        assert type(hidden).__mro__[-5:] == NoSuchProcess.__mro__[-5:]
        assert hidden.code == nobody.code == "no-such-process"
        assert str(hidden).replace(name, "") == str(nobody).replace("x" * len(name), "")
        assert (hidden.process, hidden.errno, hidden.field) == (name, nobody.errno, nobody.field)
    denied = [line for line in stage.audit() if line["result"] == "denied"]
    assert len(denied) == 2
    assert {line["process"] for line in denied} == {id}
    assert {line["principal"] for line in denied} == {f"uid:{STRANGER}"}


@pytest.mark.parametrize("by_id", [False, True])
def test_a_name_that_another_tenant_has_is_taken_and_no_more(stage: Stage, by_id: bool) -> None:
    """By START and by CHANGE, of what runs and of what has exited; who may see it is told which process has it."""
    furnished(stage)
    stranger, operator = stage.client(STRANGER), stage.client(OPERATOR)
    mine = stage.ask(stranger, Start(argv=("mine",))).process.id
    for target in ("web", "gone"):
        id = stage.w.daemon.service.table.find(target).id
        name = id if by_id else target
        for request in (Start(argv=("a",), name=name), Change(process=mine, name=name)):
            taken = stage.ask(stranger, request)
            assert (taken.code, taken.field, taken.process) == ("name-taken", "name", None)
            assert by_id or id not in taken.message
        assert stage.ask(operator, Start(argv=("a",), name=name)).process == id


def test_a_request_that_waits_is_not_kept(stage: Stage) -> None:
    """What the audit tells of it is, and that is little: a hundred megabytes of steps would be kept otherwise."""
    player = furnished(stage)
    steps = (*(Step(stdin=b"x" * STEP_TEXT_MAX) for _ in range(STEPS_MAX - 1)), Step(wait=WAIT_MAX))

    def kept() -> int:
        return sum(type(one) is Step for one in gc.get_objects())

    before = kept()
    for _ in range(100):
        stage.w.post(player, Stop(process="web", steps=steps))
    assert kept() - before <= STEPS_MAX
    stage.w.children[0].exit(0)
    stage.w.daemon.settle()
    stops = [line for line in stage.audit() if line["request"] == "stop"]
    assert len(stops) == 100
    assert {tuple(line["steps"]) for line in stops} == {(*["stdin"] * (STEPS_MAX - 1), str(steps[-1]))}


def test_lists_events_and_counts_are_of_what_one_sees(stage: Stage) -> None:
    furnished(stage)
    stranger, operator = stage.client(STRANGER), stage.client(OPERATOR)
    id, reply = stage.w.ask(stranger, Watch())
    assert isinstance(reply, Watching)
    assert not reply.snapshot
    assert stage.ask(stranger, List()).processes == ()
    assert {one.name for one in stage.ask(operator, List()).processes} == {"web", "gone"}
    counts = stage.ask(stranger, Info()).counts
    assert (counts.running, counts.exited, counts.attachments) == (0, 0, 0)
    mine = stage.ask(stranger, Start(argv=("mine",), name="mine")).process
    assert mine.labels == ("nd.tenant=other",)
    stage.ask(operator, Kill(process="web", signal=1))
    stage.w.reactor.advance(1)
    stage.w.daemon.settle()
    told = {event.process.name for other, event in stranger.got if other == id and isinstance(event, Happened)}
    assert told == {"mine"}
    assert {one.name for one in stage.ask(stranger, List()).processes} == {"mine"}
    assert stage.ask(stranger, Prune()).count == 0
    assert stage.ask(operator, Prune()).count == 1


def test_pages_tell_nothing_of_what_is_not_on_them(stage: Stage) -> None:
    player = stage.client(PLAYER)
    for number in range(3):
        stage.ask(player, Start(argv=("web",), name=f"web{number}"))
    stranger = stage.client(STRANGER)
    for number in range(3):
        stage.ask(stranger, Start(argv=("mine",), name=f"mine{number}"))
        stage.ask(player, Start(argv=("web",), name=f"more{number}"))
    ids = {one.id for one in stage.w.daemon.service.table if "nd.tenant=acme" in one.identity.labels}
    after, names = None, []
    while True:
        page = stage.ask(stranger, List(after=after, limit=1))
        names += [one.name for one in page.processes]
        after = page.after
        if after is None:
            break
        assert after.partition("-")[2] not in ids
    assert names == ["mine0", "mine1", "mine2"]


def test_a_key_is_a_tenants_own(stage: Stage) -> None:
    player, stranger = stage.client(PLAYER), stage.client(STRANGER)
    first = stage.ask(player, Start(argv=("a",), key="k"))
    again = stage.ask(player, Start(argv=("a",), key="k"))
    other = stage.ask(stranger, Start(argv=("a",), key="k"))
    assert (first.created, again.created, other.created) == (True, False, True)
    assert first.process.id == again.process.id != other.process.id
    assert isinstance(stage.ask(stranger, Start(argv=("b",), key="k")), SpecDiffers)


def test_labels_of_netdaemons_own_stay(stage: Stage) -> None:
    """Whoever changes labels does not change whose the process is."""
    player = furnished(stage)
    changed = stage.ask(player, Change(process="web", labels=("a=b",)))
    assert isinstance(changed, Changed)
    assert changed.process.labels == ("a=b", "nd.tenant=acme")
    with pytest.raises(BadRequest):
        Change(process="web", labels=("nd.tenant=other",))


def test_as_many_processes_as_a_tenant_may_have(stage: Stage) -> None:
    player, stranger = stage.client(PLAYER), stage.client(STRANGER)
    stage.rights.most = 2
    for _ in range(2):
        assert isinstance(stage.ask(player, Start(argv=("a",))), Started)
    refused = stage.ask(player, Start(argv=("a",)))
    assert (refused.code, "acme" in str(refused)) == ("limit-reached", True)
    assert isinstance(stage.ask(stranger, Start(argv=("a",))), Started)
    stage.w.children[0].exit(0)
    stage.w.daemon.settle()
    assert isinstance(stage.ask(player, Start(argv=("a",))), Started)


def test_what_was_judged_is_what_is_executed(stage: Stage) -> None:
    """The identity that was judged is the very object of the process."""
    player = furnished(stage)
    stage.ask(player, Start(argv=("one", "two"), env=("A=1",), cwd="/srv", labels=("x=y",)))
    process = stage.w.daemon.service.table.find(stage.ask(player, List()).processes[-1].id)
    assert process.identity is stage.rights.started[-1]


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_a_token_makes_somebody_known(stage: Stage) -> None:
    stage.rights.tokens = {b"secret": "panel"}
    panel = stage.client(3000, token=b"secret")
    assert panel.aborted is None
    wrong = stage.client(3000, token=b"wrong")
    assert wrong.aborted is not None
    assert "token" in str(wrong.aborted)
    without = stage.client(3000)
    assert without.aborted is not None
    nobody = stage.client(65534, token=b"secret")
    assert nobody.aborted is None


@pytest.mark.parametrize("now", [{}, {b"another": "panel"}, {b"secret": "other"}], ids=["gone", "changed", "renamed"])
def test_a_token_that_is_taken_back_ends_its_connections(stage: Stage, now: dict[bytes, str]) -> None:
    """Though somebody without a token might be let in, too."""
    stage.rights.tokens = {b"secret": "panel", b"s": "stays"}
    gone, stays = stage.client(PLAYER, token=b"secret"), stage.client(PLAYER, token=b"s")
    stage.rights.tokens = {**now, b"s": "stays"}
    stage.w.daemon.service.reload()
    stage.w.daemon.settle()
    assert gone.aborted is not None
    assert gone.aborted.errno == errno.EACCES
    assert "token" in str(gone.aborted)
    assert stays.aborted is None
    assert stage.ask(stays, Info()).counts.clients == 1


def test_nobody_is_let_in_if_that_cannot_be_decided(stage: Stage, logged: Logged) -> None:
    stage.rights.asked, stage.rights.fails_at = 0, 0
    assert stage.client(OPERATOR).aborted is not None
    assert len(logged.flush(RuntimeError)) == 1
