"""Names come to numbers once, and what is not named is not given."""

from __future__ import annotations

import grp
import os
import pwd
from types import SimpleNamespace

import pytest

from netdaemon.errors import BadRequest
from netdaemon.process.accounts import resolve
from netdaemon.process.identity import Account
from netdaemon.wire.whom import RunAs

USERS = {"joe": (1001, 2001), "root": (0, 0), "broken": ((1 << 32) - 1, 3)}
GROUPS = {"users": 2001, "www": 33, "audio": 29, "wheel": 10}
# Beside its own.
MEMBER = {"joe": [29, 33]}


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(name: str) -> SimpleNamespace:
        uid, gid = USERS[name]
        return SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid)

    def by_number(number: int) -> SimpleNamespace:
        return entry({uid: name for name, (uid, _) in USERS.items()}[number])

    monkeypatch.setattr(pwd, "getpwnam", entry)
    monkeypatch.setattr(pwd, "getpwuid", by_number)
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=GROUPS[name]))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, *MEMBER.get(name, [])])
    monkeypatch.setattr(os, "geteuid", lambda: 500)
    monkeypatch.setattr(os, "getegid", lambda: 600)


@pytest.mark.parametrize(
    ("run_as", "account"),
    [
        (None, None),
        (RunAs(), None),
        (RunAs(umask=0, chroot="/srv", nice=1, capabilities=()), None),
        (RunAs(user="joe"), (1001, 2001, (29, 33, 2001))),
        (RunAs(user="1001"), (1001, 2001, (29, 33, 2001))),
        (RunAs(user="joe", group="www"), (1001, 33, (29, 33))),
        (RunAs(user="joe", groups=()), (1001, 2001, ())),
        (RunAs(user="joe", groups=("wheel", "10", "4294967294")), (1001, 2001, (10, (1 << 32) - 2))),
        (RunAs(user="joe", group="5", groups=("6",)), (1001, 5, (6,))),
        (RunAs(user="777", group="7"), (777, 7, ())),
        (RunAs(user="777", group="7", groups=("8",)), (777, 7, (8,))),
        (RunAs(user="4294967294", group="4294967294"), ((1 << 32) - 2, (1 << 32) - 2, ())),
        (RunAs(group="www"), (500, 33, ())),
        (RunAs(groups=("www",)), (500, 600, (33,))),
        (RunAs(groups=()), (500, 600, ())),
        (RunAs(user="0"), (0, 0, (0,))),
    ],
)
def test_numbers(run_as: RunAs | None, account: tuple[int, int, tuple[int, ...]] | None) -> None:
    wanted = None if account is None else Account(uid=account[0], gid=account[1], groups=account[2])
    assert resolve(run_as) == wanted


@pytest.mark.parametrize(
    ("run_as", "what"),
    [
        (RunAs(user="777"), "uid 777 has no entry in the user database; say its group"),
        (RunAs(user="777", groups=("1",)), "say its group"),
        (RunAs(user="ann"), "there is no user 'ann'"),
        (RunAs(user="joe", group="nowhere"), "there is no group 'nowhere'"),
        (RunAs(user="joe", groups=("www", "nowhere")), "there is no group 'nowhere'"),
        (RunAs(user="broken"), "4294967295 is nobody's"),
    ],
)
def test_refused(run_as: RunAs, what: str) -> None:
    with pytest.raises(BadRequest) as caught:
        resolve(run_as)
    assert caught.value.field == "run_as"
    assert what in caught.value.message


@pytest.mark.parametrize("number", ["4294967295", "-1", "4294967296", "", "1e3", "٣", "1 ", "0x1", "+1", "1\0"])
def test_what_is_no_number(number: str) -> None:
    """It comes as far as nowhere."""
    for one in ({"user": number}, {"group": number}, {"groups": (number,)}):
        with pytest.raises(BadRequest) as caught:
            resolve(RunAs(**one))  # type: ignore[arg-type]
        assert caught.value.field == "run_as"
