"""What a daemon has told its keeper is heard, however it died: it may be all that is known of accepted input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netdaemon.keeper.messages import close_all
from netdaemon.process.keeper_link import KeeperLink
from tests.survive.world import kill

# A daemon that starts a child, says something that is answered, shares a file, and is killed: the answers unread.
DYING = """
import os, signal, sys
from netdaemon.process.keeper_link import KeeperLink
link = KeeperLink(sys.argv[1], "test", restart=False)
link.open()
spool = os.memfd_create("spool")
link.channel.send(b"launch", b"it", b"/bin/true", b"/", b"", b"0", b"1", b"true", descriptors=(spool,))
link._await(b"launched", 10)
if "unread" in sys.argv:
    link.channel.send(b"sync")
    import select
    select.select([link.channel], [], [])
os.kill(link.pid, signal.SIGSTOP)
if "answer" in sys.argv:
    link.channel.send(b"collect", b"it")
link.channel.send(b"share", b"it", b"input", descriptors=(os.memfd_create("input"),))
print(link.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("before", ["nothing", "answer", "unread"])
def test_a_share_is_heard(tmp_path: Path, before: str) -> None:
    """Though the keeper comes to it when the daemon is dead: after something to answer, or with an answer unread."""
    tmp_path.chmod(0o700)
    path = str(tmp_path / "keeper")
    dying = subprocess.run([sys.executable, "-c", DYING, path, before], stdout=subprocess.PIPE, text=True, check=False)
    os.kill(int(dying.stdout), signal.SIGCONT)
    link = KeeperLink(path, "test", restart=False)
    ((id, _, roles),) = link.open()
    try:
        assert id == "it"
        assert "input" in roles
    finally:
        close_all(roles.values())
        # As long as we live it would wait for us.
        kill(link.pid)
        link.close()
