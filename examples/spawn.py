"""A ProcessProtocol that knows nothing of netdaemon, on a process at the other end of a socket.

python examples/spawn.py [unix:/run/user/1000/netdaemon/netdaemon.sock]
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react
from twisted.python.failure import Failure

from netdaemon import connect


class WordCount(ProcessProtocol):
    """Counts the words of a text with wc."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.errors = b""
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.text)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        print("words:", data.decode().strip())

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        if reason.check(ProcessDone):
            print("done")
        elif reason.check(ProcessTerminated):
            print("not done: exit code", reason.value.exitCode)  # type: ignore[union-attr]
            print(self.errors.decode().strip())
        self.done.callback(None)


async def main(reactor: Any, endpoint: str | None = None) -> None:
    client = await connect(reactor, endpoint)
    for option in ("-w", "--nonsense"):
        counting = WordCount(b"as many words as there are here\n")
        # reactor.spawnProcess(counting, ...) would run it here instead.
        client.spawnProcess(counting, "/usr/bin/wc", ["wc", option], env={"LC_ALL": "C"})
        await counting.done
    print("left in the daemon:", sum(record.argv[0] == "wc" for record in await client.list()))
    await client.disconnect()


if __name__ == "__main__":
    react(main, sys.argv[1:])
