"""A sandbox around a program: the command line of bubblewrap that makes one, and whether it can be had here.

It executes nothing. The child is bubblewrap then, which waits for the program, and exits with its code, or with 128 and
the number of the signal that has ended it. What the program leaves lives on in its namespaces, and is known by its
mark.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Sequence

from netdaemon.errors import BadRequest, LaunchFailed
from netdaemon.process.identity import Identity

BUBBLEWRAP = "bwrap"
PACKAGE = "bubblewrap"

# Sets dispositions, of GNU coreutils 8.31 or later.
ENV = "env"

# Where both are looked for: not where some user's PATH leads.
PLACES = "/usr/local/bin:/usr/bin:/bin"

# Settings of the kernel that leave somebody without user namespaces, the content by which they do, and whether root,
# too.
SETTINGS = (
    ("/proc/sys/user/max_user_namespaces", "0", True),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", False),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", False),
)

# What is sent to the group is the program's to answer: bubblewrap would die of it, and nobody know how the program
# ends. That its child has exited it has to be told.
_DEAF_TO = tuple(
    str(int(one)) for one in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
)

# No namespace is the machine's but, where that is asked for, the network's. Not --die-with-parent: it outlives us. Not
# --new-session: it has one.
_PRIVATE = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"),
    *("--cap-drop", "ALL"),
    *("--ro-bind", "/", "/"),
    *("--dev", "/dev"),
    *("--proc", "/proc"),
    *("--tmpfs", "/tmp"),
)


def check(identity: Identity) -> None:
    """Refuse a sandbox that cannot be.

    :param identity: with its account.
    :raises BadRequest: there is no bubblewrap, or it is asked for together with what it cannot be had with.
    :raises LaunchFailed: this machine, or a path that is not there, stands against it.
    """
    sandbox, run_as = identity.sandbox, identity.run_as
    if sandbox is None:
        return
    uid = os.geteuid() if identity.account is None else identity.account.uid
    program = identity.path or identity.argv[0]
    if run_as is not None and (run_as.chroot is not None or run_as.capabilities):
        what = "chroot" if run_as.chroot is not None else "capabilities"
        raise BadRequest(
            f"sandbox: it cannot be had together with {what} of run_as; leave out one of the two", field="sandbox"
        )
    if "=" in program:
        raise BadRequest(
            f"sandbox: a program with = in its path, as {program!r}, cannot be executed in one", field="sandbox"
        )
    for needed, package in ((BUBBLEWRAP, PACKAGE), (ENV, "coreutils")):
        if _found(needed) is None:
            raise BadRequest(
                f"sandbox: there is no {needed} in {PLACES}; install {package} on the daemon's machine", field="sandbox"
            )
    for path, content, root_too in SETTINGS:
        if (uid or root_too) and _says(path, content):
            raise LaunchFailed(
                f"no sandbox: uid {uid} may have no user namespace here, as {path} is {content}",
                stage="sandbox",
                number=errno.EPERM,
            )
    for path in sandbox.writable:
        if not os.path.exists(path):
            raise LaunchFailed(
                f"no sandbox: {path!r} is to be writable and is not there", stage="sandbox", number=errno.ENOENT
            )


def command_line(identity: Identity, shown: Sequence[str] = ()) -> tuple[str, ...]:
    """What is executed for a process to be in its sandbox, if it has one; the first is the program then.

    :param shown: paths that it has wherever they are, in /tmp, too.
    """
    sandbox, argv = identity.sandbox, identity.argv
    if sandbox is None:
        return argv
    env, bubblewrap = _found(ENV) or ENV, _found(BUBBLEWRAP) or BUBBLEWRAP
    deaf_to = ",".join(_DEAF_TO)
    words = [env, f"--ignore-signal={deaf_to}", bubblewrap, *_PRIVATE]
    if not sandbox.network:
        words.append("--unshare-net")
    for one in shown:
        words += "--ro-bind", one, one
    for one in sandbox.writable:
        words += "--bind", one, one
    words += "--chdir", identity.cwd, "--", env, f"--default-signal={deaf_to}"
    return (*words, identity.path or argv[0], *argv[1:])


def _found(program: str) -> str | None:
    return shutil.which(program, path=PLACES)


def _says(path: str, content: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() == content
    except OSError:
        # This kernel has no such setting.
        return False
