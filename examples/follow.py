"""Follow a process that somebody else started, leave it, and come back to where we were.

python examples/follow.py [unix:/run/user/1000/netdaemon/netdaemon.sock]
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from netdaemon import Listener, Status, connect

GAME = "echo map generated; read line; echo you said: $line; exit 3"


class Console(Listener):
    """Prints what a process says, and tells when it has said something."""

    def __init__(self) -> None:
        self.spoken: Deferred[None] = Deferred()

    def on_output(self, channel: int, data: bytes, offset: int, time: int) -> None:
        print(data.decode().rstrip())
        if not self.spoken.called:
            self.spoken.callback(None)

    def on_gap(self, from_: int, to: int) -> None:
        print(f"... {to - from_} bytes are not kept any more ...")

    def on_status(self, status: Status) -> None:
        print("exit code", status.code)


async def main(reactor: Any, endpoint: str | None = None) -> None:
    starter = await connect(reactor, endpoint)
    await starter.start(["/bin/sh", "-c", GAME], name="example", attach=False)
    await starter.disconnect()

    client = await connect(reactor, endpoint)
    game, console = await client.attach("example"), Console()
    game.listen(console)
    await console.spoken
    offset = game.offset
    await client.disconnect()

    # Minutes later, perhaps in another program.
    client = await connect(reactor, endpoint)
    game = await client.attach("example", from_=offset)
    game.listen(Console())
    await game.write(b"good evening\n")
    await game.when_exited()
    await client.remove("example")
    await client.disconnect()


if __name__ == "__main__":
    react(main, sys.argv[1:])
