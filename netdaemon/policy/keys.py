"""The keys of a policy, by the table that they stand in, and what each comes to; reads no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from netdaemon.apply.faults import At
from netdaemon.apply.tables import Keys, made, values_of
from netdaemon.apply.values import (
    Reader,
    array_of,
    boolean,
    integer,
    near,
    of_type,
    quoted,
    shown,
    signal,
    size,
    text_within,
)
from netdaemon.policy.accounts import gid_of, uid_of
from netdaemon.policy.bounds import Bounds, Ceilings, Forbidden, Programs, Sandboxes, group_asked
from netdaemon.policy.matching import Glob, Ids, PathGlob, Paths, Whom, plain_name
from netdaemon.policy.principals import UNKNOWN_UID
from netdaemon.policy.variables import Variables
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb
from netdaemon.wire.records import check_name
from netdaemon.wire.whom import (
    CAPABILITIES,
    CGROUP,
    ID_MAX,
    LIMIT_MAX,
    LIMITS,
    NICE_MAX,
    NICE_MIN,
    OOM_MAX,
    OOM_MIN,
    UMASK_MAX,
    UNLIMITED,
    Profile,
)

T = TypeVar("T")

# Characters of a pattern: as long as a path can be.
PATTERN_MAX = 4096

# More than a daemon can have.
PROCESSES_MAX = 1_000_000

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_RANGE = re.compile(r"[0-9]{1,10}-[0-9]{1,10}")

KINDS_OF_NAMES = ("dns", "uri", "email", "ip")


def text(value: Any, at: At) -> str | None:
    return of_type(str, value, at, "a string")


def name(value: Any, at: At) -> str | None:
    """Of a role, a tenant or a token: as processes are called."""
    found = text(value, at)
    before = len(at.faults)
    if found is not None:
        made(check_name, {"field": "it", "value": found}, at)
    return found if len(at.faults) == before else None


# --- verbs and signals ---


def verbs(everything: frozenset[Verb], value: Any, at: At) -> frozenset[Verb] | None:
    """Verbs, of their words, of the beginnings of several and of ``*``, which is *everything*."""
    words = array_of(text, least=1)(value, at)
    found: set[Verb] = set()
    for index, word in enumerate(words or ()):
        known = _verbs(word, everything)
        if not known:
            at.item(index).fault(f"it is {quoted(word)}; {near(word, [verb.value for verb in Verb])}")
        found |= known
    return None if words is None else frozenset(found)


def _verbs(word: str, everything: frozenset[Verb]) -> set[Verb]:
    if word == "*":
        return set(everything)
    if word.endswith(".*"):
        return {verb for verb in everything if verb.value.startswith(word[:-1])}
    return {verb for verb in Verb if verb.value == word}


def signals(value: Any, at: At) -> frozenset[int] | None:
    numbers = array_of(signal)(value, at)
    return None if numbers is None else frozenset(numbers)


# --- patterns ---


def _pattern(value: Any, at: At) -> str | None:
    found = text_within(PATTERN_MAX, one_line=True)(value, at)
    if found is not None and not {"[", "]", "\0"}.isdisjoint(found):
        at.fault("it has a bracket or a NUL; there are only * and ?, and [abc] is said by three patterns")
        return None
    return found


def word_glob(value: Any, at: At) -> Glob | None:
    found = _pattern(value, at)
    return None if found is None else Glob(found)


def label_glob(value: Any, at: At) -> Glob | None:
    found = word_glob(value, at)
    if found is not None and "=" not in found.beginning:
        at.fault(
            f"it is {quoted(found.pattern)}; a label is of the form key=value, and only its value may have * and ?"
        )
        return None
    return found


def path_glob(value: Any, at: At) -> PathGlob | None:
    found = _pattern(value, at)
    if found is None:
        return None
    try:
        return PathGlob(found)
    except ValueError as error:
        at.fault(f"it is {quoted(found)}; {error}")
        return None


def paths(value: Any, at: At) -> Paths | None:
    globs = array_of(path_glob)(value, at)
    return None if globs is None else Paths(globs)


def programs(value: Any, at: At) -> Programs | None:
    def one(word: Any, place: At) -> PathGlob | str | None:
        return "PATH" if word == "PATH" else path_glob(word, place)

    found = array_of(one)(value, at)
    if found is None:
        return None
    globs = tuple(each for each in found if isinstance(each, PathGlob))
    return Programs(paths=Paths(globs), bare=len(globs) < len(found))


# --- users and groups ---


def ids(number_of: Callable[[str], int], forbidding: bool, value: Any, at: At) -> Ids | None:
    """Users or groups: numbers, ranges of them, names that *number_of* knows, ``self`` and ``*``."""
    values = of_type(list, value, at, "an array")
    if values is None:
        return None
    before = len(at.faults)
    numbers: set[int] = set()
    ranges: list[tuple[int, int]] = []
    for index, one in enumerate(values):
        place = at.item(index)
        if one in ("*", "self"):
            continue
        if isinstance(one, str) and _RANGE.fullmatch(one):
            span = _span(one, place)
            if span[0] == 0 and not forbidding:
                place.fault("a range does not cover 0: begin it with 1, and write 0 besides if it is meant")
            ranges.append(span)
        else:
            number = _number(number_of, one, place)
            if number is not None:
                numbers.add(number)
    if len(at.faults) > before:
        return None
    return Ids(
        numbers=frozenset(numbers),
        ranges=tuple(ranges),
        everything="*" in values,
        own="self" in values,
        forbidding=forbidding,
        said=", ".join(map(str, values)) or "none",
    )


def _span(word: str, at: At) -> tuple[int, int]:
    least, most = map(int, word.split("-"))
    if not least <= most <= ID_MAX:
        at.fault(f"it is {quoted(word)}; a range goes up, to {ID_MAX} at most")
    return least, most


def _number(number_of: Callable[[str], int], value: Any, at: At) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        at.fault(f'it is {shown(value)}; wanted is a number, a range as "1000-1999", a name, "self" or "*"')
        return None
    try:
        number = value if isinstance(value, int) else number_of(value)
    except LookupError as error:
        at.fault(str(error))
        return None
    except (OSError, ValueError) as error:
        at.fault(f"{quoted(str(value))} cannot be looked up: {error}")
        return None
    if not 0 <= number <= ID_MAX:
        at.fault(f"it is {number}, and 0 to {ID_MAX} are allowed")
        return None
    return number


# --- whom ---


def whom(tokens: Mapping[str, Any], value: Any, at: At) -> Whom | None:
    """Principals, in terms as ``uid:1000`` or ``san:dns:panel.example.org``; *tokens* are those that there are."""
    before = len(at.faults)
    terms = array_of(text, least=1)(value, at)
    found: dict[str, list[Any]] = {kind: [] for kind in TERMS}
    for index, term in enumerate(terms or ()):
        kind, _, rest = term.partition(":")
        place = at.item(index)
        if kind not in TERMS:
            place.fault(f"it is {quoted(term)}; {near(kind, TERMS)}")
        elif (kind == "anyone") == (":" in term) or (":" in term and not rest):
            place.fault(f"it is {quoted(term)}; it is of the form {TERMS[kind]}")
        else:
            found[kind].append(_TERM_READERS[kind](rest, place))
            if kind == "token" and rest not in tokens:
                what = near(rest, tokens) if tokens else "there is none at all"
                place.fault(f"there is no token {quoted(rest)} in [tokens]; {what}")
    if len(at.faults) > before:
        return None
    return Whom(
        terms=terms or (),
        uids=_ids_of([*found["uid"], *found["user"]]),
        gids=_ids_of([*found["gid"], *found["group"]]),
        pins=frozenset(found["tls"]),
        names=frozenset(found["san"]),
        tokens=frozenset(found["token"]),
        anyone=bool(found["anyone"]),
    )


# Each kind of term, and how it is written.
TERMS = {
    "uid": "uid:1000 or uid:1000-1999",
    "user": "user:NAME",
    "gid": "gid:100 or gid:100-199",
    "group": "group:NAME",
    "tls": "tls:sha256:HEX, of the client's public key",
    "san": "san:dns:NAME, san:uri:URI, san:email:ADDRESS or san:ip:ADDRESS",
    "token": "token:NAME",
    "anyone": "anyone",
}


def _some_ids(rest: str, at: At) -> int | tuple[int, int] | None:
    if _RANGE.fullmatch(rest):
        return _span(rest, at)
    if not (rest.isascii() and rest.isdecimal()):
        at.fault(f"it is {quoted(rest)}; wanted is a number, and a name is said by user: or group:")
        return None
    number = _number(int, rest, at)
    if number == UNKNOWN_UID:
        at.fault(f"{UNKNOWN_UID} is what the kernel says of those whom it does not know here")
        return None
    return number


def _pin(rest: str, at: At) -> str | None:
    return rest.lower() if digest(rest, at) is not None else None


def _certified(rest: str, at: At) -> str | None:
    kind, colon, what = rest.partition(":")
    if kind not in KINDS_OF_NAMES or not colon or not what:
        at.fault(f"it is {quoted(rest)}; it is of the form {TERMS['san']}")
        return None
    return plain_name(rest)


_TERM_READERS: dict[str, Reader[Any]] = {
    "uid": _some_ids,
    "user": partial(_number, uid_of),
    "gid": _some_ids,
    "group": partial(_number, gid_of),
    "tls": _pin,
    "san": _certified,
    "token": text,
    "anyone": text,
}


def _ids_of(found: list[Any]) -> Ids:
    return Ids(
        numbers=frozenset(one for one in found if isinstance(one, int)),
        ranges=tuple(one for one in found if isinstance(one, tuple)),
        # Who somebody is is told by the kernel: nothing is given away by a range that has 0 in it.
        forbidding=True,
    )


def digest(value: Any, at: At) -> bytes | None:
    found = text(value, at)
    if found is None:
        return None
    hexadecimal = _DIGEST.fullmatch(found)
    if hexadecimal is None:
        at.fault(f"it is {shown(found)}; it is of the form sha256:HEX, with 64 hexadecimal digits")
        return None
    return bytes.fromhex(hexadecimal[1])


# --- starts ---


def _one_of(words: tuple[str, ...], value: Any, at: At) -> str | None:
    word = text(value, at)
    if word is not None and word not in words:
        at.fault(f"it is {quoted(word)}; {near(word, words)}")
        return None
    return word


def _set_of(words: tuple[str, ...], value: Any, at: At) -> frozenset[str] | None:
    found = array_of(partial(_one_of, words))(value, at)
    return None if found is None else frozenset(found)


def _limit(value: Any, at: At) -> float | None:
    # A limit that is said to be none, and one that is wrong, have to be told from each other.
    return float("inf") if value == UNLIMITED else size(0, LIMIT_MAX)(value, at)


def _of_group(key: str, value: Any, at: At) -> float | None:
    if value in ("max", UNLIMITED):
        return float("inf")
    if key == "cpu.max" and isinstance(value, str):
        number: Any = value
    elif key == "cpu.weight":
        number = integer(1, 10_000)(value, at)
    else:
        number = size(0, LIMIT_MAX)(value, at)
    if number is None:
        return None
    asked = made(group_asked, {"terms": (f"{key}={number}",)}, at)
    return None if asked is None else asked[key]


def _ceilings(keys: Keys, value: Any, at: At) -> Ceilings | None:
    found = values_of({**keys, "required": boolean}, value, at)
    if found is None:
        return None
    required = bool(found.pop("required", False))
    return Ceilings(most=found, required=required)


LIMIT_KEYS: Keys = dict.fromkeys(LIMITS, _limit)
CGROUP_KEYS: Keys = {key: partial(_of_group, key) for key in CGROUP}
ENVIRONMENT_KEYS: Keys = {"allow": array_of(word_glob), "deny": array_of(word_glob)}
SANDBOX_KEYS: Keys = {
    "profiles": partial(_set_of, tuple(one.value for one in Profile)),
    "network": boolean,
    "writable": paths,
    "required": boolean,
}


def _made_of(declaration: Callable[..., T], keys: Keys, value: Any, at: At) -> T | None:
    found = values_of(keys, value, at)
    return None if found is None else declaration(**found)


START_KEYS: Keys = {
    "users": partial(ids, uid_of, False),
    "groups": partial(ids, gid_of, False),
    "programs": programs,
    "directories": paths,
    "chroots": paths,
    "chroot_required": boolean,
    "environment": partial(_made_of, Variables, ENVIRONMENT_KEYS),
    "capabilities": partial(_set_of, CAPABILITIES),
    "no_new_privs": boolean,
    "umask": integer(0, UMASK_MAX),
    "nice": integer(NICE_MIN, NICE_MAX),
    "oom_score_adj": integer(OOM_MIN, OOM_MAX),
    "limits": partial(_ceilings, LIMIT_KEYS),
    "cgroup": partial(_ceilings, CGROUP_KEYS),
    "sandbox": partial(_made_of, Sandboxes, SANDBOX_KEYS),
    "logs": paths,
    "processes": integer(0, PROCESSES_MAX),
}


def _forbidden_groups(value: Any, at: At) -> Ids | None:
    if isinstance(value, list) and "self" in value:
        # They are looked up, and what is not found would not be forbidden.
        at.item(value.index("self")).fault("the user's own groups cannot be forbidden: say which")
        return None
    return ids(gid_of, True, value, at)


FORBIDDEN_KEYS: Keys = {
    "users": partial(ids, uid_of, True),
    "groups": _forbidden_groups,
    "programs": programs,
    "directories": paths,
    "chroots": paths,
    "environment": array_of(word_glob),
    "capabilities": partial(_set_of, CAPABILITIES),
    "logs": paths,
}


def bounds(value: Any, at: At) -> Bounds | None:
    found = values_of(START_KEYS, value, at, "users", "programs")
    return None if found is None else Bounds(**found)


def forbidden(value: Any, at: At) -> Forbidden | None:
    found = values_of(FORBIDDEN_KEYS, value, at)
    if found is not None and not any(value.values()):
        at.fault("it forbids nothing")
        return None
    return None if found is None else Forbidden(**found)


# --- tables ---


def _owner(value: Any, at: At) -> bool | None:
    return None if _one_of(("self",), value, at) is None else True


SCOPE_KEYS: Keys = {
    "tenant": name,
    "owner": _owner,
    "labels": array_of(label_glob, least=1),
    "names": array_of(word_glob, least=1),
}

ROLE_KEYS: Keys = {
    "verbs": partial(verbs, frozenset(Verb) - OF_THE_DAEMON),
    "signals": signals,
    "start": bounds,
}


def bind_keys(tokens: Mapping[str, Any]) -> Keys:
    return {"role": name, "to": partial(whom, tokens), **SCOPE_KEYS}


def deny_keys(tokens: Mapping[str, Any]) -> Keys:
    return {
        "to": partial(whom, tokens),
        "not_to": partial(whom, tokens),
        "verbs": partial(verbs, frozenset(Verb)),
        "start": forbidden,
        **SCOPE_KEYS,
    }
