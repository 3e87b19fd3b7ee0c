"""How large the pipes of children are made, and when; knows nothing of what goes through them."""

from __future__ import annotations

import fcntl

# One read of a child's output, and one feeding of its input: a tenth of a millisecond, for which everybody else waits.
# Half as much gives a third less throughput; a pipe that is larger than what is moved at once gives less, too: its two
# ends get in each other's way.
PIPE_SIZE = 256 * 1024

# The evidence on which a pipe is enlarged: half of what a pipe holds by default has come, or gone, at once.
BIG = 32 * 1024

# And how much a child must have been given before, to have its input's enlarged: one that does not read gets no more.
ENOUGH = 1 << 20


def enlarge(descriptor: int) -> None:
    """Have a pipe hold as much as is moved at once: then that empties or fills it, and the other side wakes once."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        # The kernel's limit for this user; what it refuses is not missed.
        pass
