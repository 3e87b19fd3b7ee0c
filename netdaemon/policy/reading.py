"""From a file to the rules that it says: either all is right, or all that is wrong is told. Judges nobody."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netdaemon.apply.faults import At, Fault, SpecFaults
from netdaemon.apply.reading import document_in
from netdaemon.apply.tables import values_of
from netdaemon.apply.values import near, of_type, quoted, table
from netdaemon.policy.doubts import doubts
from netdaemon.policy.keys import ROLE_KEYS, SCOPE_KEYS, bind_keys, deny_keys, digest, name
from netdaemon.policy.lines import located, places
from netdaemon.policy.rules import Binding, Denial, Role, Rules, Scope
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb
from netdaemon.ways import UnsafeWay, check_way

TOP_KEYS = ("roles", "bind", "deny", "tokens")


class PolicyFaults(SpecFaults):
    """There is something wrong with a policy; ``faults`` are all that was found."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file says; *doubts* are what of it is allowed and probably not meant."""

    rules: Rules
    doubts: tuple[Fault, ...] = ()


def read(file: str | os.PathLike[str], *, guarded: bool = True) -> Reading:
    """The rules in *file*.

    :param guarded: whether it is a fault if others can change the file; else that is a doubt.
    :raises PolicyFaults: something is wrong with it; all of it is told.
    """
    faults: list[Fault] = []
    at = At(os.fspath(file), faults)
    strangers: list[Fault] = []
    _guard(At(at.file, faults if guarded else strangers))
    found = document_in(at)
    if found is None:
        raise PolicyFaults(faults)
    document, text = found
    rules = _rules(document, at)
    known = places(text)
    if faults:
        raise PolicyFaults(located(fault, known) for fault in faults)
    return Reading(rules=rules, doubts=(*strangers, *(located(one, known) for one in doubts(rules, at.file))))


def _guard(at: At) -> None:
    """Tell if somebody else can change the file, or put another in its place."""
    try:
        check_way(os.path.dirname(os.path.abspath(at.file)))
        status = os.stat(at.file)
    except UnsafeWay as unsafe:
        at.fault(f"it {unsafe}: others can put another in its place")
        return
    except OSError:
        # Whoever reads it says why that is not possible.
        return
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        at.fault(f"its mode is {stat.S_IMODE(status.st_mode):04o}: others can write to it; chmod go-w")
    if status.st_uid not in (0, os.geteuid()):
        at.fault(f"it belongs to uid {status.st_uid}; a policy belongs to root or to the daemon's own user")


def _rules(document: dict[str, Any], at: At) -> Rules:
    top = table(dict.fromkeys(TOP_KEYS, _anything), document, at) or {}
    tokens = _tokens(top.get("tokens", {}), at.key("tokens"))
    roles = _roles(top.get("roles", {}), at.key("roles"))
    bindings = [
        _binding(index, value, at.key("bind").item(index), roles, tokens)
        for index, value in enumerate(_tables(top.get("bind", []), at.key("bind"), "[[bind]]"))
    ]
    denials = [
        _denial(index, value, at.key("deny").item(index), tokens)
        for index, value in enumerate(_tables(top.get("deny", []), at.key("deny"), "[[deny]]"))
    ]
    return Rules(
        roles={key: role for key, role in roles.items() if role is not None},
        bindings=tuple(one for one in bindings if one is not None),
        denials=tuple(one for one in denials if one is not None),
        tokens={key: known for key, known in tokens.items() if known is not None},
    )


def _anything(value: Any, at: At) -> Any:
    return value


def _tables(value: Any, at: At, header: str) -> list[Any]:
    return of_type(list, value, at, f"an array of tables, each {header}") or []


def _tokens(value: Any, at: At) -> dict[str, bytes | None]:
    values = of_type(dict, value, at, "a table of digests") or {}
    found: dict[str, bytes | None] = {}
    for key, said in values.items():
        name(key, at.key(key))
        one = digest(said, at.key(key))
        same = [other for other, known in found.items() if known is not None and known == one]
        if same:
            at.key(key).fault(f"it is the same token as {same[0]}, and its name is to say who somebody is")
        found[key] = one
    return found


def _roles(value: Any, at: At) -> dict[str, Role | None]:
    values = of_type(dict, value, at, "a table of tables, such as [roles.operator]") or {}
    return {key: _role(key, said, at.key(key)) for key, said in values.items()}


def _role(key: str, value: Any, at: At) -> Role | None:
    name(key, at)
    values = values_of(ROLE_KEYS, value, at, "verbs")
    if values is None:
        return None
    role = Role(name=key, **values)
    if (Verb.START in role.verbs) != (role.start is not None):
        if role.start is None:
            at.fault("it has the verb start, and no table start that says within what bounds")
        else:
            at.key("start").fault("it is there, and the role has no verb start")
    return role


def _scope(values: dict[str, Any]) -> Scope:
    """Takes what it is made of out of *values*."""
    said = {key: values.pop(key) for key in SCOPE_KEYS if key in values}
    return Scope(own=said.pop("owner", False), **said)


def _binding(
    index: int, value: Any, at: At, roles: Mapping[str, Role | None], tokens: Mapping[str, Any]
) -> Binding | None:
    values = values_of(bind_keys(tokens), value, at, "role", "to")
    if values is None:
        return None
    scope = _scope(values)
    if values["role"] not in roles:
        what = near(values["role"], roles) if roles else "there is none at all"
        at.key("role").fault(f"there is no role {quoted(values['role'])}; {what}")
    role = roles.get(values["role"])
    return None if role is None else Binding(index=index, role=role, to=values["to"], scope=scope)


def _denial(index: int, value: Any, at: At, tokens: Mapping[str, Any]) -> Denial | None:
    values = values_of(deny_keys(tokens), value, at)
    if values is None:
        return None
    scope = _scope(values)
    if "start" in values and "verbs" in values:
        at.key("verbs").fault("there is a table start, and such a deny is about nothing but starts")
    said = value.get("verbs", ())
    for verb in OF_THE_DAEMON:
        if verb.value in said and not scope.everything:
            at.key("verbs").fault(f"{verb.value} is done to the daemon, and this deny is about some processes")
    return Denial(index=index, but=values.pop("not_to", None), scope=scope, **values)
