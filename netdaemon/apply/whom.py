"""The keys of a file of specs that say as whom a process runs and within what bounds; asks no user database."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from netdaemon.apply.faults import At
from netdaemon.apply.tables import Keys, made, place, values_of
from netdaemon.apply.values import array_of, boolean, choice, integer, near, of_type, quoted, shown, size
from netdaemon.errors import Refusal
from netdaemon.wire.whom import (
    ACCOUNT_RULE,
    CAPABILITIES,
    CGROUP,
    CPU_PERIOD,
    LIMIT_MAX,
    LIMITS,
    NICE_MAX,
    NICE_MIN,
    OOM_MAX,
    OOM_MIN,
    UMASK_MAX,
    UNLIMITED,
    Profile,
    RunAs,
    Sandbox,
    check_account,
    check_cgroup,
    check_limits,
)

# What no limit is called in a control group.
MAX = "max"

_OCTAL = re.compile(r"(?:0o)?[0-7]{1,6}")
_SHARE = re.compile(r"(\d{1,9})(?:\.(\d{1,3}))?%")


# --- run_as ---


def account(value: Any, at: At) -> str | None:
    """A user or group, by name or number."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        at.fault(f"it is {shown(value)}; wanted is {ACCOUNT_RULE}")
        return None
    try:
        check_account("it", str(value))
    except Refusal:
        at.fault(f"it is {shown(value)}; wanted is {ACCOUNT_RULE}")
        return None
    return str(value)


def umask(value: Any, at: At) -> int | None:
    """Octal digits, as people write them; a number would be read as decimal."""
    text = of_type(str, value, at, 'octal digits in a string, such as "027"')
    if text is None:
        return None
    if _OCTAL.fullmatch(text) is None or int(text, 8) > UMASK_MAX:
        at.fault(f"it is {quoted(text)}, and octal digits from 000 to {UMASK_MAX:o} are allowed")
        return None
    return int(text, 8)


def capability(value: Any, at: At) -> str | None:
    """One of the kernel's, however it is written: ``net_raw``, ``CAP_NET_RAW``."""
    text = of_type(str, value, at, "a capability, such as net_bind_service")
    if text is None:
        return None
    name = text.lower().removeprefix("cap_")
    if name not in CAPABILITIES:
        at.fault(f"{quoted(text)} is no capability; {near(name, CAPABILITIES)}")
        return None
    return name


RUN_AS_KEYS: Keys = {
    "user": account,
    "group": account,
    "groups": array_of(account),
    "umask": umask,
    "chroot": place,
    "nice": integer(NICE_MIN, NICE_MAX),
    "oom_score_adj": integer(OOM_MIN, OOM_MAX),
    "no_new_privs": boolean,
    "capabilities": array_of(capability),
}


def run_as(value: Any, at: At) -> RunAs | None:
    """A table, or the user alone."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        user = account(value, at)
        return None if user is None else RunAs(user=user)
    if of_type(dict, value, at, "a user, or a table") is None:
        return None
    return made(RunAs, values_of(RUN_AS_KEYS, value, at), at)


# --- limits and cgroup ---


def _amount(value: Any, at: At) -> str | None:
    if value == UNLIMITED:
        return UNLIMITED
    if isinstance(value, str) and not value[:1].isdecimal():
        at.fault(f'it is {quoted(value)}; wanted is a number, a size such as "512M", or "{UNLIMITED}"')
        return None
    number = size(0, LIMIT_MAX)(value, at)
    return None if number is None else str(number)


def limit(name: str, value: Any, at: At) -> str | None:
    """The term of a limit: of one value, or of an array of the soft and the hard one."""
    if isinstance(value, list) and len(value) != 2:
        at.fault(f"it has {len(value)} items; it is one limit, or two: the soft and the hard one")
        return None
    both = array_of(_amount)(value, at) if isinstance(value, list) else _amount(value, at)
    if both is None:
        return None
    term = f"{name}={both if isinstance(both, str) else ':'.join(both)}"
    return _term(check_limits, term, at)


def setting(name: str, value: Any, at: At) -> str | None:
    """The term of a setting of a control group, with sizes and shares of a processor as people write them."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        at.fault(f"it is {shown(value)}; {name} is {CGROUP[name]}")
        return None
    said: Any = value
    if name == "cpu.max":
        said = _quota(value, at)
    elif name.startswith("memory.") and value != MAX:
        said = size(0, LIMIT_MAX)(value, at)
    return None if said is None else _term(check_cgroup, f"{name}={said}", at)


def _quota(value: str | int, at: At) -> str | int | None:
    """Microseconds of each period."""
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        if isinstance(value, str) and "%" in value:
            at.fault(f'it is {quoted(value)}; a share of one processor is a number and %, such as "50%" or "150%"')
            return None
        return value
    thousandths = int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))
    return thousandths * CPU_PERIOD // 100_000


def _term(check: Callable[[tuple[str, ...]], None], term: str, at: At) -> str | None:
    before = len(at.faults)
    made(check, {"terms": (term,)}, at)
    return term if len(at.faults) == before else None


LIMIT_KEYS: Keys = {name: partial(limit, name) for name in LIMITS}
CGROUP_KEYS: Keys = {name: partial(setting, name) for name in CGROUP}


def _terms(keys: Keys, value: Any, at: At) -> tuple[str, ...] | None:
    found = values_of(keys, value, at)
    return None if found is None else tuple(found.values())


limits = partial(_terms, LIMIT_KEYS)
cgroup = partial(_terms, CGROUP_KEYS)


# --- sandbox ---

SANDBOX_KEYS: Keys = {
    "profile": choice(Profile),
    "network": boolean,
    "writable": array_of(place),
}


def sandbox(value: Any, at: At) -> Sandbox | None:
    """A table, or the profile alone."""
    if not isinstance(value, dict):
        profile = choice(Profile)(value, at)
        return None if profile is None else Sandbox(profile=profile)
    return made(Sandbox, values_of(SANDBOX_KEYS, value, at, "profile"), at)
