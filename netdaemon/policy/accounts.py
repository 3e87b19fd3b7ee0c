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


def account_of(user: str | None, group: str | None, groups: Sequence[str] | None, own: Account) -> Account | None:
    """What a start comes to that names these, at a daemon that runs as *own*; None: it names none.

    What is left out is the user's own; where only groups are named, it is no others.

    :raises LookupError: there is no such user or group, or the user has none of its own and none is said.
    """
    if user is None and group is None and groups is None:
        return None
    uid = own.uid if user is None else uid_of(user)
    usual = (own.gid,) if user is None else own_groups(uid)
    if group is None and not usual:
        raise LookupError(f"uid {uid} has no entry in the user database; say its group, too")
    gid = usual[0] if group is None else gid_of(group)
    return Numbers(uid, gid, usual[1:] if groups is None else tuple(map(gid_of, groups)))
