"""A start of which it is known afterwards whether it may have happened: the child takes a claim before it executes.

A claim is a memory file of one byte. The child takes it by emptying it, as it opens it; whoever seals its size before
has revoked it, and the child cannot open it any more. The kernel lets one of the two be first. It does not keep several
children from taking the same one: whoever asks for a second child has revoked the claim of the first.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FREE = 1


def make() -> int:
    """A claim that nobody has taken, as a descriptor."""
    claim = os.memfd_create("netdaemon claim", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        renew(claim)
    except BaseException:
        os.close(claim)
        raise
    return claim


def renew(claim: int) -> None:
    """Have it free again: it was taken by a child that has executed nothing."""
    os.ftruncate(claim, _FREE)


def taking(claim: int) -> tuple[Any, ...]:
    """What `os.posix_spawn` has a child do to take it; as its descriptor 0, until that becomes its input."""
    return os.POSIX_SPAWN_OPEN, 0, f"/proc/self/fd/{claim}", os.O_WRONLY | os.O_TRUNC, 0


def revoke(claim: int) -> bool:
    """Have no child take it from now on; whether none has before."""
    fcntl.fcntl(claim, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return os.fstat(claim).st_size == _FREE
