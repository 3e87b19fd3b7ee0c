"""Within what bounds somebody may start something, and what nobody may; knows no file and no names of users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from netdaemon.policy.accounts import Account, own_groups
from netdaemon.policy.judged import Spec
from netdaemon.policy.matching import NO_IDS, NO_PATHS, Glob, Ids, PathGlob, Paths
from netdaemon.policy.principals import Principal
from netdaemon.policy.variables import NO_VARIABLES, Variables
from netdaemon.wire.whom import CAPABILITIES, LIMIT_MAX, parse_cgroup, parse_limit

# Where a program without a slash is looked for if its environment says nothing: the keeper's, and a test holds them
# together.
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"

# Places where nobody but the machine's owner puts programs.
SYSTEM_PLACES = frozenset((*DEFAULT_PATH.split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/games"))

# What is so where nothing is said: the groups that a user has anyway, and the directory that everybody can be in.
_SELF = Ids(own=True, said="self")
_ROOT = Paths((PathGlob("/"),))


class _Own:
    """The groups of a user's own; looked up once, and only if that is needed."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._groups: frozenset[int] | None = None

    def __contains__(self, gid: object) -> bool:
        if self._groups is None:
            self._groups = frozenset(own_groups(self._uid))
        return gid in self._groups


def account_for(spec: Spec, own: Account) -> Account:
    """As whom *spec* is executed, where *own* is as whom the daemon runs.

    :raises ValueError: it names somebody, and has not been resolved.
    """
    account: Account | None = spec.account
    if account is not None:
        return account
    run_as = spec.run_as
    if run_as is not None and (run_as.user is not None or run_as.group is not None or run_as.groups is not None):
        raise ValueError("the user and groups of the start were not looked up")
    return own


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What may be executed.

    :ivar bare: programs without a slash, too, if each place of their PATH is one of the system's, or what they are
        there is among ``paths``.
    """

    paths: Paths = NO_PATHS
    bare: bool = False

    def fault(self, spec: Spec) -> str | None:
        program = spec.path or spec.argv[0]
        if "/" in program:
            return None if self.paths.has(program) else f"{program} is not among {self}"
        if not self.bare:
            return f"{program} has no slash, and PATH is not among {self}"
        for place in _search_path(spec.env):
            # One that is empty is the directory in which it runs.
            found = place in SYSTEM_PLACES or (place != "" and self.paths.has(f"{place}/{program}"))
            if not found:
                where = place or "the current directory"
                return f"{program} is looked for in {where}, and what is there is not among {self}"
        return None

    def touches(self, spec: Spec) -> str | None:
        """The program, if it is among what is forbidden; without a slash it is whatever is called like that."""
        program = spec.path or spec.argv[0]
        if "/" in program:
            return program if self.paths.touches(program) else None
        lasts = (glob.last for glob in self.paths.globs)
        found = self.bare or any(last is not None and last.matches(program) for last in lasts)
        return program if found else None

    def __str__(self) -> str:
        return ", ".join([*(["PATH"] if self.bare else []), *(glob.pattern for glob in self.paths.globs)]) or "none"


def _search_path(env: Iterable[str]) -> list[str]:
    said = [one.partition("=")[2] for one in env if one.startswith("PATH=")] or [DEFAULT_PATH]
    return [place for path in said for place in path.split(":")]


@dataclass(frozen=True, kw_only=True)
class Sandboxes:
    """What a sandbox may be like; ``required``: there has to be one."""

    profiles: frozenset[str] = frozenset()
    network: bool = False
    writable: Paths = NO_PATHS
    required: bool = False

    def faults(self, sandbox: Any) -> Iterator[str]:
        if sandbox is None:
            if self.required:
                yield "a sandbox has to be asked for"
            return
        if sandbox.profile.value not in self.profiles:
            yield f"the profile {sandbox.profile.value} is not among {', '.join(sorted(self.profiles)) or 'none'}"
        if sandbox.network and not self.network:
            yield "the machine's network is asked for"
        for path in sandbox.writable:
            if not self.writable.has(path):
                yield f"{path} is not among what may be writable: {self.writable}"


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Values of limits, or of a control group, that may be asked for at most; None: any.

    What is not named may not be asked for. ``required``: all that is named has to be.
    """

    most: Mapping[str, Any] = field(default_factory=dict)
    required: bool = False

    def faults(self, asked: Mapping[str, Any]) -> Iterator[str]:
        for name, value in asked.items():
            if name not in self.most:
                yield f"{name} is asked for, and no bound is said for it"
                continue
            most = self.most[name]
            if most is not None and value > most:
                yield f"{name} is asked for above its bound"
        if self.required:
            for name in self.most:
                if name not in asked:
                    yield f"{name} has to be asked for"


def limits_asked(terms: Iterable[str]) -> dict[str, float]:
    """The hard limits of a spec."""
    hard = {name: hard for name, _, hard in map(parse_limit, terms)}
    # The kernel's greatest number is without a limit, too.
    return {name: _UNLIMITED if most is None or most >= LIMIT_MAX else most for name, most in hard.items()}


_UNLIMITED = float("inf")


def group_asked(terms: Iterable[str]) -> dict[str, float]:
    """What a spec wants of its control group; the processor's time as a part of one."""
    return {name: _of_group(name, content) for name, content in map(parse_cgroup, terms)}


