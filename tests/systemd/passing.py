"""Executes a program as a service manager does: python passing.py FD,FD,... PROGRAM [ARGUMENT]...

The descriptors are passed as those from 3 on, and the program is told by its own process id.
"""

from __future__ import annotations

import fcntl
import os
import sys

FIRST = 3

numbers = [int(one) for one in sys.argv[1].split(",") if one]
# Out of the way first: one may have the number that another is to get.
spare = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, FIRST + len(numbers)) for one in numbers]
for place, one in enumerate(spare, FIRST):
    os.dup2(one, place, inheritable=True)
os.closerange(FIRST + len(numbers), 1 << 16)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
