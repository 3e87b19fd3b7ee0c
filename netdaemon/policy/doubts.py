"""What a policy says that is allowed and probably not meant; knows no file but by its name."""

from __future__ import annotations

from collections.abc import Iterator

from netdaemon.apply.faults import At, Fault
from netdaemon.policy.matching import Ids
from netdaemon.policy.rules import Binding, Role, Rules
from netdaemon.policy.verbs import OF_THE_DAEMON, Verb

# With one of these a program is as good as root.
AS_ROOT = frozenset(
    (
        "bpf",
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "mknod",
        "mac_admin",
        "mac_override",
        "net_admin",
        "setfcap",
        "setgid",
        "setpcap",
        "setuid",
        "sys_admin",
        "sys_boot",
        "sys_chroot",
        "sys_module",
        "sys_ptrace",
        "sys_rawio",
    )
)


def doubts(rules: Rules, file: str) -> tuple[Fault, ...]:
    """All that is doubtful in *rules*."""
    found: list[Fault] = []
    at = At(file, found)
    for role in rules.roles.values():
        _of_role(role, rules, at.key("roles").key(role.name))
    for binding in rules.bindings:
        _of_binding(binding, at.key("bind").item(binding.index))
    for denial in rules.denials:
        place = at.key("deny").item(denial.index)
        if denial.but is not None and denial.but.anyone:
            place.key("not_to").fault("anyone is excepted, so that it denies nothing")
        elif denial.total and denial.to is None and denial.but is None:
            place.fault("it denies everything to everybody")
        _known_tenant(denial.scope.tenant, rules, place)
    _of_tenants(rules, at)
    named = {term for one in rules.bindings for term in one.to.tokens}
    for token in rules.tokens:
        if token not in named:
            at.key("tokens").key(token).fault("nothing is bound to this token")
    return tuple(found)


def _of_role(role: Role, rules: Rules, at: At) -> None:
    if not any(one.role.name == role.name for one in rules.bindings):
        at.fault("nobody is bound to this role")
    start = role.start
    if start is None:
        return
    place = at.key("start")
    if 0 in start.users.numbers:
        place.key("users").fault("0 is among them: whoever may start something as root is root")
    if 0 in start.groups.numbers:
        place.key("groups").fault("0 is among them: the group of root can write to much of root's")
    as_root = sorted(start.capabilities & AS_ROOT)
    if as_root:
        place.key("capabilities").fault(f"with {', '.join(as_root)} a program is as good as root")
    if start.chroot_required and not start.chroots.globs:
        place.key("chroot_required").fault("a chroot has to be asked for, and none is allowed: nothing can be started")
    if start.sandbox.required and not start.sandbox.profiles:
        place.key("sandbox").fault("one has to be asked for, and no profile is allowed: nothing can be started")
    if start.processes == 0:
        place.key("processes").fault("it is 0: nothing can be started")


def _of_binding(binding: Binding, at: At) -> None:
    verbs = binding.role.verbs
    scope = binding.scope
    if Verb.START in verbs:
        if scope.tenant is not None and not scope.names:
            at.fault(
                "a tenant that starts processes has no names of its own; names are unique in a daemon, so that it can "
                'find out which others have: say names, as ["' + scope.tenant + '-*"]'
            )
        if binding.to.anyone:
            at.key("to").fault("anyone who can connect may start programs")
    for verb in sorted(one.value for one in verbs & OF_THE_DAEMON):
        if not scope.everything:
            at.fault(f"the role has {verb}, which is not given by a binding that is about some processes")
    if any(_many(one) for one in (binding.to.uids, binding.to.gids)):
        at.key("to").fault("a range of it has 0 in it, which is root")


def _many(ids: Ids) -> bool:
    return any(least == 0 for least, _ in ids.ranges)


def _known_tenant(tenant: str | None, rules: Rules, at: At) -> None:
    if tenant is not None and tenant not in {one.scope.tenant for one in rules.bindings}:
        at.key("tenant").fault(f"nobody is bound to the tenant {tenant}")


def _of_tenants(rules: Rules, at: At) -> None:
    for first, second in _pairs(rules):
        shared = sorted(set(first.to.terms) & set(second.to.terms))
        if shared and first.scope.tenant != second.scope.tenant:
            at.key("bind").item(second.index).key("tenant").fault(
                f"{shared[0]} starts things for the tenant {first.scope.tenant} by {first}, and so for no other"
            )


def _pairs(rules: Rules) -> Iterator[tuple[Binding, Binding]]:
    starting = [one for one in rules.bindings if Verb.START in one.role.verbs and one.scope.tenant is not None]
    for index, first in enumerate(starting):
        for second in starting[index + 1 :]:
            yield first, second
