"""Users and groups by name, to the numbers that the kernel knows; asks this machine's database, and decides nothing.

That is asked once, when a process is declared: what is judged, recorded and executed are the numbers.
"""

from __future__ import annotations

import os
import pwd

from netdaemon.errors import BadRequest
from netdaemon.policy.accounts import gid_of
from netdaemon.process.identity import Account
from netdaemon.wire.whom import ID_MAX, RunAs


def resolve(run_as: RunAs | None) -> Account | None:
    """The account that *run_as* comes to; None: it names none, and the child is who the daemon is, groups and all.

    Left out, a group is the user's own, and so are the supplementary groups: all that have the user as a member. Where
    only groups are named the user stays the daemon's. Its supplementary groups do not: what is not named is not given,
    as somebody who narrows a group expects it.

    The database may be on another machine, and is waited for.

    :raises BadRequest: there is no such user or group, or it is not said which group.
    """
    if run_as is None or (run_as.user, run_as.group, run_as.groups) == (None, None, None):
        return None
    uid, gid, name = _user(run_as.user)
    if run_as.group is not None:
        gid = _group(run_as.group)
    if gid is None:
        raise BadRequest(
            f"run_as: uid {uid} has no entry in the user database; say its group, by name or number", field="run_as"
        )
    if run_as.groups is not None:
        groups = {_group(one) for one in run_as.groups}
    elif name is not None:
        groups = set(os.getgrouplist(name, gid))
    else:
        groups = set()
    return Account(uid=_checked(uid), gid=_checked(gid), groups=tuple(sorted(map(_checked, groups))))


def _user(named: str | None) -> tuple[int, int | None, str | None]:
    """A user's number, its group, and the name by which it is a member of others."""
    if named is None:
        return os.geteuid(), os.getegid(), None
    try:
        entry = pwd.getpwuid(int(named)) if named.isdecimal() else pwd.getpwnam(named)
    except KeyError:
        if named.isdecimal():
            return int(named), None, None
        raise BadRequest(f"run_as: there is no user {named!r} on this machine", field="run_as") from None
    return entry.pw_uid, entry.pw_gid, entry.pw_name


def _group(named: str) -> int:
    try:
        return gid_of(named)
    except LookupError as error:
        raise BadRequest(f"run_as: {error}", field="run_as") from None


def _checked(number: int) -> int:
    """What a database says is not taken to be any better than what a client does."""
    if not 0 <= number <= ID_MAX:
        raise BadRequest(f"run_as: the number {number} is nobody's; they are 0 to {ID_MAX}", field="run_as")
    return number
