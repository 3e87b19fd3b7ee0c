"""Who finds room, and what is told to whom there is none for: in all, for each, of those that have not said HELLO."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

import pytest

from netdaemon.daemon.peer import HELLO_TIMEOUT
from netdaemon.errors import LimitReached
from netdaemon.policy.judged import Decision
from netdaemon.policy.owner import OwnerPolicy
from netdaemon.policy.principals import Principal
from netdaemon.testing import join
from netdaemon.wire.answers import DaemonInfo, Listing, OfProcess, Started
from netdaemon.wire.commands import Again, Hello, Info, List, Start
from tests.daemon.support import Bare, World, world

# Users that are neither root nor the daemon's own.
ANN, BOB = os.geteuid() + 1001, os.geteuid() + 1002


@dataclass(frozen=True)
class Everybody(OwnerPolicy):
    """A policy for which anybody may do anything; `most` is how many processes it lets each have."""

    most: int | None = None

    takes_tokens = True

    def admit(self, principal: Principal) -> Decision:
        return Decision(True, "anybody")

    def token(self, shown: bytes) -> str | None:
        return shown.decode()

    def processes(self, principal: Principal) -> int | None:
        return self.most


def open_to_all(w: World, most: int | None = None) -> None:
    w.daemon.service.judge.policy = Everybody(os.geteuid(), most)


class Mute(Bare):
    """A client that says nothing by itself."""

    def connectionMade(self) -> None:
        return

    def greet(self, token: bytes | None = None) -> None:
        self.send(self.connection.hello(Hello(client="test", token=token)))


def mute(w: World, uid: int | None = None) -> Mute:
    client = Mute()
    join(w.reactor, w.daemon.service.build(False), client, os.geteuid() if uid is None else uid)
    w.daemon.settle()
    return client


def refused(client: Bare) -> str:
    """Why it was not let in."""
    assert client.aborted is not None, "it was let in"
    assert client.lost
    assert client.aborted.errno == errno.EDQUOT == LimitReached("").errno
    return str(client.aborted)


def works(w: World, *clients: Bare) -> None:
    for one in clients:
        assert isinstance(w.ask(one, List())[1], Listing)


def info(w: World, client: Bare) -> DaemonInfo:
    told = w.ask(client, Info())[1]
    assert isinstance(told, DaemonInfo)
    return told


def leave(w: World, *clients: Bare) -> None:
    for one in clients:
        one.transport.loseConnection()  # type: ignore[union-attr]
    w.daemon.settle()


# --- connections of each ---------------------------------------------------------------------------------------------


def test_one_user_cannot_take_all() -> None:
    """Ann has her half and no more; Bob finds room, and so does Ann once one of hers has gone."""
    with world(clients=20) as w:
        open_to_all(w)
        anns = [w.client(uid=ANN) for _ in range(10)]
        more = w.client(uid=ANN)
        assert f"uid:{ANN} has 10 connections, and that is the limit for each" in refused(more)
        assert "--clients-each" in refused(more)
        bob = w.client(uid=BOB)
        works(w, bob, *anns)
        leave(w, anns.pop())
        anns.append(w.client(uid=ANN))
        works(w, bob, *anns)
        told = info(w, bob)
        assert (told.limits.clients, told.limits.clients_each, told.counts.clients) == (20, 10, 11)


def test_the_number_for_each_can_be_said() -> None:
    with world(clients=20, clients_each=2) as w:
        open_to_all(w)
        works(w, w.client(uid=ANN), w.client(uid=ANN))
        assert "has 2 connections" in refused(w.client(uid=ANN))


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_own_user_can_have_all(uid: int) -> None:
    with world(clients=5, clients_each=1) as w:
        clients = [w.client(uid=uid) for _ in range(5)]
        works(w, *clients)
        assert "5 clients are connected, and that is the daemon's limit" in refused(w.client(uid=uid))


def test_some_places_are_for_whoever_is_to_put_things_right() -> None:
    """Others have taken all that they may: root gets in."""
    with world(clients=16, clients_each=16) as w:
        open_to_all(w)
        anns = [w.client(uid=ANN) for _ in range(14)]
        words = refused(w.client(uid=BOB))
        assert "14 clients are connected, and that is the daemon's limit, but for root and its own user" in words
        works(w, w.client(uid=0), w.client(), *anns)
        assert "16 clients are connected" in refused(w.client(uid=0))


def test_a_token_counts_for_itself() -> None:
    """A gateway's connections are those of whom they speak for, once they have said so."""
    with world(clients=20, clients_each=2) as w:
        open_to_all(w)
        clients = []
        for number in range(6):
            client = mute(w, ANN)
            client.greet(b"customer%d" % (number // 2))
            w.daemon.settle()
            clients.append(client)
        works(w, *clients)
        more = mute(w, ANN)
        more.greet(b"customer1")
        w.daemon.settle()
        assert "token:customer1 has 2 connections" in refused(more)
        # None of them is Ann's own.
        works(w, w.client(uid=ANN), w.client(uid=ANN))
        assert f"uid:{ANN} has 2" in refused(mute(w, ANN))
        leave(w, *clients)
        works(w, *(w.client(uid=BOB) for _ in range(2)))
        assert w.daemon.service.clients._each == {f"uid:{ANN}": 2, f"uid:{BOB}": 2}


def test_whoever_goes_is_not_counted_any_more() -> None:
    """However he goes, and whether he was let in or not."""
    with world(clients=20, clients_each=3) as w:
        open_to_all(w)
        for number in range(50):
            clients = [w.client(uid=ANN) for _ in range(5)]
            assert [client.lost for client in clients] == [False] * 3 + [True] * 2
            if number % 2:
                leave(w, *clients)
            else:
                for client in clients:
                    client.transport.abortConnection()  # type: ignore[union-attr]
        w.daemon.settle()
        assert not w.daemon.service.clients.all
        assert not w.daemon.service.clients.newcomers
        assert not w.daemon.service.clients._each


# --- those that say nothing ------------------------------------------------------------------------------------------


def test_those_that_say_nothing_make_room_for_the_next() -> None:
    """The one that has taken the longest over it goes, and is told; whoever has said HELLO is not asked to."""
    with world(clients=20, newcomers=3) as w:
        talking = w.client()
        silent = [mute(w) for _ in range(3)]
        told = info(w, talking)
        assert (told.limits.newcomers, told.counts.newcomers, told.counts.clients) == (3, 3, 4)
        w.reactor.advance(HELLO_TIMEOUT / 2)
        more = [w.client() for _ in range(5)]
        works(w, talking, *more[1:])
        works(w, more[0])
        assert "3 connections have not said HELLO, and this was the oldest" in refused(silent[0])
        # Each of the five had said HELLO when the next came.
        assert [one.lost for one in silent] == [True, False, False]
        late = [mute(w) for _ in range(2)]
        assert [one.lost for one in silent + late] == [True, True, False, False, False]
        silent[2].greet()
        w.daemon.settle()
        works(w, silent[2])
        assert info(w, talking).counts.newcomers == 2


def test_by_default_they_have_half() -> None:
    """And not even that where all places are taken: they never keep anybody out who speaks."""
    with world(clients=20) as w:
        silent = [mute(w) for _ in range(100)]
        assert sum(not one.lost for one in silent) == 10
        clients = [w.client() for _ in range(20)]
        works(w, *clients)
        assert all(one.lost for one in silent)
        assert "20 clients are connected, and this had not said HELLO" in refused(silent[-1])
        assert "that is the daemon's limit" in refused(w.client())
        works(w, *clients)


def test_others_do_not_push_root_out() -> None:
    """Who has not said HELLO yet and is root, or the daemon's own user, makes room only for another of these."""
    with world(clients=8, clients_each=8) as w:
        open_to_all(w)
        own, ann = mute(w), mute(w, ANN)
        bobs = [w.client(uid=BOB) for _ in range(6)]
        works(w, *bobs)
        assert (own.lost, ann.lost) == (False, True)
        assert "7 clients are connected" in refused(w.client(uid=BOB))
        works(w, w.client(), w.client())
        assert own.lost
        works(w, *bobs)


def test_whoever_is_denied_pushes_nobody_out() -> None:
    """However often he comes."""
    with world(clients=8) as w:
        silent = [mute(w) for _ in range(4)]
        for _ in range(50):
            assert w.client(uid=ANN).lost
        assert [one.lost for one in silent] == [True, False, False, False]
        # Nor all of them at once, before any of them is closed.
        for _ in range(50):
            join(w.reactor, w.daemon.service.build(False), Mute(), ANN)
        w.daemon.settle()
        assert [one.lost for one in silent] == [True, False, False, False]


def test_whoever_is_over_his_share_pushes_nobody_out() -> None:
    """Neither, though he comes faster than he can be closed."""
    with world(clients=16, clients_each=2, newcomers=8) as w:
        open_to_all(w)
        works(w, w.client(uid=ANN), w.client(uid=ANN))
        silent = [mute(w, BOB) for _ in range(2)]
        for _ in range(50):
            join(w.reactor, w.daemon.service.build(False), Mute(), ANN)
        bob, root = mute(w, BOB + 1), mute(w, 0)
        assert [one.lost for one in (*silent, bob, root)] == [False] * 4


def test_one_before_hello_is_all_that_is_read() -> None:
    """A second frame before the first was answered is no request: what stands before HELLO has to be HELLO."""
    with world() as w:
        client, good = mute(w), w.client()
        client.send(b"\0\0\0\6\0\0\0\1\3\1" * 100)
        w.daemon.settle()
        assert client.aborted is not None
        assert client.aborted.errno == errno.EBADMSG
        works(w, good)


# --- processes of each -----------------------------------------------------------------------------------------------


def run(w: World, client: Bare) -> Any:
    return w.ask(client, Start(argv=("program",)))[1]


def test_one_user_cannot_run_all() -> None:
    """Ann has her half; Bob, root and the daemon's own user find room; what has ended does not count."""
    with world(processes=8) as w:
        open_to_all(w)
        ann, bob, own = w.client(uid=ANN), w.client(uid=BOB), w.client()
        started = [run(w, ann) for _ in range(4)]
        assert all(isinstance(one, Started) for one in started)
        denied = run(w, ann)
        assert isinstance(denied, LimitReached)
        assert str(denied) == (
            f"4 processes of uid:{ANN} run, and the limit for each is 4 (--processes-each); end one of them"
        )
        assert isinstance(run(w, bob), Started)
        w.children[0].exit(0)
        w.daemon.settle()
        # What has exited is started again in its stead, and is the fourth again.
        assert isinstance(w.ask(ann, Again(process=started[0].process.id))[1], OfProcess)
        assert isinstance(run(w, ann), LimitReached)
        w.children[1].exit(0)
        w.daemon.settle()
        assert isinstance(run(w, ann), Started)
        assert isinstance(w.ask(ann, Again(process=started[1].process.id))[1], LimitReached)
        assert all(isinstance(run(w, own), Started) for _ in range(3))
        assert "8 processes run" in str(run(w, own))
        told = info(w, own)
        assert (told.limits.processes, told.limits.processes_each) == (8, 4)


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_own_user_can_run_all(uid: int) -> None:
    with world(processes=4, processes_each=1) as w:
        client = w.client(uid=uid)
        assert all(isinstance(run(w, client), Started) for _ in range(4))
        assert "4 processes run, and that is the daemon's limit" in str(run(w, client))


@pytest.mark.parametrize("most", [1, 6])
def test_the_policy_knows_better(most: int) -> None:
    """Its number is that of the one it says it for, be it more or less than the daemon's for each."""
    with world(processes=20, processes_each=3) as w:
        open_to_all(w, most)
        ann = w.client(uid=ANN)
        for _ in range(most):
            assert isinstance(run(w, ann), Started)
        denied = run(w, ann)
        assert isinstance(denied, LimitReached)
        assert f"the policy allows {most}" in str(denied)
