"""For tests of programs that use netdaemon: a daemon and its clients in memory, children that the test plays.

Nothing here needs a socket, a second process or real time::

    daemon = MemoryDaemon()
    client = daemon.connect_now()
    process = daemon.settle(client.start(["/srv/game"], name="game"))
    daemon.children[0].write(b"ready\\n")
    daemon.children[0].exit(3)
    record = daemon.settle(client.wait("game"))
    daemon.stop()

A program is seen through the loss of its connection, and a daemon that is away for a while, so::

    daemon.listening = False
    daemon.drop_connections()
    daemon.reactor.advance(5)
    daemon.listening = True
    daemon.reactor.advance(5)
    daemon.settle()
"""

from netdaemon.testing.children import FakeChild, FakeLauncher
from netdaemon.testing.daemon import MemoryDaemon
from netdaemon.testing.reactor import MemoryReactor
from netdaemon.testing.transport import PIPE_SIZE, MemoryTransport, join

__all__ = ["PIPE_SIZE", "FakeChild", "FakeLauncher", "MemoryDaemon", "MemoryReactor", "MemoryTransport", "join"]
