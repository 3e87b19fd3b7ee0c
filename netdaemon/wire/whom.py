"""As whom a child runs, where, and within what bounds: how that is declared, and what of it cannot be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from netdaemon.errors import BadRequest
from netdaemon.wire.fields import BOOLEAN, INTEGER, OS_TEXT, TEXT, array, word
from netdaemon.wire.layout import open_record, record
from netdaemon.wire.records import check_os_text

# (uid_t) -1 means "leave it" to the kernel, and is nobody's number.
ID_MAX = (1 << 32) - 2

# As many supplementary groups as the kernel takes.
GROUPS_MAX = 65536

# As in user and group databases, and with what those of directory services have besides.
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,254}\$?")
ACCOUNT_RULE = "a name, or a number from 0 to 4294967294"

UMASK_MAX = 0o777
NICE_MIN, NICE_MAX = -20, 19
OOM_MIN, OOM_MAX = -1000, 1000

# By number, as the kernel has them.
CAPABILITIES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
)

# What can be limited, by the kernel's numbers. The time of real-time programs is not among them: it is the mark by
# which a child's descendants are known.
LIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
}
UNLIMITED = "unlimited"
LIMIT_MAX = (1 << 63) - 1

# What of a control group can be set, each with what it takes.
CGROUP = {
    "memory.max": "a number of bytes, or max",
    "memory.high": "a number of bytes, or max",
    "memory.swap.max": "a number of bytes, or max",
    "cpu.max": "microseconds of a period, as 50000 or 50000/100000, or max",
    "cpu.weight": "a number from 1 to 10000",
    "pids.max": "a number, or max",
}
CPU_PERIOD = 100_000
CPU_PERIOD_MIN, CPU_PERIOD_MAX = 1000, 1_000_000
CPU_QUOTA_MIN = 1000

# Paths that a sandbox leaves writable, each a mount.
WRITABLE_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAs:
    """As whom a child runs. All that is left out is as the daemon has it, which has to be root for most of this.

    ``user`` and ``group`` are names or numbers; left out, ``group`` and ``groups``, the supplementary ones, are the
    user's own. ``chroot`` is a directory, reached through no symbolic link; cwd and program are within it then.
    ``capabilities`` are those that it keeps, and that anything it executes can have; left out, a change of user takes
    them all, and nothing else does.
    """

    user: Annotated[str, TEXT] | None = None
    group: Annotated[str, TEXT] | None = None
    groups: Annotated[tuple[str, ...], array(TEXT)] | None = None
    umask: Annotated[int, INTEGER] | None = None
    chroot: Annotated[str, OS_TEXT] | None = None
    nice: Annotated[int, INTEGER] | None = None
    oom_score_adj: Annotated[int, INTEGER] | None = None
    no_new_privs: Annotated[bool, BOOLEAN] | None = None
    capabilities: Annotated[tuple[str, ...], array(TEXT)] | None = None

    def __post_init__(self) -> None:
        for name in ("user", "group"):
            value = getattr(self, name)
            if value is not None:
                check_account(name, value)
        if self.groups is not None:
            if len(self.groups) > GROUPS_MAX:
                raise BadRequest(f"{len(self.groups)} groups, and at most {GROUPS_MAX} are allowed", field="run_as")
            for one in self.groups:
                check_account("groups", one)
        if self.umask is not None:
            _range("umask", self.umask, 0, UMASK_MAX)
        if self.chroot is not None:
            check_os_text("run_as", self.chroot)
            parts = self.chroot.split("/")
            if not self.chroot.startswith("/") or not {".", ".."}.isdisjoint(parts):
                raise BadRequest(
                    f"run_as: chroot is {self.chroot!r}; it begins with / and goes through no . or ..", field="run_as"
                )
        if self.nice is not None:
            _range("nice", self.nice, NICE_MIN, NICE_MAX)
        if self.oom_score_adj is not None:
            _range("oom_score_adj", self.oom_score_adj, OOM_MIN, OOM_MAX)
        for one in self.capabilities or ():
            if one not in CAPABILITIES:
                raise BadRequest(
                    f"run_as: {one!r} is no capability; they are {', '.join(CAPABILITIES)}", field="run_as"
                )


def check_account(name: str, value: str) -> None:
    """Refuse what is neither a name nor a number of a user or group."""
    if value.isascii() and value.isdecimal():
        if len(value) <= len(str(ID_MAX)) and int(value) <= ID_MAX:
            return
    elif ACCOUNT.fullmatch(value):
        return
    raise BadRequest(f"run_as: {name} is {value!r}, and it is {ACCOUNT_RULE}", field="run_as")


def _range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadRequest(f"run_as: {name} is {value}, and {least} to {most} are allowed", field="run_as")


class Profile(Enum):
    """What a sandbox is like."""

    PRIVATE = "private"


PROFILE = word(Profile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A sandbox around a child, by bubblewrap: see the documentation for what each ``profile`` comes to.

    ``network``: whether it has the machine's. ``writable``: paths that it can write to; all others it can only read.
    """

    profile: Annotated[Profile, PROFILE]
    network: Annotated[bool, BOOLEAN] = False
    writable: Annotated[tuple[str, ...], array(OS_TEXT)] = ()

    def __post_init__(self) -> None:
        if len(self.writable) > WRITABLE_MAX:
            raise BadRequest(
                f"sandbox: {len(self.writable)} writable paths, and at most {WRITABLE_MAX}", field="sandbox"
            )
        for path in self.writable:
            check_os_text("sandbox", path)
            if not path.startswith("/") or not {".", ".."}.isdisjoint(path.split("/")):
                raise BadRequest(
                    f"sandbox: the path {path!r} does not begin with /, or goes through . or ..", field="sandbox"
                )


