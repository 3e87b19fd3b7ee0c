"""Have a forked child take on all that a `Whom` says, in the one order that is safe, and see that it has.

Nothing is given up before what needs it is done, and nothing that a new user could touch is opened after. What is not
as it was asked for is no child.
"""

from __future__ import annotations

import errno
import os
import resource

from netdaemon.keeper.child import LaunchError
from netdaemon.keeper.privileges import Privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdaemon.keeper.whom import Whom

# What a daemonised parent's 077 must not become for its children.
UMASK = 0o022

# Of a terminal: as those have it that log in.
TERMINAL_MODE = 0o620

# Limits that would hit this program, too, which is larger than what it executes: they come last.
_LAST = (resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)

_STATUS = "/proc/self/status"

# All of it, with as many groups as there can be.
_STATUS_MOST = 1 << 20

_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")

# No component of a path is a symbolic link, and nothing is asked of a directory but that it is one.
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Taking:
    """One `Whom`, made ready before the fork.

    :ivar stage: how far the child has come, by the words of `netdaemon.keeper.becoming.STAGES`.
    :raises LaunchError: it cannot be.
    """

    def __init__(self, whom: Whom) -> None:
        self.whom = whom
        self.stage = "capabilities" if whom.capabilities is not None else "privileges"
        self._changes = whom.uid is not None and whom.uid != os.geteuid()
        # A change of user from root takes all but the inheritable ones, one from another user takes none.
        self._clears = whom.capabilities is None and self._changes and (os.geteuid() != 0 or _inheritable())
        self._privileges: Privileges | None = None
        if whom.no_new_privs or whom.capabilities is not None or self._clears:
            try:
                self._privileges = Privileges()
            except OSError as error:
                raise LaunchError(self.stage, error.errno or errno.ENOSYS) from error
            except (ImportError, AttributeError) as error:
                raise LaunchError(self.stage, errno.ENOSYS) from error

    def take(self, terminal: bool) -> None:
        """In the child, whose 0, 1 and 2 are its own by now: everything but the limits that come last.

        :raises OSError: it is not all taken on, and nothing may be executed.
        """
        whom = self.whom
        self.stage = "limits"
        self._raise_limits()
        self.stage = "oom"
        if whom.oom_score_adj is not None:
            _write("/proc/self/oom_score_adj", b"%d" % whom.oom_score_adj)
        self.stage = "descriptors"
        if self._changes:
            self._own_streams(terminal)
        self.stage = "verify"
        # While there is a /proc.
        status = os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC) if self._looks else -1
        self.stage = "root"
        if whom.root is not None:
            enter_root(whom.root)
        self.stage = "nice"
        if whom.nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, whom.nice)
        self.stage = "umask"
        os.umask(UMASK if whom.umask is None else whom.umask)
        if whom.uid is not None:
            self._take_account(whom.uid)
            self._verify(whom.uid, status)
        self._take_capabilities(status)
        if status >= 0:
            os.close(status)

    def take_last_limits(self) -> None:
        """The rest of them; nothing but executing comes after.

        :raises OSError: it has them not.
        """
        self.stage = "limits"
        for number, soft, hard in self.whom.rlimits:
            if number in _LAST:
                resource.prlimit(0, number, (soft, hard))

    @property
    def has_own_files_limit(self) -> bool:
        """Whether it is said how many descriptors it may have."""
        return any(number == resource.RLIMIT_NOFILE for number, _, _ in self.whom.rlimits)

    @property
    def _looks(self) -> bool:
        """Whether its capabilities are to be what the kernel is asked about."""
        return self._changes or self.whom.capabilities is not None

    def _raise_limits(self) -> None:
        for number, soft, hard in self.whom.rlimits:
            if number in _LAST:
                now, most = resource.getrlimit(number)
                if not _above(hard, most):
                    continue
                # Later there is no privilege to.
                soft = now
            resource.prlimit(0, number, (soft, hard))

    def _own_streams(self, terminal: bool) -> None:
        """What is opened again by /dev/tty, /dev/stdout or /proc/self/fd is opened as any file is."""
        assert self.whom.uid is not None
        for number in range(3):
            os.fchown(number, self.whom.uid, -1)
        if terminal:
            os.fchmod(0, TERMINAL_MODE)

    def _take_account(self, uid: int) -> None:
        whom = self.whom
        self.stage = "groups"
        try:
            os.setgroups(whom.groups)
        except PermissionError:
            # Whoever is not root may not even say again what is so.
            if os.geteuid() == 0 or sorted(os.getgroups()) != sorted(whom.groups):
                raise
        self.stage = "gid"
        os.setresgid(whom.gid, whom.gid, whom.gid)
        self.stage = "capabilities"
        if self._changes and whom.capabilities is not None:
            self._of_the_library.keep()
        self.stage = "uid"
        os.setresuid(uid, uid, uid)

    def _verify(self, uid: int, status: int) -> None:
        """See that the kernel has it all, and that there is no way back."""
        whom = self.whom
        self.stage = "capabilities"
        if self._clears:
            self._of_the_library.none()
        elif self._changes and whom.capabilities is not None:
            # Some of them might be a way back; they are had again when it has been seen that there is no other.
            self._of_the_library.lay_down(_read(status, "CapPrm")[0])
        self.stage = "verify"
        same = os.getresuid() == (uid,) * 3 and os.getresgid() == (whom.gid,) * 3
        if not same or sorted(os.getgroups()) != sorted(whom.groups):
            raise PermissionError(errno.EPERM, "the kernel says that it is somebody else")
        if self._changes and whom.capabilities is None and any(_read(status, *_SETS)):
            raise PermissionError(errno.EPERM, "capabilities are left")
        if self._changes and uid != 0:
            try:
                os.setresuid(-1, 0, -1)
            except OSError:
                return
            raise PermissionError(errno.EPERM, "it can be root again")

    def _take_capabilities(self, status: int) -> None:
        whom = self.whom
        self.stage = "capabilities"
        if whom.capabilities is not None:
            self._of_the_library.exactly(whom.capabilities, _read(status, "CapPrm")[0])
            if set(_read(status, *_SETS, "CapBnd")) != {whom.capabilities}:
                raise PermissionError(errno.EPERM, "the kernel says that it has others")
        self.stage = "privileges"
        if whom.no_new_privs:
            self._of_the_library.no_new_privs()

    @property
    def _of_the_library(self) -> Privileges:
        assert self._privileges is not None
        return self._privileges


