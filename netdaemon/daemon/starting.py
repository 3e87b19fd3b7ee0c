"""From a START or CHANGE to what a process is, and from that to what is launched; decides nothing."""

from __future__ import annotations

import dataclasses
import resource
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from netdaemon.errors import BadRequest
from netdaemon.keeper.child import Spec
from netdaemon.keeper.whom import Whom
from netdaemon.policy.judged import TENANT_LABEL
from netdaemon.process.accounts import resolve
from netdaemon.process.identity import Identity
from netdaemon.process.sandbox import command_line
from netdaemon.process.trees import mark_of
from netdaemon.wire.commands import Change, Start, check_size
from netdaemon.wire.digest import digest
from netdaemon.wire.records import RESERVED_LABEL
from netdaemon.wire.whom import CAPABILITIES, LIMITS, RunAs, parse_cgroup, parse_limit

# No vowels and nothing that looks like something else: ids are read aloud, and spell no words.
_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"

# 27 to the 9th power: never the same twice, in any daemon's life.
ID_LENGTH = 10
ID_BITS = 64

# What its environment says of where it says that it is ready.
NOTIFY = "NOTIFY_SOCKET="


def new_id() -> str:
    """A process id; the first character is a letter."""
    # One call of the kernel for all of it: the remainders are even to within a millionth.
    number = secrets.randbits(ID_BITS)
    number, first = divmod(number, len(_ALPHABET) - 8)
    id = _ALPHABET[first]
    for _ in range(ID_LENGTH - 1):
        number, place = divmod(number, len(_ALPHABET))
        id += _ALPHABET[place]
    return id


def allow(_: Identity) -> None:
    """Where there is nobody who could be denied anything."""


@dataclass(frozen=True)
class Starter:
    """Who starts a process.

    :param owner: what the process tells of him.
    :param tenant: whose the process is, where there are tenants.
    :param check: is told what will be executed before anything is done, and raises what stands against it.
    """

    owner: str
    tenant: str | None = None
    check: Callable[[Identity], None] = allow

    @property
    def labels(self) -> tuple[str, ...]:
        """What the process is marked with besides its own labels."""
        return () if self.tenant is None else (TENANT_LABEL + self.tenant,)


def identity_for(request: Start, id: str, starter: Starter, created: int) -> Identity:
    """What a process is that is started by *request*.

    :raises BadRequest: there is no such user or group.
    """
    return Identity(
        id=id,
        created=created,
        owner=starter.owner,
        key=request.key,
        digest=digest(request),
        name=request.name,
        argv=request.argv,
        path=request.path,
        env=request.env or (),
        labels=(request.labels or ()) + starter.labels,
        cwd=request.cwd or "/",
        pty=request.pty,
        merge=bool(request.merge) or request.pty is not None,
        stop=request.stop,
        restart=request.restart,
        ready=request.ready,
        watchdog=request.watchdog,
        log=request.log,
        run_as=request.run_as,
        limits=request.limits,
        cgroup=request.cgroup,
        sandbox=request.sandbox,
        account=resolve(request.run_as),
    )


# What of a CHANGE counts from the next start on only.
_LATER = (
    "argv",
    "path",
    "env",
    "cwd",
    "pty",
    "merge",
    "ready",
    "watchdog",
    "run_as",
    "limits",
    "cgroup",
    "sandbox",
)


def changed(identity: Identity, request: Change) -> tuple[Identity, bool]:
    """What a process is after *request*, and whether some of that counts from its next start on only.

    :raises BadRequest: there is no such user or group; or it is nothing that could have been started.
    """
    given: dict[str, Any] = {
        name: getattr(request, name) for name in (*_LATER, "name", "labels", "stop", "restart", "log")
    }
    if not request.whole:
        given = {name: value for name, value in given.items() if value is not None}
    for name, usual in (("env", ()), ("labels", ()), ("cwd", "/"), ("merge", False)):
        if name in given and given[name] is None:
            given[name] = usual
    if given.get("run_as", identity.run_as) != identity.run_as:
        given["account"] = resolve(given["run_as"])
    pty = given.get("pty", identity.pty)
    if pty is not None and given.get("merge") is False and not request.whole:
        raise BadRequest("merge is false and there is a pty; a terminal has one output", field="merge")
    if pty is not None:
        given["merge"] = True
    # Those that are netdaemon's own stay, whatever else it is labelled with.
    own = tuple(label for label in identity.labels if label.startswith(RESERVED_LABEL))
    if "labels" in given:
        given["labels"] += own
    after = dataclasses.replace(identity, **given)
    if after != identity:
        check_size(after)
        after = dataclasses.replace(after, digest=digest(after))
    return after, any(getattr(after, name) != getattr(identity, name) for name in _LATER)


def spec_of(identity: Identity, said: Sequence[str] = ()) -> Spec:
    """What is to be executed for a process; *said* is set in its environment, whatever that says itself."""
    pty = identity.pty
    added = list(said) if pty is None or pty.term is None else [*said, f"TERM={pty.term}"]
    names = tuple(one.partition("=")[0] + "=" for one in added)
    env = [one for one in identity.env if not names or not one.startswith(names)] + added
    argv = command_line(identity, [one.partition("=")[2] for one in said if one.startswith(NOTIFY)])
    return Spec(
        path=_octets(argv[0] if identity.sandbox is not None else identity.path or argv[0]),
        argv=tuple(map(_octets, argv)),
        env=tuple(map(_octets, env)),
        cwd=_octets(identity.cwd),
        pty=(pty.rows, pty.columns) if pty else None,
        merge=identity.merge and pty is None,
        mark=mark_of(identity.id),
        whom=whom_of(identity),
        cgroup=tuple(map(parse_cgroup, identity.cgroup or ())),
    )


def whom_of(identity: Identity) -> Whom | None:
    """As whom its children run, and within what limits; None: as all do."""
    run_as, account = identity.run_as or RunAs(), identity.account
    if run_as == RunAs() and account is None and not identity.limits:
        return None
    capabilities = run_as.capabilities
    return Whom(
        uid=None if account is None else account.uid,
        gid=0 if account is None else account.gid,
        groups=() if account is None else account.groups,
        umask=run_as.umask,
        root=None if run_as.chroot is None else _octets(run_as.chroot),
        rlimits=tuple(map(_rlimit, identity.limits or ())),
        nice=run_as.nice,
        oom_score_adj=run_as.oom_score_adj,
        no_new_privs=bool(run_as.no_new_privs),
        capabilities=None if capabilities is None else sum({1 << CAPABILITIES.index(one) for one in capabilities}),
    )


def _rlimit(term: str) -> tuple[int, int, int]:
    name, soft, hard = parse_limit(term)
    unlimited = resource.RLIM_INFINITY
    return LIMITS[name], unlimited if soft is None else soft, unlimited if hard is None else hard


def _octets(text: str) -> bytes:
    """As it came over the wire, whatever this program's locale is."""
    return text.encode("utf-8", "surrogateescape")
