"""The client on a plain socket, for scripts and for ndtool; imports no twisted.

::

    from netdaemon.blocking import connect

    with connect() as client, client.start(["/bin/cat"]) as process:
        process.write(b"hello\\n")
        process.close_stdin()
        for event in process:
            print(event)
"""

from netdaemon.blocking.client import Client, connect
from netdaemon.blocking.link import Link
from netdaemon.blocking.pending import Pending
from netdaemon.blocking.process import RemoteProcess
from netdaemon.blocking.reconnecting import PATIENCE
from netdaemon.blocking.stdin import Stdin
from netdaemon.blocking.timeouts import DEFAULT_TIMEOUT
from netdaemon.blocking.watch import Watch

__all__ = ["DEFAULT_TIMEOUT", "PATIENCE", "Client", "Link", "Pending", "RemoteProcess", "Stdin", "Watch", "connect"]