def _of_group(name: str, content: str) -> float:
    if content.startswith("max"):
        return _UNLIMITED
    if name == "cpu.max":
        quota, period = content.split()
        return int(quota) / int(period)
    return int(content)


_NO_CEILINGS = Ceilings()
_NO_SANDBOXES = Sandboxes()


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Within what somebody may start something. What is left out is the closed side.

    :ivar umask: bits that an umask has to have.
    :ivar nice: the least that may be asked for, and *oom_score_adj*: programs can raise both themselves.
    :ivar processes: how many one principal or tenant may have at a time; None: as many as the daemon.
    """

    users: Ids = NO_IDS
    groups: Ids = _SELF
    programs: Programs = Programs()
    directories: Paths = _ROOT
    chroots: Paths = NO_PATHS
    chroot_required: bool = False
    environment: Variables = NO_VARIABLES
    capabilities: frozenset[str] = frozenset()
    no_new_privs: bool = False
    umask: int = 0
    nice: int = 0
    oom_score_adj: int = 0
    limits: Ceilings = _NO_CEILINGS
    cgroup: Ceilings = _NO_CEILINGS
    sandbox: Sandboxes = _NO_SANDBOXES
    logs: Paths = NO_PATHS
    processes: int | None = None

    def faults(self, principal: Principal, spec: Spec, own: Account) -> Iterator[str]:
        """Why *spec* is not within: each key that it breaks, and how."""
        account = account_for(spec, own)
        if not self.users.has(account.uid, () if principal.uid is None else (principal.uid,)):
            yield f"users: uid {account.uid} is not among {self.users}"
        groups = _Own(account.uid)
        for gid in dict.fromkeys((account.gid, *account.groups)):
            if not self.groups.has(gid, groups):
                yield f"groups: gid {gid} is not among {self.groups}"
        program = self.programs.fault(spec)
        if program is not None:
            yield f"programs: {program}"
        if not self.directories.has(spec.cwd):
            yield f"directories: {spec.cwd} is not among {self.directories}"
        for name in self.environment.faults(spec.env):
            yield f"environment: {name}"
        if spec.log is not None and not self.logs.has(spec.log.path):
            yield f"logs: {spec.log.path} is not among {self.logs}"
        yield from self._of_run_as(spec.run_as)
        for key, faults in (
            ("limits", self.limits.faults(limits_asked(spec.limits or ()))),
            ("cgroup", self.cgroup.faults(group_asked(spec.cgroup or ()))),
            ("sandbox", self.sandbox.faults(spec.sandbox)),
        ):
            for one in faults:
                yield f"{key}: {one}"

    def _of_run_as(self, run_as: Any) -> Iterator[str]:
        chroot = None if run_as is None else run_as.chroot
        if chroot is None:
            if self.chroot_required:
                yield "chroot_required: a chroot has to be asked for"
        elif not self.chroots.has(chroot):
            yield f"chroots: {chroot} is not among {self.chroots}"
        if self.no_new_privs and (run_as is None or run_as.no_new_privs is not True):
            yield "no_new_privs: it has to be asked for"
        if run_as is None:
            return
        for one in run_as.capabilities or ():
            if one not in self.capabilities:
                yield f"capabilities: {one} is not among {', '.join(sorted(self.capabilities)) or 'none'}"
        if run_as.umask is not None and run_as.umask & self.umask != self.umask:
            yield f"umask: {run_as.umask:04o} lacks some of {self.umask:04o}"
        if run_as.nice is not None and run_as.nice < self.nice:
            yield f"nice: {run_as.nice} is below {self.nice}"
        if run_as.oom_score_adj is not None and run_as.oom_score_adj < self.oom_score_adj:
            yield f"oom_score_adj: {run_as.oom_score_adj} is below {self.oom_score_adj}"


@dataclass(frozen=True, kw_only=True)
class Forbidden:
    """What a start may not have: anything of this is enough."""

    users: Ids = NO_IDS
    groups: Ids = NO_IDS
    programs: Programs = Programs()
    directories: Paths = NO_PATHS
    chroots: Paths = NO_PATHS
    environment: tuple[Glob, ...] = ()
    capabilities: frozenset[str] = frozenset()
    logs: Paths = NO_PATHS

    def found(self, principal: Principal, spec: Spec, own: Account) -> Iterator[str]:
        """What of it *spec* has."""
        account = account_for(spec, own)
        if self.users.has(account.uid, () if principal.uid is None else (principal.uid,)):
            yield f"users: uid {account.uid}"
        for gid in dict.fromkeys((account.gid, *account.groups)):
            if self.groups.has(gid, ()):
                yield f"groups: gid {gid}"
        program = self.programs.touches(spec)
        if program is not None:
            yield f"programs: {program}"
        if self.directories.touches(spec.cwd):
            yield f"directories: {spec.cwd}"
        for name in (one.partition("=")[0] for one in spec.env):
            if any(glob.matches(name) for glob in self.environment):
                yield f"environment: {name}"
        if spec.log is not None and self.logs.touches(spec.log.path):
            yield f"logs: {spec.log.path}"
        run_as = spec.run_as
        if run_as is not None and run_as.chroot is not None and self.chroots.touches(run_as.chroot):
            yield f"chroots: {run_as.chroot}"
        kept = None if run_as is None else run_as.capabilities
        # root has all of them unless it says which.
        for one in CAPABILITIES if kept is None and account.uid == 0 else kept or ():
            if one in self.capabilities:
                yield f"capabilities: {one}"
