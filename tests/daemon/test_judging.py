"""Every request is judged: on the right verb, on what it is about, before anything is done; and told to the audit."""

from __future__ import annotations

import errno
import gc
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from netdaemon.daemon.audit import Audit
from netdaemon.daemon.judging import Policy
from netdaemon.daemon.responders import RESPONDERS
from netdaemon.errors import BadRequest, Denied, NoSuchProcess, Refusal, SpecDiffers
from netdaemon.policy.judged import Decision, Spec, Subject, tenant_of
from netdaemon.policy.principals import Principal
from netdaemon.policy.verbs import Verb
from netdaemon.wire.answers import (
    Attached,
    Changed,
    End,
    Happened,
    Listing,
    OfProcess,
    Ok,
    Pruned,
    Started,
    Watching,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import Fate, Reason
from netdaemon.wire.specs import STEP_TEXT_MAX, STEPS_MAX, WAIT_MAX, Step
from netdaemon.wire.whom import RunAs
from tests.daemon.support import Bare, World, output_of, world
from tests.support import Logged

OPERATOR, PLAYER, STRANGER = 0, 1000, 2000
YES, NO = Decision(True, "", "yes"), Decision(False, "it may not")
ALL = frozenset(Verb)


@dataclass
class Rights:
    """A policy of a test's own: root may do everything; everybody else what is in *verbs*, to what is his tenant's."""

    verbs: frozenset[Verb] = ALL
    tenants: dict[int, str] = field(default_factory=lambda: {PLAYER: "acme", STRANGER: "other"})
    most: int | None = None
    tokens: dict[bytes, str] = field(default_factory=dict)
    out: set[int] = field(default_factory=set)
    # The question, counted from 0, that fails; and what was asked so far.
    fails_at: int = -1
    asked: int = 0
    started: list[Spec] = field(default_factory=list)

    def _count(self) -> None:
        self.asked += 1
        if self.asked - 1 == self.fails_at:
            raise RuntimeError("injected")

    @property
    def takes_tokens(self) -> bool:
        return bool(self.tokens)

    def admit(self, principal: Principal) -> Decision:
        self._count()
        known = principal.token is not None or principal.uid == OPERATOR or principal.uid in self.tenants
        return YES if known and principal.uid not in self.out else NO

    def token(self, shown: bytes) -> str | None:
        self._count()
        return self.tokens.get(shown)

    def judge(self, principal: Principal, verb: Verb, subject: Subject | None, signal: int | None = None) -> Decision:
        self._count()
        if principal.uid == OPERATOR:
            return YES
        mine = subject is None or self._is_mine(principal, subject)
        return YES if verb in self.verbs and mine else NO

    def _is_mine(self, principal: Principal, subject: Subject) -> bool:
        return tenant_of(subject.labels) == self.tenants.get(principal.uid or 0)

    def judge_start(self, principal: Principal, spec: Spec) -> Decision:
        self.started.append(spec)
        return self.judge(principal, Verb.START, spec)

    def sees(self, principal: Principal, subject: Subject) -> bool:
        self._count()
        return principal.uid == OPERATOR or (bool(self.verbs) and self._is_mine(principal, subject))

    def tenant(self, principal: Principal) -> str | None:
        self._count()
        return self.tenants.get(-1 if principal.uid is None else principal.uid)

    def processes(self, principal: Principal) -> int | None:
        self._count()
        return self.most


@dataclass
class Stage:
    """A daemon with a policy, its audit, and a process of each tenant."""

    w: World
    rights: Rights
    path: Path

    def client(self, uid: int, **options: Any) -> Bare:
        return self.w.client(uid=uid, **options)

    def ask(self, client: Bare, request: Request) -> Any:
        return self.w.ask(client, request)[1]

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    rights = Rights()
    audit = Audit(str(tmp_path / "audit"))
    with world(policy=lambda: rights, audit=audit) as w:
        yield Stage(w, rights, tmp_path / "audit")
    audit.close()


R, W, H = Verb.ATTACH_READ, Verb.ATTACH_WRITE, Verb.ATTACH_HOLD

# Each request, on the running process "web" or the exited one "gone", and all the verbs that it takes.
NEEDED: list[tuple[Callable[[], Request], set[Verb]]] = [
    (lambda: Start(argv=("new",)), {Verb.START}),
    (lambda: Start(argv=("new",), attach=True, read_only=True), {Verb.START, R}),
    (lambda: Start(argv=("new",), attach=True), {Verb.START, R, W}),
    (lambda: Start(argv=("new",), attach=True, hold=5), {Verb.START, R, W, H}),
    (lambda: Attach(process="web", read_only=True), {R}),
    (lambda: Attach(process="web"), {R, W}),
    (lambda: Attach(process="web", hold=-1, read_only=True), {R, H}),
    (lambda: List(), {Verb.LIST}),
    (lambda: Inspect(process="web"), {Verb.INSPECT}),
    (lambda: Wait(process="gone"), {Verb.INSPECT}),
    (lambda: Watch(), {Verb.EVENTS}),
    (lambda: Kill(process="web", signal=1), {Verb.SIGNAL}),
    (lambda: Stop(process="gone"), {Verb.STOP}),
    (lambda: Stop(process="gone", steps=(Step(signal=1),)), {Verb.STOP, Verb.SIGNAL}),
    (lambda: Stop(process="gone", steps=(Step(kill=True),)), {Verb.STOP, Verb.SIGNAL}),
    (lambda: Stop(process="gone", steps=(Step(stdin=b"quit\n"),)), {Verb.STOP, W}),
    (lambda: Again(process="gone"), {Verb.START}),
    (lambda: Change(process="web", labels=("a=b",)), {Verb.START}),
    (lambda: Remove(process="gone"), {Verb.REMOVE}),
    (lambda: Prune(), {Verb.REMOVE}),
    (lambda: Reload(), {Verb.RELOAD}),
    (lambda: Shutdown(processes=Fate.STOP), {Verb.SHUTDOWN}),
    (lambda: Info(), set()),
]

# About an attachment that one has, which was judged when it was made; or, to an id that there is none of, nothing.
OF_ATTACHMENTS = {Data, Resize, Flow, Detach}


def test_there_is_a_row_for_every_request() -> None:
    assert {type(request()) for request, _ in NEEDED} | OF_ATTACHMENTS == set(RESPONDERS)


def furnished(stage: Stage) -> Bare:
    """A player's client, and his processes."""
    player = stage.client(PLAYER)
    assert isinstance(stage.ask(player, Start(argv=("web",), name="web")), Started)
    assert isinstance(stage.ask(player, Start(argv=("gone",), name="gone")), Started)
    stage.w.children[-1].exit(0)
    stage.w.daemon.settle()
    return player


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


# --- revocation ------------------------------------------------------------------------------------------------------


def ends(client: Bare) -> list[tuple[int, Reason]]:
    return [(id, message.reason) for id, message in client.got if isinstance(message, End)]


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


# --- the audit -------------------------------------------------------------------------------------------------------


def test_the_audit_has_what_changes_and_what_is_refused(stage: Stage) -> None:
    player = furnished(stage)
    stage.ask(player, Inspect(process="web"))
    stage.ask(player, List())
    id, _ = stage.w.ask(player, Attach(process="web"))
    stage.ask(player, Data(to=id, payload=b"hidden\n"))
    stage.rights.verbs = ALL - {Verb.SIGNAL}
    stage.ask(player, Kill(process="web", signal=9))
    stage.ask(player, Start(argv=("a", "\x1b[31m\n\x7f\u202e"), env=("PASSWORD=hunter2",)))
    lines = stage.audit()
    assert [(line["request"], line["result"]) for line in lines] == [
        ("start", "done"),
        ("start", "done"),
        ("attach", "done"),
        ("kill", "denied"),
        ("start", "done"),
    ]
    assert lines[3]["why"] == "it may not"
    assert lines[3]["signal"] == "KILL"
    assert lines[0]["rule"] == "yes"
    assert lines[0]["process"] == stage.w.daemon.service.table.find("web").id
    assert all(line["principal"] == f"uid:{PLAYER}" for line in lines)
    text = stage.path.read_text()
    assert "hunter2" not in text
    assert "hidden" not in text
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert stage.path.stat().st_mode & 0o777 == 0o600


def test_an_audit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "a"))
    rights = Rights()
    with world(policy=lambda: rights, audit=audit) as w:
        operator = w.client(uid=OPERATOR)
        audit.close()
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()
        assert isinstance(w.ask(operator, Start(argv=("a",)))[1], Started)
        degraded = w.ask(operator, Info())[1].degraded  # type: ignore[union-attr]
        assert any("audit" in one for one in degraded)
        (tmp_path / "a").rmdir()
        w.ask(operator, Start(argv=("b",)))
    audit.close()
    assert [json.loads(line)["argv"] for line in (tmp_path / "a").read_text().splitlines()] == [["b"]]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "two names", "directory"])
