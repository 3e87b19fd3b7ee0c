"""What is done with children that run already."""

from __future__ import annotations

import os
import signal
import subprocess

from netdaemon.keeper import child


def test_killed_before_it_has_a_group() -> None:
    """One that has only just been forked is in its parent's group; it is killed all the same, and nobody else."""
    process = subprocess.Popen(["sleep", "60"])
    pidfd = os.pidfd_open(process.pid)
    try:
        assert os.getpgid(process.pid) == os.getpgid(0)
        child.kill_group(process.pid, pidfd, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    finally:
        os.close(pidfd)
        process.kill()
        process.wait()