RUN_AS = record(RunAs)
SANDBOX = record(Sandbox)
TOLD_RUN_AS = open_record(RunAs)
TOLD_SANDBOX = open_record(Sandbox)


def parse_limit(term: str) -> tuple[str, int | None, int | None]:
    """(name, soft, hard) of a term like ``nofile=1024``, ``nofile=1024:4096`` or ``core=unlimited``; None: unlimited.

    :raises BadRequest: it is no such term.
    """
    name, equals, values = term.partition("=")
    if not equals or name not in LIMITS:
        raise BadRequest(
            f"limits: {term!r} is not of the form NAME=VALUE, NAME one of {', '.join(LIMITS)}", field="limits"
        )
    soft, colon, hard = values.partition(":")
    first = _limit(term, soft)
    second = _limit(term, hard) if colon else first
    if second is not None and (first is None or first > second):
        raise BadRequest(f"limits: {term!r}: the soft limit is above the hard one", field="limits")
    return name, first, second


def _limit(term: str, value: str) -> int | None:
    if value == UNLIMITED:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 19 and int(value) <= LIMIT_MAX):
        raise BadRequest(
            f"limits: {term!r}: a value is a number of 0 to {LIMIT_MAX}, or {UNLIMITED}; two of them with : between "
            "are the soft and the hard one",
            field="limits",
        )
    return int(value)


def check_limits(terms: tuple[str, ...]) -> None:
    """Refuse limits that cannot be, or that are said twice."""
    seen: set[str] = set()
    for term in terms:
        name = parse_limit(term)[0]
        if name in seen:
            raise BadRequest(f"limits: {name} is given twice", field="limits")
        seen.add(name)


def parse_cgroup(term: str) -> tuple[str, str]:
    """(file, content) of a term like ``memory.max=536870912`` or ``cpu.max=50000``, as the kernel takes it.

    :raises BadRequest: it is no such term.
    """
    name, equals, value = term.partition("=")
    rule = CGROUP.get(name)
    if not equals or rule is None:
        raise BadRequest(
            f"cgroup: {term!r} is not of the form NAME=VALUE, NAME one of {', '.join(CGROUP)}", field="cgroup"
        )
    content = value
    if name == "cpu.max":
        quota, slash, period = value.partition("/")
        content = f"{quota} {period if slash else CPU_PERIOD}"
        good = (quota == "max" or _number(quota, CPU_QUOTA_MIN, LIMIT_MAX)) and (
            not slash or _number(period, CPU_PERIOD_MIN, CPU_PERIOD_MAX)
        )
    elif name == "cpu.weight":
        good = _number(value, 1, 10_000)
    else:
        good = value == "max" or _number(value, 0, LIMIT_MAX)
    if not good:
        raise BadRequest(f"cgroup: {term!r}: {name} is {rule}", field="cgroup")
    return name, content


def _number(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and least <= int(text) <= most


def check_cgroup(terms: tuple[str, ...]) -> None:
    """Refuse what no control group has, or what is said twice."""
    seen: set[str] = set()
    for term in terms:
        name = parse_cgroup(term)[0]
        if name in seen:
            raise BadRequest(f"cgroup: {name} is given twice", field="cgroup")
        seen.add(name)
