"""Users and groups by name and number, as the machine's database has them; knows no policy."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Account(Protocol):
    """As whom something runs, by numbers. `netdaemon.process.identity.Account` is one."""

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...

    @property
    def groups(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Numbers:
    """An account."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of_this_process(cls) -> Numbers:
        """As whom this program runs, and all that it starts unless something else is said."""
        return cls(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def uid_of(user: str) -> int:
    """The number of a user, given by name or number.

    :raises LookupError: there is no user of that name.
    """
    if user.isascii() and user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise LookupError(f"there is no user {user!r} on this machine") from None


def gid_of(group: str) -> int:
    """The number of a group, given by name or number.

    :raises LookupError: there is no group of that name.
    """
    if group.isascii() and group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {group!r} on this machine") from None


def own_groups(uid: int) -> tuple[int, ...]:
    """The groups of a user in the database, the first one first; none where it has no entry there."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return ()
    others = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return (entry.pw_gid, *(one for one in others if one != entry.pw_gid))


def account_of(user: str | None, group: str | None, groups: Sequence[str] | None, own: Account) -> Account:
    """What a start comes to that names these, of a daemon that runs as *own*.

    Left out, a group is the user's own, and so are the supplementary groups: all that have the user as a member. Where
    only groups are named the user stays the daemon's. Its supplementary groups do not: what is not named is not given,
    as somebody who narrows a group expects it.

    The database may be on another machine, and is waited for.

    :raises LookupError: there is no such user or group, or the user has none of its own and none is said.
    """
    if user is None and group is None and groups is None:
        return own
    uid, gid, name = (own.uid, own.gid, None) if user is None else _entry(user)
    if group is not None:
        gid = gid_of(group)
    if gid is None:
        raise LookupError(f"uid {uid} has no entry in the user database; say its group, by name or number")
    if groups is not None:
        others = {gid_of(one) for one in groups}
    else:
        others = set() if name is None else set(os.getgrouplist(name, gid))
    return Numbers(uid, gid, tuple(sorted(others)))


def _entry(user: str) -> tuple[int, int | None, str | None]:
    """A user's number, its group, and the name by which it is a member of others; without an entry, the number."""
    uid = uid_of(user)
    try:
        entry = pwd.getpwuid(uid) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        return uid, None, None
    return entry.pw_uid, entry.pw_gid, entry.pw_name