def enter_root(root: bytes) -> None:
    """Make a directory this process's root and its current directory, going through no symbolic link.

    Each component is opened within the one before, so that whoever can rename what is below changes nothing about where
    this comes to: into a directory that is reached by those names, or nowhere.

    :raises OSError: there is no such directory, or it may not be done; ENOTDIR where there is a symbolic link.
    """
    here = os.open(b"/", _DIRECTORY)
    try:
        for part in root.split(b"/"):
            if part in (b".", b".."):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if part:
                before, here = here, os.open(part, _DIRECTORY, dir_fd=here)
                os.close(before)
        os.fchdir(here)
        os.chroot(b".")
        os.chdir(b"/")
    finally:
        os.close(here)


def _above(one: int, other: int) -> bool:
    """Whether a limit is higher than another."""
    infinity = resource.RLIM_INFINITY
    return other != infinity and (one == infinity or one > other)


def _inheritable() -> bool:
    """Whether this program has inheritable capabilities; or nobody can tell."""
    try:
        with open(_STATUS, "rb") as file:
            return bool(_values(file.read(), "CapInh")[0])
    except (OSError, ValueError):
        return True


def _read(status: int, *names: str) -> list[int]:
    """What the kernel says of this process."""
    try:
        return _values(os.pread(status, _STATUS_MOST, 0), *names)
    except ValueError as error:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


def _values(status: bytes, *names: str) -> list[int]:
    fields = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    try:
        return [int(fields[name.encode()], 16) for name in names]
    except KeyError as error:
        raise ValueError(f"no {error} in {_STATUS}") from error


def _write(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, content)
    finally:
        os.close(file)
