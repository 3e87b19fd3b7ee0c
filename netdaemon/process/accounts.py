"""From whom a process is declared to run as, to the numbers that the kernel knows; decides nothing.

That is asked once, when a process is declared: what is judged, recorded and executed are the numbers.
"""

from __future__ import annotations

import os

from netdaemon.errors import BadRequest
from netdaemon.policy.accounts import Numbers, account_of
from netdaemon.process.identity import Account
from netdaemon.wire.whom import ID_MAX, RunAs


def resolve(run_as: RunAs | None) -> Account | None:
    """The account that *run_as* comes to (see `netdaemon.policy.accounts.account_of`); None: it names none, and the
    child is who the daemon is, groups and all.

    :raises BadRequest: there is no such user or group, or it is not said which group.
    """
    if run_as is None or (run_as.user, run_as.group, run_as.groups) == (None, None, None):
        return None
    try:
        found = account_of(run_as.user, run_as.group, run_as.groups, Numbers(os.geteuid(), os.getegid()))
    except LookupError as error:
        raise BadRequest(f"run_as: {error}", field="run_as") from None
    return Account(uid=_checked(found.uid), gid=_checked(found.gid), groups=tuple(map(_checked, found.groups)))


def _checked(number: int) -> int:
    """What a database says is not taken to be any better than what a client does."""
    if not 0 <= number <= ID_MAX:
        raise BadRequest(f"run_as: the number {number} is nobody's; they are 0 to {ID_MAX}", field="run_as")
    return number