def test_what_is_no_file_of_its_own_is_no_audit(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit"
    if kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        (tmp_path / "other").touch()
        path.hardlink_to(tmp_path / "other")
    try:
        Audit(str(path))
    except OSError as error:
        assert error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO)
    else:
        raise AssertionError("it was taken")


def test_a_renamed_audit_is_begun_anew(stage: Stage) -> None:
    operator = stage.client(OPERATOR)
    stage.ask(operator, Start(argv=("a",)))
    stage.path.rename(stage.path.with_suffix(".1"))
    stage.ask(operator, Reload())
    assert [line["request"] for line in stage.audit()] == ["reload"]


def test_the_page_on_it_has_every_key(stage: Stage) -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.rst").read_text()
    player, operator = furnished(stage), stage.client(OPERATOR)
    stage.ask(player, Stop(process="gone", steps=(Step(signal=15), Step(stdin=b"quit\n"))))
    for make, _ in NEEDED:
        stage.ask(operator, make())
    stage.ask(operator, Start(argv=("a",), path="/bin/a", run_as=RunAs(user="root", chroot="/srv")))
    stage.rights.out = {PLAYER}
    stage.client(PLAYER)
    stage.w.daemon.settle()
    keys = {key for line in stage.audit() for key in line}
    assert {"user", "uid", "chroot", "select", "rule", "why", "steps", "hold"} <= keys
    assert not {key for key in keys if f"``{key}``" not in page}
    assert not {line["request"] for line in stage.audit() if f"``{line['request']}``" not in page}
